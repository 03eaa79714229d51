"""What may the basis between two expiries move, and what does a spread between them cost?

A scan moves all expiries of an underlying alike, so that a long one hides a short one; the inter-month charge of SPAN
gives back what the scan cannot see.
"""

import numpy as np

from data import Book, Coverage, Floats, HistoryError, MarketHistory, MarketState
from data.coverage import DAYS_A_YEAR
from data.curves import forward_ratio
from data.valuation import sensitivities
from margin_models.kernels.spreads import spread_credit
from margin_models.kernels.tails import needed, supports, upper_quantile

MATURITIES = np.array([0.0, 7.0, 30.0, 90.0, 180.0, 365.0, 730.0]) / DAYS_A_YEAR
_FREE = 1e-12  # a spread that costs nothing must still be formed, first of all


def calendar_reach(past: MarketHistory, coverage: Coverage, *, required: bool = False) -> Floats:
    """How far each maturity's forward may drift from spot over the horizon, as a share of spot, (A, G).

    The change of the log ratio of neighbouring constant maturities (MATURITIES), its absolute quantile at the level,
    cumulated: the charge for a spread between two tenors is the difference. Changes are counted per unit of spot. A row
    is 0 for an underlying with too few curves, or HistoryError where `required`.
    """
    reach = np.zeros((len(past.underlyings), len(MATURITIES)))
    steps = past.steps(coverage)
    for a, name in enumerate(past.underlyings):
        gaps = _gaps(past, a)
        change = gaps[steps:] - gaps[:-steps]
        change = np.abs(change[np.isfinite(change).all(axis=1)])
        if supports(len(change), coverage.level):
            reach[a, 1:] = np.cumsum(upper_quantile(change.T, coverage.level))
        elif required:
            raise HistoryError(
                f"an inter-month charge for {name} at {coverage.level} needs curves at both ends of "
                f"{needed(coverage.level)} horizons, got {len(change)}: use SpanRules(intermonth=False) without them"
            )
    return reach


def _gaps(past: MarketHistory, column: int) -> Floats:
    """Log ratios of neighbouring maturities at each row, (T, G - 1); NaN where there is no curve."""
    gaps = np.full((len(past), len(MATURITIES) - 1), np.nan)
    if past.curves is not None:
        for t in np.flatnonzero(np.isfinite(past.curves[:, column, :, 1]).any(axis=1)):
            gaps[t] = np.diff(np.log(forward_ratio(past.curves[t, column], MATURITIES)))
    return gaps


def intermonth_charge(book: Book, state: MarketState, reach: Floats) -> Floats:
    """What each book's spreads between expiries of one underlying cost, in the numeraire, (P, A).

    Net deltas of different expiries and opposite sign are matched, the cheapest spreads first; each unit of delta is
    matched once. Spot and perpetuals are at tenor zero.
    """
    unit = book.known(sensitivities(book.listing, state), state) / state.rate
    tenor = np.nan_to_num(np.maximum(book.listing.tenor(state.time), 0.0))
    column = book.listing.columns(state.underlyings)
    charge = np.zeros((len(book.portfolios), len(state.underlyings)))
    for a in np.unique(column):
        mine = column == a
        expiries, place = np.unique(tenor[mine], return_inverse=True)
        if len(expiries) > 1 and reach[a, -1] > 0:
            onto = np.zeros((int(mine.sum()), len(expiries)))
            onto[np.arange(len(place)), place] = unit[mine]
            delta = np.asarray(book.quantity[:, mine] @ onto)
            charge[:, a] = spread_cost(delta, np.interp(expiries, MATURITIES, reach[a]))
    return charge


def spread_cost(delta: Floats, reach: Floats) -> Floats:
    """Cost of matching (P, E) deltas, (P,), a spread costing the difference in `reach` (E,) per unit of delta.

    >>> spread_cost(np.array([[10.0, -4.0, -6.0]]), np.array([0.0, 0.01, 0.03])).round(6).tolist()
    [0.22]
    """
    first, second = np.triu_indices(len(reach), 1)
    cost = np.maximum(np.abs(reach[second] - reach[first]), _FREE)
    order = np.argsort(cost, kind="stable")
    return np.asarray(spread_credit(delta, first[order], second[order], cost[order] / 2.0))
