"""At which rows of a history is everything known that it takes to value some books?"""

import numpy as np

from backtest.portfolios import Books, struck_on
from data import Floats, HistoryError, Instrument, MarketHistory
from data.arrays import Bools


def priced_rows(history: MarketHistory, books: Books) -> tuple[Bools, Bools]:
    """Where a horizon may start and where it may end, (T,) each.

    What has expired cannot be held at the start and needs no price at the end; what is written on a worthless
    underlying needs none at all.
    HistoryError where a contract has no price in any row, or books strike options and the history has no surfaces.
    """
    rate = history.rates(np.arange(len(history)))
    start = np.isfinite(history.spot).all(axis=1) & np.isfinite(rate) & (rate > 0)
    options_on, futures_on = struck_on(books)
    if options_on and history.surfaces is None:
        raise HistoryError(f"the books strike options on {options_on}, but {history!r} has no surfaces")
    gone = history.spot == 0
    surfaces, curves = (_known(panel, history) | gone for panel in (history.surfaces, history.curves))
    start &= surfaces[:, _columns(history, options_on)].all(axis=1)
    if history.curves is not None:
        start &= curves[:, _columns(history, futures_on)].all(axis=1)
    end = start.copy()
    for instrument in books.instruments:
        priced = _priced(instrument, history, surfaces, curves)
        if priced is not None:
            if not priced.any():
                raise HistoryError(f"{instrument.symbol} has neither a mark nor what it is valued by in any row")
            expired = history.time >= np.datetime64(instrument.expiry or "NaT", "ns")
            start &= priced & ~expired
            end &= priced | expired
    return start, end


def _columns(history: MarketHistory, names: tuple[str, ...]) -> list[int]:
    return [n for n, name in enumerate(history.underlyings) if name in names]


def _known(structure: Floats | None, history: MarketHistory) -> Bools:
    """Where a surface or a curve has a row at least and no figure missing in one that it has, (T, A)."""
    if structure is None:
        return np.zeros(history.spot.shape, dtype=bool)
    told = np.isfinite(structure)
    every, some = np.asarray(told.all(axis=3)), np.asarray(told.any(axis=3))
    return np.asarray(every[:, :, 0] & (every == some).all(axis=2))


def _priced(instrument: Instrument, history: MarketHistory, surfaces: Bools, curves: Bools) -> Bools | None:
    """Where one instrument has a price beyond spot, (T,); None where it trades at spot."""
    marked: Bools | None = None
    if instrument.symbol in history.listed and history.marks is not None:
        marked = np.asarray(np.isfinite(history.marks[:, history.listed.index(instrument.symbol)]))
    if instrument.kind not in ("option", "future") or instrument.underlying not in history.underlyings:
        return marked
    if instrument.kind == "option":
        volatile = surfaces[:, history.underlyings.index(instrument.underlying)]
        return volatile if marked is None else volatile | marked
    return curves[:, history.underlyings.index(instrument.underlying)] if marked is None else marked
