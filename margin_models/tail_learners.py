"""Which multiple of a scale is the tail quantile of a loss, given what is known?"""

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator, clone

from data import Floats, ParameterError
from margin_models.volatility.continued import REPRODUCIBLE, ContinuedBooster, Growth, Settings, binned, grown

if TYPE_CHECKING:
    from lightgbm import Booster

__all__ = ["BoostedQuantile", "ContinuedQuantile", "TailLearner"]

TAIL_ROWS = 5  # rows beyond the quantile that a leaf is expected to hold


class TailLearner(BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no types
    """Learn a quantile of outcomes from features. The discipline is a margin model's."""

    @abstractmethod
    def fit(self, features: Floats, outcomes: Floats, level: float) -> Self:
        """Learn the `level` quantile of outcomes (R,) from features (R, F), NaN where unknown."""

    @abstractmethod
    def predict(self, features: Floats) -> Floats:
        """The quantile for each row of (R, F) features, (R,)."""

    def after(self, before: Self | None) -> Self:  # noqa: ARG002  a default needs nothing
        """What is to be fitted at the stop of a walk after that of `before`; by default it knows nothing of it."""
        fresh: Self = clone(self)
        return fresh


class BoostedQuantile(TailLearner):
    """LightGBM by the pinball loss, which the quantile minimises (Koenker and Bassett, 1978).

    The same rows give the same trees bit for bit, whatever the number of threads.

    Parameters
    ----------
    trees, growth : size of the ensemble; a leaf holds five rows beyond the quantile, as expected, or is none.
    seed : LightGBM's.
    threads : of a fit; one is best inside worker processes.

    Attributes
    ----------
    booster_ : the ensemble; None where there were too few rows for one split.
    constant_ : the quantile of all outcomes, said in its place.

    Raises
    ------
    ParameterError
        If there is no tree, no split, no step or no thread.
    """

    booster_: "Booster | None"

    def __init__(self, trees: int = 60, growth: Growth = Growth(), seed: int = 0, threads: int = 1) -> None:  # noqa: B008
        self.trees = trees
        self.growth = growth
        self.seed = seed
        self.threads = threads

    def fit(self, features: Floats, outcomes: Floats, level: float) -> Self:
        """Grow all trees on these rows."""
        self._begin(outcomes, level)
        if len(outcomes) >= 2 * _least_leaf(level):
            settings = self._settings(level)
            self.booster_ = grown(binned(features, outcomes, settings), settings, self.trees)
        return self

    def predict(self, features: Floats) -> Floats:
        """The ensemble's quantile, or the constant."""
        if self.booster_ is None:
            return np.full(len(features), self.constant_)
        return np.asarray(self.booster_.predict(features, num_threads=1), dtype=np.float64)

    def _begin(self, outcomes: Floats, level: float) -> None:
        self.growth.check(type(self).__name__)
        for name in ("trees", "threads"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{type(self).__name__}: {name} must be >= 1, got {getattr(self, name)}")
        if not len(outcomes):
            raise ParameterError("a quantile needs one outcome at least, got none")
        self.booster_ = None
        self.constant_ = float(np.quantile(outcomes, level, method="weibull"))

    def _settings(self, level: float) -> Settings:
        return {
            "objective": "quantile",
            "alpha": level,
            "min_data_in_leaf": _least_leaf(level),
            "feature_fraction": 0.5,
            "seed": self.seed,
            "num_threads": self.threads,
            **REPRODUCIBLE,
            **self.growth.settings,
        }


class ContinuedQuantile(BoostedQuantile):
    """The same along a walk forward: most trees stay for six stops, and only the newest third is grown at each.

    What it says depends on the first stop of the walk, as a static rate does (`ContinuedBooster`): fitted alone, it is
    its own first stop.

    Attributes
    ----------
    walk_ : the ensemble as it stands, from which the next stop's follows.
    """

    def fit(self, features: Floats, outcomes: Floats, level: float) -> Self:
        """Follow the walk with all rows known at this stop, or begin one."""
        self._begin(outcomes, level)
        if len(outcomes) < 2 * _least_leaf(level):
            return self
        before: ContinuedBooster | None = getattr(self, "walk_", None)
        if before is None:
            before = ContinuedBooster(self._settings(level), self.trees, max(self.trees // 3, 1))
        self.walk_ = before.following(features, outcomes)
        self.booster_ = self.walk_.booster
        return self

    def after(self, before: Self | None) -> Self:
        """One that will follow the walk of `before`."""
        fresh: Self = clone(self)
        if before is not None and hasattr(before, "walk_"):
            fresh.walk_ = before.walk_
        return fresh


def _least_leaf(level: float) -> int:
    return math.ceil(TAIL_ROWS / (1.0 - level) - 1e-9)
