"""Is a file that cannot be right refused, with its place?"""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from data import DataError, HistoryError, MarginlabError, MarketHistory, ParameterError, SourceError
from data.sources import cells
from data.sources.files import read_prices
from price_files import BARS, JANUARY, WIDE, klines, put, spot
from research.cli import app


def test_a_blank_close_is_refused_or_a_hole(tmp_path: Path) -> None:
    path = put(tmp_path, WIDE.replace("2.5", ""))
    with pytest.raises(DataError, match=r"BTC.csv: prices must be known .* for BTC at line 3"):
        read_prices([path])
    history = read_prices([path], missing="hole")
    assert np.isnan(history.spot[1, 0])
    assert history.source == "BTC.csv: 1 holes"


def test_a_blank_close_is_told_with_the_option_that_takes_it(tmp_path: Path) -> None:
    path = put(tmp_path, WIDE.replace("2.5", ""))
    words = ["data", "check", str(path), "--out", str(tmp_path / "checks.json")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "missing='hole', or --allow-missing in a shell" in " ".join(refused.output.split())
    assert CliRunner().invoke(app, [*words, "--allow-missing"]).exit_code == 0


def test_a_stated_default_takes_zeros(tmp_path: Path) -> None:
    path = put(tmp_path, WIDE.replace("3.5", "0"))
    with pytest.raises(DataError, match=r"got 0.0 for BTC at line 4"):
        read_prices([path])
    assert spot(read_prices([path], defaults={"BTC": "2024-01-03"}))[2] == [0, 30]
    with pytest.raises(DataError, match="defaults names 'DOGE'"):
        read_prices([put(tmp_path, WIDE)], defaults={"DOGE": "2024-01-03"})


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
def test_what_cannot_be_right_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_prices([put(tmp_path, text)])


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
def test_what_is_not_recognised_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SourceError, match=f"BTC.csv.*({says})"):
        read_prices([put(tmp_path, text)])


def test_stamps_off_the_clock_are_refused_with_their_line(tmp_path: Path) -> None:
    text = "time,close\n2024-01-01T00:00Z,1\n2024-01-01T01:00Z,2\n2024-01-01T02:00Z,3\n2024-01-01T02:30Z,4\n"
    with pytest.raises(HistoryError, match=r"BTC.csv: stamps must lie on a 1h clock .* at line 5"):
        read_prices([put(tmp_path, text)])


@pytest.mark.parametrize("name", ["BTC.txt", "BTC", "BTC.xlsx", "BTC.gz"])
def test_other_kinds_of_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"expected \.csv, \.csv\.gz, \.zip or \.parquet"):
        read_prices([put(tmp_path, WIDE, name)])


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
def test_arguments_outside_their_range_are_refused(tmp_path: Path, arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        read_prices([put(tmp_path, WIDE)], **arguments)  # type: ignore[arg-type]


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
    whole = read_prices([put(tmp_path, text)])
    read = 0
    for cut in range(len(text)):
        try:
            history = read_prices([put(tmp_path, text[:cut])], clock="1h")
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
    whole = read_prices([put(folder, text)], clock="1h")
    assert whole.spot[:, 0].tolist() == rows
    try:
        history = read_prices([put(folder, text[: data.draw(st.integers(0, len(text) - 1))])], clock="1h")
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


def _is_prefix(history: MarketHistory, whole: MarketHistory) -> bool:
    same_time = np.array_equal(history.time, whole.time[: len(history)])
    return same_time and np.array_equal(history.spot, whole.spot[: len(history)])
