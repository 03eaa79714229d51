"""What does the option chain of a user look like?"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.chain_market import ChainMarket, read_chain_market
from data.pricing import black76

TIME = "2026-01-05T04:00:00Z"
EXPIRIES = {"16JAN26": "2026-01-16T08:00:00Z", "27MAR26": "2026-03-27T08:00:00Z"}
SHARES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)  # strikes over spot
CARRY = 0.05


def years(expiry: str, time: str = TIME) -> float:
    return float((pd.Timestamp(expiry) - pd.Timestamp(time)) / pd.Timedelta(days=365.25))


def volatility(log_moneyness: Any) -> Any:
    """A smile that both expiries have in units of log-moneyness: higher for puts."""
    return 0.5 - 0.1 * log_moneyness


def chain_frame(
    underlying: str = "BTC", spot: float = 100_000.0, *, inverse: bool = True, time: str = TIME
) -> pd.DataFrame:
    """Calls and puts of two expiries, in coin where `inverse`, in the plain columns."""
    rows = []
    for day, expiry in EXPIRIES.items():
        tenor = years(expiry, time)
        if tenor <= 0:
            continue
        forward = spot * np.exp(CARRY * tenor)
        for share in SHARES:
            for right in ("call", "put"):
                strike = share * spot
                vol = volatility(np.log(strike / forward))
                price = float(
                    black76(
                        np.array([forward]),
                        np.array([strike]),
                        np.array([vol * tenor**0.5]),
                        np.array([right == "call"]),
                    )[0]
                ) / (forward if inverse else 1.0)
                rows.append(
                    {
                        "time": time,
                        "symbol": f"{underlying}-{day}-{strike:g}-{right[0].upper()}",
                        "underlying": underlying,
                        "strike": strike,
                        "expiry": expiry,
                        "right": right,
                        "forward": forward,
                        "bid": 0.99 * price,
                        "ask": 1.01 * price,
                        "mark": price,
                        "volatility": vol,
                        "spot": spot,
                        "inverse": inverse,
                    }
                )
    return pd.DataFrame(rows)


def two_chains(folder: Path, change: pd.DataFrame | None = None) -> Path:
    """One file with a coin-settled BTC chain, or `change` in its place, and an ETH chain in dollars."""
    path = folder / "chain.csv"
    btc = chain_frame() if change is None else change
    pd.concat([btc, chain_frame("ETH", 3_000.0, inverse=False)]).to_csv(path, index=False)
    return path


def chain_market_of(folder: Path, change: pd.DataFrame | None = None) -> ChainMarket:
    return read_chain_market(two_chains(folder, change))
