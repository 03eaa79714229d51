"""Does every exit code of the runbook come when the runbook says, with the words it quotes, and does its cure cure?"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from typer.testing import CliRunner

from night_studies import DAYS, Kept, night, study_file, tree
from research import night_commit, nightly_job
from research.cli import app
from research.night_state import read_state

RUNBOOK = (Path(__file__).parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
CALM = "closes.iloc[300:] = closes.iloc[300] * np.exp(0.2 * np.log(closes.iloc[300:] / closes.iloc[300]))"
TENTH = "closes.loc['2021-10-04', 'BTC'] *= 0.1"


@pytest.fixture(scope="module")
def three_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """First, recalibrated, promoted: "historical" is in force, and "static" was before."""
    folder = tmp_path_factory.mktemp("three")
    for day in DAYS[:3]:
        assert night(folder, day, study_file(folder))["exit"] == 0
    return folder


@pytest.fixture
def folder(three_nights: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy, in which our code counts as the same, whoever edits it meanwhile."""
    shutil.copytree(three_nights / "state", tmp_path / "state")
    study_file(tmp_path)
    with (
        mock.patch.object(nightly_job, "code_digest", return_value="the same"),
        mock.patch.object(nightly_job, "told_version", return_value="the same"),
        mock.patch.object(night_commit, "told_version", return_value="the same"),
    ):
        yield tmp_path


class Said:
    """What a command answered: exit code, events, and the result of --json, or what was printed."""

    def __init__(self, *words: str) -> None:
        done = CliRunner().invoke(app, list(words))
        self.code, self.text = done.exit_code, done.stdout
        self.events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]

    def event(self, name: str) -> dict[str, Any]:
        """The newest event of a name, which the runbook knows."""
        assert f"`{name}`" in RUNBOOK
        return next(dict(one) for one in reversed(self.events) if one["event"] == name)


def place(folder: Path) -> list[str]:
    return ["--state", str(folder / "state")]


def nightly(folder: Path, day: str, *more: str) -> Said:
    study = ["--study", str(folder / "study.py")]
    return Said("nightly", "--as-of", day, *study, *place(folder), "--no-track", *more)


def act(folder: Path, what: str, *more: str) -> Said:
    study = ["--study", str(folder / "study.py")] if what == "promote" else []
    return Said(what, *study, *place(folder), "--no-track", *more)


def healthy(folder: Path) -> int:
    return Said("healthcheck", *place(folder), "--max-age", "100000").code


def test_the_table_has_every_exit_code_once_and_no_other_page_has_one() -> None:
    from research import night_report as codes

    rows = [line.split("|")[1].strip() for line in RUNBOOK.splitlines() if line.startswith("| ")]
    told = [int(cell) for cell in rows if cell.isdigit()]
    every = [codes.DONE, codes.BUG, codes.USAGE, codes.NO_DATA, codes.REFUSED, codes.HELD, codes.AGAIN, 143]
    assert told == every
    for page in (Path(__file__).parents[1] / "docs").glob("*.md"):
        if page.name != "operations.md":
            assert "| 143 |" not in page.read_text(encoding="utf-8"), page


def test_0_done_and_done_before(folder: Path) -> None:
    first, again = nightly(folder, DAYS[3]), nightly(folder, DAYS[3])
    assert (first.code, again.code) == (0, 0)
    assert "two recalibrated" in first.text
    assert "(done before)" in again.text
    assert healthy(folder) == 0


def test_1_a_damaged_file_is_recovered(folder: Path) -> None:
    (folder / "state" / "state.json").write_bytes(b"{")
    failed = nightly(folder, DAYS[3])
    assert (failed.code, failed.event("failed")["exit"], healthy(folder)) == (1, 1, 1)
    recovered = act(folder, "recover")
    assert (recovered.code, healthy(folder)) == (0, 0)
    assert "took its place" in recovered.text
    assert nightly(folder, DAYS[3]).code == 0


def test_1_a_damaged_model_is_named_and_the_folder_restored(folder: Path) -> None:
    shutil.copytree(folder / "state", folder / "backup")
    champion = read_state(folder / "state").markets["two"].champion
    assert champion is not None
    (folder / "state" / "models" / champion.model / "model.json").write_bytes(b"{}")
    act(folder, "recover")
    said = Said("healthcheck", *place(folder), "--max-age", "100000")
    assert said.code == 1
    assert "model.json" in said.text
    shutil.rmtree(folder / "state")
    shutil.copytree(folder / "backup", folder / "state")
    assert (act(folder, "recover").code, healthy(folder), nightly(folder, DAYS[4]).code) == (0, 0, 0)


