"""What is in a file, whatever it is called, before anybody knows whose it is?

First bytes decide, not suffixes. Archives are unpacked as they are read, and one that breaks off, fails its checksum or
swells beyond belief is an error there and then: never a shorter table.
"""

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from data.errors import SourceError
from data.sources.cells import BLANK, NUMBER
from data.sources.csv_rows import SEMICOLONS
from data.sources.first_document import first_document
from data.sources.layout import Head, RawFile, cells_of

LIMIT = 1 << 38  # bytes of one file, unpacked
SWELL = 250  # times its packed size; figures as text pack 5 to 50 times
SMALL = 1 << 26  # bytes that any archive may unpack to

_SEEN = 1 << 18  # bytes of a file that its head is made of
_LINES, _LINE = 20, 4096
_MAGIC = {b"PAR1": "parquet", b"ARROW1": "arrow"}
_UNREADABLE = {
    **{b"\x28\xb5\x2f\xfd": "a zstd archive", b"BZh": "a bzip2 archive", b"\xfd7zXZ": "an xz archive"},
    **{b"7z\xbc\xaf": "a 7-zip archive", b"Rar!": "a rar archive", b"PK\x05\x06": "an empty zip archive"},
    **{b"\xff\xfe": "text in UTF-16", b"\xfe\xff": "text in UTF-16", b"%PDF": "a PDF", b"SQLite": "a database"},
    **{b"\x89HDF": "an HDF5 file", b"\x93NUMPY": "a numpy array", b"\x80\x04": "a pickle", b"\x80\x05": "a pickle"},
}
_DATUM = re.compile(rf"({NUMBER})|^\d{{4}}-\d{{2}}-\d{{2}}.*|^(true|false)$", re.IGNORECASE)
_STAMPED = re.compile(r"\s*\d+\s+(?=[{\[])")


def shown(path: str | Path) -> str:
    """A path that any report can hold: bytes of a name that are no UTF-8 become \\xe9 and the like."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def raw(path: Path) -> RawFile:
    """A file's head, and the way to its unpacked bytes.

    Raises
    ------
    SourceError
        Where there is no file, or it is empty, damaged, of a kind that is not read (more than one member in a zip,
        say), or a table without rows. `open` and `read` of what `open` gives raise it too: where an archive breaks
        off, fails its checksum, or unpacks to more than `LIMIT` bytes or `SWELL` times its size.
    """
    if not path.is_file():
        raise SourceError(f"{shown(path)}: expected a file, got {'a folder' if path.is_dir() else 'nothing'}")
    if not path.stat().st_size:
        raise SourceError(f"{shown(path.name)}: expected data, got an empty file")
    with path.open("rb") as stream:
        magic = stream.read(8)
    form = next((form for mark, form in _MAGIC.items() if magic.startswith(mark)), None)
    folders = tuple(shown(part) for part in path.absolute().parts[:-1])
    if form:
        return RawFile(path, replace(_schema(path, form), folders=folders), partial(_plain, path))
    member, unpack = _packing(path, magic)
    with unpack() as stream:
        seen = stream.read(_SEEN)
    return RawFile(path, replace(_head(shown(path.name), shown(member), seen), folders=folders), unpack)


def _plain(path: Path) -> BinaryIO:
    return path.open("rb")


def _packing(path: Path, magic: bytes) -> tuple[str, Callable[[], BinaryIO]]:
    """The name of a zip's one member, and what opens the file."""
    if magic.startswith(b"PK\x03\x04"):
        member = _member(path)
        return PurePosixPath(member).name, partial(_opened, path, partial(_zipped, path, member))
    if magic.startswith(b"\x1f\x8b"):
        return "", partial(_opened, path, partial(gzip.open, path))
    return "", partial(_plain, path)


def _member(path: Path) -> str:
    with _faults(shown(path.name)), zipfile.ZipFile(path) as archive:
        found = [item for item in archive.infolist() if not item.is_dir() and "__MACOSX" not in item.filename]
    if len(found) != 1:
        names = ", ".join(item.filename for item in found[:5]) + (", ..." if len(found) > 5 else "")
        raise SourceError(f"{shown(path.name)}: expected one file in the archive, got {len(found)}: {names or 'none'}")
    if found[0].flag_bits & 1:
        raise SourceError(f"{shown(path.name)}: expected an archive without a password, got an encrypted one")
    return found[0].filename


def _zipped(path: Path, member: str) -> BinaryIO:
    with zipfile.ZipFile(path) as archive:
        return cast(BinaryIO, archive.open(member))


def _opened(path: Path, unpack: Callable[[], Any]) -> BinaryIO:
    with _faults(shown(path.name)):
        return io.BufferedReader(_Unpacked(unpack(), path), 1 << 20)


