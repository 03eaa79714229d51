"""What do millions of lines of CSV say, cell by cell, a block at a time?

A block of plain figures is read by our own kernel, another by Arrow's typed parser, and one that does not parse so as
text, line by line; all three give the same bits. No line ever vanishes: one with too many or too few cells becomes a
row of unknown figures, for the checks to name. So does a last line that has no end, for nobody can tell a whole number
from one that was cut.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from mmap import mmap
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from data.errors import ParameterError, SourceError
from data.records import UNKNOWN, Values
from data.sources.cells import BLANK, NUMBER
from data.sources.layout import Head, RawFile

BLOCK = 1 << 22  # bytes parsed at once; a line may not be longer
SMALL = 1 << 18  # bytes that are not worth the start of a compiled kernel
ROWS = 1 << 19
STRANGE = -128  # of a word that is none of those expected

_THREADS = 2
_BLANKS = [*BLANK, "NaN", "NULL", "NA", "N/A", "None"]
_HEXADECIMAL = re.compile(rb"0[xX]")
_WHOLE = re.compile(r"[+-]?\d{1,19}(\.0*)?", re.ASCII)
_CODES = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True, eq=False)
class Batch:
    """Some lines of a file: (R,) columns by name, and the number of each line of data, from 1."""

    columns: Mapping[str, Values]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, name: str) -> Values:
        """One column."""
        return self.columns[name]


@dataclass(frozen=True)
class _Plan:
    """Which cells become what: `width` cells a line, and {name: place} of those that are wanted."""

    file: str
    width: int
    places: Mapping[str, int]
    text: frozenset[str]
    whole: frozenset[str]
    words: Mapping[str, Mapping[str, int]]


def batches(
    raw: RawFile,
    names: Sequence[str] | None = None,
    *,
    text: Sequence[str] = (),
    whole: Sequence[str] = (),
    words: Mapping[str, Mapping[str, int]] | None = None,
    only: Sequence[str] | None = None,
    rows: int = ROWS,
) -> Iterator[Batch]:
    """The lines below the header of a CSV file, in order and in bounded memory.

    Parameters
    ----------
    names : a name for each cell of a line; None takes the header's. Of columns that share a name the first is given.
    text : columns of str, None where blank.
    whole : columns of int64, UNKNOWN where blank or no whole number (counts of nanoseconds do not fit a float).
    words : {column: {word in small letters: code}}: columns of int8, 0 where blank, STRANGE where no such word.
    only : the columns wanted, in which those above are included; None is all. Fewer are faster.
    rows : how many a batch has at most.

    All other columns are float64, NaN where blank or no number.

    Raises
    ------
    ParameterError
        For a column that is not there.
    SourceError
        For an archive that breaks off, or bytes that are no lines.
    """
    told = dict(words or {})
    plan = _plan(raw.head, names, text, whole, told, only)
    first = 1
    for columns, count in _ahead(_blocks(raw), plan):
        for start in range(0, count, rows):
            part = slice(start, min(start + rows, count))
            row = np.arange(first + part.start, first + part.stop, dtype=np.int64)
            yield Batch({name: values[part] for name, values in columns.items()}, row)
        first += count


def _ahead(blocks: Iterator[memoryview], plan: _Plan) -> Iterator[tuple[dict[str, Values], int]]:
    """Each block's columns, in order: while one is used, the next are read and parsed."""
    with ThreadPoolExecutor(_THREADS) as pool:
        begun: deque[Future[tuple[dict[str, Values], int]]] = deque()
        for block in blocks:
            begun.append(pool.submit(_columns, block, plan))
            if len(begun) > _THREADS:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def _columns(block: memoryview, plan: _Plan) -> tuple[dict[str, Values], int]:
    """Columns of a block and how many rows they have, by the fastest reader that can."""
    plain = _plain(block, plan) if len(block) >= SMALL else None
    return plain or _typed(block, plan) or _as_text(block, plan)


def _plain(block: memoryview, plan: _Plan) -> tuple[dict[str, Values], int] | None:
    """By our own kernel; None where a line is not plain."""
    from data.csv_kernels import COUNT, DISTINCT, FIGURE, SKIPPED, WORD, line_count, read_lines

    data = np.frombuffer(block, np.uint8)
    rows, size = line_count(data), {FIGURE: 0, COUNT: 0, WORD: 0}
    kinds, slots = np.full(plan.width, SKIPPED), np.zeros(plan.width, np.int64)
    for name, place in plan.places.items():
        kind = WORD if name in plan.text or name in plan.words else COUNT if name in plan.whole else FIGURE
        kinds[place], slots[place] = kind, size[kind]
        size[kind] += 1
    figures, counts = np.empty((size[FIGURE], rows)), np.empty((size[COUNT], rows), np.int64)
    words, said = np.empty((size[WORD], rows), np.int32), np.zeros((size[WORD], DISTINCT, 2), np.int64)
    if read_lines(data, kinds, slots, figures, counts, words, said) != rows:
        return None
    try:
        spoken = [[bytes(block[start:end]).decode() for start, end in spans if end] for spans in said.tolist()]
    except UnicodeDecodeError:
        return None
    columns: dict[str, Values] = {}
    for name, place in plan.places.items():
        slot = slots[place]
        if kinds[place] == WORD:
            columns[name] = _spoken(spoken[slot], words[slot], plan.words.get(name))
        else:
            columns[name] = figures[slot] if kinds[place] == FIGURE else counts[slot]
    return columns, rows


