"""Are a user's own files read right, or refused for the right reason?"""

import gzip
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Clock, DataError, HistoryError, MarginlabError, MarketHistory, ParameterError, SourceError
from data.sources import cells
from data.sources.files import read_prices

SHARED = Path(__file__).parents[2] / "shared" / "data"
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the reference folder {SHARED} is absent")

WIDE = "date,BTC,ETH\n2024-01-01,1.5,10\n2024-01-02,2.5,20\n2024-01-03,3.5,30\n"
BARS = """time,open,high,low,close,volume
2024-01-01T00:00:00Z,1,3,0.5,2,7
2024-01-01T01:00:00Z,2,4,1.5,3,8
2024-01-01T02:00:00Z,3,5,2.5,4,9
"""
JANUARY = 1_704_067_200_000  # 2024-01-01 in milliseconds

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(text: str, name: str = "BTC.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, newline="")
        return path

    return to


def kline(start: int, close: float, step: int = 3_600_000) -> str:
    return f"{start},{close},{close + 1},{close - 0.5},{close},9.5,{start + step - 1},1,2,3,4,0\n"


def klines(count: int = 3, step: int = 3_600_000, start: int = JANUARY) -> str:
    return "".join(kline(start + row * step, row + 1.0, step) for row in range(count))


def stamps(history: MarketHistory) -> list[str]:
    return [str(instant)[:16] for instant in history.time]


def spot(history: MarketHistory) -> list[list[float]]:
    rows: list[list[float]] = history.spot.tolist()
    return rows


# What is read


def test_a_wide_table_has_an_asset_a_column(write: Write) -> None:
    history = read_prices([write(WIDE, "closes.csv")])
    assert history.underlyings == ("BTC", "ETH")
    assert stamps(history) == ["2024-01-01T00:00", "2024-01-02T00:00", "2024-01-03T00:00"]
    assert spot(history) == [[1.5, 10], [2.5, 20], [3.5, 30]]
    assert history.clock == Clock("1D")
    assert history.source == "closes.csv: 0 holes"


def test_one_path_needs_no_list(write: Write) -> None:
    path = write(WIDE)
    assert spot(read_prices(path)) == spot(read_prices(str(path))) == spot(read_prices([path]))


def test_bars_bring_their_range_and_volume(write: Write) -> None:
    history = read_prices([write(BARS)])
    assert history.underlyings == ("BTC",)
    panels = [history.high, history.low, history.volume]
    assert [panel.ravel().tolist() for panel in panels if panel is not None] == [[3, 4, 5], [0.5, 1.5, 2.5], [7, 8, 9]]
    assert stamps(history) == ["2024-01-01T00:00", "2024-01-01T01:00", "2024-01-01T02:00"]


@pytest.mark.parametrize("pack", ["gz", "zip"])
def test_packed_files_say_the_same(write: Write, tmp_path: Path, pack: str) -> None:
    plain = read_prices([write(BARS)])
    if pack == "gz":
        path = tmp_path / "BTC.csv.gz"
        path.write_bytes(gzip.compress(BARS.encode()))
    else:
        path = tmp_path / "BTC.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.csv", BARS)
    packed = read_prices([path])
    assert packed.underlyings == plain.underlyings
    assert packed.to_frame().equals(plain.to_frame())


@pytest.mark.parametrize("named", [None, "Date"])
def test_parquet_and_csv_give_the_same_bits(write: Write, tmp_path: Path, named: str | None) -> None:
    index = pd.date_range("2024-01-01", periods=200, freq="1h", tz="UTC", name=named)
    prices = np.exp(np.random.default_rng(1).normal(size=(200, 3)))
    frame = pd.DataFrame(prices, index=index, columns=["BTC", "ETH", "SOL"])
    frame.to_parquet(tmp_path / "x.parquet")
    from_csv = read_prices([write(frame.to_csv())])
    from_parquet = read_prices([tmp_path / "x.parquet"])
    assert from_csv.spot.tobytes() == from_parquet.spot.tobytes() == prices.tobytes()
    assert np.array_equal(from_csv.time, from_parquet.time)


