"""Are BitMEX's daily files read, all contracts of a day in one?"""

from pathlib import Path

import numpy as np

from data.records import QUOTES
from data.sources.recognise import read_records
from raw_text import layout, put, read, said

TRADE = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"


def test_trades_of_a_day(tmp_path: Path) -> None:
    rows = [
        "2024-01-01D00:00:01.000000123,ETHUSD,Sell,5,2300.05,ZeroMinusTick,a,1,2,3,Regular",
        "2024-01-01D00:00:00.5,XBTUSD,Buy,100,42000.5,PlusTick,b,1,2,3,Regular",
        "2024-01-01 today,XBTUSD,,100,42000.5,PlusTick,b,1,2,3,Settlement",
    ]
    path = put(tmp_path, "20240101.csv.gz", f"{TRADE},trdType", *rows)
    ether, bitcoin = read_records(path)
    assert (layout(path), ether.symbol, bitcoin.symbol) == ("bitmex trades", "ETHUSD", "XBTUSD")
    assert ether["time"][0] == np.datetime64("2024-01-01T00:00:01.000000123")
    assert said(bitcoin, "price", "size", "side") == [(42000.5, 100, 1), (42000.5, 100, 0)]
    assert np.isnat(bitcoin["time"]).tolist() == [False, True]
    assert bitcoin.row.tolist() == [2, 3]


def test_quotes_of_a_day(tmp_path: Path) -> None:
    row = "2024-01-01D00:00:01.000000000,XBTUSD,100,42000,42000.5,200"
    records = read(put(tmp_path, "20240101.csv.gz", "timestamp,symbol,bidSize,bidPrice,askPrice,askSize", row))
    assert records.kind is QUOTES
    assert said(records, "bid", "bid_size", "ask", "ask_size") == [(42000, 100, 42000.5, 200)]
