"""Are recorded streams read, one stream of a file at a time, on the venue's clock?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.records import BOOK, LIQUIDATIONS, METRICS, QUOTES, TRADES, UNKNOWN, Records
from data.sources.exchange_streams import beside
from data.sources.recognise import read_records, recognise
from raw_text import SHARED, layout, put, said

MS = 1704067200000
NS = MS * 1_000_000
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="no reference folder beside the checkout")


def line(received: int, stream: str, data: dict[str, Any]) -> str:
    told = {"stream": f"btcusdt@{stream}", "data": data}
    return f"{received} {json.dumps(told, separators=(',', ':'))}"


def depth(at: int, first: int, last: int, previous: int | None = None, **levels: list[list[str]]) -> dict[str, Any]:
    told = {"e": "depthUpdate", "E": MS + at + 1, "s": "BTCUSDT", "U": first, "u": last, **levels}
    return told if previous is None else {**told, "T": MS + at, "pu": previous}


def trade(at: int, number: int, maker: bool, **other: Any) -> dict[str, Any]:
    return {
        "e": "trade",
        "E": MS + at,
        "T": MS + at,
        "s": "BTCUSDT",
        "t": number,
        "p": "42000.5",
        "q": "0.25",
        **other,
    } | {"m": maker}


TICKER = {"u": 9, "s": "BTCUSDT", "b": "42000", "B": "1", "a": "42001", "A": "2"}
FUTURES = (
    line(NS - 500, "depth@0ms", depth(0, 5, 7, 4, b=[["42000", "1"], ["41999", "0"]], a=[["42001", "2"]])),
    line(NS - 400, "bookTicker", {"e": "bookTicker", **TICKER, "T": MS, "E": MS + 1}),
    line(NS - 300, "trade", trade(3, 70, True, X="MARKET")),
    f'{NS - 200} {{"lastUpdateId":6,"E":{MS + 2},"T":{MS + 1},"bids":[["42000","3"]],"asks":[]}}',
    line(NS - 100, "depth@0ms", depth(9, 8, 9, 7, b=[], a=[["42001", "0"]])),
    line(NS - 50, "trade", trade(4, 71, False, X="MARKET")),
)


def of(path: Path, name: str) -> Records:
    """One stream of a file."""
    file = recognise(path)
    (found,) = [one for one in (file.layout, *beside(file.raw)) if one.name == f"binance stream of {name}"]
    (records,) = found.read(file.raw)
    return records


def test_a_file_is_its_book_with_other_streams_beside(tmp_path: Path) -> None:
    path = put(tmp_path, "btcusdt_20240101.gz", *FUTURES)
    file = recognise(path)
    assert file.layout.name == "binance stream of depth"
    assert [one.kind for one in beside(file.raw)] == [TRADES, QUOTES]
    book = of(path, "depth")
    assert (book.kind, book.venue, book.symbol) == (BOOK, "binance-futures", "BTCUSDT")
    assert said(
        book, "side", "price", "size", "snapshot", "first_update", "last_update", "previous_update", "message"
    ) == [
        (1, 42000, 1, False, 5, 7, 4, 0),
        (1, 41999, 0, False, 5, 7, 4, 0),
        (-1, 42001, 2, False, 5, 7, 4, 0),
        (1, 42000, 3, True, 6, 6, UNKNOWN, 3),
        (-1, 42001, 0, False, 8, 9, 7, 4),
    ]
    assert book.row.tolist() == [1, 1, 1, 4, 5]
    assert (book["time"] - np.datetime64(MS, "ms")).astype("timedelta64[ms]").astype(int).tolist() == [0, 0, 0, 1, 9]
    assert book["received"][0] == np.datetime64(NS - 500, "ns")


def test_the_other_streams(tmp_path: Path) -> None:
    path = put(tmp_path, "btcusdt_20240101.gz", *FUTURES)
    trades, quotes = of(path, "trades"), of(path, "tickers")
    assert said(trades, "price", "size", "side", "id") == [(42000.5, 0.25, -1, 70), (42000.5, 0.25, 1, 71)]
    assert said(quotes, "bid", "bid_size", "ask", "ask_size", "update") == [(42000, 1, 42001, 2, 9)]
    assert quotes["time"][0] == np.datetime64(MS, "ms")


def test_what_has_no_stamp_is_put_on_the_venues_clock(tmp_path: Path) -> None:
    slow = 1_270_000_000  # nanoseconds by which the recorder's clock is behind
    lines = [
        line(NS - slow, "depth@100ms", depth(-1, 1, 2, b=[["1", "1"]], a=[])),
        line(NS - slow + 5, "bookTicker", TICKER),
        f'{NS - slow + 6} {{"lastUpdateId":2,"bids":[["1","1"]],"asks":[]}}',
    ]
    path = put(tmp_path, "btcusdt_20240101.gz", *lines)
    book, quotes = of(path, "depth"), of(path, "tickers")
    assert quotes.venue == "binance"
    assert quotes["time"][0] == np.datetime64(NS + 5, "ns")
    assert quotes["received"][0] == np.datetime64(NS - slow + 5, "ns")
    assert book["time"].tolist() == [NS, NS + 6]
    assert book["snapshot"].tolist() == [False, True]
    assert book["previous_update"].tolist() == [UNKNOWN, UNKNOWN]


def test_a_damaged_stamp_does_not_move_the_clock(tmp_path: Path) -> None:
    lines = [
        line(NS, "depth@100ms", depth(-1, 1, 2, b=[["1", "1"]], a=[])),
        line(NS + 1, "depth@100ms", depth(800_000_000, 3, 4, b=[["1", "1"]], a=[])),
        line(NS + 5, "bookTicker", TICKER),
        f"9{NS} " + line(NS, "bookTicker", TICKER).split(" ", 1)[1],
    ]
    path = put(tmp_path, "btcusdt_20240101.gz", *lines)
    quotes = of(path, "tickers")
    assert quotes["time"][0] == np.datetime64(NS + 5, "ns")


def test_torn_lines_are_rows_of_nothing(tmp_path: Path) -> None:
    path = put(tmp_path, "x.gz", *FUTURES, FUTURES[0][:80], f"{NS} {{", FUTURES[2])
    book, trades = of(path, "depth"), of(path, "trades")
    assert book.row.tolist() == [1, 1, 1, 4, 5, 7, 8]
    assert np.isnan(book["price"]).tolist() == [False] * 5 + [True] * 2
    assert np.isnat(book["time"]).tolist() == [False] * 5 + [True] * 2
    assert trades.row.tolist() == [3, 6, 8, 9]  # a line that may be of any stream is of each


def test_other_events(tmp_path: Path) -> None:
    mark = {"e": "markPriceUpdate", "E": MS, "s": "X", "p": "10", "i": "11", "r": "0.0001", "T": MS + 9_000_000}
    path = put(tmp_path, "marks.jsonl", json.dumps(mark), json.dumps(mark))
    (records,) = read_records(path)
    assert (records.kind, said(records, "time", "mark", "index", "funding_rate")[0]) == (
        METRICS,
        ("2024-01-01T00:00:00.000000", 10, 11, 0.0001),
    )
    order = {"s": "X", "S": "SELL", "q": "3", "p": "9", "ap": "9.5", "z": "2", "T": MS}
    path = put(tmp_path, "force.gz", f"{NS} " + json.dumps({"e": "forceOrder", "E": MS + 1, "o": order}))
    (records,) = read_records(path)
    assert (records.kind, said(records, "price", "size", "side")) == (LIQUIDATIONS, [(9.5, 2, -1)])
    together = {"e": "aggTrade", "E": MS, "T": MS, "s": "X", "a": 5, "p": "9", "q": "2", "m": False}
    path = put(tmp_path, "agg.gz", f"{NS} " + json.dumps(together))
    assert layout(path) == "binance stream of aggregate trades"
    (records,) = read_records(path)
    assert said(records, "id", "side", "price") == [(5, 1, 9)]


@pytest.mark.shared
@NEEDS_SHARED
@pytest.mark.parametrize(
    ("market", "venue", "counts"),
    [
        ("usdm", "binance-futures", (6_551, 21_313, 66_089)),
        ("cm", "binance-delivery", (26_847, 2_286, 19_136)),
        ("spot", "binance", (3_451, 9_757, 28_040)),
    ],
)
def test_the_real_streams(market: str, venue: str, counts: tuple[int, int, int]) -> None:
    (path,) = (SHARED / "nkaz001+hftbacktest" / "examples" / market).glob("*.gz")
    file = recognise(path)
    book = [*file.records()]
    changes, trades, quotes = counts
    message = np.concatenate([part["message"] for part in book])
    snapshot = np.concatenate([part["snapshot"] for part in book])
    assert {(part.venue, part.symbol) for part in book} == {(venue, book[0].symbol)}
    assert len(np.unique(message[~snapshot])) == changes
    assert len(np.unique(message[snapshot])) == 1
    for name in ("time", "price", "size"):
        assert not np.concatenate([np.isnan(part[name].astype(float)) for part in book]).any()
    found = {one.kind: sum(len(part) for part in one.read(file.raw)) for one in beside(file.raw)}
    assert found == {TRADES: trades, QUOTES: quotes}


@pytest.mark.shared
@NEEDS_SHARED
def test_spot_tickers_lie_between_the_messages_that_have_stamps() -> None:
    (path,) = (SHARED / "nkaz001+hftbacktest" / "examples" / "spot").glob("*.gz")
    file = recognise(path)
    trades, quotes = ([*one.read(file.raw)] for one in beside(file.raw))
    at = np.concatenate([part["time"] for part in quotes])
    matched, heard = (np.concatenate([part[name] for part in trades]) for name in ("time", "received"))
    arrived = np.concatenate([part["received"] for part in quotes])
    before = np.searchsorted(heard, arrived) - 1  # the last trade that the recorder had before each ticker
    late = (at - matched[before])[before >= 0]
    assert (late >= np.timedelta64(0, "ns")).all()
    assert (np.diff(at) >= np.timedelta64(0, "ns")).all()
