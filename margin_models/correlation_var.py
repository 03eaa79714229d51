"""What does an elliptical law with today's correlations ask for?"""

import math
from typing import Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from data.laws import unit_tail
from margin_models import operations
from margin_models.base import CovarianceEstimator, MarginModel, Requirement, TailForecast
from margin_models.covariance import EwmaCovariance, sound_covariance


def deviation(exposure: Floats, covariance: Floats) -> Floats:
    """Standard deviation of each book's loss, (P,), from exposures (P, A) and a covariance (A, A), or (..., A, A)."""
    return np.asarray(np.sqrt(np.maximum(((exposure @ covariance) * exposure).sum(axis=-1), 0.0)))


def euler_components(exposure: Floats, covariance: Floats, multiple: float) -> Floats:
    """What each underlying adds to `multiple` standard deviations, (P, A); rows sum to the whole.

    Jorion (2007), Value at Risk, 3rd ed., chapter 7: component = exposure times marginal; 0 for a book without risk.
    """
    whole = deviation(exposure, covariance)[:, None]
    with_covariance = exposure * (exposure @ covariance)
    return multiple * np.divide(with_covariance, whole, out=np.zeros_like(exposure), where=whole > 0)


class CorrelationVaR(MarginModel):
    """Value at risk of the whole portfolio under an elliptical law, so hedges offset.

    J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, 4th ed., chapter 6 (normal); McNeil, Frey and Embrechts
    (2015), section 2.2 (Student-t). The covariance is estimated afresh at each decision. HistoryError where a portfolio
    holds what the estimator knows too little of; what nobody holds does not matter.

    Parameters
    ----------
    covariance : how co-movement is estimated; `EwmaCovariance()` where None.
    degrees : degrees of freedom of a Student-t law, > 2; None for a normal one.

    Attributes
    ----------
    covariance_ : the fitted estimator.
    """

    def __init__(self, covariance: CovarianceEstimator | None = None, degrees: float | None = None) -> None:
        self.covariance = covariance
        self.degrees = degrees

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the estimator; ParameterError for degrees of freedom not above 2."""
        if self.degrees is not None and not self.degrees > 2:
            raise ParameterError(f"degrees must be > 2, got {self.degrees}. Typical values: 3-8.")
        estimator = EwmaCovariance() if self.covariance is None else clone(self.covariance)
        self.covariance_: CovarianceEstimator = estimator.fit(past, coverage)
        return super().fit(past, coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The quantile of the loss, (P,) in the numeraire."""
        return self.tail(past, book).var

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """Quantile and expected shortfall of the law."""
        spread = deviation(book.exposure(past.now), sound_covariance(self.covariance_, past, book))
        quantile, beyond = self._unit_tail()
        return TailForecast(quantile * spread, beyond * spread, degrees=self._degrees)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin by underlying (Euler components)."""
        multiple = self._unit_tail()[0]
        covariance = sound_covariance(self.covariance_, past, book)
        parts = euler_components(book.exposure(past.now), covariance, multiple)
        margin = self.margin(past, book)
        return Requirement(book.portfolios, margin, margin, dict(zip(past.underlyings, parts.T, strict=True)))

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of the deltas and of the quadratic form, (P,)."""
        size = len(past.underlyings)
        return np.asarray(operations.legs(book) + operations.BLACK * operations.options(book) + size * (size + 1))

    def _unit_tail(self) -> tuple[float, float]:
        return unit_tail(self.coverage_.level, self._degrees)

    @property
    def _degrees(self) -> float:
        return math.inf if self.degrees is None else self.degrees
