"""What is left in a store by processes that are killed, run out of disk or write at once?

A program of its own, `store_faults.py STORE CASE COUNT SEED`: it forks a child a fault, for which nothing may have
started a thread, so that it imports everything, touches no Parquet itself, and judges the store in children as well.
"""

import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import pyarrow.parquet  # noqa: E402, F401  imported once, before the first fork
from filelock import FileLock  # noqa: E402, F401
from record_sets import cut, keep, random_records  # noqa: E402

from data import MarketHistory, record_files, snapshot  # noqa: E402
from data.catalog import faults, listed, name_records, read_records  # noqa: E402
from data.errors import SnapshotError  # noqa: E402
from data.records import TRADES  # noqa: E402
from data.storage import PARTIAL  # noqa: E402

ROWS = 1000
STEPS = 60  # calls that `act` makes at least, of those that are counted
REFUSED = 3
DONE, KILLED = 0, -signal.SIGKILL
_STEPS = ((os, "fsync"), (os, "replace"), (os, "mkdir"), (os, "unlink"), (record_files._OpenPart, "end"))


def act(store: Path) -> None:
    """Keep records in several parts, name them, freeze a history and name it: all that a kill may cut short."""
    record_files.ROW_GROUP, record_files.PART = 150, 300
    tape = random_records(TRADES, ROWS, 11)
    made = keep(store, *cut(tape, [100, 300, 700]))
    name_records("tape", made.hash, store, move=True)
    frozen = snapshot.freeze(_history(), store / "snapshots")
    snapshot.name_snapshot("market", frozen, store / "snapshots", move=True)


def _history() -> MarketHistory:
    time = np.datetime64("2024-01-01", "ns") + np.arange(500).astype("timedelta64[D]")
    spot = 100.0 + np.random.default_rng(1).normal(size=(500, 4)).cumsum(axis=0) * 0.1
    return MarketHistory(time, ("A", "B", "C", "D"), spot, volume=spot * 3)


def judge(store: Path, *, done: bool) -> None:
    """Whatever is listed is whole and is what was written; when all is `done`, it is there and nothing else is."""
    price = random_records(TRADES, ROWS, 11)["price"]
    for one in listed(store):
        assert not one.fault, one.fault
        assert faults(one, store) == []
    for found in snapshot.listed(store / "snapshots"):
        assert not found.fault, found.fault
        assert snapshot.load(found.hash, store / "snapshots").spot.tobytes() == _history().spot.tobytes()
    if done:
        kept = np.concatenate([batch["price"] for batch in read_records("tape", store)])
        assert kept.tobytes() == price.tobytes()
        assert snapshot.load("market", store / "snapshots").spot.tobytes() == _history().spot.tobytes()
        left = [*store.rglob(f"{PARTIAL}*")]
        assert not left, left


def recover(store: Path, *, whole: bool) -> None:
    """Judge what a fault left, do again what it cut short, and judge that."""
    judge(store, done=whole)
    act(store)
    judge(store, done=True)


def forked(work: Callable[[], None]) -> int:
    """The process that does it; it exits with DONE, with REFUSED for an error of ours, or with 1."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = DONE
    except SnapshotError:
        code = REFUSED
    except BaseException as error:  # the child must not return into its parent's program
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """How a child ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(store: Path, step: int) -> int:
    """A child that kills itself at its nth call that changes the disk."""

    def work() -> None:
        left = [step]
        for owner, name in _STEPS:
            setattr(owner, name, _counted(getattr(owner, name), left))
        act(store)

    return ended(forked(work))


def _counted(call: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def cut_short(*arguments: Any, **named: Any) -> Any:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return call(*arguments, **named)

    return cut_short


def killed_after(store: Path, seconds: float) -> int:
    """A child that is killed after a while, wherever it is then."""
    pid = forked(lambda: act(store))
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return ended(pid)


def out_of_disk(store: Path, limit: int) -> int:
    """A child none of whose files can grow beyond a limit."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        act(store)

    return ended(forked(work))


def main(store: Path, case: str, count: int, seed: int) -> None:
    """Run `count` faults of a case, from a store that is empty or not, and judge the store after each of them."""
    draw = random.Random(seed)
    began = time.perf_counter()
    assert ended(forked(lambda: act(store))) == DONE
    span = time.perf_counter() - began
    outcomes: dict[int, int] = {}
    for number in range(count):
        if draw.random() < 0.7:
            shutil.rmtree(store, ignore_errors=True)
        if case == "steps":
            outcome = killed_at(store, draw.randrange(STEPS))
        elif case == "time":
            outcome = killed_after(store, draw.uniform(0, 1.1 * span))
        elif case == "disk":
            outcome = out_of_disk(store, int(2 ** draw.uniform(6, 17)))
            assert outcome in (DONE, REFUSED), outcome
            assert not list(store.rglob(f"{PARTIAL}*")), "a process that lives on cleans up"
        else:
            outcome = max(map(ended, [forked(lambda: act(store)) for _ in range(4)]))
            assert outcome == DONE, outcome
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert ended(forked(lambda: recover(store, whole=case == "writers"))) == DONE, f"after fault {number}"
    print(" ".join(f"{code}:{times}" for code, times in sorted(outcomes.items())))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
