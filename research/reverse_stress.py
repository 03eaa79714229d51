"""Which is the smallest plausible move that makes bad debt, and what is the least that would keep it away?

A move's size is its Mahalanobis distance under the covariance of recent moves: how many standard deviations it lies
out, correlations counted (Studer 1999, "Market risk computation for nonlinear portfolios", J. Risk 1; Breuer, Jandacka,
Rheinberger and Summer 2009, "How to find plausible, severe, and useful stress scenarios", Int. J. Central Banking 5).
For linear books the smallest move is exact; for others it is the smallest of those searched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.closeout import LiquidationCost
from backtest.portfolios import Books
from backtest.priced_rows import priced_rows
from backtest.replay import Outcome, charges
from data import Book, Coverage, Floats, HistoryError, MarketHistory, MarketState
from margin_models import LedoitWolfCovariance, MarginModel
from margin_models.covariance import sound_covariance
from margin_models.revalue import book_pnl
from margin_models.scenarios import Scenarios
from research.proposal_request import Request, model_of

FARTHEST, STEPS = 40.0, 160  # of a search: standard deviations, and distances tried along each direction
LEAST_PRICE = 0.01  # of a price: moves that leave less of it are not searched
PAST, LEAST_PAST = 250, 50  # decisions that a book's own scale of losses is taken from
MOVES_TOLD = 3
_BUMP = 1e-4
_BARE = 1e-9  # margin per unit of gross notional


@dataclass(frozen=True, eq=False)
class _Search:
    """Losses of P books per unit of gross notional, (P, D, K), at K distances along D directions."""

    distance: Floats
    loss: Floats
    move: Floats

    def nearest(self, p: int, margin: float) -> tuple[float, int]:
        """The least distance at which a book loses more than a margin, between grid points by straight lines."""
        over = self.loss[p] > margin
        best, way = np.inf, -1
        for d in np.flatnonzero(over.any(axis=1)).tolist():
            k = int(np.argmax(over[d]))
            far = self._between(self.loss[p, d], k, margin)
            if far < best:
                best, way = far, d
        return best, way

    def _between(self, loss: Floats, k: int, margin: float) -> float:
        before, near = (loss[k - 1], self.distance[k - 1]) if k else (0.0, 0.0)
        gap = loss[k] - before
        share = min(max((margin - before) / gap, 0.0), 1.0) if gap > 0 else 1.0
        return float(near + share * (self.distance[k] - near))

    def worst(self, p: int, radius: float) -> float:
        """The largest loss of a book among the moves searched that lie within a distance."""
        inside = self.loss[p][:, self.distance <= radius]
        return float(np.nanmax(inside, initial=0.0))


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
    search = _searched(held, past, request.coverage, request.window, request.cost)
    farthest = [_farthest(outcome, name) for name in portfolios]
    told = [_book(search, p, name, margins, farthest[p], past) for p, name in enumerate(portfolios)]
    multiples = [one["multiple"] for one in told if one["multiple"] is not None]
    return {
        "time": f"{str(past.now.time)[:16]}Z",
        "searched": FARTHEST,
        "books": told,
        "multiple": max([1.0, *multiples]) if multiples else None,
        "exact": not held.listing.option.any(),
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


def _searched(book: Book, past: MarketHistory, coverage: Coverage, window: int, cost: LiquidationCost) -> _Search:
    """Losses along the steepest direction of each book, along each underlying, and against both."""
    state = past.now
    covariance = sound_covariance(LedoitWolfCovariance().fit(past.last(window), coverage), past.last(window), book)
    gross = book.gross(state)
    unit = np.divide(1.0, gross, out=np.full_like(gross, np.nan), where=gross > 0)
    steep = _slopes(book, state) @ covariance
    alone = covariance[np.diag(covariance) > 0]
    directions = _unit_length(np.vstack([steep, -steep, alone, -alone]), covariance)
    distance = FARTHEST * np.arange(1, STEPS + 1) / STEPS
    move = directions[:, None, :] * distance[:, None]
    loss = -_gains(book, state, move) * unit[:, None, None] + (_closing(book, state, cost) * unit)[:, None, None]
    return _Search(distance, loss, directions)


def _slopes(book: Book, state: MarketState) -> Floats:
    """What each book gains per unit of relative move of each underlying, (P, A)."""
    step = _BUMP * np.eye(len(state.underlyings))
    both = book_pnl(book, state, _scenarios(np.vstack([step, -step])))
    up, down = np.hsplit(both, 2)
    return np.asarray((up - down) / (2.0 * _BUMP))


def _scenarios(move: Floats) -> Scenarios:
    return Scenarios(move, np.zeros_like(move), tuple(str(n) for n in range(len(move))))


def _unit_length(directions: Floats, covariance: Floats) -> Floats:
    """Those that lead anywhere, one standard deviation long: under C, the move C x has the length sqrt(x' C x)."""
    root = np.linalg.pinv(covariance, hermitian=True)
    length = np.sqrt(np.maximum(np.einsum("da,ab,db->d", directions, root, directions), 0.0))
    leads = length > 1e-12
    return np.asarray(directions[leads] / length[leads, None])


def _gains(book: Book, state: MarketState, move: Floats) -> Floats:
    """(P, D, K) in the numeraire; NaN for moves that would leave hardly anything of a price."""
    flat = move.reshape(-1, move.shape[-1])
    possible = flat.min(axis=1) > LEAST_PRICE - 1.0
    gains = np.full((len(book.portfolios), len(flat)), np.nan)
    gains[:, possible] = book_pnl(book, state, _scenarios(flat[possible]))
    return gains.reshape(len(book.portfolios), *move.shape[:2])


def _closing(book: Book, state: MarketState, cost: LiquidationCost) -> Floats:
    portfolio, _, notional = book.positions(state)
    return np.bincount(portfolio, cost.of(notional), minlength=len(book.portfolios)).astype(np.float64)


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
    search: _Search, p: int, name: str, margins: Sequence[Floats], farthest: float, past: MarketHistory
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


def _smallest(search: _Search, p: int, margin: float, past: MarketHistory) -> dict[str, Any]:
    """Margin, distance and move; no distance where nothing within the search goes beyond the margin."""
    distance, way = search.nearest(p, margin) if np.isfinite(margin) else (np.inf, -1)
    if way < 0:
        return {"margin": margin, "distance": None, "moves": []}
    move = distance * search.move[way]
    largest = np.argsort(-np.abs(move), kind="stable")[:MOVES_TOLD]
    told = [{"underlying": past.underlyings[a], "move": float(move[a])} for a in largest if move[a] != 0.0]
    return {"margin": margin, "distance": distance, "moves": told}
