"""What does a night do when the store of its runs is down, locked, damaged or slow, and is each told exactly once?"""

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from night_judge import NAMED, Moments, Report, again, ended, killed, look
from night_strikes import Fault, damage
from night_world import STORE

from data.errors import SnapshotError
from research.model_files import hash_of, to_files
from research.night_commit import aliases_of
from research.night_state import read_state
from research.registry import ENTRY, Registry

LONGEST = 60.0  # seconds that a night may lose by a store that does not answer
DEED = NAMED["recalibration"]


def _moved(folder: Path, before: Path) -> None:
    """Let the runs of a copied store know where their files are."""
    columns = {
        "experiments": ("artifact_location",),
        "runs": ("artifact_uri",),
        "model_versions": ("source", "storage_location"),
    }
    with closing(sqlite3.connect(folder / STORE / "mlflow.db")) as database, database:
        for table, names in columns.items():
            for name in names:
                words = f"update {table} set {name} = replace({name}, ?, ?)"
                database.execute(words, (str(before), str(folder)))


class Answers(Moments):
    """Before and after each call of MLflow's client."""

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Count from here on."""
        from mlflow import MlflowClient

        names = [name for name, call in vars(MlflowClient).items() if callable(call) and not name.startswith("_")]
        with ExitStack() as stack:
            for name in names:
                call = self.around(getattr(MlflowClient, name))
                stack.enter_context(mock.patch.object(MlflowClient, name, call))
            yield


def _down(fault: Fault) -> Callable[[], None]:
    """How a store fails."""
    from mlflow.exceptions import MlflowException, RestException

    errors: list[Exception] = [
        MlflowException("INTERNAL_ERROR: the server broke"),
        RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "503"}),  # type: ignore[no-untyped-call]
        ConnectionError("connection refused"),
        TimeoutError("no answer within 10 s"),
        OSError(5, "Input/output error"),
        OSError(28, "No space left on device"),
        sqlite3.OperationalError("database is locked"),
        ValueError("what MLflow raises where nobody expects it"),
    ]
    error = errors[fault.ordinal // len(WAYS) % len(errors)]

    def strike() -> None:
        raise error

    return strike


@contextmanager
def _answers(fault: Fault) -> Iterator[None]:
    """Down from a call on, for one call, or from the start."""
    at = 1 if fault.draw.random() < 0.2 else fault.draw.randint(1, 60)
    with Answers(at, _down(fault), lasting=fault.draw.random() < 0.6).hooked():
        yield


@contextmanager
def _killed(fault: Fault) -> Iterator[None]:
    with Answers(fault.draw.randint(1, 60), killed).hooked():
        yield


@contextmanager
def _locked(fault: Fault) -> Iterator[None]:
    """Another process writes, and does not end."""
    connect = sqlite3.dbapi2.connect
    with closing(connect(fault.folder / STORE / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        def impatient(*arguments: Any, **named: Any) -> Any:
            return connect(*arguments, **{**named, "timeout": 0.2})

        with mock.patch.object(sqlite3.dbapi2, "connect", impatient):
            yield


@contextmanager
def _read_only(fault: Fault) -> Iterator[None]:
    connect = sqlite3.dbapi2.connect

    def bound(*arguments: Any, **named: Any) -> Any:
        connection = connect(*arguments, **named)
        connection.execute("PRAGMA query_only = ON")
        return connection

    with mock.patch.object(sqlite3.dbapi2, "connect", bound):
        yield


@contextmanager
def _damaged(fault: Fault) -> Iterator[None]:
    """A bit of the database flipped, or its end lost, and somebody puts it back later."""
    path = fault.folder / STORE / "mlflow.db"
    whole = path.read_bytes()
    damage(path, fault.draw, fault.draw.choice(("bit", "cut")))
    try:
        yield
    finally:
        for more in ("-wal", "-shm"):
            path.with_name(path.name + more).unlink(missing_ok=True)
        path.write_bytes(whole)


@contextmanager
def _gone(fault: Fault) -> Iterator[None]:
    """A folder that cannot be had: a file is in its place."""
    place = fault.folder / STORE
    place.rename(place.with_name("away"))
    place.write_text("no folder")
    try:
        yield
    finally:
        place.unlink()
        place.with_name("away").rename(place)


@contextmanager
def _artifact(fault: Fault) -> Iterator[None]:
    """A model's file among the artifacts is damaged: nobody loads it."""
    yield
    files = sorted(path for path in (fault.folder / STORE / "artifacts").rglob("models/*/*") if path.is_file())
    damage(fault.draw.choice(files), fault.draw, fault.draw.choice(("bit", "cut")))


