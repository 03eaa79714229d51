"""What does a night do when its machine fails it: kills, no disk or memory, damage, locks, rivals, clocks?"""

import errno
import json
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from night_judge import (
    DEEDS,
    NAMED,
    QUIET,
    SOON,
    Calls,
    Deed,
    Facts,
    Reads,
    Report,
    Steps,
    again,
    attempt,
    ended,
    failing,
    flagged,
    killed,
    look,
    terminated,
)
from night_world import World, remembered

from night_studies import DAYS
from research import night_acts, nightly_job
from research.engines import sigterm_raises
from research.night_report import PARAMETERS, health
from research.night_state import read_state
from research.parameter_margin import charge_book

BOOK = "portfolio,symbol,quantity\nlong,BTC-PERP,2\nshort,ETH,-3\npair,BTC,1\npair,ETH-PERP,-1\n"
DAMAGED = ("started", "three", "untold")  # bases whose files are damaged; between them they have every kind of file
_STRIDE = 7919  # a prime: few faults are spread over all moments, and many strike every one of them


@dataclass(frozen=True)
class Fault:
    """One fault: its class, its number within the class, and what it draws from."""

    kind: str
    ordinal: int
    draw: random.Random
    world: World
    folder: Path

    def at_some_moment(self, sort: str) -> tuple[Deed, int]:
        """A deed and one of its moments, so that enough faults of a class come to every one."""
        cells = [(deed, at) for deed in DEEDS for at in range(1, getattr(self.world.facts[deed.name], sort) + 1)]
        return cells[self.ordinal * _STRIDE % len(cells)]

    def begin(self, base: str) -> Path:
        """The folder of the state, a copy of a base."""
        return self.world.begin(base, self.folder) / "state"


def noting(strike: Callable[[], None], folder: Path) -> Callable[[], None]:
    """A strike, and when it was."""

    def noted() -> None:
        handle = os.open(folder / "struck", os.O_CREAT | os.O_WRONLY)
        os.write(handle, str(time.monotonic()).encode())
        os.close(handle)
        strike()

    return noted


def disturbed(fault: Fault, report: Report, deed: Deed, hooks: list[Any], expected: tuple[int, ...]) -> Facts:
    """Do a deed with faults hooked in, in a child, and look at what it left."""
    facts = fault.world.facts[deed.name]
    fault.begin(deed.base)

    def work() -> int:
        with sigterm_raises(), ExitStack() as stack:
            for hook in hooks:
                stack.enter_context(hook.hooked())
            return deed.do(fault.folder)

    code, now = ended(work), time.monotonic()
    report.counts["struck"] += code != 0
    report.counts["refused"] += code in expected
    if code not in (0, *expected):
        report.wrong("untyped", f"{deed.name}, fault {fault.ordinal} of its class: exit {code}")
    if fault.kind == "terminated" and code:
        took = now - float((fault.folder / "struck").read_text())
        if took > SOON:
            report.wrong("untyped", f"{deed.name}: {took:.1f} s after SIGTERM")
    look(report, facts, fault.folder)
    flagged(report, fault.folder)
    return facts


def interrupted(fault: Fault, report: Report) -> None:
    """Killed or ended at any call that changes the disk, and at any call of a function of ours."""
    strike = noting({"killed": killed, "terminated": terminated}[fault.kind], fault.folder)
    expected = {"killed": -signal.SIGKILL, "terminated": 143}[fault.kind]
    if fault.ordinal % 10 == 9:
        deed = fault.draw.choice(DEEDS)
        hook: Any = Calls(fault.draw.randint(1, fault.world.facts[deed.name].calls), strike)
    else:
        deed, at = fault.at_some_moment("steps")
        hook = Steps(at, strike)
    again(report, deed, disturbed(fault, report, deed, [hook], (expected,)), fault.folder)


def failing_disk(fault: Fault, report: Report) -> None:
    """A disk that is full, broken or read-only, once or from a moment on."""
    deed, at = fault.at_some_moment("steps")
    what = fault.draw.choice((errno.ENOSPC, errno.EIO, errno.EROFS))
    hook = Steps(at, failing(what), fault.draw.random() < 0.5)
    again(report, deed, disturbed(fault, report, deed, [hook], (75,)), fault.folder)


def unreadable(fault: Fault, report: Report) -> None:
    """A disk that cannot be read, once or from a moment on; a state that cannot is for `marginlab recover`."""
    deed, at = fault.at_some_moment("reads")
    hook = Reads(at, failing(errno.EIO), fault.draw.random() < 0.5)
    again(report, deed, disturbed(fault, report, deed, [hook], (1, 75)), fault.folder)


