"""Does any fault of disk, file, data, store or clock cost a champion, promote by half, or publish a wrong margin?

A program of its own, `night_faults.py COUNT [SEED [CLASS,CLASS...]]`: each fault strikes a child that is forked after
the imports and before any thread, and what it left is judged, and done again, in children as well. What the nights
compute is computed once, by the program itself, and remembered: it is the same at every fault, and what happens to the
files is not. Nights on data that were spoilt are computed each for itself, and so is every two-hundredth of the others.
"""

import gc
import hashlib
import os
import pickle
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
sys.dont_write_bytecode = True  # two studies of one second and one length would be taken for one
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a pool of threads does not come through a fork

from filelock import FileLock  # noqa: E402, F401  imported once, before the first fork
from night_diary import MLFLOW  # noqa: E402
from night_judge import DEEDS, Report  # noqa: E402
from night_rivals import OPERATIONS  # noqa: E402
from night_spoilt import SPOILT  # noqa: E402
from night_strikes import MACHINE, Fault  # noqa: E402
from night_world import World, loaded, remembered  # noqa: E402

from data.code_version import told_version  # noqa: E402
from research import nightly_job  # noqa: E402
from research.model_files import known_classes  # noqa: E402
from research.tracking import ENVIRONMENT  # noqa: E402

CLASSES: dict[str, Callable[[Fault, Report], None]] = {**MACHINE, **OPERATIONS, **SPOILT, **MLFLOW}
# How often each class is drawn; those that compute, or ask a store, seldom.
SHARES = {"killed": 100, "terminated": 24, "disk": 48, "unreadable": 32, "memory": 24, "recover": 24}
SHARES |= {"bit": 44, "cut": 16, "act": 8, "twice": 8, "clock": 12, "lock": 16, "rivals": 8}
SHARES |= {"values": 4, "times": 4, "gap": 1, "poison": 1, "model": 3, "mlflow": 5}
COUNTED = ("injected", "struck", "refused", "flagged", "recovered")
WRONG = ("champion", "half", "unflagged", "nonpositive", "hash", "untyped")
EVERY = 200  # of so many faults one is computed anew


Numbered = tuple[int, str, int]  # a fault: its number, its class, and its number within the class


def one_fault(world: World, fault: Numbered, seed: int) -> Report:
    """One fault and its report, which says so where the judge itself broke."""
    number, kind, ordinal = fault
    mine, folder = Report(kind), world.place / f"fault-{number}"
    memory = {} if number % EVERY == EVERY - 1 else world.memory
    try:
        with mock.patch.object(nightly_job, "judged_market", remembered(memory)):
            CLASSES[kind](Fault(kind, ordinal, random.Random(f"{seed}-{number}"), world, folder), mine)
    except BaseException as error:
        mine.wrong("untyped", f"fault {number} broke the judge: {type(error).__name__}: {error}")
    mine.counts["injected"] += 1
    shutil.rmtree(folder, ignore_errors=True)
    return mine


