"""Which figures were known at each instant, of what was published by then?

Sources tell figures on their own clocks. A figure is known `latency` after the instant it is true of, and no longer
used once it is older than `stale`: nothing stands in a panel before it could have been read, and nothing for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.arrays import Floats, Places
from data.clock import Stamps, plain_span
from data.errors import DataError, ParameterError
from data.history import MarketHistory
from data.records import Records

ALL = ""  # the underlying of what concerns all of them: VIX, a rate


@dataclass(frozen=True)
class Timing:
    """How long after the instant it is true of a figure is known, and how old it may grow; durations, "0s" and up."""

    latency: str
    stale: str

    @property
    def delay(self) -> np.timedelta64:
        """The latency; ParameterError unless it is a duration >= 0."""
        return np.timedelta64(0, "ns") if self.latency == "0s" else plain_span(self.latency, "latency")

    @property
    def age(self) -> np.timedelta64:
        """The age beyond which a figure is no longer used; ParameterError unless it is a duration > 0."""
        return plain_span(self.stale, "stale")


# What we take for each kind of records where the caller knows no better. A bar is known at its end, as the price of a
# history's own row is; where a recorder's `received` is later than the latency allows, that counts.
TIMINGS: Mapping[str, Timing] = {
    "trades": Timing("1s", "1h"),
    "bars": Timing("0s", "2D"),
    "funding": Timing("1min", "9h"),
    "quotes": Timing("1s", "5min"),
    "book": Timing("1s", "5min"),
    "depth": Timing("1min", "1h"),
    "metrics": Timing("5min", "1h"),
    "index": Timing("1min", "2D"),
    "liquidations": Timing("1s", "1D"),
    "options": Timing("1min", "1D"),
}
# A figure of a date is true at the date's end. VIX closes at 16:15 New York, 21:15 UTC at the latest, and so is known
# by then; the Federal Reserve's H.15 rates come out with `next_session`. Both stand over weekends and holidays.
VIX, RATES = Timing("0s", "5D"), Timing("0s", "7D")


@dataclass(frozen=True, eq=False)
class Series:
    """One figure as it was published, R of them in any order.

    Parameters
    ----------
    name, unit : what it is.
    underlying : whose it is; `ALL` for what concerns every underlying.
    time : (R,) instants it is true of, datetime64[ns] in UTC.
    values : (R,); NaN is no figure, and the one before stands.
    timing : how long until it is known, and how old it may grow.
    received : (R,) instants at which a recorder had it, where one tells; NaT where it does not.

    Raises
    ------
    DataError
        If the lengths differ or an instant is unknown.
    ParameterError
        If latency or age are no durations.
    """

    name: str
    unit: str
    underlying: str
    time: Stamps
    values: Floats
    timing: Timing
    received: Stamps | None = None

    def __post_init__(self) -> None:
        shapes = {column.shape for column in (self.time, self.values, self.known)}
        if len(shapes) > 1 or len(self.time.shape) != 1:
            raise DataError(f"{self.name}: time, values and received must be one (R,), got {sorted(shapes)}")
        if np.isnat(self.time).any():
            raise DataError(
                f"{self.name}: every figure needs its instant, got {int(np.isnat(self.time).sum())} without"
            )
        _ = self.timing.age  # refuses what is no duration; so did the latency, above

    @property
    def known(self) -> Stamps:
        """(R,) instants from which each figure could be read."""
        published = self.time + self.timing.delay
        if self.received is None:
            return published
        return np.where(self.received > published, self.received, published)

    def told(self, values: Floats, name: str, unit: str) -> "Series":
        """Another figure (R,) told of the same instants."""
        return replace(self, values=np.asarray(values, np.float64), name=name, unit=unit)


def series_of(records: Records, column: str, underlying: str, timing: Timing | None = None) -> Series:
    """A column of records as a series; `timing` defaults to that of the kind.

    Raises ParameterError for a column the source does not have, DataError for an unknown instant.
    """
    values = np.asarray(records[column], np.float64)
    unit = next(one.unit for one in records.kind.columns if one.name == column)
    received = records.columns.get("received")
    known = timing or TIMINGS[records.kind.name]
    return Series(column, unit, underlying, records["time"], values, known, received)


def next_session(time: Stamps, hour: str = "22h", holidays: Sequence[str] = ()) -> Stamps:
    """When the figures of dates that end at `time` (R,) come out: at `hour` UTC of the next session, (R,).

    Sessions are Monday to Friday but for holidays (ISO dates): a Friday's rate is published on Monday. For `received`.

    >>> next_session(np.array(["2024-03-02"], "datetime64[ns]")).astype("datetime64[h]").tolist()[0].isoformat()
    '2024-03-04T22:00:00'
    """
    dates = (time - np.timedelta64(1, "ns")).astype("datetime64[D]")
    free = np.array(list(holidays), dtype="datetime64[D]")
    # Forward from the day after: the next session of a Saturday is Monday, and not Tuesday.
    after: Stamps = np.asarray(
        np.busday_offset(dates + np.timedelta64(1, "D"), 0, roll="forward", holidays=free), "datetime64[ns]"
    )
    return after + plain_span(hour, "hour")


@dataclass(frozen=True, eq=False)
class FeaturePanel:
    """What was known at every row, T rows of A underlyings, F features.

    Parameters
    ----------
    time, underlyings : those of the history it goes with.
    names, units : (F,) each.
    values : (T, A, F), finite or NaN for unknown.
    known_at : (T, A, F) datetime64[ns], the instant from which each value could be read; NaT where unknown.

    Raises
    ------
    DataError
        If shapes disagree, names repeat, a value is infinite, or one was known only after its row.
    """

    time: Stamps
    underlyings: tuple[str, ...]
    names: tuple[str, ...]
    units: tuple[str, ...]
    values: Floats
    known_at: Stamps

    def __post_init__(self) -> None:
        shape = (len(self.time), len(self.underlyings), len(self.names))
        if self.values.shape != shape or self.known_at.shape != shape or len(self.units) != len(self.names):
            raise DataError(f"features must be {shape}, got {self.values.shape} known at {self.known_at.shape}")
        if len(set(self.names)) < len(self.names):
            raise DataError(f"features need names that differ, got {self.names}")
        wrong = np.isinf(self.values) | (np.isfinite(self.values) & ~(self.known_at <= self.time[:, None, None]))
        if wrong.any():
            row, column, feature = np.argwhere(wrong)[0]
            raise DataError(
                f"{self.names[feature]} of {self.underlyings[column]} at {self.time[row]} must be finite or NaN, and "
                f"known by then, got {self.values[row, column, feature]} known at {self.known_at[row, column, feature]}"
            )

    def __repr__(self) -> str:
        known = np.isfinite(self.values).mean() if self.values.size else 0.0
        return f"FeaturePanel({', '.join(self.names)}; {len(self.time)} rows of {self.underlyings}, {known:.0%} known)"

    def beside(self, other: "FeaturePanel") -> "FeaturePanel":
        """The features of both; DataError unless they are of the same rows, and their names differ."""
        self.refuse_strange(other.time, other.underlyings)
        return replace(
            self,
            names=self.names + other.names,
            units=self.units + other.units,
            values=np.concatenate([self.values, other.values], axis=2),
            known_at=np.concatenate([self.known_at, other.known_at], axis=2),
        )

    def refuse_strange(self, time: Stamps, underlyings: Sequence[str]) -> None:
        """DataError unless these are the panel's rows and underlyings."""
        if not np.array_equal(self.time, time) or self.underlyings != tuple(underlyings):
            raise DataError(
                f"features of {len(self.time)} rows of {self.underlyings} do not fit those of {underlyings}"
            )


