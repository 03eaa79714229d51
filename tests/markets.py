"""The markets and books that tests share."""

import numpy as np
import pandas as pd

from data import Book, BookRecipe, Instrument, MarketHistory

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
