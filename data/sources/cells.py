"""What stands in a user's file, cell by cell?

CSV is read as text and checked line by line; Parquet comes typed. Nothing is guessed: a cell is the number or the
instant that it says, or it is refused with its file, line and column.
"""

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from data.arrays import Floats
from data.errors import DataError, HistoryError, SourceError

KLINES = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
LIMIT = 2**30  # bytes of one file, unpacked: a small archive may claim to hold anything

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?[iI][nN][fF](inity)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}([T ].*)?$|^(19|20)\d{6}([T ].*)?$"
_ZONED = r"(Z|:\d\d(\.\d+)?\s*[+-]\d\d(:?\d\d)?)$"
BLANK = ("", "nan", "null", "na", "n/a", "none")
_COMPACT = (199001010000, 210101010000)  # YYYYMMDDhhmm, which as milliseconds would be of 1976
_EPOCHS = (("seconds", 8, 10**9), ("milliseconds", 11, 10**6), ("microseconds", 14, 10**3), ("nanoseconds", 17, 1))


@dataclass(frozen=True, eq=False)
class Sheet:
    """One file as it stands: Arrow columns of cells, the first of which stands in line (or row) `first`."""

    file: str
    columns: tuple[str, ...]
    cells: tuple[Any, ...]
    first: int
    unit: str = "line"

    def wrong(self, row: int, column: int, expected: str) -> DataError:
        """The error that names a cell."""
        where = f"{self.file}, {self.unit} {row + self.first}, column {self.columns[column]!r}"
        try:
            got = repr(str(self.cells[column][row].as_py())[:60])
        except (OverflowError, ValueError):
            got = "what no calendar has"
        return DataError(f"{where}: expected {expected}, got {got}")

    @property
    def header(self) -> str:
        """The names of the columns, as an error shows them."""
        return ", ".join(self.columns)[:120]

    def blank(self, column: int) -> bool:
        """Whether a column holds nothing at all."""
        cells = self.cells[column]
        return bool(cells.null_count == len(cells) or (_is_text(cells) and pc.all(pc.equal(cells, "")).as_py()))

    def numbers(self, column: int) -> Floats:
        """A column as floats, NaN where blank; DataError names the first cell that is no number."""
        cells = self.cells[column]
        if _is_number(cells.type):
            return np.asarray(cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        if not _is_text(cells):
            raise self.wrong(0, column, "a number")
        blank = pc.is_in(pc.utf8_lower(cells), pa.array(BLANK, cells.type))
        self._refuse(pc.invert(pc.or_(blank, pc.match_substring_regex(cells, NUMBER))), column, "a number")
        return np.asarray(pc.if_else(blank, "nan", cells).cast(pa.float64()).to_numpy(zero_copy_only=False))

    def instants(self, column: int, tz: str | None) -> pd.DatetimeIndex:
        """A column as instants: in UTC where it has a zone, was given one or counts from 1970; naive otherwise.

        DataError names the first cell that is no instant, or no instant of the same kind as the first.
        """
        cells = self.cells[column]
        if _is_number(cells.type) or (_is_text(cells) and _is_epoch(cells[0].as_py())):
            index = self._epochs(column)
        elif _is_text(cells):
            index = self._dates(column)
        elif pa.types.is_timestamp(cells.type) or pa.types.is_date(cells.type):
            self._refuse(cells.is_null(), column, "an instant")
            typed = cells.cast(pa.timestamp("s")) if pa.types.is_date(cells.type) else cells
            counts = typed.view(pa.int64()).to_numpy().astype(f"datetime64[{typed.type.unit}]")
            index = pd.DatetimeIndex(counts, tz="UTC" if typed.type.tz else None)  # Arrow counts in UTC
        else:
            raise self.wrong(0, column, "an instant")
        self._refuse((index.year < 1678) | (index.year > 2261), column, "an instant in 1678..2261")
        if len(index) > 1 and not index.is_monotonic_increasing and index.is_monotonic_decreasing:
            raise DataError(f"{self.file}: expected the oldest row first, got the newest first: turn the file around")
        return self._utc(index.as_unit("ns"), column, tz)

    def _utc(self, index: pd.DatetimeIndex, column: int, tz: str | None) -> pd.DatetimeIndex:
        if index.tz is not None:
            return index.tz_convert("UTC")
        if tz is None or (index == index.normalize()).all():
            return index
        local = index.tz_localize(tz, ambiguous="NaT", nonexistent="NaT")
        self._refuse(local.isna(), column, f"a time that the clocks of {tz} show once that day")
        return local.tz_convert("UTC")

    def _epochs(self, column: int) -> pd.DatetimeIndex:
        values, cells = self.numbers(column), self.cells[column]
        lowest = np.array([10.0**digits for _, digits, _ in _EPOCHS])
        unit = np.searchsorted(lowest, values, side="right") - 1
        self._refuse((unit < 0) | ~(values < 92 * lowest[unit]), column, "a date, or a count since 1970")
        dated = (values >= _COMPACT[0]) & (values < _COMPACT[1])
        self._refuse(dated, column, "a date with its marks, such as 2024-01-31T08:00, or a count since 1970")
        name, _, scale = _EPOCHS[unit[0]]
        self._refuse(unit != unit[0], column, f"{name} since 1970, as in the rows before")
        whole = pa.types.is_integer(cells.type) or (
            _is_text(cells) and pc.all(pc.match_substring_regex(cells, r"^\d+$")).as_py()
        )
        if whole:
            counts = np.asarray(cells.cast(pa.int64()).to_numpy(zero_copy_only=False)) * scale
        else:
            counts = np.rint(values * (scale / 1000)).astype(np.int64) * 1000
        return pd.DatetimeIndex(counts.astype("datetime64[ns]"), tz="UTC")

    def _dates(self, column: int) -> pd.DatetimeIndex:
        cells = pc.replace_substring_regex(self.cells[column], r"\s*(UTC|GMT)$", "Z")
        known = "a date such as 2024-01-31, an instant such as 2024-01-31T10:00:00Z, or a count since 1970"
        self._refuse(pc.invert(pc.match_substring_regex(cells, _DATE)), column, known)
        zoned = np.asarray(pc.match_substring_regex(cells, _ZONED), dtype=bool)
        self._refuse(
            zoned != zoned[0], column, f"a stamp with{'' if zoned[0] else 'out'} a zone, as in the rows before"
        )
        parsed = pd.to_datetime(cells.to_pandas(), format="ISO8601", errors="coerce", utc=bool(zoned[0]))
        self._refuse(parsed.isna(), column, known)
        return pd.DatetimeIndex(parsed)

    def _refuse(self, struck: Any, column: int, expected: str) -> None:
        rows = np.flatnonzero(np.asarray(struck, dtype=bool))
        if rows.size:
            raise self.wrong(int(rows[0]), column, expected)

    @contextmanager
    def located(self) -> Iterator[None]:
        """Errors that count the rows of an array from 0 say the file, and its line, instead."""
        try:
            yield
        except (DataError, HistoryError) as error:
            said = str(error).removeprefix(f"{self.file}: ")
            said = re.sub(r"\brow (\d+)", lambda row: f"{self.unit} {int(row[1]) + self.first}", said)
            raise type(error)(f"{self.file}: {said}") from error


def read_sheet(path: Path) -> Sheet:
    """A file's cells.

    Raises
    ------
    SourceError
        Where there is no file, or it is of no known kind, damaged, empty or above `LIMIT`.
    DataError
        Where a CSV's line has more or fewer fields than its header, or the last has no line end.
    """
    if not path.is_file():
        raise SourceError(f"{path}: expected a file of prices, got {'a folder' if path.is_dir() else 'nothing'}")
    kind = path.name.lower()
    if kind.endswith((".parquet", ".pq")):
        return _parquet(path)
    if kind.endswith((".csv", ".csv.gz", ".zip")):
        return _csv(path.name, _unpacked(path))
    raise SourceError(f"{path.name}: expected .csv, .csv.gz, .zip or .parquet, got {path.suffix or 'no suffix'!r}")


def _unpacked(path: Path) -> bytes:
    try:
        data = _zipped(path) if path.suffix.lower() == ".zip" else _streamed(path)
    except SourceError:
        raise
    except Exception as error:  # a damaged archive raises whatever its decoder stumbles over
        raise SourceError(f"{path.name}: expected a file that can be unpacked, got {error!r}") from error
    if len(data) > LIMIT:
        raise SourceError(f"{path.name}: expected at most {LIMIT} bytes, got more")
    return data


def _streamed(path: Path) -> bytes:
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        return stream.read(LIMIT + 1)


def _zipped(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.lower().endswith(".csv")]
        if len(members) != 1:
            raise SourceError(f"{path.name}: expected one CSV in the archive, got {len(members)}")
        with archive.open(members[0]) as stream:
            return stream.read(LIMIT + 1)


def _csv(file: str, data: bytes) -> Sheet:
    """Cells as text. A last line without its end is refused: nobody can tell a whole number from one that was cut."""
    if not data.strip():
        raise SourceError(f"{file}: expected prices, got an empty file")
    if not data.endswith(b"\n"):
        line = data.count(b"\n") + 1
        raise DataError(
            f"{file}, line {line}: expected a line end, got the end of the file: it was cut short (if it is whole, "
            "end its last line)"
        )
    top, _, below = data.partition(b"\n")
    try:
        data.decode()  # the parser's own complaint would be lost in its callback
        header = next(csv.reader([top.decode("utf-8-sig").strip()]), [])
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file}, line {line}: expected text in UTF-8, got {data[error.start : error.end]!r}"
        ) from error
    except csv.Error as error:
        raise SourceError(f"{file}, line 1: expected a time and prices between commas, got {error}") from error
    if len(header) < 2:
        raise SourceError(f"{file}, line 1: expected a time and prices between commas, got {str(header)[:60]}")
    if not all(re.match(NUMBER, cell.strip()) for cell in header):
        return Sheet(file, tuple(header), _text_columns(file, below, len(header), 2), 2)
    if len(header) != len(KLINES):
        raise SourceError(f"{file}, line 1: expected a header, or the 12 numbers of a kline, got {len(header)} numbers")
    return Sheet(file, KLINES, _text_columns(file, data, len(KLINES), 1), 1)


