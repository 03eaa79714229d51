"""What does a model that sees tomorrow look like? Negative controls: the audit must catch every one.

Each leaks the way real code does: through `fit_many`, the one door that sees the whole history.
"""

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory
from margin_models import MarginModel


class Leak(MarginModel):
    """Two standard deviations on net exposure; `_deviation` is where a leak comes in."""

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """One fitted model a stop, its deviation learned from the whole history."""
        for stop in stops:
            fresh: Self = clone(self)
            fresh.fit(history.rows(max(stop - window, 0), stop), coverage)
            fresh.deviation_ = fresh._deviation(history, stop, coverage)
            yield fresh

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        return np.asarray(np.nanstd(history.rows(max(stop - self.window_, 0), stop).returns(coverage), axis=0))

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """(P,) in the numeraire."""
        return np.asarray(np.abs(book.exposure(past.now)) @ (2.0 * self.deviation_))


class HonestControl(Leak):
    """The same model without a leak: it must pass, or the audit finds leaks where there are none."""


class FullSampleScaling(Leak):
    """Scaled by the standard deviation of the whole sample."""

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:  # noqa: ARG002  the leak
        return np.asarray(np.nanstd(history.returns(coverage), axis=0))


class FullSampleInitialVariance(Leak):
    """An exponential filter that starts from the variance of the whole sample."""

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        variance = np.nanvar(history.returns(coverage), axis=0)
        for row in history.rows(max(stop - self.window_, 0), stop).returns(coverage):
            variance = np.where(np.isfinite(row), 0.94 * variance + 0.06 * row**2, variance)
        return np.asarray(np.sqrt(variance))


class SameDayReturn(Leak):
    """Looks one row too far: today's outcome is already in the window."""

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        return np.asarray(np.nanstd(history.rows(max(stop - self.window_, 0), stop + 1).returns(coverage), axis=0))


class CentredSmoothing(Leak):
    """Smooths absolute returns by a centred moving average."""

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        moves = pd.DataFrame(np.abs(history.returns(coverage)))
        smooth = moves.rolling(11, center=True, min_periods=1).mean().to_numpy()
        return np.asarray(1.25 * smooth[min(stop - 1 - history.steps(coverage), len(smooth) - 1)])


class Backfill(Leak):
    """Fills a blank feature with the next value that is known."""

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        honest = super()._deviation(history, stop, coverage)
        if history.volume is None:
            return honest
        filled = pd.DataFrame(history.volume).bfill().to_numpy()[stop - 1]
        busy = np.nan_to_num(filled / np.nanmean(history.volume[:stop], axis=0), nan=1.0)
        return np.asarray(honest * (1.0 + 0.1 * busy))


LEAKS: tuple[MarginModel, ...] = (
    FullSampleScaling(),
    FullSampleInitialVariance(),
    SameDayReturn(),
    CentredSmoothing(),
    Backfill(),
)
