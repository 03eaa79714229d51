"""Which files were fetched into a folder, when, from where, and what are they known by?

A line of JSON a file, appended once the file is in place; the last line of a name counts. A line that a kill cut in
two is passed over: its file is then found again by its checksum.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data.errors import SourceError
from data.fetch.waiting import Timing

NAME = ".fetched.jsonl"


class Journal:
    """The journal of one folder.

    Parameters
    ----------
    folder : which is fetched to.
    timing : tells the instant of each line.
    """

    def __init__(self, folder: Path, timing: Timing) -> None:
        self.folder, self._timing = folder, timing
        self._lock = threading.Lock()
        self._entries = dict(_lines(folder / NAME))

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def entry(self, path: str) -> Mapping[str, Any]:
        """What is known of a file; empty where it was never fetched."""
        return self._entries.get(path, {})

    def holds(self, path: str, verify: bool = False) -> bool:
        """Whether a file was fetched and is here with as many bytes; `verify` asks whether they are the same."""
        entry, file = self.entry(path), self.folder / path
        if not entry or not file.is_file() or file.stat().st_size != entry.get("size"):
            return False
        return not verify or sha256_of_file(file) == entry.get("sha256")

    def add(self, path: str, **facts: Any) -> None:
        """Enter a file that is in place, forced to disk."""
        file = self.folder / path
        line = {"file": path, "size": file.stat().st_size, **facts, "at": self._timing.now().isoformat()}
        with self._lock, (self.folder / NAME).open("a+b") as out:
            torn = out.tell() > 0 and not _ends_a_line(out.fileno(), out.tell())
            out.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
            self._entries[path] = line


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made, so that no other process fetches to it; SourceError where one does."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise SourceError(f"another process is fetching to {folder}: wait for it, or choose another folder") from error
    except OSError as error:
        raise SourceError(f"the folder must be one to write in, got {folder}: {error}") from error
    try:
        yield
    finally:
        lock.release()


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file however large, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ends_a_line(handle: int, size: int) -> bool:
    os.lseek(handle, size - 1, os.SEEK_SET)
    return os.read(handle, 1) == b"\n"


def _lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("file"), str):
                yield entry["file"], entry