@pytest.mark.parametrize("name", ["time", "Timestamp", "DATE", "Date Time", "unix", "", "session"])
def test_the_time_column_is_found_by_name_or_stands_first(write: Write, name: str) -> None:
    assert spot(read_prices([write(WIDE.replace("date", name, 1))])) == [[1.5, 10], [2.5, 20], [3.5, 30]]


def test_the_time_column_may_stand_behind_a_row_number(write: Write) -> None:
    text = ",BTC,date\n0,1.5,2024-01-01\n1,2.5,2024-01-02\n"
    history = read_prices([write(text)])
    assert history.underlyings == ("BTC",)
    assert spot(history) == [[1.5], [2.5]]


@pytest.mark.parametrize("scale", [0.001, 1, 1000, 1_000_000])
def test_epochs_are_told_apart_by_magnitude(write: Write, scale: float) -> None:
    text = "timestamp,close\n" + "".join(f"{int((JANUARY + h * 3_600_000) * scale)},{h + 1}\n" for h in range(3))
    assert stamps(read_prices([write(text)])) == ["2024-01-01T00:00", "2024-01-01T01:00", "2024-01-01T02:00"]


def test_epochs_may_be_seconds_with_a_fraction(write: Write) -> None:
    history = read_prices([write("timestamp,close\n1704067200.0,1\n1704067200.25,2\n1704067200.5,3\n")])
    assert [str(instant)[17:] for instant in history.time] == ["00.000000000", "00.250000000", "00.500000000"]


def test_eight_digits_are_a_date(write: Write) -> None:
    assert stamps(read_prices([write("date,close\n20240101,1\n20240102,2\n")])) == [
        "2024-01-01T00:00",
        "2024-01-02T00:00",
    ]


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+0000", "+00", " UTC"])
def test_zones_may_be_written_in_any_usual_way(write: Write, zone: str) -> None:
    text = f"time,close\n2024-01-01 10:00:00{zone},1\n2024-01-01 11:00:00{zone},2\n"
    assert stamps(read_prices([write(text)])) == ["2024-01-01T10:00", "2024-01-01T11:00"]


def test_offsets_are_taken_into_account(write: Write) -> None:
    text = "time,close\n2024-01-01T10:00:00+08:00,1\n2024-01-01T11:00:00+08:00,2\n"
    assert stamps(read_prices([write(text)], tz="America/New_York")) == ["2024-01-01T02:00", "2024-01-01T03:00"]


def test_close_is_preferred_to_adjusted_close(write: Write) -> None:
    text = "Date,Adj Close,Close\n2024-01-01,1,2\n2024-01-02,3,4\n"
    assert spot(read_prices([write(text)])) == [[2], [4]]
    assert spot(read_prices([write(text.replace(",Close", ",Vwap"))])) == [[1], [3]]


def test_a_file_of_price_and_volume_is_one_asset(write: Write) -> None:
    history = read_prices([write("date,price,volume\n2024-01-01,5,100\n2024-01-02,6,200\n", "btc_price_volume.csv")])
    assert history.underlyings == ("btc",)
    assert history.volume is not None
    assert history.volume.tolist() == [[100], [200]]


def test_blank_surplus_columns_are_no_columns(write: Write) -> None:
    text = "open_time,close,open_time.1,open_time\n2024-01-01,1,,\n2024-01-02,2,,\n"
    assert spot(read_prices([write(text)])) == [[1], [2]]


@pytest.mark.parametrize(
    ("names", "assets"),
    [
        (["BTCUSDT_1h.csv", "ETHUSDT_1h.csv"], ("BTCUSDT", "ETHUSDT")),
        (["BTC-USD.csv", "BTC-EUR.csv"], ("BTC-USD", "BTC-EUR")),
        (["BTC.csv", "ETH.csv"], ("BTC", "ETH")),
    ],
)
def test_assets_are_named_by_their_files(write: Write, names: Sequence[str], assets: tuple[str, ...]) -> None:
    assert read_prices([write(BARS, name) for name in names]).underlyings == assets


