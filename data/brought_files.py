"""Which files has a user brought, and can each be read to its end?"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import SourceError
from data.record_checks import Instant
from data.records import BARS, Records
from data.series_checks import interval
from data.sources import binance
from data.sources.binance_forms import market_of
from data.sources.owners import UNNAMED
from data.sources.raw_files import shown
from data.sources.recognise import Recognised, recognise

CHECKSUM = ".CHECKSUM"
Series = tuple[str, str, str]  # kind, venue, symbol
_PIECE = 1 << 22
_DATED = re.compile(r"(?<=[A-Za-z-])(\d{4})-(\d{2})(?:-(\d{2}))?(?=\.|$)")


@dataclass(frozen=True, eq=False)
class Brought:
    """A file that was verified and recognised, and what its first rows are of.

    `origin` tells apart what is no one series: other layouts, bars of other lengths, tables of nobody knows which venue
    or market in other folders, and files that do not say of which symbol they are.
    """

    path: Path
    known: Recognised
    sha256: str
    size: int
    verified: bool
    series: Series
    origin: str
    begins: Instant


def files_of(paths: Iterable[str | Path]) -> list[Path]:
    """Files in the order in which they were named; of a folder all that are in it and not hidden, without checksums."""
    out: list[Path] = []
    for path in map(Path, paths):
        found = sorted(_within(path)) if path.is_dir() else [path]
        out += [one for one in found if one.suffix != CHECKSUM]
    return [*dict.fromkeys(out)]


def _within(folder: Path) -> Iterator[Path]:
    """Files below a folder that neither are hidden nor lie in a hidden folder."""
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def verified(path: Path, seen: dict[str, str]) -> list[Brought]:
    """A file that can be read to its end, as every stream that is in it.

    SourceError where its checksum differs, or no layout knows it.
    """
    known = recognise(path)
    sha256 = sha256_of_file(path)
    verified = _checksum_holds(path, sha256)
    if sha256 in seen:
        raise SourceError(f"{shown(path.name)}: holds the very bytes of {seen[sha256]}")
    _read_to_the_end(known)
    made = [_stream(one, sha256, verified) for one in (known, *known.beside())]
    seen[sha256] = shown(path.name)
    return made


def _stream(known: Recognised, sha256: str, verified: bool) -> Brought:
    """What one layout reads of a file; SourceError where that is nothing."""
    path = known.raw.path
    first = next(iter(known.records()), None)
    if first is None:
        raise SourceError(f"{shown(path.name)}: expected rows, got none")
    time = first["time"][~np.isnat(first["time"])]
    begins = time.min() if len(time) else Instant("NaT", "ns")
    width = interval(first) if first.kind is BARS else None
    alone = first.symbol == UNNAMED
    place = path.resolve() if alone else path.resolve().parent if first.venue == UNNAMED or _untold(known) else ""
    origin = f"{known.layout.name} {width} {place}"
    return Brought(path, known, sha256, path.stat().st_size, verified, series_of(first), origin, begins)


def _untold(known: Recognised) -> bool:
    """Whether klines of Binance lie where nothing says of which market: spot and old futures look the same."""
    return known.layout.read is binance.klines and not market_of(known.raw.head)


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checksum_holds(path: Path, sha256: str) -> bool:
    """Whether there is a checksum beside the file; SourceError where it is of other bytes."""
    beside = path.with_name(path.name + CHECKSUM)
    if not beside.is_file():
        return False
    words = beside.read_bytes()[:200].decode("ascii", errors="replace").split()
    told = words[0].lower() if words else "nothing"
    if told != sha256:
        raise SourceError(
            f"{shown(path.name)}: expected the sha256 that {shown(beside.name)} tells, {told}, got {sha256}"
        )
    return True


def _read_to_the_end(known: Recognised) -> None:
    """Unpack all of an archive, so that one which breaks off is refused before any of its rows are used."""
    if known.raw.head.form not in ("parquet", "arrow"):
        with known.raw.open() as stream:
            while stream.read(_PIECE):
                pass


def series_of(records: Records) -> Series:
    """What rows are of."""
    return records.kind.name, records.venue, records.symbol


def period_of(file: str) -> tuple[Instant, Instant] | None:
    """First instant and end of the day or month that a file's name ends in; None of other names.

    >>> [str(end)[:10] for end in period_of("BTCUSDT-1h-2024-01.zip")]
    ['2024-01-01', '2024-02-01']
    >>> period_of("prices_2024.csv") is None
    True
    """
    match = _DATED.search(file)
    if match is None:
        return None
    told = "-".join(part for part in match.groups() if part)
    try:
        begin = np.datetime64(told)
    except ValueError:
        return None
    return begin.astype("datetime64[ns]"), (begin + np.timedelta64(1)).astype("datetime64[ns]")
