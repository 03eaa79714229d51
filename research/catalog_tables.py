"""How is what is in the store shown to a reader?"""

import json
from pathlib import Path

import pandas as pd

from data import snapshot
from data.catalog import faults, listed, name_records, record_set, records_folder
from data.errors import ParameterError, SnapshotError
from data.names import readable_names
from data.record_set import RecordSet
from data.snapshot import Snapshot

_COLUMNS = ("what", "hash", "names", "holds", "rows", "first", "last", "fault")


def catalog_table(store: Path) -> pd.DataFrame:
    """A row a record set or snapshot, and one a name that is damaged."""
    kept = _names(records_folder(store)), _names(store / "snapshots")
    rows = []
    for one in listed(store):
        holds = f"{one.kind} {one.venue} {one.symbol}".strip()
        rows.append(("records", one.hash[:12], kept[0].get(one.hash, ""), holds, *_shape(one)))
    for frozen in snapshot.listed(store / "snapshots"):
        holds = f"{frozen.clock} {' '.join(frozen.underlyings)}".strip()
        rows.append(("snapshot", frozen.hash[:12], kept[1].get(frozen.hash, ""), holds, *_shape(frozen)))
    for folder in (records_folder(store), store / "snapshots"):
        rows += [("name", "", name, "", 0, "", "", why) for name, why in readable_names(folder)[1].items()]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def found(word: str, store: Path) -> RecordSet | Snapshot:
    """The one record set or snapshot that a word means.

    Raises SnapshotError where there is none, ParameterError where a record set and a snapshot are meant.
    """
    try:
        rows = record_set(word, store)
    except SnapshotError as no_records:
        try:
            return snapshot.found(word, store / "snapshots")
        except SnapshotError as no_snapshot:
            raise SnapshotError(f"{no_records}; {no_snapshot}") from no_snapshot
    try:
        history = snapshot.found(word, store / "snapshots")
    except SnapshotError:
        return rows
    raise ParameterError(f"{word!r} means the records {rows.hash[:12]} and the snapshot {history.hash[:12]}")


def told(one: RecordSet | Snapshot, store: Path) -> str:
    """All that the manifest says, as JSON."""
    folder = records_folder(store) if isinstance(one, RecordSet) else store / "snapshots"
    facts = {name: value for name, value in vars(one).items() if name != "parts"}
    more = (
        {"files": len(one.parts), "bytes": sum(part.size for part in one.parts)} if isinstance(one, RecordSet) else {}
    )
    return json.dumps({**facts, **more, "names": _names(folder).get(one.hash, "")}, indent=1)


def damage(one: RecordSet | Snapshot, store: Path) -> list[str]:
    """What is wrong with any of its bytes, all of which are read."""
    if isinstance(one, RecordSet):
        return faults(one, store)
    try:
        snapshot.load(one.hash, store / "snapshots")
    except SnapshotError as error:
        return [str(error)]
    return []


def give_name(name: str, one: RecordSet | Snapshot, store: Path, *, move: bool) -> str:
    """Let a name mean it; raises what `name_records` and `name_snapshot` do."""
    if isinstance(one, RecordSet):
        return name_records(name, one.hash, store, move=move)
    return snapshot.name_snapshot(name, one.hash, store / "snapshots", move=move)


def _shape(one: RecordSet | Snapshot) -> tuple[int, str, str, str]:
    return one.rows, one.first[:16], one.last[:16], one.fault


def _names(folder: Path) -> dict[str, str]:
    """What each hash is called."""
    called: dict[str, list[str]] = {}
    for name, full_hash in readable_names(folder)[0].items():
        called.setdefault(full_hash, []).append(name)
    return {full_hash: ", ".join(names) for full_hash, names in called.items()}
