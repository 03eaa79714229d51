"""Is what old nights alone named removed, and nothing that is still in force, however early it ends?"""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data import ParameterError
from data.errors import SnapshotError
from night_studies import DAYS, Kept, night, study_file, tree
from research import night_acts, night_prune
from research.cli import app
from research.night_prune import Pruned, prune
from research.night_report import Log, health
from research.night_state import KEPT_STATES, read_state

QUIET = Log(quiet=True)


@pytest.fixture(scope="module")
def five_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five nights, MLflow down in the last two; only the newest two copies of the state are left."""
    folder = tmp_path_factory.mktemp("five")
    study, kept = study_file(folder), Kept()
    for day in DAYS:
        kept.down = day >= DAYS[3]
        assert night(folder, day, study, kept)["exit"] == 0
    for old in sorted((folder / "state" / "states").glob("*.json"))[:-2]:
        old.unlink()
    return folder


@pytest.fixture
def copied(five_nights: Path, tmp_path: Path) -> Path:
    shutil.copytree(five_nights / "state", tmp_path / "state")
    return tmp_path


def folders(folder: Path, what: str) -> set[str]:
    return {path.name for path in (folder / "state" / what).iterdir()}


def roles(folder: Path) -> set[str]:
    """The files of every model that the state in force names."""
    held = [read_state(folder / "state").markets["two"]]
    versions = [one for state in held for one in (state.champion, state.challenger, state.previous, state.waiting)]
    return {name for one in versions if one is not None for name in (one.model, one.configuration)}


def test_what_only_old_nights_named_goes(copied: Path) -> None:
    before = {what: folders(copied, what) for what in ("nights", "models", "published")}
    gone = prune(copied / "state", QUIET, keep=1)
    state = read_state(copied / "state")
    # The entry that MLflow was not told of the night before still names that night's report.
    assert folders(copied, "nights") == {str(one["key"]) for one in state.nights[-2:]}
    assert roles(copied) <= folders(copied, "models") < before["models"]
    assert sorted(int(name[:8]) for name in folders(copied, "published")) == [4, 4, 5, 5]
    assert gone == Pruned(3, len(before["models"] - folders(copied, "models")), 6)


def test_what_is_left_is_healthy_told_and_goes_on(copied: Path) -> None:
    prune(copied / "state", QUIET, keep=1)
    kept = Kept()
    night_acts.recover(copied / "state", kept, QUIET)
    assert [entry.parameters["as_of"] for entry in kept.entries.values()] == list(DAYS[3:])
    assert health(copied / "state", datetime(2021, 10, 5, tzinfo=UTC), 2.0) == (0, [])
    assert night(copied, DAYS[4], study_file(copied))["noop"]
    assert night_acts.rollback(copied / "state", None, None, QUIET)["markets"]["two"]["champion"]["name"] == "static"


def test_pruning_twice_removes_nothing_more(copied: Path) -> None:
    prune(copied / "state", QUIET, keep=2)
    before = tree(copied)
    assert not prune(copied / "state", QUIET, keep=2)
    assert tree(copied) == before


def test_a_copy_of_the_state_keeps_the_models_it_would_fall_back_on(copied: Path) -> None:
    prune(copied / "state", QUIET, keep=1)
    (copied / "state" / "state.json").write_bytes(b"cut")
    assert "took its place" in night_acts.recover(copied / "state", None, QUIET)["rescued"]
    assert health(copied / "state", datetime(2021, 10, 5, tzinfo=UTC), 2.0)[0] == 0


def test_by_default_a_year_of_nights_is_kept(copied: Path) -> None:
    before = tree(copied)
    assert not prune(copied / "state", QUIET)
    assert tree(copied) == before
    assert night_prune.KEEP > KEPT_STATES


def test_a_checkpoint_to_be_resumed_stays_and_one_of_before_goes(copied: Path) -> None:
    state = copied / "state" / "state.json"
    for name, moved in (("a" * 64, 10), ("b" * 64, -10)):
        place = copied / "state" / "nights" / name
        place.mkdir()
        (place / "market.json").write_bytes(b"{}")
        at = state.stat().st_mtime + moved
        os.utime(place, (at, at))
    prune(copied / "state", QUIET)
    assert "a" * 64 in folders(copied, "nights")
    assert "b" * 64 not in folders(copied, "nights")


def test_what_is_not_ours_stays(copied: Path) -> None:
    for place in ("nights/notes", "models/README", "published/00000001"):
        (copied / "state" / place).mkdir()
    prune(copied / "state", QUIET, keep=1)
    assert {"notes"} <= folders(copied, "nights")
    assert {"README"} <= folders(copied, "models")
    assert {"00000001"} <= folders(copied, "published")


def test_nothing_goes_where_nobody_knows_what_is_in_force(copied: Path) -> None:
    (copied / "state" / "state.json").write_bytes(b"{}")
    before = tree(copied)
    with pytest.raises(SnapshotError):
        prune(copied / "state", QUIET, keep=1)
    assert tree(copied) == before
    with pytest.raises(ParameterError, match="at least 1 night"):
        prune(copied / "state", QUIET, keep=0)


@pytest.mark.parametrize("step", range(0, 12, 2))
def test_a_kill_in_the_middle_leaves_what_is_in_force_and_the_next_one_ends_it(
    copied: Path, five_nights: Path, tmp_path: Path, step: int
) -> None:
    """The child dies at its nth removal of a file, which is in the middle of a folder for odd ones."""
    child = os.fork()
    if not child:
        left = [step]
        remove = os.unlink

        def killed(*arguments: object, **named: object) -> None:
            if str(arguments[0]).endswith("owner.json"):
                return remove(*arguments, **named)  # type: ignore[arg-type]
            if not left[0]:
                os.kill(os.getpid(), 9)
            left[0] -= 1
            return remove(*arguments, **named)  # type: ignore[arg-type]

        os.unlink = killed
        prune(copied / "state", QUIET, keep=1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert health(copied / "state", datetime(2021, 10, 5, tzinfo=UTC), 2.0) == (0, [])
    (tmp_path / "other").mkdir()
    shutil.copytree(five_nights / "state", tmp_path / "other" / "state")
    for folder in (copied, tmp_path / "other"):
        prune(folder / "state", QUIET, keep=1)
    ended, undisturbed = (set(tree(folder)) - {"state/owner.json"} for folder in (copied, tmp_path / "other"))
    assert ended == undisturbed


def test_a_night_prunes_after_itself_and_the_command_by_hand(copied: Path) -> None:
    place = ["--state", str(copied / "state")]
    again = ["nightly", "--as-of", DAYS[4], "--study", str(study_file(copied)), *place, "--no-track", "--force"]
    done = CliRunner().invoke(app, [*again, "--keep", "2"])
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()][-1] == "pruned"
    said = CliRunner().invoke(app, ["prune", *place, "--keep", "1"])
    assert said.exit_code == 0
    assert "removed" in said.stdout
    assert CliRunner().invoke(app, [*again, "--keep", "0"]).exit_code == 2
