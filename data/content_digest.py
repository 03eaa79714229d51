"""Do two sets of rows say the same, however they were cut into batches?"""

import hashlib
from typing import Any

import numpy as np

from data.records import UNKNOWN, Column, Kind, Records, Values

_PIECE = 1 << 17  # rows of a column that is filled in


def unknown(column: Column) -> Any:
    """What stands in a column of which a source knows nothing."""
    kinds: dict[str, Any] = {"M": np.datetime64("NaT", "ns"), "f": np.nan, "i": UNKNOWN, "O": None, "b": False}
    return kinds[np.dtype(column.dtype).kind]


def filled(column: Column, rows: int) -> Values:
    """A column of which nothing is known, (R,)."""
    return np.full(rows, unknown(column), dtype=column.dtype)


class ContentDigest:
    """A hash of rows that does not depend on how they are cut into batches; a column that nobody has has no part."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._columns: dict[str, Any] = {}
        self._places = hashlib.sha256()
        self._rows = 0

    @property
    def rows(self) -> int:
        """How many rows there were."""
        return self._rows

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that at least one batch had, in the order of the kind."""
        return tuple(name for name in self._kind.names if name in self._columns)

    def add(self, records: Records) -> None:
        """The next rows."""
        for column in self._kind.columns:
            values = records.columns.get(column.name)
            if values is not None and column.name not in self._columns:
                self._columns[column.name] = hashlib.sha256()
                self._fill(column, self._rows)
            if column.name in self._columns:
                told = filled(column, len(records)) if values is None else values
                self._columns[column.name].update(_bytes(told))
        self._places.update(_bytes(records.row))
        self._rows += len(records)

    def _fill(self, column: Column, rows: int) -> None:
        for start in range(0, rows, _PIECE):
            self._columns[column.name].update(_bytes(filled(column, min(_PIECE, rows - start))))

    def figures(self) -> dict[str, Any]:
        """Columns, rows, the hash of what the rows say (`content`) and of their numbers in their files (`places`)."""
        told = [f"{name} {self._kind.columns[self._kind.names.index(name)].dtype}" for name in self.columns]
        whole = hashlib.sha256("\n".join([self._kind.name, str(self._rows), *told]).encode())
        for name in self.columns:
            whole.update(self._columns[name].digest())
        figures = {"content": whole.hexdigest(), "places": self._places.hexdigest()}
        return {"columns": list(self.columns), "rows": self._rows, **figures}


def _bytes(values: Values) -> bytes:
    """One pattern of bytes for what is the same: little-endian, one NaN, one 0, strings with their lengths."""
    if values.dtype.kind == "O":
        told = [None if text is None else str(text).encode("utf-8", "surrogatepass") for text in values]
        return b"".join(b"-" if text is None else b"%d:%b" % (len(text), text) for text in told)
    if values.dtype.kind == "f":
        values = values + 0.0  # which makes a 0 of -0
        if np.isnan(values).any():
            values = np.where(np.isnan(values), np.nan, values)
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
