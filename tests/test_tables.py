"""Are plain tables read, each row known no sooner than it was over?"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import SourceError
from data.records import BARS, FUNDING, INDEX, TRADES
from data.sources.recognise import recognise
from raw_text import SHARED, layout, put, put_json, read, said

MS = 1704067200000
DAY = 86_400_000


def test_closes_alone_are_bars_of_unknown_range(tmp_path: Path) -> None:
    rows = ["2024-01-01 00:00:00,10", "2024-01-01 01:00:00,11", "2024-01-01 05:00:00,x"]
    path = put(tmp_path, "BTCUSDT.csv", "open_time,close", *rows)
    records = read(path)
    assert (layout(path), records.kind, records.symbol) == ("table of bars", BARS, "BTCUSDT")
    assert said(records, "opened", "time", "close")[1] == (
        "2024-01-01T01:00:00.000000",
        "2024-01-01T02:00:00.000000",
        11,
    )
    assert np.isnan(records["high"]).all()
    assert np.isnan(records["close"]).tolist() == [False, False, True]
    assert "volume" not in records.columns


def test_bars_by_name_in_any_order(tmp_path: Path) -> None:
    rows = [f"{stamp},1,2,4,0.5,9" for stamp in ("2024-01-01", "2024-01-02")]
    records = read(put(tmp_path, "ETH_1d.csv", "Date,Open,Close,High,Low,Volume", *rows))
    assert said(records, "time", "open", "high", "low", "close")[0] == ("2024-01-02T00:00:00.000000", 1, 4, 0.5, 2)
    assert "volume" not in records.columns  # of coins, dollars or contracts: nobody knows
    day = read(put(tmp_path, "ETH_1d.csv", "date,price", "2024-01-01,7"))
    assert said(day, "time", "close") == [("2024-01-02T00:00:00.000000", 7)]
    counted = read(put(tmp_path, "ETH.csv", "timestamp,close", f"{MS},1", f"{MS + 60_000},2"))
    assert said(counted, "time")[0] == ("2024-01-01T00:01:00.000000",)


def test_typed_tables_of_bars(tmp_path: Path) -> None:
    date = pd.date_range("2024-01-01", periods=3, freq="h", tz="Asia/Tokyo")
    frame = pd.DataFrame({"Date": date, "close": [1, 2, 3]})
    frame.to_parquet(tmp_path / "BTC.parquet")
    records = read(tmp_path / "BTC.parquet")
    assert said(records, "opened", "time", "close")[0] == (
        "2023-12-31T15:00:00.000000",
        "2023-12-31T16:00:00.000000",
        1,
    )


@pytest.mark.parametrize("columns", ["date,close,price", "date,open,close", "close,volume", "date,time,close"])
def test_tables_that_do_not_say_what_they_are_are_refused(tmp_path: Path, columns: str) -> None:
    with pytest.raises(SourceError, match="expected a known layout"):
        recognise(put(tmp_path, "BTC.csv", columns, ",".join(["2024-01-01"] * len(columns.split(",")))))


def test_levels_of_a_day_are_known_when_it_is_over(tmp_path: Path) -> None:
    vix = read(put(tmp_path, "vix.csv", "date,vix", "2024-01-05,13.5", "2024-01-08,13.1", "2024-01,1"))
    assert (vix.kind, vix.symbol) == (INDEX, "VIX")
    assert said(vix, "time", "value")[:2] == [
        ("2024-01-06T00:00:00.000000", 13.5),
        ("2024-01-09T00:00:00.000000", 13.1),
    ]
    assert np.isnat(vix["time"]).tolist() == [False, False, True]
    means = read(put(tmp_path, "funding_rates.csv", "date,funding_mean,funding_abs", "2024-01-05,1e-04,1e-04"))
    assert (means.kind, means.symbol) == (INDEX, "FUNDING_MEAN")  # a mean is nothing that anybody paid
    timed = read(put(tmp_path, "dvol.csv", "time,dvol", "2024-01-05 08:00:00,50"))
    assert said(timed, "time") == [("2024-01-05T08:00:00.000000",)]


def test_funding_histories(tmp_path: Path) -> None:
    rows = ["BTC-USDT,2024-01-01 03:00:00.000,-0.00012359", "BTC-USDT,2024-01-01 11:00:00,0.0001"]
    path = put(tmp_path, "BTC-USDT_mexc_2021-01-01_2024-01-01_funding_history.csv", "Symbol,Date,Funding Rate", *rows)
    records = read(path)
    assert (records.kind, records.venue, records.symbol) == (FUNDING, "mexc", "BTC-USDT")
    assert said(records, "time", "rate") == [
        ("2024-01-01T03:00:00.000000", -0.00012359),
        ("2024-01-01T11:00:00.000000", 0.0001),
    ]


def test_pairs_are_what_the_file_is_called(tmp_path: Path) -> None:
    rows = [[MS, 50.5], [MS + DAY, 51], [MS + 3 * DAY, None]]
    level = read(put_json(tmp_path, "dvol_btc.json", rows))
    assert (level.kind, level.venue, level.symbol) == (INDEX, "deribit", "BTC")
    assert said(level, "time", "value")[0] == ("2024-01-02T00:00:00.000000", 50.5)
    funding = read(put_json(tmp_path, "funding_rate_btc.json", rows))
    assert (funding.kind, said(funding, "time", "rate")[0]) == (FUNDING, ("2024-01-01T00:00:00.000000", 50.5))
    with pytest.raises(SourceError, match="expected a name that says what its pairs are"):
        recognise(put_json(tmp_path, "btc.json", rows))


def test_typed_trades(tmp_path: Path) -> None:
    stamps = pd.DatetimeIndex(["2024-01-01 00:00:00.278"] * 3, tz="UTC").as_unit("ms")
    frame = pd.DataFrame({"timestamp": stamps, "trade_id": [7, 8, 9], "price": 2.5, "quantity": 3.0})
    frame["buyer_maker"] = ["True", "False", None]
    frame.to_parquet(tmp_path / "btcusdt-trades.parquet")
    records = read(tmp_path / "btcusdt-trades.parquet")
    assert (records.kind, records.venue, records.symbol) == (TRADES, "binance", "BTCUSDT")
    assert said(records, "time", "id", "price", "size")[0] == ("2024-01-01T00:00:00.278000", 7, 2.5, 3)
    assert records["side"].tolist() == [-1, 1, -128]


def test_a_bar_that_still_runs_shortens_no_other(tmp_path: Path) -> None:
    rows = [f"2024-01-{day:02d} 00:00:00,{day}" for day in range(1, 10)]
    records = read(put(tmp_path, "BTC.csv", "date,close", *rows, "2024-01-09 13:27:00,9"))
    assert np.isnat(records["time"]).tolist() == [False] * 9 + [True]
    assert (records["time"] - records["opened"])[:9].tolist() == [86_400 * 10**9] * 9
    late = [MS + hour * 3_600_000 + (1000 if hour == 5 else 0) for hour in range(10)]
    hours = read(put(tmp_path, "BTC.csv", "timestamp,close", *(f"{stamp},{stamp}" for stamp in late)))
    assert np.flatnonzero(np.isnat(hours["time"])).tolist() == [5]


def test_months_end_with_the_calendar_and_days_with_their_clock(tmp_path: Path) -> None:
    months = [f"2024-{month:02d}-01" for month in range(1, 13)]
    records = read(put(tmp_path, "BTC.csv", "date,close", *(f"{month},1" for month in months)))
    assert records["time"].astype("datetime64[D]").astype(str).tolist() == [*months[1:], "2025-01-01"]
    days = pd.date_range("2024-10-20", "2024-11-05", freq="D", tz="Europe/Paris")
    local = read(put(tmp_path, "BTC.csv", "date,close", *(f"{day.isoformat()},1" for day in days)))
    np.testing.assert_array_equal(local["time"][:-1], local["opened"][1:])  # a day of 25 hours is not over after 24


def test_compact_stamps_are_dates(tmp_path: Path) -> None:
    records = read(put(tmp_path, "BTC.csv", "time,close", "202401310800,1", "202401310900,2"))
    assert said(records, "opened")[0] == ("2024-01-31T08:00:00.000000",)


def test_a_row_without_a_symbol_is_not_its_neighbours(tmp_path: Path) -> None:
    rows = ["BTC-USDT,2024-01-01 00:00:00,0.0001", ",2024-01-01 08:00:00,0.9", "BTC-USDT,2024-01-01 16:00:00,0.0002"]
    records = read(put(tmp_path, "BTC_funding.csv", "Symbol,Date,Funding Rate", *rows))
    assert np.isnat(records["time"]).tolist() == np.isnan(records["rate"]).tolist() == [False, True, False]


def typed(folder: Path, name: str, column: pa.Array) -> Path:
    """A table of bars one of whose columns is of another type."""
    stamps = pa.array(np.arange("2024-01-01", "2024-01-04", dtype="datetime64[D]").astype("datetime64[ns]"))
    pq.write_table(
        pa.table({**{"date": stamps, "close": pa.array([1.0, 2.0, 3.0])}, name: column}), folder / "BTC.parquet"
    )
    return folder / "BTC.parquet"


@pytest.mark.parametrize(
    "kind",
    [pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("us", "Asia/Tokyo"), pa.string(), pa.string_view()],
    ids=str,
)
def test_stamps_of_any_type_are_the_same_instants(tmp_path: Path, kind: pa.DataType) -> None:
    days = np.arange("2024-01-01", "2024-01-04", dtype="datetime64[D]")
    stamps = pa.array(days.astype(str) if "string" in str(kind) else days.astype("datetime64[ms]"))
    records = read(typed(tmp_path, "date", stamps if "string" in str(kind) else stamps.cast(kind)))
    np.testing.assert_array_equal(records["opened"], days)


def test_counts_of_any_type_are_the_same_instants(tmp_path: Path) -> None:
    counts = np.array([MS, MS + DAY, MS + 2 * DAY]) // 1000
    for kind in (pa.float64(), pa.uint64(), pa.decimal128(25, 3)):
        records = read(typed(tmp_path, "date", pa.array(counts).cast(kind)))
        np.testing.assert_array_equal(records["opened"], counts.astype("datetime64[s]"))
    huge = pa.array([*counts[:2].tolist(), 2**63 + 5], pa.uint64())
    assert np.isnat(read(typed(tmp_path, "date", huge))["opened"]).tolist() == [False, False, True]


@pytest.mark.parametrize("name", ["date", "close"])
def test_types_that_hold_nothing_of_the_sort_are_refused_by_column(tmp_path: Path, name: str) -> None:
    for column in (pa.array([[1.0]] * 3), pa.array([{"a": 1}] * 3)):
        with pytest.raises(SourceError, match=f"BTC.parquet, column '{name}': expected"):
            read(typed(tmp_path, name, column))


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no reference folder beside the checkout")
def test_real_tables_are_as_pandas_reads_them() -> None:
    hours, closes = (
        SHARED / "filipenovais+MarketGuessingGame" / "data" / "BTCUSDT_1h.csv",
        SHARED / "RobBudaghyan+mark6",
    )
    records, frame = read(hours), pd.read_csv(hours, parse_dates=["DateTime"])
    np.testing.assert_array_equal(records["opened"], frame["DateTime"].to_numpy("datetime64[ns]"))
    assert (records["time"] - records["opened"] == np.timedelta64(1, "h")).all()
    for name in ("Open", "High", "Low", "Close"):
        np.testing.assert_allclose(records[name.lower()], frame[name], rtol=1e-15)
    path = closes / "data" / "LUNAUSDT.csv"
    np.testing.assert_allclose(read(path)["close"], pd.read_csv(path)["close"], rtol=1e-15)
