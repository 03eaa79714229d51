"""Is an operator told the truth, and what to do, where files of the nights are lost, damaged or not yet due?"""

import io
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner, Result

from data.errors import SnapshotError
from data.storage import write_whole
from night_studies import DAYS, night, study_file, tree
from research import night_acts, night_report
from research.cli import app
from research.limits import Limits
from research.night_prune import prune
from research.night_report import Log, health
from research.night_state import NightState, commit, read_state, state_folder
from research.night_status import status_text
from research.parameters import read_parameters

QUIET = Log(quiet=True)


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    study = study_file(folder)
    for day in DAYS[:2]:
        assert night(folder, day, study)["exit"] == 0
    return folder


@pytest.fixture
def copied(two_nights: Path, tmp_path: Path) -> Path:
    shutil.copytree(two_nights / "state", tmp_path / "state")
    study_file(tmp_path)
    return tmp_path


def asked(what: str, folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [what, "--state", str(folder / "state"), *words])


def nightly(folder: Path, day: str, *words: str) -> Result:
    return asked("nightly", folder, "--as-of", day, "--study", str(folder / "study.py"), "--no-track", *words)


def failed(said: Result) -> dict[str, object]:
    events = [json.loads(line) for line in said.stderr.splitlines()]
    return next(one for one in events if one["event"] == "failed")


def ill(folder: Path, day: str = DAYS[1]) -> tuple[int, list[str]]:
    return health(folder / "state", datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC), 2.0)


def lose_state(folder: Path) -> None:
    (folder / "state" / "state.json").unlink()
    shutil.rmtree(folder / "state" / "states")


@pytest.mark.parametrize("left", ["both", "copy", "published"])
def test_a_state_that_is_lost_is_no_first_night(copied: Path, left: str) -> None:
    lose_state(copied)
    if left == "copy":
        shutil.rmtree(copied / "state" / "published")
    if left == "published":
        for path in (copied / "state").glob("margin_parameters.*"):
            path.unlink()
    before = tree(copied)
    for said in (
        asked("status", copied),
        asked("recover", copied, "--no-track"),
        nightly(copied, DAYS[2]),
        asked("prune", copied),
    ):
        told = failed(said)
        assert (said.exit_code, told["exit"]) == (1, 1)
        assert "something is published, but no state: restore the folder from a copy" in str(told["reason"])
        assert "trace" not in told
    checked = asked("healthcheck", copied)
    assert checked.exit_code == 1
    assert "no state: restore the folder from a copy" in checked.stdout
    assert {name: one for name, one in tree(copied).items() if "owner.json" not in name} == before


