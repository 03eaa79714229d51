"""Are ccxt's lists read, from files and as they are in Python?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import SourceError
from data.sources import ccxt_rows
from data.sources.recognise import read_records
from raw_text import layout, put_json, read, said

MS = 1704067200000
CANDLES: list[list[Any]] = [[MS, 10, 12, 9, 11, 5.5], [MS + 60_000, 11, 11, 11, None, 0]]


def test_candles(tmp_path: Path) -> None:
    path = put_json(tmp_path, "binance_BTC-USDT_1m.json", CANDLES)
    records = read(path)
    assert (layout(path), records.venue, records.symbol) == ("ccxt candles", "binance", "BTC-USDT")
    assert said(records, "opened", "time", "open", "high", "low", "close", "volume")[0] == (
        *("2024-01-01T00:00:00.000000", "2024-01-01T00:01:00.000000", 10, 12, 9, 11, 5.5),
    )
    assert np.isnan(records["close"]).tolist() == [False, True]
    at_hand = ccxt_rows.candles(CANDLES, venue="binance", symbol="BTC-USDT")
    for name in records.columns:
        np.testing.assert_array_equal(at_hand[name], records[name])
    longer = ccxt_rows.candles(CANDLES[:1], venue="x", symbol="y", step=np.timedelta64(3600, "s"))
    assert said(longer, "time") == [("2024-01-01T01:00:00.000000",)]
    with pytest.raises(SourceError, match="candles of y: expected bars at two instants or more"):
        ccxt_rows.candles(CANDLES[:1], venue="x", symbol="y")


def test_candles_of_another_width_are_rows_of_nothing(tmp_path: Path) -> None:
    records = read(put_json(tmp_path, "BTC.json", [*CANDLES, [MS, 1, 2], "x", None]))
    assert np.isnat(records["time"]).tolist() == [False, False, True, True, True]
    assert records.row.tolist() == [1, 2, 3, 4, 5]


def paid(at: int, symbol: str = "BTC/USDT:USDT", **other: Any) -> dict[str, Any]:
    return {"info": {}, "symbol": symbol, "fundingRate": 0.0001, "timestamp": MS + at, "datetime": "x", **other}


def test_funding(tmp_path: Path) -> None:
    rows = [paid(0), paid(1, "ETH/USDT:USDT", fundingRate="-0.0002"), paid(2, interval="4h")]
    first, second = read_records(put_json(tmp_path, "bybit_funding.json", rows))
    assert (first.venue, first.symbol, second.symbol) == ("bybit", "BTC/USDT:USDT", "ETH/USDT:USDT")
    assert said(first, "time", "rate")[1] == ("2024-01-01T00:00:00.002000", 0.0001)
    assert np.isnan(first["interval"]).tolist() == [True, False]
    assert first["interval"][1] == 4
    assert said(second, "rate") == [(-0.0002,)]
    (at_hand,) = ccxt_rows.funding([paid(0)], venue="bybit")
    assert said(at_hand, "rate") == [(0.0001,)]
    (stamped,) = ccxt_rows.funding([{"fundingRate": 1, "datetime": "2024-01-01T08:00:00Z"}], venue="x", symbol="y")
    assert (stamped.symbol, said(stamped, "time")) == ("y", [("2024-01-01T08:00:00.000000",)])


def test_trades(tmp_path: Path) -> None:
    row = {"id": "7", "timestamp": MS, "datetime": "x", "symbol": "BTC/USDT", "side": "sell", "price": 42000.5}
    row = {**row, "amount": 0.25, "cost": 1, "takerOrMaker": None}
    rows = [row, {**row, "side": None}, {**row, "takerOrMaker": "maker"}]
    records = read(put_json(tmp_path, "kraken_trades.json", rows))
    assert said(records, "time", "price", "size", "side", "id")[0] == (
        *("2024-01-01T00:00:00.000000", 42000.5, 0.25, -1, 7),
    )
    assert records["side"].tolist() == [-1, 0, 1]  # one's own side as maker is not the taker's
    assert len(ccxt_rows.trades(rows, venue="kraken")[0]) == 3


def test_a_long_list_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[MS + at * 60_000, 10, 12, 9, 11.25, at] for at in range(5000)]
    path = put_json(tmp_path, "BTC.json", rows)
    monkeypatch.setattr("data.sources.json_rows.PIECE", 97)
    parts = [*read_records(path)]
    assert np.concatenate([part["volume"] for part in parts]).tolist() == list(range(5000))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SourceError, match="expected JSON after element 4999"):
        [*read_records(path)]
