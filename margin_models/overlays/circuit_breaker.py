"""How far will prices have run before the book can be closed?"""

import numpy as np

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from data.arrays import Bools
from margin_models.base import MarginModel, Requirement
from margin_models.overlays.base import Overlay, changed_by
from margin_models.revalue import pnl_by_underlying
from margin_models.scenarios import Scenarios

_LONGEST = 60  # rows after the last trip from which an alarm is over, whatever prices do
_LEAST = 1e-4  # usual move of a row, as a share: a peg that never moved is not infinitely surprised
_NORMAL = 1.4826  # standard deviation of a normal law over the median of its absolute value


class CircuitBreaker(Overlay):
    """Raise margin at once where prices run faster than a position can be closed.

    Liquidation takes `latency` rows. While an underlying's alarm is on, a book that loses from its move is charged, on
    top of the model, the loss of going on for as long at the same speed:

        margin = model + sum over underlyings of loss(speed x latency),

    with speed x latency (a share of the price) the move so far: from the highest close of the `latency` rows before to
    this row's low (its close, where there are no lows) for a fall, from the lowest to the high for a rise, the largest
    of the last `cooloff` rows. For a linear book the loss is |exposure| x speed x latency; options are revalued. Falls
    and rises have alarms of their own, and a book meets those it loses by.

    A move counts in deviations: over the usual move of a row (1.4826 x the median |return| of `usual` rows that end
    before the latency window; Rousseeuw and Croux 1993, J. Am. Stat. Assoc. 88) x sqrt(latency). An alarm trips at
    `trip` deviations, in the very row that shows them, and is released by a row below `release`, though not before
    `cooloff` rows since it last tripped, so that it does not flutter; it is over in any case 60 rows after. All this is
    read off the newest rows of the past at each decision. Where fewer than half of the `usual` rows are known nothing
    trips.

    Parameters
    ----------
    model : what is charged before.
    latency : rows that a liquidation takes.
    usual : rows that say what is usual.
    trip, release : deviations that turn the alarm on, and below which it may go off, release <= trip.
    cooloff : rows for which an alarm stays on at least, 1 to 60.
    """

    def __init__(
        self,
        model: MarginModel,
        latency: int = 2,
        usual: int = 100,
        trip: float = 5.0,
        release: float = 2.0,
        cooloff: int = 5,
    ) -> None:
        self.model = model
        self.latency = latency
        self.usual = usual
        self.trip = trip
        self.release = release
        self.cooloff = cooloff

    def alarms(self, past: MarketHistory, count: int = 1) -> Bools:
        """Whether each underlying's alarm was on at the newest `count` rows, for falls and for rises, (count, A, 2).

        Each row's answer is from the rows up to it alone. ParameterError as `fit`.
        """
        self._check()
        return self._on(self.speeds(past, count + _LONGEST - 1))[-count:]

    def moves(self, past: MarketHistory, count: int = 1) -> Floats:
        """How far each underlying fell and rose within the latency window, (count, A, 2), >= 0; 0 where unknown."""
        return np.nan_to_num(_moves(past, count, self.latency))

    def speeds(self, past: MarketHistory, count: int = 1) -> Floats:
        """The same in deviations of what is usual; NaN where a price or what is usual is not known."""
        rows = min(count, len(past))
        usual = _usual_move(past, rows, self.latency, self.usual) * np.sqrt(self.latency)
        told = np.full((count, len(past.underlyings), 2), np.nan)
        told[count - rows :] = _moves(past, rows, self.latency) / usual[:, :, None]
        return told

    def _on(self, speed: Floats) -> Bools:
        """Alarms (R, A, 2) after the rows of (R, A, 2) deviations, the state before them off."""
        row = np.arange(len(speed))[:, None, None]
        with np.errstate(invalid="ignore"):
            tripped = np.maximum.accumulate(np.where(speed >= self.trip, row, -_LONGEST), axis=0)
            quiet = (speed < self.release) & (row - tripped >= self.cooloff)
        released = np.maximum.accumulate(np.where(quiet, row, -_LONGEST), axis=0)
        return np.asarray((tripped > released) & (row - tripped < _LONGEST))

    def _over(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        further = np.where(self.alarms(past)[0], self.moves(past, self.cooloff).max(axis=0), 0.0)
        return changed_by(asked, "circuit breaker", _loss(book, past, further))

    def _learn(self, past: MarketHistory, coverage: Coverage) -> None:  # noqa: ARG002  only the parameters are checked
        self._check()

    def _check(self) -> None:
        if self.latency < 1 or self.usual < 10:
            raise ParameterError(f"CircuitBreaker needs latency >= 1 and usual >= 10, got {self.latency}, {self.usual}")
        if not 0 < self.release <= self.trip < np.inf:
            raise ParameterError(f"CircuitBreaker needs 0 < release <= trip, got {self.release} and {self.trip}")
        if not 1 <= self.cooloff <= _LONGEST:
            raise ParameterError(f"CircuitBreaker needs a cooloff of 1 to {_LONGEST} rows, got {self.cooloff}")


def _moves(past: MarketHistory, count: int, latency: int) -> Floats:
    """Falls and rises of the newest rows against the closes of the rows before, (count, A, 2); NaN where unknown."""
    recent = past.last(count + latency)
    close = np.full((count + latency, len(past.underlyings)), np.nan)
    low, high = close.copy(), close.copy()
    at = slice(len(close) - len(recent), None)
    close[at] = recent.spot
    low[at] = recent.spot if recent.low is None else np.fmin(recent.low, recent.spot)
    high[at] = recent.spot if recent.high is None else np.fmax(recent.high, recent.spot)
    before = np.lib.stride_tricks.sliding_window_view(close, latency, axis=0)[:-1]
    top, bottom = np.fmax.reduce(before, axis=2), np.fmin.reduce(before, axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        told = np.stack([1.0 - low[latency:] / top, high[latency:] / bottom - 1.0], axis=2)
    return np.maximum(np.where(np.isfinite(told), told, np.nan), 0.0)


def _usual_move(past: MarketHistory, count: int, latency: int, usual: int) -> Floats:
    """Robust deviation of a row's return over the `usual` rows before each latency window, (count, A).

    NaN where less than half of them are known.
    """
    recent = past.last(count + latency + usual)
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.abs(recent.spot[1:] / recent.spot[:-1] - 1.0)
    told = np.full((count + latency + usual - 1, sizes.shape[1]), np.nan)
    told[len(told) - len(sizes) :] = np.where(np.isfinite(sizes), sizes, np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(told, usual, axis=0)[:count]
    # One underlying at a time: ranked windows of a long history take `usual` times its room.
    middle = [_median(windows[:, column]) for column in range(windows.shape[1])]
    return np.maximum(_NORMAL * np.stack(middle, axis=1), _LEAST)


def _median(windows: Floats) -> Floats:
    """Median of what is known along the last axis; NaN where that is less than half."""
    count = np.isfinite(windows).sum(axis=-1)
    ranked = np.sort(windows, axis=-1)  # NaN last
    lower, upper = np.maximum(count - 1, 0) // 2, count // 2
    both = np.stack([lower, np.minimum(upper, windows.shape[-1] - 1)], axis=-1)
    middle = np.take_along_axis(ranked, both, axis=-1).mean(axis=-1)
    return np.where(2 * count >= windows.shape[-1], middle, np.nan)


def _loss(book: Book, past: MarketHistory, further: Floats) -> Floats:
    """What each book loses as underlyings fall or rise so far (A, 2), each the way that costs it most, (P,)."""
    if not further.any():
        return np.zeros(len(book.portfolios))
    spot = np.stack([-further[:, 0], further[:, 1]])
    scenarios = Scenarios(spot, np.zeros_like(spot), ("falls", "rises"))
    # What stands still loses nothing, not even the rounding of a revaluation.
    lost = np.where(further > 0, -pnl_by_underlying(book, past.now, scenarios), 0.0)
    return np.asarray(np.maximum(lost.max(axis=2), 0.0).sum(axis=1))
