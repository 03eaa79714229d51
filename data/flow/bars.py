"""What was traded in each bar, at which prices, by whom, and how much did the price move within?"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.arrays import Floats, Ints, Places
from data.clock import Clock, Stamps
from data.errors import DataError, HistoryError
from data.flow import tape_kernels as kernel
from data.records import BARS, Records

# (E|Z|)**2 of a standard normal is 2/pi: the inverse turns sums of |r||r before| into a variance (Barndorff-Nielsen and
# Shephard 2004, "Power and bipower variation with stochastic volatility and jumps", J. Financial Econometrics 2).
BIPOWER = math.pi / 2.0
_INSTANTS, _PRICES = ("opened", "time"), ("open", "high", "low", "close")
_COUNTS = ("count", "buys", "unsigned")


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars of one symbol in the order of time, B of them, (B,) each.

    Returns are log returns, each in the bar that it ends in, the first of a bar from the last price of the bar before.

    Parameters
    ----------
    venue, symbol : who traded what.
    opened, time : datetime64[ns] in UTC: of a time bar the ends of its interval, of any other its first and last trade.
    open, high, low, close : prices; NaN without trades.
    volume, quote_volume : sums of size and of price times size; the latter is quote currency where sizes count base.
    signed_volume : bought less sold by takers; trades of unknown side are left out.
    buy_volume, buy_quote_volume : what takers bought.
    unsigned_volume : what was traded with unknown side.
    count, buys, unsigned : trades, those in which the taker bought, and those of unknown side.
    upside_variance, downside_variance : realised semivariances: squared returns above and below 0 (Barndorff-Nielsen,
        Kinnebrock and Shephard 2010, "Measuring downside risk: realised semivariance").
    bipower_variation : pi/2 times the sum of |return| |return before|, which a single jump hardly moves
        (Barndorff-Nielsen and Shephard 2004); no small-sample factor, as the first return has a predecessor too.

    Raises
    ------
    DataError
        If the lengths differ.
    """

    venue: str
    symbol: str
    opened: Stamps
    time: Stamps
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    signed_volume: Floats
    buy_volume: Floats
    buy_quote_volume: Floats
    unsigned_volume: Floats
    count: Ints
    buys: Ints
    unsigned: Ints
    upside_variance: Floats
    downside_variance: Floats
    bipower_variation: Floats

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) > 1:
            raise DataError(f"bars of {self.symbol} need columns of one length, got {lengths}")

    def __len__(self) -> int:
        return len(self.time)

    def __repr__(self) -> str:
        span = f"{str(self.opened[0])[:19]}..{str(self.time[-1])[:19]} UTC" if len(self) else "none"
        return f"Bars({self.venue} {self.symbol}: {len(self)}, {span}; {self.count.sum()} trades)"

    def _repr_html_(self) -> str:
        return self.to_frame().head(20).to_html(float_format="{:.6g}".format)

    @property
    def vwap(self) -> Floats:
        """Price by volume, (B,); NaN without volume."""
        nothing = np.full(len(self), np.nan)
        return np.asarray(np.divide(self.quote_volume, self.volume, out=nothing, where=self.volume > 0))

    @property
    def realised_variance(self) -> Floats:
        """Sum of squared returns, (B,): both semivariances."""
        return self.upside_variance + self.downside_variance

    @property
    def last(self) -> Floats:
        """The close, or where a bar has no trades that of the last bar which has; NaN before the first, (B,)."""
        traded = np.maximum.accumulate(np.where(self.count > 0, np.arange(len(self)), -1))
        return np.asarray(np.where(traded >= 0, self.close[traded], np.nan))

    def on_clock(self, clock: Clock, first: np.datetime64 | None = None, last: np.datetime64 | None = None) -> "Bars":
        """Time bars on every instant of a clock from `first` to `last`, by default those of the first and last bar.

        Where there is no bar, nothing was traded: counts, volumes and variations are 0, prices NaN; `last` carries the
        close. An hour that is missing from the tape looks the same: its count is 0 too.

        Raises
        ------
        HistoryError
            Unless every bar spans exactly one step of the clock and ends on it, between first and last.
        """
        self._refuse_off(clock)
        if not len(self):
            return self
        start, end = (self.time[0] if first is None else first), (self.time[-1] if last is None else last)
        grid = clock.grid(start.astype("datetime64[ns]"), end.astype("datetime64[ns]"))
        missed = np.flatnonzero(~np.isin(self.time, grid))
        if len(missed):
            raise HistoryError(
                f"bars must end on a clock of {clock.step} from {start} to {end}, got {self.time[missed[0]]}"
            )
        at = np.searchsorted(grid, self.time)
        laid: dict[str, Any] = {name: _spread(getattr(self, name), at, len(grid), name) for name in _COLUMNS}
        return Bars(self.venue, self.symbol, **laid | {"time": grid, "opened": grid - _step(clock)})

    def _refuse_off(self, clock: Clock) -> None:
        if clock.by_session:
            raise HistoryError(f"bars are laid on a clock of equal steps, got one of sessions ({clock.step!r})")
        wrong = np.flatnonzero(self.time - self.opened != _step(clock))
        if len(wrong):
            raise HistoryError(
                f"bars must span one step of the clock, {clock.step}, got one from {self.opened[wrong[0]]} to "
                f"{self.time[wrong[0]]}"
            )

    def to_frame(self) -> pd.DataFrame:
        """One row a bar, by its end in UTC, VWAP and realised variance included."""
        columns = {name: getattr(self, name) for name in _COLUMNS if name != "time"}
        figures = columns | {"vwap": self.vwap, "realised_variance": self.realised_variance}
        return pd.DataFrame(figures, index=pd.DatetimeIndex(self.time, tz="UTC", name="time"))

    def to_records(self) -> Records:
        """The bars that have trades, as any source of bars writes them.

        What takers bought is NaN in a bar with trades of unknown side.
        """
        kept = self.count > 0
        bought = {"taker_buy_volume": self.buy_volume, "taker_buy_quote_volume": self.buy_quote_volume}
        known = {name: np.where(self.unsigned > 0, np.nan, values) for name, values in bought.items()}
        names = (*_INSTANTS, *_PRICES, "volume", "quote_volume")
        columns = {name: getattr(self, name) for name in names} | {"count": self.count.astype(np.float64)} | known
        row = np.arange(1, len(self) + 1)
        return Records(BARS, self.venue, self.symbol, columns, row).where(kept)


