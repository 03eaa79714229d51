"""Does a night end with yesterday or with tomorrow, and never with anything between?"""

import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from data import ParameterError
from data.errors import SnapshotError
from data.storage import PARTIAL
from night_studies import DAYS, Kept, facts_of, night, study_file, tree
from research import night_acts, night_state
from research.cli import app
from research.limits import Limits
from research.night_report import LockHeldError, Log, alone, health
from research.nightly_job import read_plan
from research.parameters import read_parameters

QUIET = Log(quiet=True)


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    study, kept = study_file(folder), Kept()
    for day in DAYS[:2]:
        assert night(folder, day, study, kept)["exit"] == 0
    assert len(kept.told) == len(set(kept.told)) == 2
    return folder


@pytest.fixture(scope="module")
def three_nights(two_nights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy(two_nights, tmp_path_factory.mktemp("three"))
    assert night(folder, DAYS[2], folder / "study.py", Kept())["exit"] == 0
    return folder


@pytest.fixture
def copied(three_nights: Path, tmp_path: Path) -> Path:
    return copy(three_nights, tmp_path)


def copy(source: Path, target: Path) -> Path:
    for name, content in tree(source).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    study_file(target)
    return target


def state_of(folder: Path) -> night_state.NightState:
    return night_state.read_state(folder / "state")


def test_the_first_model_comes_first_and_a_better_one_after_its_nights(three_nights: Path) -> None:
    state = state_of(three_nights)
    two = state.markets["two"]
    assert two.champion is not None
    assert two.previous is not None
    assert (two.champion.name, two.previous.name, two.challenger) == ("historical", "static", None)
    assert [one["sentence"] for one in state.nights] == ["two first", "two recalibrated", "two promoted"]
    assert state.published["version"] == 3


def test_what_is_published_is_what_is_in_force_and_its_diff_says_so(three_nights: Path) -> None:
    folder = three_nights / "state"
    told = read_parameters(folder / "margin_parameters.json")
    champion = state_of(three_nights).markets["two"].champion
    assert champion is not None
    assert told.markets["two"].model_hash == champion.model
    assert told.hash == json.loads((folder / "margin_parameters.status.json").read_bytes())["hash"]
    assert "model was StaticMargin()" in (folder / "margin_parameters.diff.txt").read_text()
    assert 'marginlab_champion{market="two",model="historical"' in (folder / "metrics.prom").read_text()


def test_the_same_night_twice_is_one(copied: Path) -> None:
    before = tree(copied)
    again = night(copied, DAYS[2], copied / "study.py")
    assert (again["exit"], again["noop"], again["sentence"]) == (0, True, "two promoted")
    assert tree(copied) == before


def test_a_forced_night_comes_to_the_same(copied: Path, three_nights: Path) -> None:
    published = (copied / "state" / "margin_parameters.json").read_bytes()
    again = night(copied, DAYS[2], copied / "study.py", force=True)
    assert again["markets"]["two"]["champion"]["name"] == "historical"
    assert (copied / "state" / "margin_parameters.json").read_bytes() == published


def test_a_dry_run_changes_nothing(copied: Path) -> None:
    before = tree(copied)
    told = night(copied, DAYS[3], copied / "study.py", dry_run=True)
    assert told["dry_run"]
    assert told["sentence"] == "two recalibrated"
    assert tree(copied) == before


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("closes = closes[closes.index < '2021-10-03']", "row(s) late"),
        ("closes.loc['2021-10-04', 'BTC'] = np.nan", "must have every price, lacks BTC"),
        ("closes.loc['2021-10-04', 'BTC'] = np.inf", "DataError"),
        ("closes.loc['2021-10-04', 'BTC'] = -1.0", "DataError"),
        ("closes = closes.rename(columns={'BTC': 'XBT'}); closes['BTC']", "load() broke: KeyError"),
    ],
)
def test_stale_missing_or_broken_data_is_refused_and_the_champion_marked_stale(
    copied: Path, spoil: str, why: str
) -> None:
    published = (copied / "state" / "margin_parameters.json").read_bytes()
    told = night(copied, DAYS[3], study_file(copied, spoil=spoil))
    assert told["exit"] == 3
    assert why in told["markets"]["two"]["stale"]
    assert told["markets"]["two"]["champion"]["name"] == "historical"
    assert (copied / "state" / "margin_parameters.json").read_bytes() == published
    assert json.loads((copied / "state" / "margin_parameters.status.json").read_bytes())["stale"]
    repaired = night(copied, DAYS[3], study_file(copied))
    assert (repaired["exit"], repaired["markets"]["two"]["stale"]) == (0, "")


