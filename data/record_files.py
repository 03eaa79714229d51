"""How do rows of one kind go into Parquet files month by month, and come back as they were?

Every page has a checksum, and every file a sha256 that is verified before it is parsed: a flipped bit is an error,
never another number.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from data.content_digest import filled
from data.errors import DataError, SnapshotError
from data.records import Kind, Records, Values
from data.sealed import read_whole
from data.storage import sha256_of
from data.workplace import writing

ROW_GROUP = 1 << 20
PART = 1 << 21  # rows: a part is read as a whole, so this bounds the memory that reading takes
BATCH = 1 << 17
_RISING = "DELTA_BINARY_PACKED"  # instants and numbers that rise: small differences need few bits


@dataclass(frozen=True)
class Part:
    """One file: its month and number, what its bytes are, and the earliest and latest of its rows (ns since 1970)."""

    month: str
    number: int
    rows: int
    first: int
    last: int
    size: int
    sha256: str


def folder_of(kind: str, venue: str, symbol: str) -> Path:
    """Where the files of a symbol are within its record set; no symbol, however odd, leads out of there.

    >>> folder_of("trades", "binance", "../BTC").as_posix()
    'kind=trades/venue=binance/symbol=..%2FBTC'
    """
    return Path(f"kind={kind}", f"venue={quote(venue, safe='')}", f"symbol={quote(symbol, safe='')}")


def path_of(folder: Path, part: Part) -> Path:
    """Where a part is."""
    return folder / f"month={part.month}" / f"part-{part.number}.parquet"


class RecordWriter:
    """Writes rows below a folder as they come; at most ROW_GROUP of them, and a batch, are in memory.

    A month begins a new file, and so do PART rows. The months follow the newest instant so far: a book's messages keep
    their order even where their stamps do not.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.parts: list[Part] = []
        self._folder, self._kind, self._schema = folder, kind, _schema(kind)
        self._open: _OpenPart | None = None
        self._newest = np.datetime64("NaT", "ns")

    def add(self, records: Records) -> None:
        """The next rows."""
        newest = np.fmax.accumulate(np.concatenate([[self._newest], records["time"]]))[1:]
        months = newest.astype("datetime64[M]")
        cuts = [0, *(np.flatnonzero(months[1:] != months[:-1]) + 1).tolist(), len(records)]
        with writing(self._folder):
            for start, stop in pairwise(cuts):
                self._put(str(months[start]), self._table(records.where(slice(start, stop))))
        self._newest = newest[-1]

    def close(self) -> None:
        """The end: what is held is written."""
        with writing(self._folder):
            self._end_part()

    def abandon(self) -> None:
        """Let go of the file that is open, whole or not."""
        if self._open is not None:
            with suppress(Exception):  # it failed already, or will not be used
                self._open.writer.close()
            self._open = None

    def _table(self, records: Records) -> Any:
        import pyarrow as pa

        arrays = [pa.array(records.row, pa.int64())]
        for column in self._kind.columns:
            values = records.columns.get(column.name)
            told = filled(column, len(records)) if values is None else np.ascontiguousarray(values)
            try:
                arrays.append(pa.array(told, self._schema.field(column.name).type))
            except (pa.ArrowException, UnicodeEncodeError, TypeError) as error:
                raise DataError(f"{column.name} of {records.kind.name} must be text: {error}") from error
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _put(self, month: str, table: Any) -> None:
        while table.num_rows:
            if self._open is None or self._open.month != month:
                self._end_part()
                self._begin_part(month)
            assert self._open is not None
            fits = min(table.num_rows, PART - self._open.rows)
            self._open.add(table.slice(0, fits))
            table = table.slice(fits)
            if self._open.rows == PART:
                self._end_part()

    def _begin_part(self, month: str) -> None:
        number = sum(part.month == month for part in self.parts)
        path = path_of(self._folder, Part(month, number, 0, 0, 0, 0, ""))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open = _OpenPart(path, month, number, self._schema)

    def _end_part(self) -> None:
        if self._open is not None:
            ended, self._open = self._open, None
            self.parts.append(ended.end())


class _OpenPart:
    """A file that is being written."""

    def __init__(self, path: Path, month: str, number: int, schema: Any) -> None:
        import pyarrow.parquet as pq

        rising = [name for name, kind in zip(schema.names, schema.types, strict=True) if _rises(kind)]
        self.month, self.number, self.rows = month, number, 0
        self._path = path
        self._held: list[Any] = []
        self._ends: list[int] = []
        self.writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in schema.names if name not in rising],
            column_encoding=dict.fromkeys(rising, _RISING),
            write_page_checksum=True,
        )

    def add(self, table: Any) -> None:
        stamps = table.column("time").to_numpy().view(np.int64)
        self._ends += [int(stamps.min()), int(stamps.max())]
        self._held.append(table)
        self.rows += table.num_rows
        while sum(held.num_rows for held in self._held) >= ROW_GROUP:
            self._write(ROW_GROUP)

    def end(self) -> Part:
        if self._held:
            self._write(ROW_GROUP)
        self.writer.close()
        with self._path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        size = self._path.stat().st_size
        return Part(self.month, self.number, self.rows, min(self._ends), max(self._ends), size, sha256)

    def _write(self, rows: int) -> None:
        import pyarrow as pa

        table = pa.concat_tables(self._held)
        self.writer.write_table(table.slice(0, rows), row_group_size=ROW_GROUP)
        self._held = [table.slice(rows)] if table.num_rows > rows else []


def read_part(folder: Path, part: Part, whose: tuple[Kind, str, str], columns: tuple[str, ...]) -> Iterator[Records]:
    """The rows of a part in batches; SnapshotError unless its bytes are those that were written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = path_of(folder, part)
    payload = read_whole(path)
    if len(payload) != part.size or sha256_of(payload) != part.sha256:
        raise SnapshotError(
            f"{path} must have {part.size} bytes of the sha256 {part.sha256}, got {len(payload)} of "
            f"{sha256_of(payload)}: the file is damaged"
        )
    try:
        with pq.ParquetFile(pa.BufferReader(payload), page_checksum_verification=True) as file:
            if file.metadata.num_rows != part.rows or not file.schema_arrow.equals(_schema(whose[0])):
                raise SnapshotError(f"{path} must hold {part.rows} rows of {whose[0].name}, got {file.metadata}")
            for batch in file.iter_batches(BATCH, columns=["row", *columns], use_threads=False):
                yield _records(batch, whose, columns)
    except (pa.ArrowException, OSError) as error:
        raise SnapshotError(f"{path} is no readable part: {type(error).__name__}: {error}") from error


def _records(batch: Any, whose: tuple[Kind, str, str], columns: tuple[str, ...]) -> Records:
    kind, venue, symbol = whose
    told: Mapping[str, Values] = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in columns}
    return Records(kind, venue, symbol, told, batch.column("row").to_numpy())


def _schema(kind: Kind) -> Any:
    """All columns that the kind may have: which of them a source has is known when its last file is read."""
    import pyarrow as pa

    types: dict[str, Callable[[], Any]] = {
        "datetime64[ns]": lambda: pa.timestamp("ns", tz="UTC"),
        "float64": pa.float64,
        "int64": pa.int64,
        "int8": pa.int8,
        "bool": pa.bool_,
        "object": pa.string,
    }
    fields = [pa.field("row", pa.int64()), *(pa.field(one.name, types[one.dtype]()) for one in kind.columns)]
    return pa.schema(fields)


def _rises(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_timestamp(kind) or pa.types.is_int64(kind))