def _text_columns(file: str, body: bytes, width: int, first: int) -> tuple[Any, ...]:
    """Columns of trimmed text; DataError for a line with more or fewer fields, SourceError for no lines."""
    torn: list[str] = []

    def refuse(row: Any) -> str:
        torn.append(f"{file}, line {row.number + first - 1}: expected {width} fields, got {row.actual_columns}")
        return "error"

    body = body.rstrip(b"\r\n")
    if not body:
        raise SourceError(f"{file}: expected prices below the header, got none")
    names = [str(j) for j in range(width)]
    try:
        table = pa.csv.read_csv(
            io.BytesIO(body),
            pa.csv.ReadOptions(column_names=names, use_threads=False),
            pa.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=refuse),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowException as error:
        raise DataError(torn[0] if torn else f"{file}: expected lines of {width} fields, got {error}") from error
    return tuple(pc.utf8_trim_whitespace(column.combine_chunks()) for column in table.columns)


def _parquet(path: Path) -> Sheet:
    """Cells as they are typed, an index first; page checksums are verified where the writer left any."""
    try:
        file = pa.parquet.ParquetFile(path, page_checksum_verification=True)
        size = 8 * file.metadata.num_rows * file.metadata.num_columns
        str(file.schema_arrow)  # damaged names and zones fail here, not where an error shows them
        table = file.read() if size <= LIMIT else None
        if table is not None:
            table.validate(full=True)
        described = file.schema_arrow.pandas_metadata or {}
        levels = len(described.get("column_indexes") or [0])
        index = [name for name in described.get("index_columns") or () if isinstance(name, str)]
    except Exception as error:  # a damaged file raises whatever its decoder stumbles over
        raise SourceError(f"{path.name}: expected a Parquet file, got {error!r}") from error
    if table is None:
        raise SourceError(f"{path.name}: expected at most {LIMIT} bytes, got {size}")
    if levels > 1 or not table.num_rows or not table.num_columns:
        got = "several levels of names" if levels > 1 else "no cell"
        raise SourceError(f"{path.name}: expected a plain table with rows, got {got}")
    order = sorted(range(table.num_columns), key=lambda j: (table.column_names[j] not in index, j))
    names = tuple(table.column_names[j] for j in order)
    return Sheet(path.name, names, tuple(_typed(table.column(j)) for j in order), 1, "row")


def _typed(column: Any) -> Any:
    """A column in one piece, text trimmed."""
    cells = column.combine_chunks()
    cells = cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells
    return pc.utf8_trim_whitespace(pc.fill_null(cells, "")) if _is_text(cells) else cells


def _is_text(cells: Any) -> bool:
    return bool(pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type))


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_epoch(text: str) -> bool:
    """Whether a stamp is a count since 1970; eight digits are a date."""
    return bool(re.match(NUMBER, text)) and not re.match(_DATE, text)
