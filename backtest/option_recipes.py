"""Which contracts does a book of options, said leg by leg, hold now?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.special import ndtri

from backtest.strikes import Expiries, fridays, listed_strikes, log_strikes
from data import Book, DataError, Floats, Instrument, MarketState, ParameterError
from data.arguments import members, refuse_no_number, refuse_other_types
from data.arrays import Bools, Places
from data.clock import Stamps
from data.coverage import DAYS_A_YEAR
from data.curves import forward_ratio
from data.valuation import sensitivities

_DAY = np.timedelta64(86_400_000_000_000, "ns")

Contract = tuple[str, float | None, float, float]


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
        If the kind is unknown, or a figure is no finite number or outside its range.
    """

    quantity: float | None
    kind: Literal["call", "put", "future", "perpetual", "spot"]
    delta: float | None = None
    moneyness: float = 1.0
    days: float = 30.0

    def __post_init__(self) -> None:
        if self.kind not in ("call", "put", "future", "perpetual", "spot"):
            raise ParameterError(f"a leg is a call, put, future, perpetual or spot, got {self.kind!r}")
        for name in ("quantity", "delta", "moneyness", "days"):
            value = getattr(self, name)
            if value is not None or name in ("moneyness", "days"):
                refuse_no_number(f"{name} of a leg", value)
        if self.quantity is None and self.kind in ("call", "put"):
            raise ParameterError(f"a hedge is a future, perpetual or spot, got a {self.kind}")
        if self.delta is not None and not 0.0 < self.delta < 1.0:
            raise ParameterError(f"delta must lie in (0, 1), unsigned, got {self.delta}. Typical values: 0.1, 0.25.")
        if not (self.moneyness > 0.0 and self.days > 0.0):
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
        If an argument is of another type, the step outside (0, 0.5), or a structure has no leg or several hedges.

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
    _hedge: Places = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _refuse_no_recipe(self.underlyings, self.structures)
        refuse_other_types("inverse", self.inverse, "True or False", bool)
        if not callable(self.expiries):
            raise ParameterError(f"expiries must be a function such as fridays or exactly, got {self.expiries!r}")
        refuse_no_number("step", self.step)
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
            at = np.array([-1 if i is None else place[i] for i in listed], dtype=np.intp)
            whole = self._whole(at)
            rows = quantity[n * size : (n + 1) * size]
            for column in np.flatnonzero(at >= 0):
                rows[whole, at[column]] += self._quantity[whole, column]
            hedges[n * size : (n + 1) * size] = np.where(self._hedge >= 0, at[self._hedge], -1)
        book = Book(instruments, self.portfolios, quantity)
        _bring_delta_to_zero(book, quantity, hedges, state)
        return book.at(state)

    def _whole(self, at: Places) -> Bools:
        """Which structures have all their legs, when the contracts stand `at` these places, -1 for nowhere."""
        lacks = (self._quantity != 0) & (at < 0)
        lacks[np.arange(len(lacks)), self._hedge] |= (self._hedge >= 0) & (at[self._hedge] < 0)
        return np.asarray(~lacks.any(axis=1))

    def _struck(self, state: MarketState, name: str) -> list[Instrument | None]:
        """The instrument of each contract on one underlying; None where the state does not say what it needs."""
        column = column_of(state, name)
        if not state.spot[column] > 0:
            return [None] * len(self._contracts)
        expiry = self.expiries(state.time, np.array([min(days, 1e4) for *_, days in self._contracts]))
        strike = self._strikes(state, column, expiry)
        listed: list[Instrument | None] = []
        for n, (kind, *_) in enumerate(self._contracts):
            if kind in ("spot", "perpetual"):
                listed.append(_lasting(name, kind))
            elif kind == "future":
                listed.append(_future(name, expiry[n]) if has_curve(state, column) else None)
            else:
                listed.append(_option(name, kind, expiry[n], strike[n], self.inverse) if strike[n] > 0 else None)
        return listed

    def _strikes(self, state: MarketState, column: int, expiry: Stamps) -> Floats:
        """The strike of each contract on one underlying; NaN for what is no option and where there is no surface."""
        strike = np.full(len(expiry), np.nan)
        option = np.array([kind in ("call", "put") for kind, *_ in self._contracts], dtype=bool)
        if state.surface is None or not np.isfinite(state.surface[column, 0]).all() or not option.any():
            return strike
        spot, tenor = float(state.spot[column]), (expiry - state.time) / _DAY / DAYS_A_YEAR
        forward = spot * forward_ratio(None if state.curve is None else state.curve[column], tenor)
        strike[option] = [spot * contract[2] for contract in self._contracts if contract[0] in ("call", "put")]
        deltas = [(n, kind, delta) for n, (kind, delta, *_) in enumerate(self._contracts) if delta is not None]
        if deltas:
            at = np.array([n for n, *_ in deltas])
            depth = np.array([ndtri(delta) if kind == "call" else -ndtri(delta) for _, kind, delta in deltas])
            strike[at] = forward[at] * np.exp(log_strikes(state.surface[column], tenor[at], depth))
        return listed_strikes(strike, spot, self.step)


def _refuse_no_recipe(underlyings: object, structures: object) -> None:
    for name in members("underlyings", underlyings, "names such as ('BTC', 'ETH')"):
        refuse_other_types("an underlying", name, "a name such as 'BTC'", str)
    if not isinstance(structures, Mapping):
        raise ParameterError(f"structures must be the legs of each by name, {{name: (Leg, ...)}}, got {structures!r}")
    for name, legs in structures.items():
        for leg in members(f"structure {name!r}", legs, "legs, (Leg, ...)"):
            refuse_other_types(f"structure {name!r}", leg, "legs, (Leg, ...)", Leg)


def _bring_delta_to_zero(book: Book, quantity: Floats, hedges: Places, state: MarketState) -> None:
    """Put the hedge of each portfolio that has one into its quantities; `hedges` (P,) are places, -1 for none."""
    hedged = np.flatnonzero(hedges >= 0)
    if hedged.size:
        unit = sensitivities(book.listing, state)
        quantity[hedged, hedges[hedged]] -= (quantity[hedged] @ unit) / unit[hedges[hedged]]


def column_of(state: MarketState, name: str) -> int:
    """Where an underlying stands in a state; DataError where it does not."""
    if name not in state.underlyings:
        raise DataError(f"option books on {name!r} need that underlying, the market has {state.underlyings}")
    return state.underlyings.index(name)


def has_curve(state: MarketState, column: int) -> bool:
    """Whether a state has forwards of an underlying."""
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
