"""Made-up records and files that every check can be tried on."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data.check_results import Ledger
from data.checking import RecordChecker
from data.records import BARS, FUNDING, INDEX, QUOTES, TRADES, Kind, Records

START = np.datetime64("2024-01-01", "ns")
NOW = np.datetime64("2026-01-01", "ns")
HOUR = np.timedelta64(3600 * 10**9, "ns")


def _records(kind: Kind, **columns: Any) -> Records:
    told = {name: np.array(values, dtype=_type(kind, name)) for name, values in columns.items()}
    return Records(kind, "made-up", "BTCUSDT", told, np.arange(1, len(told["time"]) + 1))


def _type(kind: Kind, name: str) -> str:
    return next(column.dtype for column in kind.columns if column.name == name)


def trades(rows: int = 40, **changed: dict[int, Any]) -> Records:
    """One a second, the price a slow walk; `changed` says what another row says."""
    rng = np.random.default_rng(7)
    told = {
        "time": START + np.arange(rows) * np.timedelta64(10**9, "ns"),
        "price": 100 * np.exp(np.cumsum(rng.normal(0, 0.001, rows))),
        "size": rng.uniform(0.1, 2, rows),
        "side": rng.choice([-1, 1], rows),
        "id": np.arange(500, 500 + rows),
    }
    return _records(TRADES, **_with(told, changed))


def bars(rows: int = 60, **changed: dict[int, Any]) -> Records:
    """One an hour."""
    rng = np.random.default_rng(8)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    opened = np.concatenate([[100.0], close[:-1]])
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    volume = rng.uniform(50, 150, rows)
    told = {
        "time": START + (np.arange(rows) + 1) * HOUR,
        "opened": START + np.arange(rows) * HOUR,
        "open": opened,
        "close": close,
        "high": top * 1.003,
        "low": bottom * 0.997,
        "volume": volume,
        "quote_volume": volume * (top + bottom) / 2,
        "count": rng.integers(100, 999, rows).astype(float),
        "taker_buy_volume": volume * 0.4,
        "taker_buy_quote_volume": volume * 0.4 * (top + bottom) / 2,
    }
    return _records(BARS, **_with(told, changed))


def funding(rows: int = 30, **changed: dict[int, Any]) -> Records:
    """One in eight hours."""
    told = {
        "time": START + np.arange(rows) * 8 * HOUR,
        "rate": np.random.default_rng(9).normal(1e-4, 5e-5, rows),
    }
    return _records(FUNDING, **_with(told, changed))


def levels(rows: int = 60, **changed: dict[int, Any]) -> Records:
    """One an hour."""
    walk = 60 * np.exp(np.cumsum(np.random.default_rng(10).normal(0, 0.02, rows)))
    return _records(INDEX, **_with({"time": START + np.arange(rows) * HOUR, "value": walk}, changed))


def quotes(rows: int = 40, **changed: dict[int, Any]) -> Records:
    """One a second."""
    mid = 100 * np.exp(np.cumsum(np.random.default_rng(11).normal(0, 0.001, rows)))
    told = {
        "time": START + np.arange(rows) * np.timedelta64(10**9, "ns"),
        "bid": mid - 0.01,
        "ask": mid + 0.01,
        "bid_size": np.full(rows, 2.0),
        "ask_size": np.full(rows, 3.0),
        "update": np.arange(rows) * 3,
    }
    return _records(QUOTES, **_with(told, changed))


def _with(told: dict[str, Any], changed: dict[str, dict[int, Any]]) -> dict[str, Any]:
    for name, cells in changed.items():
        for row, value in cells.items():
            told[name][row] = value
    return told


def checked(*batches: Records, now: np.datetime64 = NOW, **asked: Any) -> tuple[list[Records], Ledger]:
    """What is accepted of batches, and what the checks found."""
    ledger = Ledger()
    accepted = [one.accepted for one in RecordChecker(now).check(batches, ledger, **asked)]
    return accepted, ledger


def struck(*batches: Records, **asked: Any) -> dict[str, tuple[int, str]]:
    """The count and outcome of each check that struck."""
    _, ledger = checked(*batches, **asked)
    return {one.check.name: (one.count, one.check.outcome) for one in ledger.results()}


MS = 1704067200000  # 2024-01-01
KLINES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
_METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
_TICKER = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time"


def lines_of(name: str, rows: int = 60) -> list[str]:
    """The lines of a file as a venue's archive has it, by its name in there."""
    rng = np.random.default_rng(12)
    walk = np.round(42000 * np.exp(np.cumsum(rng.normal(0, 1e-3, rows + 1))), 1)
    out = [_HEADS[name]] if _HEADS[name] else []
    return out + [_line(name, row, float(walk[row]), float(walk[row + 1]), rng) for row in range(rows)]


_HEADS = {
    "BTCUSDT-1h-2024-01.csv": KLINES,
    "BTCUSDT-aggTrades-2024-01-01.csv": "",
    "BTCUSDT-fundingRate-2024-01.csv": "calc_time,funding_interval_hours,last_funding_rate",
    "BTCUSDT-metrics-2024-01-01.csv": _METRICS,
    "BTCUSDT-bookTicker-2024-01-01.csv": _TICKER,
    "BTCUSDT-bookDepth-2024-01-01.csv": "timestamp,percentage,depth,notional",
}
FILES = tuple(_HEADS)


def _line(name: str, row: int, before: float, price: float, rng: np.random.Generator) -> str:
    if "-1h-" in name:
        volume = round(float(rng.uniform(50, 150)), 3)
        top, bottom = max(before, price) + 20, min(before, price) - 20
        paid, bought = round(volume * (top + bottom) / 2, 4), round(volume * 0.4, 4)
        opened = MS + row * 3_600_000
        end = f"{opened + 3_599_999},{paid},{rng.integers(100, 999)},{bought},{round(bought * (top + bottom) / 2, 4)},0"
        return f"{opened},{before},{top:.1f},{bottom:.1f},{price},{volume},{end}"
    if "aggTrades" in name:
        side = "True" if rng.random() < 0.5 else "False"
        return f"{900 + row},{price},{rng.uniform(0.01, 2):.5f},{row},{row},{MS + row * 1700},{side},True"
    if "funding" in name:
        return f"{MS + row * 28_800_000 + int(rng.integers(0, 40))},8,{rng.normal(1e-4, 5e-5):.8f}"
    if "metrics" in name:
        stamp = f"2024-01-01 {row // 12:02d}:{row % 12 * 5:02d}:00"
        return f"{stamp},BTCUSDT,{80000 + row * 7.5},{3.4e9 + row * 1e5:.2f},1.2,1.1,{1.5 + row / 100:.4f},0.{row + 10}"
    if "Ticker" in name:
        at, (bid, ask) = MS + row * 1500, rng.uniform(1, 9, 2)
        return f"{7000 + row * 3},{price - 0.1:.1f},{bid:.3f},{price:.1f},{ask:.3f},{at},{at + 4}"
    band = (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)[row % 10]
    depth = round(900.5 * abs(band) + row, 4)
    return f"2024-01-01 00:{row // 10:02d}:08,{band},{depth},{round(depth * 42000 * (1 + band / 200), 4)}"


def put(folder: Path, name: str, content: bytes) -> Path:
    """A file, packed as its suffix says."""
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name.replace(".zip", ".csv"), content)
    else:
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path
