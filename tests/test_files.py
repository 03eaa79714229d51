"""Are a user's own files read right, and labelled by when each close was known?"""

import gzip
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import Clock, DataError
from data.sources.files import read_prices
from price_files import BARS, JANUARY, WIDE, klines, put, spot, stamps

SHARED = Path(__file__).parents[2] / "shared" / "data"
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference folder beside the checkout is absent")

# What is read


def test_a_wide_table_has_an_asset_a_column(tmp_path: Path) -> None:
    history = read_prices([put(tmp_path, WIDE, "closes.csv")])
    assert history.underlyings == ("BTC", "ETH")
    assert stamps(history) == ["2024-01-01T00:00", "2024-01-02T00:00", "2024-01-03T00:00"]
    assert spot(history) == [[1.5, 10], [2.5, 20], [3.5, 30]]
    assert history.clock == Clock("1D")
    assert history.source == "closes.csv: 0 holes"


def test_one_path_needs_no_list(tmp_path: Path) -> None:
    path = put(tmp_path, WIDE)
    assert spot(read_prices(path)) == spot(read_prices(str(path))) == spot(read_prices([path]))


def test_bars_bring_their_range_and_volume(tmp_path: Path) -> None:
    history = read_prices([put(tmp_path, BARS)])
    assert history.underlyings == ("BTC",)
    panels = [history.high, history.low, history.volume]
    assert [panel.ravel().tolist() for panel in panels if panel is not None] == [[3, 4, 5], [0.5, 1.5, 2.5], [7, 8, 9]]
    assert stamps(history) == ["2024-01-01T00:00", "2024-01-01T01:00", "2024-01-01T02:00"]


@pytest.mark.parametrize("pack", ["gz", "zip"])
def test_packed_files_say_the_same(tmp_path: Path, pack: str) -> None:
    plain = read_prices([put(tmp_path, BARS)])
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
def test_parquet_and_csv_give_the_same_bits(tmp_path: Path, named: str | None) -> None:
    index = pd.date_range("2024-01-01", periods=200, freq="1h", tz="UTC", name=named)
    prices = np.exp(np.random.default_rng(1).normal(size=(200, 3)))
    frame = pd.DataFrame(prices, index=index, columns=["BTC", "ETH", "SOL"])
    frame.to_parquet(tmp_path / "x.parquet")
    from_csv = read_prices([put(tmp_path, frame.to_csv())])
    from_parquet = read_prices([tmp_path / "x.parquet"])
    assert from_csv.spot.tobytes() == from_parquet.spot.tobytes() == prices.tobytes()
    assert np.array_equal(from_csv.time, from_parquet.time)


@pytest.mark.parametrize("name", ["time", "Timestamp", "DATE", "Date Time", "unix", "", "session"])
def test_the_time_column_is_found_by_name_or_stands_first(tmp_path: Path, name: str) -> None:
    assert spot(read_prices([put(tmp_path, WIDE.replace("date", name, 1))])) == [[1.5, 10], [2.5, 20], [3.5, 30]]


def test_the_time_column_may_stand_behind_a_row_number(tmp_path: Path) -> None:
    text = ",BTC,date\n0,1.5,2024-01-01\n1,2.5,2024-01-02\n"
    history = read_prices([put(tmp_path, text)])
    assert history.underlyings == ("BTC",)
    assert spot(history) == [[1.5], [2.5]]


@pytest.mark.parametrize("scale", [0.001, 1, 1000, 1_000_000])
def test_epochs_are_told_apart_by_magnitude(tmp_path: Path, scale: float) -> None:
    text = "timestamp,close\n" + "".join(f"{int((JANUARY + h * 3_600_000) * scale)},{h + 1}\n" for h in range(3))
    assert stamps(read_prices([put(tmp_path, text)])) == ["2024-01-01T00:00", "2024-01-01T01:00", "2024-01-01T02:00"]