@pytest.mark.parametrize(
    "which", ["margin_parameters.json", "margin_parameters.diff.txt", "margin_parameters.status.json"]
)
def test_1_a_damaged_publication_its_difference_or_its_status_is_found_and_recovered(folder: Path, which: str) -> None:
    whole = (folder / "state" / which).read_bytes()
    (folder / "state" / which).write_bytes(whole.replace(b"2", b"3", 1))
    assert healthy(folder) == 1
    assert act(folder, "recover").code == 0
    assert ((folder / "state" / which).read_bytes(), healthy(folder)) == (whole, 0)


def test_1_a_difference_that_is_damaged_twice_is_told_again(folder: Path) -> None:
    whole = (folder / "state" / "margin_parameters.diff.txt").read_bytes()
    for path in [
        folder / "state" / "margin_parameters.diff.txt",
        *(folder / "state" / "published").glob("*3-*.diff.txt"),
    ]:
        path.write_bytes(b"nothing changed\n")
    assert healthy(folder) == 1
    act(folder, "recover")
    assert ((folder / "state" / "margin_parameters.diff.txt").read_bytes(), healthy(folder)) == (whole, 0)


def test_1_a_bug_leaves_a_trace_and_yesterday(folder: Path) -> None:
    published = (folder / "state" / "margin_parameters.json").read_bytes()
    with mock.patch.object(nightly_job, "decided", side_effect=ZeroDivisionError("a bug")):
        failed = nightly(folder, DAYS[3])
    assert failed.code == 1
    assert "ZeroDivisionError" in failed.event("failed")["trace"]
    assert "With a `trace` in the event it is a bug" in RUNBOOK
    assert (folder / "state" / "margin_parameters.json").read_bytes() == published


@pytest.mark.parametrize(
    ("day", "spoil", "why"),
    [
        ("yesterday", "", "--as-of must be a date"),
        (DAYS[0], "", "an earlier one needs --force"),
        (DAYS[3], "closes = (", "study() cannot be had: SyntaxError"),
    ],
)
def test_2_what_cannot_be_is_said_and_changes_nothing(folder: Path, day: str, spoil: str, why: str) -> None:
    before = tree(folder)
    study_file(folder, spoil=spoil)
    failed = nightly(folder, day)
    assert (failed.code, failed.event("failed")["exit"]) == (2, 2)
    assert why in failed.event("failed")["reason"]
    assert tree(folder) == before


def test_2_a_word_that_is_misspelt_ends_without_an_event(folder: Path) -> None:
    assert (nightly(folder, DAYS[3], "--dry-rum").code, nightly(folder, DAYS[3], "--dry-rum").events) == (2, [])


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("closes = closes[closes.index < '2021-10-04']", "1 row(s) late, 0 allowed"),
        ("closes.loc['2021-10-04', 'BTC'] = np.nan", "must have every price, lacks BTC"),
        ("raise FileNotFoundError('closes.csv')", "its load() broke: FileNotFoundError: closes.csv"),
    ],
)
def test_3_data_is_refused_by_name_and_the_same_command_makes_it_good(folder: Path, spoil: str, why: str) -> None:
    study_file(folder, spoil=spoil)
    refused = nightly(folder, DAYS[3])
    assert (refused.code, refused.event("data_refused")["market"], healthy(folder)) == (3, "two", 4)
    assert why in refused.event("data_refused")["reason"]
    assert "two: STALE since 2021-10-04" in Said("status", *place(folder)).text
    study_file(folder)
    assert (nightly(folder, DAYS[3]).code, healthy(folder)) == (0, 0)


def test_4_a_price_that_is_not_believed_is_not_to_be_approved_but_repaired(folder: Path) -> None:
    study_file(folder, spoil=TENTH)
    refused = nightly(folder, DAYS[3])
    assert refused.code == 4
    assert "data_quality: BTC" in refused.event("market")["why"][0]
    assert act(folder, "promote", "--approve").code == 2
    study_file(folder)
    assert (nightly(folder, DAYS[3]).code, healthy(folder)) == (0, 0)


def test_4_the_night_after_a_price_that_was_not_believed_is_a_usual_one(folder: Path) -> None:
    study_file(folder, spoil=TENTH)
    assert nightly(folder, DAYS[3]).code == 4
    study_file(folder)
    assert nightly(folder, DAYS[4]).code == 0


