"""Are Deribit's answers and messages read, each as what it is about, and the rest refused with the reason?"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data import SourceError
from data.imports import import_paths
from data.records import BARS, BOOK, FUNDING, INDEX, METRICS, OPTIONS, QUOTES, TRADES
from data.sources.chain_layouts import plain_chain
from data.sources.recognise import read_records, recognise
from raw_text import SHARED, layout, put, put_json, read, said

MS = 1704067200000
START = "2024-01-01T00:00:00.000000"
OPTION = "BTC-27DEC24-100000-C"


def answer(result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": result, "usIn": 1}


def message(channel: str, data: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


def trade(at: int, **other: Any) -> dict[str, Any]:
    row = {"trade_seq": at, "trade_id": f"ETH-{at}", "timestamp": MS + at, "price": 42000.5, "amount": 10.0}
    return {**row, "direction": "sell", "instrument_name": "BTC-PERPETUAL", **other}


def test_trades_of_an_answer_a_list_and_messages(tmp_path: Path) -> None:
    rows = [trade(0), trade(1, direction="buy")]
    page = read(put_json(tmp_path, "page.json", answer({"trades": rows, "has_more": True})))
    assert (page.kind, page.venue, page.symbol) == (TRADES, "deribit", "BTC-PERPETUAL")
    assert said(page, "time", "price", "size", "side", "id") == [
        (START, 42000.5, 10, -1, 0),
        ("2024-01-01T00:00:00.001000", 42000.5, 10, 1, 1),
    ]
    assert page.row.tolist() == [1, 2]
    assert said(read(put_json(tmp_path, "list.json", rows)), "id") == [(0,), (1,)]
    beat = {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}
    told = message("trades.BTC-PERPETUAL.raw", rows)
    stream = read(put_json(tmp_path, "stream.jsonl", told, beat, told))
    assert stream.row.tolist() == [1, 1, 3, 3]


def test_lines_that_nobody_can_read_are_rows_of_nothing(tmp_path: Path) -> None:
    path = put_json(tmp_path, "stream.jsonl", message("trades.X.raw", [trade(0)]), message("trades.X.raw", [trade(1)]))
    path.write_text(path.read_text() + '{"jsonrpc": "2.0", "method"\n')
    records = read(path)
    assert np.isnan(records["price"]).tolist() == [False, False, True]
    assert records.row.tolist() == [1, 2, 3]


def test_two_topics_in_one_file_are_refused(tmp_path: Path) -> None:
    path = put_json(tmp_path, "s.jsonl", message("trades.X.raw", [trade(0)]), message("quote.X", {"timestamp": MS}))
    with pytest.raises(SourceError, match=r"s\.jsonl, document 2: expected trades throughout, got quote"):
        [*read_records(path)]


def test_trades_of_a_currency_are_of_several_contracts(tmp_path: Path) -> None:
    rows = [trade(0), trade(1, instrument_name="BTC-28JUN24"), trade(2)]
    first, second = read_records(put_json(tmp_path, "page.json", answer({"trades": rows})))
    assert [(part.symbol, part.row.tolist()) for part in (first, second)] == [
        ("BTC-PERPETUAL", [1, 3]),
        ("BTC-28JUN24", [2]),
    ]


def test_books(tmp_path: Path) -> None:
    whole = {"bids": [[10, 3]], "asks": [[11, 4]], "timestamp": MS, "change_id": 7, "instrument_name": "BTC-PERPETUAL"}
    records = read(put_json(tmp_path, "b.json", answer(whole)))
    assert records.kind is BOOK
    assert said(records, "time", "side", "price", "size", "snapshot", "last_update", "previous_update") == [
        (START, 1, 10, 3, True, 7, -1),
        (START, -1, 11, 4, True, 7, -1),
    ]
    change = {**whole, "type": "change", "prev_change_id": 7, "change_id": 8, "bids": [["delete", 10, 0]], "asks": []}
    told = [
        message("book.BTC-PERPETUAL.raw", {**change, "type": "snapshot"}),
        message("book.BTC-PERPETUAL.raw", change),
    ]
    stream = read(put_json(tmp_path, "b.jsonl", *told))
    assert said(stream, "side", "price", "size", "snapshot", "previous_update", "message") == [
        (1, 10, 0, True, 7, 0),
        (1, 10, 0, False, 7, 1),
    ]


def test_tickers_and_quotes(tmp_path: Path) -> None:
    ticker = {
        "timestamp": MS,
        "instrument_name": "BTC-PERPETUAL",
        "mark_price": 10,
        "index_price": 11,
        "last_price": 12,
    }
    ticker = {**ticker, "open_interest": 99, "current_funding": 0.001, "funding_8h": 0.5}
    records = read(put_json(tmp_path, "t.json", message("ticker.BTC-PERPETUAL.100ms", ticker)))
    assert records.kind is METRICS
    assert said(records, "mark", "index", "last", "open_interest", "funding_rate") == [(10, 11, 12, 99, 0.001)]
    best = {"best_bid_price": 9, "best_ask_price": 10, "best_bid_amount": 5, "best_ask_amount": 6}
    path = put_json(tmp_path, "q.json", message("quote.X", {**best, "timestamp": MS, "instrument_name": "X"}))
    assert (read(path).kind, said(read(path), "bid", "ask", "bid_size", "ask_size")) == (QUOTES, [(9, 10, 5, 6)])


def summary(name: str, **other: Any) -> dict[str, Any]:
    row = {"instrument_name": name, "mark_price": 0.05, "mark_iv": 56.5, "bid_price": 0.04, "ask_price": None}
    row = {**row, "underlying_price": 95000.5, "open_interest": 3, "volume": 2, "creation_timestamp": MS}
    return {**row, **other}


def test_summaries_of_options_are_shares(tmp_path: Path) -> None:
    path = put_json(tmp_path, "s.json", answer([summary(OPTION), summary("XRP_USDC-30JUN23-0d625-P", mark_iv=41)]))
    records = read(path)
    assert (layout(path), records.kind) == ("deribit option summary", OPTIONS)
    assert said(records, "time", "symbol", "underlying", "strike", "expiry", "call", "bid", "mark", "mark_iv") == [
        (START, OPTION, "BTC", 100000, "2024-12-27T08:00:00.000000", True, 0.04, 0.05, 0.565),
        (START, "XRP_USDC-30JUN23-0d625-P", "XRP_USDC", 0.625, "2023-06-30T08:00:00.000000", False, 0.04, 0.05, 0.41),
    ]
    assert np.isnan(records["ask"]).all()
    assert said(records, "forward", "open_interest", "volume")[0] == (95000.5, 3, 2)


def test_summaries_of_futures_are_metrics_and_both_together_refused(tmp_path: Path) -> None:
    rows = [summary("BTC-PERPETUAL", mark_price=10, current_funding=0.01, last=9)]
    records = read(put_json(tmp_path, "s.json", answer(rows)))
    assert (records.kind, said(records, "mark", "last", "funding_rate")) == (METRICS, [(10, 9, 0.01)])
    with pytest.raises(SourceError, match=r"s\.json: expected no options .* got also 'BTC-27DEC24-100000-C'"):
        read(put_json(tmp_path, "s.json", answer([*rows, summary(OPTION)])))


def test_option_tickers(tmp_path: Path) -> None:
    told = {**summary(OPTION), "timestamp": MS, "best_bid_price": 0.04, "bid_iv": 50, "index_price": 94000}
    told = {**told, "stats": {"volume": 7}}
    del told["volume"], told["creation_timestamp"]
    records = read(put_json(tmp_path, "o.json", message(f"ticker.{OPTION}.raw", told)))
    assert said(records, "bid", "bid_iv", "spot", "volume") == [(0.04, 0.5, 94000, 7)]


def test_the_volatility_index_is_known_at_the_end_of_its_bars(tmp_path: Path) -> None:
    rows = [[MS, 50, 52, 49, 51], [MS + 3_600_000, 51, 53, 51, 52.5]]
    path = put_json(tmp_path, "dvol_BTC.json", answer({"data": rows, "continuation": None}))
    records = read(path)
    assert (records.kind, records.symbol) == (INDEX, "BTC")
    assert said(records, "time", "value", "open", "high", "low")[0] == ("2024-01-01T01:00:00.000000", 51, 50, 52, 49)
    with pytest.raises(SourceError, match="expected bars at two instants or more"):
        read(put_json(tmp_path, "dvol_BTC.json", answer({"data": rows[:1]})))
    level = message("deribit_volatility_index.btc_usd", {"timestamp": MS, "volatility": 51.5, "index_name": "btc_usd"})
    assert said(read(put_json(tmp_path, "v.json", level)), "time", "value") == [(START, 51.5)]


def test_funding_is_of_the_hour_that_ended(tmp_path: Path) -> None:
    hour = {"index_price": 42000.5, "prev_index_price": 41990.0, "interest_8h": 8e-5, "interest_1h": 1e-5}
    rows = [{"timestamp": MS + 3_600_000 * n, **hour} for n in range(3)]
    del rows[2]["interest_1h"]
    path = put_json(tmp_path, "BTC-PERPETUAL_funding_2024-01.json", answer(rows))
    records = read(path)
    assert (layout(path), records.kind, records.symbol) == ("deribit funding", FUNDING, "BTC-PERPETUAL")
    assert said(records, "time", "rate", "interval")[:2] == [
        (START, 1e-5, 1.0),
        ("2024-01-01T01:00:00.000000", 1e-5, 1.0),
    ]
    assert np.isnan([records["rate"][2], records["interval"][2]]).all()
    assert not recognise(path).layout.verified


def test_an_answer_that_does_not_say_of_what_is_of_what_its_file_says(tmp_path: Path) -> None:
    chart = {name: [1.0, 2.0] for name in ("open", "high", "low", "close", "volume", "cost")}
    told = answer({**chart, "ticks": [MS, MS + 60_000], "status": "ok"})
    for name, symbol in {
        "http_get_tradingview_chart_data.json": "unknown",
        "http_get_tradingview_chart_data_SOL_USDC-PERPETUAL.json": "SOL_USDC-PERPETUAL",
        "chart_eth_2024-01.json": "ETH",
    }.items():
        assert read(put_json(tmp_path, name, told)).symbol == symbol


def test_charts(tmp_path: Path) -> None:
    chart: dict[str, Any] = {name: [1.0, 2.0] for name in ("open", "high", "low", "close", "volume", "cost")}
    chart["ticks"] = [MS, MS + 60_000]
    path = put_json(tmp_path, "BTC-PERPETUAL.json", answer({**chart, "status": "ok"}))
    records = read(path)
    assert (records.kind, records.symbol) == (BARS, "BTC-PERPETUAL")
    assert said(records, "opened", "time", "close", "volume")[0] == (START, "2024-01-01T00:01:00.000000", 1, 1)
    longer = {**{name: [1.0, 2.0, 3.0] for name in chart}, "ticks": [MS, MS + 60_000, MS + 120_000]}
    cut = read(put_json(tmp_path, "ETH-PERPETUAL.json", answer({**longer, "low": [1.0, 2.0]})))
    assert np.isnan(cut["close"]).tolist() == [False, False, True]  # a bar without a low is of nothing
    bar = {"tick": MS, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 2, "cost": 3}
    told = read(put_json(tmp_path, "c.json", message("chart.trades.ETH-PERPETUAL.1D", bar)))
    assert (told.symbol, said(told, "time")) == ("ETH-PERPETUAL", [("2024-01-02T00:00:00.000000",)])


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (answer(1733338800000), "a time, or a word"),
        (answer(["trades.X.raw"]), "the answer to a subscription"),
        (answer({"summaries": []}), "the summaries of an account"),
        (answer({"order": {"order_id": "1"}, "trades": []}), "the answer to an order"),
        (answer([{"id": "X", "legs": []}]), "a list of combinations"),
        (answer([{"instrument_name": "X", "expiration_timestamp": 1}]), "the terms of instruments"),
        (answer({"btc": {"option": []}}), "a list of expiries"),
        (answer([]), "an empty list"),
        (answer({"anything": 1}), "an answer of another kind"),
        (message("user.portfolio.any", {}), "an account's own channel"),
        (message("perpetual.X.raw", {}), "the channel 'perpetual.X.raw'"),
        ({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}, "a heartbeat"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 10028}}, "an error"),
    ],
)
def test_what_is_no_market_data_is_refused(tmp_path: Path, document: dict[str, Any], says: str) -> None:
    with pytest.raises(SourceError, match=f"not market data.*{says}"):
        recognise(put_json(tmp_path, "answer.json", document))


CHAIN = (
    "timestamp,instrument_name,underlying,underlying_name,option_type,strike,expiry_datetime,time_to_maturity,"
    "bid_price,ask_price,mark_price,mid_price,futures_price,futures_instrument_name,implied_volatility,delta,vega,"
    "open_interest,volume,bid_ask_spread,currency,index_price,volume_usd"
)


def test_chains_in_csv(tmp_path: Path) -> None:
    tail = "100000.0,2024-12-27T08:00:00+00:00,1,0.04,,0.05,,95000,X,0.565,0.5,100,3,2,0.01,BTC,94000,1"
    rows = [f"2024-01-01T00:00:00.500000+00:00,{OPTION},95000.5,X,{right},{tail}" for right in ("call", "put", "box")]
    path = put(tmp_path, "chain.csv", CHAIN, *rows)
    records = read(path)
    assert layout(path) == "deribit chains in CSV"
    assert said(records, "time", "symbol", "underlying", "strike", "expiry", "call", "mark_iv", "forward", "spot")[
        0
    ] == (
        *("2024-01-01T00:00:00.500000", OPTION, "BTC", 100000, "2024-12-27T08:00:00.000000", True, 0.565),
        *(95000.5, 94000),
    )
    assert records["call"].tolist() == [True, False, False]
    assert np.isnan(records["strike"]).tolist() == [False, False, True]


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no reference folder beside the checkout")
def test_real_chains_agree_with_the_chain_reader() -> None:
    paths = sorted(SHARED.rglob("deribit_options_snapshot_*.csv"))
    assert len(paths) == 16
    for path in paths[::5]:
        records, frame = read(path), plain_chain(pd.read_csv(path), path.name)
        for ours, theirs in {"bid": "bid", "mark": "mark", "mark_iv": "volatility", "forward": "forward"}.items():
            np.testing.assert_allclose(records[ours], frame[theirs], rtol=1e-15)
        for name in ("time", "expiry"):
            np.testing.assert_array_equal(records[name], frame[name].dt.tz_localize(None).to_numpy("datetime64[ns]"))
        assert records["call"].tolist() == (frame["right"] == "call").tolist()


def test_books_of_three_kinds_are_no_one_series(tmp_path: Path) -> None:
    whole = {"bids": [[10, 3]], "asks": [[11, 4]], "timestamp": MS, "change_id": 7, "instrument_name": "BTC-PERPETUAL"}
    change = {**whole, "type": "snapshot", "bids": [["new", 10, 3]], "asks": [["new", 11, 4]]}
    paths = [
        put_json(tmp_path, "answer.json", answer(whole)),
        put_json(tmp_path, "changes.json", message("book.BTC-PERPETUAL.100ms", change)),
        put_json(tmp_path, "grouped.json", message("book.BTC-PERPETUAL.10.20.100ms", whole)),
    ]
    assert [layout(path) for path in paths] == ["deribit whole book", "deribit book", "deribit grouped book"]
    files = import_paths(paths, tmp_path / "store").files
    assert {(file.kind, file.symbol, file.accepted) for file in files} == {("book", "BTC-PERPETUAL", 2)}
    assert len({file.record_set for file in files}) == 3
