"""What do the rows of a Parquet or Arrow file say, a batch at a time?

Columns come typed; page checksums are verified where the writer left any.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import SourceError
from data.records import UNKNOWN, Values
from data.sources.epochs import Instants, instants
from data.sources.json_rows import moments, numbers
from data.sources.layout import RawFile

ROWS = 1 << 17
_REACH = 92 * 10**17  # nanoseconds from 1970 that datetime64[ns] holds
_NOWHERE = np.iinfo(np.int64).min  # NaT


def typed_batches(raw: RawFile, names: Sequence[str]) -> Iterator[tuple[Mapping[str, Any], Values]]:
    """{name: Arrow array} of the columns wanted, and the number of each row from 1.

    Raises
    ------
    SourceError
        For a damaged file.
    """
    import pyarrow.ipc
    import pyarrow.parquet as pq

    first = 1
    try:
        if raw.head.form == "parquet":
            with pq.ParquetFile(raw.path, page_checksum_verification=True, pre_buffer=False) as table:
                for batch in table.iter_batches(ROWS, columns=list(names)):
                    yield {name: batch.column(name) for name in names}, _rows(first, batch.num_rows)
                    first += batch.num_rows
        else:
            with pyarrow.ipc.open_file(raw.path) as table:
                for number in range(table.num_record_batches):
                    batch = table.get_batch(number)
                    batch.validate(full=True)
                    yield {name: batch.column(name) for name in names}, _rows(first, batch.num_rows)
                    first += batch.num_rows
    except SourceError:
        raise
    except Exception as error:  # a damaged file raises whatever its decoder stumbles over
        raise SourceError(f"{raw.head.file}: expected a {raw.head.form} file, got {error!r}") from error


def _rows(first: int, count: int) -> Values:
    return np.arange(first, first + count, dtype=np.int64)


def where(raw: RawFile, name: str) -> str:
    """A column, as errors tell it."""
    return f"{raw.head.file}, column {name!r}"


def figures(column: Any, told: str) -> Values:
    """A column as floats, NaN where blank or no number; `told` names it in errors.

    Raises
    ------
    SourceError
        For a column of a type that holds no figures, such as instants or lists.
    """
    import pyarrow as pa

    kind = _kind(column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.asarray(_plain(column).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    if pa.types.is_decimal(kind):
        return numbers([None if cell is None else float(cell) for cell in column.to_pylist()])
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if _is_text(kind):
        return numbers(column.to_pylist())
    raise SourceError(f"{told}: expected numbers, got a column of {kind}")


def _kind(column: Any) -> Any:
    """The type of what a column holds, however it is packed."""
    import pyarrow as pa

    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type


def _plain(column: Any) -> Any:
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def times(column: Any, told: str) -> Instants:
    """A column as instants: typed (in UTC where it names no zone), dates, counts or text; NaT for what is none.

    `told` names it in errors.

    Raises
    ------
    SourceError
        For a column of a type that holds no instants, such as truth values or lists.
    """
    import pyarrow as pa

    kind = _kind(column)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _typed(column)
    if pa.types.is_integer(kind):
        return instants(_whole(column))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return instants(figures(column, told))
    if _is_text(kind):
        return moments(column.to_pylist())
    if pa.types.is_null(kind):
        return np.full(len(column), "NaT", "datetime64[ns]")
    raise SourceError(f"{told}: expected instants, dates, counts or text, got a column of {kind}")


def _typed(column: Any) -> Instants:
    """Instants as Arrow counts them, which is in UTC; those that nanoseconds do not reach become NaT."""
    import pyarrow as pa

    plain = _plain(column)
    if pa.types.is_date(plain.type):
        plain = plain.cast(pa.timestamp("ms"))
    counts = np.asarray(plain.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))
    scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[plain.type.unit]
    told = np.asarray(plain.is_valid().to_numpy(zero_copy_only=False), bool) & (np.abs(counts) <= _REACH // scale)
    return np.where(told, np.where(told, counts, 0) * scale, _NOWHERE).view("datetime64[ns]")


def _whole(column: Any) -> Values:
    """Counts as int64, UNKNOWN where blank or beyond them."""
    import pyarrow as pa

    plain = _plain(column)
    counts = np.asarray(plain.fill_null(0).to_numpy(zero_copy_only=False))
    known = np.asarray(plain.is_valid().to_numpy(zero_copy_only=False), bool)
    if pa.types.is_uint64(plain.type):
        known &= counts <= _REACH
    return np.where(known, np.where(known, counts, 0).astype(np.int64), UNKNOWN)