def test_a_folder_whose_state_is_lost_is_still_found(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARGINLAB_NIGHTLY", raising=False)
    monkeypatch.setenv("MARGINLAB_STORE", str(copied / "store"))
    shutil.copytree(copied / "state", copied / "store" / "nightly" / "toy")
    (copied / "store" / "nightly" / "toy" / "state.json").unlink()
    assert state_folder(None).name == "toy"


def test_a_first_night_that_died_before_its_state_is_still_the_first(tmp_path: Path) -> None:
    study = study_file(tmp_path)
    with mock.patch("research.night_commit.commit", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        night(tmp_path, DAYS[0], study)
    assert list((tmp_path / "state" / "published").glob("00000001-*.json"))
    assert read_state(tmp_path / "state") == NightState()
    assert night(tmp_path, DAYS[0], study)["exit"] == 0


def test_where_no_state_is_whole_everybody_says_restore_and_nobody_recover(copied: Path) -> None:
    for path in (copied / "state" / "state.json", *(copied / "state" / "states").iterdir()):
        path.write_bytes(b"{")
    told = failed(asked("recover", copied, "--no-track"))
    assert "restore the folder from a copy" in str(told["reason"])
    assert "trace" not in told
    code, wrong = ill(copied)
    assert code == 1
    assert "restore the folder from a copy" in wrong[0]
    assert "marginlab recover" not in wrong[0]


def test_a_damaged_state_with_a_whole_copy_says_recover_without_a_trace(copied: Path) -> None:
    (copied / "state" / "state.json").write_bytes(b"{")
    told = failed(asked("status", copied))
    assert str(told["reason"]).count("run marginlab recover") == 1
    assert "trace" not in told
    assert ill(copied)[1][0].endswith("run marginlab recover")


@pytest.mark.parametrize("name", ["published/00000002-*.json", "published/00000002-*.diff.txt", "margin_parameters.*t"])
@pytest.mark.parametrize("gone", [True, False])
def test_health_names_what_recover_then_says_it_made_good(copied: Path, name: str, gone: bool) -> None:
    (path,) = (copied / "state").glob(name)
    whole = path.read_bytes()
    path.unlink() if gone else path.write_bytes(whole[:-2])
    code, wrong = ill(copied)
    assert (code, len(wrong)) == (1, 1)
    assert wrong[0] == f"{path} is {'missing' if gone else 'not what is published'}: run marginlab recover"
    said = asked("recover", copied, "--no-track")
    assert said.exit_code == 0
    assert f"made good: {path} is" in said.stdout
    assert (path.read_bytes(), ill(copied)) == (whole, (0, []))
    assert "in order" in asked("recover", copied, "--no-track").stdout


def test_damaged_results_are_named_and_counted_and_pruned_ones_are_not(copied: Path) -> None:
    results = sorted((copied / "state" / "nights").glob("*/result.json"))
    for path in results:
        path.write_bytes(path.read_bytes() + b" ")
    code, wrong = ill(copied)
    assert code == 1
    assert wrong[0].startswith("2 result(s) of nights damaged")
    assert str(results[0]) in wrong[0]
    said = asked("recover", copied, "--no-track")
    assert said.exit_code == 1
    assert "restore the folder from a copy" in said.stdout
    for path in results:
        path.unlink()
    assert ill(copied) == (0, [])


def test_a_damaged_model_sends_nobody_in_a_circle(copied: Path) -> None:
    champion = read_state(copied / "state").markets["two"].champion
    assert champion is not None
    (copied / "state" / "models" / champion.model / "model.json").write_bytes(b"{}")
    said = asked("recover", copied, "--no-track")
    assert said.exit_code == 1
    assert "restore the folder from a copy" in said.stdout


def watched(folder: Path, nights: int, verdict: str) -> NightState:
    """A challenger that was watched so many nights."""
    state = read_state(folder / "state")
    two = state.markets["two"]
    assert two.champion is not None
    challenger = replace(two.champion, name="other", verdict=verdict)
    one = replace(two, challenger=challenger, shadow=DAYS[:nights], waiting=None)
    return commit(folder / "state", replace(state, markets={"two": one}))


@pytest.mark.parametrize("nights", [0, 1, 2])
def test_status_recommends_what_promote_would_do(copied: Path, nights: int) -> None:
    text = status_text(watched(copied, nights, "borderline"), copied / "state")
    assert f"watched {nights} of 2 nights, borderline in its gates" in text
    done = asked("promote", copied, "--study", str(copied / "study.py"), "--approve", "--no-track")
    assert ("promote --study STUDY --approve" in text) == (done.exit_code == 0) == (nights == 2)


def test_a_state_of_before_recommends_nothing_it_does_not_know(copied: Path) -> None:
    state = watched(copied, 2, "borderline")
    old = tuple({name: one for name, one in told.items() if name != "shadow_needed"} for told in state.nights)
    text = status_text(replace(state, nights=old), copied / "state")
    assert "watched 2 nights, borderline in its gates" in text
    assert "--approve" not in text


def test_a_promotion_that_took_effect_is_answered_so_when_asked_again(copied: Path) -> None:
    watched(copied, 2, "borderline")
    words = ("--study", str(copied / "study.py"), "--approve", "--no-track")
    assert asked("promote", copied, *words).exit_code == 0
    before = tree(copied)
    again = asked("promote", copied, *words)
    assert again.exit_code == 0
    assert "is already in force" in again.stdout
    assert tree(copied) == before
    assert nightly(copied, DAYS[2]).exit_code in {0, 4}
    assert asked("promote", copied, *words).exit_code == 2


@pytest.mark.parametrize(("day", "code"), [("2021-10-04", 0), ("2021-10-05", 3)])
def test_an_age_counts_from_the_end_of_the_day(copied: Path, day: str, code: int) -> None:
    assert ill(copied, day)[0] == code
    monday = datetime.fromisoformat("2021-10-06T02:00:00").replace(tzinfo=UTC)
    assert health(copied / "state", monday, 4.0) == (0, [])


def test_prune_does_without_the_name_of_its_owner(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def full(path: Path, payload: bytes) -> None:
        if path.name == "owner.json":
            raise OSError(28, "No space left on device")
        write_whole(path, payload)

    with mock.patch.object(night_report, "write_whole", full):
        assert prune(copied / "state", Log(), keep=1).nights == 1
    warned = json.loads(capsys.readouterr().err.splitlines()[0])
    assert warned["event"] == "owner_not_written"
    assert "owner.json: No space left" in warned["reason"]


class Full(io.StringIO):
    """A stream whose disk is full."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_ends_nothing(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    assert prune(copied / "state", Log(), keep=1).nights == 1


SLEEPING = """
import sys, time
from unittest import mock
from research.cli import main
def begun(*_, **__):
    print("begun", flush=True)
    time.sleep(30)
with mock.patch("research.night_acts.promoted", begun), mock.patch("research.night_prune.read_state", begun):
    main()
"""


@pytest.mark.parametrize("what", ["promote", "prune"])
def test_sigterm_ends_an_act_with_its_event_and_143(copied: Path, what: str) -> None:
    study = ["--study", str(copied / "study.py"), "--no-track"] if what == "promote" else []
    command = [sys.executable, "-c", SLEEPING, what, "--state", str(copied / "state"), *study]
    before = tree(copied)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path.cwd()) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"begun\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=10) == 143
        told = [json.loads(line) for line in running.stderr.read().splitlines()]
    assert [(one["event"], one["exit"]) for one in told] == [("failed", 143)]
    assert tree(copied) == before


def test_parameters_of_a_bad_row_are_published_again_from_the_repaired_source(copied: Path) -> None:
    clean = copied / "clean"
    shutil.copytree(copied / "state", clean / "state")
    assert night(clean, DAYS[2], study_file(clean))["exit"] == 0
    parameters = "state/margin_parameters.json"
    right = read_parameters(clean / parameters).markets["two"].told()
    bad = study_file(copied, spoil="closes.loc['2021-10-03', 'BTC'] *= 1.03")
    assert night(copied, DAYS[2], bad)["published"]["version"] == 3
    assert read_parameters(copied / parameters).markets["two"].told() != right
    repaired = night(copied, DAYS[2], study_file(copied))
    assert (repaired["exit"], repaired["published"]["version"]) == (4, 3)
    assert "the past was restated" in repaired["markets"]["two"]["stale"]
    done = night_acts.promote(copied / "state", None, None, QUIET, approve=True, limits=Limits(shadow=2))
    assert done["published"]["version"] == 4
    assert read_parameters(copied / parameters).markets["two"].told() == right
    assert ill(copied, DAYS[2]) == (0, [])


def test_nothing_of_a_snapshot_error_is_lost(copied: Path) -> None:
    (copied / "state" / "state.json").write_bytes(b"{")
    with pytest.raises(SnapshotError, match=r"state\.json is no manifest"):
        night_acts.promote(copied / "state", None, None, QUIET, approve=True, limits=Limits())
