"""What is a venue's file known by, and how is it read?

Each vendor's module has a tuple `LAYOUTS`; `recognise.py` asks all of them. A layout must know its own files and no
others: two that claim one file are an error.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from data.records import Kind, Records


def cells_of(line: str) -> tuple[str, ...]:
    """A line of CSV cell by cell, trimmed and without quotes; () where a quote is never closed.

    >>> cells_of('"1704067200000", 42.5,')
    ('1704067200000', '42.5', '')
    """
    if '"' not in line:
        return tuple(cell.strip() for cell in line.split(","))
    try:
        return tuple(cell.strip() for cell in next(csv.reader([line], strict=True, skipinitialspace=True), []))
    except csv.Error:
        return ()


@dataclass(frozen=True, eq=False)
class Head:
    """What can be seen of a file without reading all of it.

    Parameters
    ----------
    file : its name, folders left off; bytes that are no UTF-8 are shown as \\xe9.
    form : "csv", "json", "jsonl" (a document a line, perhaps after a stamp), "parquet" or "arrow" (a feather file), by
        what the first bytes are.
    lines : the first lines as text, unpacked (twenty at most, each cut at 4,096 characters); none of Parquet or Arrow.
    columns : names in the header of a CSV or the schema of a Parquet or Arrow file; () where the first line is data.
    sample : the first document of JSON, as far as it can be parsed; None otherwise.
    member : the name within a zip, folders left off; "" of other files.
    banner : lines above the header of a CSV that are neither header nor data.
    folders : the folders it lies in, the outermost first.
    """

    file: str
    form: str
    lines: tuple[str, ...]
    columns: tuple[str, ...] = ()
    sample: Any = None
    member: str = ""
    banner: int = 0
    folders: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[str, ...]:
        """The first line of data of a CSV file, cell by cell."""
        at = self.banner + (1 if self.columns else 0)
        return cells_of(self.lines[at]) if len(self.lines) > at else ()


@dataclass(frozen=True, eq=False)
class RawFile:
    """A file on disk: its head, and a way to its unpacked bytes (of gz, of a zip's one member), as often as asked."""

    path: Path
    head: Head
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Layout:
    """One format of one vendor.

    Parameters
    ----------
    name : vendor and format, "binance spot klines".
    kind : what its rows become.
    claims : whether a head is one of its own; SourceError, with the reason, where it is and cannot be read rightly.
    read : its rows, batch by batch in the order of the file, in bounded memory; a cell that is no number becomes NaN
        (an instant NaT) and is left to the checks, a line with too many or too few cells likewise becomes a row of NaN.
    verified : whether a real file was at hand when it was written, not documentation alone.
    documented : where the format is described.
    """

    name: str
    kind: Kind
    claims: Callable[[Head], bool]
    read: Callable[[RawFile], Iterator[Records]]
    verified: bool
    documented: str