@contextmanager
def _faults(file: str) -> Iterator[None]:
    """A damaged archive raises whatever its decoder stumbles over; it is one kind of error here."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{file}: expected an archive that can be unpacked, got {error!r}") from error


class _Unpacked(io.RawIOBase):
    """The bytes of an archive, until it breaks off or swells beyond belief."""

    def __init__(self, stream: Any, path: Path) -> None:
        super().__init__()
        self._stream, self._file = stream, shown(path.name)
        self._left = min(LIMIT, max(SMALL, SWELL * path.stat().st_size))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _faults(self._file):
            got: bytes = self._stream.read(len(buffer))
        self._left -= len(got)
        if self._left < 0:
            raise SourceError(f"{self._file}: expected to unpack to at most {SWELL} times its size, got more")
        buffer[: len(got)] = got
        return len(got)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def _schema(path: Path, form: str) -> Head:
    """Head of a typed table; SourceError where it has no rows, or no schema that can be read."""
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        if form == "parquet":
            with pyarrow.parquet.ParquetFile(path) as table:
                names, filled = tuple(table.schema_arrow.names), table.metadata.num_rows > 0
        else:
            with pyarrow.ipc.open_file(path) as table:
                names, filled = tuple(table.schema.names), table.num_record_batches > 0
    except Exception as error:  # a damaged file raises whatever its decoder stumbles over
        raise SourceError(f"{shown(path.name)}: expected a {form} file, got {error!r}") from error
    if not filled:
        raise SourceError(f"{shown(path.name)}: expected rows, got none")
    return Head(shown(path.name), form, (), names)


def _head(file: str, member: str, seen: bytes) -> Head:
    """Head of text, from its first bytes."""
    said = next((said for mark, said in _UNREADABLE.items() if seen.startswith(mark)), None)
    said = said or next((f"{form} in an archive" for mark, form in _MAGIC.items() if seen.startswith(mark)), None)
    text = seen.decode("utf-8-sig", errors="replace")
    if not said and "\0" in text:
        said = "bytes that are no text"
    if not said and text.lstrip().startswith("<"):
        said = f"a page or a message of a server, {text.strip()[:80]!r}"
    if said:
        raise SourceError(f"{file}: expected CSV, JSON, Parquet or Arrow, alone, in gzip or zip, got {said}")
    if not text.strip():
        raise SourceError(f"{file}: expected data, got an empty file")
    lines = [line.removesuffix("\r") for line in text.split("\n")[: _LINES + 1]]
    shown = tuple(line[:_LINE] for line in (lines[:_LINES] if lines[-1] else lines[:-1][:_LINES]))
    if text.lstrip()[0] in "{[" or _STAMPED.match(text):
        document, whole = first_document(_STAMPED.sub("", lines[0], count=1))
        by_line = whole and isinstance(document, dict | list) and any(line.strip() for line in lines[1:])
        sample = document if by_line or _STAMPED.match(text) else first_document(text)[0]
        return Head(file, "jsonl" if by_line or _STAMPED.match(text) else "json", shown, (), sample, member)
    return _table(file, member, shown)


def _table(file: str, member: str, lines: tuple[str, ...]) -> Head:
    """Head of CSV; SourceError where no line follows the header."""
    try:
        cells = [next(csv.reader([line]), []) for line in lines[:2]]
    except csv.Error as error:
        raise SourceError(f"{file}: expected cells between commas, got {error}") from error
    above = len(cells) > 1 and len(cells[0]) == 1 < len(cells[1]) and not _is_data(cells[0]) and not _is_data(cells[1])
    banner = 1 if above else 0
    names = () if _is_data(cells[banner]) else tuple(cell.strip() for cell in cells[banner])
    if names:
        _refuse_semicolons(file, lines[banner + 1 :], len(names))
        names = (*names, *_trailing(lines[banner + 1 :], len(names)))
    if not any(line.strip() for line in lines[banner + (1 if names else 0) :]):
        raise SourceError(f"{file}: expected rows below the header, got none")
    return Head(file, "csv", lines, names, None, member, banner)


def _refuse_semicolons(file: str, lines: tuple[str, ...], width: int) -> None:
    """SourceError where a header has commas and no line below it has."""
    told = [line for line in lines if line.strip()]
    if width > 1 and told and all("," not in line and ";" in line for line in told):
        raise SourceError(f"{file}: expected {width} cells between commas, got {told[0][:80]!r}{SEMICOLONS}")


def _trailing(lines: tuple[str, ...], width: int) -> tuple[str, ...]:
    """Names, "", of the blank cells that every line has at its end beyond its header, as some writers leave them."""
    rows = [cells_of(line) for line in lines if line.strip() and len(line) < _LINE]
    beyond = {len(row) - width for row in rows}
    if len(beyond) != 1 or min(beyond) <= 0 or any(cell for row in rows for cell in row[width:]):
        return ()
    return ("",) * min(beyond)


def _is_data(cells: list[str]) -> bool:
    return any(_DATUM.match(cell.strip()) and cell.strip().lower() not in BLANK for cell in cells)
