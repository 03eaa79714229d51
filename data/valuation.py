"""What is one contract worth, and how does it move with its underlying?

An instrument that the market lists is worth its own mark. Of the others, spot and perpetuals trade at spot, a future at
the forward of the curve, and an option at Black-76 on that forward with the volatility of the surface. What expires
settles at spot, so that from then on it has no price here.
"""

from dataclasses import dataclass, fields

import numpy as np

from data.arrays import Bools, Floats, Places
from data.curves import discount, forward_ratio
from data.errors import DataError
from data.history import MarketState
from data.instruments import Listing
from data.pricing import black76, greeks, implied_deviation
from data.surface import implied_volatility

LEAST_VOLATILITY = 1e-6  # of an option whose mark has no time value, where there is no surface


@dataclass(frozen=True, eq=False)
class OptionTerms:
    """The M options of a listing at one state, (M,) each; NaN where something is unknown or the option has expired.

    `at` is where each stands in the listing, `underlying` its column. `discount` is what one USD at expiry is worth
    now; for a coin-settled option that is spot over forward, as one coin then is one coin now.
    """

    at: Places
    underlying: Places
    tenor: Floats
    forward: Floats
    volatility: Floats
    discount: Floats
    strike: Floats
    call: Bools
    multiplier: Floats
    inverse: Bools

    def only(self, kept: Bools) -> "OptionTerms":
        """Some of the options."""
        return OptionTerms(*(getattr(self, item.name)[kept] for item in fields(self)))

    @property
    def deviation(self) -> Floats:
        """Standard deviation of the log forward until expiry, (M,)."""
        return np.asarray(self.volatility * np.sqrt(np.maximum(self.tenor, 0.0)))

    @property
    def premium(self) -> Floats:
        """USD per unit of the underlying, (M,)."""
        known = np.isfinite(self.volatility)
        premium = np.full(len(known), np.nan)
        premium[known] = self.discount[known] * black76(
            self.forward[known], self.strike[known], self.deviation[known], self.call[known]
        )
        return premium

    @property
    def delta(self) -> Floats:
        """USD gained by one contract per relative move of spot, the forward moving along, (M,)."""
        known = np.isfinite(self.volatility)
        delta = np.full(len(known), np.nan)
        told = greeks(
            self.forward[known],
            self.strike[known],
            self.volatility[known],
            self.tenor[known],
            self.call[known],
            self.discount[known],
        )
        delta[known] = told.delta * self.forward[known] * self.multiplier[known]
        return delta


def option_terms(listing: Listing, state: MarketState) -> OptionTerms:
    """What the pricing of each option needs; the volatility is that of its own mark where it is listed."""
    at = np.flatnonzero(listing.option)
    column = listing.columns(state.underlyings)[at]
    tenor = listing.tenor(state.time)[at]
    strike, call, inverse = listing.strike[at], listing.call[at], listing.inverse[at]
    spot = state.spot[column]
    alive = np.isfinite(spot) & (spot > 0) & (tenor > 0)
    forward, worth = np.full((2, len(at)), np.nan)
    volatility = np.full(len(at), np.nan)
    for a in np.unique(column[alive]):
        mine = alive & (column == a)
        curve = None if state.curve is None else state.curve[a]
        ratio = forward_ratio(curve, tenor[mine])
        forward[mine] = spot[mine] * ratio
        worth[mine] = np.where(inverse[mine], 1.0 / ratio, discount(curve, tenor[mine]))
        if state.surface is not None:
            moneyness = np.log(strike[mine] / forward[mine])
            volatility[mine] = implied_volatility(state.surface[a], moneyness, tenor[mine])
    if state.listed:
        mark = listing.marked(state)[at] / worth
        listed = alive & np.isfinite(mark)
        told = implied_deviation(mark[listed], forward[listed], strike[listed], call[listed])
        # A mark without time value says nothing of volatility: the surface does, or else there is next to none.
        spoken = np.where(told > 0, told / np.sqrt(tenor[listed]), volatility[listed])
        volatility[listed] = np.where(np.isnan(spoken) & (told == 0), LEAST_VOLATILITY, spoken)
    return OptionTerms(at, column, tenor, forward, volatility, worth, strike, call, listing.multiplier[at], inverse)


