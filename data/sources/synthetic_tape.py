"""What would a tape and its order book look like, of which it is known what order flow tells of the next seconds?

Everything is drawn from a stated law, with a crash minute in it. Buyers' less sellers' volume moves the mid twice: at
once, and again a known time later; until then the best quotes lean the way that the price is still to go.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.arrays import Bools, Floats, Ints
from data.clock import Stamps
from data.errors import ParameterError
from data.records import TRADES, Records

VENUE, SYMBOL = "synthetic", "SYNTHUSDT"
START = np.datetime64("2025-03-01T12:00:00", "ns")
STEP = np.timedelta64(500, "ms").astype("timedelta64[ns]")
_LOTS = 1e5  # sizes are whole multiples of 0.00001
_USUAL = 1.0  # BTC: the standard deviation of a step's flow, and what buyers and sellers trade besides
_PACE = 3.0  # times as much is traded besides in the crash
_RECOVERY = 240  # steps in which half of what is lacking of the book comes back
_MOST_LEAN = 2.0


@dataclass(frozen=True)
class TapeLaw:
    """How flow moves the price; a step is half a second.

    The mid moves by `now` times the flow of the step, `later` times that of the step `lead` steps before, and noise, in
    standard deviations of what one step's flow moves: their squares add up to `deviation`'s. Flow is normal and
    independent from step to step; in the crash its mean is such that both effects together bring the price down.

    Parameters
    ----------
    steps : how many; an hour.
    price, tick, deviation : USD: the first mid, the grid of prices, the standard deviation of a step.
    now, later : shares of the variance of a step that flow explains at once and `lead` steps later.
    lead : steps.
    crash, crash_steps, fall : its first step, how many, and the share of the price that flow brings it down in all.
    levels, size, thinned : price levels a side, BTC at each, and the share of that which is left in the crash.
    lean : the log of best bid over best ask size is 2 lean per standard deviation of the move to come.

    Raises
    ------
    ParameterError
        Where the crash is not within the tape, shares exceed 1, or the price could fall to nothing.
    """

    steps: int = 7200
    price: float = 60_000.0
    tick: float = 5.0
    deviation: float = 6.0
    now: float = 0.25
    later: float = 0.25
    lead: int = 20
    crash: int = 4800
    crash_steps: int = 120
    fall: float = 0.04
    levels: int = 120
    size: float = 1.0
    thinned: float = 0.1
    lean: float = 0.4

    def __post_init__(self) -> None:
        within = 0 < self.lead <= self.crash and self.crash + self.crash_steps + self.lead <= self.steps
        shares = min(self.now, self.later) >= 0 and 0 < self.now + self.later <= 1 and 0 <= self.fall < 0.5
        book = self.levels > 1 and 0 < self.thinned <= 1 and self.size >= 1e-3 and self.tick > 0
        if not (within and shares and book and self.crash_steps > 0):
            raise ParameterError(f"a tape needs a crash and its aftermath within it, shares up to 1 and a book: {self}")

    @property
    def impacts(self) -> tuple[float, float]:
        """USD that a BTC of flow moves the mid, at once and later."""
        return self.deviation * math.sqrt(self.now) / _USUAL, self.deviation * math.sqrt(self.later) / _USUAL

    def correlation(self, width: int, after: int) -> float:
        """Of the flow of `width` steps with the move of the mid in as many, which begin `after` steps later.

        Outside of the crash. The grid of prices adds a sixth of a squared tick to the variance of every move.
        """
        now, later = self.impacts
        overlap = [max(width - abs(after - lag), 0) for lag in (0, self.lead)]
        both = 2 * now * later * max(width - self.lead, 0) * _USUAL**2
        variance = width * self.deviation**2 + both + self.tick**2 / 6
        return float((now * overlap[0] + later * overlap[1]) * _USUAL / np.sqrt(width * variance))


@dataclass(frozen=True, eq=False)
class SyntheticTape:
    """A tape of K steps drawn from a law.

    Parameters
    ----------
    law : what it was drawn from.
    time : (K+1,) instants of the book; step k lies between `time[k]` and `time[k + 1]`.
    mid : (K+1,) before it is put on the grid of prices, USD.
    flow : (K,) BTC bought less sold by takers in each step.
    pending : (K+1,) USD that the mid is still to move for flow until then.
    best : (K+1, 2) sizes at the best bid and ask, BTC.
    rest : (K+1,) size at each level behind.
    gap : (K+1,) ticks that either side has drawn back.
    trades : the tape.
    """

    law: TapeLaw
    time: Stamps
    mid: Floats
    flow: Floats
    pending: Floats
    best: Floats
    rest: Floats
    gap: Ints
    trades: Records

    @property
    def quotes(self) -> Floats:
        """Best bid and ask, (K+1, 2), USD."""
        below: Floats = np.floor(self.mid / self.law.tick)
        ticks: Floats = np.stack([below - self.gap, below + 1 + self.gap], axis=1)
        return ticks * self.law.tick

    @property
    def calm(self) -> Bools:
        """(K,) steps before the crash."""
        return np.arange(len(self.flow)) < self.law.crash

    def books(self) -> Iterator[tuple[Ints, Floats]]:
        """At each instant the price levels in ticks, (L,) rising, and what is offered there, bids below 0, (L,)."""
        ticks = np.rint(self.quotes / self.law.tick).astype(np.int64)
        reach = np.arange(self.law.levels)
        for (bid, ask), best, rest in zip(ticks, self.best, self.rest, strict=True):
            offered = np.full(2 * self.law.levels, rest)
            offered[: self.law.levels] *= -1.0
            offered[self.law.levels - 1 : self.law.levels + 1] = -best[0], best[1]
            yield np.concatenate([bid - reach[::-1], ask + reach]), offered


def crash_tape(law: TapeLaw | None = None, seed: int = 20250301) -> SyntheticTape:
    """A tape drawn from a law; the same seed gives the same tape."""
    law = law or TapeLaw()
    rng = np.random.default_rng(seed)
    now, later = law.impacts
    flow: Floats = _USUAL * rng.standard_normal(law.steps)
    in_crash = slice(law.crash, law.crash + law.crash_steps)
    flow[in_crash] -= law.fall * law.price / (now + later) / law.crash_steps
    flow = _lots(flow)
    delayed = np.concatenate([np.zeros(law.lead), flow[: -law.lead]])
    noise = law.deviation * np.sqrt(1.0 - law.now - law.later) * rng.standard_normal(law.steps)
    mid = law.price + np.concatenate([[0.0], np.cumsum(now * flow + later * delayed + noise)])
    pending = later * np.concatenate([[0.0], np.cumsum(flow - delayed)])
    left = _left(law)
    best = _best(law, pending, left, rng)
    time = START + STEP * np.arange(law.steps + 1)
    gap = np.rint(3.0 * (1.0 - left)).astype(np.int64)
    made = (law, time, mid, flow, pending, best, _thousandths(law.size * left), gap)
    quotes = SyntheticTape(*made, _no_trades()).quotes
    return SyntheticTape(*made, _trades(law, time, flow, quotes, rng))


def _lots(size: Floats) -> Floats:
    return np.asarray(np.rint(size * _LOTS) / _LOTS)


def _thousandths(size: Floats) -> Floats:
    return np.asarray(np.maximum(np.rint(size * 1e3), 1.0) / 1e3)


def _left(law: TapeLaw) -> Floats:
    """Share of the usual book that is there at each instant, (K+1,): drawn back in the time that flow leads by."""
    at = np.arange(law.steps + 1.0)
    going = np.clip((at - law.crash) / law.lead, 0.0, 1.0)
    back = 0.5 ** (np.maximum(at - law.crash - law.crash_steps, 0.0) / _RECOVERY)
    return np.asarray(np.round(1.0 - (1.0 - law.thinned) * going * back, 2))


def _best(law: TapeLaw, pending: Floats, left: Floats, rng: np.random.Generator) -> Floats:
    """Sizes at the best bid and ask, (K+1, 2)."""
    usual = law.impacts[1] * _USUAL * np.sqrt(law.lead)
    told = law.lean * np.clip(pending / usual if usual else pending * 0.0, -_MOST_LEAN, _MOST_LEAN)
    noise = 0.3 * rng.standard_normal((len(left), 2))
    return _thousandths(law.size * left[:, None] * np.exp(told[:, None] * [1.0, -1.0] + noise))


def _no_trades() -> Records:
    return _records(np.empty(0, "datetime64[ns]"), np.empty(0), np.empty(0), np.empty(0, np.int8))


def _records(time: Stamps, price: Floats, size: Floats, side: NDArray[np.int8]) -> Records:
    row = np.arange(1, len(time) + 1)
    columns = {"time": time, "price": price, "size": size, "side": side, "id": row.copy()}
    return Records(TRADES, VENUE, SYMBOL, columns, row)


def _trades(law: TapeLaw, time: Stamps, flow: Floats, quotes: Floats, rng: np.random.Generator) -> Records:
    """One or two trades a side and step, at the quotes that stood when it began; signed sizes add up to the flow."""
    at = np.arange(law.steps)
    busy = np.where((at >= law.crash) & (at < law.crash + law.crash_steps), _PACE, 1.0)
    besides = busy * _USUAL * rng.gamma(2.0, 0.5, law.steps)
    bought = _lots(besides + np.maximum(flow, 0.0))
    whole = np.stack([bought, _lots(bought - flow)])
    first = _lots(whole * np.where(rng.random((2, law.steps)) < 0.5, 1.0, rng.random((2, law.steps))))
    size = np.stack([first, _lots(whole - first)], axis=2).transpose(1, 0, 2)
    within = np.sort(rng.integers(1, int(STEP.astype(np.int64)) // 1000, (law.steps, 4)), axis=1)
    order = rng.permuted(np.tile(np.arange(4), (law.steps, 1)), axis=1)
    side: NDArray[np.int8] = np.tile(np.array([1, 1, -1, -1], np.int8), (law.steps, 1))
    price: Floats = np.repeat(quotes[:-1, ::-1], 2, axis=1)

    def shuffled(values: NDArray[Any]) -> NDArray[Any]:
        return np.take_along_axis(values, order, axis=1).ravel()

    price, size, side = shuffled(price), shuffled(size.reshape(-1, 4)), shuffled(side)
    stamps = (time[:-1, None] + within * np.timedelta64(1000, "ns")).ravel()
    there = np.asarray(size > 0)
    return _records(stamps[there], price[there], size[there], side[there])
