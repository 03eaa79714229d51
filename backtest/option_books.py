"""Which option books is a model tried on when nobody brings their own?

Option markets list new contracts every week, so a book of them is said by delta, moneyness and tenor, and struck anew.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from data import Book, DataError, Floats, HistoryError, Instrument, MarketHistory, MarketState, ParameterError
from data.clock import Stamps, plain_span
from data.curves import forward_ratio
from data.surface import implied_volatility
from data.valuation import sensitivities

REACH, GRID = 10.0, np.linspace(0.0, 1.0, 65)  # log-strikes are sought this far either way, on ever finer grids
YEAR = 365.25
_DAY, _MORNING = np.timedelta64(86_400_000_000_000, "ns"), np.timedelta64(8, "h")
_LADDER = np.array([1.0, 2.0, 5.0])

Expiries = Callable[[np.datetime64, Floats], Stamps]
Contract = tuple[str, float | None, float, float]


def fridays(time: np.datetime64, days: Floats) -> Stamps:
    """The first Fridays 08:00 UTC at least so many days (N,) after an instant, (N,): the expiries coin markets list.

    >>> fridays(np.datetime64("2024-01-01"), np.array([1.0, 11.5])).astype("datetime64[h]").astype(str).tolist()
    ['2024-01-05T08', '2024-01-19T08']
    """
    least = exactly(time, days) - _MORNING
    date = least.astype("datetime64[D]")
    date = date + (date < least)
    past_friday = (date.astype(np.int64) - 1) % 7  # the second day of 1970 was one
    return np.asarray((date + (7 - past_friday) % 7).astype("datetime64[ns]") + _MORNING)


def exactly(time: np.datetime64, days: Floats) -> Stamps:
    """So many days (N,) after an instant, to the minute, (N,)."""
    later = time + (days * (_DAY / np.timedelta64(1, "ns"))).astype("timedelta64[ns]")
    return np.asarray(later.astype("datetime64[m]").astype("datetime64[ns]"))


@dataclass(frozen=True)
class Leg:
    """One leg of a portfolio.

    Parameters
    ----------
    quantity : signed units of the underlying; None for as many as bring the delta of the portfolio to zero.
    kind : "call", "put", "future", "perpetual" or "spot"; all but the options pay in USD.
    delta : forward delta without its sign, N(d1) of a call and N(-d1) of a put, in (0, 1); None strikes by moneyness.
    moneyness : strike over spot, so that legs of several expiries can share a strike; only where delta is None.
    days : least days to expiry of an option or a future.

    Raises
    ------
    ParameterError
        If the kind is unknown, or a figure outside its range.
    """

    quantity: float | None
    kind: Literal["call", "put", "future", "perpetual", "spot"]
    delta: float | None = None
    moneyness: float = 1.0
    days: float = 30.0

    def __post_init__(self) -> None:
        if self.kind not in ("call", "put", "future", "perpetual", "spot"):
            raise ParameterError(f"a leg is a call, put, future, perpetual or spot, got {self.kind!r}")
        if self.quantity is None and self.kind in ("call", "put"):
            raise ParameterError(f"a hedge is a future, perpetual or spot, got a {self.kind}")
        if self.delta is not None and not 0.0 < self.delta < 1.0:
            raise ParameterError(f"delta must lie in (0, 1), unsigned, got {self.delta}. Typical values: 0.1, 0.25.")
        if not (0.0 < self.moneyness < np.inf and 0.0 < self.days < np.inf):
            raise ParameterError(f"moneyness and days must be > 0, got {self.moneyness} and {self.days}")

    @property
    def contract(self) -> Contract:
        """What is held, whatever the quantity."""
        if self.kind in ("call", "put"):
            return self.kind, self.delta, self.moneyness if self.delta is None else 1.0, self.days
        return self.kind, None, 1.0, self.days if self.kind == "future" else np.inf


@dataclass(frozen=True, eq=False)
class OptionRecipe:
    """Portfolios said leg by leg, struck anew on each underlying at each decision.

    A portfolio is empty at an instant that lacks what one of its legs needs: a surface for an option, a curve for a
    future. Legs that round to the same strike are one position.

    Parameters
    ----------
    underlyings : A names.
    structures : the legs of each structure by name; each is held on every underlying.
    inverse : whether options settle in the coin.
    expiries : gives the expiry of each tenor, such as `fridays` (listed) or `exactly`.
    step : strikes are multiples of the largest 1, 2 or 5 times a power of ten up to this share of spot.

    Raises
    ------
    ParameterError
        If the step is outside (0, 0.5), or a structure has no leg or several hedges.

    >>> strangle = {"strangle": (Leg(-1, "call", delta=0.25), Leg(-1, "put", delta=0.25))}
    >>> OptionRecipe(("BTC", "ETH"), strangle).portfolios
    ('BTC strangle', 'ETH strangle')
    """

    underlyings: tuple[str, ...]
    structures: Mapping[str, tuple[Leg, ...]]
    inverse: bool = True
    expiries: Expiries = fridays
    step: float = 0.01
    _contracts: tuple[Contract, ...] = field(init=False, repr=False)
    _quantity: Floats = field(init=False, repr=False)
    _hedge: NDArray[np.intp] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.step < 0.5:
            raise ParameterError(f"step must lie in (0, 0.5), a share of spot, got {self.step}. Typical: 0.005, 0.01.")
        every = list(self.structures.values())
        contracts = tuple(dict.fromkeys(leg.contract for legs in every for leg in legs))
        quantity, hedge = np.zeros((len(every), len(contracts))), np.full(len(every), -1, dtype=np.intp)
        for row, (name, legs) in enumerate(self.structures.items()):
            if not legs or sum(leg.quantity is None for leg in legs) > 1:
                raise ParameterError(f"{name!r} needs a leg and at most one hedge, got {legs}")
            for leg in legs:
                column = contracts.index(leg.contract)
                if leg.quantity is None:
                    hedge[row] = column
                else:
                    quantity[row, column] += leg.quantity
        for name, value in (("_contracts", contracts), ("_quantity", quantity), ("_hedge", hedge)):
            object.__setattr__(self, name, value)

    @property
    def portfolios(self) -> tuple[str, ...]:
        """Every structure on every underlying, an underlying at a time."""
        return tuple(f"{underlying} {name}" for underlying in self.underlyings for name in self.structures)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Those that never expire: options and futures differ by decision."""
        kinds = [contract[0] for contract in self._contracts]
        return tuple(
            _lasting(name, kind) for name in self.underlyings for kind in ("spot", "perpetual") if kind in kinds
        )

    @property
    def options_on(self) -> tuple[str, ...]:
        """The underlyings whose surface it takes to know what these books lose."""
        return self.underlyings if any(kind in ("call", "put") for kind, *_ in self._contracts) else ()

    @property
    def futures_on(self) -> tuple[str, ...]:
        """The underlyings whose curve it takes to know what these books lose."""
        return self.underlyings if any(kind == "future" for kind, *_ in self._contracts) else ()

    @property
    def shortest(self) -> float:
        """The shortest tenor of a leg in days, infinite where nothing expires."""
        return min((days for *_, days in self._contracts), default=np.inf)

    def at(self, state: MarketState) -> Book:
        """The book struck now, at unit gross notional; DataError for an underlying that the market lacks."""
        struck = [self._struck(state, name) for name in self.underlyings]
        instruments = tuple(dict.fromkeys(i for listed in struck for i in listed if i is not None))
        place = {instrument: n for n, instrument in enumerate(instruments)}
        quantity = np.zeros((len(self.portfolios), len(instruments)))
        hedges = np.full(len(quantity), -1, dtype=np.intp)
        size = len(self.structures)
        for n, listed in enumerate(struck):
            # A column more than there are instruments takes the legs that are not to be had.
            at = np.array([-1 if i is None else place[i] for i in listed], dtype=np.intp)
            whole = self._whole(at)
            rows = quantity[n * size : (n + 1) * size]
            for column in np.flatnonzero(at >= 0):
                rows[whole, at[column]] += self._quantity[whole, column]
            hedges[n * size : (n + 1) * size] = np.where(whole & (self._hedge >= 0), at[self._hedge], -1)
        book = Book(instruments, self.portfolios, quantity)
        _bring_delta_to_zero(book, quantity, hedges, state)
        return book.at(state)

    def _whole(self, at: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which structures have all their legs, when the contracts stand `at` these places, -1 for nowhere."""
        lacks = (self._quantity != 0) & (at < 0)
        lacks[np.arange(len(lacks)), self._hedge] |= (self._hedge >= 0) & (at[self._hedge] < 0)
        return np.asarray(~lacks.any(axis=1))

    def _struck(self, state: MarketState, name: str) -> list[Instrument | None]:
        """The instrument of each contract on one underlying; None where the state does not say what it needs."""
        column = _column(state, name)
        if not state.spot[column] > 0:
            return [None] * len(self._contracts)
        expiry = self.expiries(state.time, np.array([min(days, 1e4) for *_, days in self._contracts]))
        strike = self._strikes(state, column, expiry)
        listed: list[Instrument | None] = []
        for n, (kind, *_) in enumerate(self._contracts):
            if kind in ("spot", "perpetual"):
                listed.append(_lasting(name, kind))
            elif kind == "future":
                listed.append(_future(name, expiry[n]) if _has_curve(state, column) else None)
            else:
                listed.append(_option(name, kind, expiry[n], strike[n], self.inverse) if strike[n] > 0 else None)
        return listed

    def _strikes(self, state: MarketState, column: int, expiry: Stamps) -> Floats:
        """The strike of each contract on one underlying; NaN for what is no option and where there is no surface."""
        strike = np.full(len(expiry), np.nan)
        option = np.array([kind in ("call", "put") for kind, *_ in self._contracts], dtype=bool)
        if state.surface is None or not np.isfinite(state.surface[column, 0]).all() or not option.any():
            return strike
        spot, tenor = float(state.spot[column]), (expiry - state.time) / _DAY / YEAR
        forward = spot * forward_ratio(None if state.curve is None else state.curve[column], tenor)
        strike[option] = [spot * contract[2] for contract in self._contracts if contract[0] in ("call", "put")]
        deltas = [(n, kind, delta) for n, (kind, delta, *_) in enumerate(self._contracts) if delta is not None]
        if deltas:
            at = np.array([n for n, *_ in deltas])
            depth = np.array([ndtri(delta) if kind == "call" else -ndtri(delta) for _, kind, delta in deltas])
            strike[at] = forward[at] * np.exp(log_strikes(state.surface[column], tenor[at], depth))
        return listed_strikes(strike, spot, self.step)


def log_strikes(surface: Floats, tenor: Floats, depth: Floats) -> Floats:
    """The log-moneyness ln(K/F) at which Black's d1 is `depth` (N,) on a surface, (N,); NaN where it never is.

    d1 falls as the strike rises on any smile without arbitrage, so that there is one (Fukasawa 2012, "The normalizing
    transformation of the implied volatility smile", theorem 2.8); of several the lowest is taken.

    >>> flat = np.array([[1.0, 0.0, 0.25, 0.0, 0.0, 0.0, 1.0]])  # volatility 50 %
    >>> log_strikes(flat, np.array([1.0]), np.array([0.25])).round(6).tolist()  # d1 = -k / 0.5 + 0.25
    [0.0]
    """
    low, width, row = np.full(len(tenor), -REACH), 2 * REACH, np.arange(len(tenor))
    root = np.sqrt(tenor)[:, None]
    for _ in range(3):
        k = low[:, None] + width * GRID
        deviation = implied_volatility(surface, k, tenor[:, None]) * root
        gap = k + (depth[:, None] - 0.5 * deviation) * deviation
        right = (gap > 0).argmax(axis=1)  # 0 where there is none, or nothing left of it
        low, width = k[row, right - 1], width / (len(GRID) - 1)
    before, after = gap[row, right - 1], gap[row, right]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((right > 0) & (after > before), low - width * before / (after - before), np.nan)


def listed_strikes(strike: Floats, spot: float, step: float) -> Floats:
    """Strikes rounded to those that are listed: multiples of a round figure up to `step` of spot, (N,).

    >>> listed_strikes(np.array([63_211.0, 71_850.0]), 63_000.0, 0.01).tolist()
    [63000.0, 72000.0]
    """
    power = 10.0 ** np.floor(np.log10(step * spot))
    size = power * _LADDER[_LADDER * power <= step * spot * (1 + 1e-12)][-1]
    digits = int(np.ceil(-np.log10(size))) + 1
    return np.asarray(np.round(np.maximum(np.round(strike / size), 1.0) * size, digits))


def _bring_delta_to_zero(book: Book, quantity: Floats, hedges: NDArray[np.intp], state: MarketState) -> None:
    """Put the hedge of each portfolio that has one into its quantities; `hedges` (P,) are places, -1 for none."""
    hedged = np.flatnonzero(hedges >= 0)
    if hedged.size:
        unit = sensitivities(book.listing, state)
        quantity[hedged, hedges[hedged]] -= (quantity[hedged] @ unit) / unit[hedges[hedged]]


def _column(state: MarketState, name: str) -> int:
    if name not in state.underlyings:
        raise DataError(f"option books on {name!r} need that underlying, the market has {state.underlyings}")
    return state.underlyings.index(name)


def _has_curve(state: MarketState, column: int) -> bool:
    return state.curve is not None and bool(np.isfinite(state.curve[column, 0]).all())


def _lasting(name: str, kind: str) -> Instrument:
    return Instrument(name, name, "spot") if kind == "spot" else Instrument(f"{name}-PERP", name)


def _label(expiry: np.datetime64) -> str:
    """The date of an expiry, and its time of day where that is not 08:00."""
    return str(expiry.astype("datetime64[m]")).removesuffix("T08:00")


def _future(name: str, expiry: np.datetime64) -> Instrument:
    return Instrument(f"{name}-{_label(expiry)}", name, "future", expiry=str(expiry.astype("datetime64[m]")))


def _option(name: str, kind: str, expiry: np.datetime64, strike: float, inverse: bool) -> Instrument:
    return Instrument(
        f"{name}-{'INV-' if inverse else ''}{_label(expiry)}-{strike:.12g}-{kind[0].upper()}",
        name,
        "option",
        settlement="inverse" if inverse else "linear",
        expiry=str(expiry.astype("datetime64[m]")),
        strike=float(strike),
        right="call" if kind == "call" else "put",
    )


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
    column = _column(state, instrument.underlying)
    if not state.spot[column] > 0 or (instrument.expiry and np.datetime64(instrument.expiry) <= state.time):
        return False
    if instrument.kind == "option":
        return state.surface is not None and bool(np.isfinite(state.surface[column, 0]).all())
    return instrument.kind != "future" or _has_curve(state, column)


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
    return OptionRecipe(tuple(underlyings), structures(days, far), inverse, expiries, step)
