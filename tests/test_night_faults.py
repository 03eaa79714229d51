"""Does the nightly job come through kills, a failing disk, damaged files, spoilt data, rivals and a clock that steps?

`MARGINLAB_FAULTS=50` runs that many times the faults of the short form; `make faults` is the sweep.
"""

import os
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest

from data.errors import SnapshotError
from data.storage import write_whole
from night_studies import DAYS, night, study_file
from research import night_acts, night_state, nightly_job
from research.model_files import read_model
from research.night_report import PARAMETERS, STATUS, Log, alone, health

PROGRAM = Path(__file__).with_name("night_faults.py")
TIMES = int(os.environ.get("MARGINLAB_FAULTS", "1"))
WRONG = ("champion", "half", "unflagged", "nonpositive", "hash", "untyped")
# Two hundred faults in parts, so that each ends soon: classes and how many.
PARTS = {
    "killed,terminated,twice,clock,lock,rivals": 80,
    "disk,unreadable,memory,recover,bit,cut,act": 98,
    "values,times,gap,poison,model": 18,
    "mlflow": 4,
}


@pytest.mark.skipif(os.name != "posix", reason="children are forked and killed")
@pytest.mark.parametrize("classes", PARTS)
def test_no_fault_costs_a_champion_promotes_by_half_or_publishes_a_wrong_margin(classes: str) -> None:
    count = PARTS[classes] * TIMES
    command = [sys.executable, str(PROGRAM), str(count), "7", classes]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    head, *lines = (line.split() for line in run.stdout.splitlines()[: 2 + len(classes.split(","))])
    counts = {name: dict(zip(head[1:], map(float, row), strict=False)) for name, *row in lines}
    assert set(counts) == {*classes.split(","), "all"}
    assert counts["all"]["injected"] == counts["all"]["recovered"] == count
    assert not any(counts["all"][column] for column in WRONG)
    assert all(one["struck"] for one in counts.values())


def test_the_parts_are_two_hundred_faults_of_every_class() -> None:
    words = "import night_faults; print(*night_faults.CLASSES)"
    told = subprocess.run([sys.executable, "-c", words], check=True, capture_output=True, text=True, cwd=PROGRAM.parent)
    assert sum(PARTS.values()) == 200
    assert sorted(",".join(PARTS).split(",")) == sorted(told.stdout.split())


@pytest.mark.parametrize("file", ["state.json", "00000001.json"])
def test_a_first_night_that_fails_at_its_state_or_the_copy_can_be_done_again(tmp_path: Path, file: str) -> None:
    study = study_file(tmp_path)

    def failing(path: Path, payload: bytes) -> None:
        if path.name == file:
            raise OSError(5, "Input/output error")
        write_whole(path, payload)

    with mock.patch.object(night_state, "write_whole", failing), pytest.raises(OSError, match="Input/output"):
        night(tmp_path, DAYS[0], study)
    assert night(tmp_path, DAYS[0], study)["exit"] == 0
    state = tmp_path / "state"
    assert (state / "states" / "00000001.json").read_bytes() == (state / "state.json").read_bytes()
    assert night_state.read_state(state).number == 1


def test_a_checkpoint_whose_model_was_damaged_since_is_judged_again(tmp_path: Path) -> None:
    study = study_file(tmp_path)
    with suppress(KeyboardInterrupt), mock.patch.object(nightly_job, "put_in_force", side_effect=KeyboardInterrupt):
        night(tmp_path, DAYS[0], study)
    models = tmp_path / "state" / "models"
    damaged = [*models.glob("*/model.json")]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-1])
    assert damaged
    night(tmp_path, DAYS[0], study, resume=True)
    champion = night_state.read_state(tmp_path / "state").markets["two"].champion
    assert champion is not None
    assert read_model(models, champion.model).get_params()


