"""What did the market look like, now and at every instant before?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import pandas as pd

from data.arrays import Floats, Places
from data.clock import Clock, Stamps
from data.coverage import DAYS_A_YEAR, Coverage
from data.errors import DataError, HistoryError, ParameterError
from data.frames import apply_defaults, as_floats, kept_clock, laid_out, on_grid
from data.market_state import MarketState
from data.quality import (
    refuse_bad_depth,
    refuse_bad_features,
    refuse_bad_prices,
    refuse_bad_stamps,
    refuse_bad_structures,
    utc_stamps,
)

if TYPE_CHECKING:
    from data.history_plots import HistoryPlots

__all__ = ["PANELS", "MarketHistory", "MarketState", "titled"]

_PER_UNDERLYING = ("spot", "high", "low", "volume", "funding")
_STRUCTURES = {"curves": 3, "surfaces": 7}  # figures a tenor, of data/curves.py and data/surface.py
PANELS = (*_PER_UNDERLYING, "marks", *_STRUCTURES, "depth", "features")


def titled(title: str, implied: str) -> str:
    """A title that says where implied volatility is a proxy.

    >>> titled("Options", "proxy: realised volatility"), titled("Options", "quotes")
    ('Options [implied volatility: proxy]', 'Options')
    """
    return f"{title} [implied volatility: proxy]" if implied.startswith("proxy") else title


@dataclass(frozen=True, eq=False)
class MarketHistory:
    """Read-only panels on a declared clock: rows are instants (T), columns underlyings (A) or listed instruments (N).

    Parameters
    ----------
    time : (T,) datetime64[ns], UTC, every instant of the clock; one without data is a row of NaN.
    underlyings : A names.
    spot : (T, A) prices in USD: > 0, NaN for a hole, 0 from a stated default on.
    clock : when rows fall.
    high, low : (T, A) extremes since the row before, where the source has them.
    volume : (T, A) units of the underlying traded since the row before.
    funding : (T, A) what a long perpetual pays at each instant, as a share of its notional; NaN pays nothing.
    listed, marks : N symbols and their (T, N) marks in USD, for instruments that do not trade at spot.
    curves : (T, A, K, 3) forward and discount curves, as data/curves.py has them.
    surfaces : (T, A, K, 7) implied-volatility surfaces, as data/surface.py has them.
    implied : where the surfaces are from: "quotes", or "proxy: ..." for a stand-in, shown wherever they are used.
    fx : USD per unit of other currencies, (T,) each.
    numeraire : what returns and exposures are counted in; `valued_in` changes it.
    source : a line that says where the data is from.
    depth : (T, A, 2, K) USD offered within each band of the mid, bids (what a seller meets) and then asks; >= 0, not
        falling from band to band, NaN where unknown. 0 is known: nobody offers.
    depth_bands : K distances from the mid, as shares of it, rising from above 0.
    features : (T, A, F) what else was known at each instant, finite or NaN; a forecaster picks them by name.
    feature_names : F names.

    Raises
    ------
    DataError
        If a panel has the wrong shape, a price, high, low or mark is negative or infinite, or back from zero, or a
        curve, surface, depth or feature is none.
    HistoryError
        If an instant is off the clock.
    """

    time: Stamps
    underlyings: tuple[str, ...]
    spot: Floats
    clock: Clock = field(default_factory=Clock)
    high: Floats | None = None
    low: Floats | None = None
    volume: Floats | None = None
    funding: Floats | None = None
    listed: tuple[str, ...] = ()
    marks: Floats | None = None
    curves: Floats | None = None
    surfaces: Floats | None = None
    implied: str = ""
    fx: Mapping[str, Floats] = field(default_factory=dict)
    numeraire: str = "USD"
    source: str = ""
    depth: Floats | None = None
    depth_bands: tuple[float, ...] = ()
    features: Floats | None = None
    feature_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        size = len(self.time)
        if len(set(self.underlyings)) < len(self.underlyings):
            raise DataError(f"underlyings must differ, got {self.underlyings}")
        for name in _PER_UNDERLYING:
            self._seal(name, (size, len(self.underlyings)))
        self._seal("marks", (size, len(self.listed)))
        for name, figures in _STRUCTURES.items():
            panel = getattr(self, name)
            tenors = panel.shape[2] if panel is not None and panel.ndim == 4 else 0
            self._seal(name, (size, len(self.underlyings), tenors, figures))
        for name in _STRUCTURES:
            structure = getattr(self, name)
            if structure is not None:
                refuse_bad_structures(structure, self.time, self.underlyings, name)
        if (self.surfaces is None) != (self.implied == ""):
            raise DataError(f"surfaces, and only surfaces, say where they are from, got implied={self.implied!r}")
        self._seal("time", (size,))
        object.__setattr__(self, "fx", {name: _sealed(rate, (size,), f"fx[{name}]") for name, rate in self.fx.items()})
        if not np.array_equal(self.time, self.clock.grid(self.time[0], self.time[-1]) if size else self.time):
            raise HistoryError(f"time must be every instant of the clock {self.clock.step!r}, got {_first_gap(self)}")
        for name in ("spot", "high", "low"):
            panel = getattr(self, name)
            if panel is not None:
                refuse_bad_prices(panel, self.time, self.underlyings, name, stated=self.underlyings)
        if self.marks is not None:
            refuse_bad_prices(self.marks, self.time, self.listed, "marks", stated=self.listed)
        self._seal("depth", (size, len(self.underlyings), 2, len(self.depth_bands)))
        self._seal("features", (size, len(self.underlyings), len(self.feature_names)))
        refuse_bad_depth(self.depth, self.depth_bands, self.time, self.underlyings)
        refuse_bad_features(self.features, self.feature_names, self.time, self.underlyings)

    def _seal(self, name: str, shape: tuple[int, ...]) -> None:
        panel = getattr(self, name)
        if panel is not None:
            object.__setattr__(self, name, _sealed(panel, shape, name))

    def __len__(self) -> int:
        return len(self.time)

    def __repr__(self) -> str:
        span = f"{str(self.time[0])[:16]}..{str(self.time[-1])[:16]}" if len(self) else "empty"
        return f"MarketHistory({', '.join(self.underlyings)}; {len(self)} rows of {self.clock.step}, {span} UTC)"

    def _repr_html_(self) -> str:
        return self.summary().to_html()

    @classmethod
    def from_frame(
        cls,
        closes: pd.DataFrame | pd.Series,
        clock: str | Clock | None = None,
        tz: str | None = None,
        *,
        missing: Literal["refuse", "hole"] = "refuse",
        defaults: Mapping[str, str] | None = None,
        source: str = "frame",
        high: pd.DataFrame | None = None,
        low: pd.DataFrame | None = None,
        volume: pd.DataFrame | None = None,
        funding: pd.DataFrame | None = None,
    ) -> Self:
        """Closes (rows: instants, columns: underlyings) laid on a clock; instants they lack become rows of NaN.

        Parameters
        ----------
        clock : "1h", "1D", "1B" or a `Clock` with holidays; None infers it from the stamps.
        tz : the zone of a naive intraday index; dates without a time of day need none.
        missing : "refuse" a NaN among the closes, or take it for a "hole" (an asset not yet listed, say).
        defaults : {underlying: instant from which it is worthless}: a stated default, lost at full notional.
        high, low, volume, funding : frames with the labels of the closes, blank where they say nothing.

        Raises
        ------
        DataError
            For naive intraday, unsorted or duplicate stamps; NaN, infinite or non-positive prices; panels with other
            labels.
        HistoryError
            For stamps off the clock.
        """
        if missing not in ("refuse", "hole"):
            raise ParameterError(f"missing must be 'refuse' or 'hole', got {missing!r}")
        closes = closes.to_frame() if isinstance(closes, pd.Series) else closes
        if not hasattr(closes, "columns"):
            raise DataError(
                f"closes must be a frame with a column an asset (pd.read_csv reads a file), got {closes!r:.60}"
            )
        names = tuple(str(column) for column in closes.columns)
        time = utc_stamps(pd.Index(closes.index), tz, source)
        refuse_bad_stamps(time, source)
        kept = kept_clock(time, clock, source)
        grid = kept.grid(time[0], time[-1])
        at = np.searchsorted(grid, time)
        values = as_floats(closes, source)
        apply_defaults(values, time, names, defaults or {})
        refuse_bad_prices(values, time, names, source, holes=missing == "hole", stated=tuple(defaults or ()))
        laid = partial(laid_out, closes, at, len(grid))
        return cls(
            grid,
            names,
            on_grid(values, at, len(grid)),
            kept,
            high=laid(high, "high"),
            low=laid(low, "low"),
            volume=laid(volume, "volume"),
            funding=laid(funding, "funding"),
            source=source,
        )

    def titled(self, title: str) -> str:
        """A title for what was found on this history: it says where implied volatility is a proxy."""
        return titled(title, self.implied)

    def rows(self, start: int, stop: int) -> "MarketHistory":
        """Rows [start, stop) as read-only views, already checked: the only cut through time."""
        cut = object.__new__(MarketHistory)
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                value = value[start:stop]
            elif item.name == "fx":
                value = {name: rate[start:stop] for name, rate in value.items()}
            object.__setattr__(cut, item.name, value)
        return cut

    def last(self, count: int) -> "MarketHistory":
        """The newest `count` rows, or all there are."""
        return self.rows(max(len(self) - count, 0), len(self))

    @property
    def now(self) -> MarketState:
        """The last row; HistoryError where there is none."""
        if not len(self):
            raise HistoryError("an empty history has no now")
        return self.at(len(self) - 1)

    def at(self, row: int) -> MarketState:
        """One row as a state."""
        marks = np.empty(0) if self.marks is None else self.marks[row]
        rate = float(self.rates(np.array([row]))[0])
        curve = None if self.curves is None else self.curves[row]
        surface = None if self.surfaces is None else self.surfaces[row]
        return MarketState(
            self.time[row],
            self.underlyings,
            self.spot[row],
            self.listed,
            marks,
            self.numeraire,
            rate,
            curve,
            surface,
            self.implied,
            self.clock,
            None if self.depth is None else self.depth[row],
            self.depth_bands,
        )

    def steps(self, coverage: Coverage) -> int:
        """How many rows one horizon spans; HistoryError unless it is a whole number."""
        return self.clock.steps(coverage.horizon)

    def returns(self, coverage: Coverage) -> Floats:
        """Simple returns over the horizon in the numeraire, (max(T - h, 0), A), overlapping.

        NaN where an end is a hole; 0 for an asset that had already defaulted. Row i is the return from row i to i + h.
        """
        if coverage.numeraire != self.numeraire:
            raise HistoryError(
                f"coverage counts in {coverage.numeraire}, this history in {self.numeraire}: "
                f"use history.valued_in({coverage.numeraire!r})"
            )
        steps = self.steps(coverage)
        start, end = self.spot[:-steps], self.spot[steps:]
        gone = start == 0
        change = np.where(gone, 0.0, end / np.where(gone, 1.0, start) - 1.0)
        if self.numeraire == "USD":
            return change
        rate = self.rates(np.arange(len(self)))
        converted: Floats = change * (rate[:-steps] / rate[steps:])[:, None]
        return converted

    def implied_changes(self, coverage: Coverage) -> Floats:
        """Relative changes of 30-day implied volatility over the horizon, (max(T - h, 0), A).

        Row i is the change from row i to i + h of the volatility of the strike that was at the money at row i, since
        scenarios shock the volatility of a strike. 0 where the history has no surface, or no price, at either end.
        """
        steps = self.steps(coverage)
        if self.surfaces is None:
            return np.zeros((max(len(self) - steps, 0), len(self.underlyings)))
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.log(self.spot[:-steps] / self.spot[steps:])
            change = self._implied(slice(steps, None), moved) / self._implied(slice(-steps), np.zeros_like(moved)) - 1.0
        return np.where(np.isfinite(change), change, 0.0)

    def _implied(self, rows: slice, log_moneyness: Floats) -> Floats:
        """Volatility at 30 days of some rows, (R, A), at log-moneyness (R, A); NaN where there is no surface."""
        from data.surface import volatilities_at

        assert self.surfaces is not None
        flat = self.surfaces[rows].reshape(-1, *self.surfaces.shape[2:])
        return volatilities_at(flat, log_moneyness.ravel(), 30.0 / DAYS_A_YEAR).reshape(log_moneyness.shape)

    def rates(self, rows: Places) -> Floats:
        """USD per unit of the numeraire at these rows."""
        if self.numeraire == "USD":
            return np.ones(len(rows))
        if self.numeraire in self.fx:
            return np.asarray(self.fx[self.numeraire][rows])
        return np.asarray(self.spot[rows, self.underlyings.index(self.numeraire)])

    def valued_in(self, numeraire: str) -> "MarketHistory":
        """The same facts counted in another numeraire; DataError where there is no rate for it."""
        if numeraire not in ("USD", *self.underlyings, *self.fx):
            known = ("USD", *self.underlyings, *self.fx)
            raise DataError(f"no rate for the numeraire {numeraire!r}, this history has {known}")
        return self if numeraire == self.numeraire else replace(self, numeraire=numeraire)

    def with_depth(self, depth: Floats, bands: Sequence[float]) -> "MarketHistory":
        """The same facts and this depth of the order books (T, A, 2, K), in place of any other; DataError as above."""
        return replace(self, depth=depth, depth_bands=tuple(map(float, bands)))

    def with_features(self, features: Floats, names: Sequence[str]) -> "MarketHistory":
        """The same facts and these features (T, A, F), in place of any others; DataError as above."""
        return replace(self, features=features, feature_names=tuple(names))

    def summary(self) -> pd.DataFrame:
        """One row an underlying: first and last price, holes, default, the worst and best move of one row.

        Where there is depth, or features, how many rows lack some of it.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            moves = pd.DataFrame(self.spot[1:] / self.spot[:-1] - 1.0, columns=list(self.underlyings))
        dead = [self.time[np.argmax(column == 0)] if (column == 0).any() else pd.NaT for column in self.spot.T]
        table = {
            "rows": len(self),
            "first": self.spot[0],
            "last": self.spot[-1],
            "holes": np.isnan(self.spot).sum(axis=0),
            "default": dead,
            "worst move": moves.min().to_numpy(),
            "best move": moves.max().to_numpy(),
        }
        for name, panel in (("depth", self.depth), ("feature", self.features)):
            if panel is not None:
                unknown = np.isnan(panel).reshape(*panel.shape[:2], -1)
                table[f"{name} holes"] = unknown.any(axis=2).sum(axis=0)
        return pd.DataFrame(table, index=pd.Index(self.underlyings, name="underlying"))

    @property
    def plot(self) -> "HistoryPlots":
        """Pictures: `history.plot.prices()`, `.drawdown()`, `.correlation()`."""
        from data.history_plots import HistoryPlots

        return HistoryPlots(self)

    def to_frame(self) -> pd.DataFrame:
        """Spot prices, rows labelled in UTC."""
        return pd.DataFrame(self.spot, index=pd.DatetimeIndex(self.time, tz="UTC"), columns=list(self.underlyings))


def _sealed(panel: Floats, shape: tuple[int, ...], name: str) -> Floats:
    """A read-only view of the right shape; of a copy, where someone else could still write to the figures."""
    if panel.shape != shape:
        raise DataError(f"{name} must have the shape {shape}, got {panel.shape}")
    view = panel.copy(order="K") if _writeable(panel) else panel.view()
    view.flags.writeable = False
    return view


def _writeable(panel: Floats) -> bool:
    """Whether the array, or one that it is a view of, may be written to."""
    owner: object = panel
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return True
        owner = owner.base
    return False


def _first_gap(history: MarketHistory) -> str:
    grid = history.clock.grid(history.time[0], history.time[-1])
    size = min(len(grid), len(history.time))
    differs = np.flatnonzero(grid[:size] != history.time[:size])
    row = int(differs[0]) if differs.size else size
    return f"{history.time[row] if row < len(history.time) else 'nothing'} at row {row}"
