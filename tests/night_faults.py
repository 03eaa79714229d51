"""Does any fault of disk, file, data or clock cost a champion, promote by half, or publish a margin that is not right?

A program of its own, `night_faults.py COUNT [SEED]`: each fault strikes a child that is forked after the imports and
before any thread, and what it left is judged, and done again, in children as well. What the nights compute is computed
once, by the program itself, and remembered: it is the same at every fault, and what happens to the files is not.
Nights on data that were spoilt are computed each for itself, and so is every fiftieth of the others.
"""

import errno
import gc
import hashlib
import os
import pickle
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
sys.dont_write_bytecode = True  # two studies of one second and one length would be taken for one
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a pool of threads does not come through a fork

import numpy as np  # noqa: E402
from filelock import FileLock  # noqa: E402, F401  imported once, before the first fork
from night_judge import (  # noqa: E402
    DEEDS,
    QUIET,
    Report,
    Steps,
    again,
    attempt,
    charged,
    ended,
    failing,
    fingerprint,
    killed,
    look,
    roles_of,
    terminated,
)
from night_world import World, loaded, remembered  # noqa: E402

from data import MarginlabError  # noqa: E402
from data.code_version import told_version  # noqa: E402
from night_studies import DAYS, night, study_file  # noqa: E402
from research import night_acts, nightly_job  # noqa: E402
from research.engines import sigterm_raises  # noqa: E402
from research.model_files import known_classes  # noqa: E402
from research.night_journal import Entry, Recorder  # noqa: E402
from research.night_report import PARAMETERS, health  # noqa: E402
from research.night_state import read_state  # noqa: E402
from research.parameter_margin import charge_book  # noqa: E402

BOOK = "portfolio,symbol,quantity\nlong,BTC-PERP,2\nshort,ETH,-3\npair,BTC,1\npair,ETH-PERP,-1\n"
# How often each class is drawn.
SHARES = {
    "killed": 40,
    "disk": 20,
    "terminated": 4,
    "bit": 14,
    "cut": 6,
    "data": 2,
    "twice": 3,
    "clock": 4,
    "rivals": 4,
}
SHARES |= {"diary": 3}
COUNTED = ("injected", "struck", "refused", "recovered")
WRONG = ("champion", "half", "margin", "hash", "untyped")
EVERY = 50  # of so many faults one is computed anew


# ---- One function a class


def interrupted(kind: str, world: World, draw: random.Random, folder: Path, report: Report) -> None:
    """Killed, ended, or out of disk or memory, at any moment of any deed."""
    deed = draw.choice(DEEDS)
    facts = world.facts[deed.name]
    world.begin(deed.base, folder)
    what = draw.choice((errno.ENOSPC, errno.EIO, errno.EROFS, 0))
    strikes = {"killed": killed, "terminated": terminated, "disk": failing(what)}
    lasting = kind == "disk" and what != 0 and draw.random() < 0.5
    steps = Steps(draw.randint(1, facts.steps), strikes[kind], lasting)

    def work() -> int:
        with sigterm_raises(), steps.hooked():
            return deed.do(folder)

    code = ended(work)
    expected = {"killed": -signal.SIGKILL, "terminated": 143, "disk": 75}[kind]
    report.counts["struck"] += code != 0
    report.counts["refused"] += code == expected
    if code not in (0, expected):
        report.wrong("untyped", f"{deed.name}, step {steps.at}: exit {code}")
    look(report, facts, folder)
    again(report, deed, facts, folder)


