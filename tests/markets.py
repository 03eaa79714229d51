"""The markets and books that tests share."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from data import Book, BookRecipe, Floats, Instrument, MarketHistory, MarketState

BTC = Instrument("BTC-PERP", "BTC")
ETH = Instrument("ETH-PERP", "ETH", multiplier=0.1)
COIN = Instrument("BTC", "BTC", "spot")
INVERSE = Instrument("BTC-INV", "BTC", multiplier=100.0, settlement="inverse")


def market(returns: list[float], start: float = 100.0) -> MarketHistory:
    """One underlying X, daily, from simple returns."""
    spot = start * np.cumprod([1.0, *(1.0 + r for r in returns)])
    return MarketHistory.from_frame(pd.DataFrame({"X": spot}, index=pd.date_range("2024-01-01", periods=len(spot))))


def book_of(*quantity: float) -> Book:
    """One portfolio a quantity, of the perpetual on X."""
    names = tuple(f"{q:+g}" for q in quantity)
    return Book((Instrument("X-PERP", "X"),), names, np.array(quantity)[:, None])


def two_coins(rows: int = 420, seed: int = 7) -> MarketHistory:
    """BTC and ETH, daily, correlated and normal, with highs, lows, volume, funding and one missing day."""
    rng = np.random.default_rng(seed)
    moves = rng.multivariate_normal([0, 0], [[4e-4, 3e-4], [3e-4, 6e-4]], size=rows)
    days = pd.date_range("2020-01-01", periods=rows)
    closes = pd.DataFrame(np.array([3e4, 2e3]) * np.exp(moves.cumsum(0)), index=days, columns=["BTC", "ETH"])
    high = closes * (1 + 0.01 * rng.random(closes.shape))
    low = closes * (1 - 0.01 * rng.random(closes.shape))
    volume = pd.DataFrame(rng.gamma(5.0, 10.0, closes.shape), index=days, columns=closes.columns)
    funding = pd.DataFrame(1e-4, index=days, columns=closes.columns)
    closes, high, low, volume, funding = (panel.drop(days[200]) for panel in (closes, high, low, volume, funding))
    return MarketHistory.from_frame(closes, high=high, low=low, volume=volume, funding=funding)


def some_books() -> BookRecipe:
    """A long, a short, a pair, a carry, an inverse, and an empty portfolio."""
    held = {"long": {"BTC-PERP": 1}, "short": {"BTC-PERP": -1}, "pair": {"BTC-PERP": 1, "ETH-PERP": -1}}
    rest = {"carry": {"BTC": 1, "BTC-PERP": -1}, "coin": {"BTC-INV": 1, "ETH-PERP": 1}, "empty": {}}
    return BookRecipe.of((BTC, ETH, COIN, INVERSE), held | rest)


def coins_with_options(rows: int = 420, seed: int = 7) -> MarketHistory:
    """The two coins, with implied volatility of 50-95 % that wanders, mild smiles at 7, 30 and 180 days, and carry."""
    coins = two_coins(rows, seed)
    size, rng = len(coins), np.random.default_rng(seed + 1)
    drift = np.zeros((size, 2))
    for t, shock in enumerate(0.035 * rng.standard_normal((size - 1, 2))):
        drift[t + 1] = 0.9 * drift[t] + shock
    hole = np.isnan(coins.spot).any(axis=1)
    surfaces = np.stack([_mild_smile(np.array([0.65, 0.75]), drift, days) for days in (7, 30, 180)], axis=2)
    carry = 0.06 + 0.2 * drift[:, :, None] * np.array([0.2, 0.1]) + np.array([0.0, 0.01])
    tenors = np.broadcast_to(np.array([30.0, 180.0]) / 365.25, carry.shape)
    curves = np.stack([tenors, carry, np.full(carry.shape, 0.03)], axis=3)
    surfaces[hole], curves[hole] = np.nan, np.nan
    return replace(coins, surfaces=surfaces, curves=curves, implied="quotes")


def _mild_smile(level: Floats, drift: Floats, days: float) -> Floats:
    """(T, A, 7) SVI smiles: short tenors follow the drift of volatility more than long ones."""
    tenor = days / 365.25
    variance = (level * np.exp(drift * (30.0 / days) ** 0.2)) ** 2 * tenor
    smile = np.empty((*variance.shape, 7))
    smile[..., 0], smile[..., 1] = tenor, 0
    smile[..., 2], smile[..., 3] = 0.9 * variance, 0.1 * np.sqrt(variance)  # a, b
    smile[..., 4], smile[..., 5], smile[..., 6] = -0.2, 0.0, np.sqrt(variance)  # rho, m, s
    return smile


def option_on(
    state: MarketState, underlying: str, right: Literal["call", "put"], moneyness: float = 1.0, days: int = 35
) -> Instrument:
    """An option struck at a multiple of spot that expires at 08:00 `days` on; BTC pays in USD, ETH in coin."""
    spot = float(state.spot[state.underlyings.index(underlying)])
    expiry = str((state.time + np.timedelta64(days, "D")).astype("datetime64[D]"))
    strike = float(f"{moneyness * spot:.4g}")
    symbol = f"{underlying}-{expiry}-{strike:g}-{right[0].upper()}"
    settlement: Literal["linear", "inverse"] = "linear" if underlying == "BTC" else "inverse"
    return Instrument(
        symbol, underlying, "option", settlement=settlement, expiry=f"{expiry}T08:00", strike=strike, right=right
    )


def option_book(state: MarketState) -> Book:
    """The classic option portfolios, in contracts on one coin each, 35 (and for the far leg 60) days to expiry."""
    low, mid, high = (option_on(state, "BTC", "call", m) for m in (0.9, 1.0, 1.1))
    low_put, mid_put = (option_on(state, "BTC", "put", m) for m in (0.9, 1.0))
    far = option_on(state, "BTC", "call", days=60)
    deep_call, deep_put = option_on(state, "BTC", "call", 2.0), option_on(state, "BTC", "put", 0.4)
    eth_call, eth_put = option_on(state, "ETH", "call"), option_on(state, "ETH", "put")
    held: dict[str, dict[Instrument, float]] = {
        "long call": {mid: 1},
        "short put": {mid_put: -1},
        "straddle": {mid: 1, mid_put: 1},
        "short strangle": {high: -1, low_put: -1},
        "deep short strangle": {deep_call: -1, deep_put: -1},
        "covered call": {COIN: 1, high: -1},
        "butterfly": {low: 1, mid: -2, high: 1},
        "risk reversal": {high: 1, low_put: -1},
        "calendar": {mid: -1, far: 1},
        "synthetic forward": {mid: 1, mid_put: -1},
        "hedged short straddle": {mid: -1, mid_put: -1, BTC: 0.1},
        "coin straddle": {eth_call: 1, eth_put: 1},
        "short coin call": {eth_call: -1, ETH: 5},
        "volatility pair": {mid: 1, mid_put: 1, eth_call: -15, eth_put: -15},
        "empty": {},
    }
    instruments = tuple(dict.fromkeys(i for legs in held.values() for i in legs))
    quantity = np.array([[float(legs.get(i, 0.0)) for i in instruments] for legs in held.values()])
    return Book(instruments, tuple(held), quantity)
