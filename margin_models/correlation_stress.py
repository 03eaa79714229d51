"""What would correlations be if they broke?"""

from dataclasses import dataclass

import numpy as np

from data import Coverage, Floats, MarketHistory, ParameterError
from margin_models.covariance import correlation_of
from margin_models.kernels.tails import complete

_ROUNDING = 1e-10


@dataclass(frozen=True)
class Severity:
    """How far correlations go, as shares in [0, 1] of the way from where they are.

    `to_one` is the way to all assets moving together, `to_zero` to each moving for itself, and `to_opposite` to every
    pair moving against each other, or as near to that as correlations of so many assets can come.
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


def nearest_correlation(matrix: Floats) -> Floats:
    """A positive semi-definite correlation matrix near a symmetric one with a unit diagonal, (A, A).

    Negative eigenvalues become zero and the diagonal one again: Rebonato and Jaeckel (1999), "The most general
    methodology to create a valid correlation matrix", section 3. A matrix without negative ones stays as it is.
    """
    value, vector = np.linalg.eigh(matrix)
    if value[0] >= -_ROUNDING:
        return matrix
    return correlation_of((vector * np.maximum(value, 0.0)) @ vector.T)


def stressed_correlations(correlation: Floats, severity: Severity) -> dict[str, Floats]:
    """Correlation matrices (A, A) by the end they were moved to, where the severity moves them at all."""
    eye = np.eye(len(correlation))
    ends = {
        "towards 1": (severity.to_one, np.ones_like(eye)),
        "towards 0": (severity.to_zero, eye),
        "towards -1": (severity.to_opposite, 2.0 * eye - 1.0),
    }
    return {
        end: nearest_correlation((1.0 - share) * correlation + share * goal)
        for end, (share, goal) in ends.items()
        if share > 0.0
    }


def past_correlations(past: MarketHistory, coverage: Coverage, window: int) -> dict[str, Floats]:
    """Correlation matrices (A, A) of windows of so many horizons that are wholly past, by the day each begins.

    Windows overlap by half and are laid from the first row on, so that one that was seen stays seen. Returns about
    zero, over the horizon; those with a hole are left out, and a window without half of its returns is no window.
    """
    returns = past.returns(coverage)
    half = window // 2 * past.steps(coverage)
    blocks, assets = len(returns) // half, len(past.underlyings)
    laid = returns[: blocks * half]
    known = complete(laid)
    filled = np.where(known[:, None], laid, 0.0).reshape(blocks, half, assets)
    moments = filled.transpose(0, 2, 1) @ filled
    both, seen = moments[1:] + moments[:-1], known.reshape(blocks, half).sum(axis=1)
    kept = np.flatnonzero(seen[1:] + seen[:-1] >= half)
    return {f"window from {str(past.time[k * half])[:10]}": correlation_of(both[k]) for k in kept}
