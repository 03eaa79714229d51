"""What must hold of a folder of nights after any fault, and how is one struck at a drawn moment?"""

import hashlib
import io
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, TextIO
from unittest import mock

import numpy as np

from data import MarginlabError, storage
from data.errors import SnapshotError
from data.sealed import encoded
from night_studies import DAYS, night
from research import night_acts
from research.cli_nightly import _code_of
from research.limits import Limits
from research.model_files import read_model
from research.night_journal import Recorder
from research.night_report import DIFF, PARAMETERS, STATUS, Log
from research.night_state import NightState, read_state
from research.parameters import read_parameters

QUIET = Log(quiet=True)
ROOT = Path(__file__).resolve().parents[1]
OURS = tuple(f"{ROOT / name}{os.sep}" for name in ("data", "margin_models", "backtest", "research"))
LATER = "2021-10-09"
SOON = 5.0  # seconds within which SIGTERM must have ended a night


# ---- What the nights do, and where they start


@dataclass(frozen=True)
class Deed:
    """Something done to a folder of nights: `as_of` of a night, or an act of a person; `base` is how it starts."""

    name: str
    base: str
    as_of: str = ""

    def do(self, folder: Path, recorder: Recorder | None = None, **options: Any) -> int:
        """Do it, and return the exit code."""
        if self.as_of:
            return int(night(folder, self.as_of, folder / "study.py", recorder, **options)["exit"])
        if self.name == "rollback":
            return int(night_acts.rollback(folder / "state", None, recorder, QUIET)["exit"])
        approved = night_acts.promote(folder / "state", None, recorder, QUIET, approve=True, limits=Limits())
        return int(approved["exit"])


DEEDS = (
    Deed("first", "nothing", DAYS[0]),
    Deed("promotion", "two", DAYS[2]),
    Deed("recalibration", "three", DAYS[3]),
    Deed("approval", "waiting"),
    Deed("rollback", "three"),
)
UNTOLD = Deed("untold", "untold", DAYS[3])  # three nights wait to be told
AFTER_A_GAP = Deed("after a gap", "three", LATER)
NAMED = {deed.name: deed for deed in (*DEEDS, UNTOLD, AFTER_A_GAP)}


@dataclass
class Facts:
    """What an undisturbed deed starts from and comes to, and how many moments of each sort it has."""

    roles: list[str]
    hashes: list[str]
    margins: list[list[float]]
    steps: int = 0
    reads: int = 0
    calls: int = 0


@dataclass
class Report:
    """What one fault did: its counts by column, how long recovery took, and which sort of file it damaged."""

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    seconds: float = 0.0
    file: str = ""

    def wrong(self, column: str, sentence: str) -> None:
        """Something that must not be."""
        self.counts[column] += 1
        self.said.append(f"{self.kind}: {column}: {sentence}")


def roles_of(state: NightState) -> str:
    """The aliases of the only market, and nothing of whether it is stale."""
    markets = {name: {**asdict(one), "stale": "", "since": "", "last": {}} for name, one in state.markets.items()}
    return hashlib.sha256(encoded({"markets": markets})).hexdigest()


def fingerprint(folder: Path) -> str:
    """The sha256 of all that a night comes to: its state but for the count of commits, and what outsiders read."""
    state = folder / "state"
    payloads = {name: (state / name).read_text() for name in (PARAMETERS, DIFF, STATUS, "metrics.prom")}
    return hashlib.sha256(encoded({**asdict(replace(read_state(state), number=0)), **payloads})).hexdigest()


def charged(folder: Path) -> list[float]:
    """The margins of the book by the published file; nothing while there is none."""
    place = folder / "state" / PARAMETERS
    if not place.exists():
        return []
    one = read_parameters(place).markets["two"]
    exposure = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, -1.0], [2.0, 1.0]])
    return [float(margin) for margin in one.charge(exposure)]


# ---- Faults


