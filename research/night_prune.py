"""Which reports, models and publications of old nights does nobody need any more?

After a night is in force, never before: whatever no state, no entry for MLflow and no kept night names is free, and a
kill in the middle leaves some of it for the next time. The copies in `states/` count as states: `recover` falls back
on them, so that the models they name are kept with them.
"""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data import ParameterError
from research.night_report import Log, alone
from research.night_state import NightState, read_state

KEEP = 400
_SHA = re.compile(rb"[0-9a-f]{64}")
_VERSION = re.compile(rb'"version": ?(\d+)')
_PUBLISHED = re.compile(rb"published/(\d{8})-")


@dataclass(frozen=True)
class Pruned:
    """How much was removed: folders of nights and of models, files of publications."""

    nights: int = 0
    models: int = 0
    published: int = 0

    def __bool__(self) -> bool:
        return bool(self.nights or self.models or self.published)


def prune(folder: Path, say: Log, keep: int = KEEP) -> Pruned:
    """Remove what only nights before the newest `keep` named.

    Raises
    ------
    ParameterError
        If fewer than one night is to be kept.
    LockHeldError
        If another process works in the folder.
    SnapshotError
        If the state is damaged: nothing is removed then, as nobody knows what it named.
    """
    if keep < 1:
        raise ParameterError(f"--keep must be at least 1 night, got {keep}")
    with alone(folder, say):
        state = read_state(folder)
        if not state.number:
            return Pruned()
        gone = _remove(folder, state, keep)
    if gone:
        say("pruned", **vars(gone), kept=keep)
    return gone


def _remove(folder: Path, state: NightState, keep: int) -> Pruned:
    """Nights first, then what they alone named: a kill in between leaves nothing that names what is gone."""
    entries = [folder / "journal" / f"{entry}.json" for entry in state.outbox]
    states = [folder / "state.json", *(folder / "states").glob("*.json")]
    kept = {str(night["key"]) for night in state.nights[-keep:]} | _found(_SHA, entries)
    nights = [path for path in _folders(folder / "nights") if path.name not in kept and not _begun(path, folder)]
    _remove_all(nights)
    reports = [path for place in _folders(folder / "nights") for path in place.glob("*.json")]
    named = _found(_SHA, [*states, *entries, *reports])
    models = [path for path in _folders(folder / "models") if path.name not in named]
    _remove_all(models)
    versions = {int(one) for one in _found(_VERSION, [*states, *reports]) | _found(_PUBLISHED, entries)}
    least = min(versions, default=0)
    old = [path for path in (folder / "published").glob("*") if _version_of(path, least) < least]
    for path in old:
        path.unlink(missing_ok=True)
    return Pruned(len(nights), len(models), len(old))


def _begun(place: Path, folder: Path) -> bool:
    """Whether a night died here after the newest one came into force: `--resume` may take it up."""
    return (
        not (place / "result.json").exists() and place.stat().st_mtime_ns >= (folder / "state.json").stat().st_mtime_ns
    )


def _remove_all(places: Iterable[Path]) -> None:
    for place in places:
        shutil.rmtree(place)


def _folders(place: Path) -> list[Path]:
    """Folders with the name of a sha256; nothing else is ours to remove."""
    return [path for path in place.glob("*") if re.fullmatch(r"[0-9a-f]{64}", path.name) and path.is_dir()]


def _version_of(path: Path, other: int) -> int:
    """The version whose publication or difference a file is; `other` where it is neither."""
    name = re.fullmatch(r"(\d{8})-[0-9a-f]{12}\.(json|diff\.txt)", path.name)
    return int(name[1]) if name and path.is_file() else other


def _found(pattern: re.Pattern[bytes], files: Iterable[Path]) -> set[str]:
    """What files name, whether or not they can be parsed."""
    return {one.decode() for path in files if path.is_file() for one in pattern.findall(path.read_bytes())}
