"""Which code is this: of which version, and of which commit?"""

import re
from functools import cache
from pathlib import Path

from data.version import __version__

_ROOT = Path(__file__).resolve().parents[1]
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@cache
def told_version() -> str:
    """The version; in a checkout also the commit. Whether files differ from it only git could say, which is not asked.

    An installed package has a version alone: the folders around it may be somebody else's repository.
    """
    commit = commit_of(_ROOT)
    return f"marginlab {__version__}" + (f" at {commit}, changes unknown" if commit else "")


def commit_of(root: Path) -> str:
    """The commit that is checked out in a folder, read from git's own files; "" where there is none, or no checkout.

    A linked worktree's `.git` is a file that says where its own are; branches that are packed stand in one file.
    """
    try:
        place = root / ".git"
        if place.is_file():
            place = root / place.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        common = place / "commondir"
        shared = place / common.read_text(encoding="utf-8").strip() if common.is_file() else place
        told = (place / "HEAD").read_text(encoding="utf-8").strip()
        if told.startswith("ref:"):
            told = _branch(told.removeprefix("ref:").strip(), (place, shared))
    except (OSError, UnicodeDecodeError):
        return ""
    return told if _COMMIT.fullmatch(told) else ""


def _branch(name: str, folders: tuple[Path, Path]) -> str:
    for folder in folders:
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8").strip()
    packed = (folders[1] / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {name}") and line[0] not in "#^"), "")
