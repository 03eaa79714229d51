"""What does a sample of past horizons say about the loss of a book today?"""

import numpy as np
from numpy.typing import NDArray

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models.base import MarginModel, Requirement, TailForecast
from margin_models.kernels.tails import book_tails, complete, needed, supports
from margin_models.revalue import book_pnl, pnl_by_underlying
from margin_models.scenarios import Scenarios, historical, numeraire_column, usd_moves

Places = NDArray[np.intp]


def at_the_quantile(losses: Floats, level: float) -> tuple[Places, Floats]:
    """Which scenarios make each book's quantile: indices (P, 2) and their weights (P, 2), which sum to one."""
    size = losses.shape[1]
    position = min(max((size + 1) * level, 1.0), float(size))
    lower = int(np.floor(position + 1e-9)) - 1
    upper = min(lower + 1, size - 1)
    order = np.argsort(losses, axis=1, kind="stable")[:, [lower, upper]]
    share = max(position - (lower + 1), 0.0)
    return order, np.broadcast_to(np.array([1.0 - share, share]), order.shape)


def beyond_the_quantile(losses: Floats, quantile: Floats, level: float) -> tuple[Places, Floats]:
    """Which scenarios make the mean at or beyond each book's quantile (P,): indices (P, k) and weights."""
    size = losses.shape[1]
    lower = int(np.floor(min(max((size + 1) * level, 1.0), float(size)) + 1e-9))
    order = np.argsort(losses, axis=1, kind="stable")[:, lower - 1 :]
    counted = np.take_along_axis(losses, order, axis=1) >= quantile[:, None]
    return order, counted / counted.sum(axis=1, keepdims=True)


def empirical_tail(book: Book, past: MarketHistory, scenarios: Scenarios, coverage: Coverage) -> TailForecast:
    """The empirical law of a book's loss in each scenario, options revalued as the horizon ends."""
    losses = -book_pnl(book, past.now, scenarios, past.now.years_ahead(coverage))
    return TailForecast(*book_tails(losses, coverage.level), losses)


def charged(told: TailForecast, shortfall: bool) -> Floats:
    """The quantile, or the mean beyond it, where that is a loss, (P,)."""
    return np.maximum(told.es if shortfall else told.var, 0.0)


def by_underlying(
    book: Book, past: MarketHistory, scenarios: Scenarios, coverage: Coverage, shortfall: bool = False
) -> Requirement:
    """The quantile, or the mean beyond it, split by underlying on the scenarios that make it."""
    told = empirical_tail(book, past, scenarios, coverage)
    losses = sample_of(told)
    picks = (
        beyond_the_quantile(losses, told.var, coverage.level) if shortfall else at_the_quantile(losses, coverage.level)
    )
    return split(book, past, scenarios, coverage, charged(told, shortfall), *picks)


def split(
    book: Book,
    past: MarketHistory,
    scenarios: Scenarios,
    coverage: Coverage,
    margin: Floats,
    picked: Places,
    weight: Floats,
) -> Requirement:
    """A margin (P,) by underlying: the weighted losses in the scenarios picked for each book, (P, k) both.

    `worst` names the start of the horizon that weighs most. A margin of nothing has parts of nothing.
    """
    apart = pnl_by_underlying(book, past.now, scenarios, past.now.years_ahead(coverage))
    chosen = np.take_along_axis(apart, picked[:, None, :], axis=2)
    parts = np.where(margin[:, None] > 0, -(chosen * weight[:, None, :]).sum(axis=2), 0.0)
    heaviest = picked[np.arange(len(picked)), weight.argmax(axis=1)]
    worst = tuple(scenarios.names[row] for row in heaviest)
    return Requirement(book.portfolios, margin, margin, dict(zip(past.underlyings, parts.T, strict=True)), worst)


def sample_of(told: TailForecast) -> Floats:
    """The losses behind an empirical law, (P, S)."""
    assert told.sample is not None
    return told.sample


def lookback_rows(lookback: int | None, window: int) -> int:
    """Rows to replay: the lookback, or the fit window where it is None; ParameterError below 1."""
    if lookback is not None and lookback < 1:
        raise ParameterError(f"lookback must be >= 1, got {lookback}. Typical values: 250-1000 rows.")
    return window if lookback is None else lookback


def known_scenarios(moves: Floats, recent: MarketHistory, coverage: Coverage, model: MarginModel) -> Scenarios:
    """The complete rows of (S, A) moves in the numeraire, with what implied volatility did meanwhile.

    HistoryError where they are fewer than the level needs.
    """
    known, level = complete(moves), coverage.level
    if not supports(int(known.sum()), level):
        raise HistoryError(
            f"{model!r}: a {level} quantile needs {needed(level)} complete horizon returns, "
            f"got {known.sum()} of {len(moves)}"
        )
    implied = recent.implied_changes(coverage)
    return historical(
        usd_moves(moves[known], numeraire_column(recent)), implied[known], recent.time[: len(moves)][known]
    )
