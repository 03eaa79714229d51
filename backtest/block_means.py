"""What would the mean losses have been, had other dates been drawn?

Losses are (R, M), dates in rows, and all models of a date are drawn together. Dates come in blocks, so that overlapping
horizons and calm or wild times stay whole: `bootstrap.block_length` says how long they should be. A block's sum is the
difference of two running sums, so that a draw costs a block and not a date.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backtest.bootstrap import SEED
from backtest.confidence_kernels import fixed_means, running_sums, stationary_means
from data import Floats, ParameterError

DRAWS = 1000


class Resampling(Protocol):
    """A way to draw dates again."""

    def means(self, losses: Floats) -> Floats:
        """Mean loss of each model on each draw, (B, M) from (R, M)."""
        ...


@dataclass(frozen=True)
class StationaryBlocks:
    """Blocks of random length, `length` rows on average, from any row on and around the end.

    Politis and Romano (1994), J. American Statistical Association 89. The same seed draws the same dates as
    arch.bootstrap.StationaryBootstrap.
    """

    length: int
    draws: int = DRAWS
    seed: int = SEED

    def means(self, losses: Floats) -> Floats:
        """As `Resampling`; ParameterError for a length outside 1..R, no draw, or losses that are not finite."""
        losses, middle, means = _prepared(losses, self.length, self.draws)
        stationary_means(running_sums(losses), np.random.default_rng(self.seed), 1.0 / self.length, means)
        return means + middle


@dataclass(frozen=True)
class CircularBlocks:
    """Blocks of `length` rows from any row on and around the end, the last one cut.

    Politis and Romano (1992), in LePage and Billard, Exploring the Limits of Bootstrap. The same seed draws the same
    dates as arch.bootstrap.CircularBlockBootstrap.
    """

    length: int
    draws: int = DRAWS
    seed: int = SEED

    def means(self, losses: Floats) -> Floats:
        """As `Resampling`; ParameterError for a length outside 1..R, no draw, or losses that are not finite."""
        losses, middle, means = _prepared(losses, self.length, self.draws)
        rows = len(losses)
        starts = np.random.default_rng(self.seed).integers(rows, size=(self.draws, -(-rows // self.length)))
        fixed_means(running_sums(losses), starts, self.length, means)
        return means + middle


@dataclass(frozen=True, eq=False)
class DrawnDates:
    """Row numbers drawn elsewhere, (B, R) or any other number of columns."""

    rows: NDArray[np.int64]

    def means(self, losses: Floats) -> Floats:
        """As `Resampling`; ParameterError for rows that the losses do not have, or losses that are not finite."""
        if self.rows.ndim != 2 or not self.rows.size or self.rows.min() < 0 or self.rows.max() >= len(losses):
            raise ParameterError(f"draws must be (B, R) row numbers below {len(losses)}, got shape {self.rows.shape}")
        losses, middle, means = _prepared(losses, 1, len(self.rows))
        for mean, drawn in zip(means, self.rows, strict=True):
            mean[:] = losses[drawn].mean(axis=0)
        return means + middle


def refuse_unknown(losses: Floats) -> Floats:
    """(R, M) losses as they are; ParameterError for another shape, under two dates, or one that is not finite."""
    losses = np.ascontiguousarray(losses, np.float64)
    if losses.ndim != 2 or len(losses) < 2 or losses.shape[1] < 1:
        raise ParameterError(f"losses must be (R, M), at least two dates and one model, got the shape {losses.shape}")
    if not np.isfinite(losses).all():
        row, model = np.argwhere(~np.isfinite(losses))[0]
        raise ParameterError(f"losses must be finite, got {losses[row, model]} in row {row}, column {model}")
    return losses


def _prepared(losses: Floats, length: int, draws: int) -> tuple[Floats, Floats, Floats]:
    """Losses less their mean (running sums then stay small), that mean, and room for the draws."""
    losses = refuse_unknown(losses)
    if not 1 <= length <= len(losses) or draws < 1:
        raise ParameterError(f"blocks of 1 to {len(losses)} rows and >= 1 draws are needed, got {length} and {draws}")
    middle = losses.mean(axis=0)
    return losses - middle, middle, np.zeros((draws, losses.shape[1]))
