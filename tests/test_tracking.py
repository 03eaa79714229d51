"""Is every comparison written down, whole and in its place, whatever happens to the process?"""

import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import MarginlabError, ParameterError
from research import records
from research.records import Record, acceptable, provenance
from research.tracking import ENVIRONMENT, JsonTracker, MlflowTracker, NullTracker, Tracker, tracking_uri, ui_command

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_store_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MARGINLAB_MLRUNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set-up database, to be copied: MLflow takes seconds to make one."""
    root = tmp_path_factory.mktemp("empty")
    _ = MlflowTracker(root=root).client
    return root / "mlruns" / "mlflow.db"


@pytest.fixture
def root(empty_database: Path, tmp_path: Path) -> Path:
    (tmp_path / "mlruns").mkdir()
    with (
        closing(sqlite3.connect(empty_database)) as source,
        closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as copy,
    ):
        source.backup(copy)
    return tmp_path


@pytest.fixture(params=["mlflow", "json"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tracker]:
    if request.param == "json":
        yield JsonTracker(tmp_path / "records")
    else:
        yield MlflowTracker(root=request.getfixturevalue("root"))


def read(tracker: Tracker, run: str) -> dict[str, Any]:
    """Name, status, parent, parameters, metrics and tags of a run, from either store."""
    if isinstance(tracker, JsonTracker):
        return dict(json.loads((tracker.folder / f"{run}.json").read_text()))
    assert isinstance(tracker, MlflowTracker)
    stored = tracker.client.get_run(run)
    facts = {"name": stored.info.run_name, "status": stored.info.status}
    parts = {"parameters": stored.data.params, "metrics": stored.data.metrics, "tags": stored.data.tags}
    return {**facts, **parts, "parent": stored.data.tags.get("mlflow.parentRunId")}


def run_script(text: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def break_off(tracker: Tracker, error: BaseException, opened: list[str]) -> None:
    with tracker.comparison("study", "default", {}, {}) as parent:
        opened.append(parent.id)
        raise error


def dead_process() -> str:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


def test_a_comparison_is_a_parent_run_with_a_child_for_each_model_on_each_market(tracker: Tracker) -> None:
    with tracker.comparison("study", "default", {"models": "2"}, {"data": "abc"}) as parent:
        child = parent.child("EWMA on BTC", {"half_life": "40"}, {"coverage": 0.99}, {"market": "BTC"})
        parent.log({"best": 1.0})
        assert read(tracker, parent.id)["status"] == "RUNNING"
    above, below = read(tracker, parent.id), read(tracker, child)
    assert (above["name"], above["status"], above["parent"]) == ("default", "FINISHED", None)
    assert (above["parameters"], above["metrics"], above["tags"]["data"]) == ({"models": "2"}, {"best": 1.0}, "abc")
    assert (below["name"], below["status"], below["parent"]) == ("EWMA on BTC", "FINISHED", parent.id)
    assert (below["parameters"], below["metrics"]) == ({"half_life": "40"}, {"coverage": 0.99})
    assert below["tags"]["market"] == "BTC"
    assert below["tags"]["data"] == "abc"
    assert parent.id.rpartition("/")[2] in parent.url


def test_runs_say_where_and_with_what_code_they_were_made(tracker: Tracker) -> None:
    with tracker.comparison("study", "default", {}, {}) as parent:
        child = parent.child("EWMA", {}, {})
    for run in (parent.id, child):
        tags = read(tracker, run)["tags"]
        assert tags["marginlab.pid"] == str(os.getpid())
        assert {"marginlab.host", "marginlab.heartbeat", "marginlab.version", "marginlab.with.numpy"} <= set(tags)


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no data"), "FAILED"), (SystemExit(2), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_a_comparison_that_breaks_off_says_so(tracker: Tracker, error: BaseException, status: str) -> None:
    opened: list[str] = []
    with pytest.raises(type(error)):
        break_off(tracker, error, opened)
    stored = read(tracker, opened[0])
    assert stored["status"] == status
    assert type(error).__name__ in stored["tags"]["marginlab.error"]


def test_odd_names_and_numbers_are_recorded_all_the_same(tracker: Tracker) -> None:
    parameters = {f"p{number}": "x" for number in range(150)} | {"rates (%)": "y" * 7000}
    metrics = {"breaches (%)": 1.0, "breaches [%]": 2.0, "empty": math.nan, "ratio": math.inf, "by/book": -1.0}
    with tracker.comparison("study: 1/2 (%)", "default", {}, {}) as parent:
        stored = read(tracker, parent.child("a", parameters, metrics))
    assert stored["metrics"] == {"breaches _pct_": 1.0, "breaches _pct__": 2.0, "by/book": -1.0}
    assert stored["tags"]["marginlab.infinite"] == "ratio=+inf"
    assert len(stored["parameters"]) == 151
    assert stored["parameters"]["rates _pct_"] == "y" * 6000
    assert stored["tags"]["marginlab.cut"] == "rates _pct_"


def test_long_texts_are_kept_whole_beside_the_run(tmp_path: Path) -> None:
    tracker = JsonTracker(tmp_path)
    with tracker.comparison("study", "default", {"command": "y" * 7000}, {}) as parent:
        pass
    assert json.loads((tmp_path / parent.id / "long_texts.json").read_text()) == {"command": "y" * 7000}


def test_mlflow_keeps_everything_under_mlruns_and_writes_nothing_to_the_current_folder(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    figure = tmp_path_factory.mktemp("figures") / "margin.svg"
    figure.write_text("<svg/>")
    with MlflowTracker(root=root).comparison("a study", "default", {}, {}) as parent:
        child = parent.child("EWMA", {}, {}, artifacts={"figures/margin of EWMA.svg": figure, "scores.csv": b"a,b"})
        parent.log({}, {"report.html": b"<p>"})
    files = root / "mlruns" / "artifacts" / "a_study"
    assert (files / child / "artifacts" / "figures" / "margin of EWMA.svg").read_text() == "<svg/>"
    assert (files / child / "artifacts" / "scores.csv").read_bytes() == b"a,b"
    assert (files / parent.id / "artifacts" / "report.html").read_bytes() == b"<p>"
    assert list(elsewhere.iterdir()) == []
    kept = {path.name.partition("-")[0] for path in (root / "mlruns").iterdir()}
    assert kept == {"artifacts", "mlflow.db", "mlflow.lock"}


def test_the_default_experiment_does_not_point_into_the_current_folder(empty_database: Path) -> None:
    tracker = MlflowTracker(f"sqlite:///{empty_database}")
    location = tracker.client.get_experiment("0").artifact_location
    assert location == (empty_database.parent / "artifacts" / "0").as_uri()


def test_the_database_is_in_wal_mode_and_telemetry_is_off(root: Path) -> None:
    _ = MlflowTracker(root=root).client
    from mlflow.telemetry.utils import is_telemetry_disabled

    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert is_telemetry_disabled()
    assert all(os.environ[name] == value for name, value in ENVIRONMENT.items())


def test_an_experiment_deleted_by_hand_comes_back(root: Path) -> None:
    tracker = MlflowTracker(root=root)
    with tracker.comparison("study", "first", {}, {}) as parent:
        pass
    experiment = tracker.client.get_run(parent.id).info.experiment_id
    tracker.client.delete_experiment(experiment)
    with tracker.comparison("study", "second", {}, {}) as parent:
        pass
    assert tracker.client.get_run(parent.id).info.experiment_id == experiment


TERMINATED = """
import os, signal, sys
from pathlib import Path
from research.tracking import MlflowTracker

