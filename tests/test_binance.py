"""Are the files of Binance's archive recognised and read, each kind in all its shapes?"""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import SourceError
from data.records import BARS, INDEX, LIQUIDATIONS, METRICS, OPTIONS, QUOTES, TRADES, UNKNOWN, Records
from data.sources.layout import Head, Layout
from data.sources.raw_files import raw
from data.sources.recognise import layouts, read_records, recognise

SHARED = Path(__file__).parents[2] / "shared" / "data"
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="no reference folder beside the checkout")
MS = 1704067200000  # 2024-01-01
HOUR = 3_600_000
KLINES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
RENAMED = (
    "open_time,open,high,low,close,volume,close_time,quote_asset_volume,trades,taker_buy_base,taker_buy_quote,ignore"
)
AGG_TRADES = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"


def put(folder: Path, name: str, *lines: str) -> Path:
    """A file as the archive packs it: plain, in a zip or in gzip by its suffix."""
    path, text = folder / name, "".join(line + "\n" for line in lines)
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name.replace(".zip", ".csv"), text)
    else:
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def read(path: Path) -> Records:
    (records,) = read_records(path)
    return records


def said(records: Records, *names: str) -> list[tuple[object, ...]]:
    columns = [
        values.astype("datetime64[ms]").astype(str) if values.dtype.kind == "M" else values
        for values in (records[name] for name in names)
    ]
    return [*zip(*(column.tolist() for column in columns), strict=True)]


def kline(row: int, scale: int = 1, start: str = "") -> str:
    opened = (MS + row * HOUR) * scale
    return f"{start or opened},10,12,9,{11 + row},100,{opened + HOUR * scale - 1},1100,7,60,660,0"


@pytest.mark.parametrize("suffix", ["csv", "zip", "csv.gz"])
@pytest.mark.parametrize("header", [(), (KLINES,), (RENAMED,)])
@pytest.mark.parametrize("scale", [1, 1000])
def test_klines(tmp_path: Path, suffix: str, header: tuple[str, ...], scale: int) -> None:
    path = put(tmp_path, f"BTCUSDT-1h-2024-01.{suffix}", *header, *(kline(row, scale) for row in range(3)))
    records = read(path)
    assert (recognise(path).layout.name, records.kind, records.symbol) == ("binance klines", BARS, "BTCUSDT")
    assert said(records, "opened", "time", "close")[1] == ("2024-01-01T01:00:00.000", "2024-01-01T02:00:00.000", 12.0)
    figures = said(records, "open", "high", "low", "volume", "quote_volume", "count")
    assert figures[0] == (10, 12, 9, 100, 1100, 7)
    assert said(records, "taker_buy_volume", "taker_buy_quote_volume")[0] == (60, 660)
    assert records.row.tolist() == [1, 2, 3]


def test_klines_with_text_stamps_and_columns_past_the_twelfth(tmp_path: Path) -> None:
    head = RENAMED + ",open_time.1,open_time"
    rows = [kline(row, start=f"2024-01-01 0{row}:00:00+00:00") + ",," for row in range(3)]
    records = read(put(tmp_path, "DOGEUSDT.csv", head, *rows))
    assert said(records, "opened", "time")[2] == ("2024-01-01T02:00:00.000", "2024-01-01T03:00:00.000")
    assert (records.venue, records.symbol) == ("binance", "DOGEUSDT")


def test_coin_margined_klines_count_contracts_and_have_no_quote_volume(tmp_path: Path) -> None:
    records = read(put(tmp_path, "BTCUSD_PERP-1h-2024-01.zip", KLINES, kline(0)))
    assert (records.venue, records.symbol) == ("binance-delivery", "BTCUSD_PERP")
    assert said(records, "volume", "taker_buy_volume") == [(100, 60)]
    assert "quote_volume" not in records.columns  # the eighth column is of base here
    dated = read(put(tmp_path, "ETHUSD_240628-1h-2024-01.csv", kline(0)))
    assert (dated.venue, dated.symbol) == ("binance-delivery", "ETHUSD_240628")


