"""What does each portfolio own beside its book, and does that cover what it must post?"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.arrays import Floats
from data.books import MOST, Book
from data.errors import DataError
from data.history import MarketState
from data.valuation import linear_prices


@dataclass(frozen=True, eq=False)
class Account:
    """What P portfolios hold beside their positions.

    Parameters
    ----------
    currencies : C names: "USD", an underlying, or whatever `standing` is given a rate for.
    cash : (P, C) units of each currency; negative where it is owed.
    assets : K underlyings that are posted as collateral.
    collateral : (P, K) units of each, >= 0.
    haircut : (K,) share of each asset's worth that does not count, in [0, 1].
    entry : (P, N) USD prices at which the futures and perpetuals of the book were entered; NaN where none is held. None
        where they were entered at the price of this instant.
    unrealised_funding : (P,) funding received and not yet paid out, in the numeraire; negative where it is owed. None
        for none.

    Raises
    ------
    DataError
        If shapes disagree, an asset or currency comes twice, cash or collateral is not finite, collateral is negative,
        a haircut outside [0, 1], or an entry price not > 0.
    """

    currencies: tuple[str, ...]
    cash: Floats
    assets: tuple[str, ...] = ()
    collateral: Floats | None = None
    haircut: Floats = field(default_factory=lambda: np.empty(0))
    entry: Floats | None = None
    unrealised_funding: Floats | None = None

    def __post_init__(self) -> None:
        for names in (self.currencies, self.assets):
            if len(set(names)) < len(names):
                raise DataError(f"currencies and assets must differ in name, got {names}")
        if self.collateral is None:
            object.__setattr__(self, "collateral", np.zeros((len(self.cash), len(self.assets))))
        self._check("cash", (len(self.cash), len(self.currencies)), -np.inf, np.inf)
        self._check("collateral", (len(self.cash), len(self.assets)), 0.0, np.inf)
        self._check("haircut", (len(self.assets),), 0.0, 1.0)
        if self.unrealised_funding is not None:
            self._check("unrealised_funding", (len(self.cash),), -np.inf, np.inf)
        if self.entry is not None and not (self.entry.ndim == 2 and len(self.entry) == len(self.cash)):
            raise DataError(f"entry must be (portfolios, instruments), {len(self.cash)} rows, got {self.entry.shape}")
        if self.entry is not None and not (np.isnan(self.entry) | ((self.entry > 0) & (self.entry < np.inf))).all():
            raise DataError("entry prices must be > 0 and finite, or NaN where none is held")

    def _check(self, name: str, shape: tuple[int, ...], least: float, most: float) -> None:
        """DataError for a field of another shape, or with a figure that is not finite or out of range."""
        value = getattr(self, name)
        if value.shape != shape:
            raise DataError(f"{name} must have the shape {shape}, got {value.shape}")
        wrong = ~((np.abs(value) < MOST) & (value >= least) & (value <= most))
        if wrong.any():
            raise DataError(f"{name} must be finite and lie in [{least}, {most}], got {value[wrong][0]}")


@dataclass(frozen=True, eq=False)
class Standing:
    """How P accounts stand at one instant, (P,) each, in the numeraire.

    Parameters
    ----------
    cash, collateral : what they are worth, collateral after its haircut.
    unrealised : profit of futures and perpetuals since their entry, and funding not yet paid out.
    value : what the book itself is worth: coins at spot, options at their premium.
    initial, maintenance : what must be posted.
    equity : cash + collateral + unrealised + value.
    free_equity : equity less initial margin; negative where margin is not covered.
    utilisation : initial margin over equity; 0 where none is asked, infinite where there is no equity to cover it.
    withdrawable : the free equity, but no more than cash and collateral after haircut, and never negative.
    dead_capital : what is owned (collateral before its haircut) and neither covers margin nor can be withdrawn.
    liquidatable : whether equity is below maintenance margin.
    """

    portfolios: tuple[str, ...]
    cash: Floats
    collateral: Floats
    unrealised: Floats
    value: Floats
    initial: Floats
    maintenance: Floats
    equity: Floats
    free_equity: Floats
    utilisation: Floats
    withdrawable: Floats
    dead_capital: Floats
    liquidatable: NDArray[np.bool_]

    def to_frame(self) -> pd.DataFrame:
        """One row a portfolio, one column a figure."""
        columns = {item.name.replace("_", " "): getattr(self, item.name) for item in fields(self)[1:]}
        return pd.DataFrame(columns, index=pd.Index(self.portfolios, name="portfolio"))

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(max_rows=20, float_format="{:.6g}".format)


def standing(
    account: Account,
    book: Book,
    state: MarketState,
    initial: Floats,
    maintenance: Floats,
    fx: Mapping[str, float] | None = None,
) -> Standing:
    """How the accounts that hold these books stand, when so much margin (P,) is asked in the numeraire.

    `fx` are USD per unit of currencies that are no underlying of the market.

    Raises
    ------
    DataError
        If shapes disagree, a margin is not finite and >= 0, a currency or asset has no rate, or a position has no price
        or no entry price.
    """
    _refuse_misfits(account, book, initial, maintenance)
    cash = account.cash @ _rates(account.currencies, account.cash, state, fx or {})
    posted = np.asarray(account.collateral)
    rates = _rates(account.assets, posted, state, fx or {})
    whole, counted = posted @ rates, posted @ (rates * (1.0 - account.haircut))
    unrealised = _unrealised(account, book, state)
    if account.unrealised_funding is not None:
        unrealised = unrealised + account.unrealised_funding
    value = book.value(state)
    equity = cash + counted + unrealised + value
    free = equity - initial
    withdrawable = np.maximum(np.minimum(free, cash + counted), 0.0)
    dead = np.maximum(equity + (whole - counted) - np.clip(initial, 0.0, np.maximum(equity, 0.0)) - withdrawable, 0.0)
    broke = np.where(initial > 0, np.inf, 0.0)
    utilisation = np.divide(initial, equity, out=broke, where=equity > 0)
    return Standing(
        book.portfolios,
        cash,
        counted,
        unrealised,
        value,
        initial,
        maintenance,
        equity,
        free,
        utilisation,
        withdrawable,
        dead,
        equity < maintenance,
    )


def _refuse_misfits(account: Account, book: Book, initial: Floats, maintenance: Floats) -> None:
    """DataError where account, book and margins are not of the same portfolios."""
    size, instruments = len(book.portfolios), len(book.instruments)
    if len(account.cash) != size:
        raise DataError(f"the account has {len(account.cash)} portfolios, the book {size}")
    if account.entry is not None and account.entry.shape != (size, instruments):
        raise DataError(f"entry must be (portfolios, instruments) = {(size, instruments)}, got {account.entry.shape}")
    for name, margin in (("initial", initial), ("maintenance", maintenance)):
        if margin.shape != (size,) or not (np.isfinite(margin) & (margin >= 0)).all():
            raise DataError(f"{name} margin must be ({size},), finite and >= 0, got {margin}")


def _rates(names: tuple[str, ...], amount: Floats, state: MarketState, fx: Mapping[str, float]) -> Floats:
    """Units of the numeraire per unit of each, (C,); DataError for one that has none and is held (P, C)."""
    known = {**fx, **dict(zip(state.underlyings, state.spot.tolist(), strict=True)), state.numeraire: state.rate}
    rates = np.array([1.0 if name == "USD" else known.get(name, np.nan) for name in names], dtype=np.float64)
    for n in np.flatnonzero(~(np.isfinite(rates) & (rates >= 0))):
        if names[n] not in known or (amount[:, n] != 0).any():
            raise DataError(f"no rate for {names[n]!r} at {state.time}: there are USD and {sorted(known)}")
        rates[n] = 0.0
    return rates / state.rate


def _unrealised(account: Account, book: Book, state: MarketState) -> Floats:
    """Profit of futures and perpetuals since their entry, in the numeraire, (P,); an inverse one's coin at spot."""
    listing = book.listing
    profit = np.zeros(len(book.portfolios))
    if account.entry is None:
        return profit
    margined = listing.perpetual | listing.future
    price = book.known(np.where(margined, linear_prices(listing, state), 0.0), state)
    portfolio, instrument, held = book.holdings()
    entered = margined[instrument]
    portfolio, instrument, held = portfolio[entered], instrument[entered], held[entered]
    price = price[instrument]
    entry = account.entry[portfolio, instrument]
    for n in np.flatnonzero(np.isnan(entry))[:1]:
        raise DataError(
            f"{book.portfolios[portfolio[n]]!r} holds {book.instruments[instrument[n]].symbol} without an entry price"
        )
    spot = state.spot[listing.columns(state.underlyings)][instrument]
    # The coin that an inverse contract gains is worth spot; where the coin is worthless the whole face is lost.
    coin_worth = np.divide(spot, price, out=np.ones_like(price), where=price > 0)
    inverse = (price / entry - 1.0) * coin_worth
    unit = np.where(listing.inverse[instrument], inverse, price - entry) * listing.multiplier[instrument]
    return np.bincount(portfolio, held * unit, minlength=len(profit)) / state.rate