class Cap:
    """Holds a process to the memory that it has, and a few MiB more: what it computes must come from the system."""

    def __init__(self, more: int) -> None:
        self.more = more

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """From here on."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + self.more * 2**20
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        try:
            with mock.patch.object(nightly_job, "judged_market", remembered({})):
                yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


def short_of_memory(fault: Fault, report: Report) -> None:
    """No memory at a write, at a call of ours, or beyond a cap of the address space, under which all is computed."""
    deed = fault.draw.choice(DEEDS)
    facts, way = fault.world.facts[deed.name], (0, 0, 0, 1, 2, 2)[fault.ordinal % 6]
    hooks = [
        Steps(fault.draw.randint(1, facts.steps), failing(0), fault.draw.random() < 0.5),
        Calls(fault.draw.randint(1, facts.calls), failing(0)),
        Cap(int(2 ** fault.draw.uniform(0.0, 9.5))),
    ]
    again(report, deed, disturbed(fault, report, deed, [hooks[way]], (75,)), fault.folder)


def recovering(fault: Fault, report: Report) -> None:
    """Killed in a night or an act, its state perhaps damaged since, and `recover` killed as well."""
    deed, at = fault.at_some_moment("steps")
    facts = fault.world.facts[deed.name]
    state = fault.begin(deed.base)

    def hooked(hook: Steps, work: Callable[[], Any]) -> int:
        def within() -> int:
            with hook.hooked():
                work()
            return 0

        return ended(within)

    hooked(Steps(at, killed), lambda: deed.do(fault.folder))
    if fault.draw.random() < 0.5 and (state / "state.json").exists():
        damage(state / "state.json", fault.draw, "bit")
    code = hooked(Steps(fault.draw.randint(1, 40), killed), lambda: night_acts.recover(state, None, QUIET))
    report.counts["struck"] += code != 0
    report.counts["refused"] += code == -signal.SIGKILL
    attempt(report, lambda: night_acts.recover(state, None, QUIET))
    look(report, facts, fault.folder)
    again(report, deed, facts, fault.folder)


# ---- Files


def kind_of(path: Path, state: Path) -> str:
    """What sort of file it is: its name where there is one of it, else the folder and the sort within."""
    folder, name = path.relative_to(state).parts[0], path.name
    if folder == "nights" and name != "result.json":
        return "nights/checkpoint"
    if folder == "published":
        return "published/difference" if name.endswith(".diff.txt") else "published/parameters"
    return f"{folder}/{name}" if folder in ("nights", "models") else folder


def kinds_of(state: Path) -> dict[str, list[Path]]:
    """The files of a state that can be damaged, by sort."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(state.rglob("*")):
        if path.is_file() and path.stat().st_size:
            kinds.setdefault(kind_of(path, state), []).append(path)
    return kinds


def damage(path: Path, draw: random.Random, how: str) -> None:
    """Flip a bit of a file, or cut its end off."""
    payload = bytearray(path.read_bytes())
    if how == "bit":
        payload[draw.randrange(len(payload))] ^= 1 << draw.randrange(8)
    else:
        del payload[draw.randrange(len(payload)) :]
    path.write_bytes(payload)


def damaged(fault: Fault, report: Report) -> None:
    """A bit flipped in any file, or its end lost: whoever reads it refuses, or is right."""
    base = DAMAGED[fault.ordinal % len(DAMAGED)]
    deed = {"started": NAMED["promotion"], "three": NAMED["recalibration"], "untold": NAMED["untold"]}[base]
    facts, state = fault.world.facts[deed.name], fault.begin(base)
    (fault.folder / "book.csv").write_text(BOOK)
    if fault.draw.random() < 0.2:
        (state / "owner.json").write_text(json.dumps({"pid": 2**22 + 7}))
    asked = charge_book(fault.folder / "book.csv", state / PARAMETERS).margin.tobytes()
    kinds = kinds_of(state)
    kind = sorted(kinds)[fault.ordinal // len(DAMAGED) % len(kinds)]
    damage(fault.draw.choice(kinds[kind]), fault.draw, fault.kind)
    report.counts["struck"] += 1
    report.file = kind

    def charge() -> None:
        if charge_book(fault.folder / "book.csv", state / PARAMETERS).margin.tobytes() != asked:
            report.wrong("unflagged", f"{kind}: margin --parameters asks another margin")

    noon = np.datetime64(f"{DAYS[3]}T12", "s").astype(object)
    codes = [attempt(report, lambda: read_state(state)), attempt(report, charge)]
    ill = attempt(report, lambda: health(state, noon, 5.0)[0])
    report.counts["flagged"] += ill != 0
    if attempt(report, lambda: deed.do(fault.folder, resume=True)):
        codes.append(1)
        attempt(report, lambda: night_acts.recover(state, None, QUIET))
    report.counts["refused"] += any((*codes, ill))
    again(report, deed, facts, fault.folder)


def damaged_act(fault: Fault, report: Report) -> None:
    """What a person would put in force was damaged since: the act is refused, and the champion stays."""
    deed = fault.draw.choice((NAMED["rollback"], NAMED["approval"]))
    facts, state = fault.world.facts[deed.name], fault.begin(deed.base)
    market = read_state(state).markets["two"]
    wanted = market.previous if deed.name == "rollback" else market.waiting
    assert wanted is not None
    files = sorted((state / "models" / wanted.model).iterdir())
    path = fault.draw.choice(files)
    whole = path.read_bytes()
    damage(path, fault.draw, fault.draw.choice(("bit", "cut")))
    report.counts["struck"] += 1
    code = attempt(report, lambda: deed.do(fault.folder))
    report.counts["refused"] += code == 1
    if code != 1:
        report.wrong("champion", f"{deed.name} of a damaged model: exit {code}")
    path.write_bytes(whole)
    look(report, facts, fault.folder)
    again(report, deed, facts, fault.folder)


MACHINE: dict[str, Callable[[Fault, Report], None]] = {
    **dict.fromkeys(("killed", "terminated"), interrupted),
    **{"disk": failing_disk, "unreadable": unreadable, "memory": short_of_memory, "recover": recovering},
    **dict.fromkeys(("bit", "cut"), damaged),
    "act": damaged_act,
}
