"""What does Deribit's portfolio margin ask (the extended risk matrix)?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data import DataError, Floats
from margin_models.venues.checks import finite, named, not_negative, parameter, positive
from margin_models.venues.provenance import Provenance

THIRTY_DAYS = 30.0
TAILS = (-0.66, -0.33, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
UP, UNCHANGED, DOWN = 1, 0, -1


@dataclass(frozen=True)
class PairRules:
    """What depends on the underlying.

    Parameters
    ----------
    price_range : largest relative move of the standard grid, both ways, in `buckets` steps a side.
    vol_up, vol_down : relative change of 30-day implied volatility.
    least_vol_up : implied volatility when it is shocked up is at least this.
    delta_threshold : USD of net delta above which the delta shock begins.
    delta_increment : what each coin above the threshold adds to its rate.
    most_delta_shock : highest rate of the delta shock.
    provenance : where they are from.
    short_power, long_power : exponent of 30 / days to expiry below 30 days, and above.
    extended_factor : multiplies the weights of the extended grid.
    maintenance : maintenance margin over risk-matrix margin.
    buckets : price moves a side.
    """

    price_range: float
    vol_up: float
    vol_down: float
    least_vol_up: float
    delta_threshold: float
    delta_increment: float
    most_delta_shock: float
    provenance: Provenance
    short_power: float = 0.30
    long_power: float = 0.13
    extended_factor: float = 1.0
    maintenance: float = 0.8
    buckets: int = 4

    def __post_init__(self) -> None:
        for name in ("vol_down", "most_delta_shock", "short_power", "long_power", "maintenance"):
            parameter(name, getattr(self, name), 0.0, 1.0)
        for name in ("vol_up", "least_vol_up", "delta_threshold", "delta_increment", "extended_factor"):
            parameter(name, getattr(self, name), 0.0)
        parameter("price_range", self.price_range, 1e-6, 0.33)
        parameter("buckets", self.buckets, 1)


@dataclass(frozen=True)
class CurrencyRules:
    """What depends on the settlement currency.

    Parameters
    ----------
    dampener : USD by which the extended grid's gains and losses shrink per price range beyond the first.
    annualised_move, least_move : move of a future's basis in a year, and at least.
    pnl_offset : share of a gain that may offset losses elsewhere.
    most_offset : USD of gain that may offset losses elsewhere, at most (0 with an offset of 0).
    provenance : where they are from.
    """

    dampener: float
    annualised_move: float
    least_move: float
    pnl_offset: float
    most_offset: float
    provenance: Provenance

    def __post_init__(self) -> None:
        for name in ("annualised_move", "least_move", "pnl_offset"):
            parameter(name, getattr(self, name), 0.0, 1.0)
        parameter("dampener", self.dampener, 0.0)
        parameter("most_offset", self.most_offset, 0.0)


_JUNE = Provenance("V", "docs.deribit.com, private/pme/simulate, response example (futures)", "2024-06-17")
_FEBRUARY = Provenance("V", "a recorded private/pme/simulate response (futures)", "2026-02-15")
PARAMETERS: Mapping[str, PairRules] = {
    "BTC_USD": PairRules(0.16, 0.50, 0.25, 0.50, 20e6, 0.00005, 0.10, _JUNE),
    "ETH_USD": PairRules(0.18, 0.40, 0.25, 0.50, 20e6, 0.000004, 0.10, _FEBRUARY),
}
CURRENCIES: Mapping[str, CurrencyRules] = {
    "BTC": CurrencyRules(100_000.0, 0.075, 0.01, 0.0, 0.0, _JUNE),
    "ETH": CurrencyRules(200_000.0, 0.05, 0.005, 0.6, 20e6, _FEBRUARY),
    "USD": CurrencyRules(25_000.0, 0.10, 0.01, 0.4, 1e6, Provenance("S", _FEBRUARY.source, _FEBRUARY.date)),
}
_THIRD_PARTY = Provenance("3P", "third-party re-implementations of the margin page")
FORMULAS: Mapping[str, Provenance] = {
    "pair": _JUNE,
    "currency": _JUNE,
    "grid": _JUNE,
    "shocked_volatility": Provenance("S", "support.deribit.com, Portfolio Margin"),
    "inverse_pnl": _JUNE,
    "linear_pnl": Provenance("S", "support.deribit.com, Portfolio Margin"),
    "weighted": _THIRD_PARTY,
    "dampened": _THIRD_PARTY,
    "offset": _FEBRUARY,
    "risk_vector": _THIRD_PARTY,
    # The published examples are all at the least move: exp(a T) - 1 cannot be told from a T.
    "roll_shock": _JUNE,
    "delta_shock": _THIRD_PARTY,
    "portfolio_margin": _JUNE,
}


@dataclass(frozen=True)
class Grid:
    """The scenarios, (S,): relative `move` of price, `direction` of volatility (1 up, -1 down), `extended` or not."""

    move: Floats
    direction: NDArray[np.intp]
    extended: NDArray[np.bool_]

    @property
    def names(self) -> tuple[str, ...]:
        """How a report calls each scenario."""
        word = {UP: "up", UNCHANGED: "unchanged", DOWN: "down"}
        return tuple(
            f"price {m:+.0%}, volatility {word[int(d)]}" for m, d in zip(self.move, self.direction, strict=True)
        )


@dataclass(frozen=True)
class PortfolioMargin:
    """The parts and the sum, (P,) each in the unit of the risk vectors; `scenario` (from 1) is the worst one."""

    worst: Floats
    scenario: NDArray[np.intp]
    risk_matrix: Floats
    initial: Floats
    maintenance: Floats


def pair(name: str) -> PairRules:
    """The rules of this underlying; ParameterError for one that is not known."""
    return named(PARAMETERS, name)


def currency(name: str) -> CurrencyRules:
    """The rules of this settlement currency; ParameterError for one that is not known."""
    return named(CURRENCIES, name)


def grid(rules: PairRules) -> Grid:
    """The standard scenarios by rising price, volatility up, unchanged and down in each, then the extended ones.

    >>> grid(pair("BTC_USD")).move.size
    35
    """
    steps = np.arange(-rules.buckets, rules.buckets + 1) * (rules.price_range / rules.buckets)
    directions = (UP, UNCHANGED, DOWN)
    return Grid(
        np.concatenate([np.repeat(steps, len(directions)), TAILS]),
        np.array([*directions * steps.size, *[UP] * len(TAILS)], dtype=np.intp),
        np.arange(steps.size * len(directions) + len(TAILS)) >= steps.size * len(directions),
    )


def shocked_volatility(volatility: ArrayLike, days: ArrayLike, rules: PairRules) -> Floats:
    """Implied volatility of each instrument in each scenario, (N, S), from volatility and days to expiry (N,).

    Up max(s (1 + up (30 / days)^p), least), down max(s (1 - down (30 / days)^p), 0), p = 0.30 below 30 days and 0.13
    above. DataError for a volatility < 0, days <= 0 (the page gives no floor on days), or NaN.
    """
    level, tenor = np.atleast_1d(not_negative("volatility", volatility)), np.atleast_1d(positive("days", days))
    scale = (THIRTY_DAYS / tenor) ** np.where(tenor < THIRTY_DAYS, rules.short_power, rules.long_power)
    up = np.maximum(level * (1.0 + rules.vol_up * scale), rules.least_vol_up)
    down = np.maximum(level * (1.0 - rules.vol_down * scale), 0.0)
    return np.stack([level + 0.0 * scale, up, down], axis=1)[:, grid(rules).direction]


def inverse_pnl(quantity: ArrayLike, move: ArrayLike) -> Floats:
    """Gain in coin, (..., S), of coin-settled futures of `quantity` coins (...,) at moves (S,): q (1 - 1 / (1 + m)).

    DataError for a move of -100 % or less, or NaN.
    """
    shift = positive("1 + move", 1.0 + finite("move", move)) - 1.0
    return np.asarray(finite("quantity", quantity)[..., None] * (1.0 - 1.0 / (1.0 + shift)))


def linear_pnl(quantity: ArrayLike, price: ArrayLike, move: ArrayLike) -> Floats:
    """Gain in USDC, (..., S), of linear futures of `quantity` coins (...,) at moves (S,): q price m."""
    notional = finite("quantity", quantity) * positive("price", price)
    return np.asarray(notional[..., None] * finite("move", move))


def weighted(pnl: ArrayLike, rules: PairRules, index: float | None) -> Floats:
    """Gains (..., S) with the extended scenarios at factor * range / |move|, same shape.

    `index` is the USD price of the coin that gains are in (None where they are in USD): a gain in coin is weighted by
    its dollar value and turned back into coin at the end of the price range, so that a future's is what it is there.
    """
    gains, scenarios = _gains(pnl, rules), grid(rules)
    move = np.where(scenarios.extended, scenarios.move, 1.0)
    weight = rules.extended_factor * rules.price_range / np.abs(move)
    worth = 1.0 if index is None else (1.0 + move) / (1.0 + np.sign(move) * rules.price_range)
    return np.asarray(gains * np.where(scenarios.extended, weight * worth, 1.0))


def dampened(pnl: ArrayLike, rules: PairRules, dampener: float, index: float | None) -> Floats:
    """Weighted gains (..., S) with those of the extended scenarios brought closer to 0, same shape.

    By (|move| / range - 1) dampener USD, at most all of it. `index` as in `weighted`.
    """
    gains, scenarios = _gains(pnl, rules), grid(rules)
    ranges = np.maximum(np.abs(scenarios.move) / rules.price_range - 1.0, 0.0) * scenarios.extended
    worth = 1.0 if index is None else _price(index) * (1.0 + np.sign(scenarios.move) * rules.price_range)
    amount = np.minimum(ranges * dampener / worth, np.abs(gains))
    return np.asarray(gains - np.sign(gains) * amount)


def offset(pnl: ArrayLike, rules: CurrencyRules, index: float | None) -> Floats:
    """Gains, any shape, cut to the share (and the USD) that may offset losses elsewhere; losses stay whole."""
    each = finite("pnl", pnl)
    most = rules.most_offset / (1.0 if index is None else _price(index))
    return np.asarray(np.where(each > 0, np.minimum(rules.pnl_offset * each, most), each))


def risk_vector(pnl: ArrayLike, rules: PairRules, settled: CurrencyRules, index: float | None = None) -> Floats:
    """What one currency pair brings to each scenario, (P, S), from unweighted gains (P, S) in the settlement currency.

    Vectors of several pairs, in one unit, add up scenario by scenario to what `portfolio_margin` takes.
    """
    shrunk = dampened(weighted(pnl, rules, index), rules, settled.dampener, index)
    return offset(shrunk, settled, index)


def roll_shock(net_delta: ArrayLike, years: ArrayLike, rules: CurrencyRules) -> Floats:
    """Charge of each book for its basis, (P,), in the unit of net delta by expiry (P, E); a perpetual has 0 years.

    sum |net delta| max(least move, exp(annualised T) - 1). DataError for years < 0 or NaN.
    """
    delta = np.atleast_2d(finite("net delta", net_delta))
    move = np.maximum(np.expm1(rules.annualised_move * not_negative("years", years)), rules.least_move)
    return np.asarray((np.abs(delta) * move).sum(axis=1))


def delta_shock(net_delta: ArrayLike, index: float, rules: PairRules) -> Floats:
    """Charge of each book for a large net delta, (P,), in coin, from coins of net delta (P,). Not verified.

    |delta| min(increment * (|delta| - threshold / index), most), 0 below the threshold: third-party code, and no
    published example has a delta above it.
    """
    delta = np.abs(finite("net delta", net_delta))
    excess = np.maximum(delta - rules.delta_threshold / _price(index), 0.0)
    return np.asarray(delta * np.minimum(rules.delta_increment * excess, rules.most_delta_shock))


def portfolio_margin(
    vector: ArrayLike,
    roll: ArrayLike = 0.0,
    delta: ArrayLike = 0.0,
    market_maker: ArrayLike = 0.0,
    open_orders: ArrayLike = 0.0,
    maintenance: float = 0.8,
) -> PortfolioMargin:
    """Margins of each book from its risk vector (P, S) and charges (P,), all in one unit.

    Risk matrix = worst loss + roll shock + delta shock; initial adds the margin of market-maker protection and of open
    orders; maintenance is `maintenance` times the risk matrix alone. DataError for a negative charge or NaN.
    """
    gains = np.atleast_2d(finite("risk vector", vector))
    worst = np.maximum(-gains.min(axis=1), 0.0)
    matrix = worst + not_negative("roll shock", roll) + not_negative("delta shock", delta)
    orders = not_negative("market-maker margin", market_maker) + not_negative("open-orders margin", open_orders)
    parameter("maintenance", maintenance, 0.0, 1.0)
    return PortfolioMargin(
        worst, gains.argmin(axis=1) + 1, matrix, np.asarray(matrix + orders), np.asarray(maintenance * matrix)
    )


def _gains(pnl: ArrayLike, rules: PairRules) -> Floats:
    gains, count = finite("pnl", pnl), grid(rules).move.size
    if gains.ndim == 0 or gains.shape[-1] != count:
        raise DataError(f"gains must be (..., {count}), one column a scenario, got {gains.shape}")
    return gains


def _price(index: float) -> float:
    return float(positive("index", index))
