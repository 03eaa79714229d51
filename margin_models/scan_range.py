"""How far must one underlying be expected to move against whoever holds it?"""

import numpy as np

from data import Coverage, Floats, HistoryError, MarketHistory
from margin_models.kernels.tails import needed, supports, upper_quantile


def worse_side_quantile(past: MarketHistory, coverage: Coverage) -> Floats:
    """The larger of the long's and the short's loss quantile of each underlying, (A,).

    HistoryError where an underlying has fewer returns than the level needs.
    """
    rates = np.empty(len(past.underlyings))
    for a, column in enumerate(past.returns(coverage).T):
        moves = column[np.isfinite(column)]
        if not supports(len(moves), coverage.level):
            raise HistoryError(
                f"a {coverage.level} rate for {past.underlyings[a]} needs {needed(coverage.level)} horizon returns, "
                f"got {len(moves)} in a window of {len(past)} rows"
            )
        short, long = (float(upper_quantile(side, coverage.level)) for side in (moves, -moves))
        rates[a] = max(short, long, 0.0)
    return rates
