"""Where does a long piece of writing stand until it is whole, if others write beside it?

A folder of its own, locked by the process that works in it: the next writer removes those whose process died, and no
other.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from data.errors import SnapshotError
from data.storage import PARTIAL


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A new folder below this one, gone at the end unless it was renamed; SnapshotError where it cannot be made."""
    from filelock import FileLock

    place = folder / f"{PARTIAL}{uuid4().hex}"
    lock = FileLock(_lock_of(place))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing(folder), FileLock(folder / ".lock"):
        _sweep(folder)
        lock.acquire()
        place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        lock.release()
        _lock_of(place).unlink(missing_ok=True)


def put_in_place(place: Path, folder: Path, is_whole: Callable[[], bool]) -> None:
    """Rename a finished folder, all its bytes and names forced to disk before.

    What is there already stays if it `is_whole`, and else makes way.
    """
    from filelock import FileLock

    for path in sorted(place.rglob("*")):
        force(path)
    force(place)
    with FileLock(folder.parent / ".lock"):
        if folder.exists():
            if is_whole():
                return
            os.replace(folder, place.with_name(f"{place.name}-damaged"))
        os.replace(place, folder)
        force(folder.parent)
        shutil.rmtree(place.with_name(f"{place.name}-damaged"), ignore_errors=True)


def take_away(folder: Path) -> None:
    """Remove a folder so that a kill leaves all of it, or nothing that is taken for whole."""
    from filelock import FileLock

    away = folder.with_name(f"{PARTIAL}{uuid4().hex}")
    with FileLock(folder.parent / ".lock"):
        os.replace(folder, away)
        shutil.rmtree(away)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A disk that fails or is full becomes an error of ours."""
    try:
        yield
    except OSError as error:
        raise SnapshotError(f"a store needs a folder that can be written, got {folder}: {error}") from error


def force(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on disk."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")


def _sweep(folder: Path) -> None:
    """Remove what dead processes left: what a living one works in, it has locked."""
    from filelock import FileLock, Timeout

    for left in sorted(folder.glob(f"{PARTIAL}*")):
        if left.suffix == ".lock" and left.with_suffix("").exists():
            continue  # goes with its folder
        place = left.with_suffix("") if left.suffix == ".lock" else left
        with suppress(Timeout, FileNotFoundError), FileLock(_lock_of(place), blocking=False):
            shutil.rmtree(place, ignore_errors=True)
            _lock_of(place).unlink(missing_ok=True)