def test_epochs_may_be_seconds_with_a_fraction(tmp_path: Path) -> None:
    history = read_prices([put(tmp_path, "timestamp,close\n1704067200.0,1\n1704067200.25,2\n1704067200.5,3\n")])
    assert [str(instant)[17:] for instant in history.time] == ["00.000000000", "00.250000000", "00.500000000"]


def test_eight_digits_are_a_date(tmp_path: Path) -> None:
    assert stamps(read_prices([put(tmp_path, "date,close\n20240101,1\n20240102,2\n")])) == [
        "2024-01-01T00:00",
        "2024-01-02T00:00",
    ]


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+0000", "+00", " UTC"])
def test_zones_may_be_written_in_any_usual_way(tmp_path: Path, zone: str) -> None:
    text = f"time,close\n2024-01-01 10:00:00{zone},1\n2024-01-01 11:00:00{zone},2\n"
    assert stamps(read_prices([put(tmp_path, text)])) == ["2024-01-01T10:00", "2024-01-01T11:00"]


def test_offsets_are_taken_into_account(tmp_path: Path) -> None:
    text = "time,close\n2024-01-01T10:00:00+08:00,1\n2024-01-01T11:00:00+08:00,2\n"
    assert stamps(read_prices([put(tmp_path, text)], tz="America/New_York")) == ["2024-01-01T02:00", "2024-01-01T03:00"]


def test_close_is_preferred_to_adjusted_close(tmp_path: Path) -> None:
    text = "Date,Adj Close,Close\n2024-01-01,1,2\n2024-01-02,3,4\n"
    assert spot(read_prices([put(tmp_path, text)])) == [[2], [4]]
    assert spot(read_prices([put(tmp_path, text.replace(",Close", ",Vwap"))])) == [[1], [3]]


def test_a_file_of_price_and_volume_is_one_asset(tmp_path: Path) -> None:
    history = read_prices(
        [put(tmp_path, "date,price,volume\n2024-01-01,5,100\n2024-01-02,6,200\n", "btc_price_volume.csv")]
    )
    assert history.underlyings == ("btc",)
    assert history.volume is not None
    assert history.volume.tolist() == [[100], [200]]


def test_blank_surplus_columns_are_no_columns(tmp_path: Path) -> None:
    text = "open_time,close,open_time.1,open_time\n2024-01-01,1,,\n2024-01-02,2,,\n"
    assert spot(read_prices([put(tmp_path, text)])) == [[1], [2]]


@pytest.mark.parametrize(
    ("names", "assets"),
    [
        (["BTCUSDT_1h.csv", "ETHUSDT_1h.csv"], ("BTCUSDT", "ETHUSDT")),
        (["BTC-USD.csv", "BTC-EUR.csv"], ("BTC-USD", "BTC-EUR")),
        (["BTC.csv", "ETH.csv"], ("BTC", "ETH")),
    ],
)
def test_assets_are_named_by_their_files(tmp_path: Path, names: Sequence[str], assets: tuple[str, ...]) -> None:
    assert read_prices([put(tmp_path, BARS, name) for name in names]).underlyings == assets


def test_a_symbol_column_names_the_asset(tmp_path: Path) -> None:
    text = "time,symbol,close\n2024-01-01,XRP,1\n2024-01-02,XRP,2\n"
    assert read_prices([put(tmp_path, text)]).underlyings == ("XRP",)


# When a close is known


def test_klines_without_a_header_are_labelled_by_the_end_of_their_bars(tmp_path: Path) -> None:
    history = read_prices([put(tmp_path, klines(), "BTCUSDT-1h-2024-01.csv")])
    assert history.underlyings == ("BTCUSDT",)
    assert stamps(history) == ["2024-01-01T01:00", "2024-01-01T02:00", "2024-01-01T03:00"]
    assert spot(history) == [[1], [2], [3]]
    assert history.high is not None
    assert history.high.tolist() == [[2], [3], [4]]