def damaged(kind: str, world: World, draw: random.Random, folder: Path, report: Report) -> None:
    """A bit flipped in any file, or its end lost: whoever reads it refuses, or is right."""
    deed, base = draw.choice(((DEEDS[1], "started"), (DEEDS[2], "three")))
    facts = world.facts[deed.name]
    state = world.begin(base, folder) / "state"
    (folder / "book.csv").write_text(BOOK)
    asked = charge_book(folder / "book.csv", state / PARAMETERS).margin.tobytes()
    path = draw.choice(sorted(path for path in state.rglob("*") if path.is_file() and path.stat().st_size))
    payload = bytearray(path.read_bytes())
    if kind == "bit":
        payload[draw.randrange(len(payload))] ^= 1 << draw.randrange(8)
    else:
        del payload[draw.randrange(len(payload)) :]
    path.write_bytes(payload)
    report.counts["struck"] += 1
    report.kind = f"{kind} {path.relative_to(state).parts[0]}"

    def charge() -> None:
        if charge_book(folder / "book.csv", state / PARAMETERS).margin.tobytes() != asked:
            report.wrong("margin", "margin --parameters asks another margin")

    noon = np.datetime64(f"{DAYS[3]}T12", "s").astype(object)
    codes = [attempt(report, lambda: read_state(state)), attempt(report, charge)]
    codes += [attempt(report, lambda: health(state, noon, 5.0)[0])]
    if attempt(report, lambda: deed.do(folder, resume=True)):
        codes.append(1)
        attempt(report, lambda: night_acts.recover(state, None, QUIET))
    report.counts["refused"] += any(codes)
    again(report, deed, facts, folder)


def twice(_: str, world: World, draw: random.Random, folder: Path, report: Report) -> None:
    """A night that is done is not done again."""
    deed = DEEDS[draw.randrange(3)]
    facts = world.facts[deed.name]
    world.begin(deed.base, folder)
    attempt(report, lambda: deed.do(folder))
    before = read_state(folder / "state").number
    report.counts["struck"] += 1
    again(report, deed, facts, folder)
    if read_state(folder / "state").number != before:
        report.wrong("hash", "a commit for nothing")


def clock(_: str, world: World, draw: random.Random, folder: Path, report: Report) -> None:
    """A clock that steps back, or far ahead: refused, and nothing is touched."""
    world.begin("three", folder)
    day = draw.choice(
        (f"20{draw.randrange(10, 21)}-0{draw.randrange(1, 10)}-11", DAYS[draw.randrange(2)], "2199-01-01")
    )
    before = fingerprint(folder)
    report.counts["struck"] += 1
    code = attempt(report, lambda: night(folder, day, folder / "study.py")["exit"])
    report.counts["refused"] += code == 2
    if code != 2 or fingerprint(folder) != before:
        report.wrong("hash", f"as of {day}: exit {code}")
    again(report, DEEDS[2], world.facts["recalibration"], folder)


def rivals(_: str, world: World, draw: random.Random, folder: Path, report: Report) -> None:
    """Two at once, and one of them may be killed: one works, the other ends with 5 or finds it done."""
    deed = DEEDS[draw.randrange(3)]
    facts = world.facts[deed.name]
    world.begin(deed.base, folder)
    steps = Steps(draw.choice((0, draw.randint(1, facts.steps))) or 10**9, killed)
    pid = os.fork()
    if not pid:
        with steps.hooked():
            os._exit(ended(lambda: deed.do(folder)) & 255)
    time.sleep(draw.uniform(0, 0.05))
    codes = {ended(lambda: deed.do(folder)), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}
    report.counts["struck"] += 1
    report.counts["refused"] += 5 in codes
    if not codes <= {0, 5, 256 - signal.SIGKILL}:
        report.wrong("untyped", f"exits {codes}")
    look(report, facts, folder)
    again(report, deed, facts, folder)


class Diary(Recorder):
    """A store of entries in SQLite, that refuses one told twice and is down as often as it is told to be."""

    def __init__(self, path: Path, down: float, draw: random.Random) -> None:
        self.path, self.down, self.draw = path, down, draw

    def receive(self, entry: Entry, id: str, folder: Path) -> str:  # noqa: A002
        """Take an entry in, unless it is known."""
        if self.draw.random() < self.down:
            raise MarginlabError("the store of runs is down")
        store = sqlite3.connect(self.path)
        with store:
            store.execute("create table if not exists told (id text primary key, as_of text)")
            store.execute("insert or ignore into told values (?, ?)", (id, entry.parameters["as_of"]))
        store.close()
        return "kept"

    def kept(self) -> list[str]:
        """The nights that it knows."""
        store = sqlite3.connect(self.path)
        rows = store.execute("select as_of from told order by rowid").fetchall()
        store.close()
        return [row[0] for row in rows]


