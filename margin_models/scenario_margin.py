"""What is the worst of any grid of price and volatility moves?"""

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from data import Book, Coverage, Floats, MarketHistory, MarketState, ParameterError
from data.arguments import members, refuse_no_number, refuse_other_types
from margin_models import operations
from margin_models.base import MarginModel, Requirement
from margin_models.contributions import completed, euler_on_scenario
from margin_models.revalue import book_pnl, instrument_pnl
from margin_models.scan import contract_scan, scan_pnl, together, volatility_range
from margin_models.scan_range import worse_side_quantile
from margin_models.scenarios import Scenarios, VolTerm


@dataclass(frozen=True)
class ScenarioGrid:
    """Every price move with every volatility move, then tails: the same for all underlyings.

    Parameters
    ----------
    prices : relative moves of price counted in the numeraire, or multiples of the scan range where that is learned.
    vols : relative changes of 30-day implied volatility, or multiples of its range.
    tails : (price move, share of its P&L that counts), volatility unchanged.
    term : how a volatility change fades with tenor.

    Raises
    ------
    ParameterError
        For a grid without a move, what is no finite number, a tail that is no pair, or a negative weight.
    """

    prices: tuple[float, ...]
    vols: tuple[float, ...] = (0.0,)
    tails: tuple[tuple[float, float], ...] = ()
    term: VolTerm = field(default_factory=VolTerm)

    def __post_init__(self) -> None:
        for name in ("prices", "vols"):
            moves = members(name, getattr(self, name), "moves such as (-0.1, 0.1)")
            if not moves:
                raise ParameterError(f"a grid needs price and vol moves, got {self.prices} and {self.vols}")
            for move in moves:
                refuse_no_number(f"a grid needs finite moves: each of {name}", move)
        for tail in members("tails", self.tails, "pairs such as ((-0.4, 0.5), (0.4, 0.5))"):
            pair = members("a tail", tail, "a price move and its share, such as (-0.4, 0.5)")
            if len(pair) != 2:
                raise ParameterError(f"a tail must be a price move and its share, such as (-0.4, 0.5), got {tail!r}")
            for figure in pair:
                refuse_no_number("each figure of a tail", figure)
        refuse_other_types("term", self.term, "a VolTerm", VolTerm)
        if any(weight < 0 for _, weight in self.tails):
            raise ParameterError(f"the weight of a tail must be >= 0, got {self.tails}")

    def scenarios(self, price: Floats, vol: Floats, unit: str = "x") -> Scenarios:
        """The grid in units of (A,) price and vol ranges, falls at most the whole; prices outermost, tails last.

        >>> ScenarioGrid((-1.0,), (0.5,), ((3.0, 0.33),)).scenarios(np.array([0.1]), np.array([1.0])).names
        ('price -1x, vol +0.5x', 'price +3x at 0.33')
        """
        pairs = list(product(self.prices, self.vols))
        names = [f"price {p:+.3g}{unit}, vol {v:+.3g}{unit}" for p, v in pairs]
        names += [f"price {move:+.3g}{unit} at {weight:g}" for move, weight in self.tails]
        spot = np.array([p for p, _ in pairs] + [move for move, _ in self.tails])
        change = np.array([v for _, v in pairs] + [0.0] * len(self.tails))
        weight = np.array([1.0] * len(pairs) + [share for _, share in self.tails])
        moves = np.maximum(spot[:, None] * price, -1.0)
        return Scenarios(moves, np.maximum(change[:, None] * vol, -1.0), tuple(names), weight, self.term)


# Thirds of the range with volatility down, still and up, and thrice the range at a third: as SPAN, vol still added.
THIRDS = ScenarioGrid((-1.0, -2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0), (-1.0, 0.0, 1.0), ((-3.0, 0.33), (3.0, 0.33)))