def test_a_symbol_column_names_the_asset(write: Write) -> None:
    text = "time,symbol,close\n2024-01-01,XRP,1\n2024-01-02,XRP,2\n"
    assert read_prices([write(text)]).underlyings == ("XRP",)


# When a close is known


def test_klines_without_a_header_are_labelled_by_the_end_of_their_bars(write: Write) -> None:
    history = read_prices([write(klines(), "BTCUSDT-1h-2024-01.csv")])
    assert history.underlyings == ("BTCUSDT",)
    assert stamps(history) == ["2024-01-01T01:00", "2024-01-01T02:00", "2024-01-01T03:00"]
    assert spot(history) == [[1], [2], [3]]
    assert history.high is not None
    assert history.high.tolist() == [[2], [3], [4]]


def test_daily_klines_keep_their_date(write: Write) -> None:
    history = read_prices([write(klines(step=86_400_000))])
    assert stamps(history) == ["2024-01-01T00:00", "2024-01-02T00:00", "2024-01-03T00:00"]


def test_days_that_open_at_another_hour_are_labelled_by_the_instant_they_end(write: Write) -> None:
    history = read_prices([write(klines(step=86_400_000, start=JANUARY + 8 * 3_600_000))])
    assert stamps(history)[0] == "2024-01-02T08:00"


def test_weekly_bars_are_labelled_by_their_last_day(write: Write) -> None:
    assert stamps(read_prices([write(klines(step=7 * 86_400_000))]))[0] == "2024-01-07T00:00"


@pytest.mark.parametrize(("step", "first"), [(3_600_000, "2024-01-01T01:00"), (86_400_000, "2024-01-01T00:00")])
def test_files_by_close_time_agree_with_files_by_open_time(write: Write, step: int, first: str) -> None:
    closing = "".join(f"{JANUARY + row * step - 1},{row}\n" for row in (1, 2, 3))
    history = read_prices([write("close_time,close\n" + closing, "A.csv"), write(klines(step=step), "B.csv")])
    assert stamps(history)[0] == first
    assert spot(history) == [[1, 1], [2, 2], [3, 3]]


def test_plain_dates_stay_under_any_name(write: Write) -> None:
    for name in ("date", "open_time", "close_time"):
        assert stamps(read_prices([write(WIDE.replace("date", name))]))[0] == "2024-01-01T00:00"


def test_stamps_that_do_not_say_are_as_stamped_unless_told(write: Write) -> None:
    path = write(BARS)
    assert stamps(read_prices([path]))[0] == "2024-01-01T00:00"
    assert stamps(read_prices([path], label="close"))[0] == "2024-01-01T00:00"
    assert stamps(read_prices([path], label="open"))[0] == "2024-01-01T01:00"


def test_stamps_that_say_are_not_joined_to_stamps_that_do_not(write: Write) -> None:
    paths = [write(BARS, "A.csv"), write(klines(), "B.csv")]
    with pytest.raises(DataError, match=r"got A\.csv, whose time column does not say"):
        read_prices(paths)
    assert spot(read_prices(paths, label="open")) == [[2, 1], [3, 2], [4, 3]]


def test_daily_bars_are_not_joined_to_hourly_ones(write: Write) -> None:
    with pytest.raises(DataError, match=r"one length, got 1D in B.csv, 1h in A.csv"):
        read_prices([write(klines(), "A.csv"), write(klines(step=86_400_000), "B.csv")])


# Zones


def test_naive_intraday_stamps_need_a_zone(write: Write) -> None:
    path = write(BARS.replace("Z", ""))
    with pytest.raises(DataError, match=r"BTC.csv: intraday stamps need a zone"):
        read_prices([path])
    assert stamps(read_prices([path], tz="Asia/Tokyo"))[0] == "2023-12-31T15:00"


def test_dates_need_no_zone_and_ignore_it(write: Write) -> None:
    assert stamps(read_prices([write(WIDE)], tz="America/New_York"))[0] == "2024-01-01T00:00"


