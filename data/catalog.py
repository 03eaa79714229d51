"""Which rows are in the store, where did they come from, and are they still those?

A record set is a folder named by a hash: Parquet files month by month, and `manifest.json`, which is written last and
says of which sources, by which checks and by which version of the code the rows were made. The hash is over the rows,
the sources and the findings, so that none of them can be altered; it does not depend on how rows came in batches.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from data.code_version import told_version
from data.content_digest import ContentDigest
from data.errors import DataError, ParameterError, SnapshotError
from data.names import HASH, point, resolved
from data.record_files import Part, RecordWriter, folder_of, read_part
from data.record_set import FORMAT, MANIFEST, RecordSet, opened
from data.records import BOOK, KINDS, Kind, Records
from data.sealed import encoded, sealed
from data.storage import sha256_of, write_whole
from data.workplace import put_in_place, workplace, writing

Instant = np.datetime64


def records_folder(store: Path) -> Path:
    """Where the record sets of a store are, and their names."""
    return store / "records"


def write_records(
    records_iter: Iterable[Records],
    *,
    kind: Kind,
    venue: str,
    symbol: str,
    sources: Sequence[Mapping[str, Any]],
    findings: Sequence[Any],
    store: Path,
) -> RecordSet:
    """Keep rows under their hash, in bounded memory; a set that is there and whole is left alone.

    A kill at any moment leaves the store as it was, with a partial folder that the next writer removes. Several
    processes may write at once. What `records_iter` raises is passed on, and nothing is kept.

    Parameters
    ----------
    sources, findings : what JSON can hold; they may be filled while the rows are read. A source's `file` is a name
        without folders, for the manifest knows of no machine.

    Raises
    ------
    DataError
        If there are no rows, or rows of another kind, venue or symbol, without an instant, or (but for a book, which
        keeps the order in which it was sent) out of the order of time.
    ParameterError
        If sources or findings cannot be kept.
    SnapshotError
        If the store cannot be written.
    """
    folder = records_folder(store)
    with workplace(folder) as place:
        facts, parts = _written(records_iter, (kind, venue, symbol), place)
        facts |= _told(sources, findings)
        name = sha256_of(encoded(facts))
        made = {"hash": name, "code": told_version(), "parts": [asdict(part) for part in parts]}
        with writing(folder):
            write_whole(place / MANIFEST, sealed({**facts, **made}))
            put_in_place(place, folder / name, lambda: _is_whole(name, folder))
    return record_set(name, store)


def read_records(
    word: str, store: Path, start: Instant | str | None = None, stop: Instant | str | None = None
) -> Iterator[Records]:
    """The rows of a set (by its name, or by how its hash begins) in batches, as they were written.

    The sha256 of every file is verified before it is parsed; SnapshotError names the file that is not what it was.

    Parameters
    ----------
    start, stop : instants (UTC) of the first row wanted, and after the last; files outside are not read.
    """
    found = record_set(word, store)
    ends = [None if end is None else int(instant(end).astype(np.int64)) for end in (start, stop)]
    kind = KINDS[found.kind]
    folder = records_folder(store) / found.hash / folder_of(found.kind, found.venue, found.symbol)
    return _read(found, folder, (kind, found.venue, found.symbol), *ends)


def record_set(word: str, store: Path) -> RecordSet:
    """The set with this name, or with the only hash that begins so; SnapshotError where its manifest is damaged."""
    folder = records_folder(store)
    return opened(resolved(word, folder, _hashes(folder), "record set"), folder)


def listed(store: Path) -> list[RecordSet]:
    """Every record set of a store by its manifest, sorted by hash; the rows are not read."""
    folder = records_folder(store)
    return [_summary(name, folder) for name in _hashes(folder)]


def name_records(name: str, word: str, store: Path, *, move: bool = False) -> str:
    """Let a name mean a record set that is there, and return its hash.

    ParameterError where the name means another and is not to be moved, or could be a hash; SnapshotError where there
    is no such set, or its manifest is damaged.
    """
    full_hash = record_set(word, store).hash
    point(records_folder(store), name, full_hash, move=move)
    return full_hash


def faults(found: RecordSet, store: Path) -> list[str]:
    """What is wrong with the files of a set, all of which are read; empty where nothing is."""
    if found.fault:
        return [found.fault]
    folder = records_folder(store) / found.hash / folder_of(found.kind, found.venue, found.symbol)
    whose = (KINDS[found.kind], found.venue, found.symbol)
    digest, told = ContentDigest(whose[0]), []
    for part in found.parts:
        try:
            for batch in read_part(folder, part, whose, found.columns):
                digest.add(batch)
        except SnapshotError as error:
            told.append(str(error))
    if not told and digest.figures()["content"] != found.content:
        told.append(f"{found.hash} must hold what its manifest says, got other rows")
    return told


def _written(
    batches: Iterable[Records], whose: tuple[Kind, str, str], place: Path
) -> tuple[dict[str, Any], list[Part]]:
    kind, venue, symbol = whose
    digest = ContentDigest(kind)
    try:
        inner = place / folder_of(kind.name, venue, symbol)
    except UnicodeEncodeError as error:
        raise ParameterError(f"a venue and a symbol must be text, got {venue!r} and {symbol!r}") from error
    writer = RecordWriter(inner, kind)
    newest = Instant("NaT", "ns")
    try:
        for batch in _sound(batches, whose):
            _refuse_disorder(batch, newest)
            newest = batch["time"][-1]
            digest.add(batch)
            writer.add(batch)
        writer.close()
    finally:
        writer.abandon()
    if not writer.parts:
        raise DataError(f"expected {kind.name} of {venue} {symbol} to keep, got no rows")
    ends = min(part.first for part in writer.parts), max(part.last for part in writer.parts)
    first, last = (str(Instant(end, "ns")) for end in ends)
    facts = {"format": FORMAT, "kind": kind.name, "venue": venue, "symbol": symbol, "first": first, "last": last}
    return facts | digest.figures(), writer.parts


def _sound(batches: Iterable[Records], whose: tuple[Kind, str, str]) -> Iterator[Records]:
    """Batches with rows; DataError for one of another symbol, or with a row that has no instant."""
    for batch in batches:
        if (batch.kind, batch.venue, batch.symbol) != whose:
            got = f"{batch.kind.name} of {batch.venue} {batch.symbol}"
            raise DataError(f"expected {whose[0].name} of {whose[1]} {whose[2]}, got {got}")
        undated = np.isnat(batch["time"])
        if undated.any():
            raise DataError(f"{whose[0].name} of {whose[1]}: row {batch.row[undated.argmax()]} must have an instant")
        if len(batch):
            yield batch


def _refuse_disorder(batch: Records, newest: Instant) -> None:
    time = batch["time"]
    before = np.concatenate([[newest], time[:-1]])
    fell = time < before
    if batch.kind is not BOOK and fell.any():
        at = int(fell.argmax())
        raise DataError(
            f"{batch.kind.name} of {batch.venue} {batch.symbol}: expected rows in the order of time, got {time[at]} "
            f"after {before[at]} at row {batch.row[at]}"
        )


def _told(sources: Sequence[Mapping[str, Any]], findings: Sequence[Any]) -> dict[str, Any]:
    told = {"sources": [dict(source) for source in sources], "findings": list(findings)}
    for source in told["sources"]:
        file = str(source.get("file", ""))
        if PurePath(file).name != file:
            raise ParameterError(f"a source is named without its folders, got {file!r}")
    try:
        encoded(told)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"sources and findings must be what JSON can hold: {error}") from error
    return told


def _read(
    found: RecordSet, folder: Path, whose: tuple[Kind, str, str], start: int | None, stop: int | None
) -> Iterator[Records]:
    for part in found.parts:
        if (start is not None and part.last < start) or (stop is not None and part.first >= stop):
            continue
        whole = (start is None or part.first >= start) and (stop is None or part.last < stop)
        for batch in read_part(folder, part, whose, found.columns):
            kept = batch if whole else _between(batch, start, stop)
            if len(kept):
                yield kept


def _between(batch: Records, start: int | None, stop: int | None) -> Records:
    stamps = batch["time"].view(np.int64)
    kept = np.ones(len(batch), dtype=bool)
    if start is not None:
        kept &= stamps >= start
    if stop is not None:
        kept &= stamps < stop
    return batch.where(kept)


def instant(told: Instant | str) -> Instant:
    """An instant in UTC, in ns; ParameterError for what is none."""
    try:
        with catch_warnings():
            simplefilter("error")  # numpy warns of a zone, and drops it
            given = Instant(told)
    except (ValueError, TypeError, Warning) as error:
        raise ParameterError(f"expected an instant in UTC such as '2024-01-31T08:00', got {told!r}") from error
    made: Instant = given.astype("datetime64[ns]")
    if np.isnat(made) or made.astype(given.dtype) != given:  # beyond what 64 bits of ns hold, it comes back another
        raise ParameterError(f"expected an instant in UTC of the years 1678 to 2261, got {told!r}")
    return made


def _hashes(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if HASH.fullmatch(path.name)) if folder.is_dir() else []


def _summary(name: str, folder: Path) -> RecordSet:
    try:
        return opened(name, folder)
    except SnapshotError as error:
        return RecordSet(name, fault=str(error))


def _is_whole(name: str, folder: Path) -> bool:
    """Whether a set is there with all its bytes."""
    try:
        return not faults(opened(name, folder), folder.parent)
    except SnapshotError:
        return False
