"""W5: how fast do 2 M trades in a CSV file become typed columns with UTC instants and signed sides?"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from race import Measurement, race

from data.sources.recognise import read_records

TRADES = 2_000_000


def workload() -> list[Measurement]:
    """Ours against pandas.read_csv, on the same file in the format of a futures venue's aggregated trades."""
    with tempfile.TemporaryDirectory() as folder:
        path = synthetic(Path(folder) / "BTCUSDT-aggTrades-2024-01.csv")
        for ours, theirs in zip(recognised(path), with_pandas(path), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        took = race({"ours": lambda: read_all(path), "peer": lambda: with_pandas(path)}, rounds=5)
    metric = f"{TRADES / 1e6:g} M trades from CSV, typed"
    return [Measurement("W5", metric, "pandas", took["peer"] / took["ours"], 3.0, took["ours"], took["peer"])]


def synthetic(path: Path) -> Path:
    """Trades on a random walk, written once."""
    rng = np.random.default_rng(0)
    number = np.arange(TRADES) + 1_900_000_000
    columns = {
        "agg_trade_id": number,
        "price": (42_000 + 0.1 * np.cumsum(rng.integers(-1, 2, TRADES))).round(1),
        "quantity": rng.integers(1, 5_000, TRADES) / 1_000,
        "first_trade_id": 2 * number,
        "last_trade_id": 2 * number + 1,
        "transact_time": 1_704_067_200_000 + np.cumsum(rng.integers(0, 40, TRADES)),
        "is_buyer_maker": np.where(rng.random(TRADES) < 0.5, "true", "false"),
    }
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def read_all(path: Path) -> int:
    """Every batch, as a fold would take them."""
    return sum(len(records) for records in read_records(path))


def recognised(path: Path) -> list[np.ndarray]:
    """Ours in whole columns."""
    read = [*read_records(path)]
    return [np.concatenate([records[name] for records in read]) for name in ("time", "price", "size", "side", "id")]


def with_pandas(path: Path) -> list[np.ndarray]:
    """The same as one would write it in pandas."""
    frame = pd.read_csv(path)
    return [
        pd.to_datetime(frame["transact_time"], unit="ms").to_numpy().astype("datetime64[ns]"),
        frame["price"].to_numpy(),
        frame["quantity"].to_numpy(),
        np.where(frame["is_buyer_maker"], -1, 1).astype(np.int8),
        frame["agg_trade_id"].to_numpy(),
    ]