def test_the_hour_that_spring_skips_is_no_gap(write: Write) -> None:
    text = "time,close\n2024-03-10 00:30,1\n2024-03-10 01:30,2\n2024-03-10 03:30,3\n2024-03-10 04:30,4\n"
    history = read_prices([write(text)], tz="America/New_York")
    assert stamps(history) == ["2024-03-10T05:30", "2024-03-10T06:30", "2024-03-10T07:30", "2024-03-10T08:30"]


@pytest.mark.parametrize("hour", ["2024-03-10 02:30", "2024-11-03 01:30"])
def test_hours_that_do_not_exist_once_are_refused(write: Write, hour: str) -> None:
    text = f"time,close\n{hour[:10]} 00:30,1\n{hour},2\n"
    with pytest.raises(DataError, match=r"BTC.csv, line 3, column 'time': expected a time that the clocks of America"):
        read_prices([write(text)], tz="America/New_York")


# Several files


def test_files_of_different_ranges_leave_holes(write: Write) -> None:
    late = "date,close\n2024-01-03,5\n2024-01-05,6\n2024-01-06,7\n"
    history = read_prices([write(WIDE, "wide.csv"), write(late, "SOL.csv")])
    assert history.underlyings == ("BTC", "ETH", "SOL")
    nan = float("nan")
    expected = [[1.5, 10, nan], [2.5, 20, nan], [3.5, 30, 5], [nan] * 3, [nan, nan, 6], [nan, nan, 7]]
    assert np.array_equal(history.spot, expected, equal_nan=True)
    assert history.source == "wide.csv, SOL.csv: 9 holes"


def test_an_asset_without_a_range_has_a_blank_one(write: Write) -> None:
    history = read_prices(
        [write(BARS, "A.csv"), write("time,close\n" + "2024-01-01T01:00Z,1\n2024-01-01T02:00Z,1\n", "B.csv")]
    )
    assert history.high is not None
    assert np.isnan(history.high[:, 1]).all()
    assert history.high[:, 0].tolist() == [3, 4, 5]


def test_dated_pieces_are_one_series_in_any_order(write: Write) -> None:
    later = klines(start=JANUARY + 4 * 3_600_000)
    paths = [write(later, "BTC-1h-2024-02.csv"), write(klines(), "BTC-1h-2024-01.csv")]
    history = read_prices(paths)
    assert history.underlyings == ("BTC",)
    assert history.spot[:, 0] == pytest.approx([1, 2, 3, np.nan, 1, 2, 3], nan_ok=True)


def test_pieces_that_overlap_are_refused(write: Write) -> None:
    paths = [write(klines(), "BTC-1h-2024-01.csv"), write(klines(), "BTC-1h-2024-02.csv")]
    with pytest.raises(DataError, match=r"BTC-1h-2024-02.csv: expected 'BTC' to go on after BTC-1h-2024-01.csv"):
        read_prices(paths)


def test_one_asset_in_two_files_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"expected 'BTC' in one file, got it in BTC.csv and x.csv"):
        read_prices([write(BARS), write(BARS.replace("time", "time,symbol").replace("Z,", "Z,BTC,"), "x.csv")])


def test_files_at_other_minutes_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match="same times of day"):
        read_prices([write(BARS, "A.csv"), write(BARS.replace(":00:00Z", ":30:00Z"), "B.csv")])


def test_sessions_and_calendar_days_join_by_day(write: Write) -> None:
    days = pd.bdate_range("2024-01-01", periods=15)
    stock = "date,close\n" + "".join(f"{day:%Y-%m-%d},{k + 1}\n" for k, day in enumerate(days))
    assert read_prices([write(stock, "SPY.csv")]).clock == Clock("1B")
    joined = read_prices([write(stock, "SPY.csv"), write(WIDE, "wide.csv")])
    assert joined.clock == Clock("1D")
    assert np.isnan(joined.spot[5, 0])


