"""How does each book move with price, volatility and time, underlying by underlying?"""

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from data import Book, Floats, Listing, MarketState
from data.pricing import greeks
from data.valuation import OptionTerms, option_terms, sensitivities


@dataclass(frozen=True, eq=False)
class ContractGreeks:
    """What one contract gains, in USD, (N,) each; NaN where unpriced, and only `delta` for what is no option.

    `delta` is per relative move of spot, the forward moving along, and `gamma` the change of delta per relative move,
    so that a move r gains delta r + gamma r^2 / 2. `vega`, `vanna` (change of delta) and `volga` (change of vega) are
    per 1.00 of volatility, `theta` per year that passes at an unchanged spot. `premium` is the USD value of a
    coin-settled option, 0 for all else.
    """

    delta: Floats
    gamma: Floats
    vega: Floats
    theta: Floats
    vanna: Floats
    volga: Floats
    premium: Floats


@dataclass(frozen=True, eq=False)
class NetGreeks:
    """Sensitivities of P portfolios to A underlyings, (P, A) each, in the numeraire but for the two in units.

    `delta`, `gamma`, `vega`, `theta`, `vanna` and `volga` are those of ContractGreeks, netted. `units` is delta in
    units of the underlying. `adjusted_units` is what a coin account gains, in coins, per relative move: delta less the
    premium of coin-settled options, whose value in coins falls as the coin they are paid in rises.
    """

    portfolios: tuple[str, ...]
    underlyings: tuple[str, ...]
    delta: Floats
    units: Floats
    adjusted_units: Floats
    gamma: Floats
    vega: Floats
    theta: Floats
    vanna: Floats
    volga: Floats

    def to_frame(self) -> pd.DataFrame:
        """One row a portfolio and underlying."""
        index = pd.MultiIndex.from_product([self.portfolios, self.underlyings], names=["portfolio", "underlying"])
        names = [item.name for item in fields(self)[2:]]
        return pd.DataFrame({name: getattr(self, name).ravel() for name in names}, index=index)

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:.6g}".format)


def option_greeks(terms: OptionTerms, state: MarketState) -> ContractGreeks:
    """Greeks of one contract of each of M priced options, (M,), by Black (1976) on the forward.

    As time passes, carry, rate and volatility of each option stay what they are, so that its forward drifts to spot.
    """
    yearly = -np.log(terms.discount) / terms.tenor
    carry = np.log(terms.forward / state.spot[terms.underlying]) / terms.tenor
    told = greeks(terms.forward, terms.strike, terms.volatility, terms.tenor, terms.call, terms.discount, rate=yearly)
    forward, size = terms.forward, terms.multiplier
    return ContractGreeks(
        delta=told.delta * forward * size,
        gamma=told.gamma * forward**2 * size,
        vega=told.vega * size,
        theta=(told.theta - told.delta * forward * carry) * size,
        vanna=told.vanna * forward * size,
        volga=told.volga * size,
        premium=np.where(terms.inverse, told.price, 0.0) * size,
    )


def contract_greeks(listing: Listing, state: MarketState) -> ContractGreeks:
    """Greeks of one contract of each instrument at a state."""
    rows = np.zeros((len(fields(ContractGreeks)), len(listing.instruments)))
    rows[0] = sensitivities(listing, state)
    if listing.option.any():
        terms = option_terms(listing, state)
        known = np.isfinite(terms.volatility)
        alive = terms.only(known)
        priced, priced_at = option_greeks(alive, state), alive.at
        rows[1:, terms.at] = np.where(state.spot[terms.underlying] == 0, 0.0, np.nan)
        rows[:, priced_at] = [getattr(priced, item.name) for item in fields(priced)]
    return ContractGreeks(*rows)


def net_greeks(book: Book, state: MarketState) -> NetGreeks:
    """Greeks of every book by underlying; DataError where a held leg has no price."""
    unit = contract_greeks(book.listing, state)

    def netted(figure: Floats) -> Floats:
        return book.by_underlying(figure / state.rate, state)

    alive = np.isfinite(state.spot) & (state.spot > 0)
    per_coin = np.divide(state.rate, state.spot, out=np.zeros_like(state.spot), where=alive)
    delta = netted(unit.delta)
    return NetGreeks(
        book.portfolios,
        state.underlyings,
        delta,
        delta * per_coin,
        (delta - netted(unit.premium)) * per_coin,
        *(netted(figure) for figure in (unit.gamma, unit.vega, unit.theta, unit.vanna, unit.volga)),
    )
