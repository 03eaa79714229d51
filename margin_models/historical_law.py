"""What does a sample of past horizons say about the loss of a book today?"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Bools, Places
from margin_models.base import MarginModel, Requirement, TailForecast
from margin_models.kernels.tails import book_tails, complete, needed, supports
from margin_models.revalue import book_pnl, pnl_by_underlying
from margin_models.scenarios import Scenarios, historical, numeraire_column

LEAST_SIGMA = 0.1  # of an asset's own deviation over the window: a forecast below it is taken for it
MOST_RATIO = 10.0  # of today's forecast over that of then: no past move is blown up by more


class KnownHorizons(NamedTuple):
    """The past horizons that some portfolio knows all about: `rows` of the lookback (S,), and a scenario for each.

    `known` says which of these scenarios each portfolio knows, (P, scenarios); None where each knows all of them.
    """

    rows: Bools
    scenarios: Scenarios
    known: Bools | None

    def losses(self, book: Book, past: MarketHistory, coverage: Coverage) -> Floats:
        """What each portfolio loses in each scenario, options revalued as the horizon ends; NaN where unknown."""
        lost = -book_pnl(book, past.now, self.scenarios, past.now.years_ahead(coverage))
        return lost if self.known is None else np.where(self.known, lost, np.nan)

    def counts(self, book: Book) -> Floats:
        """How many scenarios each portfolio knows, (P,)."""
        if self.known is None:
            return np.full(len(book.portfolios), float(len(self.scenarios)))
        return np.asarray(self.known.sum(axis=1), dtype=np.float64)


class Cohort(NamedTuple):
    """Portfolios (p,) that know the same scenarios (s,), by their places, and their losses (p, s)."""

    portfolios: Places
    scenarios: Places
    losses: Floats


def cohorts(losses: Floats) -> list[Cohort]:
    """Portfolios by what they know of (P, S) losses, which are NaN elsewhere; as a rule all know the same."""
    if not np.isnan(losses).any():
        return [Cohort(np.arange(losses.shape[0]), np.arange(losses.shape[1]), losses)]
    known = ~np.isnan(losses)
    places = [(who, np.flatnonzero(known[who[0]])) for who in alike(known)]
    return [Cohort(who, where, losses[np.ix_(who, where)]) for who, where in places]


def alike(rows: Bools) -> list[Places]:
    """The places of (P, K) rows that are equal, those together, in order of the first.

    >>> [places.tolist() for places in alike(np.array([[True, False], [True, True], [True, False]]))]
    [[0, 2], [1]]
    """
    places: dict[bytes, list[int]] = {}
    for place, row in enumerate(np.packbits(rows, axis=1)):
        places.setdefault(row.tobytes(), []).append(place)
    return [np.array(equal) for equal in places.values()]


def tails_of(losses: Floats, tails: Callable[[Cohort], tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Quantile and mean beyond it, (P,) each, of every portfolio's own losses, cohort by cohort."""
    var, es = np.empty((2, len(losses)))
    for cohort in cohorts(losses):
        var[cohort.portfolios], es[cohort.portfolios] = tails(cohort)
    return var, es


def picks_of(losses: Floats, pick: Callable[[Cohort], tuple[Places, Floats]]) -> tuple[Places, Floats]:
    """Scenarios picked for each portfolio and their weights, (P, k) both; cohorts that pick fewer have some of none."""
    picks = [(cohort, *pick(cohort)) for cohort in cohorts(losses)]
    shape = len(losses), max((places.shape[1] for _, places, _ in picks), default=0)
    picked, weight = np.zeros(shape, dtype=np.intp), np.zeros(shape)
    for cohort, places, share in picks:
        picked[cohort.portfolios, : places.shape[1]] = cohort.scenarios[places]
        weight[cohort.portfolios, : places.shape[1]] = share
    return picked, weight


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


def empirical_tail(book: Book, past: MarketHistory, horizons: KnownHorizons, coverage: Coverage) -> TailForecast:
    """The empirical law of each portfolio's losses in the horizons it knows; the sample is NaN in the others."""
    losses = horizons.losses(book, past, coverage)
    return TailForecast(*tails_of(losses, lambda cohort: book_tails(cohort.losses, coverage.level)), losses)


def charged(told: TailForecast, shortfall: bool) -> Floats:
    """The quantile, or the mean beyond it, where that is a loss, (P,)."""
    return np.maximum(told.es if shortfall else told.var, 0.0)


def by_underlying(
    book: Book, past: MarketHistory, horizons: KnownHorizons, coverage: Coverage, shortfall: bool = False
) -> Requirement:
    """The quantile, or the mean beyond it, split by underlying on the scenarios that make it."""
    told, level = empirical_tail(book, past, horizons, coverage), coverage.level

    def pick(cohort: Cohort) -> tuple[Places, Floats]:
        if shortfall:
            return beyond_the_quantile(cohort.losses, told.var[cohort.portfolios], level)
        return at_the_quantile(cohort.losses, level)

    picks = picks_of(sample_of(told), pick)
    return split(book, past, horizons.scenarios, coverage, charged(told, shortfall), *picks)


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
    """The losses behind an empirical law, (P, S); NaN in what a portfolio does not know."""
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