def feature_panel(time: Stamps, underlyings: Sequence[str], series: Sequence[Series]) -> FeaturePanel:
    """Series joined as of every instant (T,), in the order in which their names come first.

    Several series may share a name, one an underlying. Of figures known by then the one true of the latest instant
    counts. DataError for a name told twice of one underlying, with two units, or of an underlying that is not there.
    """
    units: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    for one in series:
        if units.setdefault(one.name, one.unit) != one.unit:
            raise DataError(f"{one.name} must have one unit, got {units[one.name]!r} and {one.unit!r}")
        places = [one.underlying] if one.underlying != ALL else list(underlyings)
        strange = [place for place in places if place not in underlyings or (one.name, place) in taken]
        if strange:
            raise DataError(f"{one.name} must be told once of each of {tuple(underlyings)}, got it again for {strange}")
        taken.update((one.name, place) for place in places)
    names = tuple(units)
    shape = (len(time), len(underlyings), len(names))
    values, known_at = np.full(shape, np.nan), np.full(shape, np.datetime64("NaT", "ns"))
    for one in series:
        columns = slice(None) if one.underlying == ALL else [list(underlyings).index(one.underlying)]
        figures, known = as_of(one, time)
        values[:, columns, names.index(one.name)] = figures[:, None]
        known_at[:, columns, names.index(one.name)] = known[:, None]
    return FeaturePanel(time, tuple(underlyings), names, tuple(units.values()), values, known_at)


def with_features(history: MarketHistory, panel: FeaturePanel) -> MarketHistory:
    """The history with these features in place of any others; DataError unless they are of its rows and underlyings."""
    panel.refuse_strange(history.time, history.underlyings)
    return history.with_features(panel.values, panel.names)


def on_rows(history: MarketHistory, features: Mapping[str, tuple[str, Floats]]) -> FeaturePanel:
    """Features (T, A) computed from a history's own rows: {name: (unit, values)}, each known at its row.

    An infinite figure becomes NaN. ParameterError without features.
    """
    if not features:
        raise ParameterError(f"a panel needs features, got none for {history!r}")
    stacked = np.stack([figures for _, figures in features.values()], axis=2)
    values = np.where(np.isfinite(stacked), stacked, np.nan)
    known = np.where(np.isfinite(values), history.time[:, None, None], np.datetime64("NaT", "ns"))
    units = tuple(unit for unit, _ in features.values())
    return FeaturePanel(history.time, history.underlyings, tuple(features), units, values, known)


def as_of(series: Series, at: Stamps) -> tuple[Floats, Stamps]:
    """The figure known at each instant (T,) and since when it was, NaN and NaT where there is none or it is stale."""
    order = _published(series)
    known, time = series.known[order], series.time[order]
    place = np.searchsorted(known, at, side="right") - 1
    if not len(order):
        return np.full(len(at), np.nan), np.full(len(at), np.datetime64("NaT", "ns"))
    newest = _newest(time)[place]
    usable = (place >= 0) & (at - time[newest] <= series.timing.age)
    values = np.where(usable, series.values[order][newest], np.nan)
    return values, np.where(usable, known[newest], np.datetime64("NaT", "ns"))


def _published(series: Series) -> Places:
    """Places of the figures there are, in the order in which they became known."""
    finite = np.flatnonzero(np.isfinite(series.values))
    return finite[np.lexsort((series.time[finite], series.known[finite]))]


def _newest(time: Stamps) -> Places:
    """Of the rows up to each, the place of the one true of the latest instant, the later of two of one instant."""
    ints = time.astype(np.int64)
    leads = ints >= np.maximum.accumulate(ints)
    return np.maximum.accumulate(np.where(leads, np.arange(len(time)), 0))
