"""What is the past of an option chain, where a history is to be learned from?"""

from dataclasses import dataclass, replace

import numpy as np

from data.arrays import Floats
from data.books import Book
from data.chain_market import ChainMarket
from data.clock import Stamps, plain_span
from data.errors import DataError, HistoryError
from data.frames import MOST_HOLES
from data.history import MarketHistory
from data.quality import SPIKE

GAP = np.timedelta64(7, "D")  # a forecast of volatility older than that is not today's


@dataclass(frozen=True, eq=False)
class ChainPast:
    """A history whose last row is a chain's instant.

    Parameters
    ----------
    past : the rows.
    known : how many rows of the history, or none, came before the chain's.
    holes : rows without a price between the two.
    remarks : how the two were joined.
    """

    past: MarketHistory
    known: int = 0
    holes: int = 0
    remarks: tuple[str, ...] = ()


def only_chain(market: ChainMarket, book: Book) -> ChainPast:
    """The chain's instant alone, for models that need no past; only what the book holds is in it.

    DataError where that is not all in the chain.
    """
    names, listed = _held(market, book), _listed(market, book)
    column = [market.history.underlyings.index(name) for name in names]
    place = [market.history.listed.index(symbol) for symbol in listed]
    one = market.history
    assert one.marks is not None
    assert one.curves is not None
    assert one.surfaces is not None
    past = replace(
        one,
        underlyings=names,
        spot=one.spot[:, column],
        listed=listed,
        marks=one.marks[:, place],
        curves=one.curves[:, column],
        surfaces=one.surfaces[:, column],
    )
    return ChainPast(past)


