"""What does a sample of past horizons say about the loss of a book today?"""

from dataclasses import replace

import numpy as np

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Bools, Places
from margin_models.base import MarginModel, Requirement, TailForecast
from margin_models.kernels.tails import book_tails, complete, needed, supports
from margin_models.revalue import book_pnl, pnl_by_underlying
from margin_models.scenarios import Scenarios, historical, numeraire_column

LEAST_SIGMA = 0.1  # of an asset's own deviation over the window: a forecast below it is taken for it


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
    largest = np.take_along_axis(losses, order, axis=1)
    counted = largest >= np.minimum(quantile, largest[:, -1])[:, None]  # interpolation may round above the largest
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


def unconverted(past: MarketHistory, coverage: Coverage) -> tuple[MarketHistory, Coverage]:
    """The same in USD where all is counted in one of the market's own coins; else as it is.

    A move counted in a coin is bounded on one side and runs away on the other, so that no volatility scales it.
    """
    if coverage.numeraire != past.numeraire or numeraire_column(past) is None:
        return past, coverage
    return past.valued_in("USD"), replace(coverage, numeraire="USD")


def past_moves(recent: MarketHistory, coverage: Coverage) -> Floats:
    """Horizon returns, (S, A): of USD prices, and in a currency outside the market at its rates of then."""
    told, counted = unconverted(recent, coverage)
    return told.returns(counted)


def floored(sigma: Floats, moves: Floats) -> Floats:
    """Forecasts (T, A), none below a tenth (`LEAST_SIGMA`) of the root mean square of the asset's own moves (S, A).

    A forecast that has all but vanished, of a peg before it breaks, says nothing of how large a move is. Where an asset
    has none yet while another has one, its own root mean square stands in, so that no row is lost to it.
    """
    with np.errstate(invalid="ignore"):
        square = np.nansum(moves**2, axis=0) / np.maximum(np.isfinite(moves).sum(axis=0), 1)
    usual = np.sqrt(square)
    told = np.maximum(sigma, LEAST_SIGMA * usual)  # NaN stays NaN
    others = np.isfinite(sigma).any(axis=1, keepdims=True)
    return np.asarray(np.where(np.isnan(sigma) & others, usual, told))


def known_rows(moves: Floats, recent: MarketHistory, book: Book | None) -> Bools:
    """Which of (S, A) rows have no hole in what the book holds or counts in, (S,); of all assets without a book."""
    return complete(moves[:, _needed_columns(recent, book)])


def _needed_columns(recent: MarketHistory, book: Book | None) -> Bools:
    if book is None:
        return np.ones(len(recent.underlyings), dtype=bool)
    needed_here = np.zeros(len(recent.underlyings), dtype=bool)
    needed_here[book.listing.columns(recent.underlyings)[book.held]] = True
    own = numeraire_column(recent)
    if own is not None:
        needed_here[own] = True
    return needed_here


def known_scenarios(
    moves: Floats, recent: MarketHistory, coverage: Coverage, model: MarginModel, book: Book | None = None
) -> Scenarios:
    """The rows of (S, A) USD moves known for all that the book holds, with what implied volatility did meanwhile.

    What no portfolio holds stands still where it is unknown. HistoryError where rows are fewer than the level needs.
    """
    known, level = known_rows(moves, recent, book), coverage.level
    if not supports(int(known.sum()), level):
        raise HistoryError(
            f"{model!r}: a {level} quantile needs {needed(level)} complete horizon returns, "
            f"got {known.sum()} of {len(moves)}{_rarest(moves, recent, book)}"
        )
    told, implied = moves[known], recent.implied_changes(coverage)
    return historical(np.where(np.isnan(told), 0.0, told), implied[known], recent.time[: len(moves)][known])


def _rarest(moves: Floats, recent: MarketHistory, book: Book | None) -> str:
    """Which of the assets needed has the fewest moves, where it is short of some."""
    counts = np.where(_needed_columns(recent, book), np.isfinite(moves).sum(axis=0), len(moves))
    least = int(counts.argmin())
    return f" ({recent.underlyings[least]} has {counts[least]})" if counts[least] < len(moves) else ""
