"""How do the records of a store become a market history on one clock?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.arrays import Floats, Ints, Places
from data.catalog import instant, read_records, record_set
from data.clock import Clock, Stamps, plain_span
from data.contracts import counts_contracts
from data.errors import DataError, HistoryError, ParameterError
from data.flow.depth import lay_depth
from data.flow.feature_sets import funding_features, ohlcv_features, taker_features
from data.flow.panels import Series, Timing, as_of, feature_panel, series_of, with_features
from data.frames import apply_defaults
from data.history import MarketHistory
from data.record_set import RecordSet
from data.records import BARS, DEPTH, FUNDING, METRICS, Kind, Records, Values

Instant = np.datetime64
LATE = np.timedelta64(1, "m")  # after its instant: what a venue may stamp a payment with
MARKED = Timing("0s", "10min")  # a mark is a fact of its instant, as a price is
LARGEST = 50_000_000  # rows times underlyings: 400 MB a panel, a year of one coin each second
_NS = np.timedelta64(1, "ns")
TAKEN = {"volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"}


@dataclass(frozen=True, eq=False)
class _Interval:
    """What the bars of each clock step say together, (T,) each; NaN where one of them is missing, but for the close."""

    close: Floats
    high: Floats
    low: Floats
    volume: Floats


def history_from(
    store: Path,
    bars: Mapping[str, str],
    clock: str,
    *,
    funding: Mapping[str, str] | None = None,
    marks: Mapping[str, str] | None = None,
    depth: Mapping[str, str] | None = None,
    series: Sequence[Series] = (),
    start: Instant | str | None = None,
    stop: Instant | str | None = None,
    defaults: Mapping[str, str] | None = None,
) -> MarketHistory:
    """A history whose rows are the whole steps of a clock, counted from 1970, within what the bars span.

    Spot is the close of the bar that ends at the instant, and a hole where none does. High, low and volume are those
    of all bars since the row before, and unknown where one is missing; volume is also unknown where the venue counts
    contracts, which a price turns into no money. A funding belongs to the first instant at or
    after its payment (payments stamped up to a minute late to the one before); several are added up. `source` names
    the record sets by their full hashes.

    Parameters
    ----------
    bars : {underlying: record set of bars}, by name or hash; as wide as the clock's step or a whole part of it.
    clock : "1min", "1h", "1D"; sessions ("1B") are labelled by dates, which records do not have.
    funding : {underlying: record set}.
    marks : {instrument: record set}: bars, whose closes count, or metrics, whose newest mark of ten minutes does.
    depth : {underlying: record set of depth}, laid as data/flow/depth.py does.
    series : features to be joined as of each instant, as data/flow/panels.py has them.
    start, stop : the first instant wanted, and the first not wanted.
    defaults : {underlying: instant from which it is worthless}.

    Raises
    ------
    HistoryError
        If bars do not fit the clock, there is no instant, or there would be more than `LARGEST` prices.
    DataError
        If two bars end at one instant, a rate is unknown, or the prices are none.
    ParameterError
        If a record set is of another kind, of an underlying that has no bars, or the clock counts sessions.
    SnapshotError
        If a record set is not there, or damaged.
    """
    span = _step(clock)
    _refuse_strange(bars, funding or {}, depth or {}, defaults or {})
    sets, paid = _found(store, bars, BARS), _found(store, funding, FUNDING)
    marked, offered = _found(store, marks, BARS, METRICS), _found(store, depth, DEPTH)
    time = _grid([*sets.values()], span, start, stop)
    history = _priced(store, sets, marked, time, clock, defaults or {})
    if paid:
        history = replace(history, funding=_fundings(paid, tuple(sets), store, time, span))
    used = dict.fromkeys(found.hash for group in (sets, paid, marked, offered) for found in group.values())
    history = replace(history, source=f"records {' '.join(used)}")
    if offered:
        history = lay_depth(history, {name: whole_set(found, store) for name, found in offered.items()})
    return with_features(history, feature_panel(time, tuple(sets), series)) if series else history


def _priced(
    store: Path,
    sets: Mapping[str, RecordSet],
    marked: Mapping[str, RecordSet],
    time: Stamps,
    clock: str,
    defaults: Mapping[str, str],
) -> MarketHistory:
    """The history of what bars and marks say."""
    span = _step(clock)
    laid = [_interval(found, store, time, span) for found in sets.values()]
    spot = _beside([one.close for one in laid])
    apply_defaults(spot, time, tuple(sets), defaults)
    return MarketHistory(
        time,
        tuple(sets),
        spot,
        Clock(clock),
        high=_known(_beside([one.high for one in laid])),
        low=_known(_beside([one.low for one in laid])),
        volume=_known(_beside([one.volume for one in laid])),
        listed=tuple(marked),
        marks=_beside([_mark(found, store, time, span) for found in marked.values()]) if marked else None,
    )


def _step(clock: str) -> np.timedelta64:
    if Clock(clock).by_session:
        raise ParameterError("records are laid on a clock of equal steps ('1h', '1D'); sessions are read from tables")
    return plain_span(clock, "clock")


def _refuse_strange(bars: Mapping[str, str], *others: Mapping[str, str]) -> None:
    strange = [name for other in others for name in other if name not in bars]
    if strange or not bars:
        told = f"{tuple(bars)}, got {strange}"
        raise ParameterError(f"funding, depth and defaults must be of underlyings with bars {told}")


def _found(store: Path, words: Mapping[str, str] | None, *kinds: Kind) -> dict[str, RecordSet]:
    return {name: _of_kind(record_set(word, store), *kinds) for name, word in (words or {}).items()}


def _of_kind(found: RecordSet, *kinds: Kind) -> RecordSet:
    wanted = [kind.name for kind in kinds]
    if found.kind not in wanted:
        raise ParameterError(f"expected a record set of {' or '.join(wanted)}, got {found!r}")
    return found


def _grid(
    sets: Sequence[RecordSet], step: np.timedelta64, start: Instant | str | None, stop: Instant | str | None
) -> Stamps:
    """Whole steps since 1970 from the first bar's end to the last one's, within what is wanted."""
    first = instant(min(found.first for found in sets))
    first = first if start is None else max(first, instant(start))
    last = instant(max(found.last for found in sets))
    last = last if stop is None else min(last, instant(stop) - _NS)
    width = step.astype(np.int64)
    begin, end = -(-int(first.astype(np.int64)) // int(width)), int(last.astype(np.int64)) // int(width) + 1
    if end <= begin:
        raise HistoryError(f"expected an instant of the clock between {first} and {last}, got none")
    if (end - begin) * len(sets) > LARGEST:
        told = f"{end - begin:,} rows of {len(sets)} underlyings from {first} to {last}"
        raise HistoryError(f"expected at most {LARGEST:,} prices, got {told}: take a longer step or a shorter span")
    return (np.arange(begin, end) * width).astype("datetime64[ns]")


def _interval(found: RecordSet, store: Path, time: Stamps, step: np.timedelta64) -> _Interval:
    size = len(time)
    made = _Interval(np.full(size, np.nan), np.full(size, -np.inf), np.full(size, np.inf), np.zeros(size))
    count = np.zeros(size, dtype=np.int64)
    width: np.timedelta64 = np.timedelta64("NaT", "ns")
    newest = Instant("NaT", "ns")
    for batch in read_records(found.hash, store, time[0] - step + _NS, time[-1] + _NS):
        width = _width(batch, step, width, found)
        _refuse_twice(batch, newest, found)
        newest = batch["time"][-1]
        rows = _row_of(batch["time"], time[0], step)
        ends = batch["time"] == time[rows]
        made.close[rows[ends]] = batch["close"][ends]
        with np.errstate(invalid="ignore"):  # a high that nobody knows leaves that of the row unknown
            np.maximum.at(made.high, rows, batch["high"])
            np.minimum.at(made.low, rows, batch["low"])
        np.add.at(made.volume, rows, _volume(batch))
        np.add.at(count, rows, 1)
    partial = count != (1 if np.isnat(width) else step // width)
    for values in (made.high, made.low, made.volume):
        values[partial] = np.nan
    return made


def _volume(batch: Records) -> Floats:
    """Units of base; NaN where a source tells none, or contracts."""
    unknown = np.full(len(batch), np.nan)
    return unknown if counts_contracts(batch) else np.asarray(batch.columns.get("volume", unknown))


def _width(batch: Records, step: np.timedelta64, before: np.timedelta64, found: RecordSet) -> np.timedelta64:
    """How long a bar is, if all are and they fit the clock; HistoryError otherwise."""
    widths = batch["time"] - batch["opened"]
    width = widths[0] if np.isnat(before) else before
    fits = (widths == width) & (batch["time"].astype(np.int64) % max(int(width.astype(np.int64)), 1) == 0)
    if not fits.all() or width <= np.timedelta64(0, "ns") or step % width != np.timedelta64(0, "ns"):
        at = int((~fits).argmax())
        told = f"{batch['opened'][at]} to {batch['time'][at]} at row {batch.row[at]}"
        raise HistoryError(f"{found!r}: expected bars of one width that fits the clock's {step}, got {told}")
    return width


def _refuse_twice(batch: Records, newest: Instant, found: RecordSet) -> None:
    time = batch["time"]
    again = time == np.concatenate([[newest], time[:-1]])
    if again.any():
        at = int(again.argmax())
        raise DataError(f"{found!r}: expected one bar to end at {time[at]}, got another at row {batch.row[at]}")


def _row_of(stamps: Stamps, first: Instant, step: np.timedelta64) -> Places:
    """The first row at or after each instant."""
    after: Ints = (stamps - first).astype(np.int64)
    return np.asarray(-(-after // step.astype(np.int64)), dtype=np.intp)


def _fundings(
    paid: Mapping[str, RecordSet], named: tuple[str, ...], store: Path, time: Stamps, step: np.timedelta64
) -> Floats:
    """What was paid since the row before, (T, A); NaN where nothing was."""
    late = min(LATE, step // 2)
    panel = np.full((len(time), len(named)), np.nan)
    for name, found in paid.items():
        column = panel[:, named.index(name)]
        for batch in read_records(found.hash, store, time[0] - step + late + _NS, time[-1] + late + _NS):
            unknown = np.isnan(batch["rate"])
            if unknown.any():
                raise DataError(f"{found!r}: expected a rate at row {batch.row[unknown.argmax()]}, got none")
            rows = _row_of(batch["time"], time[0] + late, step)
            column[rows] = np.where(np.isnan(column[rows]), 0.0, column[rows])
            np.add.at(column, rows, batch["rate"])
    return panel


def _mark(found: RecordSet, store: Path, time: Stamps, step: np.timedelta64) -> Floats:
    if found.kind == BARS.name:
        return _interval(found, store, time, step).close
    whole = whole_set(found, store)
    return as_of(series_of(whole, "mark", found.symbol, MARKED), time)[0]


def whole_set(found: RecordSet, store: Path) -> Records:
    """All rows of a set at once, in memory; SnapshotError where it is damaged."""
    parts = [*read_records(found.hash, store)]
    columns: dict[str, Values] = {name: np.concatenate([part[name] for part in parts]) for name in found.columns}
    return replace(parts[0], columns=columns, row=np.concatenate([part.row for part in parts]))


def _beside(columns: Sequence[Floats]) -> Floats:
    return np.stack(columns, axis=1)


def _known(panel: Floats) -> Floats | None:
    """A panel that knows something."""
    return None if np.isnan(panel).all() else panel


def usual_features(
    history: MarketHistory, store: Path, bars: Mapping[str, str], funding: Mapping[str, str] | None = None
) -> MarketHistory:
    """The history with the features that its own rows, bars with taker volume and fundings allow.

    An underlying whose bars do not tell what takers bought has NaN there. Raises what `history_from` does.
    """
    series: list[Series] = []
    for name, word in bars.items():
        found = record_set(word, store)
        if TAKEN.issubset(found.columns):
            series += taker_features(whole_set(found, store), name)
    for name, word in (funding or {}).items():
        series += funding_features(whole_set(record_set(word, store), store), name)
    panel = ohlcv_features(history)
    return with_features(
        history, panel.beside(feature_panel(history.time, history.underlyings, series)) if series else panel
    )