def test_klines_of_a_mark_price_are_levels_and_no_bars(tmp_path: Path) -> None:
    level = kline(0).replace(",100,", ",0,").replace(",1100,7,60,660,", ",0,60,0,0,")
    folder = tmp_path / "markPriceKlines"
    folder.mkdir()
    path = put(folder, "BTCUSDT-1h-2024-01.zip", KLINES, level)
    records = read(path)
    assert (records.venue, records.symbol) == ("binance-futures", "BTCUSDT_MARK")
    assert (recognise(path).layout.name, records.kind) == ("binance index klines", INDEX)
    assert said(records, "time", "value", "open", "high", "low") == [("2024-01-01T01:00:00.000", 11, 10, 12, 9)]
    asleep = level.replace(",60,0,0,0", ",0,0,0,0").replace(",10,12,9,11,", ",10,10,10,10,")
    assert read(put(tmp_path, "BTCUSDT-1m-2020-01.csv", asleep)).kind is BARS


@pytest.mark.parametrize("count", [0, 60])
def test_marks_indices_and_premiums_are_three_levels_whatever_their_counts(tmp_path: Path, count: int) -> None:
    level = kline(0).replace(",100,", ",0,").replace(",1100,7,60,660,", f",0,{count},0,0,")
    named = {"markPriceKlines": "MARK", "indexPriceKlines": "INDEX", "premiumIndexKlines": "PREMIUM"}
    for word, told in named.items():
        (tmp_path / word / "BTCUSDT").mkdir(parents=True)
        by_folder = read(put(tmp_path / word / "BTCUSDT", "BTCUSDT-1h-2024-01.csv", KLINES, level))
        by_name = read(put(tmp_path, f"BTCUSDT-{word}-1h-2024-01.csv", level))
        for records in (by_folder, by_name):
            assert (records.kind, records.venue, records.symbol) == (INDEX, "binance-futures", f"BTCUSDT_{told}")
    with pytest.raises(SourceError, match="expected a folder such as markPriceKlines"):
        recognise(put(tmp_path, "BTCUSDT-1h-2024-01.csv", KLINES, level))


def test_klines_of_futures_are_never_taken_for_spot(tmp_path: Path) -> None:
    assert read(put(tmp_path, "BTCUSDT-1h-2024-01.csv", KLINES, kline(0))).venue == "unknown"
    for folder, venue in {"um": "binance-futures", "spot": "binance", "cm": "binance-delivery"}.items():
        (tmp_path / folder).mkdir()
        assert read(put(tmp_path / folder, "BTCUSDT-1h-2024-01.csv", KLINES, kline(0))).venue == venue
    mark = tmp_path / "mark"
    mark.mkdir()
    assert read(put(mark, "BTCUSDT-1h-2024-01.csv", kline(0))).kind is BARS  # a person's folder


@pytest.mark.parametrize(
    ("file", "symbol"),
    [
        ("2023-BTCUSDT.csv", "BTCUSDT"),
        ("BTC_USDT-1h.csv", "BTC_USDT"),
        ("BTC_BUSD-1h.csv", "BTC_BUSD"),
        ("BTC-USDT-1h-2024-01.csv", "BTC-USDT"),
        ("1000PEPEUSDT-1mo-2024-01.csv", "1000PEPEUSDT"),
        ("BTCUSDT_240628-1h-2024-01.csv", "BTCUSDT_240628"),
        ("BTCUSDT_1h_2024.csv", "BTCUSDT"),
        ("币安人生USDT-1h-2025-10.csv", "币安人生USDT"),
        ("2023-btcusdt.csv", "BTCUSDT"),
    ],
)
def test_one_symbol_a_name(tmp_path: Path, file: str, symbol: str) -> None:
    assert read(put(tmp_path, file, kline(0))).symbol == symbol


