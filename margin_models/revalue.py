"""What does each book gain or lose in each scenario?

Every option is repriced once, by Black-76, and shared by all books. Its volatility is its own, shocked (it sticks to
the strike); the forward keeps its ratio to spot. An option that expires on the way is worth its intrinsic value.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import Book, Floats, Listing, MarketState
try:  # while it is being written
    from data.pricing import reprice
except ImportError:
    pass
from data.valuation import OptionTerms, notionals, option_terms
from margin_models.scenarios import WIDEST, Scenarios

_LEAST_PRICE = 1e-12  # share of spot: a logarithm needs one


def relative_rates(state: MarketState, scenarios: Scenarios) -> Floats:
    """Price of the numeraire in each scenario over its price now, (S,); of a currency outside the market, 1."""
    if state.numeraire not in state.underlyings:
        return np.ones(len(scenarios))
    return np.maximum(1.0 + scenarios.spot[:, state.underlyings.index(state.numeraire)], _LEAST_PRICE)


@dataclass(frozen=True, eq=False)
class _Aged:
    """Options after `elapsed` years at an unchanged price, (M,) each."""

    tenor: Floats
    ratio: Floats
    discount: Floats
    deviation: Floats


def _aged(terms: OptionTerms, spot: Floats, elapsed: float) -> _Aged:
    left = np.maximum(terms.tenor - elapsed, 0.0)
    share = left / terms.tenor
    ratio = (terms.forward / spot) ** share
    return _Aged(left, ratio, terms.discount**share, terms.volatility * np.sqrt(left))


def option_values(terms: OptionTerms, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """USD per unit of the underlying that each option (M,) is worth in each scenario, (M, S)."""
    spot = state.spot[terms.underlying]
    aged = _aged(terms, spot, elapsed)
    key = np.stack([terms.underlying.astype(np.float64), terms.tenor])
    _, first, group = np.unique(key, axis=1, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    column, tenor = terms.underlying[first], aged.tenor[first]
    moved = np.maximum(1.0 + scenarios.spot[:, column].T, _LEAST_PRICE)
    forward = (spot * aged.ratio)[first, None] * moved
    discount = aged.discount[:, None]
    if scenarios.rate is not None:
        accrued = np.exp(scenarios.rate * tenor[:, None])
        forward = forward * accrued
        discount = discount / accrued[group]
    scale, scale_group = _vol_scale(terms, scenarios, first, group)
    value = reprice(forward, group, scale, scale_group, terms.strike, aged.deviation, terms.call)
    return np.asarray(value * discount)


def _vol_scale(
    terms: OptionTerms, scenarios: Scenarios, first: NDArray[np.intp], group: NDArray[np.intp]
) -> tuple[Floats, NDArray[np.intp]]:
    """Shocked volatility over volatility, (H, S), and which row is each option's, (M,).

    One row an expiry, or one an option where a floor or a skew shock makes strikes differ.
    """
    column, term = terms.underlying[first], scenarios.term
    days = 365.25 * terms.tenor[first]
    scale = np.maximum(1.0 + scenarios.vol[:, column].T * term.scale(days)[:, None], 0.0)
    if term.least == 0.0 and scenarios.skew is None and scenarios.wings is None:
        return scale, group
    scale = scale[group]
    if term.least > 0.0:
        raised = scenarios.vol[:, terms.underlying].T > 0.0
        scale = np.where(raised, np.maximum(scale, term.least / terms.volatility[:, None]), scale)
    depth = np.log(terms.strike / terms.forward) / terms.deviation
    for shock, distance in ((scenarios.skew, depth), (scenarios.wings, np.abs(depth))):
        if shock is not None:
            scale = scale * np.maximum(1.0 + np.clip(distance, -WIDEST, WIDEST)[:, None] * shock, 0.0)
    return scale, np.arange(len(depth), dtype=np.intp)


def instrument_pnl(listing: Listing, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """Gain of one long contract of each instrument in each scenario, in the numeraire, (N, S); NaN where unpriced.

    `elapsed` are years that pass meanwhile. Weights are applied.
    """
    column = listing.columns(state.underlyings)
    spot, tenor = scenarios.spot.T, np.maximum(listing.tenor(state.time) - elapsed, 0.0)
    move = spot[column]
    if scenarios.rate is not None:
        accrued = np.exp(scenarios.rate * np.nan_to_num(tenor)[:, None])
        move = (1.0 + move) * accrued - 1.0
    pnl = notionals(listing, state)[:, None] * move
    if listing.option.any():
        pnl[listing.option] = option_pnl(listing, state, scenarios, elapsed)
    return _counted(pnl, state, scenarios)


def option_pnl(listing: Listing, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """USD gained by one long contract of each option of a listing, (M, S), before weights; NaN where unpriced."""
    terms = option_terms(listing, state)
    pnl = np.full((len(terms.at), len(scenarios)), np.nan)
    alive = np.isfinite(terms.volatility)
    kept = terms.only(alive)
    value = option_values(kept, state, scenarios, elapsed) if alive.any() else np.empty((0, len(scenarios)))
    pnl[alive] = (value - kept.premium[:, None]) * kept.multiplier[:, None]
    pnl[state.spot[terms.underlying] == 0] = 0.0
    return pnl


def _counted(pnl: Floats, state: MarketState, scenarios: Scenarios) -> Floats:
    """USD gains (..., S) in the numeraire, at its price in the scenario, weights applied."""
    counted = pnl / (state.rate * relative_rates(state, scenarios))
    return counted if scenarios.weight is None else counted * scenarios.weight


def book_pnl(book: Book, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """Gain of each book in each scenario, in the numeraire, (P, S); DataError where a held leg has no price."""
    if scenarios.rate is not None:
        unit = _priced(book, instrument_pnl(book.listing, state, scenarios, elapsed), state)
        return np.asarray(book.quantity @ unit)
    pnl = book.linear_exposure(state) * state.rate @ scenarios.spot.T
    if book.listing.option.any():
        unit = _priced(book, _option_rows(book, state, scenarios, elapsed), state)
        pnl = pnl + np.asarray(book.quantity @ unit)
    return _counted(pnl, state, scenarios)


def pnl_by_underlying(book: Book, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """The same apart by underlying, each in its own column of the scenarios, (P, A, S)."""
    unit = _priced(book, instrument_pnl(book.listing, state, scenarios, elapsed), state)
    column = book.listing.columns(state.underlyings)
    apart = [np.asarray(book.quantity[:, column == a] @ unit[column == a]) for a in range(len(state.underlyings))]
    return np.stack(apart, axis=1)


def _option_rows(book: Book, state: MarketState, scenarios: Scenarios, elapsed: float) -> Floats:
    """USD gains of one contract, (N, S), 0 for what is no option."""
    rows = np.zeros((len(book.instruments), len(scenarios)))
    rows[book.listing.option] = option_pnl(book.listing, state, scenarios, elapsed)
    return rows


def _priced(book: Book, unit: Floats, state: MarketState) -> Floats:
    """(N, S) gains a contract, 0 where unpriced and not held; DataError where something held has no price."""
    book.known(unit.sum(axis=1), state)
    return np.nan_to_num(unit)
