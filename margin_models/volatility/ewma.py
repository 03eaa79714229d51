"""What does an exponentially weighted past forecast?"""

import math

import numpy as np

from data import Floats, MarketHistory, ParameterError
from margin_models.base import VolatilityForecaster
from margin_models.covariance import LONGEST_HALF_LIFE
from margin_models.kernels.recursions import ewma_variance

_BURN = 8  # half-lives of filter before the first forecast asked for


class EwmaVolatility(VolatilityForecaster):
    """Root of an exponentially weighted mean of squared horizon returns.

    J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, 4th ed., section 5.2. Horizons that overlap all count,
    so that what is averaged is the variance of the horizon itself and never one row's times the square root of time.

    Parameters
    ----------
    half_life : horizons after which a squared return weighs half, 1e9 at most; 11.2 is RiskMetrics' daily 0.94.
    """

    def __init__(self, half_life: float = 11.2) -> None:
        self.half_life = half_life

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """(count, A); NaN until one half-life of returns is known. ParameterError for one that is out of range."""
        if not 0 < self.half_life <= LONGEST_HALF_LIFE:
            raise ParameterError(
                f"half_life must lie in (0, {LONGEST_HALF_LIFE:g}], got {self.half_life}. Typical: 5-60 horizons."
            )
        steps = past.steps(self.coverage_)
        rows = math.ceil(self.half_life * steps)
        recent = past.last(count + (_BURN + 1) * rows + steps)
        squared = recent.returns(self.coverage_) ** 2
        answer = np.full((count, len(past.underlyings)), np.nan)
        if not len(squared) or not count:
            return answer
        known = np.isfinite(squared)
        first = np.where(known.any(axis=0), known.argmax(axis=0), len(squared))
        for listed in np.unique(first):  # an asset that came later starts its filter later
            columns = np.flatnonzero(first == listed)
            told = _filtered(squared[listed:, columns], rows)[-count:]
            answer[count - len(told) :, columns] = told
        return answer


def _filtered(squared: Floats, rows: int) -> Floats:
    """Forecasts from the end of the first `rows` squared returns on, (S - rows + 1, A); none where they are fewer."""
    if len(squared) < rows:
        return np.empty((0, squared.shape[1]))
    mean = np.nanmean(squared[:rows], axis=0)
    variance = ewma_variance(squared[rows:], 0.5 ** (1.0 / rows), mean)
    return np.asarray(np.sqrt(np.vstack([mean, variance])))
