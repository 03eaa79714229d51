"""What would a book's margin be if correlations broke?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from data import Coverage, Floats, MarketHistory, ParameterError
from data.arrays import Places
from margin_models.kernels.correlations import pairwise_correlations

_KNOWN = 0.5  # share of a window that two underlyings must have in common
_STEPS = 10  # starts of windows in the length of one
_AT_ONCE = 4_000_000  # figures: windows are taken so many at a time that they fit the memory


@dataclass(frozen=True)
class Severity:
    """How far correlations go, as shares in [0, 1] of the way from where they are.

    `to_one` is the way to all assets moving together, `to_zero` to each moving for itself, and `to_opposite` to every
    pair moving as is worst for the book: what it holds on the same side together, what it holds on opposite sides
    against each other. For two assets held against each other that is a correlation of -1.
    """

    name: str
    to_one: float
    to_zero: float
    to_opposite: float = 0.0

    def __post_init__(self) -> None:
        for end in ("to_one", "to_zero", "to_opposite"):
            if not 0.0 <= getattr(self, end) <= 1.0:
                raise ParameterError(f"Severity.{end} must lie in [0, 1], got {getattr(self, end)}")


# The shares are choices of ours, no venue's and no supervisor's.
MILD = Severity("mild", 0.25, 0.25)
MODERATE = Severity("moderate", 0.5, 0.5, 0.25)
SEVERE = Severity("severe", 0.9, 0.9, 0.5)


def stressed_margins(exposure: Floats, base: Floats, severity: Severity) -> dict[str, Floats]:
    """Margins (P,) by the end correlations were moved to, where the severity moves them at all.

    Of (P, A) exposures at the margin of each underlying alone, with the base margins (P,) they add up to today. A share
    of the way from today's correlations to a pattern of ones, zeros or the signs of the book (all of them correlation
    matrices) is the same share of the way from the square of the base to that of the whole, so that no matrix is
    needed, what a book does not hold cannot matter to it, and each margin moves one way only as its share grows.
    """
    ends = {
        "towards 1": (severity.to_one, exposure.sum(axis=1) ** 2),
        "towards 0": (severity.to_zero, (exposure**2).sum(axis=1)),
        "against the book": (severity.to_opposite, np.abs(exposure).sum(axis=1) ** 2),
    }
    return {
        end: np.sqrt((1.0 - share) * base**2 + share * square) for end, (share, square) in ends.items() if share > 0.0
    }


def past_correlations(
    past: MarketHistory, coverage: Coverage, window: int, columns: slice | Places = slice(None)
) -> Iterator[tuple[list[str], Floats]]:
    """Correlations (W, A, A) of windows of so many horizons that are wholly past, and the day each begins, in batches.

    Windows are laid a tenth of their length apart, from the first row on, so that one that was seen stays seen. Returns
    about zero, over the horizon, of the underlyings in `columns`. A pair is NaN in a window that knows less than half
    of the returns of both together, or in which one of them stood still.
    """
    returns = past.returns(coverage)[:, columns]
    rows, step = window * past.steps(coverage), max(window * past.steps(coverage) // _STEPS, 1)
    if len(returns) < rows:
        return
    laid = np.swapaxes(sliding_window_view(returns, rows, axis=0)[::step], 1, 2)
    batch = max(_AT_ONCE // max(rows * returns.shape[1], returns.shape[1] ** 2, 1), 1)
    weights = np.ones(rows)
    for first in range(0, len(laid), batch):
        some = np.ascontiguousarray(laid[first : first + batch])
        starts = (first + np.arange(len(some))) * step
        yield (
            [str(past.time[row])[:10] for row in starts],
            pairwise_correlations(some, weights, int(np.ceil(_KNOWN * rows))),
        )
