"""What would Deribit's portfolio margin have asked of a book?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data import Book, Floats, Listing, MarketHistory, MarketState, ParameterError
from data.valuation import prices, sensitivities
from margin_models.base import MarginModel, Requirement
from margin_models.revalue import instrument_pnl
from margin_models.scenarios import Scenarios, VolTerm
from margin_models.venues import deribit
from margin_models.venues.accounts import account_size, in_dollars, index_prices, requirement, worst_of
from margin_models.venues.checks import known_or_other
from margin_models.venues.provenance import Provenance

_UNREAD = Provenance("M", "no page of the venue's for such a coin was read: wider than BTC and ETH, no gain offsets")
OTHER_PAIR = deribit.PairRules(0.30, 0.50, 0.25, 0.50, 20e6, 0.0, 0.10, _UNREAD)
OTHER_CURRENCY = deribit.CurrencyRules(25_000.0, 0.10, 0.01, 0.0, 0.0, _UNREAD)
PAIRS: Mapping[str, deribit.PairRules] = {**deribit.PARAMETERS, "other": OTHER_PAIR}
CURRENCIES: Mapping[str, deribit.CurrencyRules] = {**deribit.CURRENCIES, "other": OTHER_CURRENCY}


@dataclass(frozen=True, eq=False)
class _Group:
    """The contracts `own` (N,) of one underlying that settle in its `coin`, or in USD; `price` is the underlying's."""

    pair: deribit.PairRules
    settled: deribit.CurrencyRules
    own: NDArray[np.bool_]
    coin: bool
    price: float

    @property
    def index(self) -> float | None:
        """USD price of a coin that gains are counted in, None where they are in USD."""
        return self.price if self.coin else None

    @property
    def worth(self) -> float:
        """USD price of the unit that gains are counted in."""
        return self.price if self.coin else 1.0


