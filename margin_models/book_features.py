"""What is known of a whole book and its market that may tell how far its loss exceeds what is asked?"""

from dataclasses import replace
from itertools import combinations

import numpy as np

from data import BookRecipe, Coverage, Floats, HistoryError, Instrument, MarketHistory
from data.arrays import Bools
from margin_models.volatility.predictors import EWMA_DECAY, LOOKBACK, NAMES, Known, known_at, over

MOST_PAIRS = 15  # of underlyings, held long against short by training books
LEAST_KNOWN = 0.9  # of its prices before the first training row, or an underlying is not trained on
_MARKET = [place for place, name in enumerate(NAMES) if not name.startswith("leader")]
_MOVES = [NAMES.index("return over 1"), NAMES.index("return over 5")]
# The order of columns; those of the market, `NAMES` but for the leader, come after them.
BOOK_NAMES = (
    *("variance over its mean", "last variance", "net over gross", "direction", "concentration"),
    *("moves in its direction over 1", "moves in its direction over 5", "what is asked in standard deviations"),
)


def market_rows(past: MarketHistory, coverage: Coverage) -> Known:
    """What is known of each underlying at every row with 44 horizons before it; HistoryError where there is none."""
    steps = past.steps(coverage)
    if len(past) <= LOOKBACK * steps:
        raise HistoryError(f"features of a book need {LOOKBACK * steps + 1} rows, got {past!r}")
    return known_at(past, replace(coverage, horizon=past.clock.step), steps)


def book_features(exposure: Floats, asked: Floats, known: Floats, returns: Floats, steps: int) -> Floats:
    """Features of P portfolios at one row, (P, F), none of which changes with the size of a portfolio.

    Parameters
    ----------
    exposure : (P, A) net notional by underlying, options by their delta.
    asked : (P,) margin of the base model.
    known : (A, K) predictors of each underlying at this row (`predictors.NAMES`).
    returns : (44 horizons, A) of one row each, the newest last; what is unknown moved nothing.
    steps : rows of a horizon.
    """
    size = np.abs(exposure).sum(axis=1)
    share = over(exposure, np.repeat(size[:, None], exposure.shape[1], axis=1))
    weight = np.abs(share)
    squares = (np.nan_to_num(share) @ np.nan_to_num(returns).T) ** 2
    by_horizon = squares.reshape(len(squares), LOOKBACK, steps).mean(axis=2)
    decay = EWMA_DECAY ** np.arange(LOOKBACK - 1, -1, -1)
    ewma = by_horizon @ decay / decay.sum()
    net = share.sum(axis=1)
    own = [over(ewma, by_horizon.mean(axis=1)), over(by_horizon[:, -1], ewma), np.abs(net), net]
    own += [(weight**2).sum(axis=1), *(share @ np.nan_to_num(known[:, _MOVES])).T]
    own.append(over(asked, size * np.sqrt(ewma * steps)))
    return np.column_stack([*own, _weighted(weight, known[:, _MARKET])])


def training_books(underlyings: tuple[str, ...]) -> BookRecipe:
    """Every underlying bought and sold, the basket bought and sold, and pairs, by perpetuals."""
    size = len(underlyings)
    each = np.eye(size)
    weights = {f"long {name}": each[a] for a, name in enumerate(underlyings)}
    if size > 1:
        weights["long basket"] = np.ones(size)
        pairs = list(combinations(range(size), 2))[:MOST_PAIRS]
        weights |= {f"long {underlyings[a]} {underlyings[b]}": each[a] - each[b] for a, b in pairs}
    weights |= {name.replace("long", "short", 1): -weight for name, weight in weights.items()}
    instruments = tuple(Instrument(f"{name}-PERP", name) for name in underlyings)
    return BookRecipe(instruments, tuple(weights), np.array(list(weights.values())).reshape(-1, size))


def trained_on(past: MarketHistory, first: int) -> Bools:
    """Which underlyings had nine tenths of their prices before a row, and one there, (A,)."""
    known = np.isfinite(past.spot[: first + 1]) & (past.spot[: first + 1] > 0)
    return np.asarray((known.mean(axis=0) >= LEAST_KNOWN) & known[-1])


def _weighted(weight: Floats, known: Floats) -> Floats:
    """Means over underlyings of (A, K) figures by weight (P, A), (P, K); of what is known, NaN where nothing is."""
    there = np.isfinite(known)
    total = np.nan_to_num(weight) @ np.where(there, known, 0.0)
    return over(total, np.nan_to_num(weight) @ there.astype(np.float64))