def rescaled(moves: Floats, sigma: Floats) -> Floats:
    """Past moves (S, A) at today's forecast, the last of (T, A), over that of their start; NaN where one is unknown.

    No move grows by more than `MOST_RATIO`, the edge of what is a plausible change of forecast: on the day after a
    peg broke, the break over the forecast before it says nothing of how much further the asset may fall.
    """
    start = sigma[: len(moves)]
    ratio = np.divide(sigma[-1], start, out=np.full_like(start, np.nan), where=start > 0)
    # An asset that has defaulted no longer moves, whatever its volatility was.
    return np.where(moves == 0.0, 0.0, moves * np.minimum(ratio, MOST_RATIO))


def known_horizons(
    moves: Floats, recent: MarketHistory, coverage: Coverage, model: MarginModel, book: Book | None = None
) -> KnownHorizons:
    """The rows of (S, A) USD moves that each portfolio knows, with what implied volatility did meanwhile.

    A portfolio knows a row that has no hole in what it holds or all is counted in, whatever others hold; without a
    book, one that has no hole at all. What it does not hold stands still where it is unknown. HistoryError where the
    rows of some portfolio are fewer than the level needs.
    """
    patterns, which = _patterns(moves, recent, book)
    for n, pattern in enumerate(patterns):
        if not supports(int(pattern.sum()), coverage.level):
            holders = _needed_columns(recent, book, np.flatnonzero(which == n))
            raise HistoryError(
                f"{model!r}: a {coverage.level} quantile needs {needed(coverage.level)} complete horizon returns, "
                f"got {pattern.sum()} of {len(moves)}{_rarest(moves, recent, holders)}"
            )
    rows = np.asarray(patterns.any(axis=0))
    told, implied = moves[rows], recent.implied_changes(coverage)
    scenarios = historical(np.where(np.isnan(told), 0.0, told), implied[rows], recent.time[: len(moves)][rows])
    return KnownHorizons(rows, scenarios, None if patterns[:, rows].all() else patterns[which][:, rows])


def _patterns(moves: Floats, recent: MarketHistory, book: Book | None) -> tuple[Bools, Places]:
    """Which of (S, A) rows are complete, for every kind of portfolio (K, S), and of which kind each is, (P,)."""
    columns = _needed_columns(recent, book)
    unknown: Bools = ~np.isfinite(moves)
    shared = np.asarray(unknown[:, columns].all(axis=1)) & columns.any()
    gaps = np.flatnonzero(columns & (unknown & ~shared[:, None]).any(axis=0))
    size = 1 if book is None else len(book.portfolios)
    if book is None or not gaps.size or size < 2:
        return complete(moves[:, columns])[None], np.zeros(size, dtype=np.intp)
    holds = _holdings(recent, book)
    idle = ~holds.any(axis=1)  # loses nothing in any row: of whichever kind another is
    own = numeraire_column(recent)
    if own is not None:
        holds[:, own] = True
    holds[idle] = holds[idle.argmin()]
    which, kinds = np.zeros(size, dtype=np.intp), alike(holds[:, gaps])
    rows = np.empty((len(kinds), len(moves)), dtype=bool)
    for n, who in enumerate(kinds):
        which[who] = n
        rows[n] = ~(shared | unknown[:, gaps[holds[who[0], gaps]]].any(axis=1))
    return rows, which


def _holdings(recent: MarketHistory, book: Book) -> Bools:
    """Which underlyings each portfolio holds, (P, A)."""
    portfolio, instrument, quantity = book.holdings()
    holds = np.zeros((len(book.portfolios), len(recent.underlyings)), dtype=bool)
    real = quantity != 0
    holds[portfolio[real], book.listing.columns(recent.underlyings)[instrument[real]]] = True
    return holds


def _needed_columns(recent: MarketHistory, book: Book | None, portfolios: Places | None = None) -> Bools:
    """What some portfolio (of those at these places) holds, and what all is counted in, (A,)."""
    if book is None:
        return np.ones(len(recent.underlyings), dtype=bool)
    needed_here = np.zeros(len(recent.underlyings), dtype=bool)
    if portfolios is None:
        needed_here[book.listing.columns(recent.underlyings)[book.held]] = True
    else:
        needed_here[_holdings(recent, book)[portfolios].any(axis=0)] = True
    own = numeraire_column(recent)
    if own is not None:
        needed_here[own] = True
    return needed_here


def _rarest(moves: Floats, recent: MarketHistory, columns: Bools) -> str:
    """Which of these underlyings (A,) has the fewest moves, where it is short of some."""
    counts = np.where(columns, np.isfinite(moves).sum(axis=0), len(moves))
    least = int(counts.argmin())
    return f" ({recent.underlyings[least]} has {counts[least]})" if counts[least] < len(moves) else ""
