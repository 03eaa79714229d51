"""What do the documents of a JSON file say, row by row?

Long arrays and files of a document a line are read piece by piece, whatever their size; a page of a venue's answer is
read whole. A cell that is no figure becomes NaN, an instant NaT, a number of the venue `UNKNOWN`.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.arrays import Floats
from data.errors import SourceError
from data.records import UNKNOWN, Values
from data.sources.cells import NUMBER
from data.sources.csv_batches import STRANGE
from data.sources.epochs import Instants, instants, text_instants
from data.sources.layout import RawFile

PAGE = 1 << 28  # bytes of a document that is read whole
LINE = 1 << 26  # bytes of a line, characters of an element
PIECE = 1 << 20
ROWS = 1 << 16

_BLANK = re.compile(r"[ \t\r\n]*")
_STAMPED = re.compile(rb"\s*(\d{1,24})\s+(?=[{\[])")
_SIDES = {"buy": 1, "bid": 1, "b": 1, "sell": -1, "ask": -1, "s": -1}
_REACH = 1 << 62


def document(raw: RawFile) -> Any:
    """A file that is one document; SourceError where it is none, is cut, or has more than `PAGE` bytes."""
    with raw.open() as stream:
        text = stream.read(PAGE + 1)
    if len(text) > PAGE:
        raise SourceError(f"{raw.head.file}: expected a document of at most {PAGE} bytes, got a longer one")
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{raw.head.file}: expected JSON, got {error}") from error


def elements(raw: RawFile) -> Iterator[Any]:
    """What a file's one array holds, element by element; SourceError where it breaks off or is none."""
    decoder, count = json.JSONDecoder(), 0
    with raw.open() as stream, io.TextIOWrapper(stream, "utf-8-sig", errors="replace") as text:
        held = text.read(PIECE).lstrip()
        place = 1
        while held.startswith("[") or count:
            try:
                place = _past_blanks(held, place)
                if held[place] == "]":
                    break
                element, end = decoder.raw_decode(held, place)
                end = _past_blanks(held, end)
                closing = held[end]  # a number that goes on in the next piece is no element yet
            except (IndexError, ValueError, RecursionError) as error:
                more = text.read(PIECE)
                if not more or len(held) - place > LINE:
                    raise SourceError(f"{raw.head.file}: expected JSON after element {count}, got {error}") from error
                held, place = ("[" if not count else " ") + held[place:] + more, 1
                continue
            if closing not in ",]":
                raise SourceError(f"{raw.head.file}: expected a comma after element {count}, got {closing!r}")
            count += 1
            place = end + (closing == ",")
            yield element
        else:
            raise SourceError(f"{raw.head.file}: expected an array, got {held[:40]!r}")
        if (held[place + 1 :] + text.read(PIECE)).strip():
            raise SourceError(f"{raw.head.file}: expected nothing after its array, got more")


def _past_blanks(text: str, place: int) -> int:
    match = _BLANK.match(text, place)
    return match.end() if match else place


def stamped_lines(raw: RawFile) -> Iterator[tuple[int, int, bytes]]:
    """Each line's number from 1, the stamp before its document (`UNKNOWN` where there is none), and the rest of it.

    Raises SourceError for an archive that breaks off, and for a line of more than `LINE` bytes.
    """
    with raw.open() as stream:
        number = 0
        while line := stream.readline(LINE):
            number += 1
            if len(line) == LINE:
                raise SourceError(f"{raw.head.file}, line {number}: expected less than {LINE} bytes, got more")
            match = _STAMPED.match(line)
            if match:
                stamp = int(match[1])
                yield number, stamp if stamp < _REACH else UNKNOWN, line[match.end() :]
            elif line.strip():
                yield number, UNKNOWN, line