def test_daily_klines_keep_their_date(tmp_path: Path) -> None:
    history = read_prices([put(tmp_path, klines(step=86_400_000))])
    assert stamps(history) == ["2024-01-01T00:00", "2024-01-02T00:00", "2024-01-03T00:00"]


def test_days_that_open_at_another_hour_are_labelled_by_the_instant_they_end(tmp_path: Path) -> None:
    history = read_prices([put(tmp_path, klines(step=86_400_000, start=JANUARY + 8 * 3_600_000))])
    assert stamps(history)[0] == "2024-01-02T08:00"


def test_weekly_bars_are_labelled_by_their_last_day(tmp_path: Path) -> None:
    assert stamps(read_prices([put(tmp_path, klines(step=7 * 86_400_000))]))[0] == "2024-01-07T00:00"


@pytest.mark.parametrize(("step", "first"), [(3_600_000, "2024-01-01T01:00"), (86_400_000, "2024-01-01T00:00")])
def test_files_by_close_time_agree_with_files_by_open_time(tmp_path: Path, step: int, first: str) -> None:
    closing = "".join(f"{JANUARY + row * step - 1},{row}\n" for row in (1, 2, 3))
    history = read_prices(
        [put(tmp_path, "close_time,close\n" + closing, "A.csv"), put(tmp_path, klines(step=step), "B.csv")]
    )
    assert stamps(history)[0] == first
    assert spot(history) == [[1, 1], [2, 2], [3, 3]]


def test_plain_dates_stay_under_any_name(tmp_path: Path) -> None:
    for name in ("date", "open_time", "close_time"):
        assert stamps(read_prices([put(tmp_path, WIDE.replace("date", name))]))[0] == "2024-01-01T00:00"


def test_stamps_that_do_not_say_are_as_stamped_unless_told(tmp_path: Path) -> None:
    path = put(tmp_path, BARS)
    assert stamps(read_prices([path]))[0] == "2024-01-01T00:00"
    assert stamps(read_prices([path], label="close"))[0] == "2024-01-01T00:00"
    assert stamps(read_prices([path], label="open"))[0] == "2024-01-01T01:00"


def test_stamps_that_say_are_not_joined_to_stamps_that_do_not(tmp_path: Path) -> None:
    paths = [put(tmp_path, BARS, "A.csv"), put(tmp_path, klines(), "B.csv")]
    with pytest.raises(DataError, match=r"got A\.csv, whose time column does not say"):
        read_prices(paths)
    assert spot(read_prices(paths, label="open")) == [[2, 1], [3, 2], [4, 3]]


def test_daily_bars_are_not_joined_to_hourly_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one length, got 1D in B.csv, 1h in A.csv"):
        read_prices([put(tmp_path, klines(), "A.csv"), put(tmp_path, klines(step=86_400_000), "B.csv")])


# Zones


def test_naive_intraday_stamps_need_a_zone(tmp_path: Path) -> None:
    path = put(tmp_path, BARS.replace("Z", ""))
    with pytest.raises(DataError, match=r"BTC.csv: intraday stamps need a zone"):
        read_prices([path])
    assert stamps(read_prices([path], tz="Asia/Tokyo"))[0] == "2023-12-31T15:00"


def test_dates_need_no_zone_and_ignore_it(tmp_path: Path) -> None:
    assert stamps(read_prices([put(tmp_path, WIDE)], tz="America/New_York"))[0] == "2024-01-01T00:00"


def test_the_hour_that_spring_skips_is_no_gap(tmp_path: Path) -> None:
    text = "time,close\n2024-03-10 00:30,1\n2024-03-10 01:30,2\n2024-03-10 03:30,3\n2024-03-10 04:30,4\n"
    history = read_prices([put(tmp_path, text)], tz="America/New_York")
    assert stamps(history) == ["2024-03-10T05:30", "2024-03-10T06:30", "2024-03-10T07:30", "2024-03-10T08:30"]


