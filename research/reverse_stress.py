"""Which is the smallest plausible move that makes bad debt, and what is the least that would keep it away?

A move's size is its Mahalanobis distance under the covariance of recent moves: how many standard deviations it lies
out, correlations counted (Studer 1999, "Market risk computation for nonlinear portfolios", J. Risk 1; Breuer, Jandacka,
Rheinberger and Summer 2009, "How to find plausible, severe, and useful stress scenarios", Int. J. Central Banking 5).
For linear books the smallest move is exact; for others it is the smallest of those searched.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from backtest.portfolios import Books
from backtest.priced_rows import priced_rows
from backtest.replay import Outcome, charges
from data import Book, Floats, HistoryError, MarketHistory
from margin_models import MarginModel
from research.proposal_effects import DIGITS
from research.proposal_request import Request, model_of
from research.stress_search import FARTHEST, Search, searched

PAST, LEAST_PAST = 250, 50  # decisions that a book's own scale of losses is taken from
MOVES_TOLD, LEAST_TOLD = 3, 5e-4  # parts of a move, and the least that is worth a word
_BARE = 1e-9  # margin per unit of gross notional


def reverse_stress(
    request: Request, history: MarketHistory, books: Books, outcome: Outcome, portfolios: Sequence[str]
) -> dict[str, Any]:
    """For each of some books: the smallest move beyond either margin, and the multiple that would stand it.

    A move is called plausible up to the farthest that the book itself has lost before, in units of its own losses of
    the time. HistoryError where no row has all prices.
    """
    history = history.valued_in(request.coverage.numeraire)
    known = np.flatnonzero(priced_rows(history, books)[0])
    if not known.size:
        raise HistoryError(f"a stress needs one row with every price, got none in {len(history)}")
    row = int(known[-1])
    past = history.rows(0, row + 1)
    held = _only(books.at(past.now), portfolios)
    margins = [
        _margin(model_of(name), past, books, request, portfolios) for name in (request.current, request.candidate)
    ]
    search = searched(held, past, request.coverage, request.window, request.cost)
    farthest = [_farthest(outcome, name) for name in portfolios]
    told = [_book(search, p, name, margins, farthest[p], past) for p, name in enumerate(portfolios)]
    multiples = [one["multiple"] for one in told if one["multiple"] is not None]
    return {
        "time": f"{str(past.now.time)[:16]}Z",
        "searched": FARTHEST,
        "books": told,
        "multiple": max([1.0, *multiples]) if multiples else None,
        "exact": not held.listing.option[held.held].any(),
        "volatility": search.moves_volatility,
    }


def _only(book: Book, portfolios: Sequence[str]) -> Book:
    p = [book.portfolios.index(name) for name in portfolios]
    return Book(book.instruments, tuple(portfolios), book.dense[p], book.listing)


def _margin(
    model: MarginModel, past: MarketHistory, books: Books, request: Request, portfolios: Sequence[str]
) -> Floats:
    """What a model fitted now asks, (P,) per unit of gross notional; NaN where a book holds nothing."""
    asked = charges(model, past, books, request.coverage, [len(past) - 1], window=request.window, refit_every=1)
    _, requirement, gross = next(asked)
    unit = np.divide(requirement.initial, gross, out=np.full_like(gross, np.nan), where=gross > 0)
    return unit[[requirement.portfolios.index(name) for name in portfolios]]


def _farthest(outcome: Outcome, portfolio: str) -> float:
    """The largest loss of a book so far over the root mean square of its losses before; NaN where few are known."""
    loss = outcome.loss[:, outcome.portfolios.index(portfolio)]
    known = np.isfinite(loss)
    square = np.concatenate([[0.0], np.cumsum(np.where(known, loss, 0.0) ** 2)])
    count = np.concatenate([[0], np.cumsum(known)])
    ended = np.searchsorted(outcome.end, outcome.time, side="right")
    start = np.maximum(ended - PAST, 0)
    seen = count[ended] - count[start]
    told = known & (seen >= LEAST_PAST) & (square[ended] > square[start])
    if not told.any():
        return float("nan")
    scale = np.sqrt((square[ended] - square[start])[told] / seen[told])
    return float(max((loss[told] / scale).max(), 0.0))


def _book(
    search: Search, p: int, name: str, margins: Sequence[Floats], farthest: float, past: MarketHistory
) -> dict[str, Any]:
    current, candidate = (_smallest(search, p, float(margin[p]), past) for margin in margins)
    plausible = bool(candidate["distance"] is not None and candidate["distance"] <= farthest)
    worst = search.worst(p, farthest) if np.isfinite(farthest) else float("nan")
    margin = float(margins[1][p])
    return {
        "name": name,
        "current": current,
        "candidate": candidate,
        "farthest": farthest,
        "plausible": plausible,
        "multiple": worst / margin if plausible and margin > _BARE else None,
    }


def _smallest(search: Search, p: int, margin: float, past: MarketHistory) -> dict[str, Any]:
    """Margin, distance and move; no distance where nothing within the search goes beyond the margin."""
    distance, way = search.nearest(p, margin) if np.isfinite(margin) else (np.inf, -1)
    if way < 0:
        return {"margin": margin, "distance": None, "moves": []}
    return {"margin": margin, "distance": distance, "moves": _in_words(distance * search.move[way], past.underlyings)}


def _in_words(move: Floats, underlyings: Sequence[str]) -> list[dict[str, Any]]:
    """The largest parts of a move, (2 A,): relative changes of prices, then of 30-day implied volatilities."""
    largest = np.argsort(-np.round(np.abs(move), DIGITS), kind="stable")[:MOVES_TOLD]
    size = len(underlyings)
    return [
        {"underlying": underlyings[k % size], "factor": "volatility" if k >= size else "price", "move": float(move[k])}
        for k in largest.tolist()
        if abs(move[k]) >= LEAST_TOLD
    ]