with MlflowTracker(root=Path(sys.argv[1])).comparison("study", "default", {}, {}) as parent:
    print(parent.id, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
"""


def test_sigterm_leaves_a_killed_run_and_the_exit_code_of_sigterm(root: Path) -> None:
    process = run_script(TERMINATED, root, str(root))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert read(MlflowTracker(root=root), out.strip())["status"] == "KILLED"


FOUR_AT_ONCE = """
import os, sys, threading
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from research.tracking import MlflowTracker

read_end, write_end = os.pipe()
children = []
for number in range(4):
    if not (pid := os.fork()):
        os.close(write_end)
        os.read(read_end, 1)  # all start when the parent closes its end
        with MlflowTracker(root=Path(sys.argv[1])).comparison("study", f"run {number}", {}, {}):
            pass
        os._exit(0)
    children.append(pid)
os.close(write_end)
print([os.waitpid(pid, 0)[1] for pid in children])
"""


def test_four_processes_may_open_a_fresh_database_at_once(tmp_path: Path) -> None:
    out, _ = run_script(FOUR_AT_ONCE, tmp_path, str(tmp_path)).communicate(timeout=60)
    assert out == "[0, 0, 0, 0]\n"
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as database:
        assert database.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall() == [("FINISHED", 4)]


def test_recovery_ends_runs_of_dead_processes_of_this_host_alone(tracker: Tracker) -> None:
    here, dead = provenance(), dead_process()
    mine = tracker.start("study", "mine", None, here)
    lost = tracker.start("study", "lost", None, {**here, "marginlab.pid": dead})
    reused = tracker.start("study", "reused", None, {**here, "marginlab.process_start": "1"})
    far = tracker.start("study", "far", None, {**here, "marginlab.host": "elsewhere", "marginlab.pid": dead})
    assert sorted(tracker.recover()) == sorted([lost, reused])
    assert {run: read(tracker, run)["status"] for run in (mine, lost, reused, far)} == {
        mine: "RUNNING",
        lost: "KILLED",
        reused: "KILLED",
        far: "RUNNING",
    }
    assert tracker.recover() == []


def test_a_killed_process_is_recovered(tmp_path: Path) -> None:
    script = TERMINATED.replace("SIGTERM", "SIGKILL").replace("MlflowTracker(root=", "JsonTracker(")
    out, _ = run_script(
        script.replace("import MlflowTracker", "import JsonTracker"), tmp_path, str(tmp_path)
    ).communicate()
    tracker = JsonTracker(tmp_path)
    assert read(tracker, out.strip())["status"] == "RUNNING"
    assert tracker.recover() == [out.strip()]
    assert read(tracker, out.strip())["status"] == "KILLED"


def test_without_mlflow_the_error_says_what_to_do_and_json_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MarginlabError, match="install it, or record with JsonTracker"):
        MlflowTracker(root=tmp_path).comparison("study", "default", {}, {}).__enter__()
    with JsonTracker(tmp_path).comparison("study", "default", {}, {}) as parent:
        parent.child("EWMA", {}, {"coverage": 0.99})
    assert len(list(tmp_path.glob("study/*.json"))) == 2


def test_a_store_that_mlflow_refuses_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(MarginlabError, match="the store of runs file:"):
        _ = MlflowTracker((tmp_path / "folder").as_uri()).client


def test_a_store_that_fails_in_the_middle_is_an_error_that_names_it(root: Path) -> None:
    with MlflowTracker(root=root).comparison("study", "default", {}, {}) as parent:
        with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as database:
            database.execute("DROP TABLE metrics")
        with pytest.raises(MarginlabError, match=r"the store of runs sqlite:.* failed: .*no such table: metrics"):
            parent.log({"best": 1.0})


def test_the_null_tracker_takes_everything_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = NullTracker()
    with tracker.comparison("study", "default", {}, {}) as parent:
        assert parent.child("EWMA", {}, {"coverage": 0.99}, artifacts={"a": b"b"}) == parent.url == ""
    assert tracker.recover() == []
    assert list(tmp_path.iterdir()) == []


def test_a_json_record_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    tracker = JsonTracker(tmp_path)
    run = tracker.start("study", "default", None, {})
    before = sorted(path.name for path in tmp_path.rglob("*"))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        tracker.write(run, Record(metrics={"coverage": 0.99}))
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert read(tracker, run)["metrics"] == {}


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "", ".", "a/../../outside"])
def test_an_artifact_may_not_leave_its_run(tracker: Tracker, name: str) -> None:
    with (
        tracker.comparison("study", "default", {}, {}) as parent,
        pytest.raises(ParameterError, match="inside its run"),
    ):
        parent.log({}, {name: b"content"})


@given(st.text(max_size=300))
def test_every_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_param_name, _validate_tag_name

    record = acceptable(Record({name: "text"}, {name: 1.0}, {name: "text"}))
    _validate_param_name(next(iter(record.parameters)))  # type: ignore[no-untyped-call]
    _validate_tag_name(next(iter(record.tags)))  # type: ignore[no-untyped-call]
    assert len(next(iter(record.metrics))) <= 250


def test_an_explicit_store_wins_over_the_environment_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri() == f"sqlite:///{ROOT / 'mlruns' / 'mlflow.db'}"
    monkeypatch.setenv("MARGINLAB_MLRUNS", str(tmp_path / "set"))
    assert tracking_uri() == f"sqlite:///{tmp_path / 'set' / 'mlruns' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert tracking_uri() == "http://tracking:5000"
    assert tracking_uri(root=tmp_path) == f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    assert tracking_uri("sqlite:////other.db", tmp_path) == "sqlite:////other.db"


def test_an_installed_package_keeps_runs_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CODE", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"


def test_the_pages_of_mlflow_open_on_this_machine_with_options_that_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "what was set before, to come back")
    command = ui_command(tmp_path, port=5123)
    from mlflow.cli import server

    options = server.make_context("server", command[4:]).params
    assert (options["host"], options["port"]) == ("127.0.0.1", 5123)
    assert options["backend_store_uri"] == tracking_uri(root=tmp_path)


def test_no_pages_are_started_for_a_server_and_its_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@tracking")
    with pytest.raises(ParameterError, match="https://tracking: open the page") as caught:
        ui_command()
    assert "secret" not in str(caught.value)


def test_a_password_is_not_on_the_command_line_of_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "postgresql://user:secret@host/runs"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "what was set before, to come back")
    monkeypatch.setenv("MARGINLAB_MLRUNS", str(tmp_path))
    assert "secret" not in " ".join(ui_command())
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == uri


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@tracking:5000/a", "https://tracking:5000/a"),
        ("postgresql://user:secret@ret@host/runs", "postgresql://host/runs"),
        ("postgresql://user:secret/ret@host/runs", "postgresql://host/runs"),
        ("postgresql://user:secret?ret@host/runs", "postgresql://host/runs"),
        ("postgresql://host/runs?user=me@here&password=secret", "postgresql://here"),
        ("postgresql:///runs?password=secret", "postgresql:///runs"),
        ("http://tracking:5000", "http://tracking:5000"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_shown_without_user_and_password(uri: str, shown: str) -> None:
    assert records.public(uri) == shown


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql://user:secret@host/runs", "cannot reach postgresql://user:secret@host/runs"),
        ("postgresql://user:se%2Fcret@host/runs", "login with se/cret refused"),
        ("postgresql://user:x@secret@host/runs", "no host 'secret@host'"),
        ("postgresql://host/runs?user=me@here&password=secret", "login with secret refused"),
        ("postgresql:///runs?password=secret", "login with secret refused"),
    ],
)
def test_what_a_store_says_is_shown_without_the_password(uri: str, said: str) -> None:
    assert "cret" not in records.masked(said, uri)
    assert records.masked("connection refused", uri) == "connection refused"


def test_a_failing_database_does_not_tell_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.store.tracking.sqlalchemy_store as store

    def refuse(uri: str, *_: object) -> None:
        raise OSError(f"cannot reach {uri}: is 'ret@host' its name?")

    monkeypatch.setattr(store, "SqlAlchemyStore", refuse)
    monkeypatch.setattr("research.tracking.knock", lambda _: None)
    with pytest.raises(MarginlabError, match="runs postgresql://host/runs failed: cannot reach") as caught:
        _ = MlflowTracker("postgresql://user:sec@ret@host/runs", tmp_path).client
    assert "ret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # or a traceback would show the driver's text


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that runs git in a folder that stands for the checkout."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    monkeypatch.setattr(records, "CODE", tmp_path.resolve())
    records.code_version.cache_clear()
    yield git
    records.code_version.cache_clear()


def test_the_commit_is_noted_in_a_checkout_and_nothing_elsewhere(checkout: Callable[..., None]) -> None:
    assert "marginlab.git_commit" not in provenance()
    checkout("init", "--quiet")
    checkout("commit", "--quiet", "--allow-empty", "--message=first")
    records.code_version.cache_clear()
    tags = provenance()
    assert len(tags["marginlab.git_commit"]) == 40
    assert tags["marginlab.git_dirty"] == "false"
    (records.CODE / "model.py").write_text("changed")
    records.code_version.cache_clear()
    assert provenance()["marginlab.git_dirty"] == "true"
