"""Does one bad file, or one odd name, leave all others as they are?"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.catalog import record_set
from data.errors import SourceError
from data.imports import check_paths, import_paths
from data.records import Records
from data.sources.recognise import Recognised, recognise
from raw_text import put

MS, HOUR = 1704067200000, 3_600_000
PRICES = (100 + np.random.default_rng(5).normal(0, 1, 100).cumsum()).round(2).clip(95, 105).tolist()
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def klines(first: int, count: int = 24) -> list[str]:
    """Hours of a market that moves a little, and never in a straight line."""
    rows = []
    for hour in range(first, first + count):
        opened, price = MS + hour * HOUR, PRICES[hour]
        rows.append(
            f"{opened},{price},{price + 9},{price - 9},{PRICES[hour + 1]},10,{opened + HOUR - 1},1000,7,5,500,0"
        )
    return rows


def placed(folder: Path, name: str, *lines: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return put(folder, name, *lines)


def sets_of(paths: list[Path], store: Path) -> list[str]:
    report = import_paths(paths, store)
    assert [file.refused for file in report.files] == [""] * len(paths)
    return [file.record_set for file in report.files]


def test_klines_join_only_where_their_market_is_told_or_their_folder_is_one(tmp_path: Path) -> None:
    spot = placed(tmp_path / "spot", "BTCUSDT-1h-2024-01-01.csv", *klines(0))
    other = placed(tmp_path / "spot" / "more", "BTCUSDT-1h-2024-01-02.csv", *klines(24))
    one = sets_of([spot, other], tmp_path / "a")
    assert one[0] == one[1]
    here = placed(tmp_path / "x", "BTCUSDT-1h-2024-01-01.csv", *klines(0))
    there = placed(tmp_path / "y", "BTCUSDT-1h-2024-01-02.csv", *klines(24))
    headed = placed(tmp_path / "x", "BTCUSDT-1h-2024-01-03.csv", HEADER, *klines(48))
    assert len(set(sets_of([here, there, headed], tmp_path / "b"))) == 3


def test_symbols_that_share_a_beginning_are_two(tmp_path: Path) -> None:
    names = ("BTC_USDT-1h.csv", "BTC_BUSD-1h.csv")
    paths = [put(tmp_path, name, *klines(24 * day)) for day, name in enumerate(names)]
    assert len(set(sets_of(paths, tmp_path / "store"))) == 2


def test_a_name_in_no_encoding_can_be_told(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/BTC\xe9.csv"))
    put(tmp_path, "plain.csv", "date,close", *(f"2024-01-{day:02d},{100 + day * day % 7}" for day in range(1, 9)))
    (tmp_path / "plain.csv").rename(path)
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.csv"))
    bad.write_text("x;y\n1;2\n")
    report = import_paths([path, bad], tmp_path / "store")
    assert [bool(file.refused) for file in report.files] == [False, True]
    told = json.dumps([file.to_dict() for file in report.files], ensure_ascii=False).encode()
    assert b"BTC\\\\xe9.csv" in told
    assert b"separated by semicolons" in told


@pytest.mark.parametrize("error", [ValueError, EOFError, OverflowError])
def test_what_a_decoder_stumbles_over_refuses_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    broken, whole = (put(tmp_path, name, *klines(0, 24 + n)) for n, name in enumerate(("ABCUSDT.csv", "BTCUSDT.csv")))

    def stumble(path: Path) -> Recognised:
        if path == broken:
            raise error("of a decoder")
        return recognise(path)

    monkeypatch.setattr("data.brought_files.recognise", stumble)
    files = check_paths([broken, whole]).files
    assert (files[0].refused, files[1].accepted) == (f"unexpected {error.__name__}: of a decoder", 25)


@pytest.mark.parametrize("error", [KeyError, IndexError, pa.ArrowNotImplementedError, ZeroDivisionError])
def test_a_fault_of_ours_is_told_as_one_and_ends_no_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    broken, whole = (put(tmp_path, name, *klines(0, 24 + n)) for n, name in enumerate(("ABCUSDT.csv", "BTCUSDT.csv")))

    def wrong(path: Path) -> Recognised:
        if path == broken:
            raise error("of ours")
        return recognise(path)

    monkeypatch.setattr("data.brought_files.recognise", wrong)
    report = check_paths([broken, whole])
    assert report.files[0].refused.startswith(f"unexpected {error.__name__}: ")
    assert "brought_files.py, line" in report.files[0].refused
    assert "a fault of marginlab" in report.files[0].refused
    assert (report.files[1].accepted, report.exit_code) == (25, 2)


@pytest.mark.parametrize(
    ("error", "fault"), [(SourceError("breaks off"), False), (KeyError("close"), True), (ValueError("odd"), False)]
)
def test_a_file_of_a_series_that_breaks_off_is_refused_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, fault: bool
) -> None:
    paths = [put(tmp_path, f"BTCUSDT-1h-{n}.csv", *klines(8 * n, 8)) for n in range(3)]
    read = Recognised.records

    def records(known: Recognised) -> Iterator[Records]:
        yield from read(known)
        if known.raw.path == paths[1] and len(opened) > 3:  # the first looks are for what it is
            raise error
        opened.append(known.raw.path)

    opened: list[Path] = [Path()] * 3
    monkeypatch.setattr(Recognised, "records", records)
    report = import_paths(paths, tmp_path / "store")
    told = [file.refused for file in report.files]
    assert (bool(told[0]), bool(told[2]), report.exit_code) == (False, False, 2)
    assert str(error) in told[1]
    assert ("a fault of marginlab" in told[1]) == fault
    (kept,) = {file.record_set for file in report.files if not file.refused}
    assert [file.accepted for file in report.files] == [8, 0, 8]
    assert record_set(kept, tmp_path / "store").rows == 16


def test_a_column_of_a_type_that_holds_no_figures_ends_no_import(tmp_path: Path) -> None:
    stamps = pa.array([MS, MS + HOUR, MS + 2 * HOUR], pa.timestamp("ms"))
    pq.write_table(pa.table({"date": stamps, "close": pa.array([[1.0]] * 3)}), tmp_path / "ETH.parquet")
    whole = put(tmp_path, "BTCUSDT.csv", *klines(0))
    files = check_paths([tmp_path / "ETH.parquet", whole]).files
    assert "ETH.parquet, column 'close': expected numbers, got a column of list" in files[0].refused
    assert files[1].accepted == 24
