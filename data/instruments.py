"""What can be held?"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.arrays import Floats
from data.coverage import DAYS_A_YEAR
from data.errors import DataError
from data.history import MarketState

Kind = Literal["spot", "perpetual", "future", "option"]
KINDS = ("spot", "perpetual", "future", "option")
DATED = ("future", "option")


@dataclass(frozen=True)
class Instrument:
    """One listed contract: facts only.

    Parameters
    ----------
    symbol, underlying : names; the underlying is a column of the market.
    kind : "spot", "perpetual", (dated) "future" or (European) "option".
    multiplier : units of the underlying a contract; USD a contract for an inverse perpetual or future.
    settlement : "linear" pays in USD; "inverse" pays in the underlying, at its price of that instant.
    expiry : when a future or an option settles at spot, ISO instant in UTC; None for the others.
    strike, right : of an option, in USD, "call" or "put"; None for the others.
    day_count : days a year has when the time to expiry is counted: 365.25 for Deribit, 365 for Derive.

    Raises
    ------
    DataError
        If the multiplier, strike or day count is not positive, a kind, settlement or right unknown, or a future or
        option lacks what it needs.
    """

    symbol: str
    underlying: str
    kind: Kind = "perpetual"
    multiplier: float = 1.0
    settlement: Literal["linear", "inverse"] = "linear"
    expiry: str | None = None
    strike: float | None = None
    right: Literal["call", "put"] | None = None
    day_count: float = DAYS_A_YEAR

    def __post_init__(self) -> None:
        if not self.symbol or not self.underlying:
            raise DataError(f"an instrument needs a symbol and an underlying, got {self!r}")
        if self.kind not in KINDS:
            raise DataError(f"{self.symbol}: kind must be one of {KINDS}, got {self.kind!r}")
        if self.settlement not in ("linear", "inverse") or (self.kind == "spot" and self.settlement == "inverse"):
            raise DataError(f"{self.symbol}: a {self.kind} cannot settle {self.settlement!r}")
        for name in ("multiplier", "day_count"):
            value: object = getattr(self, name)
            if not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
                raise DataError(f"{self.symbol}: {name} must be > 0, got {value}")
        if (self.kind in DATED) != (self.expiry is not None):
            raise DataError(f"{self.symbol}: a future or option, and nothing else, has an expiry; got {self.expiry!r}")
        self._check_option()
        if self.expiry is not None:
            self._check_expiry(self.expiry)

    def _check_expiry(self, expiry: object) -> None:
        wrong = f"{self.symbol}: expiry must be an ISO instant in UTC, without a zone, got {expiry!r}"
        if not isinstance(expiry, str) or expiry.endswith("Z") or "+" in expiry:
            raise DataError(wrong)
        try:
            np.datetime64(expiry)
        except ValueError as error:
            raise DataError(wrong) from error

    def _check_option(self) -> None:
        if self.kind != "option":
            if (self.strike, self.right) != (None, None):
                raise DataError(f"{self.symbol}: a {self.kind} has no strike and no right")
        elif self.right not in ("call", "put"):
            raise DataError(f"{self.symbol}: right must be 'call' or 'put', got {self.right!r}")
        elif not isinstance(self.strike, int | float | np.number) or not (np.isfinite(self.strike) and self.strike > 0):
            raise DataError(f"{self.symbol}: strike must be > 0, got {self.strike}")


@dataclass(frozen=True, eq=False)
class Listing:
    """The instruments of a book, with what the arithmetic needs of them as arrays (N,).

    `expiry` is NaT and `strike` NaN where there is none.
    """

    instruments: tuple[Instrument, ...]
    multiplier: Floats = field(init=False)
    inverse: NDArray[np.bool_] = field(init=False)
    perpetual: NDArray[np.bool_] = field(init=False)
    future: NDArray[np.bool_] = field(init=False)
    option: NDArray[np.bool_] = field(init=False)
    call: NDArray[np.bool_] = field(init=False)
    strike: Floats = field(init=False)
    expiry: NDArray[np.datetime64] = field(init=False)
    year: Floats = field(init=False)

    def __post_init__(self) -> None:
        symbols = [i.symbol for i in self.instruments]
        if len(set(symbols)) < len(symbols):
            raise DataError(f"instruments must differ in symbol, got {symbols}")
        every = self.instruments
        facts = {
            "multiplier": np.array([i.multiplier for i in every], dtype=np.float64),
            "inverse": np.array([i.settlement == "inverse" for i in every], dtype=bool),
            "perpetual": np.array([i.kind == "perpetual" for i in every], dtype=bool),
            "future": np.array([i.kind == "future" for i in every], dtype=bool),
            "option": np.array([i.kind == "option" for i in every], dtype=bool),
            "call": np.array([i.right == "call" for i in every], dtype=bool),
            "strike": np.array([np.nan if i.strike is None else i.strike for i in every], dtype=np.float64),
            "expiry": np.array([i.expiry or "NaT" for i in every], dtype="datetime64[ns]"),
            "year": np.array([i.day_count for i in every], dtype=np.float64),
        }
        for name, values in {**facts, "_seen": {}, "_places": {}}.items():
            object.__setattr__(self, name, values)

    def columns(self, underlyings: tuple[str, ...]) -> NDArray[np.intp]:
        """Where each instrument's underlying stands among `underlyings`, (N,); DataError names a missing one."""
        seen: dict[tuple[str, ...], NDArray[np.intp]] = self.__dict__["_seen"]
        if underlyings not in seen:
            for instrument in self.instruments:
                if instrument.underlying not in underlyings:
                    raise DataError(
                        f"{instrument.symbol} needs the underlying {instrument.underlying!r}, "
                        f"the market has {underlyings}"
                    )
            seen[underlyings] = np.array([underlyings.index(i.underlying) for i in self.instruments], dtype=np.intp)
        return seen[underlyings]

    def places(self, listed: tuple[str, ...]) -> NDArray[np.intp]:
        """Where each instrument stands among the symbols that a market lists, (N,); -1 where it does not."""
        seen: dict[tuple[str, ...], NDArray[np.intp]] = self.__dict__["_places"]
        if listed not in seen:
            place = {symbol: n for n, symbol in enumerate(listed)}
            seen[listed] = np.array([place.get(i.symbol, -1) for i in self.instruments], dtype=np.intp)
        return seen[listed]

    def marked(self, state: MarketState) -> Floats:
        """Each instrument's own mark in USD, (N,); NaN where the market does not list it."""
        if not state.listed:
            return np.full(len(self.instruments), np.nan)
        return np.asarray(np.r_[state.marks, np.nan][self.places(state.listed)])

    def tenor(self, time: np.datetime64) -> Floats:
        """Years to expiry by each instrument's own day count, (N,); negative once expired, NaN where there is none."""
        days = (self.expiry - time) / np.timedelta64(1, "D")
        return np.asarray(days / self.year)