_COLUMNS = tuple(field.name for field in fields(Bars) if field.name not in ("venue", "symbol"))


def joined(parts: Iterable[Bars]) -> Bars:
    """Bars of one symbol one after another; DataError where there are none, or of several symbols."""
    names: set[tuple[str, str]] = set()
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for part in parts:
        names.add((part.venue, part.symbol))
        for name, pieces in columns.items():
            pieces.append(getattr(part, name))
    if len(names) != 1:
        raise DataError(f"expected bars of one venue and symbol, got {sorted(names)}")
    # A column's pieces are let go as soon as it is whole: bars of years are in memory once, not twice.
    whole: dict[str, Any] = {name: np.concatenate(columns.pop(name)) for name in _COLUMNS}
    return Bars(*names.pop(), **whole)


def from_sums(venue: str, symbol: str, real: Floats, whole: Ints, width: int) -> Bars:
    """Bars from the kernels' rows, (B, REAL) and (B, WHOLE); `width` is that of time bars in ns, 0 for others."""
    opened, time = whole[:, kernel.FIRST], whole[:, kernel.LAST]
    if width:
        opened = opened // width * width
        time = opened + width
    sums: dict[str, Any] = {name: real[:, place].copy() for name, place in _REAL.items()}
    counts: dict[str, Any] = {name: whole[:, place].copy() for name, place in _WHOLE.items()}
    instants: dict[str, Any] = {"opened": opened.astype("datetime64[ns]"), "time": time.astype("datetime64[ns]")}
    return Bars(venue, symbol, **instants, **sums, **counts, bipower_variation=BIPOWER * real[:, kernel.BIPOWER])


_REAL = {
    "open": kernel.OPEN,
    "high": kernel.HIGH,
    "low": kernel.LOW,
    "close": kernel.CLOSE,
    "volume": kernel.VOLUME,
    "quote_volume": kernel.QUOTE,
    "signed_volume": kernel.SIGNED,
    "buy_volume": kernel.BUY,
    "buy_quote_volume": kernel.BUY_QUOTE,
    "unsigned_volume": kernel.UNSIGNED,
    "upside_variance": kernel.UP,
    "downside_variance": kernel.DOWN,
}
_WHOLE = {"count": kernel.COUNT, "buys": kernel.BUYS, "unsigned": kernel.UNSIGNED_COUNT}


def _step(clock: Clock) -> np.timedelta64:
    return np.timedelta64(clock.after(np.datetime64(0, "ns"), 1).astype(np.int64), "ns")


def _spread(values: Floats | Ints | Stamps, at: Places, size: int, name: str) -> NDArray[Any]:
    """Values at their places on a grid, and elsewhere what a bar without trades has."""
    laid: NDArray[Any] = np.full(size, np.nan) if name in _PRICES else np.zeros(size, dtype=values.dtype)
    laid[at] = values
    return laid
