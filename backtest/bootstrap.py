"""How far could a figure have come out otherwise, had other dates been drawn?"""

import numpy as np
from numpy.typing import NDArray

from data import Floats, ParameterError

DRAWS = 400
SEED = 19930401
SHARE = 0.95


def block_length(decisions: int, horizon: int) -> int:
    """Decisions a block holds: whole horizons, the cube root of how many there are, and two at least.

    Kuensch (1989), Annals of Statistics 17; the rate is that of Hall, Horowitz and Jing (1995), Biometrika 82. Horizons
    are counted and not decisions: decisions that overlap bring no more of them.

    >>> block_length(1000, 1), block_length(1000, 24)
    (10, 72)
    """
    return int(min(horizon * max(2, round((decisions / horizon) ** (1 / 3))), decisions))


def block_draws(decisions: int, block: int, draws: int = DRAWS, seed: int = SEED) -> NDArray[np.int64]:
    """How often each decision is drawn, (draws, decisions), by a circular block bootstrap over dates.

    All portfolios of a date stay together: they are not independent of each other. Politis and Romano (1992).
    """
    if not 1 <= block <= decisions:
        raise ParameterError(f"a block must hold 1 to {decisions} decisions, got {block}")
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, decisions, (draws, -(-decisions // block)))
    marks = np.zeros((draws, 2 * decisions + 1), dtype=np.int64)
    for row, chosen in zip(marks, starts, strict=True):
        np.add.at(row, chosen, 1)
        np.add.at(row, chosen + block, -1)
    counts = marks[:, :-1].cumsum(axis=1)
    return np.asarray(counts[:, :decisions] + counts[:, decisions:])


def interval(draws: Floats, share: float = SHARE) -> tuple[float, float]:
    """The central `share` of the draws that are numbers; NaN where none is."""
    known = draws[np.isfinite(draws)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
