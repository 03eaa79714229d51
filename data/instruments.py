"""What can be held, and who holds it?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.errors import DataError
from data.history import Floats, MarketState

Kind = Literal["spot", "perpetual", "future"]
Quantity = Floats | sparse.csr_array


@dataclass(frozen=True)
class Instrument:
    """One listed contract: facts only.

    Parameters
    ----------
    symbol, underlying : names; the underlying is a column of the market.
    kind : "spot", "perpetual" or (dated) "future"; a future trades at its own mark, the others at spot.
    multiplier : units of the underlying a contract (linear), or USD a contract (inverse).
    settlement : "linear" pays in USD; "inverse" pays in the underlying.
    expiry : when a future settles, ISO instant in UTC; None for the others.

    Raises
    ------
    DataError
        If the multiplier is not positive, a kind or settlement unknown, or a future lacks its expiry.
    """

    symbol: str
    underlying: str
    kind: Kind = "perpetual"
    multiplier: float = 1.0
    settlement: Literal["linear", "inverse"] = "linear"
    expiry: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("spot", "perpetual", "future"):
            raise DataError(f"{self.symbol}: kind must be 'spot', 'perpetual' or 'future', got {self.kind!r}")
        if self.settlement not in ("linear", "inverse") or (self.kind == "spot" and self.settlement == "inverse"):
            raise DataError(f"{self.symbol}: a {self.kind} cannot settle {self.settlement!r}")
        if not (np.isfinite(self.multiplier) and self.multiplier > 0):
            raise DataError(f"{self.symbol}: multiplier must be > 0, got {self.multiplier}")
        if (self.kind == "future") != (self.expiry is not None):
            raise DataError(f"{self.symbol}: a future, and only a future, has an expiry; got {self.expiry!r}")
        if self.expiry is not None:
            try:
                np.datetime64(self.expiry)
            except ValueError as error:
                raise DataError(f"{self.symbol}: expiry must be an ISO instant, got {self.expiry!r}") from error


@dataclass(frozen=True, eq=False)
class Listing:
    """The instruments of a book, with what the arithmetic needs of them as arrays (N,)."""

    instruments: tuple[Instrument, ...]
    multiplier: Floats = field(init=False)
    inverse: NDArray[np.bool_] = field(init=False)
    perpetual: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        symbols = [i.symbol for i in self.instruments]
        if len(set(symbols)) < len(symbols):
            raise DataError(f"instruments must differ in symbol, got {symbols}")
        object.__setattr__(self, "multiplier", np.array([i.multiplier for i in self.instruments], dtype=np.float64))
        object.__setattr__(self, "inverse", np.array([i.settlement == "inverse" for i in self.instruments], dtype=bool))
        object.__setattr__(self, "perpetual", np.array([i.kind == "perpetual" for i in self.instruments], dtype=bool))
        object.__setattr__(self, "_seen", {})

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

    def prices(self, state: MarketState) -> Floats:
        """Price of each instrument's reference in USD, (N,): its own mark where listed, else spot; NaN unknown.

        DataError for a dated future that the market does not list: it is never priced at spot in silence.
        """
        price: Floats = state.spot[self.columns(state.underlyings)].copy()
        for n, instrument in enumerate(self.instruments):
            if instrument.symbol in state.listed:
                price[n] = state.marks[state.listed.index(instrument.symbol)]
            elif instrument.kind == "future":
                raise DataError(
                    f"{instrument.symbol} is a dated future without a mark: the market lists {state.listed}"
                )
        return price

    def unit_notional(self, state: MarketState) -> Floats:
        """Notional of one contract in USD, (N,): an inverse contract is worth its USD face; NaN where unpriced."""
        price = self.prices(state)
        notional: Floats = np.where(self.inverse, np.where(price > 0, 1.0, price), price) * self.multiplier
        return notional


UNLISTED = Listing(())


def _list_instruments(holder: "Book | BookRecipe") -> None:
    """Fill in the listing of a book or recipe that was made from instruments alone."""
    if holder.listing is UNLISTED:
        object.__setattr__(holder, "instruments", tuple(holder.instruments))
        object.__setattr__(holder, "listing", Listing(holder.instruments))


@dataclass(frozen=True, eq=False)
class Book:
    """Many portfolios at once.

    Parameters
    ----------
    instruments : N contracts.
    portfolios : P names.
    quantity : (P, N) signed contracts, an array or, where large, a scipy CSR array.
    listing : the instruments as arrays, where another book has them already; made from `instruments` otherwise.
    """

    instruments: tuple[Instrument, ...]
    portfolios: tuple[str, ...]
    quantity: Quantity
    listing: Listing = field(default=UNLISTED, repr=False)

    def __post_init__(self) -> None:
        _list_instruments(self)
        shape = (len(self.portfolios), len(self.instruments))
        if self.quantity.shape != shape:
            raise DataError(f"quantity must be (portfolios, instruments) = {shape}, got {self.quantity.shape}")
        held = self.quantity.data if sparse.issparse(self.quantity) else self.quantity
        if not np.isfinite(held).all():
            raise DataError("quantity must be finite, got a NaN or infinite holding")

    def _unit(self, state: MarketState) -> Floats:
        """USD notional a contract, 0 where nothing is held; DataError where something held has no price."""
        unit = self.listing.unit_notional(state)
        unknown = ~np.isfinite(unit)
        if unknown.any():
            for n in np.flatnonzero(self.held & unknown):
                raise DataError(f"{self.instruments[n].symbol} is held but has no price at {state.time}")
            unit = np.where(unknown, 0.0, unit)
        return unit

    @property
    def size(self) -> Quantity:
        """Unsigned contracts, (P, N), in the form of `quantity`."""
        return np.abs(self.quantity) if isinstance(self.quantity, np.ndarray) else abs(self.quantity)

    @property
    def held(self) -> NDArray[np.bool_]:
        """Which instruments some portfolio holds, (N,)."""
        contracts = np.asarray(self.size.sum(axis=0)).ravel()
        return np.asarray(contracts != 0)

    def positions(self, state: MarketState) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        """Every holding as (portfolio, instrument, signed notional in the numeraire), three arrays of equal length."""
        unit = self._unit(state) / state.rate
        if isinstance(self.quantity, np.ndarray):
            portfolio, instrument = np.nonzero(self.quantity)
            held = self.quantity[portfolio, instrument]
        else:
            triplets = self.quantity.tocoo()
            portfolio, instrument, held = triplets.row.astype(np.intp), triplets.col.astype(np.intp), triplets.data
        return portfolio, instrument, held * unit[instrument]

    def gross(self, state: MarketState) -> Floats:
        """Gross notional in the numeraire, (P,)."""
        gross: Floats = np.asarray(self.size @ (self._unit(state) / state.rate))
        return gross

    def exposure(self, state: MarketState) -> Floats:
        """Net notional per underlying in the numeraire, (P, A)."""
        return np.asarray(self.quantity @ self._onto(state, self._unit(state) / state.rate))

    def _onto(self, state: MarketState, unit: Floats) -> Floats:
        """(N, A): one contract's notional under its underlying."""
        onto = np.zeros((len(unit), len(state.underlyings)))
        onto[np.arange(len(unit)), self.listing.columns(state.underlyings)] = unit
        return onto

    def at(self, state: MarketState) -> "Book":
        """The same proportions at unit gross notional in USD; a portfolio that holds nothing of value stays empty."""
        unit = self._unit(state)
        gross = np.asarray(self.size @ unit)
        scale = np.divide(1.0, gross, out=np.zeros_like(gross), where=gross > 0)
        if isinstance(self.quantity, np.ndarray):
            return self._with(self.quantity * (scale[:, None] * (unit > 0)))
        return self._with(
            sparse.csr_array(sparse.diags_array(scale) @ self.quantity @ sparse.diags_array((unit > 0) * 1.0))
        )

    def _with(self, quantity: Quantity) -> "Book":
        return Book(self.instruments, self.portfolios, quantity, self.listing)