WAYS: tuple[Callable[[Fault], Any], ...] = (
    *(_answers, _answers, _answers, _killed, _killed),
    *(_locked, _read_only, _damaged, _gone, _artifact),
)


def diary(fault: Fault, report: Report) -> None:
    """A night while its store fails: it comes to the same, soon, and the store is told later, once."""
    folder, facts = fault.folder, fault.world.facts[DEED.name]
    fault.begin("told")
    _moved(folder, fault.world.place / "told")
    way = WAYS[fault.ordinal % len(WAYS)]
    report.kind = f"mlflow, {way.__name__[1:]}"

    began = time.perf_counter()
    with way(fault):
        code = ended(lambda: DEED.do(folder, Registry(root=folder)))
    took = time.perf_counter() - began
    waiting = len(read_state(folder / "state").outbox)
    report.counts["struck"] += bool(code or waiting) or way is _artifact
    report.counts["refused"] += bool(waiting)
    if code not in (0, -signal.SIGKILL):
        report.wrong("untyped", f"the store's failure became the night's: exit {code}")
    if took > LONGEST:
        report.wrong("untyped", f"the night waited {took:.0f} s for its store")
    look(report, facts, folder)
    report.counts["flagged"] += bool(waiting)
    registry = Registry(root=folder)
    again(report, DEED, facts, folder, registry)
    nights = 3 if way is _damaged and not waiting else 4  # what was told to it went when it was put back
    _told_once(report, folder, registry, nights, refuses=way is _artifact)


def _told_once(report: Report, folder: Path, registry: Registry, nights: int, *, refuses: bool) -> None:
    """Each night is one finished run, the aliases are those of the state, and what they mean can be loaded."""
    with closing(sqlite3.connect(folder / STORE / "mlflow.db")) as database:
        words = "select t.value, count(*) from tags t join runs r using (run_uuid) where t.key = ? and r.status = ?"
        told = dict(database.execute(f"{words} group by t.value", (ENTRY, "FINISHED")).fetchall())
        begun = database.execute("select count(*) from tags where key = ?", (ENTRY,)).fetchone()[0]
    if [*told.values()] != [1] * nights or begun != nights:
        report.wrong("hash", f"the store knows {len(told)} nights in {begun} runs, expected {nights} in {nights}")
    state = read_state(folder / "state")
    if state.outbox:
        report.wrong("hash", f"{len(state.outbox)} entries were never told")
    _, aliases = aliases_of(state)
    if nights == 3:
        return
    wanted = {role: model for role, model in aliases["toy.two"].items() if model}
    if registry.aliases("toy.two") != wanted:
        report.wrong("half", f"the store's aliases are {registry.aliases('toy.two')}, the state's {wanted}")
    for role, model in wanted.items():
        try:
            files = to_files(registry.load("toy.two", role))
        except SnapshotError as error:
            if not refuses:
                report.wrong("champion", f"{role}: {error}")
            continue
        if hash_of(files) != model:
            report.wrong("champion", f"{role} was loaded as another model")


MLFLOW: dict[str, Callable[[Fault, Report], None]] = {"mlflow": diary}
