"""Who holds what, and what is it worth now?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.arrays import Floats
from data.errors import DataError
from data.history import MarketState
from data.instruments import Instrument, Listing
from data.valuation import linear_sensitivities, notionals, sensitivities, unit_values

Quantity = Floats | sparse.csr_array

UNLISTED = Listing(())
MOST = 1e100  # contracts: the square of what more are worth may be no number, and the margin of it none either


def _list_instruments(holder: "Book | BookRecipe") -> None:
    """Fill in the listing of a book or recipe that was made from instruments alone."""
    if holder.listing is UNLISTED:
        object.__setattr__(holder, "instruments", tuple(holder.instruments))
        object.__setattr__(holder, "listing", Listing(holder.instruments))


def _why(listing: Listing, n: int, state: MarketState) -> str:
    """Why the n-th instrument, which is held, has no price."""
    if listing.expiry[n] <= state.time:
        return "has expired"
    if not listing.option[n]:
        return "has no price"
    mark = listing.marked(state)[n]
    if np.isfinite(mark):
        return f"has a mark of {mark:g}, outside what any volatility gives, and no surface to fall back on"
    return "has neither a mark nor an implied volatility"


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
        given: object = self.quantity
        if isinstance(given, list | tuple):
            object.__setattr__(self, "quantity", np.array(given, dtype=np.float64))
        object.__setattr__(self, "portfolios", tuple(self.portfolios))
        _list_instruments(self)
        shape = (len(self.portfolios), len(self.instruments))
        if self.quantity.shape != shape:
            raise DataError(f"quantity must be (portfolios, instruments) = {shape}, got {self.quantity.shape}")
        held = self.quantity.data if sparse.issparse(self.quantity) else self.quantity
        if not (np.abs(held) < MOST).all():
            raise DataError(
                f"quantity must be finite and below {MOST:g}, got a NaN or infinite holding, or a larger one"
            )

    def _unit(self, state: MarketState) -> Floats:
        """USD notional a contract, 0 where nothing is held; DataError where something held has no price."""
        return self.known(notionals(self.listing, state), state)

    def known(self, unit: Floats, state: MarketState) -> Floats:
        """Figures a contract, (N, ...), 0 where unknown and not held; DataError where something held has none."""
        unknown = ~np.isfinite(unit)
        if unknown.any():
            for n in np.flatnonzero(self.held & unknown.reshape(len(unit), -1).any(axis=1)):
                raise DataError(
                    f"{self.instruments[n].symbol} is held but {_why(self.listing, int(n), state)} at {state.time}"
                )
            unit = np.where(unknown, 0.0, unit)
        return unit

    @property
    def size(self) -> Quantity:
        """Unsigned contracts, (P, N), in the form of `quantity`."""
        return np.abs(self.quantity) if isinstance(self.quantity, np.ndarray) else abs(self.quantity)

    @property
    def dense(self) -> Floats:
        """The quantities as a plain array, (P, N), whatever their form."""
        return self.quantity if isinstance(self.quantity, np.ndarray) else np.asarray(self.quantity.toarray())

    @property
    def held(self) -> NDArray[np.bool_]:
        """Which instruments some portfolio holds, (N,)."""
        contracts = np.asarray(self.size.sum(axis=0)).ravel()
        return np.asarray(contracts != 0)

    def holdings(self) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        """Every holding as (portfolio, instrument, signed contracts), three arrays of equal length."""
        if isinstance(self.quantity, np.ndarray):
            portfolio, instrument = np.nonzero(self.quantity)
            return portfolio, instrument, self.quantity[portfolio, instrument]
        triplets = self.quantity.tocoo()
        return triplets.row.astype(np.intp), triplets.col.astype(np.intp), triplets.data

    def positions(self, state: MarketState) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        """Every holding as (portfolio, instrument, signed notional in the numeraire), three arrays of equal length."""
        unit = self._unit(state) / state.rate
        portfolio, instrument, held = self.holdings()
        return portfolio, instrument, held * unit[instrument]

    def gross(self, state: MarketState) -> Floats:
        """Gross notional in the numeraire, (P,)."""
        gross: Floats = np.asarray(self.size @ (self._unit(state) / state.rate))
        return gross

    def exposure(self, state: MarketState) -> Floats:
        """Gain a relative move of each underlying, in the numeraire, (P, A): net notional, options by their delta."""
        return self.by_underlying(sensitivities(self.listing, state) / state.rate, state)

    def linear_exposure(self, state: MarketState) -> Floats:
        """`exposure` without the options, (P, A)."""
        return self.by_underlying(linear_sensitivities(self.listing, state) / state.rate, state)

    def value(self, state: MarketState) -> Floats:
        """What is owned, in the numeraire, (P,): coins at spot, options at their premium, futures and perpetuals 0."""
        return np.asarray(self.quantity @ (self.known(unit_values(self.listing, state), state) / state.rate))

    def by_underlying(self, unit: Floats, state: MarketState, *, gross: bool = False) -> Floats:
        """Quantity (unsigned where `gross`) times figure a contract (N,), summed by underlying, (P, A).

        DataError as `known`.
        """
        onto = np.zeros((len(unit), len(state.underlyings)))
        onto[np.arange(len(unit)), self.listing.columns(state.underlyings)] = self.known(unit, state)
        return np.asarray((self.size if gross else self.quantity) @ onto)

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
        unit = notionals(self.listing, state)
        held = (self.weight != 0).any(axis=0)
        for n in np.flatnonzero(held & ~np.isfinite(unit)):
            why = _why(self.listing, int(n), state)
            raise DataError(f"{self.instruments[n].symbol} is in a recipe but {why} at {state.time}")
        alive = np.isfinite(unit) & (unit > 0)
        share = np.where(alive, self.weight, 0.0)
        gross = np.abs(share).sum(axis=1, keepdims=True)
        quantity = share / np.where(gross > 0, gross, 1.0) / np.where(alive, unit, 1.0)
        return Book(self.instruments, self.portfolios, quantity, self.listing)
