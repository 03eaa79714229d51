"""What in the store does nobody need any more, and how is it removed, if somebody asks?

Nothing is ever removed by itself. Whatever a name points to is kept, and so are the record sets that a kept snapshot
was made of.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from data import snapshot
from data.catalog import listed, record_set, records_folder
from data.errors import ParameterError, SnapshotError
from data.names import HASH, names_in
from data.storage import alone_in
from data.workplace import take_away, writing

_HASHES = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True)
class Garbage:
    """Something that nothing points to: a "record set", a "snapshot", or the "numbers" of a snapshot never finished."""

    what: str
    hash: str
    size: int


def snapshots_folder(store: Path) -> Path:
    """Where the snapshots of a store are, and their names."""
    return store / "snapshots"


def collect_garbage(store: Path, keep: Iterable[str] = (), *, remove: bool = False) -> list[Garbage]:
    """What no name points to, nor is among those to keep; it is removed only where that is asked for.

    Parameters
    ----------
    keep : names or hashes of record sets and snapshots to keep beside the named ones.

    Raises
    ------
    SnapshotError
        If a name, or a snapshot that is kept, is damaged: it might point to anything. Nothing is removed then.
    ParameterError
        If something to keep is not there.
    """
    with writing(store), ExitStack() as unmoved:
        for folder in (records_folder(store), snapshots_folder(store)):
            if folder.is_dir():
                unmoved.enter_context(alone_in(folder / "names"))
        kept = _kept(store, keep)
        found = [one for one in _all(store) if one.hash not in kept]
        if remove:
            for one in found:
                _remove(one, store)
    return found


def _kept(store: Path, keep: Iterable[str]) -> set[str]:
    kept = {full for folder in (records_folder(store), snapshots_folder(store)) for full in names_in(folder).values()}
    for word in keep:
        kept |= _meant(word, store)
    for found in snapshot.listed(snapshots_folder(store)):
        if found.hash in kept:
            if found.fault:
                raise SnapshotError(f"a snapshot that is kept cannot tell what it was made of: {found.fault}")
            kept |= set(_HASHES.findall(found.source))
    return kept


def _meant(word: str, store: Path) -> set[str]:
    """The hashes that a word means, of record sets or snapshots."""
    meant, why = set(), ""
    for folder, find in ((store, record_set), (snapshots_folder(store), snapshot.found)):
        try:
            meant.add(find(word, folder).hash)
        except SnapshotError as error:
            why = str(error)
    if not meant:
        raise ParameterError(f"what is to be kept must be there, got {word!r}: {why}")
    return meant


def _all(store: Path) -> Iterator[Garbage]:
    for found in listed(store):
        folder = records_folder(store) / found.hash
        yield Garbage(
            "record set", found.hash, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        )
    folder = snapshots_folder(store)
    manifests = {path.stem for path in folder.glob("*.json")}
    for path in sorted(folder.glob("*.parquet")):
        if HASH.fullmatch(path.stem):
            yield Garbage("snapshot" if path.stem in manifests else "numbers", path.stem, path.stat().st_size)


def _remove(one: Garbage, store: Path) -> None:
    """A kill on the way leaves something whole, or something that is taken for nothing."""
    if one.what == "record set":
        take_away(records_folder(store) / one.hash)
        return
    with alone_in(snapshots_folder(store)):
        (snapshots_folder(store) / f"{one.hash}.json").unlink(missing_ok=True)
        (snapshots_folder(store) / f"{one.hash}.parquet").unlink(missing_ok=True)
