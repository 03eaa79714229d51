"""Do rows come out of the store as they went in, and can what is kept be told apart, named, compared and removed?"""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_sets import MARCH, assert_same, cut, joined, keep, random_records

from data import MarketHistory, record_files, snapshot
from data.catalog import faults, listed, name_records, read_records, record_set, records_folder, write_records
from data.code_version import told_version
from data.errors import DataError, ParameterError, SnapshotError
from data.garbage import collect_garbage
from data.names import names_in
from data.records import BOOK, FUNDING, KINDS, OPTIONS, TRADES, Kind, Records
from data.set_difference import diff
from data.storage import PARTIAL


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in {"ROW_GROUP": 64, "PART": 128, "BATCH": 50}.items():
        monkeypatch.setattr(record_files, name, rows)


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_comes_back_bit_by_bit(tmp_path: Path, kind: Kind) -> None:
    records = random_records(kind, 700, 1)
    made = keep(tmp_path, *cut(records, [1, 130, 400]))
    assert (made.rows, made.columns, made.fault) == (700, kind.names, "")
    assert len(made.parts) >= 6
    assert {part.month for part in made.parts} == {"2024-03", "2024-04"}
    assert_same(joined([*read_records(made.hash, tmp_path)]), records)
    assert faults(made, tmp_path) == []
    assert record_set(made.hash[:8], tmp_path) == made == listed(tmp_path)[0]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=5), st.lists(st.booleans(), min_size=6, max_size=6))
def test_the_hash_does_not_depend_on_batches(cuts: list[int], blank: list[bool]) -> None:
    """Not even where a batch of unknown figures lacks the column."""
    records = random_records(TRADES, 300, 2)
    numbers = records["id"].copy()
    parts = [*cut(records, cuts)]
    for (start, stop), gone in zip(pairwise([0, *sorted(cuts), 300]), blank, strict=False):
        if gone:
            numbers[start:stop] = -1
    whole = replace(records, columns={**records.columns, "id": numbers})
    left = [_without(part, "id") if gone else part for part, gone in zip(parts, blank, strict=False)]
    with TemporaryDirectory() as folder:
        made = keep(Path(folder), *left)
        told = (
            _without(whole, "id")
            if all(blank[: len(left)]) or all(not len(p) for p in left if "id" in p.columns)
            else whole
        )
        assert made.hash == keep(Path(folder), told).hash
        assert_same(joined([*read_records(made.hash, Path(folder))]), told)


def _without(records: Records, column: str) -> Records:
    return replace(records, columns={name: values for name, values in records.columns.items() if name != column})


def test_one_bit_of_anything_is_another_set(tmp_path: Path) -> None:
    records = random_records(TRADES, 50, 3)
    price = records["price"].copy()
    price[7] = np.nextafter(100.0, 101.0)
    changed = replace(records, columns={**records.columns, "price": price})
    moved = replace(records, row=records.row + 1)
    made = [keep(tmp_path, one) for one in (records, changed, moved, _without(records, "received"))]
    made += [keep(tmp_path, records, sources=[{"file": "b.csv"}]), keep(tmp_path, records, findings=["x"])]
    made.append(keep(tmp_path, *cut(random_records(TRADES, 50, 3, symbol="Y"), [9])))
    assert len({one.hash for one in made}) == len(made) == len(listed(tmp_path))
    assert made[0].content == made[2].content == made[4].content == made[5].content != made[1].content


def test_one_nan_is_another_and_a_zero_has_no_sign(tmp_path: Path) -> None:
    def rate(values: Any) -> str:
        time = MARCH + np.arange(2).astype("timedelta64[h]")
        columns = {"time": time, "rate": np.asarray(values)}
        return keep(tmp_path, Records(FUNDING, "venue", "X", columns, np.array([1, 2]))).hash

    assert rate([0.0, np.nan]) == rate([0.0, -np.nan]) == rate([-0.0, np.nan])


def test_what_is_there_and_whole_is_left_alone_and_what_is_damaged_is_written_again(tmp_path: Path) -> None:
    records = random_records(TRADES, 50, 3)
    made = keep(tmp_path, records)
    folder = records_folder(tmp_path) / made.hash
    written = folder.stat().st_ino
    assert keep(tmp_path, *cut(records, [20])) == made
    assert folder.stat().st_ino == written
    next(folder.rglob("*.parquet")).write_bytes(b"PAR1")
    assert len(faults(made, tmp_path)) == 1
    assert keep(tmp_path, records).hash == made.hash
    assert faults(made, tmp_path) == []
    assert sorted(path.name for path in records_folder(tmp_path).iterdir()) == [".lock", made.hash]


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing": ([], DataError, "got no rows"),
    "empty batches": ([0], DataError, "got no rows"),
    "disorder": ([2, 1], DataError, "order of time, got 2024-03-01T01.* after 2024-03-01T02.* at row 1"),
}


