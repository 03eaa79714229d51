"""How many rejections are to be expected from testing so many books, and which are left when that is allowed for?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data import Floats, ParameterError

RATE = 0.05  # false discoveries among discoveries


@dataclass(frozen=True)
class Discoveries:
    """Rejections among many tests: `tests` made, `rejected` at `rate` each, and `discoveries` at that false share.

    `expected` is how many of the tests a size of `rate` rejects where every model is right.
    """

    tests: int
    rejected: int
    expected: float
    discoveries: int
    rate: float
    method: str

    def __str__(self) -> str:
        return (
            f"{self.rejected} of {self.tests} rejected at {100 * self.rate:g} % ({self.expected:.1f} expected by "
            f"chance); {self.discoveries} at a false discovery rate of {100 * self.rate:g} % ({self.method})"
        )


def q_values(p_value: ArrayLike, *, dependent: bool = True) -> Floats:
    """The smallest false discovery rate at which each test is a discovery, like `p_value`.

    Benjamini and Yekutieli (2001), Annals of Statistics 29, holds however the tests depend on each other, as those of
    books on the same dates do; not `dependent`, Benjamini and Hochberg (1995), J. Royal Statistical Society B 57, for
    tests that are independent or positively dependent. A NaN is a test that was not made: it stays NaN and is not
    counted.

    Raises
    ------
    ParameterError
        Where a p-value is not within [0, 1].

    >>> q_values([0.01, 0.04, 0.03], dependent=False).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    given = np.asarray(p_value, np.float64)
    made = ~np.isnan(given)
    p = given[made]
    if ((p < 0) | (p > 1)).any():
        raise ParameterError(f"p-values must lie within [0, 1], got {p[(p < 0) | (p > 1)][0]}")
    answer = np.full(given.shape, np.nan)
    answer[made] = _stepped_up(p, float((1.0 / np.arange(1, p.size + 1)).sum()) if dependent else 1.0)
    return answer


def _stepped_up(p: Floats, penalty: float) -> Floats:
    """P-values times tests over rank, none above that of a larger p-value, or 1."""
    order = np.argsort(-p, kind="stable")
    rank = np.arange(p.size, 0, -1)
    falling = np.minimum.accumulate(np.minimum(p[order] * (penalty * p.size / rank), 1.0))
    answer = np.empty_like(p)
    answer[order] = falling
    return answer


def discoveries(p_value: ArrayLike, rate: float = RATE, *, dependent: bool = True) -> Discoveries:
    """What is left of the rejections among many tests; ParameterError as `q_values`, or for a rate outside (0, 1)."""
    if not 0.0 < rate < 1.0:
        raise ParameterError(f"rate must lie within (0, 1), got {rate}. Typical values: 0.05-0.2.")
    p = np.asarray(p_value, np.float64)
    found: NDArray[np.bool_] = q_values(p, dependent=dependent) <= rate
    tests = int((~np.isnan(p)).sum())
    method = "Benjamini-Yekutieli" if dependent else "Benjamini-Hochberg"
    return Discoveries(tests, int((p <= rate).sum()), tests * rate, int(found.sum()), rate, method)
