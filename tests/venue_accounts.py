"""What would each venue's own function ask of one account, position by position?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from data import Book, Coverage, Floats, Instrument, MarketState
from data.curves import discount, forward_ratio
from data.pricing import black76, greeks
from data.surface import implied_volatility
from margin_models.venues import (
    aevo,
    aevo_model,
    deribit,
    derive_model,
    derive_pmrm,
    derive_pmrm2,
    derive_srm,
    drift,
    drift_model,
    dydx,
    okx,
    paradex,
    synthetix,
    synthetix_model,
    vega,
    vega_model,
)
from margin_models.venues.derive_feeds import YEAR_SECONDS, Expiries, Market, Options
from margin_models.venues.derive_scan import ScanMargin
from markets import BTC, COIN, ETH, INVERSE, coins_with_options, option_on

HISTORY = coins_with_options()
NOW = HISTORY.now
COVERAGE = Coverage(0.98, "2D")
FUTURE = Instrument("BTC-DEC", "BTC", "future", expiry="2021-06-25T08:00")
COIN_FUTURE = Instrument("ETH-DEC", "ETH", "future", multiplier=10.0, settlement="inverse", expiry="2021-06-25T08:00")
ETHER = Instrument("ETH", "ETH", "spot")
ETHER_SWAP = Instrument("ETH-INV", "ETH", multiplier=10.0, settlement="inverse")


@dataclass(frozen=True)
class Leg:
    """One position, priced the long way round: `units` of the underlying, or `face` in USD where it settles in coin."""

    what: Instrument
    quantity: float
    spot: float
    forward: float
    tenor: float
    volatility: float
    rate: float

    @property
    def strike(self) -> float:
        return np.nan if self.what.strike is None else self.what.strike

    @property
    def inverse(self) -> bool:
        return self.what.settlement == "inverse"

    @property
    def units(self) -> float:
        """Signed units of the underlying; of a coin-settled contract, coins of its face at its own price."""
        size = self.quantity * self.what.multiplier
        return size / self.forward if self.inverse and self.what.kind != "option" else size

    @property
    def notional(self) -> float:
        """Signed USD, of an option that of its underlying."""
        return self.units * (self.spot if self.what.kind == "option" else self.forward)

    @property
    def exposure(self) -> float:
        """USD gained per relative move of spot by what is linear: a coin-settled face gains coin, worth spot."""
        return self.units * self.spot if self.inverse else self.notional

    @property
    def worth(self) -> float:
        """What one USD at expiry is worth now, of one coin that expiry brings, in USD of now."""
        return self.spot / self.forward if self.inverse else float(np.exp(-self.rate * self.tenor))

    def black(self, move: Any = 0.0, volatility: Any = None) -> Any:
        deviation = (self.volatility if volatility is None else volatility) * np.sqrt(self.tenor)
        return black76(self.forward * (1.0 + np.asarray(move)), self.strike, deviation, self.what.right == "call")

    @property
    def premium(self) -> float:
        """USD, signed, 0 where it is no option."""
        return self.units * self.worth * float(self.black()) if self.what.kind == "option" else 0.0

    def usd_gain(self, move: Floats, volatility: Floats) -> Floats:
        if self.what.kind == "option":
            moved = self.black(move, volatility)
            return np.asarray(self.units * self.worth * (moved - self.black()))
        return np.asarray(self.exposure * move)

    @property
    def delta(self) -> float:
        """Units of the underlying."""
        if self.what.kind != "option":
            return self.exposure / self.spot
        call = np.array(self.what.right == "call")
        told = greeks(self.forward, self.strike, self.volatility, self.tenor, call, self.worth)
        return float(self.units * told.delta * self.forward / self.spot)


def random_book(seed: int, portfolios: int = 7) -> Book:
    """Options of three expiries on both coins, a future of each settlement, perpetuals and coins; the last is empty."""
    rng = np.random.default_rng(seed)
    listed = [BTC, ETH, COIN, INVERSE, ETHER, ETHER_SWAP, FUTURE, COIN_FUTURE]
    for _ in range(14):
        coin, right = rng.choice(["BTC", "ETH"]), rng.choice(["call", "put"])
        listed.append(option_on(NOW, str(coin), right, float(rng.uniform(0.7, 1.4)), int(rng.choice([3, 35, 60]))))
    instruments = tuple(dict.fromkeys(listed))
    quantity = rng.standard_normal((portfolios, len(instruments))) * (rng.random((portfolios, len(instruments))) < 0.4)
    quantity[-1] = 0.0
    names = tuple(f"book {p}" for p in range(portfolios))
    return Book(instruments, names, quantity).at(NOW)


def legs(book: Book, row: int, state: MarketState = NOW) -> Iterator[Leg]:
    """The positions of one portfolio."""
    assert isinstance(book.quantity, np.ndarray)
    assert state.curve is not None
    assert state.surface is not None
    for what, quantity in zip(book.instruments, book.quantity[row], strict=True):
        if quantity:
            a = state.underlyings.index(what.underlying)
            spot, tenor, volatility, rate = float(state.spot[a]), 0.0, 0.0, 0.0
            forward = spot
            if what.expiry is not None:
                days = (np.datetime64(what.expiry) - state.time) / np.timedelta64(1, "s") / 86_400
                tenor = float(days / what.day_count)
                forward = spot * float(forward_ratio(state.curve[a], np.array([tenor]))[0])
                rate = -float(np.log(discount(state.curve[a], np.array([tenor]))[0])) / tenor
            if what.strike is not None:
                k = np.log(np.array([what.strike]) / forward)
                volatility = float(implied_volatility(state.surface[a], k, np.array([tenor]))[0])
            yield Leg(what, float(quantity), spot, forward, tenor, volatility, rate)


def each_underlying(book: Book, row: int) -> Iterator[tuple[int, list[Leg]]]:
    mine = list(legs(book, row))
    for a, name in enumerate(NOW.underlyings):
        yield a, [leg for leg in mine if leg.what.underlying == name]


Pair = tuple[float, float]


def plain_deribit(book: Book, row: int, size: float = 1e6) -> Pair:
    vector, roll, shock = np.zeros(35), 0.0, 0.0
    for a, mine in each_underlying(book, row):
        name, spot = NOW.underlyings[a], float(NOW.spot[a])
        rules = deribit.pair(f"{name}_USD")
        grid = deribit.grid(rules)
        for coin in (False, True):
            settled = deribit.currency(name if coin else "USD")
            gains, net, tenors = np.zeros(35), 0.0, dict[float, float]()
            for leg in mine:
                if leg.inverse != coin:
                    continue
                q = size * leg.units
                if leg.what.kind == "option":
                    shocked = deribit.shocked_volatility([leg.volatility], [365.25 * leg.tenor], rules)[0]
                    moved = leg.black(grid.move, shocked)
                    then = leg.forward * (1 + grid.move) if coin else 1.0 / leg.worth
                    gains += q * (moved / then - leg.black() / (leg.forward if coin else 1.0 / leg.worth))
                    coins = size * leg.delta
                elif coin:
                    gains += deribit.inverse_pnl(np.array(q), grid.move)
                    coins = q
                else:
                    gains += deribit.linear_pnl(np.array(q), leg.forward, grid.move)
                    coins = q
                net += coins
                if leg.what.kind != "spot":
                    tenors[leg.tenor] = tenors.get(leg.tenor, 0.0) + coins
            unit = spot if coin else 1.0
            vector += unit * deribit.risk_vector(gains, rules, settled, spot if coin else None)
            shock += spot * float(deribit.delta_shock(net, spot, rules))
            if tenors:
                roll += spot * deribit.roll_shock([list(tenors.values())], list(tenors), settled)[0]
    told = deribit.portfolio_margin(vector, roll, shock)
    return told.initial[0] / size, told.maintenance[0] / size


def plain_paradex(book: Book, row: int, rules: paradex.PortfolioRules = paradex.PARAMETERS["portfolio margin"]) -> Pair:
    total = np.zeros(2)
    for a, mine in each_underlying(book, row):
        gains = np.zeros((1, len(paradex.spot_moves())))
        for leg in mine:
            shocked = paradex.shocked_volatility([leg.volatility], [365.25 * leg.tenor])[0]
            gains += leg.usd_gain(paradex.spot_moves(), shocked)
        least = paradex.delta_margin([leg.delta for leg in mine] or [0.0], NOW.spot[a], rules).margin
        told = paradex.margins(paradex.scan_risk(gains)[0], least, rules=rules)
        total += told.initial[0], told.maintenance[0]
    return total[0], total[1]


def plain_okx(book: Book, row: int) -> Pair:
    total = np.zeros(2)
    for _, mine in each_underlying(book, row):
        unit = okx.risk_unit("BTC, ETH")
        risk = [
            okx.scan_risk([sum((leg.usd_gain(moves, np.array(leg.volatility)) for leg in mine), np.zeros(len(moves)))])
            for moves in (okx.spot_moves(unit), okx.extreme_moves(unit))
        ]
        told = okx.margins(okx.Charges(spot_shock=risk[0], extreme_move=risk[1]))
        total += told.initial[0], told.maintenance[0]
    return total[0], total[1]


def plain_aevo(book: Book, row: int) -> Pair:
    rule, total = aevo_model.PARAMETERS["perpetual"], np.zeros(2)
    for _, mine in each_underlying(book, row):
        linear = abs(sum(leg.exposure for leg in mine if leg.what.kind != "option"))
        total += np.array([rule.initial, rule.maintenance]) * linear
        for leg in mine:
            if leg.what.kind == "option":
                mark, call = leg.premium / leg.units, leg.what.right == "call"
                told = aevo.short_option_margin(leg.units, leg.spot, leg.strike, call, mark)
                # Cash and marks apart: the venue takes no value from an option held, and counts the mark of one sold.
                total += leg.premium + np.array([told.initial, told.maintenance])
    return total[0], total[1]


def markets_of(mine: list[Leg]) -> list[float]:
    """USD notionals that a venue of perpetuals sees: the net of all that is linear, and each option."""
    linear = sum(leg.notional for leg in mine if leg.what.kind != "option")
    return [linear, *(leg.notional for leg in mine if leg.what.kind == "option")]


def plain_dydx(book: Book, row: int, size: float = 1e9) -> Pair:
    initial = maintenance = 0
    for _, mine in each_underlying(book, row):
        for notional in markets_of(mine):
            quantums = round(abs(notional) * size * 1e6)
            initial += dydx.initial_margin(quantums, 0, dydx.tier("large"))
            maintenance += dydx.maintenance_margin(quantums, dydx.tier("large"))
    return initial / size / 1e6, maintenance / size / 1e6


def plain_drift(book: Book, row: int, size: float = 1e9) -> Pair:
    initial = maintenance = 0
    for a, mine in each_underlying(book, row):
        rule = drift_model.PARAMETERS[NOW.underlyings[a]]
        for notional in markets_of(mine):
            value = round(abs(notional) * size * 1e6)
            units = round(abs(notional) * size / NOW.spot[a] * drift.SIZE_PRECISION)
            factor = round(rule.size_factor * drift.FACTOR_PRECISION)
            initial += drift.perpetual_margin(units, value, factor, round(rule.initial * drift.WEIGHT_PRECISION))
            maintenance += drift.perpetual_margin(
                units, value, factor, round(rule.maintenance * drift.WEIGHT_PRECISION)
            )
    return initial / size / 1e6, maintenance / size / 1e6


def plain_synthetix(book: Book, row: int, size: float = 1e6) -> Pair:
    total = np.zeros(2)
    for a, mine in each_underlying(book, row):
        held = np.array(markets_of(mine)) * size / NOW.spot[a]
        told = synthetix.margins(held, NOW.spot[a], synthetix_model.PARAMETERS[NOW.underlyings[a]].market)
        total += told.initial.sum() / size, told.maintenance.sum() / size
    return total[0], total[1]


def plain_vega(book: Book, row: int) -> Pair:
    rules, total = vega_model.PARAMETERS["test market"], 0.0
    returns = HISTORY.returns(COVERAGE)
    for a, mine in each_underlying(book, row):
        sigma = np.nanstd(returns[:, a], ddof=1) / np.sqrt(COVERAGE.years)
        factors = vega.risk_factors(rules.tail, rules.tau, 0.0, sigma)
        for notional in markets_of(mine):
            share = float(factors.long if notional > 0 else factors.short)
            total += abs(notional) * (rules.slippage + share)
    levels = vega.margin_levels(total, rules.levels)
    return float(levels["initial"]), float(levels["maintenance"])


def derive_inputs(mine: list[Leg]) -> tuple[Expiries, Options, Floats, float, float]:
    """Feeds and holdings of one account in one underlying, each option with an expiry of its own list."""
    options = [leg for leg in mine if leg.what.kind == "option"]
    dates = sorted({leg.what.expiry or "" for leg in options})
    one = {leg.what.expiry: leg for leg in options}
    seconds = np.array([(np.datetime64(d) - NOW.time) / np.timedelta64(1, "s") for d in dates], dtype=np.float64)
    forward = np.array([one[d].forward for d in dates], dtype=np.float64)
    rate = np.array([one[d].rate * one[d].tenor for d in dates]) / (seconds / YEAR_SECONDS)
    expiries = Expiries(seconds, forward, 0.0 * forward, rate, np.ones(len(dates)))
    strike = np.array([leg.strike for leg in options], dtype=np.float64)
    place = np.array([dates.index(leg.what.expiry or "") for leg in options], dtype=np.intp)
    tenor = np.array([leg.tenor for leg in options], dtype=np.float64)
    volatility = np.array([leg.volatility for leg in options]) * np.sqrt(tenor / (seconds / YEAR_SECONDS)[place])
    call = np.array([leg.what.right == "call" for leg in options], dtype=bool)
    listed = Options(place, strike, call, volatility, np.ones(len(options)))
    coin = sum(leg.units for leg in mine if leg.what.kind == "spot")
    linear = sum(leg.notional / leg.spot for leg in mine if leg.what.kind in ("perpetual", "future"))
    quantity = np.array([leg.units for leg in options], dtype=np.float64)
    return expiries, listed, quantity, linear + min(coin, 0.0), max(coin, 0.0)


def portfolio_derive(book: Book, row: int, ask: Callable[[float, Any], ScanMargin]) -> Pair:
    total = np.zeros(2)
    for a, mine in each_underlying(book, row):
        told = ask(float(NOW.spot[a]), derive_inputs(mine))
        total += float(told.mark_to_market - told.initial), float(told.mark_to_market - told.maintenance)
    return total[0], total[1]


def plain_pmrm2(book: Book, row: int) -> Pair:
    def ask(spot: float, given: Any) -> ScanMargin:
        expiries, options, quantity, perpetual, coin = given
        collateral = derive_pmrm2.Collaterals(
            np.array([spot]), np.ones(1), np.array([0.015]), np.array([0.005]), np.array([True])
        )
        market = derive_pmrm2.CollateralMarket(spot, 1.0, 1.0, spot, 1.0, expiries, options, collateral)
        # Cash is what it may: it counts in the net margin and in the mark to market alike.
        held = derive_pmrm2.Holdings(np.array(7.0), quantity, np.array(perpetual), np.array(-3.0), np.array([coin]))
        return derive_pmrm2.margins(held, market, derive_model.PMRM2["BTC"])

    return portfolio_derive(book, row, ask)


def plain_pmrm(book: Book, row: int) -> Pair:
    def ask(spot: float, given: Any) -> ScanMargin:
        expiries, options, quantity, perpetual, coin = given
        market = Market(spot, 1.0, 1.0, spot, 1.0, expiries, options)
        held = derive_pmrm.Holdings(np.array(7.0), quantity, np.array(perpetual), np.array(-3.0), np.array(coin))
        return derive_pmrm.margins(held, market, derive_model.PMRM["BTC"])

    return portfolio_derive(book, row, ask)


def plain_srm(book: Book, row: int) -> Pair:
    currencies = {}
    for a, mine in each_underlying(book, row):
        name, spot = NOW.underlyings[a], float(NOW.spot[a])
        expiries, options, quantity, perpetual, coin = derive_inputs(mine)
        market = derive_srm.Market(spot, 1.0, spot, 1.0, expiries, options)
        held = derive_srm.Holdings(quantity, np.array(perpetual), np.array(-3.0), np.array(coin))
        currencies[name] = derive_srm.currency_margin(held, market, 1.0, derive_model.SRM[name])
    told = derive_srm.margins(np.array(11.0), currencies)
    return float(told.mark_to_market - told.initial), float(told.mark_to_market - told.maintenance)