@pytest.mark.parametrize("hour", ["2024-03-10 02:30", "2024-11-03 01:30"])
def test_hours_that_do_not_exist_once_are_refused(tmp_path: Path, hour: str) -> None:
    text = f"time,close\n{hour[:10]} 00:30,1\n{hour},2\n"
    with pytest.raises(DataError, match=r"BTC.csv, line 3, column 'time': expected a time that the clocks of America"):
        read_prices([put(tmp_path, text)], tz="America/New_York")


# Several files


def test_files_of_different_ranges_leave_holes(tmp_path: Path) -> None:
    late = "date,close\n2024-01-03,5\n2024-01-05,6\n2024-01-06,7\n"
    history = read_prices([put(tmp_path, WIDE, "wide.csv"), put(tmp_path, late, "SOL.csv")])
    assert history.underlyings == ("BTC", "ETH", "SOL")
    nan = float("nan")
    expected = [[1.5, 10, nan], [2.5, 20, nan], [3.5, 30, 5], [nan] * 3, [nan, nan, 6], [nan, nan, 7]]
    assert np.array_equal(history.spot, expected, equal_nan=True)
    assert history.source == "wide.csv, SOL.csv: 9 holes"


def test_an_asset_without_a_range_has_a_blank_one(tmp_path: Path) -> None:
    history = read_prices(
        [
            put(tmp_path, BARS, "A.csv"),
            put(tmp_path, "time,close\n" + "2024-01-01T01:00Z,1\n2024-01-01T02:00Z,1\n", "B.csv"),
        ]
    )
    assert history.high is not None
    assert np.isnan(history.high[:, 1]).all()
    assert history.high[:, 0].tolist() == [3, 4, 5]


def test_dated_pieces_are_one_series_in_any_order(tmp_path: Path) -> None:
    later = klines(start=JANUARY + 4 * 3_600_000)
    paths = [put(tmp_path, later, "BTC-1h-2024-02.csv"), put(tmp_path, klines(), "BTC-1h-2024-01.csv")]
    history = read_prices(paths)
    assert history.underlyings == ("BTC",)
    assert history.spot[:, 0] == pytest.approx([1, 2, 3, np.nan, 1, 2, 3], nan_ok=True)


def test_pieces_that_overlap_are_refused(tmp_path: Path) -> None:
    paths = [put(tmp_path, klines(), "BTC-1h-2024-01.csv"), put(tmp_path, klines(), "BTC-1h-2024-02.csv")]
    with pytest.raises(DataError, match=r"BTC-1h-2024-02.csv: expected 'BTC' to go on after BTC-1h-2024-01.csv"):
        read_prices(paths)


def test_one_asset_in_two_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected 'BTC' in one file, got it in BTC.csv and x.csv"):
        read_prices(
            [put(tmp_path, BARS), put(tmp_path, BARS.replace("time", "time,symbol").replace("Z,", "Z,BTC,"), "x.csv")]
        )


def test_files_at_other_minutes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="same times of day"):
        read_prices([put(tmp_path, BARS, "A.csv"), put(tmp_path, BARS.replace(":00:00Z", ":30:00Z"), "B.csv")])


def test_sessions_and_calendar_days_join_by_day(tmp_path: Path) -> None:
    days = pd.bdate_range("2024-01-01", periods=15)
    stock = "date,close\n" + "".join(f"{day:%Y-%m-%d},{k + 1}\n" for k, day in enumerate(days))
    assert read_prices([put(tmp_path, stock, "SPY.csv")]).clock == Clock("1B")
    joined = read_prices([put(tmp_path, stock, "SPY.csv"), put(tmp_path, WIDE, "wide.csv")])
    assert joined.clock == Clock("1D")
    assert np.isnan(joined.spot[5, 0])


def test_holidays_make_a_clock_of_sessions(tmp_path: Path) -> None:
    text = "date,close\n2024-01-12,1\n2024-01-16,2\n2024-01-17,3\n"
    history = read_prices([put(tmp_path, text)], holidays=["2024-01-15"])
    assert history.clock == Clock("1B", ("2024-01-15",))
    assert spot(history) == [[1], [2], [3]]


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
