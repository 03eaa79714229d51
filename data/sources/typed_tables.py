"""What do the rows of a Parquet or Arrow file say, a batch at a time?

Columns come typed; page checksums are verified where the writer left any.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import SourceError
from data.records import UNKNOWN, Values
from data.sources.epochs import Instants, instants, text_instants
from data.sources.json_rows import numbers
from data.sources.layout import RawFile

ROWS = 1 << 17


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


def figures(column: Any) -> Values:
    """A column as floats, NaN where blank or no number."""
    import pyarrow as pa

    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    return numbers(column.to_pylist())


def times(column: Any) -> Instants:
    """A column as instants: typed (in UTC where it names no zone), counted or text."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        plain = column.cast(pa.timestamp("ns")) if column.type.tz is None else column.cast(pa.timestamp("ns", "UTC"))
        return np.asarray(plain.to_numpy(zero_copy_only=False), "datetime64[ns]")
    if pa.types.is_integer(column.type):
        return instants(np.asarray(column.fill_null(UNKNOWN).to_numpy(zero_copy_only=False)))
    return text_instants(np.array(column.to_pylist(), dtype=object))