def linear_prices(listing: Listing, state: MarketState) -> Floats:
    """Mark, spot or forward of each instrument in USD, (N,); NaN for an option and where unknown or expired.

    DataError for a dated future that has neither a mark nor a curve: it is never priced at spot in silence.
    """
    column = listing.columns(state.underlyings)
    listed = listing.places(state.listed) >= 0
    price = np.where(listed, listing.marked(state), state.spot[column])
    for n in np.flatnonzero(listing.future & ~listed):
        price[n] = _curve_forward(listing, state, int(n), int(column[n]))
    price[listing.option] = np.nan
    return price


def prices(listing: Listing, state: MarketState) -> Floats:
    """USD per unit of the underlying, (N,): mark, spot, forward or premium; NaN where unknown or expired.

    Raises as `linear_prices` does.
    """
    price = linear_prices(listing, state)
    if listing.option.any():
        terms, mark = option_terms(listing, state), listing.marked(state)
        price[terms.at] = np.where(np.isfinite(mark[terms.at]), mark[terms.at], terms.premium)
        # Where the underlying is worthless a put is worth its strike, a call nothing.
        dead = (state.spot[listing.columns(state.underlyings)] == 0) & listing.option
        price[dead] = np.where(listing.call[dead], 0.0, listing.strike[dead])
    return price


def _curve_forward(listing: Listing, state: MarketState, n: int, column: int) -> float:
    """The forward of a future that is not listed; NaN once expired, and where the curve has a hole."""
    if state.spot[column] == 0:
        return 0.0
    if state.curve is None:
        symbol = listing.instruments[n].symbol
        raise DataError(f"{symbol} is a dated future without a mark or a curve: the market lists {state.listed}")
    tenor = listing.tenor(state.time)[n : n + 1]
    if tenor[0] <= 0:
        return float("nan")
    if not np.isfinite(state.curve[column]).any():
        return float("nan")
    return float(state.spot[column] * forward_ratio(state.curve[column], tenor)[0])


def linear_notionals(listing: Listing, state: MarketState) -> Floats:
    """USD notional of one contract, (N,): an inverse one's is its USD face; 0 for an option, NaN where unpriced."""
    price = linear_prices(listing, state)
    notional = np.where(listing.inverse, np.where(price > 0, 1.0, price), price) * listing.multiplier
    return np.where(listing.option, 0.0, notional)


def notionals(listing: Listing, state: MarketState) -> Floats:
    """USD notional of one contract, (N,), an option's being that of its underlying; NaN where unpriced."""
    notional = linear_notionals(listing, state)
    if listing.option.any():
        _fill_options(notional, option_terms(listing, state), state)
    return notional


def _fill_options(notional: Floats, terms: OptionTerms, state: MarketState) -> None:
    """Put the options' notionals among those of a listing; 0 where the underlying is worthless."""
    spot = state.spot[terms.underlying]
    priced = np.isfinite(terms.volatility) | (spot == 0)
    notional[terms.at] = np.where(priced, spot * terms.multiplier, np.nan)


def linear_sensitivities(listing: Listing, state: MarketState) -> Floats:
    """USD gained by one contract per relative move of spot, (N,); 0 for an option, NaN where unpriced.

    An inverse future gains coin as its own price moves, and coin is worth spot: its face times spot over its price.
    """
    unit = linear_notionals(listing, state)
    dated = listing.inverse & listing.future
    if dated.any():
        spot, price = state.spot[listing.columns(state.underlyings)], linear_prices(listing, state)
        unit = np.where(dated & (price > 0), unit * spot / np.where(price > 0, price, 1.0), unit)
    return unit


def sensitivities(listing: Listing, state: MarketState) -> Floats:
    """USD gained by one contract per relative move of spot, (N,): `linear_sensitivities`, or an option's delta."""
    unit = linear_sensitivities(listing, state)
    if listing.option.any():
        terms = option_terms(listing, state)
        unit[terms.at] = np.where(state.spot[terms.underlying] == 0, 0.0, terms.delta)
    return unit


def unit_values(listing: Listing, state: MarketState) -> Floats:
    """USD that one contract is worth, (N,): coins at spot, options at their premium; futures and perpetuals 0."""
    owned = listing.option | np.array([i.kind == "spot" for i in listing.instruments], dtype=bool)
    price = prices(listing, state)
    return np.where(owned, price * listing.multiplier, np.where(np.isfinite(price), 0.0, np.nan))
