"""How much do books lose as prices and implied volatilities move ever farther, each way that matters?

Distances are Mahalanobis lengths under the joint covariance of prices and 30-day implied volatilities: prices by Ledoit
and Wolf, volatilities by their regression on their own price and what it leaves (`learn_implied`).
"""

from dataclasses import dataclass

import numpy as np

from backtest.closeout import LiquidationCost
from data import Book, Coverage, Floats, MarketHistory, MarketState
from data.arrays import Bools
from margin_models import LedoitWolfCovariance
from margin_models.covariance import sound_covariance
from margin_models.monte_carlo import learn_implied
from margin_models.revalue import book_pnl
from margin_models.scenarios import Scenarios

FARTHEST, STEPS = 40.0, 160  # of a search: standard deviations, and distances tried along each direction
ANGLES = 24  # ways in between price and volatility of one underlying
LEAST_LEFT = 0.01  # of a price or a volatility: moves that leave less of it are not searched
_BUMP = 1e-4
_TIE = 1e-9  # of a distance: nearer by less is as near, and the way that was tried first is told


@dataclass(frozen=True, eq=False)
class Search:
    """Losses of P books per unit of gross notional, (P, D, K), at K distances along D directions.

    `move` (D, 2 A) are relative changes of A prices and then of A volatilities, one standard deviation long.
    """

    distance: Floats
    loss: Floats
    move: Floats

    @property
    def moves_volatility(self) -> bool:
        """Whether implied volatility moves in some direction."""
        return bool(self.move[:, self.move.shape[1] // 2 :].any())

    def nearest(self, p: int, margin: float) -> tuple[float, int]:
        """The least distance at which a book loses more than a margin, between grid points by straight lines.

        Infinite, and -1 for the direction, where it never does.
        """
        over = self.loss[p] > margin
        best, way = np.inf, -1
        for d in np.flatnonzero(over.any(axis=1)).tolist():
            k = int(np.argmax(over[d]))
            far = self._between(self.loss[p, d], k, margin)
            if far < best * (1.0 - _TIE) or way < 0:
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


def searched(book: Book, past: MarketHistory, coverage: Coverage, window: int, cost: LiquidationCost) -> Search:
    """Losses along the steepest direction of each book, along each factor, between price and volatility, and against.

    Closing out is paid, time stands still. HistoryError and ModelError as `sound_covariance`.
    """
    state = past.now
    covariance = joint_covariance(book, past, coverage, window)
    gross = book.gross(state)
    unit = np.divide(1.0, gross, out=np.full_like(gross, np.nan), where=gross > 0)
    steep = _slopes(book, state) @ covariance
    alone = covariance[np.diag(covariance) > 0]
    ways = np.vstack([steep, -steep, alone, -alone, _between_factors(covariance)])
    directions = _unit_length(ways, covariance)
    distance = FARTHEST * np.arange(1, STEPS + 1) / STEPS
    move = directions[:, None, :] * distance[:, None]
    loss = -_gains(book, state, move) * unit[:, None, None] + (_closing(book, state, cost) * unit)[:, None, None]
    return Search(distance, loss, directions)


def joint_covariance(book: Book, past: MarketHistory, coverage: Coverage, window: int) -> Floats:
    """Of relative moves of A prices and A volatilities over the horizon, (2 A, 2 A); 0 for what no book hangs on.

    A volatility's covariance with prices is its beta times that of its own price; residuals are apart from prices.
    """
    recent = past.last(window)
    price = sound_covariance(LedoitWolfCovariance().fit(recent, coverage), recent, book)
    law = learn_implied(recent, coverage)
    matters = _has_options(book, past)
    beta, spread = np.where(matters, law.beta, 0.0), np.where(matters, law.spread, 0.0)
    own = price * np.outer(beta, beta) + law.correlation * np.outer(spread, spread)
    return np.block([[price, price * beta], [beta[:, None] * price, own]])


def _has_options(book: Book, past: MarketHistory) -> Bools:
    """Which underlyings some portfolio holds options on, (A,)."""
    options = book.listing.option & book.held
    return np.bincount(book.listing.columns(past.underlyings)[options], minlength=len(past.underlyings)) > 0


def _between_factors(covariance: Floats) -> Floats:
    """Ways between each price and the part of its volatility that does not follow from it, (ANGLES V, 2 A)."""
    size = len(covariance) // 2
    ways = []
    for a in np.flatnonzero(np.diag(covariance)[size:] > 0).tolist():
        price = covariance[a] / np.sqrt(covariance[a, a])
        left = covariance[size + a] - price[size + a] * price
        angle = 2.0 * np.pi * np.arange(ANGLES)[:, None] / ANGLES
        ways += [np.cos(angle) * price + np.sin(angle) * apart for apart in _unit_length(left[None], covariance)]
    return np.array(ways).reshape(-1, 2 * size)


def _slopes(book: Book, state: MarketState) -> Floats:
    """What each book gains per unit of relative move of each price and each volatility, (P, 2 A)."""
    step = _BUMP * np.eye(2 * len(state.underlyings))
    both = book_pnl(book, state, scenarios_of(np.vstack([step, -step])))
    up, down = np.hsplit(both, 2)
    return np.asarray((up - down) / (2.0 * _BUMP))


def scenarios_of(move: Floats) -> Scenarios:
    """Moves (S, 2 A) of prices and volatilities as scenarios."""
    price, vol = np.hsplit(move, 2)
    return Scenarios(price, vol, tuple(str(n) for n in range(len(move))))


def _unit_length(directions: Floats, covariance: Floats) -> Floats:
    """Those that lead anywhere, one standard deviation long: under C, the move C x has the length sqrt(x' C x)."""
    root = np.linalg.pinv(covariance, hermitian=True)
    length = np.sqrt(np.maximum(np.einsum("da,ab,db->d", directions, root, directions), 0.0))
    leads = length > 1e-12
    return np.asarray(directions[leads] / length[leads, None])


def _gains(book: Book, state: MarketState, move: Floats) -> Floats:
    """(P, D, K) in the numeraire; NaN for moves that would leave hardly anything of a price or a volatility."""
    flat = move.reshape(-1, move.shape[-1])
    possible = flat.min(axis=1) > LEAST_LEFT - 1.0
    gains = np.full((len(book.portfolios), len(flat)), np.nan)
    gains[:, possible] = book_pnl(book, state, scenarios_of(flat[possible]))
    return gains.reshape(len(book.portfolios), *move.shape[:2])


def _closing(book: Book, state: MarketState, cost: LiquidationCost) -> Floats:
    portfolio, _, notional = book.positions(state)
    return np.bincount(portfolio, cost.of(notional), minlength=len(book.portfolios)).astype(np.float64)
