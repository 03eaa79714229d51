"""Which option books is a model tried on when nobody brings their own?

Option markets list new contracts every week, so a book of them is said by delta, moneyness and tenor, and struck anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backtest.option_recipes import Leg, OptionRecipe, column_of, has_curve
from backtest.strikes import Expiries, exactly, fridays
from data import Book, HistoryError, Instrument, MarketHistory, MarketState, ParameterError
from data.arguments import members
from data.clock import plain_span

__all__ = ["Leg", "OptionRecipe", "Scheduled", "exactly", "fridays", "option_books", "structures"]

_DAY = np.timedelta64(86_400_000_000_000, "ns")


def _both_ways(name: str, *legs: Leg) -> dict[str, tuple[Leg, ...]]:
    """A structure long and short."""
    mirrored = (Leg(-(leg.quantity or 0.0), leg.kind, leg.delta, leg.moneyness, leg.days) for leg in legs)
    return {f"long {name}": legs, f"short {name}": tuple(mirrored)}


def structures(days: float = 30.0, far: float = 90.0) -> dict[str, tuple[Leg, ...]]:
    """The classic structures, at least so many days to expiry; calendars and carries go on to `far`.

    Straddles are struck at spot, wings at a forward delta of a quarter, boxes 10 % either side of spot.
    """
    call, put = Leg(1, "call", days=days), Leg(1, "put", days=days)
    high, low = Leg(1, "call", 0.25, days=days), Leg(1, "put", 0.25, days=days)
    short_high, short_low = Leg(-1, "call", 0.25, days=days), Leg(-1, "put", 0.25, days=days)
    inner, body = Leg(1, "call", 0.75, days=days), Leg(-2, "call", days=days)
    near, coin = Leg(-1, "call", days=days), Leg(1, "spot")
    bottom = (Leg(1, "call", None, 0.9, days), Leg(-1, "put", None, 0.9, days))
    top = (Leg(-1, "call", None, 1.1, days), Leg(1, "put", None, 1.1, days))
    return {
        **_both_ways("straddle", call, put),
        **_both_ways("strangle", high, low),
        **_both_ways("risk reversal", high, short_low),
        **_both_ways("butterfly", inner, body, high),
        **_both_ways("calendar", near, Leg(1, "call", days=far)),
        **_both_ways("box", *bottom, *top),
        "covered call": (coin, short_high),
        "protective put": (coin, low),
        "collar": (coin, low, short_high),
        "hedged short straddle": (near, Leg(-1, "put", days=days), Leg(None, "perpetual")),
        "cash and carry": (coin, Leg(-1, "future", days=far)),
        **_both_ways("future calendar", Leg(-1, "future", days=days), Leg(1, "future", days=far)),
    }


def option_books(
    underlyings: Sequence[str],
    *,
    inverse: bool = True,
    expiries: Expiries = fridays,
    days: float = 30.0,
    far: float = 90.0,
    step: float = 0.01,
) -> OptionRecipe:
    """The classic structures on each underlying, struck at each decision.

    Coin markets list coin-settled options that expire on Fridays; elsewhere take `inverse=False, expiries=exactly`.

    >>> len(option_books(("BTC", "ETH")).portfolios)
    38
    """
    members("underlyings", underlyings, "names such as ('BTC', 'ETH')")
    return OptionRecipe(tuple(underlyings), structures(days, far), inverse, expiries, step)


@dataclass(frozen=True, eq=False)
class Scheduled:
    """A recipe struck every so often and held in between, at unit gross notional at each decision.

    It is struck at the last instant of the schedule up to now, from what was known then; an instant without every spot
    gives way to the next row that has them. A hedge is that of the day it was struck.

    Parameters
    ----------
    recipe : what is struck; it must not expire before it is rolled.
    history : where the states of the schedule's instants are; the schedule starts with its first row.
    every : time between them.

    Raises
    ------
    ParameterError
        If a tenor of the recipe is shorter than `every`.
    HistoryError
        If the history has no row with every spot; when asked about an instant outside it.
    """

    recipe: OptionRecipe
    history: MarketHistory
    every: str = "7D"
    _rows: NDArray[np.intp] = field(init=False, repr=False)
    _last: dict[int, Book] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        span = plain_span(self.every, "every")
        if self.recipe.shortest * _DAY < span:
            raise ParameterError(f"legs of {self.recipe.shortest} days expire before they are rolled, {self.every} on")
        known = np.flatnonzero(np.isfinite(self.history.spot).all(axis=1))
        if not known.size:
            raise HistoryError("a schedule needs a row with every spot, got none")
        instants = np.arange(self.history.time[0], self.history.time[known[-1]] + np.timedelta64(1, "ns"), span)
        rows = np.unique(known[np.searchsorted(self.history.time[known], instants)])
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_last", {})

    @property
    def portfolios(self) -> tuple[str, ...]:
        """The recipe's."""
        return self.recipe.portfolios

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """The recipe's."""
        return self.recipe.instruments

    @property
    def options_on(self) -> tuple[str, ...]:
        """The recipe's."""
        return self.recipe.options_on

    @property
    def futures_on(self) -> tuple[str, ...]:
        """The recipe's."""
        return self.recipe.futures_on

    def at(self, state: MarketState) -> Book:
        """What was struck last; a portfolio with a leg that has expired or has no price now is empty."""
        times = self.history.time[self._rows]
        turn = int(np.searchsorted(times, state.time, side="right")) - 1
        if turn < 0 or state.time > self.history.time[-1]:
            raise HistoryError(f"the schedule runs from {times[0]} to {self.history.time[-1]}, asked is {state.time}")
        row = int(self._rows[turn])
        if row not in self._last:
            self._last.clear()
            self._last[row] = self.recipe.at(self.history.at(row))
        return _priced_alone(self._last[row], state).at(state)


def _priced_alone(book: Book, state: MarketState) -> Book:
    """A book without what has no price now, and without the portfolios that hold some of it."""
    kept = np.array([_has_price(instrument, state) for instrument in book.instruments], dtype=bool)
    if kept.all():
        return book
    quantity = np.asarray(book.quantity)
    broken = (quantity[:, ~kept] != 0).any(axis=1, keepdims=True)
    instruments = tuple(i for i, keep in zip(book.instruments, kept, strict=True) if keep)
    return Book(instruments, book.portfolios, np.where(broken, 0.0, quantity)[:, kept])


def _has_price(instrument: Instrument, state: MarketState) -> bool:
    """Whether the state says what an instrument of a recipe is worth."""
    column = column_of(state, instrument.underlying)
    if not state.spot[column] > 0 or (instrument.expiry and np.datetime64(instrument.expiry) <= state.time):
        return False
    if instrument.kind == "option":
        return state.surface is not None and bool(np.isfinite(state.surface[column, 0]).all())
    return instrument.kind != "future" or has_curve(state, column)
