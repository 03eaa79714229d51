"""Which rows do the tests of the store share?"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from data.catalog import write_records
from data.record_set import RecordSet
from data.records import Kind, Records, Values

MARCH = np.datetime64("2024-03-01T00:00:00", "ns")
_TEXTS = np.array(["", "BTC-1", None, "Zürich", "a,b\n"], dtype=object)


def random_records(kind: Kind, count: int, seed: int, *, hours: float = 900.0, symbol: str = "X") -> Records:
    """Rows of any kind with every column it may have, holes among them, rising in time over so many hours."""
    rng = np.random.default_rng(seed)
    since = np.sort(rng.uniform(0, hours * 3600e9, count)).astype("timedelta64[ns]")
    columns = {column.name: _values(np.dtype(column.dtype), count, rng) for column in kind.columns}
    return Records(kind, "venue", symbol, columns | {"time": MARCH + since}, np.arange(1, count + 1))


def _values(dtype: np.dtype[Any], count: int, rng: np.random.Generator) -> Values:
    holes = rng.random(count) < 0.1
    if dtype.kind == "f":
        return np.where(holes, np.nan, np.round(rng.normal(100.0, 5.0, count), 2))
    if dtype.kind == "M":
        stamps = MARCH + rng.integers(0, 10**15, count).astype("timedelta64[ns]")
        return np.where(holes, np.datetime64("NaT", "ns"), stamps)
    if dtype.kind == "O":
        return _TEXTS[rng.integers(0, len(_TEXTS), count)]
    return rng.integers(0, 2, count).astype(dtype)


def cut(records: Records, places: Sequence[int]) -> Iterator[Records]:
    for start, stop in pairwise([0, *sorted(places), len(records)]):
        yield records.where(slice(start, stop))


def keep(store: Path, *batches: Records, sources: Any = ({"file": "a.csv"},), findings: Any = ()) -> RecordSet:
    whose: dict[str, Any] = {name: getattr(batches[0], name) for name in ("kind", "venue", "symbol")}
    return write_records(batches, **whose, sources=sources, findings=findings, store=store)


def joined(batches: Sequence[Records]) -> Records:
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0].columns}
    first, row = batches[0], np.concatenate([batch.row for batch in batches])
    return Records(first.kind, first.venue, first.symbol, columns, row)


def assert_same(one: Records, other: Records) -> None:
    assert (one.kind, one.venue, one.symbol) == (other.kind, other.venue, other.symbol)
    assert set(one.columns) == set(other.columns)
    assert one.row.tolist() == other.row.tolist()
    for name, values in one.columns.items():
        assert values.dtype == other[name].dtype, name
        same = values.tolist() == other[name].tolist() if values.dtype == object else None
        assert same if same is not None else values.tobytes() == other[name].tobytes(), name