def test_holidays_make_a_clock_of_sessions(write: Write) -> None:
    text = "date,close\n2024-01-12,1\n2024-01-16,2\n2024-01-17,3\n"
    history = read_prices([write(text)], holidays=["2024-01-15"])
    assert history.clock == Clock("1B", ("2024-01-15",))
    assert spot(history) == [[1], [2], [3]]


# What is refused


def test_a_blank_close_is_refused_or_a_hole(write: Write) -> None:
    path = write(WIDE.replace("2.5", ""))
    with pytest.raises(DataError, match=r"BTC.csv: prices must be known .* for BTC at line 3"):
        read_prices([path])
    history = read_prices([path], missing="hole")
    assert np.isnan(history.spot[1, 0])
    assert history.source == "BTC.csv: 1 holes"


def test_a_stated_default_takes_zeros(write: Write) -> None:
    path = write(WIDE.replace("3.5", "0"))
    with pytest.raises(DataError, match=r"got 0.0 for BTC at line 4"):
        read_prices([path])
    assert spot(read_prices([path], defaults={"BTC": "2024-01-03"}))[2] == [0, 30]
    with pytest.raises(DataError, match="defaults names 'DOGE'"):
        read_prices([write(WIDE)], defaults={"DOGE": "2024-01-03"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (WIDE.replace("2.5", "-2.5"), r"BTC.csv: prices must be positive, got -2.5 for BTC at line 3"),
        (WIDE.replace("2.5", "0"), r"BTC.csv: prices must be positive .*got 0.0 for BTC at line 3"),
        (WIDE.replace("2.5", "inf"), r"BTC.csv: prices must be finite, got inf for BTC at line 3"),
        (WIDE.replace("2.5", "NaN"), r"BTC.csv: prices must be known .* for BTC at line 3"),
        (WIDE.replace("2.5", "1e999"), r"prices must be finite"),
        (WIDE.replace("2.5", "two"), r"BTC.csv, line 3, column 'BTC': expected a number, got 'two'"),
        (WIDE.replace("2.5", "1_000"), r"line 3, column 'BTC': expected a number, got '1_000'"),
        (WIDE.replace("2.5", "0x10"), r"line 3, column 'BTC': expected a number"),
        (WIDE.replace("2.5", '"2,500"'), r"line 3, column 'BTC': expected a number, got '2,500'"),
        (WIDE.replace("2.5", "2.5,7"), r"BTC.csv, line 3: expected 3 fields, got 4"),
        (WIDE.replace("2.5,20", "2.5"), r"BTC.csv, line 3: expected 3 fields, got 2"),
        (WIDE.replace("01-02", "01-01"), r"BTC.csv: stamps must rise, got duplicate 2024-01-01.* at line 3"),
        (WIDE.replace("01-02", "01-04"), r"BTC.csv: stamps must rise, got out of order 2024-01-03.* at line 4"),
        (WIDE.replace("2024-01-02", "02/01/2024"), r"BTC.csv, line 3, column 'date': expected a date such as"),
        (WIDE.replace("2024-01-02", "2024-02-30"), r"BTC.csv, line 3, column 'date': expected a date such as"),
        (WIDE.replace("2024-01-02", ""), r"BTC.csv, line 3, column 'date': expected a date such as"),
        (WIDE.replace("2024-01-02", "2024-01-02T00:00:00Z"), r"line 3, column 'date': expected a stamp without a zone"),
        (WIDE.replace("2024-01-02", "2500-01-02"), r"line 3, column 'date': expected an instant in 1678..2261"),
        (BARS.replace("01:00:00Z", "01:00:00"), r"BTC.csv, line 3, column 'time': expected a stamp with a zone"),
        (BARS.replace("5,2.5,4", "3,2.5,4"), r"line 4, column 'high': expected a high that fits a close of 4, got '3'"),
        (BARS.replace("5,2.5,4", "5,4.5,4"), r"line 4, column 'low': expected a low that fits a close of 4, got '4.5'"),
        (BARS.replace("5,2.5,4", "5,-1,4"), r"line 4, column 'low': expected a low"),
        (BARS.replace("5,2.5,4", "inf,2.5,4"), r"line 4, column 'high': expected a high"),
        (BARS.replace("4,9", "4,-9"), r"line 4, column 'volume': expected a volume"),
        ("time,close\n1704067200,1\n1704067260000,2\n", r"line 3, column 'time': expected seconds since 1970"),
        ("time,close\n17040672,1\n17040673,2\n", r"line 2, column 'time': expected a date"),
        ("time,close\n1704067200,1\nnan,2\n", r"line 3, column 'time': expected a date, or a count since 1970"),
        ("time,close\n2024-01-02,2\n2024-01-01,1\n", r"BTC.csv: expected the oldest row first, got the newest first"),
        ("time,symbol,close\n2024-01-01,A,1\n2024-01-02,B,2\n", r"line 3, column 'symbol': expected 'A' throughout"),
        (klines() + "1,2,3\n", r"BTC.csv, line 4: expected 12 fields, got 3"),
        (
            klines().replace(str(JANUARY + 3_600_000), "1704070800000000", 1),
            r"line 2, column 'open_time': .*milliseconds",
        ),
        ("time,close\n2024-01-01T00:00:00.000Z,1\n2024-01-01T00:00:00.001Z,2\n2034-01-01T00:00Z,3\n", "equal steps"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_place(write: Write, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_prices([write(text)])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty file"),
        ("\n \n", "empty file"),
        ("date,BTC\n", "below the header"),
        ("date,BTC\n\n\n", "below the header"),
        ("just text\nand more\n", "line 1: expected a time and prices"),
        ("2024,1.5\n2025,2.5\n", "line 1: expected a header, or the 12 numbers of a kline, got 2"),
        ("date,open,high,low\n2024-01-01,1,1,1\n", "expected a column of closes"),
        ("date,volume\n2024-01-01,1\n", "expected a column of closes"),
        ("open,high,low,close\n1,1,1,1\n", "expected a time column"),
        ("date,timestamp\n2024-01-01,1704067200\n", "expected a column of prices"),
        ("date,close,rsi\n2024-01-01,1,30\n", "got also \\['rsi'\\]"),
        ("date,close,Close\n2024-01-01,1,30\n", "expected one column 'close', got 2"),
        ("date,BTC,BTC\n2024-01-01,1,30\n", "a name of its own"),
        ("date,BTC,\n2024-01-01,1,30\n", "a name of its own"),
        ('date,"BTC\tETH"\n2024-01-01,1\n2024-01-02,1\n', "plain characters"),
        ("date,BTC\rETH\n2024-01-01,1\n", "line 1: expected a time and prices"),
    ],
)
def test_what_is_not_recognised_is_refused(write: Write, text: str, says: str) -> None:
    with pytest.raises(SourceError, match=f"BTC.csv.*({says})"):
        read_prices([write(text)])


def test_stamps_off_the_clock_are_refused_with_their_line(write: Write) -> None:
    text = "time,close\n2024-01-01T00:00Z,1\n2024-01-01T01:00Z,2\n2024-01-01T02:00Z,3\n2024-01-01T02:30Z,4\n"
    with pytest.raises(HistoryError, match=r"BTC.csv: stamps must lie on a 1h clock .* at line 5"):
        read_prices([write(text)])


@pytest.mark.parametrize("name", ["BTC.txt", "BTC", "BTC.xlsx", "BTC.gz"])
def test_other_kinds_of_files_are_refused(write: Write, name: str) -> None:
    with pytest.raises(SourceError, match=r"expected \.csv, \.csv\.gz, \.zip or \.parquet"):
        read_prices([write(WIDE, name)])


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent.csv: expected a file of prices, got nothing"):
        read_prices([tmp_path / "absent.csv"])
    with pytest.raises(SourceError, match="got a folder"):
        read_prices([tmp_path])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tz": "Mars/Olympus"}, "tz must be a zone"),
        ({"tz": "../etc/passwd"}, "tz must be a zone"),
        ({"missing": "fill"}, "missing must be"),
        ({"label": "middle"}, "label 'open'"),
        ({"clock": "1h", "holidays": ["2024-01-01"]}, "holidays belong to a session clock"),
    ],
)
def test_arguments_outside_their_range_are_refused(write: Write, arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        read_prices([write(WIDE)], **arguments)  # type: ignore[arg-type]


def test_no_paths_are_refused() -> None:
    with pytest.raises(ParameterError, match="one file"):
        read_prices([])


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(WIDE.encode() * 50)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "not.zip").write_bytes(b"PK\x03\x04 and nothing more")
    (tmp_path / "not.parquet").write_bytes(b"PAR1 and nothing more PAR1")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", WIDE)
        archive.writestr("b.csv", WIDE)
    for name in ("cut.csv.gz", "not.zip", "not.parquet", "two.zip"):
        with pytest.raises(SourceError, match=name):
            read_prices([tmp_path / name])


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "BTC.csv").write_bytes(WIDE.encode().replace(b"2.5", b"\xff\xfe"))
    with pytest.raises(DataError, match=r"BTC.csv, line 3: expected text in UTF-8"):
        read_prices([tmp_path / "BTC.csv"])


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "LIMIT", 10_000)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(WIDE.encode() + b"\n" * 20_000))
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=2000), "BTC": 1.0})
    frame.to_parquet(tmp_path / "bomb.parquet")
    for name in ("bomb.csv.gz", "bomb.parquet"):
        with pytest.raises(SourceError, match=f"{name}: expected at most 10000 bytes"):
            read_prices([tmp_path / name])


