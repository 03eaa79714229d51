"""Are Bybit's trades and books read, of contracts and of spot?"""

from pathlib import Path

import numpy as np

from data.records import BOOK, TRADES
from raw_text import layout, put, put_json, read, said

CONTRACT = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"


def test_contracts_count_seconds_with_a_fraction(tmp_path: Path) -> None:
    rows = [
        f"1704067200.{ms},BTCUSDT,{side},0.25,42000.5,PlusTick,a-b,1,2,3" for ms, side in ((25, "Buy"), (5, "Sell"))
    ]
    path = put(tmp_path, "BTCUSDT2024-01-01.csv.gz", f"{CONTRACT},RPI", *(f"{row},0" for row in rows))
    records = read(path)
    assert (layout(path), records.kind, records.venue, records.symbol) == ("bybit trades", TRADES, "bybit", "BTCUSDT")
    assert said(records, "time", "price", "size", "side") == [
        ("2024-01-01T00:00:00.250000", 42000.5, 0.25, 1),
        ("2024-01-01T00:00:00.500000", 42000.5, 0.25, -1),
    ]


def test_spot_counts_milliseconds(tmp_path: Path) -> None:
    rows = ["1,1704067200001,42000.5,0.25,buy,0", "2,1704067200002,42000,1,sell,1"]
    records = read(put(tmp_path, "BTCUSDT_2024-01-01.csv.gz", "id,timestamp,price,volume,side,rpi", *rows))
    assert (records.venue, records.symbol) == ("bybit-spot", "BTCUSDT")
    assert said(records, "time", "size", "side", "id")[0] == ("2024-01-01T00:00:00.001000", 0.25, 1, 1)


def book(kind: str, update: int, bids: list[list[str]], **other: int) -> dict[str, object]:
    told = {"s": "BTCUSDT", "b": bids, "a": [["42001", "2"]], "u": update, "seq": 99}
    return {"topic": "orderbook.500.BTCUSDT", "type": kind, "ts": 1704067200001, "data": told, **other}


def test_books_are_chained_by_their_updates(tmp_path: Path) -> None:
    lines = [
        book("snapshot", 7, [["42000", "1"], ["41999", "3"]]),
        book("delta", 8, [["42000", "0"]], cts=1704067200000),
    ]
    path = put_json(tmp_path, "2024-01-01_BTCUSDT_ob500.data", *lines)
    records = read(path)
    assert (layout(path), records.kind, records.symbol) == ("bybit order book", BOOK, "BTCUSDT")
    assert said(records, "side", "price", "size", "snapshot", "previous_update", "last_update", "message") == [
        (1, 42000, 1, True, 6, 7, 0),
        (1, 41999, 3, True, 6, 7, 0),
        (-1, 42001, 2, True, 6, 7, 0),
        (1, 42000, 0, False, 7, 8, 1),
        (-1, 42001, 2, False, 7, 8, 1),
    ]
    assert said(records, "time")[-1] == ("2024-01-01T00:00:00.000000",)  # the engine's stamp, where it is told


def test_a_torn_line_of_a_book_is_a_row_of_nothing(tmp_path: Path) -> None:
    path = put_json(tmp_path, "BTCUSDT_ob500.data.zip", book("snapshot", 7, []), book("delta", 8, []))
    torn = put(tmp_path, "torn.data", *[*read_lines(path), '{"topic": "orderb'])
    records = read(torn)
    assert np.isnan(records["price"]).tolist() == [False, False, True]
    assert np.isnat(records["time"]).tolist() == [False, False, True]


def read_lines(path: Path) -> list[str]:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0]).decode().splitlines()