@pytest.mark.parametrize("file", [PARAMETERS, STATUS])
def test_health_names_a_copy_that_is_not_what_is_in_force(tmp_path: Path, file: str) -> None:
    night(tmp_path, DAYS[0], study_file(tmp_path))
    noon = datetime.fromisoformat(f"{DAYS[0]}T12:00:00").replace(tzinfo=UTC)
    assert health(tmp_path / "state", noon, 2.0) == (0, [])
    path = tmp_path / "state" / file
    path.write_bytes(path.read_bytes()[:-1])
    code, wrong = health(tmp_path / "state", noon, 2.0)
    assert code == 1
    assert file in wrong[0]


def test_a_model_that_was_damaged_since_is_not_put_back_in_force(tmp_path: Path) -> None:
    study = study_file(tmp_path)
    for day in DAYS[:3]:
        night(tmp_path, day, study)
    state = tmp_path / "state"
    before = night_state.read_state(state)
    previous = before.markets["two"].previous
    assert previous is not None
    path = state / "models" / previous.model / "model.json"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SnapshotError, match="sha256"):
        night_acts.rollback(state, None, None, Log(quiet=True))
    assert night_state.read_state(state) == before


def test_a_clock_behind_the_newest_night_is_not_healthy(tmp_path: Path) -> None:
    night(tmp_path, DAYS[0], study_file(tmp_path))
    code, wrong = health(tmp_path / "state", datetime(2019, 1, 1, tzinfo=UTC), 2.0)
    assert code == 3
    assert "the clock says 2019-01-01" in wrong[0]


OWNERS = (b'{"pid": 1e999}', b'{"pid": "x"}', b'{"pid": -1}', b"[" * 100_000, b'{"pid": true}')


@pytest.mark.parametrize("owner", OWNERS, ids=["endless", "text", "negative", "deep", "true"])
def test_a_junk_owner_of_the_lock_stops_nobody(tmp_path: Path, owner: bytes) -> None:
    (tmp_path / "owner.json").write_bytes(owner)
    with alone(tmp_path, Log(quiet=True)):
        assert (tmp_path / "owner.json").read_bytes() != owner


def test_a_market_that_is_too_short_does_not_end_the_night_of_the_others(tmp_path: Path) -> None:
    result = night(tmp_path, DAYS[0], study_file(tmp_path, spoil="closes = closes.iloc[500:]"))
    assert (result["exit"], result["markets"]["two"]["verdict"]) == (3, "no data")
    assert "window + horizon" in result["markets"]["two"]["stale"]
    assert night(tmp_path, DAYS[0], study_file(tmp_path))["exit"] == 0


def test_a_night_that_could_not_have_its_memory_does_not_begin(tmp_path: Path) -> None:
    study = study_file(tmp_path)
    with mock.patch.object(nightly_job, "HEADROOM", 1 << 62), pytest.raises(MemoryError):
        night(tmp_path, DAYS[0], study)
    assert night_state.read_state(tmp_path / "state").number == 0
    assert night(tmp_path, DAYS[0], study)["exit"] == 0


@pytest.mark.parametrize("way", ["-", "+"])
def test_stamps_that_were_shifted_since_last_night_are_looked_at(tmp_path: Path, way: str) -> None:
    night(tmp_path, DAYS[0], study_file(tmp_path))
    shifted = study_file(tmp_path, spoil=f"closes.index = closes.index {way} pd.Timedelta('1D')")
    told = night(tmp_path, DAYS[1], shifted)
    assert told["exit"] == 4
    assert "restated" in told["markets"]["two"]["stale"]


def test_a_first_state_that_is_damaged_before_its_copy_and_any_publication_is_none(tmp_path: Path) -> None:
    study, state = study_file(tmp_path), tmp_path / "state"
    with suppress(KeyboardInterrupt), mock.patch.object(night_state, "keep", side_effect=KeyboardInterrupt):
        night(tmp_path, DAYS[0], study)
    path = state / "state.json"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SnapshotError):
        night(tmp_path, DAYS[0], study)
    assert "the first night is to be done again" in night_acts.recover(state, None, Log(quiet=True))["rescued"]
    assert night(tmp_path, DAYS[0], study)["exit"] == 0
    for damaged in (path, *(state / "states").glob("*.json")):
        damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(SnapshotError, match="no earlier state is whole"):
        night_acts.recover(state, None, Log(quiet=True))