def test_worker_processes_change_nothing(two_nights: Path, tmp_path: Path) -> None:
    models = []
    for jobs in (1, 2):
        (tmp_path / str(jobs)).mkdir()
        folder = copy(two_nights, tmp_path / str(jobs))
        night(folder, DAYS[2], folder / "study.py", jobs=jobs)
        models.append((roles(folder), (folder / "state" / "margin_parameters.json").read_bytes()))
    assert models[0] == models[1]


def test_rows_after_the_as_of_change_nothing(tmp_path: Path) -> None:
    models = []
    for name, spoil in (("plain", ""), ("other", "closes.loc['2021-10-02':] *= 2.0")):
        (tmp_path / name).mkdir()
        told = night(tmp_path / name, DAYS[0], study_file(tmp_path / name, spoil=spoil))
        models.append(told["markets"]["two"]["champion"]["model"])
    assert models[0] == models[1]


def test_poisoned_data_is_refused_and_yesterday_stays(copied: Path) -> None:
    published = (copied / "state" / "margin_parameters.json").read_bytes()
    calm = "closes.iloc[300:643] = closes.iloc[300] * np.exp(0.2 * np.log(closes.iloc[300:643] / closes.iloc[300]))"
    told = night(copied, DAYS[3], study_file(copied, spoil=calm))
    assert (told["exit"], told["markets"]["two"]["verdict"]) == (4, "refused")
    assert "overnight_fall" in told["markets"]["two"]["stale"]
    assert "beyond the cap" in told["markets"]["two"]["stale"]
    assert (copied / "state" / "margin_parameters.json").read_bytes() == published


def test_a_past_that_was_restated_waits_for_a_person(copied: Path) -> None:
    study = study_file(copied, spoil="closes.iloc[10] *= 1.01")
    told = night(copied, DAYS[3], study)
    assert (told["exit"], told["markets"]["two"]["verdict"]) == (4, "waiting")
    with pytest.raises(ParameterError, match="say --approve"):
        night_acts.promote(copied / "state", None, None, QUIET, approve=False, limits=Limits())
    done = night_acts.promote(copied / "state", None, None, QUIET, approve=True, limits=Limits())
    assert done["markets"]["two"]["champion"]["as_of"] == DAYS[3]
    assert not done["markets"]["two"]["stale"]


def test_a_model_that_breaks_is_out_and_says_why(copied: Path) -> None:
    models = '{"static": StaticMargin(), "historical": HistoricalVaR(), "normal": CorrelationVaR(degrees=1.0)}'
    told = night(copied, DAYS[3], study_file(copied, models=models))
    assert told["exit"] == 0
    facts = facts_of(copied, told)
    assert "degrees must be > 2" in facts["models"]["normal"]["error"]
    refused = next(one for one in facts["candidates"] if one["name"] == "normal")
    assert refused["gates"][0]["verdict"] == "refused"


