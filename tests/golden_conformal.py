"""What does the project say to the golden cases of conformal prediction?"""

from collections.abc import Callable
from typing import Any

import numpy as np

from golden_cases import Case
from margin_models.overlays.conformal import adaptive_levels, conformal_rank, split_conformal_threshold

Figures = dict[str, Any]


def conformal(case: Case) -> Figures:
    """A split threshold with the law of its coverage, Beta(k, n + 1 - k), or the levels that follow errors."""
    if case.has("err", "alpha", "gamma", "alpha1"):
        errors, *rest = case.read("err", "alpha", "gamma", "alpha1")
        return {"alpha_t": adaptive_levels(np.array(errors, dtype=np.float64), *rest)}
    count, alpha, scores = case.read("n", "alpha", "scores")
    if len(scores) != count:
        raise case.refuse("n", count)
    rank = conformal_rank(count, alpha)
    return {
        "index_1based": rank,
        "threshold": split_conformal_threshold(np.array(scores, dtype=np.float64), alpha),
        "coverage_mean": rank / (count + 1),
        "coverage_beta": [rank, count + 1 - rank],
    }


FAMILIES: dict[str, Callable[[Case], Figures]] = {"conformal": conformal}