@pytest.mark.parametrize(("hours", "error", "why"), BAD.values(), ids=BAD)
def test_rows_that_are_none_or_out_of_order_are_refused(
    tmp_path: Path, hours: list[int], error: type[Exception], why: str
) -> None:
    batches = [_funding(hour) if hour else _funding(1).where(slice(0)) for hour in hours]
    with pytest.raises(error, match=why):
        write_records(batches, kind=FUNDING, venue="venue", symbol="X", sources=[], findings=[], store=tmp_path)
    assert [path.name for path in records_folder(tmp_path).iterdir()] == [".lock"]


def _funding(hour: int, symbol: str = "X") -> Records:
    columns = {"time": np.array([MARCH + np.timedelta64(hour, "h")]), "rate": np.array([0.01])}
    return Records(FUNDING, "venue", symbol, columns, np.array([1]))


def test_rows_of_another_symbol_or_without_an_instant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected funding of venue X, got funding of venue Y"):
        keep(tmp_path, _funding(1), _funding(2, "Y"))
    undated = replace(_funding(2), columns={**_funding(2).columns, "time": np.array(["NaT"], dtype="M8[ns]")})
    with pytest.raises(DataError, match="row 1 must have an instant"):
        keep(tmp_path, _funding(1), undated)


@pytest.mark.parametrize(
    "told", [{"sources": [{"file": "/home/me/a.csv"}]}, {"findings": [np.nan]}, {"findings": [b""]}]
)
def test_folders_and_what_json_cannot_hold_stay_out_of_a_manifest(tmp_path: Path, told: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=r"without its folders|JSON can hold"):
        keep(tmp_path, _funding(1), **told)
    assert listed(tmp_path) == []


def test_a_manifest_knows_of_no_machine(tmp_path: Path) -> None:
    made = keep(tmp_path, _funding(1))
    manifest = (records_folder(tmp_path) / made.hash / "manifest.json").read_text()
    assert str(tmp_path) not in manifest
    told = "code columns content findings first format hash kind last manifest parts places rows sources symbol venue"
    assert sorted(json.loads(manifest)) == told.split()
    assert made.code == told_version()


@pytest.mark.parametrize("symbol", ["../../x", "..", "/etc", "BTC/USDT:USDT", "a b", "Zürich", "C:\\x", ""])
def test_no_symbol_leads_out_of_its_folder(tmp_path: Path, symbol: str) -> None:
    made = keep(tmp_path, _funding(1, symbol))
    inside = records_folder(tmp_path) / made.hash
    assert [inside in path.resolve().parents for path in tmp_path.rglob("*.parquet")] == [True]
    assert_same(next(read_records(made.hash, tmp_path)), _funding(1, symbol))


def test_a_book_keeps_the_order_in_which_it_was_sent(tmp_path: Path) -> None:
    book = random_records(BOOK, 60, 5)
    turned = book.where(np.arange(60)[::-1])
    assert_same(joined([*read_records(keep(tmp_path, turned).hash, tmp_path)]), turned)