def _plan(
    head: Head,
    names: Sequence[str] | None,
    text: Sequence[str],
    whole: Sequence[str],
    words: Mapping[str, Mapping[str, int]],
    only: Sequence[str] | None,
) -> _Plan:
    of_line = tuple(names) if names is not None else head.columns
    special = (*text, *whole, *words)
    wanted = of_line if only is None else (*only, *special)
    lacking = [name for name in (*wanted, *special) if name not in of_line]
    if lacking or not of_line:
        raise ParameterError(f"{head.file}: columns must be among {list(of_line)}, got {lacking or 'none'}")
    places = {name: of_line.index(name) for name in dict.fromkeys(wanted)}
    return _Plan(head.file, len(of_line), places, frozenset(text), frozenset(whole), words)


def _blocks(raw: RawFile) -> Iterator[memoryview]:
    """Pieces of the file below its header, each of whole lines; a last line without its end is left empty.

    Memory is used again: a piece is valid until `_THREADS` others have been asked for.
    """
    shelves = cycle([mmap(-1, 2 * BLOCK) for _ in range(_THREADS + 1)])  # pages are taken when they are touched
    with raw.open() as stream:
        _skip(raw.head, stream)
        carried = memoryview(b"")
        while True:
            shelf = next(shelves)
            shelf[: len(carried)] = carried
            space = memoryview(shelf)
            held = len(carried) + _filled(stream, space[len(carried) : len(carried) + BLOCK])
            if held == len(carried):
                break
            whole = shelf.rfind(b"\n", len(carried), held) + 1
            if whole:
                yield space[:whole]
            carried = space[whole:held]
            if len(carried) > BLOCK:
                raise SourceError(f"{raw.head.file}: expected lines of less than {BLOCK} bytes, got a longer one")
        if bytes(carried).strip():
            yield memoryview(b"\n")


def _filled(stream: BinaryIO, space: memoryview) -> int:
    """How many bytes of a stream went into the space: all that fit, or all that are left."""
    got = 0
    while got < len(space) and (more := stream.readinto(space[got:])):  # type: ignore[attr-defined]
        got += more
    return got


def _skip(head: Head, stream: BinaryIO) -> None:
    for _ in range(head.banner + (1 if head.columns else 0)):
        stream.readline(BLOCK)


def _typed(block: memoryview, plan: _Plan) -> tuple[dict[str, Values], int] | None:
    """By Arrow's parser; None where a cell is not what its column should hold, or a line is torn."""
    if plan.whole and _HEXADECIMAL.search(block):  # which Arrow would take for a number
        return None
    kinds = {
        str(place): _CODES
        if name in plan.text or name in plan.words
        else pa.int64()
        if name in plan.whole
        else pa.float64()
        for name, place in plan.places.items()
    }
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(block),
            pa.csv.ReadOptions(column_names=[str(j) for j in range(plan.width)], use_threads=False),
            pa.csv.ParseOptions(ignore_empty_lines=False),
            pa.csv.ConvertOptions(
                column_types=kinds, include_columns=list(kinds), null_values=_BLANKS, strings_can_be_null=True
            ),
        )
    except pa.ArrowException:
        return None
    if table.num_rows != bytes(block).count(b"\n"):  # an open quote has swallowed lines
        return None
    table = table.unify_dictionaries()
    return {name: _array(table.column(str(j)), name, plan) for name, j in plan.places.items()}, table.num_rows


def _array(column: Any, name: str, plan: _Plan) -> Values:
    if name in plan.text or name in plan.words:
        return _coded(column.combine_chunks(), plan.words.get(name))
    blank = UNKNOWN if name in plan.whole else np.nan
    values = pc.fill_null(column, blank) if column.null_count else column
    return np.asarray(values.to_numpy())


def _coded(column: Any, words: Mapping[str, int] | None) -> Values:
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    places = pc.fill_null(column.indices, -1).to_numpy()
    return _spoken([word or "" for word in column.dictionary.to_pylist()], places, words)


def _spoken(said: Sequence[str], places: Values, words: Mapping[str, int] | None) -> Values:
    """Text, or the codes of its words, looked up once for each word that was said; -1 is blank."""
    trimmed = [word.strip() for word in said]
    filled = ["" if word in _BLANKS else word for word in trimmed]
    if words is not None:
        codes = np.array([*(words.get(word.lower(), STRANGE) if word else 0 for word in filled), 0], np.int8)
        return np.asarray(codes[places])
    return np.asarray(np.array([*(word or None for word in filled), None], object)[places])


def _as_text(block: memoryview, plan: _Plan) -> tuple[dict[str, Values], int]:
    """The same of any bytes, line by line."""
    lines = bytes(block).decode("utf-8", errors="replace").split("\n")[:-1]
    rows = [_cells(line, plan.width) for line in lines]
    return {name: _cast([row[j] for row in rows], name, plan) for name, j in plan.places.items()}, len(rows)


def _cells(line: str, width: int) -> Sequence[str]:
    line = line.removesuffix("\r")
    try:
        cells = next(csv.reader(io.StringIO(line), strict=True), []) if '"' in line else line.split(",")
    except csv.Error:
        cells = []
    return cells if len(cells) == width else ("",) * width


def _cast(cells: list[str], name: str, plan: _Plan) -> Values:
    trimmed = [cell.strip() for cell in cells]
    if name in plan.text or name in plan.words:
        return _coded(pa.array(trimmed, pa.string()).dictionary_encode(), plan.words.get(name))
    if name in plan.whole:
        return np.array([_count(cell) for cell in trimmed], np.int64)
    texts = pa.array(trimmed, pa.string())
    number = pc.match_substring_regex(texts, NUMBER)
    return np.asarray(pc.if_else(number, texts, "nan").cast(pa.float64()).to_numpy())


def _count(cell: str) -> int:
    """A whole number that int64 holds, else UNKNOWN."""
    count = int(cell.split(".")[0]) if _WHOLE.fullmatch(cell) else UNKNOWN
    return count if -(2**63) <= count < 2**63 else UNKNOWN
