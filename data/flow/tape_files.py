"""How is a tape kept in Parquet, and read back without holding it in memory?

One file a symbol: `time` (timestamp in UTC, sorted), `price`, `size`, `side` as data/records.py has them; the venue's
numbers of the trades are not kept. Every page has a checksum, which is verified: without it a flipped bit is a wrong
number.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DataError, SourceError
from data.flow.bar_rules import BarRule
from data.flow.bars import Bars
from data.flow.tape import ahead, fold
from data.flow.trade_order import LastTrade
from data.records import TRADES, Records
from data.storage import PARTIAL, settle

ROW_GROUP = 1_000_000
BATCH = 1 << 17
COLUMNS = ("time", "price", "size", "side")
_VENUE, _SYMBOL = b"marginlab.venue", b"marginlab.symbol"
# Instants differ by little, prices and sizes repeat: what small differences and dictionaries save need not be read.
_LAYOUT = {
    "compression": "snappy",
    "use_dictionary": ["price", "size", "side"],
    "column_encoding": {"time": "DELTA_BINARY_PACKED"},
    "write_page_checksum": True,
}


def write_tape(records: Iterable[Records], path: Path) -> int:
    """Write trades batch by batch and tell how many; the file appears when it is whole.

    Raises
    ------
    DataError
        For no batch at all, and as `LastTrade.then` does: what no fold could take is not written.
    """
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        count = _write(iter(records), partial)
        settle(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def read_tape(path: Path) -> Iterator[Records]:
    """Trades of a file that `write_tape` made, a hundred thousand or so at a time, in its order.

    Raises
    ------
    SourceError
        For a file that is no such tape, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Arrow would otherwise read the whole file ahead, and memory would grow with it.
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            venue, symbol = _whose(file, path)
            row = 1
            for part in file.iter_batches(BATCH, columns=list(COLUMNS)):
                yield _records(part, venue, symbol, row)
                row += part.num_rows
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path}: expected a tape in Parquet, got {type(error).__name__}: {error}") from error


def fold_tape(paths: Iterable[Path], rule: BarRule) -> Bars:
    """Bars of one symbol's tapes, file after file; the next trades are decoded in a thread meanwhile.

    Days in files of their own give the bits that they give in one. Raises DataError as `fold` does, SourceError as
    `read_tape`.
    """
    return fold(ahead(chain.from_iterable(map(read_tape, paths))), rule)


def _write(batches: Iterator[Records], partial: Path) -> int:
    import pyarrow.parquet as pq

    first = next(batches, None)
    if first is None:
        raise DataError("expected trades to write, got no batch")
    count = 0
    with pq.ParquetWriter(partial, _schema(first.venue, first.symbol), **_LAYOUT) as writer:
        for group in _groups(_in_order(chain([first], batches)), writer.schema):
            writer.write_table(group, row_group_size=ROW_GROUP)
            count += group.num_rows
    return count


def _in_order(batches: Iterable[Records]) -> Iterator[Records]:
    """The same batches, as long as a fold would take them."""
    last = LastTrade()
    for batch in batches:
        _, last = last.then(batch)
        yield batch


def _groups(batches: Iterable[Records], schema: Any) -> Iterator[Any]:
    """Tables of a multiple of ROW_GROUP rows, however many a batch has, but for the last."""
    import pyarrow as pa

    held, rows = [], 0
    for batch in batches:
        held.append(pa.table([pa.array(batch[name], schema.field(name).type) for name in COLUMNS], schema=schema))
        rows += len(batch)
        if rows >= ROW_GROUP:
            table, full = pa.concat_tables(held), rows - rows % ROW_GROUP
            yield table.slice(0, full)
            held, rows = [table.slice(full)], rows - full
    if rows:
        yield pa.concat_tables(held)


def _schema(venue: str, symbol: str) -> Any:
    import pyarrow as pa

    types = (pa.timestamp("ns", tz="UTC"), pa.float64(), pa.float64(), pa.int8())
    fields = [pa.field(name, kind, nullable=False) for name, kind in zip(COLUMNS, types, strict=True)]
    return pa.schema(fields, metadata={_VENUE: venue, _SYMBOL: symbol})


def _whose(file: Any, path: Path) -> tuple[str, str]:
    """Venue and symbol of a tape; SourceError where the file is none."""
    schema = file.schema_arrow
    about = schema.metadata or {}
    if _VENUE not in about or _SYMBOL not in about:
        raise SourceError(f"{path}: expected a tape in Parquet, got one without a venue and a symbol")
    venue, symbol = about[_VENUE].decode(), about[_SYMBOL].decode()
    expected = _schema(venue, symbol)
    if not schema.equals(expected):
        raise SourceError(f"{path}: expected a tape of columns {expected.names}, got {schema.names} of {schema.types}")
    return venue, symbol


def _records(part: Any, venue: str, symbol: str, row: int) -> Records:
    columns = {name: part.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS}
    return Records(TRADES, venue, symbol, columns, np.arange(row, row + part.num_rows))