def diary(_: str, world: World, draw: random.Random, folder: Path, report: Report) -> None:
    """Killed while the store of runs is told, or down: told later, each night once."""
    deed = DEEDS[draw.randrange(3)]
    facts = world.facts[deed.name]
    world.begin(deed.base, folder)
    steps = Steps(draw.randint(facts.steps // 2, facts.steps + 20), killed)

    def work() -> int:
        with steps.hooked():
            return deed.do(folder, Diary(folder / "told.db", 0.3, draw))

    report.counts["struck"] += ended(work) != 0
    look(report, facts, folder)
    recorder = Diary(folder / "told.db", 0.0, draw)
    again(report, deed, facts, folder, recorder)
    if recorder.kept() != [deed.as_of]:
        report.wrong("hash", f"the diary knows {recorder.kept()}, expected {deed.as_of} once")


def spoil(draw: random.Random) -> str:
    """A statement that spoils the prices somewhere up to the night, or adds rows from the future.

    Prices that were known last night may be wrong by a little; in the newest row nobody can tell that from a move.
    """
    row, name = draw.choice((642, draw.randrange(400, 642))), draw.choice(("BTC", "ETH"))
    cell = f"closes.iloc[{row}, closes.columns.get_loc('{name}')]"
    return draw.choice(
        (
            *(f"{cell} = {value}" for value in ("np.nan", "np.inf", "-np.inf", "0.0", "-37.63")),
            f"{cell} *= {draw.choice((100.0, 0.01) if row == 642 else (100.0, 0.01, 1.5, 1.001))}",
            f"closes.iloc[{row - 12} : {row + 1}] = closes.iloc[{row - 12}].to_numpy()",
            f"closes = pd.concat([closes.iloc[: {row}], closes.iloc[{row - 1} :]])",
            f"closes = closes.iloc[: {draw.randrange(300, 643)}]",
            f"closes = closes.drop(closes.index[{row - 5} : {row}])",
            f"closes = closes.rename(columns={{'{name}': 'XBT'}})",
            f"closes['{name}'] = closes['{name}'].astype(str)",
            f"closes.iloc[643:] *= {draw.choice((100.0, 0.01))}",
            "closes.iloc[643:] = np.nan",
        )
    )


def data(_: str, world: World, draw: random.Random, folder: Path, report: Report) -> None:
    """Prices that were spoilt: what was published stays and is marked stale, or tonight's is right all the same."""
    deed = DEEDS[2]
    facts = world.facts[deed.name]
    world.begin(deed.base, folder)
    statement = spoil(draw)
    report.kind = f"data, {statement}"
    report.counts["struck"] += 1
    code = attempt(report, lambda: night(folder, deed.as_of, study_file(folder, spoil=statement))["exit"])
    report.counts["refused"] += code in (3, 4)
    look(report, replace(facts, roles=[*facts.roles, roles_of(read_state(folder / "state"))]), folder)
    state = read_state(folder / "state")
    if charged(folder) != facts.margins[-1] and not (code in (3, 4) and state.stale):
        report.wrong("margin", f"exit {code} and nothing said")
    study_file(folder)
    began = time.perf_counter()
    if attempt(report, lambda: deed.do(folder)) == 4:  # another past than last night's waits for a person
        attempt(report, lambda: DEEDS[3].do(folder))
    report.seconds = time.perf_counter() - began
    right = charged(folder) == facts.margins[-1] and not read_state(folder / "state").stale
    report.counts["recovered"] += right
    if not right:
        report.wrong("hash", f"repaired data give {charged(folder)}")


CLASSES: dict[str, Callable[[str, World, random.Random, Path, Report], None]] = {
    **dict.fromkeys(("killed", "disk", "terminated"), interrupted),
    **dict.fromkeys(("bit", "cut"), damaged),
    **{"data": data, "twice": twice, "clock": clock, "rivals": rivals, "diary": diary},
}


# ---- The sweep


def one_fault(world: World, number: int, kind: str, seed: int) -> Report:
    """One fault, in a child; its report, which says so where the child itself broke."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        mine, folder = Report(kind), world.place / f"fault-{number}"
        try:
            memory = {} if number % EVERY == EVERY - 1 else world.memory
            with mock.patch.object(nightly_job, "judged_market", remembered(memory)):
                CLASSES[kind](kind, world, random.Random(f"{seed}-{number}"), folder, mine)
        except BaseException as error:
            mine.wrong("untyped", f"fault {number} broke the judge: {type(error).__name__}: {error}")
        shutil.rmtree(folder, ignore_errors=True)
        os.write(theirs, pickle.dumps(mine))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        payload = pipe.read()
    os.waitpid(pid, 0)
    report: Report = pickle.loads(payload)
    report.counts["injected"] += 1
    return report


def swept(world: World, numbers: range, kinds: list[str], seed: int) -> list[tuple[str, Report]]:
    """Faults one after the other; `kinds` has the class of every fault."""
    return [(kinds[number], one_fault(world, number, kinds[number], seed)) for number in numbers]


def in_workers(world: World, kinds: list[str], seed: int, workers: int) -> list[tuple[str, Report]]:
    """All faults, shared out to processes."""
    pids = []
    for worker in range(workers):
        pid = os.fork()
        if not pid:
            done = swept(world, range(worker, len(kinds), workers), kinds, seed)
            (world.place / f"reports-{worker}").write_bytes(pickle.dumps(done))
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return [one for worker in range(workers) for one in pickle.loads((world.place / f"reports-{worker}").read_bytes())]


def table(reports: list[tuple[str, Report]]) -> str:
    """A line a class: how often what, and the longest that recovery took."""
    lines = [f"{'class':12}" + "".join(f"{name:>11}" for name in (*COUNTED, *WRONG)) + f"{'recovery s':>12}"]
    for kind in (*CLASSES, "all"):
        chosen = [report for of, report in reports if kind in (of, "all")]
        counts = sum((report.counts for report in chosen), Counter[str]())
        longest = max((report.seconds for report in chosen), default=0.0)
        lines.append(f"{kind:12}" + "".join(f"{counts[name]:11d}" for name in (*COUNTED, *WRONG)) + f"{longest:12.3f}")
    return "\n".join(lines)


def main(count: int, seed: int) -> int:
    """Print the table; 1 where anything was wrong."""
    began = time.perf_counter()
    known_classes()
    told_version()
    kinds = random.Random(seed).choices([*SHARES], [*SHARES.values()], k=count)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        world = loaded(Path(place))
        gc.disable()  # a collection would touch, and so copy, every page that a child shares
        gc.freeze()
        reports = in_workers(world, kinds, seed, min(os.cpu_count() or 1, 8))
    print(table(reports))
    said = [sentence for _, report in reports for sentence in report.said]
    print("\n".join(said[:40]), end="\n" * bool(said))
    whole = hashlib.sha256("".join(facts.hashes[-1] for facts in world.facts.values()).encode()).hexdigest()
    recovered = sum(report.counts["recovered"] for _, report in reports)
    print(f"{recovered} of {count} came to the hash of undisturbed nights, {whole[:16]}")
    print(f"{count} faults in {time.perf_counter() - began:.0f} s, seed {seed}")
    return int(bool(said) or recovered != count)


if __name__ == "__main__":
    code = main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2024)
    sys.stdout.flush()
    os._exit(code)
