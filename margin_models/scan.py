"""What does each underlying's part of a book gain when that underlying moves alone?

Moves are counted in the numeraire, as a history's returns are: a scan range learned from returns is then what a linear
position of one loses.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data import Book, Coverage, Floats, Listing, MarketHistory, MarketState
from margin_models.kernels.tails import supports, upper_quantile
from margin_models.revalue import instrument_pnl, summed_apart
from margin_models.scenarios import Scenarios, numeraire_column, usd_moves

UNKNOWN_VOLATILITY_RANGE = 0.25  # relative, where there are no surfaces to learn one from; our choice


def together(scenarios: Scenarios, state: MarketState) -> Scenarios:
    """The USD moves behind scenarios counted in the numeraire, all underlyings moving at once."""
    return replace(scenarios, spot=np.maximum(usd_moves(scenarios.spot, numeraire_column(state)), -1.0))


def contract_scan(listing: Listing, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """Gain of one long contract when its underlying moves alone, in the numeraire, (N, S); NaN where unpriced.

    `scenarios` are counted in the numeraire, `elapsed` in years. Where the numeraire is itself an underlying, only its
    own column moves it.
    """
    own = numeraire_column(state)
    dollars = replace(state, numeraire="USD", rate=1.0)
    if own is None:
        return np.asarray(instrument_pnl(listing, dollars, scenarios, elapsed) / state.rate)
    spot = scenarios.spot.copy()
    spot[:, own] = usd_moves(spot[:, [own]], 0)[:, 0]
    unit: Floats = instrument_pnl(listing, dollars, replace(scenarios, spot=spot), elapsed) / state.rate
    moved = listing.columns(state.underlyings) == own
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(moved[:, None], unit / (1.0 + spot[:, own]), unit)


def scan_pnl(book: Book, state: MarketState, scenarios: Scenarios, elapsed: float = 0.0) -> Floats:
    """Gain of each book from each underlying alone, in the numeraire, (P, A, S); DataError for an unpriced leg held."""
    if not (book.listing.option.any() or book.listing.future.any()) and scenarios.rate is None:
        counted = scenarios.spot if scenarios.weight is None else scenarios.spot * scenarios.weight[:, None]
        return np.asarray(book.exposure(state)[:, :, None] * counted.T)
    return summed_apart(book, contract_scan(book.listing, state, scenarios, elapsed), state)


def volatility_range(past: MarketHistory, coverage: Coverage) -> tuple[Floats, NDArray[np.bool_]]:
    """The larger quantile, of rises or of falls, of the relative change of 30-day implied volatility, (A,).

    Also which underlyings had surfaces at both ends of enough horizons for the level; the others get
    `UNKNOWN_VOLATILITY_RANGE`.
    """
    size = len(past.underlyings)
    ranges, learned = np.full(size, UNKNOWN_VOLATILITY_RANGE), np.zeros(size, dtype=bool)
    if past.surfaces is None:
        return ranges, learned
    steps = past.steps(coverage)
    quoted: NDArray[np.bool_] = np.asarray(np.isfinite(past.surfaces[..., 0]).any(axis=2))
    changes = past.implied_changes(coverage)
    known = quoted[:-steps] & quoted[steps:]
    for a in range(size):
        moves = changes[known[:, a], a]
        learned[a] = supports(len(moves), coverage.level)
        if learned[a]:
            ranges[a] = max(float(upper_quantile(side, coverage.level)) for side in (moves, -moves))
    return np.maximum(ranges, 0.0), learned
