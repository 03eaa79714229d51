"""W5: how fast, and in how much memory, do 20 M trades in Parquet become one-minute bars with flow and variation?

Each contender runs in a process of its own and tells its peak memory. polars is no dependency: it is left out where it
is not installed; POLARS_PYTHON names another interpreter that has it. `python benchmarks/w5_tape.py --long` measures
ours on 200 M trades besides (1.4 GB of disk).
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the packages, where the project is not installed

from race import Measurement

TRADES, LONG, WARM, ROUNDS = 20_000_000, 200_000_000, 1000, 3
PIECE = 1_000_000
CLOSE = 1e-7  # sums that differ in their order, and logarithms of quotients, agree to this


@dataclass(frozen=True)
class Memory(Measurement):
    """As a measurement of time, in MB of peak memory."""

    def line(self) -> str:
        return super().line().replace(" ms", " MB")


@dataclass(frozen=True)
class Run:
    """What one process told: seconds, MB at its peak, and sums over its bars."""

    seconds: float
    peak: float
    sums: dict[str, float]


def workload() -> list[Measurement]:
    """Ours against pandas and polars' streaming engine, on one file; memory against pandas."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), TRADES)
        runs: dict[str, list[Run]] = {name: [] for name in CONTENDERS if available(name)}
        for _ in range(ROUNDS):
            for name, done in runs.items():
                done.append(apart(name, Path(folder)))
    for name, done in runs.items():
        agree(name, done[0].sums, runs["ours"][0].sums)
    took = {name: 1e3 * median(run.seconds for run in done) for name, done in runs.items()}
    peak = {name: median(run.peak for run in done) for name, done in runs.items()}
    metric = f"{TRADES / 1e6:.0f} M trades to one-minute bars"
    told: list[Measurement] = []
    for peer, goal in (("pandas", 5.0), ("polars", 1.5)):
        if peer in took:
            told.append(Measurement("W5", metric, peer, took[peer] / took["ours"], goal, took["ours"], took[peer]))
        else:
            print(f"W5: {peer} is not installed and was left out", flush=True)
    memory = Memory(
        "W5", f"{metric}, memory", "pandas", peak["pandas"] / peak["ours"], 6.0, peak["ours"], peak["pandas"]
    )
    return [*told, memory]


def flat() -> None:
    """Print what ours takes for 20 M trades and for ten times as many within the same 60 days."""
    for trades in (TRADES, LONG):
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), trades)
            size = (Path(folder) / "tape.parquet").stat().st_size / 1e6
            run = apart("ours", Path(folder))
        print(
            f"W5: {trades / 1e6:.0f} M trades ({size:.0f} MB): {run.seconds:.2f} s, peak {run.peak:.0f} MB", flush=True
        )


def make(folder: Path, trades: int) -> None:
    """Write the tape, and a short one to warm up on."""
    from data.flow.tape_files import write_tape

    write_tape(synthetic(trades), folder / "tape.parquet")
    write_tape(synthetic(WARM), folder / "warm.parquet")


def synthetic(trades: int) -> Iterator[Any]:
    """A random walk in tenths of a dollar through 60 days, piece by piece: 20 M trades are four a second."""
    import numpy as np

    from data.records import TRADES as TRADE_ROWS
    from data.records import Records

    rng, time, price = np.random.default_rng(0), 1_700_000_000_000_000_000, 50_000.0
    for start in range(0, trades, PIECE):
        rows = min(PIECE, trades - start)
        instants = time + np.cumsum(rng.exponential(60 * 86_400e6 / trades, rows).astype(np.int64)) * 1000
        path = price * np.exp(np.cumsum(rng.normal(0, 2e-6, rows)))
        columns = {
            "time": instants.astype("datetime64[ns]"),
            "price": np.round(path, 1),
            "size": np.round(rng.lognormal(-4, 1.5, rows), 4),
            "side": rng.choice(np.array([-1, 1], dtype=np.int8), rows),
        }
        time, price = int(instants[-1]), float(path[-1])
        yield Records(TRADE_ROWS, "synthetic", "X", columns, np.arange(start + 1, start + rows + 1))