class DeribitPortfolioMargin(MarginModel):
    """Deribit's extended risk matrix: worst of 35 scenarios, roll shock and delta shock, all currencies as one account.

    Each underlying makes a vector of gains in its coin, from coin-settled contracts, and one in USD, from linear ones;
    gains in one offset losses in another only by the currency's share. Spot is a linear position without a roll shock
    (the venue itself charges collateral a haircut instead). A linear pair has the rules of its underlying's. The
    delta shock is third-party code and unconfirmed. No open orders, no market-maker protection. Gains of extended
    scenarios shrink by USD amounts and large deltas are charged more, so that a book of `account_size` posts other than
    its share of a larger one's margin.

    Parameters
    ----------
    pairs : rules of each underlying ("BTC_USD") and of any "other", for which the venue's were not read.
    currencies : rules of each settlement currency, of "USD", and of any "other".
    account_size : USD that one unit of gross notional stands for.

    Raises
    ------
    ParameterError
        From `requirement`, for an account size <= 0, or pairs of different numbers of scenarios.
    """

    def __init__(
        self,
        pairs: Mapping[str, deribit.PairRules] = PAIRS,
        currencies: Mapping[str, deribit.CurrencyRules] = CURRENCIES,
        account_size: float = 1e6,
    ) -> None:
        self.pairs = pairs
        self.currencies = currencies
        self.account_size = account_size

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Worst loss, roll shock and delta shock; maintenance and the worst scenario from the same risk matrix."""
        state, size, rules = past.now, account_size(self.account_size), self._rules(past.now)
        price = prices(book.listing, state)
        unit = unit_gains(book, state, rules, price)
        delta = _deltas(book, state, price)
        shape = (len(book.portfolios), unit.shape[1])
        vector, roll, shock = np.zeros(shape), np.zeros(shape[0]), np.zeros(shape[0])
        for group in self._groups(book.listing, state, rules):
            quantity = book.quantity[:, group.own]
            gains = size * np.asarray(quantity @ unit[group.own])
            vector += group.worth * deribit.risk_vector(gains, group.pair, group.settled, group.index)
            net = size * np.asarray(quantity @ delta[group.own])
            shock += group.price * deribit.delta_shock(net, group.price, group.pair)
            roll += size * group.price * _roll(book, state, group, delta)
        told = deribit.portfolio_margin(vector, roll, shock, maintenance=max(rule.maintenance for rule in rules))
        parts = {"risk matrix": told.worst, "roll shock": roll, "delta shock": shock}
        worst = worst_of(_names(rules), told.scenario - 1, told.worst)
        return requirement(book, state, parts, told.maintenance, worst, size)

    def _rules(self, state: MarketState) -> list[deribit.PairRules]:
        return [known_or_other(self.pairs, f"{name}_USD") for name in state.underlyings]

    def _groups(self, listing: Listing, state: MarketState, rules: list[deribit.PairRules]) -> list[_Group]:
        """One an underlying and kind of settlement that is listed."""
        column, index = listing.columns(state.underlyings), index_prices(state)
        groups = []
        for a, name in enumerate(state.underlyings):
            for coin in (False, True):
                own = (column == a) & (listing.inverse == coin)
                settled = known_or_other(self.currencies, name if coin else "USD")
                if own.any():
                    groups.append(_Group(rules[a], settled, own, coin, float(index[a])))
        return groups


def unit_gains(book: Book, state: MarketState, rules: list[deribit.PairRules], price: Floats) -> Floats:
    """Gain of one contract of each instrument in each scenario of its pair, (N, S), in its settlement currency.

    Each is repriced once, whoever holds it; `price` (N,) is USD a unit. DataError where something held has no price,
    ParameterError for grids of different sizes.
    """
    scenarios = _scenarios(rules)
    listing, column = book.listing, book.listing.columns(state.underlyings)
    unit = np.zeros((len(book.instruments), len(scenarios)))
    terms = [VolTerm(rule.short_power, rule.long_power, 0.0, rule.least_vol_up) for rule in rules]
    for term in dict.fromkeys(terms):
        own = np.array([other == term for other in terms])[column]
        unit[own] = instrument_pnl(listing, in_dollars(state), replace(scenarios, term=term))[own]
    index = index_prices(state)[column]
    unit, move = book.known(unit, state), scenarios.spot.T[column]
    coin = listing.inverse
    unit[coin] = _in_coin(
        unit[coin], move[coin], index[coin], price[coin], listing.multiplier[coin], listing.option[coin]
    )
    unit[state.spot[column] == 0] = 0.0  # nothing moves what is written on a worthless coin
    return unit


def _in_coin(
    gain: Floats, move: Floats, index: Floats, price: Floats, multiplier: Floats, option: NDArray[np.bool_]
) -> Floats:
    """USD gains (M, S) of coin-settled contracts in coin, (M, S): an option's mark is itself in coin, and a future's
    face is worth face over the future's own price; all else (M,), moves (M, S).
    """
    value = np.where(option, np.nan_to_num(price) * multiplier, 0.0)[:, None]
    return (gain + value) / (index[:, None] * (1.0 + move)) - value / index[:, None]


def _scenarios(rules: list[deribit.PairRules]) -> Scenarios:
    """Each underlying's grid in a column of its own."""
    grids = [deribit.grid(rule) for rule in rules]
    if len({grid.move.size for grid in grids}) > 1:
        raise ParameterError(f"pairs of one account need as many buckets, got {[rule.buckets for rule in rules]}")
    spot = np.stack([grid.move for grid in grids], axis=1)
    up = np.array([rule.vol_up for rule in rules])
    down = np.array([rule.vol_down for rule in rules])
    way = grids[0].direction[:, None]
    vol = np.where(way == deribit.UP, up, np.where(way == deribit.DOWN, -down, 0.0))
    return Scenarios(spot, vol, _names(rules))


def _names(rules: list[deribit.PairRules]) -> tuple[str, ...]:
    """Scenarios by their move where all underlyings share it, else by its share of the price range."""
    first = deribit.grid(rules[0])
    if len({rule.price_range for rule in rules}) == 1:
        return first.names
    inner = [f"{move / rules[0].price_range:+.2f} of the price range" for move in first.move[~first.extended]]
    words = [*inner, *(f"price {move:+.0%}" for move in first.move[first.extended])]
    return tuple(f"{w}, {name.partition(', ')[2]}" for w, name in zip(words, first.names, strict=True))


def _deltas(book: Book, state: MarketState, price: Floats) -> Floats:
    """Coins of delta of one contract, (N,): USD gained per relative move over the price of what moves."""
    spot = index_prices(state)[book.listing.columns(state.underlyings)]
    moving = np.where(book.listing.option | book.listing.inverse | ~(price > 0), spot, price)
    return np.asarray(book.known(sensitivities(book.listing, state), state) / moving)


def _roll(book: Book, state: MarketState, group: _Group, delta: Floats) -> Floats:
    """Roll shock in coins, (P,), from coins of delta a contract (N,); a perpetual expires now, spot never."""
    listing = book.listing
    dated = ~np.isnat(listing.expiry)
    own = group.own & (listing.perpetual | dated)
    years = np.where(dated, np.maximum(listing.tenor(state.time), 0.0), 0.0)[own]
    tenors, place = np.unique(years, return_inverse=True)
    onto = delta[own, None] * (place[:, None] == np.arange(tenors.size))
    return deribit.roll_shock(np.asarray(book.quantity[:, own] @ onto), tenors, group.settled)