def after_history(history: MarketHistory, market: ChainMarket, book: Book, *, allow_gap: bool = False) -> ChainPast:
    """The history up to the chain's instant, which is the last row, for the underlyings that the book holds.

    A history keeps a clock that a chain was hardly taken on. So every stamp is moved later, by less than a step, until
    the clock strikes at the chain's instant: returns stay returns over whole steps, but for the last one, which ends at
    the chain's spot and spans up to one step more. A row of the history less than a step old gives way to the chain's.
    Rows after the chain are not seen. Instants between that the history lacks are rows without prices, as in any
    history; more than a week of them is refused unless `allow_gap`, because what a model then takes for the present is
    as old as the history's end.

    Surfaces of the history are kept where they are from quotes; a proxy's level is not comparable with the chain's.

    Raises
    ------
    DataError
        If the book holds an underlying that is not in the chain.
    HistoryError
        If an underlying that is held is not in the history, nothing of it comes before the chain, the gap is too
        long, its clock is of sessions or it is counted in another numeraire than USD, or if the spot price of the
        chain is so far from the last one of the history that they cannot be of the same thing.
    """
    names, now = _held(market, book), market.state.time
    _refuse_history(history, names, now)
    kept = history.rows(0, int(np.searchsorted(history.time, now, side="right")))
    step = plain_span(kept.clock.step, "clock")
    row = int((now - kept.time[0]) // step)
    before = min(len(kept), row)
    column = [kept.underlyings.index(name) for name in names]
    priced = np.flatnonzero(np.isfinite(kept.spot[:before][:, column]).all(axis=1))
    if not priced.size:
        raise HistoryError(
            f"the history must begin before the chain of {_told(now)}, got its first row at {_told(kept.time[0])}"
        )
    last = int(priced[-1])
    _refuse_gap(kept, last, now, step, allow_gap)
    own = only_chain(market, book).past
    if row - last == 1:
        _refuse_other_scale(kept.spot[last, column], own.spot[0], names)
    dropped = len(history) - len(kept)
    moved = now - (kept.time[0] + row * step)
    remarks = [f"the history ends {_told(kept.time[last])}, the chain is of {_told(now)}"]
    if moved > np.timedelta64(0, "ns"):
        remarks.append(
            f"stamps of the history are moved later by {_span(moved)}, so that its clock strikes at the chain's instant"
        )
    if row - last > 1:
        remarks.append(f"{row - 1 - last} rows between the two have no price: the present may be as old as the history")
    if dropped:
        remarks.append(f"{dropped} rows of the history after the chain are not seen")
    past, said = _joined(kept.rows(0, before), own, column, row, step, moved)
    return ChainPast(past, before, row - 1 - last, (*remarks, *said))


def _held(market: ChainMarket, book: Book) -> tuple[str, ...]:
    held = {instrument.underlying for instrument in book.instruments}
    missing = sorted(held - set(market.history.underlyings))
    if missing:
        raise DataError(f"the book must hold underlyings of the chain, {market.history.underlyings}, got {missing} too")
    return tuple(name for name in market.history.underlyings if name in held)


def _listed(market: ChainMarket, book: Book) -> tuple[str, ...]:
    held = {instrument.symbol for instrument in book.instruments}
    return tuple(symbol for symbol in market.history.listed if symbol in held)


def _refuse_history(history: MarketHistory, names: tuple[str, ...], now: np.datetime64) -> None:
    missing = [name for name in names if name not in history.underlyings]
    if missing:
        raise HistoryError(f"the history must have every underlying held, got {history.underlyings} without {missing}")
    if history.clock.by_session:
        raise HistoryError(
            "an option chain has an instant, a history of sessions (1B) has days only: bring one by time"
        )
    if history.numeraire != "USD":
        raise HistoryError(f"an option chain is counted in USD, the history in {history.numeraire}")
    if not len(history) or history.time[0] > now:
        raise HistoryError(f"the history must begin before the chain of {_told(now)}, got {history!r}")


def _refuse_gap(kept: MarketHistory, last: int, now: np.datetime64, step: np.timedelta64, allow_gap: bool) -> None:
    gap = now - kept.time[last]
    if gap // step > MOST_HOLES * (last + 2):
        raise HistoryError(f"the history ends {_told(kept.time[last])}, too long before the chain of {_told(now)}")
    if gap > max(GAP, 2 * step) and not allow_gap:
        raise HistoryError(
            f"the history must run to the chain of {_told(now)}, got none after {_told(kept.time[last])}: bring a "
            "newer one, or say --allow-gap (allow_gap=True) to learn from what there is"
        )


def _refuse_other_scale(last: Floats, spot: Floats, names: tuple[str, ...]) -> None:
    ratio = spot / last
    for a in np.flatnonzero(~((ratio < SPIKE) & (ratio > 1 / SPIKE))):
        raise HistoryError(
            f"{names[a]} must be the same thing in both, got {last[a]:g} last in the history and {spot[a]:g} in the "
            f"chain: a price that moves {SPIKE:g} times in one row is taken for another"
        )


def _joined(
    kept: MarketHistory,
    own: MarketHistory,
    column: list[int],
    row: int,
    step: np.timedelta64,
    moved: np.timedelta64,
) -> tuple[MarketHistory, tuple[str, ...]]:
    """The history's rows, holes up to `row`, and the chain's own row there."""
    size = row + 1
    time: Stamps = (kept.time[0] + moved + np.arange(size) * step).astype("datetime64[ns]")
    said: tuple[str, ...] = ()
    surfaces = kept.surfaces
    if surfaces is None:
        said = ("the history has no implied volatility: a model that replays the past lets it stand still",)
    elif kept.implied != "quotes":
        said = (f"implied volatility of the history is no quote ({kept.implied}) and is not used",)
        surfaces = None

    def laid(panel: Floats | None, last: Floats | None) -> Floats | None:
        if panel is None and last is None:
            return None
        cut = None if panel is None else panel[:, column]
        return _laid(cut, np.full(len(column), np.nan) if last is None else last, size)

    past = replace(
        own,
        time=time,
        clock=kept.clock,
        spot=_laid(kept.spot[:, column], own.spot[0], size),
        high=laid(kept.high, None),
        low=laid(kept.low, None),
        volume=laid(kept.volume, None),
        funding=laid(kept.funding, None),
        marks=laid(None, own.now.marks),
        curves=laid(kept.curves, own.now.curve),
        surfaces=laid(surfaces, own.now.surface),
        source=f"{kept.source}; {own.source}",
    )
    return past, said


def _laid(panel: Floats | None, last: Floats, size: int) -> Floats:
    """The panel's rows first, the last row last, NaN between and for the tenors that one has fewer of."""
    shape = list(last.shape)
    if panel is not None and panel.ndim == 4:
        shape[1] = max(shape[1], panel.shape[2])
    laid = np.full((size, *shape), np.nan)
    if panel is not None and panel.ndim == 4:
        laid[: len(panel), :, : panel.shape[2]] = panel
    elif panel is not None:
        laid[: len(panel)] = panel
    if last.ndim == 3:
        laid[-1, :, : last.shape[1]] = last
    else:
        laid[-1] = last
    return laid


def _told(instant: np.datetime64) -> str:
    return f"{str(instant)[:16].replace('T', ' ')} UTC"


def _span(length: np.timedelta64) -> str:
    minutes = round(float(length / np.timedelta64(1, "s")) / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
