"""Does a tape in Parquet give the same bars, and a damaged one none?"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from data import DataError, SourceError
from data.flow.bar_rules import TickBars, TimeBars
from data.flow.tape import ahead, fold
from data.flow.tape_files import COLUMNS, ROW_GROUP, fold_tape, read_tape, write_tape
from data.records import Records
from tapes import RULES, SIX, assert_same_bits, in_parts, random_tape


def test_a_tape_in_parquet_gives_the_same_bits_in_one_file_or_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.flow.tape_files.ROW_GROUP", 1000)
    monkeypatch.setattr("data.flow.tape_files.BATCH", 300)
    tape = random_tape(5000, seed=4)
    assert write_tape(in_parts(tape, [10, 700, 4000]), tmp_path / "whole.parquet") == 5000
    days = [tmp_path / f"{at}.parquet" for at in range(3)]
    for day, part in zip(days, in_parts(tape, [1234, 3000]), strict=True):
        write_tape([part], day)
    back = list(read_tape(tmp_path / "whole.parquet"))
    assert max(map(len, back)) == 300
    assert_array_equal(np.concatenate([part.row for part in back]), tape.row)
    for name in COLUMNS:
        assert_array_equal(np.concatenate([part[name] for part in back]), tape[name])
    for rule in RULES:
        told = fold([tape], rule)
        assert_same_bits(fold_tape([tmp_path / "whole.parquet"], rule), told)
        assert_same_bits(fold_tape(days, rule), told)


def test_row_groups_are_whole_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr("data.flow.tape_files.ROW_GROUP", 1000)
    path = tmp_path / "tape.parquet"
    write_tape(in_parts(random_tape(3500, seed=4), range(0, 3500, 90)), path)
    about = pq.read_metadata(path)
    assert [about.row_group(at).num_rows for at in range(about.num_row_groups)] == [1000, 1000, 1000, 500]
    assert ROW_GROUP == 1_000_000


def test_every_flipped_bit_of_the_figures_is_found(tmp_path: Path) -> None:
    path = tmp_path / "tape.parquet"
    write_tape([random_tape(2000, seed=4)], path)
    whole = path.read_bytes()
    truth = fold_tape([path], TimeBars("1min"))
    rng = np.random.default_rng(0)
    found = 0
    for at in rng.integers(0, len(whole), 150):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            told = fold_tape([path], TimeBars("1min"))
        except DataError:
            found += 1
        else:
            assert_same_bits(told, truth)
    assert found > 100


def test_what_is_no_tape_is_refused_and_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tape.parquet"
    pd.DataFrame({"price": [1.0]}).to_parquet(path)
    with pytest.raises(SourceError, match="without a venue and a symbol"):
        next(read_tape(path))
    path.write_bytes(b"no Parquet at all")
    with pytest.raises(SourceError, match="expected a tape in Parquet"):
        fold_tape([path], TickBars(1))
    with pytest.raises(SourceError, match="expected a tape in Parquet"):
        fold_tape([tmp_path / "absent.parquet"], TickBars(1))
    kept = path.read_bytes()
    with pytest.raises(DataError, match="order of time"):
        write_tape([SIX, SIX], path)
    with pytest.raises(DataError, match="no batch"):
        write_tape([], path)
    assert path.read_bytes() == kept
    assert [item.name for item in tmp_path.iterdir()] == ["tape.parquet"]


def test_reading_ahead_passes_errors_on_and_keeps_the_order() -> None:
    def broken() -> Iterator[Records]:
        yield SIX
        raise SourceError("the disk is gone")

    told = ahead(broken())
    assert next(told) is SIX
    with pytest.raises(SourceError, match="the disk is gone"):
        next(told)
    made: list[int] = []

    def counted() -> Iterator[Records]:
        for part in in_parts(SIX, range(1, 6)):
            made.append(int(part.row[0]))
            yield part

    for used, part in enumerate(ahead(counted()), start=1):
        assert part.row[0] == used
        assert len(made) <= used + 1  # however long the tape, two batches are in memory
    assert made == [1, 2, 3, 4, 5, 6]