def ours(path: Path) -> dict[str, float]:
    """The fold."""
    from data.flow.bar_rules import TimeBars
    from data.flow.tape_files import fold_tape

    bars = fold_tape([path], TimeBars("1min"))
    return {
        "bars": len(bars),
        "high": bars.high.sum(),
        "vwap": bars.vwap.sum(),
        "signed": bars.signed_volume.sum(),
        "rv": bars.realised_variance.sum(),
        "bv": bars.bipower_variation.sum(),
    }


def pandas(path: Path) -> dict[str, float]:
    """As one would write it in pandas."""
    import numpy as np
    import pandas as pd

    tape = pd.read_parquet(path)
    move = np.log(tape["price"]).diff().fillna(0.0)
    tape["minute"] = tape["time"].astype("int64") // 60_000_000_000
    tape["signed"] = tape["size"] * tape["side"]
    tape["value"] = tape["price"] * tape["size"]
    tape["rv"], tape["bv"] = move**2, math.pi / 2 * move.abs() * move.abs().shift(1).fillna(0.0)
    columns = {"open": "first", "high": "max", "low": "min", "close": "last"}
    sums = ("size", "signed", "value", "rv", "bv")
    told = {name: ("price", how) for name, how in columns.items()} | {name: (name, "sum") for name in sums}
    bars = tape.groupby("minute", sort=False).agg(**told, count=("size", "size"))
    vwap = (bars["value"] / bars["size"]).sum()
    return {"bars": len(bars), "vwap": vwap, **{name: bars[name].sum() for name in ("high", "signed", "rv", "bv")}}


def polars(path: Path) -> dict[str, float]:
    """As one would write it in polars, in the streaming engine."""
    pl: Any = import_module("polars")  # no dependency: nothing is known of its types

    price, size = pl.col("price"), pl.col("size")
    tape = pl.scan_parquet(path).with_columns(
        minute=pl.col("time").dt.epoch("ns") // 60_000_000_000,
        signed=size * pl.col("side"),
        value=price * size,
        move=price.log().diff().fill_null(0.0),
    )
    before = pl.col("move").abs().shift(1).fill_null(0.0)
    tape = tape.with_columns(rv=pl.col("move") ** 2, bv=math.pi / 2 * pl.col("move").abs() * before)
    sums = [pl.col(name).sum() for name in ("size", "signed", "value", "rv", "bv")]
    ends = (
        price.first().alias("open"),
        price.max().alias("high"),
        price.min().alias("low"),
        price.last().alias("close"),
    )
    grouped = tape.group_by("minute").agg(*ends, *sums, pl.len().alias("count")).sort("minute")
    bars = grouped.collect(engine="streaming")
    vwap = (bars["value"] / bars["size"]).sum()
    return {"bars": len(bars), "vwap": vwap, **{name: bars[name].sum() for name in ("high", "signed", "rv", "bv")}}


CONTENDERS: dict[str, Callable[[Path], dict[str, float]]] = {"ours": ours, "pandas": pandas, "polars": polars}


def interpreter(name: str) -> str:
    """Which Python runs a contender."""
    return os.environ.get("POLARS_PYTHON", sys.executable) if name == "polars" else sys.executable


def available(name: str) -> bool:
    """Whether a contender can run here."""
    probe = [interpreter(name), "-c", "import polars"]
    return name != "polars" or subprocess.run(probe, capture_output=True, check=False).returncode == 0


def apart(name: str, folder: Path) -> Run:
    """A contender in a process of its own."""
    command = [interpreter(name), __file__, name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr}")
    return Run(**json.loads(done.stdout))


def agree(name: str, theirs: dict[str, float], sums: dict[str, float]) -> None:
    """A wrong answer is an error."""
    for key, value in sums.items():
        if not math.isclose(theirs[key], value, rel_tol=CLOSE):
            raise RuntimeError(f"{name} gives {key} = {theirs[key]}, ours {value}")


def timed(name: str, folder: Path) -> None:
    """What the process of one contender does: warm up, run, tell."""
    CONTENDERS[name](folder / "warm.parquet")
    start = perf_counter()
    sums = CONTENDERS[name](folder / "tape.parquet")
    took = perf_counter() - start
    print(json.dumps({"seconds": took, "peak": peak_mb(), "sums": {key: float(value) for key, value in sums.items()}}))


def peak_mb() -> float:
    """Peak resident memory of this process; Linux counts it from its start, others from its parent's perhaps."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    if sys.argv[1:] == ["--long"]:
        flat()
    else:
        timed(sys.argv[1], Path(sys.argv[2]))
