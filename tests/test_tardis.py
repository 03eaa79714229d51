"""Are Tardis's downloads and messages read as they are documented, symbol by symbol and message by message?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import SourceError
from data.records import BARS, BOOK, LIQUIDATIONS, METRICS, OPTIONS, QUOTES, TRADES, UNKNOWN
from data.sources.csv_batches import STRANGE
from data.sources.recognise import read_records, recognise
from raw_text import SHARED, layout, put, put_json, read, said

US = 1704067200000000  # 2024-01-01
START = "2024-01-01T00:00:00.000000"
COMMON = "exchange,symbol,timestamp,local_timestamp"
OWN = f"binance-futures,BTCUSDT,{US},{US + 1500}"
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="no reference folder beside the checkout")


def test_trades(tmp_path: Path) -> None:
    rows = [f"{OWN},77,buy,42000.5,0.25", f"{OWN},a-b,sell,42000,1", f"{OWN},,unknown,42000,1", f"{OWN},,,42000,1"]
    path = put(tmp_path, "binance-futures_trades_2024-01-01_BTCUSDT.csv.gz", f"{COMMON},id,side,price,amount", *rows)
    records = read(path)
    assert (layout(path), records.kind, records.venue) == ("tardis trades", TRADES, "binance-futures")
    assert said(records, "time", "received")[0] == (START, "2024-01-01T00:00:00.001500")
    assert said(records, "price", "size", "side", "id")[0] == (42000.5, 0.25, 1, 77)
    assert records["side"].tolist() == [1, -1, STRANGE, 0]
    assert records["id"].tolist() == [77, UNKNOWN, UNKNOWN, UNKNOWN]


def test_nanoseconds_are_told_by_their_size(tmp_path: Path) -> None:
    path = put(tmp_path, "trades.csv", f"{COMMON},id,side,price,amount", f"x,Y,{US}000,{US}007,1,buy,2,3")
    records = read(path)
    assert records["time"][0] == np.datetime64(START)
    assert records["received"][0] - records["time"][0] == np.timedelta64(7, "ns")


def test_a_grouped_file_becomes_a_batch_a_symbol_and_loses_no_row(tmp_path: Path) -> None:
    rows = [
        f"bitmex,{symbol},{US + at},{US + at},,buy,{at},1" for at, symbol in enumerate(["B", "A", "B", "A", "A"], 1)
    ]
    rows.insert(3, "bitmex,torn")
    path = put(tmp_path, "bitmex_trades_PERPETUALS.csv", f"{COMMON},id,side,price,amount", *rows)
    first, second = read_records(path)
    assert [(part.symbol, part.row.tolist()) for part in (first, second)] == [("B", [1, 3, 4]), ("A", [2, 5, 6])]
    assert np.isnan(first["price"]).tolist() == [False, False, True]


def test_liquidations_are_told_by_the_name(tmp_path: Path) -> None:
    path = put(tmp_path, "deribit_liquidations_2024.csv", f"{COMMON},id,side,price,amount", f"{OWN},1,sell,9,2")
    records = read(path)
    assert (records.kind, said(records, "price", "size", "side")) == (LIQUIDATIONS, [(9, 2, -1)])


def test_changes_of_a_book_are_numbered_by_message(tmp_path: Path) -> None:
    rows = [
        *(f"d,B,{US},{US},true,bid,10,1", f"d,B,{US},{US},true,ask,11,2", f"d,B,{US},{US},false,ask,11,0"),
        *(f"d,B,{US + 9},{US + 9},false,bid,10,5", f"d,B,{US + 9},{US + 9},perhaps,bid,10,5"),
    ]
    records = read(put(tmp_path, "d_incremental_book_L2.csv", f"{COMMON},is_snapshot,side,price,amount", *rows))
    assert records.kind is BOOK
    assert said(records, "side", "price", "size", "snapshot", "message")[:4] == [
        *((1, 10, 1, True, 0), (-1, 11, 2, True, 0), (-1, 11, 0, False, 1), (1, 10, 5, False, 2)),
    ]
    assert records["side"][4] == STRANGE  # neither a change nor a whole book


def test_messages_of_a_book_are_the_same_in_any_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"d,B,{US + at // 7},{US + at // 7},{'true' if at < 50 else 'false'},bid,{at},1" for at in range(2000)]
    path = put(tmp_path, "d_incremental_book_L2.csv", f"{COMMON},is_snapshot,side,price,amount", *rows)
    whole = read(path)
    monkeypatch.setattr("data.sources.csv_batches.BLOCK", 1 << 12)
    parts = [*read_records(path)]
    assert len(parts) > 5
    np.testing.assert_array_equal(np.concatenate([part["message"] for part in parts]), whole["message"])


def test_snapshots_become_levels(tmp_path: Path) -> None:
    names = [f"{side}[{level}].{part}" for level in (0, 1) for side in ("asks", "bids") for part in ("price", "amount")]
    rows = [f"{OWN},11,1,10,2,12,3,9,4", f"{OWN},11,1,10,2,,,9,4", "torn"]
    path = put(tmp_path, "x_book_snapshot_5.csv", ",".join([COMMON, *names]), *rows)
    records = read(path)
    assert layout(path) == "tardis book_snapshot"
    assert said(records, "side", "price", "size")[:4] == [(1, 10, 2), (1, 9, 4), (-1, 11, 1), (-1, 12, 3)]
    assert records.row.tolist() == [1, 1, 1, 1, 2, 2, 2, 3]
    assert records["message"].tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
    assert records["snapshot"].all()
    assert np.isnan(records["price"]).tolist() == [False] * 7 + [True]


def test_a_snapshot_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    names = "asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,asks[1].price"
    with pytest.raises(SourceError, match="expected a known layout"):
        recognise(put(tmp_path, "x_book_snapshot_5.csv", f"{COMMON},{names}", f"{OWN},11,1,10,2,12"))


def test_quotes_and_tickers(tmp_path: Path) -> None:
    quotes = put(tmp_path, "q.csv", f"{COMMON},ask_amount,ask_price,bid_price,bid_amount", f"{OWN},4,11,10,3")
    assert said(read(quotes), "bid", "bid_size", "ask", "ask_size") == [(10, 3, 11, 4)]
    assert read(quotes).kind is QUOTES
    names = "funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price"
    ticker = read(put(tmp_path, "t.csv", f"{COMMON},{names}", f"{OWN},{US},0.0001,,5000,10,11,12"))
    assert ticker.kind is METRICS
    assert said(ticker, "funding_rate", "open_interest", "last", "index", "mark") == [(0.0001, 5000, 10, 11, 12)]


CHAIN = (
    f"{COMMON},type,strike_price,expiration,open_interest,last_price,bid_price,bid_amount,bid_iv,ask_price,ask_amount,"
    "ask_iv,mark_price,mark_iv,underlying_index,underlying_price,delta,gamma,vega,theta,rho"
)


def test_volatilities_of_deribit_come_in_percent_and_others_as_shares(tmp_path: Path) -> None:
    tail = f"9875,{US + 86_400_000_000},0.1,0.03,0.02,15,55,0.04,15,68,0.025,62,SYN.BTC,9756,-0.6,0,2,-5,-0.2"
    share = tail.replace(",55,", ",0.55,").replace(",62,", ",0.62,")
    rows = [
        *(f"deribit,BTC-2JAN24-9875-P,{US},{US},put,{tail}", f"deribit,BTC-2JAN24-9875-C,{US},{US},call,{tail}"),
        *(f"okex-options,BTC-USD-240102-9875-P,{US},{US},put,{share}", f"deribit,B-9875-P,{US},{US},straddle,{tail}"),
    ]
    path = put(tmp_path, "deribit_options_chain_2024-01-01_OPTIONS.csv", CHAIN, *rows)
    deribit, other = read_records(path)
    assert (layout(path), deribit.kind, deribit.venue, other.venue) == (
        *("tardis options_chain", OPTIONS, "deribit", "okex-options"),
    )
    assert said(deribit, "symbol", "underlying", "strike", "expiry", "call")[0] == (
        *("BTC-2JAN24-9875-P", "BTC", 9875, "2024-01-02T00:00:00.000000", False),
    )
    assert said(deribit, "bid", "ask", "mark", "last", "forward", "open_interest")[0] == (
        *(0.02, 0.04, 0.025, 0.03, 9756, 0.1),
    )
    np.testing.assert_allclose(deribit["mark_iv"], 0.62)
    np.testing.assert_allclose(other["bid_iv"], 0.55)
    assert np.isnan(deribit["strike"]).tolist() == [False, False, True]


STAMPS = {"timestamp": "2024-01-01T00:00:00.000Z", "localTimestamp": "2024-01-01T00:00:00.002Z"}
OF = {"symbol": "XBTUSD", "exchange": "bitmex", **STAMPS}


def test_messages(tmp_path: Path) -> None:
    trade = {"type": "trade", **OF, "id": "12", "price": 7996, "amount": 50, "side": "sell"}
    path = put_json(tmp_path, "messages.jsonl", trade, {"type": "disconnect", "exchange": "bitmex"}, trade)
    records = read(path)
    assert (layout(path), records.row.tolist()) == ("tardis trade messages", [1, 3])
    assert said(records, "time", "received", "price", "size", "side", "id")[0] == (
        *(START, "2024-01-01T00:00:00.002000", 7996, 50, -1, 12),
    )
    mixed = read(put_json(tmp_path, "mixed.jsonl", trade, {**trade, "type": "book_change"}))
    assert np.isnan(mixed["price"]).tolist() == [False, True]


def test_messages_of_books_and_bars(tmp_path: Path) -> None:
    level = {"price": 10, "amount": 3}
    change = {"type": "book_change", **OF, "isSnapshot": False, "bids": [], "asks": [level]}
    assert said(read(put_json(tmp_path, "c.json", change)), "side", "price", "size", "snapshot") == [(-1, 10, 3, False)]
    whole = {"type": "book_snapshot", **OF, "bids": [level, level], "asks": [level]}
    assert said(read(put_json(tmp_path, "s.json", whole)), "side", "snapshot") == [(1, True), (1, True), (-1, True)]
    bar = {"type": "trade_bar", **OF, "interval": 10000, "kind": "time", "open": 1, "high": 4, "low": 1, "close": 2}
    bar = {**bar, "volume": 9, "buyVolume": 4, "trades": 3, "openTimestamp": "2023-12-31T23:59:51.574Z"}
    records = read(put_json(tmp_path, "b.json", bar))
    assert records.kind is BARS
    assert said(records, "opened", "time", "high", "volume", "taker_buy_volume", "count") == [
        ("2023-12-31T23:59:50.000000", START, 4, 9, 4, 3)
    ]
    ticker = {"type": "derivative_ticker", **OF, "lastPrice": 1, "indexPrice": 2, "markPrice": 3, "fundingRate": -0.1}
    assert said(read(put_json(tmp_path, "t.json", ticker)), "last", "index", "mark", "funding_rate") == [
        (1, 2, 3, -0.1)
    ]


def test_summaries_are_in_percent_or_refused(tmp_path: Path) -> None:
    summary: dict[str, Any] = {"type": "option_summary", **OF, "exchange": "deribit", "symbol": "BTC-28JUN24-70000-C"}
    summary = {**summary, "optionType": "call", "strikePrice": 70000, "expirationDate": "2024-06-28T08:00:00.000Z"}
    records = read(put_json(tmp_path, "o.json", {**summary, "markIV": 56.5, "bestBidPrice": 0.03}))
    assert said(records, "strike", "expiry", "call", "mark_iv", "bid") == [
        (70000, "2024-06-28T08:00:00.000000", True, 0.565, 0.03)
    ]
    with pytest.raises(SourceError, match=r"expected markIV of deribit in percent, got 0\.565"):
        recognise(put_json(tmp_path, "o.json", {**summary, "markIV": 0.565}))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"type": "disconnect", "exchange": "deribit"}, "a disconnect of the recorder"),
        (
            {"id": "XBTUSD", "exchange": "bitmex", "type": "perpetual", "availableSince": "2019"},
            "the terms of an instr",
        ),
    ],
)
def test_what_is_no_market_data_is_refused(tmp_path: Path, document: dict[str, str], says: str) -> None:
    with pytest.raises(SourceError, match=f"not market data: {says}"):
        recognise(put_json(tmp_path, "m.json", document))


@pytest.mark.shared
@NEEDS_SHARED
def test_the_hand_made_chain_agrees_with_the_chain_reader() -> None:
    import pandas as pd

    from data.sources.chain_layouts import plain_chain

    (path,) = SHARED.rglob("options_chain.csv")
    records, frame = read(path), plain_chain(pd.read_csv(path), "chain")
    np.testing.assert_array_equal(records["strike"], frame["strike"])
    np.testing.assert_allclose(records["mark_iv"], frame["volatility"] / 100)
    np.testing.assert_array_equal(records["expiry"], frame["expiry"].dt.tz_localize(None).to_numpy("datetime64[ns]"))
