"""Is the store usable, and never wrong, after kills, a full disk, writers side by side, and flipped bits?

`MARGINLAB_FAULTS=50` runs that many times the faults of the short form.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_sets import assert_same, cut, joined, keep, random_records

from data import MarketHistory, record_files, snapshot
from data.catalog import faults, listed, name_records, read_records, write_records
from data.errors import SnapshotError
from data.records import OPTIONS, TRADES, Records

PROGRAM = Path(__file__).with_name("store_faults.py")
TIMES = int(os.environ.get("MARGINLAB_FAULTS", "1"))


@pytest.mark.skipif(os.name != "posix", reason="children are forked and killed")
@pytest.mark.parametrize(("case", "count"), [("steps", 8), ("time", 6), ("disk", 6), ("writers", 3)])
def test_a_store_survives(tmp_path: Path, case: str, count: int) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path / "store"), case, str(count * TIMES), "2024"]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    outcomes = {int(code): int(times) for code, _, times in (word.partition(":") for word in run.stdout.split())}
    assert sum(outcomes.values()) == count * TIMES
    expected = {"steps": {-9, 0}, "time": {-9, 0}, "disk": {0, 3}, "writers": {0}}[case]
    assert set(outcomes) <= expected
    assert outcomes.get({"steps": -9, "time": -9, "disk": 3, "writers": 0}[case], 0) > 0


@pytest.mark.skipif(os.name != "posix", reason="children are forked and killed")
def test_an_import_that_was_killed_anywhere_can_be_done_again(tmp_path: Path) -> None:
    program = PROGRAM.with_name("import_faults.py")
    command = [sys.executable, str(program), str(tmp_path), str(8 * TIMES), "2024"]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 0


def test_no_flipped_bit_in_any_file_becomes_another_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_files, "ROW_GROUP", 60)
    monkeypatch.setattr(record_files, "PART", 120)
    tapes = {"tape": random_records(TRADES, 300, 1), "chain": random_records(OPTIONS, 100, 2)}
    for name, rows in tapes.items():
        name_records(name, keep(tmp_path, *cut(rows, [70])).hash, tmp_path)
    history = MarketHistory(np.array(["2024-01-01"], dtype="M8[ns]"), ("BTC",), np.array([[7.0]]))
    snapshots = tmp_path / "snapshots"
    snapshot.name_snapshot("market", snapshot.freeze(history, snapshots), snapshots)
    rng = np.random.default_rng(3)
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.stat().st_size]
    refused = 0
    for path in files:
        whole = path.read_bytes()
        for place in rng.integers(0, 8 * len(whole), 12 * TIMES):
            damaged = bytearray(whole)
            damaged[place // 8] ^= 1 << int(place) % 8
            path.write_bytes(damaged)
            refused += _refusals(tapes, history, tmp_path)
        path.write_bytes(whole)
    assert len(files) >= 9
    assert refused == 12 * TIMES * len(files)
    assert _refusals(tapes, history, tmp_path) == 0
    assert [faults(one, tmp_path) for one in listed(tmp_path)] == [[], []]


def _refusals(tapes: dict[str, Records], history: MarketHistory, store: Path) -> int:
    """How many of the three readings are refused; those that are not give what was written."""
    refused = 0
    for name, rows in tapes.items():
        try:
            assert_same(joined([*read_records(name, store)]), rows)
        except SnapshotError:
            refused += 1
    try:
        assert snapshot.load("market", store / "snapshots").spot.tobytes() == history.spot.tobytes()
    except SnapshotError:
        refused += 1
    return refused


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_cut_part_is_refused_with_its_place(tmp_path: Path, share: float) -> None:
    made = keep(tmp_path, random_records(TRADES, 100, 4))
    path = next(tmp_path.rglob("part-0.parquet"))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(SnapshotError, match=r"part-0.*the file is damaged"):
        list(read_records(made.hash, tmp_path))


def test_a_folder_that_cannot_be_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("")
    with pytest.raises(SnapshotError, match="folder that can be written"):
        keep(tmp_path, random_records(TRADES, 10, 5))


def test_a_partial_folder_of_a_living_writer_is_left_to_it(tmp_path: Path) -> None:
    """Two sets written in turns, batch by batch, each while the other's folder is there."""
    rows = random_records(TRADES, 200, 6)

    def interrupted() -> Iterator[Records]:
        for batch in cut(rows, [100]):
            yield batch
            keep(tmp_path, random_records(TRADES, 50, 7))

    whose: dict[str, Any] = {"kind": TRADES, "venue": "venue", "symbol": "X"}
    outer = write_records(interrupted(), **whose, sources=[], findings=[], store=tmp_path)
    assert_same(joined([*read_records(outer.hash, tmp_path)]), rows)
    assert len(listed(tmp_path)) == 2