def test_parquet_errors_say_the_row_and_column(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=3)
    cases = {
        "row 2, column 'BTC': expected a number, got 'x'": pd.DataFrame({"date": days, "BTC": ["1", "x", "3"]}),
        "row 1, column 'BTC': expected a number, got 'True'": pd.DataFrame({"date": days, "BTC": [True] * 3}),
        "got nan for BTC at row 2": pd.DataFrame({"date": days, "BTC": [1.0, np.nan, 3.0]}),
        "several levels of names": pd.concat({"Close": pd.DataFrame({"BTC": [1.0, 2, 3]}, index=days)}, axis=1),
        "no cell": pd.DataFrame({"date": days[:0], "BTC": []}),
    }
    for says, frame in cases.items():
        frame.to_parquet(tmp_path / "x.parquet")
        with pytest.raises(DataError, match=f"x.parquet.*{says}"):
            read_prices([tmp_path / "x.parquet"])


def test_a_flipped_bit_in_a_checked_parquet_page_is_seen(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=500)
    path = tmp_path / "x.parquet"
    frame = pd.DataFrame({"date": days, "BTC": np.random.default_rng(1).uniform(1, 2, 500)})
    frame.to_parquet(path, write_page_checksum=True, compression=None, use_dictionary=False)
    data = bytearray(path.read_bytes())
    spot_bytes = frame["BTC"].to_numpy()[250:251].tobytes()
    data[bytes(data).index(spot_bytes) + 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match="CRC"):
        read_prices([path])