def test_quoted_stamps_and_trailing_commas_are_read(tmp_path: Path) -> None:
    plain = read(put(tmp_path, "BTCUSDT-1h.csv", KLINES, kline(0), kline(1)))
    quoted = [",".join(f'"{cell}"' for cell in line.split(",")) for line in (kline(0), kline(1))]
    for lines in (quoted, [kline(0) + ",", kline(1) + ","]):
        records = read(put(tmp_path, "BTCUSDT-1h.csv", KLINES, *lines))
        assert said(records, "opened", "time", "close") == said(plain, "opened", "time", "close")
    with pytest.raises(SourceError, match="separated by semicolons"):
        recognise(put(tmp_path, "BTCUSDT-1h.csv", KLINES, kline(0).replace(",", ";")))


@pytest.mark.parametrize(
    ("name", "lines", "venue"),
    [
        (
            "BTCUSDT-aggTrades-2024-01-01.zip",
            (f"7,42000.5,0.25,1,2,{MS},True,True", f"8,42001,1,3,3,{MS},False,True"),
            0,
        ),
        (
            "BTCUSDT-aggTrades-2025-01-01.csv",
            (f"7,42000.5,0.25,1,2,{MS}000,True,True", f"8,42001,1,3,3,{MS}000,False,True"),
            0,
        ),
        ("BTCUSDT-aggTrades-2021-01-01.csv", (f"7,42000.5,0.25,1,2,{MS},true", f"8,42001,1,3,3,{MS},false"), 0),
        (
            "BTCUSDT-aggTrades-2024-01-01.csv",
            (AGG_TRADES, f"7,42000.5,0.25,1,2,{MS},true", f"8,42001,1,3,3,{MS},false"),
            1,
        ),
        (
            "BTCUSDT-trades-2024-01-01.csv",
            (f"7,42000.5,0.25,10500.1,{MS},True,True", f"8,42001,1,42001,{MS},False,True"),
            0,
        ),
        ("BTCUSDT-trades-2021-01-01.csv", (f"7,42000.5,0.25,10500.1,{MS},true", f"8,42001,1,42001,{MS},false"), 0),
        (
            "BTCUSDT-trades-2024-01-01.zip",
            ("id,price,qty,quote_qty,time,is_buyer_maker", f"7,42000.5,0.25,1,{MS},true", f"8,42001,1,4,{MS},false"),
            1,
        ),
        (
            "BTCUSD_PERP-trades-2024-01-01.zip",
            ("id,price,qty,base_qty,time,is_buyer_maker", f"7,42000.5,0.25,1,{MS},true", f"8,42001,1,4,{MS},false"),
            2,
        ),
    ],
)
def test_trades(tmp_path: Path, name: str, lines: tuple[str, ...], venue: int) -> None:
    path = put(tmp_path, name, *lines)
    records = read(path)
    assert recognise(path).layout.name == f"binance {name.split('-')[1]}"
    assert records.kind is TRADES
    assert records.venue == ("binance", "binance-futures", "binance-delivery")[venue]
    assert said(records, "id", "price", "size", "side") == [(7, 42000.5, 0.25, -1), (8, 42001, 1, 1)]
    assert said(records, "time")[0] == ("2024-01-01T00:00:00.000",)


