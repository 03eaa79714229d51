"""Where is a file kept while it comes, and from which byte may its transfer go on?

In a folder of its own, under a name that no reader looks for; what it is a part of stands beside it. Only a rename,
once the checksum is right, puts it where files are read.
"""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.storage import settle, write_whole

FOLDER = ".unfinished"


@dataclass(frozen=True)
class Version:
    """Which bytes a server has under an address: those of another version are not joined to these.

    Parameters
    ----------
    url : the address.
    tag : a strong ETag, or else the Last-Modified date; "" where the server tells neither.
    total : bytes, None where the server does not say.
    """

    url: str
    tag: str
    total: int | None


class Unfinished:
    """What has come of one file."""

    def __init__(self, folder: Path, path: str) -> None:
        name = f".{hashlib.sha256(path.encode()).hexdigest()[:32]}"  # hidden, as its folder is
        self.part = folder / FOLDER / f"{name}.part"
        self._beside = self.part.with_suffix(".json")
        self.part.parent.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        """The bytes that have come."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def version(self, url: str) -> Version | None:
        """Whose bytes they are; None where that is unknown, of another address, or cannot be gone on with."""
        kept: Any = None
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(self._beside.read_bytes())
        if not isinstance(kept, dict) or kept.get("url") != url or not kept.get("tag") or not self.size:
            return None
        return Version(url, str(kept["tag"]), kept.get("total") if isinstance(kept.get("total"), int) else None)

    def begin(self, version: Version) -> None:
        """Forget what has come, and note whose bytes come now; in this order, so that a kill joins no two versions."""
        self.part.unlink(missing_ok=True)
        facts = {"url": version.url, "tag": version.tag, "total": version.total}
        write_whole(self._beside, json.dumps(facts).encode())

    def drop(self) -> None:
        """Forget what has come."""
        self.part.unlink(missing_ok=True)
        self._beside.unlink(missing_ok=True)

    def finish(self, destination: Path) -> None:
        """Put it in its place."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        settle(self.part, destination)
        self._beside.unlink(missing_ok=True)