# Cut files


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_cut_of_a_file_is_refused_or_a_whole_prefix(tmp_path: Path, end: str) -> None:
    text = "\ufeff" + BARS.replace("\n", end)
    whole = read_prices([_put(tmp_path, text)])
    read = 0
    for cut in range(len(text)):
        try:
            history = read_prices([_put(tmp_path, text[:cut])], clock="1h")
        except MarginlabError:
            continue
        read += 1
        assert _is_prefix(history, whole)
    assert read == 2  # after one row, and after two


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_cut_or_spoilt_file_never_gives_wrong_numbers(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.floats(1e-6, 1e9), min_size=2, max_size=30))
    text = "close_time,close\n" + "".join(f"{JANUARY + k * 3_600_000},{price!r}\n" for k, price in enumerate(rows))
    folder = tmp_path_factory.getbasetemp()
    whole = read_prices([_put(folder, text)], clock="1h")
    assert whole.spot[:, 0].tolist() == rows
    try:
        history = read_prices([_put(folder, text[: data.draw(st.integers(0, len(text) - 1))])], clock="1h")
    except MarginlabError:
        return
    assert _is_prefix(history, whole)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, len(BARS) - 1), spoilt=st.binary(max_size=4))
def test_any_bytes_are_read_or_refused_by_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, spoilt: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "BTC.csv"
    path.write_bytes(BARS.encode()[:place] + spoilt + BARS.encode()[place + len(spoilt) :])
    try:
        history = read_prices([path], missing="hole")
    except MarginlabError:
        return
    assert (np.isnan(history.spot) | ((history.spot > 0) & np.isfinite(history.spot))).all()