def test_4_a_fall_overnight_is_taken_by_a_person_who_knows_why(folder: Path) -> None:
    study_file(folder, spoil=CALM)
    refused = nightly(folder, DAYS[3])
    assert (refused.code, healthy(folder)) == (4, 4)
    assert "overnight_fall" in refused.event("market")["why"][0]
    plain = act(folder, "promote")
    assert plain.code == 2
    assert "say --approve" in plain.event("failed")["reason"]
    assert "marginlab promote --study STUDY --approve" in Said("status", *place(folder)).text
    assert (act(folder, "promote", "--approve").code, healthy(folder)) == (0, 0)
    assert nightly(folder, DAYS[4]).code == 0


def test_5_the_lock_names_its_owner_and_one_of_the_dead_is_no_lock(folder: Path) -> None:
    held = "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
    held += "print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", held, str(folder / "state" / ".lock")], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        (folder / "state" / "owner.json").write_text(json.dumps({"pid": owner.pid}))
        refused = nightly(folder, DAYS[3])
        owner.kill()
    assert refused.code == 5
    assert refused.event("failed")["reason"] == f"process {owner.pid} works in {folder / 'state'}"
    assert "`process N works in FOLDER`" in RUNBOOK
    again = nightly(folder, DAYS[3])
    assert (again.code, again.event("stale_lock")["level"]) == (0, "warning")


def test_75_a_full_disk_is_tried_again_with_what_was_done(folder: Path) -> None:
    with mock.patch.object(nightly_job, "put_in_force", side_effect=OSError(28, "No space left on device")):
        failed = nightly(folder, DAYS[3])
    assert (failed.code, failed.event("failed")["error"], healthy(folder)) == (75, "OSError", 4)
    again = nightly(folder, DAYS[3], "--resume")
    assert (again.code, healthy(folder)) == (0, 0)


def test_75_is_what_short_memory_ends_with(folder: Path) -> None:
    with mock.patch.object(nightly_job, "night_data", side_effect=MemoryError):
        assert nightly(folder, DAYS[3]).code == 75


def test_143_sigterm_leaves_yesterday_and_can_be_done_again(folder: Path) -> None:
    study_file(folder, spoil="import time; print('begun', flush=True); time.sleep(30)")
    words = ["nightly", "--as-of", DAYS[3], "--study", str(folder / "study.py"), *place(folder), "--no-track"]
    command = [sys.executable, "-c", "from research.cli import main; main()", *words]
    before = tree(folder)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"begun\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 143
    assert tree(folder) == before
    study_file(folder)
    assert nightly(folder, DAYS[3], "--resume").code == 0


def test_markets_that_were_done_are_resumed(folder: Path) -> None:
    child = os.fork()
    if not child:  # killed when the market is judged, and nothing of the night is in force
        with mock.patch.object(
            nightly_job, "put_in_force", side_effect=lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        ):
            nightly(folder, DAYS[3])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    again = nightly(folder, DAYS[3], "--resume")
    assert (again.code, again.event("resumed")["market"]) == (0, "two")


def test_mlflow_that_is_down_ends_no_night(folder: Path) -> None:
    study, uri = str(folder / "study.py"), ["--tracking-uri", "http://127.0.0.1:9"]
    done = Said("nightly", "--as-of", DAYS[3], "--study", study, *place(folder), *uri)
    assert (done.code, done.event("tracking_down")["level"]) == (0, "warning")


def test_what_mlflow_was_not_told_waits_and_status_says_so(folder: Path) -> None:
    down = Kept()
    down.down = True
    assert night(folder, DAYS[3], folder / "study.py", down)["exit"] == 0
    assert "MLflow: still to be told of 1" in Said("status", *place(folder)).text
    with mock.patch("research.registry.recorder", return_value=Kept()):
        assert Said("recover", *place(folder)).code == 0
    assert "MLflow" not in Said("status", *place(folder)).text


def test_wrong_parameters_are_rolled_back_under_a_higher_version(folder: Path) -> None:
    before = read_state(folder / "state").published["version"]
    assert act(folder, "rollback").code == 0
    state = read_state(folder / "state")
    assert state.published["version"] == before + 1
    assert state.markets["two"].champion is not None
    assert state.markets["two"].champion.name == "static"
    assert "champion static" in Said("status", *place(folder)).text
    assert nightly(folder, DAYS[3]).code == 0


def test_the_metrics_to_watch_are_written(folder: Path) -> None:
    watched = [line.split("`")[1] for line in RUNBOOK.splitlines() if line.startswith("| `marginlab_")]
    written = (folder / "state" / "metrics.prom").read_text(encoding="utf-8")
    assert len(watched) == 4
    assert all(f"# TYPE {name} gauge" in written for name in watched)