@dataclass(frozen=True, eq=False)
class BookRecipe:
    """Portfolios by share of notional, rebuilt at each decision.

    Parameters
    ----------
    instruments : N contracts.
    portfolios : P names.
    weight : (P, N) signed shares of notional, any positive scale.
    listing : the instruments as arrays; made from `instruments` unless given.
    """

    instruments: tuple[Instrument, ...]
    portfolios: tuple[str, ...]
    weight: Floats
    listing: Listing = field(default=UNLISTED, repr=False)

    def __post_init__(self) -> None:
        _list_instruments(self)
        shape = (len(self.portfolios), len(self.instruments))
        if self.weight.shape != shape:
            raise DataError(f"weight must be (portfolios, instruments) = {shape}, got {self.weight.shape}")

    @classmethod
    def of(cls, instruments: tuple[Instrument, ...], holdings: Mapping[str, Mapping[str, float]]) -> Self:
        """From {portfolio: {symbol: weight}}; DataError names a symbol that is not among the instruments."""
        symbols = [i.symbol for i in instruments]
        for name, held in holdings.items():
            for symbol in held:
                if symbol not in symbols:
                    raise DataError(f"portfolio {name!r} holds {symbol!r}, which is not among {symbols}")
        weight = np.array([[held.get(s, 0.0) for s in symbols] for held in holdings.values()], dtype=np.float64)
        return cls(instruments, tuple(holdings), weight.reshape(len(holdings), len(symbols)))

    def at(self, state: MarketState) -> Book:
        """Quantities that give these weights and unit gross notional now.

        A defaulted asset can no longer be held: the rest is scaled up, and a portfolio of nothing else stays empty.
        """
        unit = self.listing.unit_notional(state)
        held = (self.weight != 0).any(axis=0)
        for n in np.flatnonzero(held & ~np.isfinite(unit)):
            raise DataError(f"{self.instruments[n].symbol} is in a recipe but has no price at {state.time}")
        alive = np.isfinite(unit) & (unit > 0)
        share = np.where(alive, self.weight, 0.0)
        gross = np.abs(share).sum(axis=1, keepdims=True)
        quantity = share / np.where(gross > 0, gross, 1.0) / np.where(alive, unit, 1.0)
        return Book(self.instruments, self.portfolios, quantity, self.listing)
