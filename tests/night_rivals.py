"""What does a night do that is not alone, not the first of its day, or not sure of the time?"""

import io
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from unittest import mock

from night_judge import (
    DEEDS,
    NAMED,
    QUIET,
    Report,
    Steps,
    again,
    attempt,
    ended,
    fingerprint,
    killed,
    look,
    roles_of,
)
from night_strikes import Fault

from night_studies import DAYS, night
from research import night_data, night_report
from research.night_report import alone, health
from research.night_state import read_state


def twice(fault: Fault, report: Report) -> None:
    """A night that is done is not done again, and a dry run does nothing."""
    deed = DEEDS[fault.draw.randrange(3)]
    facts, state = fault.world.facts[deed.name], fault.begin(deed.base)
    dry = fault.ordinal % 3 == 2
    attempt(report, lambda: deed.do(fault.folder, dry_run=dry))
    before = read_state(state).number
    if dry and roles_of(read_state(state)) != facts.roles[0]:
        report.wrong("half", "a dry run changed what is in force")
    report.counts["struck"] += 1
    again(report, deed, facts, fault.folder)
    if not dry and read_state(state).number != before:
        report.wrong("hash", "a commit for nothing")


class Unsteady(datetime):
    """A clock that is drawn anew whenever it is asked, within years of the night."""

    drawn: random.Random

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Unsteady":
        """Some instant."""
        return cls(2021, 10, 6, tzinfo=tz) + timedelta(days=cls.drawn.uniform(-1500.0, 1500.0))


def clock(fault: Fault, report: Report) -> None:
    """An as-of that cannot be is refused; a clock that steps back and forth changes nothing, or refuses."""
    deed = NAMED["recalibration"]
    state = fault.begin("three")
    before = fingerprint(fault.folder)
    report.counts["struck"] += 1
    if fault.ordinal % 2:
        Unsteady.drawn = fault.draw
        with mock.patch.object(night_data, "datetime", Unsteady), mock.patch.object(night_report, "datetime", Unsteady):
            code = attempt(report, lambda: deed.do(fault.folder))
        early = attempt(report, lambda: health(state, datetime.fromisoformat("2019-01-01T00:00:00+00:00"), 2.0)[0])
        report.counts["flagged"] += early != 0
        allowed: tuple[int, ...] = (0, 2)
        if early != 3:
            report.wrong("unflagged", "a clock that is years behind the newest night is healthy")
    else:
        year, month = fault.draw.randrange(10, 21), fault.draw.randrange(1, 10)
        day = fault.draw.choice((f"20{year}-0{month}-11", DAYS[fault.draw.randrange(2)], "2199-01-01"))
        code = attempt(report, lambda: night(fault.folder, day, fault.folder / "study.py")["exit"])
        allowed = (2,)
    report.counts["refused"] += code == 2
    if code not in allowed or (code and fingerprint(fault.folder) != before):
        report.wrong("hash", f"a clock that steps: exit {code}")
    again(report, deed, fault.world.facts[deed.name], fault.folder)


def _holding(state: Path) -> tuple[int, int]:
    """A process that holds the lock until it is killed, and a pipe on which it has said so."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        with redirect_stderr(io.StringIO()), alone(state, QUIET):
            os.write(theirs, b"!")
            time.sleep(60)
        os._exit(0)
    os.close(theirs)
    assert os.read(ours, 1) == b"!"
    os.close(ours)
    return pid, signal.SIGKILL


OWNERS = (
    *(b"", b"{", b"[]", b"null", b'{"pid": "x"}', b'{"pid": null}', b'{"pid": 1e999}', b'{"pid": -1}', b'{"pid": 0}'),
    *(
        b'{"pid": 1' + b"0" * 30 + b"}",
        b'{"pid": 1' + b"0" * 5000 + b"}",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"pid": true}',
    ),
)


def lock(fault: Fault, report: Report) -> None:
    """A lock that is held refuses; one whose owner died, or whose files are junk, does not."""
    deed = fault.draw.choice(DEEDS)
    facts, state = fault.world.facts[deed.name], fault.begin(deed.base)
    report.counts["struck"] += 1
    way = fault.ordinal % 3
    if way == 2:
        (state / "owner.json").write_bytes(OWNERS[fault.ordinal // 3 % len(OWNERS)])
        (state / ".lock").write_bytes(fault.draw.randbytes(20))
    else:
        pid, end = _holding(state)
        before = sorted(state.rglob("*"))
        if way == 0:
            code = attempt(report, lambda: deed.do(fault.folder))
            report.counts["refused"] += code == 5
            if code != 5 or sorted(state.rglob("*")) != before:
                report.wrong("untyped", f"a lock that is held: exit {code}")
        os.kill(pid, end)
        os.waitpid(pid, 0)
    said = io.StringIO()
    with redirect_stderr(said), alone(state, night_report.Log()):
        pass
    if way < 2 and "stale_lock" not in said.getvalue():
        report.wrong("unflagged", "nobody said that the owner of the lock died")
    report.counts["flagged"] += "stale_lock" in said.getvalue()
    again(report, deed, facts, fault.folder)


def rivals(fault: Fault, report: Report) -> None:
    """Two at once, and one of them may be killed: one works, the other ends with 5 or finds it done."""
    deed = DEEDS[fault.draw.randrange(3)]
    facts = fault.world.facts[deed.name]
    fault.begin(deed.base)
    steps = Steps(fault.draw.choice((10**9, fault.draw.randint(1, facts.steps))), killed)
    pid = os.fork()
    if not pid:
        with steps.hooked():
            os._exit(ended(lambda: deed.do(fault.folder)) & 255)
    time.sleep(fault.draw.uniform(0, 0.05))
    codes = {ended(lambda: deed.do(fault.folder)), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}
    report.counts["struck"] += 1
    report.counts["refused"] += 5 in codes
    if not codes <= {0, 5, 256 - signal.SIGKILL}:
        report.wrong("untyped", f"exits {codes}")
    look(report, facts, fault.folder)
    again(report, deed, facts, fault.folder)


OPERATIONS: dict[str, Callable[[Fault, Report], None]] = {
    "twice": twice,
    "clock": clock,
    "lock": lock,
    "rivals": rivals,
}