def test_what_the_rows_raise_is_passed_on_and_nothing_is_kept(tmp_path: Path) -> None:
    def rows(error: BaseException) -> Iterator[Records]:
        yield _funding(1)
        raise error

    whose: dict[str, Any] = {"kind": FUNDING, "venue": "venue", "symbol": "X"}
    for error in (OSError("the disk of the source"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_records(rows(error), **whose, sources=[], findings=[], store=tmp_path)
    assert [path.name for path in records_folder(tmp_path).iterdir()] == [".lock"]


def test_findings_may_be_filled_while_rows_are_read(tmp_path: Path) -> None:
    findings: list[str] = []

    def rows() -> Iterator[Records]:
        yield _funding(1)
        findings.append("seen to the end")

    made = write_records(rows(), kind=FUNDING, venue="venue", symbol="X", sources=[], findings=findings, store=tmp_path)
    assert made.findings == ("seen to the end",)


@pytest.mark.usefixtures("_small_parts")
@settings(max_examples=20, deadline=None)
@given(st.integers(-10, 910), st.integers(-10, 910))
def test_a_window_holds_the_rows_between(first: int, last: int) -> None:
    start, stop = (MARCH + np.timedelta64(hours, "h") for hours in (first, last))
    whole, folder = _window_store()
    inside = (whole["time"] >= start) & (whole["time"] < stop)
    got = [*read_records("window", folder, str(start), stop)]
    assert sum(map(len, got)) == inside.sum()
    if inside.any():
        assert_same(joined(got), whole.where(inside))


_WINDOW: list[Any] = []


def _window_store() -> tuple[Records, Path]:
    if not _WINDOW:
        whole, folder = random_records(OPTIONS, 500, 6), TemporaryDirectory()
        name_records("window", keep(Path(folder.name), whole).hash, Path(folder.name))
        _WINDOW.extend([whole, folder])
    return _WINDOW[0], Path(_WINDOW[1].name)


def test_files_outside_a_window_are_not_read(tmp_path: Path) -> None:
    made = keep(tmp_path, random_records(TRADES, 300, 7))
    next(records_folder(tmp_path).rglob("month=2024-04/*")).unlink()
    assert sum(map(len, read_records(made.hash, tmp_path, stop="2024-04-01"))) > 0
    with pytest.raises(SnapshotError, match=r"month=2024-04.*cannot be read"):
        list(read_records(made.hash, tmp_path))


@pytest.mark.parametrize("when", ["yesterday", "NaT", "9999-01-01", "2024-01-01T00:00+02:00"])
def test_an_instant_that_is_none_is_refused(tmp_path: Path, when: str) -> None:
    made = keep(tmp_path, _funding(1))
    with pytest.raises(ParameterError, match="expected an instant in UTC"):
        read_records(made.hash, tmp_path, start=when)


def test_a_name_means_one_hash_until_it_is_moved(tmp_path: Path) -> None:
    one, other = keep(tmp_path, _funding(1)), keep(tmp_path, _funding(2))
    assert name_records("btc-2024", one.hash[:10], tmp_path) == one.hash
    assert name_records("btc-2024", one.hash, tmp_path) == one.hash
    with pytest.raises(ParameterError, match=r"moving it to .* must be asked for"):
        name_records("btc-2024", other.hash, tmp_path)
    assert record_set("btc-2024", tmp_path).hash == one.hash
    name_records("btc-2024", other.hash, tmp_path, move=True)
    assert record_set("btc-2024", tmp_path).hash == other.hash
    name_records("again", "btc-2024", tmp_path)
    assert names_in(records_folder(tmp_path)) == {"again": other.hash, "btc-2024": other.hash}


@pytest.mark.parametrize("name", ["", "BTC", "beef", "../x", "a/b", ".x", "a" * 65, "a\n", "0" * 64])
def test_a_name_is_no_path_and_no_hash(tmp_path: Path, name: str) -> None:
    made = keep(tmp_path, _funding(1))
    with pytest.raises(ParameterError, match="could be no hash"):
        name_records(name, made.hash, tmp_path)


def test_a_damaged_or_unknown_name_is_refused(tmp_path: Path) -> None:
    one, other = keep(tmp_path, _funding(1)), keep(tmp_path, _funding(2))
    for name, made in {"one": one, "other": other}.items():
        name_records(name, made.hash, tmp_path)
    folder = records_folder(tmp_path) / "names"
    (folder / "one.json").write_bytes((folder / "other.json").read_bytes())
    with pytest.raises(SnapshotError, match="must say what one means"):
        record_set("one", tmp_path)
    (folder / "one.json").write_bytes(b"{}")
    with pytest.raises(SnapshotError, match="manifest"):
        record_set("one", tmp_path)
    with pytest.raises(SnapshotError, match="none called 'absent'"):
        record_set("absent", tmp_path)


def test_snapshots_have_names_and_refuse_to_be_altered(tmp_path: Path) -> None:
    one, other = (snapshot.freeze(_history(price), tmp_path) for price in (1.0, 2.0))
    assert snapshot.name_snapshot("mine", one[:6], tmp_path) == one
    assert snapshot.load("mine", tmp_path).spot[0, 0] == 1.0
    with pytest.raises(ParameterError, match="must be asked for"):
        snapshot.name_snapshot("mine", other, tmp_path)
    assert [found.hash for found in snapshot.listed(tmp_path)] == sorted([one, other])
    (tmp_path / f"{one}.parquet").write_bytes((tmp_path / f"{other}.parquet").read_bytes())
    with pytest.raises(SnapshotError, match="the file is damaged"):
        snapshot.load("mine", tmp_path)
    with pytest.raises(SnapshotError, match="the file is damaged"):
        snapshot.name_snapshot("yours", one, tmp_path)


def _history(price: float, source: str = "") -> MarketHistory:
    return MarketHistory(np.array([MARCH]), ("BTC",), np.array([[price]]), source=source)


def test_a_difference_is_told_with_its_place(tmp_path: Path) -> None:
    records = random_records(TRADES, 60, 8)
    price = records["price"].copy()
    price[41] = 7.0
    changed = replace(records, columns={**records.columns, "price": price})
    one = keep(tmp_path, records, findings=["a", "b"])
    other = keep(tmp_path, *cut(changed, [13, 40]), sources=[{"file": "b.csv"}], findings=["b"])
    found = diff(one.hash, other.hash, tmp_path)
    assert found.sources == (({"file": "a.csv"},), ({"file": "b.csv"},))
    assert (found.findings, found.facts) == ((("a",), ()), {})
    assert found.first.startswith(f"row 42 ({records['time'][41]}): price ")
    assert found.first.endswith("| 7.0")
    assert "rows differ from row 42" in repr(found)
    assert not diff(one.hash, one.hash, tmp_path)
    longer = diff(keep(tmp_path, records.where(slice(0, 50))).hash, one.hash, tmp_path)
    assert longer.first == "row 51: the second has 10 rows more"
    assert longer.facts == {"rows": (50, 60)}
    foreign = diff(one.hash, keep(tmp_path, _funding(1)).hash, tmp_path)
    assert foreign.facts["kind"] == ("trades", "funding")
    assert foreign.first == ""


def test_garbage_is_what_nothing_points_to_and_goes_only_when_asked(tmp_path: Path) -> None:
    named, source, kept, lost = (keep(tmp_path, _funding(hour)) for hour in range(1, 5))
    name_records("named", named.hash, tmp_path)
    folder = tmp_path / "snapshots"
    used = snapshot.freeze(_history(1.0, f"records {source.hash}"), folder)
    dropped = snapshot.freeze(_history(2.0, f"records {lost.hash}"), folder)
    snapshot.name_snapshot("used", used, folder)
    unfinished = snapshot.freeze(_history(3.0), folder)
    (folder / f"{unfinished}.json").unlink()
    found = collect_garbage(tmp_path, [kept.hash])
    told = {("record set", lost.hash), ("snapshot", dropped), ("numbers", unfinished)}
    assert {(one.what, one.hash) for one in found} == told
    assert len(listed(tmp_path)) == 4
    assert collect_garbage(tmp_path, [kept.hash], remove=True) == found
    assert collect_garbage(tmp_path, [kept.hash]) == []
    assert {one.hash for one in listed(tmp_path)} == {named.hash, source.hash, kept.hash}
    assert [one.hash for one in snapshot.listed(folder)] == [used]
    assert not list(tmp_path.rglob(f"{PARTIAL}*"))
    with pytest.raises(ParameterError, match="must be there"):
        collect_garbage(tmp_path, ["absent"])


def test_nothing_is_removed_where_a_name_is_damaged(tmp_path: Path) -> None:
    made = keep(tmp_path, _funding(1))
    name_records("mine", made.hash, tmp_path)
    (records_folder(tmp_path) / "names" / "mine.json").write_bytes(b"")
    with pytest.raises(SnapshotError, match="no manifest"):
        collect_garbage(tmp_path, remove=True)
    assert listed(tmp_path) == [made]


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert listed(tmp_path / "absent") == []
    assert collect_garbage(tmp_path / "absent") == []
    assert not (tmp_path / "absent").exists()


def test_a_damaged_set_is_listed_with_what_is_wrong(tmp_path: Path) -> None:
    made = keep(tmp_path, _funding(1))
    path = records_folder(tmp_path) / made.hash / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"rows": 1', b'"rows": 2'))
    assert "checksum" in listed(tmp_path)[0].fault
    assert "checksum" in repr(listed(tmp_path)[0])
    with pytest.raises(SnapshotError, match="checksum"):
        read_records(made.hash, tmp_path)
    other = records_folder(tmp_path) / ("0" * 64)
    keep(tmp_path, _funding(1))
    path.parent.rename(other)
    with pytest.raises(SnapshotError, match="must be the manifest of 0000"):
        record_set("0" * 64, tmp_path)
