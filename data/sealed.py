"""How is it known that a small file of facts says what was written, and all of it?

Facts are JSON in one way of writing, sealed by a checksum of their own: equal meaning is not enough, so that a changed
blank, or a key given twice, is damage as well.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import SnapshotError
from data.storage import sha256_of

SEAL = "manifest"


def encoded(facts: Mapping[str, Any]) -> bytes:
    """Facts in the one way of writing them; ValueError or TypeError for what JSON cannot hold."""
    return json.dumps(facts, sort_keys=True, indent=1, allow_nan=False).encode("ascii")


def sealed(facts: Mapping[str, Any]) -> bytes:
    """The bytes of some facts and of their seal."""
    return encoded({**facts, SEAL: sha256_of(encoded(facts))})


def unsealed(path: Path) -> dict[str, Any]:
    """The facts that were written there, without their seal; SnapshotError for anything else."""
    written = read_whole(path)
    try:
        facts = json.loads(written)
        seal = facts.pop(SEAL)
        whole = seal == sha256_of(encoded(facts)) and encoded({**facts, SEAL: seal}) == written
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SnapshotError(f"{path} is no manifest: {error}") from error
    if not whole:
        raise SnapshotError(f"{path} must match its own checksum, got other bytes: the manifest is damaged")
    return dict(facts)


def read_whole(path: Path) -> bytes:
    """All of a file; SnapshotError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror}") from error
