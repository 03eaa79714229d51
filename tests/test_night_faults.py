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

from data.storage import write_whole
from night_studies import DAYS, night, study_file
from research import night_state, nightly_job
from research.model_files import read_model
from research.night_report import PARAMETERS, STATUS, health

PROGRAM = Path(__file__).with_name("night_faults.py")
COUNT = 120 * int(os.environ.get("MARGINLAB_FAULTS", "1"))
WRONG = ("champion", "half", "margin", "hash", "untyped")


@pytest.mark.skipif(os.name != "posix", reason="children are forked and killed")
def test_no_fault_costs_a_champion_promotes_by_half_or_publishes_a_wrong_margin() -> None:
    run = subprocess.run([sys.executable, str(PROGRAM), str(COUNT)], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    head, *lines = (line.split() for line in run.stdout.splitlines()[:12])
    counts = {name: dict(zip(head[1:], map(float, row), strict=False)) for name, *row in lines}
    assert counts["all"]["injected"] == counts["all"]["recovered"] == COUNT
    assert not any(counts["all"][column] for column in WRONG)
    assert all(one["struck"] for one in counts.values())
    assert all(counts[name]["refused"] for name in ("killed", "disk", "terminated", "bit", "data", "clock"))


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