def test_the_folders_of_the_archive_tell_the_market(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "futures" / "um" / "monthly"
    folder.mkdir(parents=True)
    assert read(put(folder, "BTCUSDT-1h-2021-01.csv", kline(0))).venue == "binance-futures"
    assert read(put(tmp_path, "BTCUSDT-1h-2021-01.csv", kline(0))).venue == "binance"


def test_bad_cells_become_unknown_and_stay(tmp_path: Path) -> None:
    good = f"7,42000.5,0.25,1,2,{MS},true"
    bad = ["8,,0.25,1,2,x,true", "9,1,2", f"x,4x,1,1,2,{MS},maybe", ""]
    records = read(put(tmp_path, "BTCUSDT-aggTrades-2024-01-01.csv", AGG_TRADES, good, *bad, good))
    assert records.row.tolist() == [1, 2, 3, 4, 5, 6]
    assert np.isnan(records["price"]).tolist() == [False, True, True, True, True, False]
    assert np.isnat(records["time"]).tolist() == [False, True, True, False, True, False]
    assert records["side"].tolist() == [-1, -1, 0, -128, 0, -1]
    assert records["id"].tolist() == [7, 8, UNKNOWN, UNKNOWN, UNKNOWN, 7]


def test_funding(tmp_path: Path) -> None:
    head = "calc_time,funding_interval_hours,last_funding_rate"
    records = read(put(tmp_path, "BTCUSDT-fundingRate-2024-01.zip", head, f"{MS + 7},8,0.00037409", f"{MS},4,-0.0001"))
    assert (records.kind.name, records.venue) == ("funding", "binance-futures")
    assert said(records, "time", "rate", "interval") == [
        ("2024-01-01T00:00:00.007", 0.00037409, 8),
        ("2024-01-01T00:00:00.000", -0.0001, 4),
    ]


def test_metrics_of_another_symbol_have_no_instant(tmp_path: Path) -> None:
    head = (
        "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
        "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
    )
    rows = [
        "2024-01-01 00:05:00,BTCUSDT,80000.5,3400000000,1.2,1.1,1.5,0.9",
        "2024-01-01 00:00:00,BTCUSDT,80000,3390000000,,,,",
        "2024-01-01 00:10:00,ETHUSDT,1,2,3,4,5,6",
    ]
    records = read(put(tmp_path, "BTCUSDT-metrics-2024-01-01.zip", head, *rows))
    assert (records.kind, records.symbol) == (METRICS, "BTCUSDT")
    assert said(records, "time", "open_interest", "open_interest_value", "long_short_ratio", "taker_ratio")[0] == (
        *("2024-01-01T00:05:00.000", 80000.5, 3.4e9, 1.5, 0.9),
    )
    assert np.isnan(records["taker_ratio"]).tolist() == [False, True, False]
    assert np.isnat(records["time"]).tolist() == [False, False, True]
    renamed = read(put(tmp_path, "metrics.csv", head, rows[2]))
    assert (renamed.symbol, len(renamed)) == ("ETHUSDT", 1)


def test_depth(tmp_path: Path) -> None:
    head = "timestamp,percentage,depth,notional"
    rows = ["2024-01-01 00:00:08,-5,7000.5,290000000", "2024-01-01 00:00:08,0.20,10,420000"]
    records = read(put(tmp_path, "BTCUSDT-bookDepth-2024-01-01.zip", head, *rows))
    assert said(records, "time", "band", "size", "notional") == [
        ("2024-01-01T00:00:08.000", -0.05, 7000.5, 2.9e8),
        ("2024-01-01T00:00:08.000", 0.002, 10, 420000),
    ]


@pytest.mark.parametrize("header", [True, False])
def test_quotes(tmp_path: Path, header: bool) -> None:
    head = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time"
    row = f"3400000000001,42000.1,3.5,42000.2,1.5,{MS},{MS + 4}"
    records = read(put(tmp_path, "BTCUSDT-bookTicker-2024-01-01.zip", *([head] if header else []), row))
    assert records.kind is QUOTES
    expected = ("2024-01-01T00:00:00.000", 42000.1, 3.5, 42000.2, 1.5, 3400000000001)
    assert said(records, "time", "bid", "bid_size", "ask", "ask_size", "update") == [expected]


def test_liquidations_are_at_the_price_that_was_paid(tmp_path: Path) -> None:
    head = (
        "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,"
        "accumulated_fill_quantity"
    )
    rows = [f"{MS},SELL,LIMIT,IOC,10,41000,42000.5,FILLED,3,10", f"{MS},BUY,LIMIT,IOC,4,43000,42500,FILLED,4,4"]
    records = read(put(tmp_path, "BTCUSD_PERP-liquidationSnapshot-2024-01-01.zip", head, *rows))
    assert (records.kind, records.venue) == (LIQUIDATIONS, "binance-delivery")
    assert said(records, "price", "size", "side") == [(42000.5, 10, -1), (42500, 4, 1)]


def test_the_volatility_index(tmp_path: Path) -> None:
    head = "calc_time,symbol,base_asset,quote_asset,index_value"
    row = f"{MS},BTCBVOLUSDT,BTCBVOL,USDT,52.3105"
    records = read(put(tmp_path, "BTCBVOLUSDT-BVOLIndex-2024-01-01.zip", head, row))
    assert (records.kind, records.symbol) == (INDEX, "BTCBVOLUSDT")
    assert said(records, "time", "value") == [("2024-01-01T00:00:00.000", 52.3105)]


def test_option_summaries_are_known_when_their_hour_ends(tmp_path: Path) -> None:
    head = (
        "date,hour,symbol,underlying,type,strike,open,high,low,close,volume_contracts,volume_usdt,best_bid_price,"
        "best_ask_price,best_bid_qty,best_ask_qty,best_buy_iv,best_sell_iv,mark_price,mark_iv,delta,gamma,vega,theta,"
        "openinterest_contracts,openinterest_usdt"
    )
    tail = "900,950,880,920,1.5,1400,910,930,1,1,0.41,0.43,920,0.42,0.6,0.1,20,-30,12,11000"
    rows = [
        f"2023-10-20,7,BTC-231027-33000-C,BTCUSDT,C,231027-33000,{tail}",
        f"2023-10-20,23,BTC-231027-33000-P,BTCUSDT,P,231027-33000,{tail.replace('910,930', ',')}",
        f"2023-10-20,7,BTC-231027-33000-P,BTCUSDT,C,231027-33000,{tail}",
        f"2023-10-20,24,BTC-231027-34000-C,BTCUSDT,C,231027-34000,{tail}",
        f"2023-10-20,7,BTC-231027-33000-C,BTCUSDT,C,231027,{tail}",
    ]
    records = read(put(tmp_path, "BTCUSDT-EOHSummary-2023-10-20.zip", head, *rows))
    assert records.kind is OPTIONS
    assert said(records, "time", "symbol", "underlying", "strike", "expiry", "call")[0] == (
        *("2023-10-20T08:00:00.000", "BTC-231027-33000-C", "BTCUSDT", 33000, "2023-10-27T08:00:00.000", True),
    )
    assert said(records, "bid", "ask", "mark", "last", "bid_iv", "ask_iv", "mark_iv", "open_interest", "volume")[0] == (
        *(910, 930, 920, 920, 0.41, 0.43, 0.42, 12, 1.5),
    )
    assert said(records, "time", "call")[1] == ("2023-10-21T00:00:00.000", False)
    assert np.isnan(records["bid"])[1]
    assert np.isnan(records["strike"]).tolist() == [False, False, True, False, True]  # the name says otherwise
    assert np.isnat(records["time"]).tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("a,b,c", "1,2,3"), "csv with the columns 'a, b, c'"),
        ((KLINES.replace("high", "hiqh"), kline(0)), "csv with the columns 'open_time, open, hiqh"),
        (("1,2,3",), "3 cells a line without a header, '1,2,3'"),
        ((kline(0).replace(str(MS), "5"),), "12 cells a line without a header"),
        ((KLINES.replace(",", ";"), kline(0).replace(",", ";")), "separated by semicolons"),
        (('{"a": 1, "b": 2}',), r"json of \['a', 'b'\]"),
        (("[1, 2]",), "json of list"),
    ],
)
def test_what_nobody_knows_is_refused(tmp_path: Path, lines: tuple[str, ...], says: str) -> None:
    with pytest.raises(SourceError, match=f"BTCUSDT-1h.csv: expected a known layout, got .*{says}"):
        recognise(put(tmp_path, "BTCUSDT-1h.csv", *lines))


