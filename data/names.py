"""What is a stored thing called by those who cannot remember its hash?

A name is a small sealed file, `names/<name>.json`, beside what it points to. It points to one hash until it is moved on
purpose, and what it points to is never garbage.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from data.errors import ParameterError, SnapshotError
from data.sealed import sealed, unsealed
from data.storage import alone_in, write_whole

HASH = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def point(folder: Path, name: str, full_hash: str, *, move: bool = False) -> None:
    """Let a name of this folder mean a hash, whatever a kill does; the same once more changes nothing.

    Raises
    ------
    ParameterError
        If the name could be a path or the beginning of a hash, or means another hash and is not to be moved.
    SnapshotError
        If it cannot be written.
    """
    _refuse_odd(name)
    if not HASH.fullmatch(full_hash):
        raise ParameterError(f"a name points to a full hash of 64 digits, got {full_hash!r}")
    place = folder / "names"
    try:
        with alone_in(place):
            before = _target(place / f"{name}.json") if (place / f"{name}.json").exists() and not move else full_hash
            if before != full_hash:
                raise ParameterError(f"{name} means {before[:12]}: moving it to {full_hash[:12]} must be asked for")
            write_whole(place / f"{name}.json", sealed({"name": name, "hash": full_hash}))
    except OSError as error:
        raise SnapshotError(f"a name needs a folder that can be written, got {place}: {error}") from error


def names_in(folder: Path) -> dict[str, str]:
    """All names of a folder and the hashes they mean; SnapshotError where one is damaged, for it may mean any."""
    meant, damaged = readable_names(folder)
    if damaged:
        raise SnapshotError("; ".join(damaged.values()))
    return meant


def readable_names(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The names of a folder and the hashes they mean; those that are damaged, and why."""
    meant, damaged = {}, {}
    for path in sorted((folder / "names").glob("*.json")):
        if _NAME.fullmatch(path.stem):
            try:
                meant[path.stem] = _target(path)
            except SnapshotError as error:
                damaged[path.stem] = str(error)
    return meant, damaged


def resolved(word: str, folder: Path, hashes: Iterable[str], what: str) -> str:
    """The full hash of what is meant: by a name of the folder, or by how the hash begins (four digits at least).

    `hashes` are all there are. SnapshotError where nothing, or more than one, is meant.
    """
    if _PREFIX.fullmatch(word):
        found = [name for name in sorted(hashes) if name.startswith(word)]
        if len(found) != 1:
            several = ", ".join(name[:12] for name in found[:5])
            raise SnapshotError(f"one {what} in {folder} must begin with {word}, got {several or 'none'}")
        return found[0]
    if not _NAME.fullmatch(word) or not (folder / "names" / f"{word}.json").exists():
        raise SnapshotError(f"a {what} has a name, or 4 to 64 of the digits 0-9a-f; {folder} has none called {word!r}")
    return _target(folder / "names" / f"{word}.json")


def _target(path: Path) -> str:
    facts = unsealed(path)
    if facts.get("name") != path.stem or not HASH.fullmatch(str(facts.get("hash"))):
        raise SnapshotError(f"{path} must say what {path.stem} means, got {facts}")
    return str(facts["hash"])


def _refuse_odd(name: str) -> None:
    if not _NAME.fullmatch(name) or _PREFIX.fullmatch(name):
        raise ParameterError(
            "a name has up to 64 of a-z, 0-9, '.', '_' and '-', begins with a letter or digit, and could be no hash; "
            f"got {name!r}"
        )
