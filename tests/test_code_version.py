"""Is the commit of a checkout told without asking git, and nothing where there is none?"""

from pathlib import Path

import pytest

from data.code_version import commit_of, told_version
from data.version import __version__

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_head_that_is_a_commit(tmp_path: Path) -> None:
    put(tmp_path / ".git" / "HEAD", f"{COMMIT}\n")
    assert commit_of(tmp_path) == COMMIT


def test_a_branch_of_its_own_file_or_packed(tmp_path: Path) -> None:
    put(tmp_path / ".git" / "HEAD", "ref: refs/heads/main\n")
    put(tmp_path / ".git" / "packed-refs", f"# pack-refs\n{'f' * 40} refs/heads/mainly\n{COMMIT} refs/heads/main\n")
    assert commit_of(tmp_path) == COMMIT
    put(tmp_path / ".git" / "refs" / "heads" / "main", "a" * 40 + "\n")
    assert commit_of(tmp_path) == "a" * 40


def test_a_linked_worktree(tmp_path: Path) -> None:
    own = tmp_path / "main" / ".git" / "worktrees" / "other"
    put(tmp_path / "other" / ".git", f"gitdir: {own}\n")
    put(own / "HEAD", "ref: refs/heads/side\n")
    put(own / "commondir", "../..\n")
    put(tmp_path / "main" / ".git" / "refs" / "heads" / "side", f"{COMMIT}\n")
    assert commit_of(tmp_path / "other") == COMMIT


@pytest.mark.parametrize("head", [None, "", "ref: refs/heads/none", "nonsense"])
def test_no_commit(tmp_path: Path, head: str | None) -> None:
    if head is not None:
        put(tmp_path / ".git" / "HEAD", head)
    assert commit_of(tmp_path) == ""


def test_what_differs_from_a_commit_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(tmp_path / ".git" / "HEAD", COMMIT)
    monkeypatch.setattr("data.code_version._ROOT", tmp_path)
    assert told_version.__wrapped__() == f"marginlab {__version__} at {COMMIT}, changes unknown"
    monkeypatch.setattr("data.code_version._ROOT", tmp_path / "installed")
    assert told_version.__wrapped__() == f"marginlab {__version__}"