def test_a_lock_that_is_held_refuses_and_one_of_the_dead_does_not(copied: Path) -> None:
    held = "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
    held += "print('held', flush=True); time.sleep(60)"
    lock = str(copied / "state" / ".lock")
    with subprocess.Popen([sys.executable, "-c", held, lock], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        with pytest.raises(LockHeldError), alone(copied / "state", QUIET):
            pass
        owner.kill()
    (copied / "state" / "owner.json").write_text(json.dumps({"pid": owner.pid}))
    with alone(copied / "state", QUIET):
        pass


def test_mlflow_that_is_down_is_told_later_and_once(copied: Path) -> None:
    kept, study = Kept(), copied / "study.py"
    kept.down = True
    assert night(copied, DAYS[3], study, kept)["exit"] == 0
    assert night(copied, DAYS[4], study, kept)["exit"] == 0
    assert len(state_of(copied).outbox) == 2
    kept.down = False
    night_acts.recover(copied / "state", kept, QUIET)
    night_acts.recover(copied / "state", kept, QUIET)
    told = [kept.entries[one] for one in kept.told]
    assert [one.tags["sentence"] for one in told] == ["two recalibrated", "two recalibrated"]
    assert [one.parameters["as_of"] for one in told] == [DAYS[3], DAYS[4]]
    assert state_of(copied).outbox == ()
    assert not list((copied / "state" / "journal").glob("*.json"))


def test_a_rollback_puts_the_model_before_in_force_with_its_parameters(copied: Path) -> None:
    done = night_acts.rollback(copied / "state", None, None, QUIET)
    assert done["markets"]["two"]["champion"]["name"] == "static"
    told = read_parameters(copied / "state" / "margin_parameters.json")
    assert told.version == 4
    assert told.markets["two"].model == "StaticMargin()"
    assert "rolled back" in done["markets"]["two"]["stale"]


def test_a_damaged_state_is_refused_and_recover_takes_the_newest_whole_one(copied: Path) -> None:
    path = copied / "state" / "state.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"historical"', b'"hystorical"', 1))
    with pytest.raises(SnapshotError, match="damaged"):
        night(copied, DAYS[3], copied / "study.py")
    assert health(copied / "state", _noon(DAYS[2]), 2.0)[0] == 1
    told = night_acts.recover(copied / "state", None, QUIET)
    assert "took its place" in told["rescued"]
    assert path.read_bytes() == whole


def test_health_names_a_stale_market_an_old_night_and_a_damaged_model(copied: Path) -> None:
    folder = copied / "state"
    assert health(folder, _noon(DAYS[2]), 2.0) == (0, [])
    assert health(folder, _noon("2021-12-01"), 2.0)[0] == 3
    champion = state_of(copied).markets["two"].champion
    assert champion is not None
    path = folder / "models" / champion.model / "model.json"
    path.write_bytes(path.read_bytes() + b" ")
    code, wrong = health(folder, _noon(DAYS[2]), 2.0)
    assert code == 1
    assert "model.json must have the sha256" in wrong[0]


def test_an_earlier_night_a_future_one_and_another_study_are_refused(copied: Path) -> None:
    with pytest.raises(ParameterError, match="--force"):
        night(copied, DAYS[0], copied / "study.py")
    with pytest.raises(ParameterError, match="must not lie in the future"):
        night(copied, "2200-01-01", copied / "study.py")
    with pytest.raises(ParameterError, match="must be a date"):
        night(copied, "2999-01-01", copied / "study.py")
    other = study_file(copied)
    other.write_text(other.read_text().replace('"toy"', '"other"'))
    with pytest.raises(ParameterError, match="has the nights of toy"):
        night(copied, DAYS[3], other)


def _noon(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC)


KILLED = """
import os, signal, sys
from pathlib import Path
from data import storage
from night_studies import night
left = [int(sys.argv[3])]
def counted(call):
    def cut(*arguments, **named):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return call(*arguments, **named)
    return cut
storage.os = type("Os", (), {name: getattr(os, name) for name in dir(os) if not name.startswith("__")})
storage.os.replace = staticmethod(counted(os.replace))
storage.os.fsync = staticmethod(counted(os.fsync))
folder = Path(sys.argv[1])
told = night(folder, sys.argv[2], folder / "study.py")
print(told["sentence"], left[0])
"""


def killed_at(folder: Path, day: str, step: int) -> tuple[int, str]:
    """A night that is killed at its nth rename or fsync; its exit code and what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path.cwd())])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), day, str(step)], env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("step", [1, 6, 15, 27, 33])
def test_a_promotion_killed_at_any_write_is_yesterday_or_tomorrow_and_can_be_done_again(
    two_nights: Path, three_nights: Path, tmp_path: Path, step: int
) -> None:
    folder = copy(two_nights, tmp_path)
    code, said = killed_at(folder, DAYS[2], step)
    assert code == -signal.SIGKILL, said
    after = state_of(folder).markets["two"]
    assert after.champion is not None
    assert (after.champion.name, after.champion.as_of) in {("static", DAYS[1]), ("historical", DAYS[2])}
    assert (after.previous is None) == (after.champion.name == "static")
    assert read_parameters(folder / "state" / "margin_parameters.json").as_of in DAYS[1:3]
    again = night(folder, DAYS[2], folder / "study.py", resume=True)
    assert again["exit"] == 0
    assert roles(folder) == roles(three_nights)
    assert not list((folder / "state").rglob(f"{PARTIAL}*"))
    undisturbed = (three_nights / "state" / "margin_parameters.json").read_bytes()
    assert (folder / "state" / "margin_parameters.json").read_bytes() == undisturbed


def test_a_night_that_died_is_taken_up_where_it_was(two_nights: Path, tmp_path: Path) -> None:
    folder = copy(two_nights, tmp_path)
    killed_at(folder, DAYS[2], 24)
    assert [name for name in set(tree(folder)) - set(tree(two_nights)) if "/nights/" in name and "result" not in name]
    events = io.StringIO()
    night(folder, DAYS[2], folder / "study.py", events=events, resume=True)
    assert '"event": "resumed"' in events.getvalue()


def test_sigterm_ends_a_night_with_143_and_leaves_yesterday(two_nights: Path, tmp_path: Path) -> None:
    folder = copy(two_nights, tmp_path)
    study_file(folder, spoil="import time; print('begun', flush=True); time.sleep(30)")
    words = ["nightly", "--as-of", DAYS[2], "--study", str(folder / "study.py"), "--state", str(folder / "state")]
    command = [sys.executable, "-c", "from research.cli import main; main()", *words, "--no-track"]
    before = tree(folder)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path.cwd()) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"begun\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=10) == 143
    assert tree(folder) == before


def test_the_commands_answer_with_json_and_their_exit_codes(two_nights: Path, tmp_path: Path) -> None:
    folder = copy(two_nights, tmp_path)
    place, study = ["--state", str(folder / "state")], ["--study", str(folder / "study.py")]
    done = asked(
        "nightly", "--as-of", DAYS[2], *study, *place, "--no-track", "--json", "--textfile", str(folder / "m.prom")
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["sentence"] == "two promoted"
    assert all(json.loads(line)["event"] for line in done.stderr.splitlines())
    assert "marginlab_nightly_exit_code 0.0" in (folder / "m.prom").read_text()
    assert json.loads(asked("status", *place, "--json").stdout)["stale"] is False
    assert asked("healthcheck", *place, "--max-age", "100000").exit_code == 0
    assert asked("healthcheck", *place).exit_code == 3
    late = asked("nightly", "--as-of", "2022-10-01", *study, *place, "--no-track", "--json")
    assert (late.exit_code, json.loads(late.stdout)["exit"]) == (3, 3)
    wrong = asked("nightly", "--as-of", "yesterday", *study, *place, "--json")
    assert (wrong.exit_code, json.loads(wrong.stdout)["error"]) == (2, "ParameterError")
    assert asked("promote", *study, *place, "--no-track").exit_code == 2
    assert asked("rollback", *place, "--no-track").exit_code == 0
    assert "champion static" in asked("status", *place).stdout
    assert asked("recover", *place, "--no-track").exit_code == 0
    (folder / "state" / "state.json").write_bytes(b"{}")
    assert asked("status", *place).exit_code == 1


def test_a_published_file_charges_a_book_from_the_shell(three_nights: Path, tmp_path: Path) -> None:
    (tmp_path / "book.csv").write_text("portfolio,symbol,quantity\nlong,BTC-PERP,2\npair,BTC,1\npair,ETH-PERP,-1\n")
    place = three_nights / "state" / "margin_parameters.json"
    told = asked("margin", "--book", str(tmp_path / "book.csv"), "--parameters", str(place), "--json")
    assert told.exit_code == 0, told.output
    one = read_parameters(place).markets["two"]
    long = json.loads(told.stdout)["portfolios"][0]
    btc = one.assets["BTC"]
    assert long["margin"] == pytest.approx(2 * btc.price * btc.scan_range * one.multiplier)
    refused = asked("margin", "--book", str(tmp_path / "book.csv"), "--parameters", str(place), "--model", "span")
    assert refused.exit_code == 2
    assert "--model: not with --parameters" in refused.stderr
    assert asked("margin", "--book", str(tmp_path / "book.csv")).exit_code == 2


def roles(folder: Path) -> list[tuple[str, str, str] | None]:
    two = state_of(folder).markets["two"]
    held = (two.champion, two.challenger, two.previous, two.waiting)
    return [None if one is None else (one.name, one.model, one.as_of) for one in held]


def asked(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_the_study_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "nightly.md").read_text(encoding="utf-8")
    path = tmp_path / "documented.py"
    path.write_text(page.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
    plan = read_plan(path)
    assert list(plan.study.models) == ["static", "historical", "filtered"]
    assert plan.limits.shadow == 10


def test_a_damaged_publication_is_brought_back_from_its_copy_or_made_again(copied: Path) -> None:
    folder = copied / "state"
    whole = (folder / "margin_parameters.json").read_bytes()
    place = next((folder / "published").glob("00000003-*.json"))
    place.write_bytes(whole[:100])
    night_acts.recover(folder, None, QUIET)
    assert place.read_bytes() == whole
    place.write_bytes(whole[:100])
    (folder / "margin_parameters.json").write_bytes(whole.replace(b"0.2", b"0.1"))
    night_acts.recover(folder, None, QUIET)
    again = read_parameters(folder / "margin_parameters.json")
    assert again.version == 4
    assert again.markets["two"].told() == json.loads(whole)["markets"]["two"]


def test_a_disk_that_fails_is_tried_again_and_what_is_published_says_stale(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (copied / "state" / "margin_parameters.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("research.nightly.write_model", full)
        with pytest.raises(OSError, match="No space left"):
            night(copied, DAYS[3], copied / "study.py")
    status = json.loads((copied / "state" / "margin_parameters.status.json").read_bytes())
    assert status["stale"]
    assert "No space left" in status["reason"]
    assert (copied / "state" / "margin_parameters.json").read_bytes() == whole
    assert night(copied, DAYS[3], copied / "study.py")["exit"] == 0
    assert not json.loads((copied / "state" / "margin_parameters.status.json").read_bytes())["stale"]
