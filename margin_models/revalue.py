"""What does each book gain or lose in each scenario?"""

from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from data import Book, Floats, Listing, MarketState
from data.threads import pool
from data.valuation import linear_prices, linear_sensitivities, option_terms
from margin_models.kernels.revaluation import add_holdings
from margin_models.repricing import LEAST_PRICE, Repricing, counted, repricing
from margin_models.scenarios import Scenarios

TILE = 128  # scenarios repriced at once: what 2,000 options gain in them stays in the cache


def instrument_pnl(listing: Listing, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """Gain of one long contract of each instrument in each scenario, in the numeraire, (N, S); NaN where unpriced.

    `elapsed` are years that pass meanwhile. Weights are applied.
    """
    pnl = _linear_gains(listing, state, scenarios, elapsed) * counted(state, scenarios)
    if listing.option.any():
        pnl[listing.option] = option_pnl(listing, state, scenarios, elapsed)
    return pnl


def _linear_gains(listing: Listing, state: MarketState, scenarios: Scenarios, elapsed: float) -> Floats:
    """USD gain of one contract, (N, S), before weights; 0 for an option, NaN where unpriced.

    A future's ratio to spot shrinks as its expiry comes nearer; one that expires on the way settles at the scenario's
    price.
    """
    column = listing.columns(state.underlyings)
    move = scenarios.spot.T[column]
    gains = linear_sensitivities(listing, state)[:, None] * move
    at = np.flatnonzero(listing.future)
    if not at.size:
        return gains
    price, spot = linear_prices(listing, state)[at], state.spot[column[at]]
    tenor = listing.tenor(state.time)[at]
    left = np.maximum(tenor - elapsed, 0.0)
    moved = np.maximum(1.0 + move[at], LEAST_PRICE)
    with np.errstate(divide="ignore", invalid="ignore"):
        later = spot[:, None] * moved * ((price / spot) ** (left / tenor))[:, None]
        if scenarios.rate is not None:
            later = later * np.exp(scenarios.rate * left[:, None])
        coin = (1.0 / price[:, None] - 1.0 / later) * spot[:, None] * moved
    unit = np.where(listing.inverse[at, None], coin, later - price[:, None]) * listing.multiplier[at, None]
    gains[at] = np.where((price > 0)[:, None], unit, np.where(price == 0, 0.0, np.nan)[:, None])
    return gains


def option_pnl(listing: Listing, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """The same of the options of a listing alone, (M, S)."""
    at, prepared = _prepared(listing, state, scenarios, elapsed, listing.option)
    discounts = None
    if scenarios.rate is not None:
        left = np.maximum(listing.tenor(state.time)[at] - elapsed, 0.0)
        discounts = np.exp(-scenarios.rate * left[:, None])
    pnl = np.full((len(listing.instruments), len(scenarios)), np.nan)
    pnl[at] = prepared.gains(discounts)
    # Nothing that happens changes what is written on a worthless coin.
    pnl[state.spot[listing.columns(state.underlyings)] == 0] = 0.0
    return pnl[listing.option]


def _prepared(
    listing: Listing, state: MarketState, scenarios: Scenarios, elapsed: float, wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], Repricing]:
    """Where the options stand that are wanted (N,) and have a price, and their repricing."""
    terms = option_terms(listing, state)
    known = terms.only(np.isfinite(terms.volatility) & wanted[terms.at])
    return known.at, repricing(known, state, scenarios, elapsed)


def book_pnl(book: Book, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0, threads: int = 1) -> Floats:
    """Gain of each book in each scenario, in the numeraire, (P, S); DataError where a held leg has no price.

    The number of threads never changes a figure; one is best inside worker processes.
    """
    if scenarios.rate is not None:
        return np.asarray(book.quantity @ book.known(instrument_pnl(book.listing, state, scenarios, elapsed), state))
    pnl = _linear_pnl(book, state, scenarios, elapsed)
    if book.listing.option.any():
        at, prepared = _prepared(book.listing, state, scenarios, elapsed, book.held)
        _refuse_unpriced(book, state, at)
        holdings = _Holdings.of(book, at)
        share = partial(_add_tiles, holdings, prepared, pnl, threads)
        others = [pool(threads - 1).submit(share, which) for which in range(1, threads)]
        share(0)
        for other in others:
            other.result()
    return pnl


def _linear_pnl(book: Book, state: MarketState, scenarios: Scenarios, elapsed: float) -> Floats:
    """The gains from all but options, (P, S)."""
    share = counted(state, scenarios)
    if not book.listing.future.any():
        return np.asarray((book.linear_exposure(state) * state.rate) @ (scenarios.spot.T * share))
    unit = np.where(book.listing.option[:, None], 0.0, _linear_gains(book.listing, state, scenarios, elapsed) * share)
    return np.asarray(book.quantity @ book.known(unit, state))


@dataclass(frozen=True, eq=False)
class _Holdings:
    """Who holds which of M repriced options: (P, M), or the rows of a sparse book and places among the M."""

    dense: Floats | None
    first: NDArray[np.intp]
    column: NDArray[np.intp]
    held: Floats
    place: NDArray[np.intp]

    @classmethod
    def of(cls, book: Book, at: NDArray[np.intp]) -> Self:
        place = np.full(len(book.instruments), -1, dtype=np.intp)
        place[at] = np.arange(len(at))
        if isinstance(book.quantity, np.ndarray):
            return cls(book.quantity[:, at], place, place, np.empty(0), place)
        rows = book.quantity
        return cls(None, rows.indptr.astype(np.intp), rows.indices.astype(np.intp), rows.data, place)


def _add_tiles(holdings: _Holdings, prepared: Repricing, pnl: Floats, threads: int, which: int) -> None:
    """Add the options' gains to (P, S), in every `threads`-th tile of scenarios."""
    scratch = np.empty((len(prepared.strike), TILE))
    for start in range(which * TILE, pnl.shape[1], threads * TILE):
        tile = pnl[:, start : start + TILE]
        gains = scratch if tile.shape[1] == TILE else np.empty((len(scratch), tile.shape[1]))
        prepared.fill(start, gains)
        if holdings.dense is not None:
            tile += holdings.dense @ gains
        else:
            add_holdings(holdings.first, holdings.column, holdings.held, holdings.place, gains, tile)


def pnl_by_underlying(book: Book, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """The same apart by underlying, each in its own column of the scenarios, (P, A, S)."""
    return summed_apart(book, instrument_pnl(book.listing, state, scenarios, elapsed), state)


def summed_apart(book: Book, unit: Floats, state: MarketState) -> Floats:
    """Quantity times figures a contract (N, S), summed by underlying, (P, A, S); DataError as `Book.known`."""
    unit, column = book.known(unit, state), book.listing.columns(state.underlyings)
    parts = [np.asarray(book.quantity[:, column == a] @ unit[column == a]) for a in range(len(state.underlyings))]
    return np.stack(parts, axis=1)


def _refuse_unpriced(book: Book, state: MarketState, at: NDArray[np.intp]) -> None:
    """DataError where an option is held that has no price; those `at` have one, as has what is worthless."""
    unit = np.where(book.listing.option, np.nan, 0.0)
    unit[at] = 0.0
    unit[state.spot[book.listing.columns(state.underlyings)] == 0] = 0.0
    book.known(unit, state)