class ScenarioMargin(MarginModel):
    """The largest loss over a grid of scenarios, times a factor, gross of option value.

    Parameters
    ----------
    grid : the moves.
    learned : True takes the moves of the grid as multiples of ranges learned from the window at the coverage (implied
        volatility: 25 % where the history has no surfaces); False takes them as they stand.
    apart : True scans each underlying alone and adds up; False moves them all together.
    initial, maintenance : factors on the one largest loss; the maintenance factor is at most the initial one.
    elapsed : let the time of the horizon go by, so that a long option pays for its decay.

    Attributes
    ----------
    scenarios_ : the grid in relative moves, counted in the numeraire.
    """

    def __init__(
        self,
        grid: ScenarioGrid = THIRDS,
        learned: bool = True,
        apart: bool = False,
        initial: float = 1.0,
        maintenance: float = 1.0,
        elapsed: bool = True,
    ) -> None:
        self.grid = grid
        self.learned = learned
        self.apart = apart
        self.initial = initial
        self.maintenance = maintenance
        self.elapsed = elapsed

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn the ranges; ParameterError for factors out of order, HistoryError for a window too short."""
        if not 0.0 <= self.maintenance <= self.initial or not np.isfinite(self.initial):
            raise ParameterError(
                f"factors must satisfy 0 <= maintenance <= initial, got {self.maintenance} and {self.initial}"
            )
        one = np.ones(len(past.underlyings))
        if self.learned:
            vol, _ = volatility_range(past, coverage)
            self.scenarios_ = self.grid.scenarios(worse_side_quantile(past, coverage), vol)
        elif min((*self.grid.prices, *self.grid.vols, *(move for move, _ in self.grid.tails))) < -1.0:
            raise ParameterError(f"a literal move cannot be below -1, got {self.grid}")
        else:
            self.scenarios_ = self.grid.scenarios(one, one, "")
        return super().fit(past, coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.initial * self._risk(self._loss(past.now, book))

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Initial and maintenance margin from one scan."""
        return self._required(book, self._risk(self._loss(past.now, book)), {})

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The same by underlying, with the worst scenario (apart: that of the riskiest underlying)."""
        loss, column = self._loss(past.now, book), book.listing.columns(past.underlyings)
        names, risk = self.scenarios_.names, self._risk(loss)
        if self.apart:
            apart, worst = np.maximum(loss.max(axis=2), 0.0), loss.argmax(axis=2)
            top = apart.argmax(axis=1)
            told = tuple(
                f"{past.underlyings[a]}: {names[worst[p, a]]}" if apart[p, a] > 0 else "" for p, a in enumerate(top)
            )
        else:
            parts = self._euler(past.now, book, loss)
            apart = np.stack([parts[:, column == a].sum(axis=1) for a in range(len(past.underlyings))], axis=1)
            told = tuple(names[s] if lost > 0 else "" for s, lost in zip(loss.argmax(axis=1), risk, strict=True))
        shown = {f"scan {name}": self.initial * apart[:, a] for a, name in enumerate(past.underlyings)}
        return replace(self._required(book, risk, shown), worst=told)

    def contributions(self, past: MarketHistory, book: Book) -> Floats:
        """What each position adds to the initial margin, its loss in the worst scenario (Euler), (P, N)."""
        loss = self._loss(past.now, book)
        return completed(self.initial * self._euler(past.now, book, loss), self.initial * self._risk(loss), book)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:  # noqa: ARG002  the same at any instant
        """Of a scan of the grid, (P,)."""
        return operations.scan(book, len(self.scenarios_))

    def _required(self, book: Book, risk: Floats, parts: dict[str, Floats]) -> Requirement:
        initial = self.initial * risk
        return Requirement(book.portfolios, initial, self.maintenance * risk, parts or {"margin": initial})

    def _years(self, state: MarketState) -> float:
        return state.years_ahead(self.coverage_) if self.elapsed else 0.0

    def _loss(self, state: MarketState, book: Book) -> Floats:
        """Loss in each scenario, (P, S), or apart by underlying, (P, A, S)."""
        if self.apart:
            return -scan_pnl(book, state, self.scenarios_, self._years(state))
        return -book_pnl(book, state, together(self.scenarios_, state), self._years(state))

    def _risk(self, loss: Floats) -> Floats:
        worst = np.maximum(loss.max(axis=-1), 0.0)
        return np.asarray(worst.sum(axis=1) if self.apart else worst)

    def _euler(self, state: MarketState, book: Book, loss: Floats) -> Floats:
        """Loss of each position in its worst scenario, 0 where nothing is lost, (P, N)."""
        worst: NDArray[np.intp] = np.asarray(loss.argmax(axis=-1))
        risky = loss.max(axis=-1) > 0
        if self.apart:
            column = book.listing.columns(state.underlyings)
            worst, risky = worst[:, column], risky[:, column]
            unit = contract_scan(book.listing, state, self.scenarios_, self._years(state))
        else:
            worst, risky = worst[:, None], risky[:, None]
            unit = instrument_pnl(book.listing, state, together(self.scenarios_, state), self._years(state))
        return np.asarray(risky * euler_on_scenario(book, book.known(unit, state), worst))