def test_an_archive_that_holds_another_symbol_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "BTCUSDT-1h-2024-01.zip", kline(0))
    other = path.rename(tmp_path / "ETHUSDT-1h-2024-01.zip")
    with pytest.raises(SourceError, match=r"expected ETHUSDT in the archive, got BTCUSDT-1h-2024-01\.csv"):
        read(other)


def test_an_archive_that_breaks_off_is_an_error_and_no_shorter_table(tmp_path: Path) -> None:
    path = put(tmp_path, "BTCUSDT-1h-2024-01.csv.gz", *(kline(row) for row in range(20_000)))
    assert sum(len(records) for records in read_records(path)) == 20_000
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="can be unpacked"):
        [*read_records(path)]


def test_batches_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        f"{row},{40000 + row % 97 / 10},{row % 13 / 1000:.3f},1,2,{MS + row},{row % 3 == 0}" for row in range(9000)
    ]
    path = put(tmp_path, "BTCUSDT-aggTrades-2024-01-01.csv", AGG_TRADES, *lines)
    whole = read(path)
    monkeypatch.setattr("data.sources.csv_batches.BLOCK", 1 << 12)
    pieces = [*read_records(path)]
    assert len(pieces) > 50
    for name in whole.columns:
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), whole[name])
    np.testing.assert_array_equal(np.concatenate([piece.row for piece in pieces]), whole.row)