def in_a_child(world: World, faults: list[Numbered], seed: int) -> list[Report]:
    """Some faults one after the other, judged in a child, from which more are forked that are struck."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        done = [one_fault(world, fault, seed) for fault in faults]
        with os.fdopen(theirs, "wb") as pipe:
            pickle.dump(done, pipe)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        payload = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, f"the judge of {faults} broke"
    reports: list[Report] = pickle.loads(payload)
    return reports


def drawn(count: int, seed: int, wanted: list[str]) -> list[Numbered]:
    """The class of every fault, each class as often as its share, in a drawn order; and its number within the class."""
    whole = sum(SHARES[kind] for kind in wanted)
    kinds = [kind for kind in wanted for _ in range(max(1, round(count * SHARES[kind] / whole)))]
    kinds = (kinds + [wanted[0]] * count)[:count] if len(wanted) <= count else kinds[:count]
    seen: Counter[str] = Counter()
    faults = []
    for kind in kinds:
        faults.append((kind, seen[kind]))
        seen[kind] += 1
    random.Random(seed).shuffle(faults)
    return [(number, *fault) for number, fault in enumerate(faults)]


def in_workers(world: World, faults: list[Numbered], seed: int, together: int) -> list[tuple[str, Report]]:
    """Faults, shared out to processes; so many in a child."""
    pids, workers = [], min(os.cpu_count() or 1, 8)
    for worker in range(workers):
        pid = os.fork()
        if not pid:
            mine, done = faults[worker::workers], []
            for start in range(0, len(mine), together):
                some = mine[start : start + together]
                done += [(fault[1], one) for fault, one in zip(some, in_a_child(world, some, seed), strict=True)]
                _tell(world.place / f"reports-{worker}", done, len(some))
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    files = [world.place / f"reports-{worker}" for worker in range(workers)]
    return [one for file in files if file.exists() for one in pickle.loads(file.read_bytes())]


def _tell(file: Path, done: list[tuple[str, Report]], news: int) -> None:
    """Keep what is done, and tell who waits an hour of progress, and of what is wrong at once."""
    file.write_bytes(pickle.dumps(done))
    said = [sentence for _, report in done[-news:] for sentence in report.said]
    if said or len(done) % 500 < news:
        print(f"{file.name}: {len(done)} faults", *said, sep="\n", file=sys.stderr, flush=True)


def table(reports: list[tuple[str, Report]], kinds: list[str]) -> str:
    """A line a class: how often what, and how long recovery took, in the median and at most."""
    lines = [f"{'class':11}" + "".join(f"{name:>12}" for name in (*COUNTED, *WRONG)) + f"{'median s':>10}{'most s':>9}"]
    for kind in (*kinds, "all"):
        chosen = [report for of, report in reports if kind in (of, "all")]
        counts = sum((report.counts for report in chosen), Counter[str]())
        seconds = [report.seconds for report in chosen] or [0.0]
        told = "".join(f"{counts[name]:12d}" for name in (*COUNTED, *WRONG))
        lines.append(f"{kind:11}{told}{median(seconds):10.3f}{max(seconds):9.3f}")
    return "\n".join(lines)


def files_table(reports: list[tuple[str, Report]]) -> str:
    """A line a sort of file: how often it was damaged, and how often somebody refused it."""
    sorts = sorted({report.file for _, report in reports if report.file})
    lines = [f"{'damaged file':32}{'struck':>8}{'refused':>9}{'recovered':>11}"]
    for sort in sorts:
        counts = sum((report.counts for _, report in reports if report.file == sort), Counter[str]())
        lines.append(f"{sort:32}{counts['struck']:8d}{counts['refused']:9d}{counts['recovered']:11d}")
    return "\n".join(lines) if sorts else ""


def main(count: int, seed: int, wanted: list[str]) -> int:
    """Print the tables; 1 where anything was wrong."""
    began = time.perf_counter()
    known_classes()
    told_version()
    os.environ.update(ENVIRONMENT)
    faults, memory = drawn(count, seed, wanted), Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        world = loaded(Path(place), store="mlflow" in wanted)
        gc.disable()  # a collection would touch, and so copy, every page that a child shares
        gc.freeze()
        reports = in_workers(world, [one for one in faults if one[1] not in MLFLOW], seed, 20)
        if "mlflow" in wanted:  # after the others: a process that has imported it forks several times as slowly
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

            for file in Path(place).glob("reports-*"):
                file.unlink()
            reports += in_workers(world, [one for one in faults if one[1] in MLFLOW], seed, 1)
    print(table(reports, wanted))
    print(files_table(reports), end="\n")
    said = [sentence for _, report in reports for sentence in report.said]
    print("\n".join(said[:40]), end="\n" * bool(said))
    moments = sum(world.facts[deed.name].steps for deed in DEEDS)
    whole = hashlib.sha256("".join(facts.hashes[-1] for facts in world.facts.values()).encode()).hexdigest()
    recovered = sum(report.counts["recovered"] for _, report in reports)
    print(f"{recovered} of {count} came to the hash of undisturbed nights, {whole[:16]}; a disk has {moments} moments")
    print(f"{count} faults in {time.perf_counter() - began:.0f} s, seed {seed}")
    return int(bool(said) or recovered != count)


if __name__ == "__main__":
    chosen = sys.argv[3].split(",") if len(sys.argv) > 3 else [*CLASSES]
    code = main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2024, chosen)
    sys.stdout.flush()
    os._exit(code)