class Moments:
    """Counts moments of a deed, and strikes at one of them, or from it on."""

    def __init__(self, at: int, strike: Callable[[], None], lasting: bool = False) -> None:
        self.at, self.strike, self.lasting, self.seen = at, strike, lasting, 0

    def pass_one(self) -> None:
        """One moment."""
        self.seen += 1
        if self.seen == self.at or (self.lasting and self.seen > self.at):
            self.strike()

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A call with its two moments."""

        def counted(*arguments: Any, **named: Any) -> Any:
            self.pass_one()
            answer = call(*arguments, **named)
            self.pass_one()
            return answer

        return counted


class Steps(Moments):
    """Before, within and after each call that changes the disk."""

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Count from here on."""
        ours = SimpleNamespace(**{**vars(os), "replace": self.around(os.replace), "fsync": self.around(os.fsync)})
        write = Path.write_bytes

        def halves(path: Path, payload: bytes) -> int:
            self.pass_one()
            write(path, payload[: len(payload) // 2])
            self.pass_one()
            written = write(path, payload)
            self.pass_one()
            return written

        with (
            mock.patch.object(storage, "os", ours),
            mock.patch.object(Path, "write_bytes", halves),
            mock.patch.object(Path, "mkdir", self.around(Path.mkdir)),
            mock.patch.object(Path, "unlink", self.around(Path.unlink)),
        ):
            yield


class Reads(Moments):
    """Before each call that reads a file, or asks whether there is one."""

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Count from here on."""
        with (
            mock.patch.object(Path, "read_bytes", self._before(Path.read_bytes)),
            mock.patch.object(Path, "stat", self._before(Path.stat)),
        ):
            yield

    def _before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.pass_one()
            return call(*arguments, **named)

        return counted


class Calls(Moments):
    """Each call of a function of ours."""

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Count from here on; what the strike raises, the function that was called raises."""
        sys.setprofile(self._called)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.pass_one()


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def failing(what: int) -> Callable[[], None]:
    """An error of the disk, or of the memory where `what` is 0."""

    def strike() -> None:
        if not what:
            raise MemoryError
        raise OSError(what, os.strerror(what))

    return strike


def ended(work: Callable[[], int], told: TextIO | None = None) -> int:
    """How a child ends that does it: its exit code, or minus its signal; why it broke is `told`."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            with redirect_stderr(io.StringIO()):
                code = work()
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=told or io.StringIO(), flush=True)
            code = _code_of(error) if isinstance(error, MarginlabError | OSError | MemoryError) else 99
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def attempt(report: Report, work: Callable[[], Any]) -> int:
    """Do it here; its exit code, and a word where it broke in a way of its own."""
    try:
        with redirect_stderr(io.StringIO()):
            answer = work()
    except (MarginlabError, OSError, MemoryError) as error:
        return _code_of(error)
    except Exception as error:  # a bug of ours
        report.wrong("untyped", f"{type(error).__name__}: {error}")
        return 99
    return answer if isinstance(answer, int) else 0


# ---- Judgement


def flagged(report: Report, folder: Path) -> None:
    """Count a fault that those who look from outside are told of."""
    with suppress(MarginlabError, OSError):
        report.counts["flagged"] += bool(read_state(folder / "state").stale)


def look(report: Report, facts: Facts, folder: Path) -> None:
    """What must hold after any fault: roles old or new, every champion whole, margins old or new and positive."""
    try:
        state = read_state(folder / "state")
    except SnapshotError as error:
        report.wrong("half", str(error))
        return
    if roles_of(state) not in facts.roles:
        report.wrong("half", "roles that are neither old nor new")
    for one in state.markets.values():
        try:
            if one.champion is not None:
                read_model(folder / "state" / "models", one.champion.model)
        except SnapshotError as error:
            report.wrong("champion", str(error))
    try:
        margins = charged(folder)
    except MarginlabError as error:
        report.wrong("unflagged", str(error))
        return
    if not all(np.isfinite(one) and one > 0 for one in margins):
        report.wrong("nonpositive", f"got {margins}")
    elif margins not in facts.margins:
        report.wrong("unflagged", f"got {margins}")


def again(report: Report, deed: Deed, facts: Facts, folder: Path, recorder: Recorder | None = None) -> None:
    """Do what was cut short once more: it comes to what an undisturbed deed comes to, and leaves nothing else."""
    began = time.perf_counter()
    done = not deed.as_of and roles_of(read_state(folder / "state")) == facts.roles[-1]
    if done:
        code = attempt(report, lambda: night_acts.recover(folder / "state", recorder, QUIET))
    else:
        code = attempt(report, lambda: deed.do(folder, recorder, **({"resume": True} if deed.as_of else {})))
    report.seconds = time.perf_counter() - began
    look(report, facts, folder)
    left = [path.name for path in (folder / "state").rglob(f"{storage.PARTIAL}*")]
    same = fingerprint(folder) == facts.hashes[-1]
    if code or left or not same:
        report.wrong("hash", f"{deed.name} again: exit {code}, left {left}, {'same' if same else 'another'} hash")
    else:
        report.counts["recovered"] += 1