def test_every_layout_has_a_name_of_its_own() -> None:
    names = [layout.name for layout in layouts()]
    assert len(set(names)) == len(names)


@pytest.mark.shared
@NEEDS_SHARED
@pytest.mark.parametrize("symbol", ["BTCUSDT", "DOGEUSDT", "ETHUSDT", "LINKUSDT", "LTCUSDT", "XRPUSDT"])
def test_real_klines(symbol: str) -> None:
    path = SHARED / "djienne+Hurst_Crypto" / "data" / f"{symbol}.csv"
    records, frame = read(path), pd.read_csv(path)
    assert (recognise(path).layout.name, records.symbol, records.venue) == ("binance klines", symbol, "binance")
    opened = pd.DatetimeIndex(frame["open_time"]).tz_localize(None)
    np.testing.assert_array_equal(records["opened"], opened.to_numpy())
    short = records["time"] < records["opened"] + np.timedelta64(1, "D")  # the day the venue stood still, as it says
    assert [str(day)[:10] for day in records["opened"][short]] in ([], ["2018-02-08"])
    np.testing.assert_array_equal(records["time"][~short], opened.to_numpy()[~short] + np.timedelta64(1, "D"))
    theirs = {"volume": "volume", "count": "trades", "taker_buy_volume": "taker_buy_base", "close": "close"}
    for ours, column in theirs.items():
        np.testing.assert_allclose(records[ours], frame[column], rtol=1e-15)


@pytest.mark.shared
@NEEDS_SHARED
def test_no_real_file_is_claimed_twice() -> None:
    files = [path for path in sorted(SHARED.rglob("*")) if path.is_file()]
    heads = [raw(path).head for path in files if path.name not in ("LICENSE", "MANIFEST.sha256")]
    claims = {head.file: [layout.name for layout in layouts() if claimed(layout, head)] for head in heads}
    assert len(files) > 50
    assert {file: names for file, names in claims.items() if len(names) > 1} == {}


def claimed(layout: Layout, head: Head) -> bool:
    try:
        return layout.claims(head)
    except SourceError:  # one of its own that it cannot read rightly
        return True