def _put(folder: Path, text: str) -> Path:
    path = folder / "BTC.csv"
    path.write_text(text, newline="")
    return path


def _is_prefix(history: MarketHistory, whole: MarketHistory) -> bool:
    same_time = np.array_equal(history.time, whole.time[: len(history)])
    return same_time and np.array_equal(history.spot, whole.spot[: len(history)])


# Real files


@NEEDS_SHARED
@pytest.mark.shared
def test_real_daily_klines_keep_their_dates_and_crises() -> None:
    history = read_prices(sorted((SHARED / "djienne+Hurst_Crypto" / "data").glob("*.csv")))
    assert history.underlyings == ("BTCUSDT", "DOGEUSDT", "ETHUSDT", "LINKUSDT", "LTCUSDT", "XRPUSDT")
    assert (len(history), history.clock) == (2924, Clock("1D"))
    day = int(np.flatnonzero(history.time == np.datetime64("2020-03-12"))[0])
    assert np.log(history.spot[day] / history.spot[day - 1])[[0, 2]] == pytest.approx([-0.503, -0.591], abs=1e-3)
    assert np.isnan(history.spot).sum(axis=0).tolist() == [0, 550, 0, 380, 0, 123]


@NEEDS_SHARED
@pytest.mark.shared
def test_real_hourly_closes_are_labelled_by_their_end() -> None:
    paths = sorted((SHARED / "RobBudaghyan+mark6" / "data").glob("*.csv"))
    with pytest.raises(DataError, match=r"BTCUSDT\.csv: intraday stamps need a zone"):
        read_prices(paths)
    history = read_prices(paths, tz="UTC")
    assert history.clock == Clock("1h")
    assert stamps(history)[0] == "2021-01-01T01:00"  # the file's first bar opens at midnight
    assert history.spot[0, 0] == 28995.13


@NEEDS_SHARED
@pytest.mark.shared
def test_two_real_sources_of_one_market_agree_once_their_labels_do() -> None:
    mute = SHARED / "filipenovais+MarketGuessingGame" / "data" / "BTCUSDT_1h.csv"
    said = SHARED / "RobBudaghyan+mark6" / "data" / "BTCUSDT.csv"
    one, other = (read_prices([path], tz="UTC", label="open").to_frame().iloc[:, 0] for path in (mute, said))
    ratio = (one / other).dropna()
    assert len(ratio) > 25_000
    assert (ratio == 1).mean() > 0.99
    with pytest.raises(DataError, match="does not say"):
        read_prices([mute, SHARED / "RobBudaghyan+mark6" / "data" / "ETHUSDT.csv"], tz="UTC")


@NEEDS_SHARED
@pytest.mark.shared
def test_a_real_file_of_price_and_volume_is_one_asset() -> None:
    history = read_prices([SHARED / "lukmol+gamlss-btc-VaR" / "data" / "btc_price_volume.csv"])
    assert (history.underlyings, len(history), history.clock) == (("btc",), 4062, Clock("1D"))
    with pytest.raises(DataError, match=r"funding_rates.csv: prices must be positive.*line 24"):
        read_prices([SHARED / "lukmol+gamlss-btc-VaR" / "data" / "funding_rates.csv"])