def parsed(text: bytes) -> Any:
    """The document that a line is, None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def documents(raw: RawFile) -> Iterator[tuple[int, int, Any]]:
    """Each document of a file, its number from 1 and the stamp before it (`UNKNOWN` where there is none).

    An array is as many documents as it has elements; a line that is no JSON is None.
    """
    if raw.head.form == "jsonl":
        for number, stamp, text in stamped_lines(raw):
            yield number, stamp, parsed(text)
    elif isinstance(raw.head.sample, list):
        for number, element in enumerate(elements(raw), 1):
            yield number, UNKNOWN, element
    else:
        yield 1, UNKNOWN, document(raw)


def pieces(rows: Iterable[Any], size: int = ROWS) -> Iterator[list[Any]]:
    """Rows, so many at a time."""
    left = iter(rows)
    while piece := list(islice(left, size)):
        yield piece


def field(rows: Sequence[Any], *names: str) -> list[Any]:
    """What each row says under the first of `names` that it has; None where it has none, or is no mapping."""
    return [next((row[name] for name in names if row.get(name) is not None), None) for row in map(_mapping, rows)]


def _mapping(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else {}


def columns_of(rows: Sequence[Any], width: int) -> list[list[Any]]:
    """The cells of arrays, column by column; an array of another width has only None."""
    blank = [None] * width
    full = [row if isinstance(row, list | tuple) and len(row) == width else blank for row in rows]
    return [[row[place] for row in full] for place in range(width)]


def numbers(cells: Sequence[Any]) -> Floats:
    """Cells as floats, be they numbers or text; NaN for anything else."""
    types = set(map(type, cells))
    if types <= {float, type(None)}:
        return np.array(cells, dtype=np.float64)
    if types <= {str, type(None)}:
        words = pc.utf8_trim_whitespace(pa.array(cells, pa.string()))
        told = pc.fill_null(pc.match_substring_regex(words, NUMBER), False)
        return np.asarray(pc.if_else(told, words, "nan").cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.array([_number(cell) for cell in cells], dtype=np.float64)


def _number(cell: Any) -> float:
    if isinstance(cell, str):
        return float(cell) if re.fullmatch(NUMBER, cell.strip()) else np.nan
    if not isinstance(cell, int | float) or isinstance(cell, bool):
        return np.nan
    return float(cell) if isinstance(cell, float) or abs(cell) < 10**300 else np.nan


def texts(cells: Sequence[Any]) -> Values:
    """Cells as they are where they are text, None elsewhere."""
    out = np.empty(len(cells), dtype=object)
    out[:] = [cell if isinstance(cell, str) and cell else None for cell in cells]
    return out


def whole(cells: Sequence[Any]) -> Values:
    """Cells as int64, `UNKNOWN` for what is no whole number from 0 (a venue's number may hold letters)."""
    return np.array([_whole(cell) for cell in cells], dtype=np.int64)


def _whole(cell: Any) -> int:
    if type(cell) is str:
        cell = int(cell) if cell.strip().isdecimal() and len(cell) <= 19 else UNKNOWN
    elif type(cell) is float:
        cell = int(cell) if cell.is_integer() and abs(cell) < 1 << 53 else UNKNOWN
    return cell if type(cell) is int and 0 <= cell < _REACH else UNKNOWN


def moments(cells: Sequence[Any]) -> Instants:
    """Instants of counts since 1970, as numbers or text, and of ISO 8601; NaT for anything else."""
    types = set(map(type, cells))
    if types <= {int, type(None)}:
        return instants(whole(cells))
    if types <= {int, float, type(None)}:
        return instants(numbers(cells))
    counts = [int(cell) if isinstance(cell, str) and cell.isdecimal() and len(cell) <= 19 else cell for cell in cells]
    told = instants(np.array([_whole(count) for count in counts], dtype=np.int64))
    return np.where(np.isnat(told), text_instants(texts(cells)), told)


def sides(cells: Sequence[Any]) -> Values:
    """+1 for a buyer or a bid, -1 for a seller or an ask, 0 where nothing is said, else a number no check lets pass."""
    said = {None: 0, "": 0}
    return np.array([_side(cell) if cell not in said else 0 for cell in map(_word, cells)], dtype=np.int8)


def _word(cell: Any) -> Any:
    return cell.strip().lower() if isinstance(cell, str) else cell if cell is None else "?"


def _side(word: str) -> int:
    return _SIDES.get(word, STRANGE)
