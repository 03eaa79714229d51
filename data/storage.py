"""Where are files kept, and how is one written so that a crash cannot leave half of it?"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
PARTIAL = ".partial-"  # how the name of whatever is not finished begins


def store_folder() -> Path:
    """The folder for downloads and snapshots: $MARGINLAB_STORE, else data/store of a checkout, else the user's cache.

    It need not exist yet.
    """
    chosen = os.environ.get("MARGINLAB_STORE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    if (_ROOT / "pyproject.toml").is_file() and os.access(_ROOT / "data", os.W_OK):
        return _ROOT / "data" / "store"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "marginlab"


def sha256_of(payload: bytes) -> str:
    """The sha256 of some bytes, 64 hex digits."""
    return hashlib.sha256(payload).hexdigest()


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that one process writes at a time; the folder is made, what dead runs left is removed.

    Raises OSError where the folder cannot be written.
    """
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for left in folder.glob(PARTIAL + "*"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
        yield


def is_running(process: int) -> bool:
    """Whether a process of that number is there; taken for granted where nobody can tell.

    >>> is_running(os.getpid())
    True
    """
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True


def write_whole(path: Path, payload: bytes) -> None:
    """Put a file in place with all its bytes, or leave what was there: at any kill, at a full disk."""
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        partial.write_bytes(payload)
        settle(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def settle(partial: Path, path: Path) -> None:
    """Rename a finished file into place, its bytes and then its name forced to disk."""
    _force(partial, os.O_RDWR)
    os.replace(partial, path)
    if os.name == "posix":
        _force(path.parent, os.O_RDONLY)


def _force(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
