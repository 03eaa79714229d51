"""Which tapes do the tests of bars share?"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np

from data.flow.bar_rules import BarRule, DollarBars, ImbalanceBars, TickBars, TimeBars, VolumeBars
from data.flow.bars import Bars
from data.records import TRADES, Records

START = np.datetime64("2024-03-01T00:00:00", "ns")
RULES: tuple[BarRule, ...] = (
    TimeBars("1min"),
    TimeBars("1min", sampled="10s"),
    VolumeBars(20.0),
    DollarBars(2000.0),
    TickBars(7),
    ImbalanceBars(trades=10.0, flow=0.3, half_life=3.0),
)


def trades(seconds: Any, price: Any, size: Any, side: Any, **more: Any) -> Records:
    """Trades so many seconds after START."""
    instants = START + np.round(np.asarray(seconds, dtype=float) * 1e9).astype("timedelta64[ns]")
    columns = {
        "time": instants,
        "price": np.asarray(price, dtype=float),
        "size": np.asarray(size, dtype=float),
        "side": np.asarray(side, dtype=np.int8),
    }
    return Records(TRADES, "venue", "X", columns | more, np.arange(1, len(instants) + 1))


def random_tape(count: int, seed: int, step: float = 3.0) -> Records:
    """A random walk with bursts at one instant, unchanged prices and unsigned trades."""
    rng = np.random.default_rng(seed)
    gaps = np.where(rng.random(count) < 0.3, 0.0, rng.exponential(step, count))
    price = np.round(100.0 * np.exp(np.cumsum(rng.normal(0, 1e-3, count))), 1)
    return trades(
        np.cumsum(gaps), price, rng.exponential(1.0, count), rng.choice([-1, 0, 1], count, p=[0.45, 0.1, 0.45])
    )


def in_parts(tape: Records, cuts: Sequence[int]) -> Iterator[Records]:
    bounds = [0, *sorted(cuts), len(tape)]
    for start, stop in pairwise(bounds):
        yield tape.where(slice(start, stop))


def assert_same_bits(one: Bars, other: Bars) -> None:
    for field in fields(Bars):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert left == right if isinstance(left, str) else left.tobytes() == right.tobytes(), field.name


SIX = trades([1, 20, 59, 60, 61, 200], [100, 101, 100, 102, 102, 99], [1, 2, 3, 4, 5, 6], [1, -1, 0, 1, 1, -1])
