"""Do nights and studies reach a team's own store, and does it hear of each once, however often it goes away?"""

import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import pytest
from typer.testing import CliRunner, Result

from data.errors import MarginlabError
from data.sources.synthetic import garch_t
from margin_models import HistoricalVaR, StaticMargin
from night_studies import DAYS, night, study_file
from research import night_acts, reachability
from research.cli import app
from research.limits import Limits
from research.main_job import record
from research.night_report import Log
from research.night_state import read_state
from research.registry import ENTRY, MODEL, Registry
from research.study import Study, StudyResult, run_study
from research.tracking import MlflowTracker
from research.user_data import market_of
from servers import LOGIN, PASSWORD, USER, Lossy, MlflowServer, Postgres, free_port

QUIET = Log(quiet=True)
RESTATED = "closes.iloc[10] *= 1.01"
IN_FORCE = {"static": "StaticMargin()", "historical": "HistoricalVaR()"}


class Mortal(Protocol):
    """A server that may go away."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@pytest.fixture(autouse=True)
def _nothing_from_outside(tmp_path: Path) -> Iterator[None]:
    """Neither what the caller has set, nor afterwards what a store has."""
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "PGCONNECT_TIMEOUT"))}
    with mock.patch.dict(os.environ, {**ours, "MARGINLAB_MLRUNS": str(tmp_path)}, clear=True):
        yield


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        server.execute("CREATE DATABASE runs")
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def database(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a database that MLflow has set up, for all tests: it takes seconds, and studies have names."""
    _ = MlflowTracker(postgres.uri("runs"), tmp_path_factory.mktemp("set-up")).client
    return postgres.uri("runs")


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def named(folder: Path, name: str, spoil: str = "") -> Path:
    """A study file under a name of its own, as others are in the same store."""
    path = study_file(folder, spoil=spoil)
    path.write_text(path.read_text().replace('"toy"', f'"{name}"'))
    return path


def stored(registry: Registry, study: str) -> tuple[Counter[str], Counter[str], set[str]]:
    """How many runs there are of each entry, how many versions of each model, and how runs ended."""
    experiment = registry.client.get_experiment_by_name("nightly")
    assert experiment is not None
    runs = registry.client.search_runs([experiment.experiment_id], f"attributes.run_name LIKE '%, {study}'")
    versions = registry.client.search_model_versions(f"name = '{study}.two'")
    entries = Counter(run.data.tags[ENTRY] for run in runs)
    return entries, Counter(one.tags[MODEL] for one in versions), {run.info.status for run in runs}


def assert_told_once(registry: Registry, folder: Path, nights: int) -> None:
    """Each night is one whole run, each model one version, and the aliases mean what is in force, verified."""
    state = read_state(folder / "state")
    assert state.outbox == ()
    entries, versions, ended = stored(registry, state.study)
    assert len(entries) == nights
    assert set(entries.values()) == set(versions.values()) == {1}
    assert ended == {"FINISHED"}
    two = state.markets["two"]
    held = {"champion": two.champion, "challenger": two.challenger, "previous": two.previous}
    assert registry.aliases(f"{state.study}.two") == {role: one.model for role, one in held.items() if one is not None}
    assert two.champion is not None
    assert repr(registry.load(f"{state.study}.two", expected=two.champion.model)) == IN_FORCE[two.champion.name]


def dies_in(monkeypatch: pytest.MonkeyPatch, step: str, server: Mortal) -> None:
    """Let a server go away just before a step of telling it of a night."""
    whole = getattr(Registry, step)

    def cut(*arguments: Any) -> Any:
        server.stop()
        return whole(*arguments)

    monkeypatch.setattr(Registry, step, cut)


def away_midway_and_at_the_start(folder: Path, registry: Registry, server: Mortal, step: str) -> None:
    """A night that is told; one in which the server dies; one that finds it dead; then it is back."""
    study = named(folder, f"cut{step}")
    assert night(folder, DAYS[0], study, registry)["exit"] == 0
    with pytest.MonkeyPatch.context() as patched:
        dies_in(patched, step, server)
        assert night(folder, DAYS[1], study, registry)["exit"] == 0
    assert len(read_state(folder / "state").outbox) == 1
    begun = time.monotonic()
    fresh = Registry(registry.uri)
    assert night(folder, DAYS[2], study, fresh)["exit"] == 0
    assert time.monotonic() - begun < 15  # MLflow by itself: 100 s for a database
    assert len(read_state(folder / "state").outbox) == 2
    server.start()
    for one in (registry, fresh):  # what was open before the fault is as good as what is opened after it
        night_acts.recover(folder / "state", one, QUIET)
    assert_told_once(registry, folder, 3)


@pytest.fixture(scope="module")
def result() -> StudyResult:
    market = market_of(garch_t(560, (0.02, 0.03), seed=4).history, "A market", level=0.95)
    models = {"static": StaticMargin(cross=True), "history": HistoricalVaR()}
    return run_study(Study("small", (market,), models, oracle="static"), progress=False)


def assert_recorded(result: StudyResult, tracker: MlflowTracker, folder: Path) -> None:
    """Recorded as `marginlab backtest` does it, in the store that the environment names: whole, files included."""
    (folder / "page.html").write_text("<p>report</p>")
    said: list[str] = []
    url = record(result, folder / "page.html", "marginlab test", said.append)
    assert said == []
    assert url is not None
    experiment = tracker.client.get_experiment_by_name("backtest")
    assert experiment is not None
    runs = tracker.client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert url.endswith(f"/#/experiments/{experiment.experiment_id}/runs/{parent.info.run_id}")
    child = next(run for run in runs if run.info.run_name == "your-data: history")
    card = result.markets[0].comparison.scores["history"]
    assert child.data.metrics["equal_margin"] == card.equal_margin
    place = tracker.client.download_artifacts(parent.info.run_id, "report.html", str(folder))
    assert Path(place).read_text() == "<p>report</p>"


# ---- PostgreSQL, opened by MLflow in this process.


@pytest.mark.system
def test_a_study_is_recorded_in_postgresql(
    database: str, result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    assert_recorded(result, MlflowTracker(database), tmp_path)
    assert list((tmp_path / "mlruns" / "artifacts" / "backtest").iterdir())


@pytest.mark.system
def test_nights_and_a_promotion_by_hand_are_told_to_postgresql(database: str, tmp_path: Path) -> None:
    registry, study = Registry(database), named(tmp_path, "promoted")
    for day in DAYS[:3]:
        assert night(tmp_path, day, study, registry)["exit"] == 0
    assert_told_once(registry, tmp_path, 3)
    assert repr(registry.load("promoted.two")) == "HistoricalVaR()"
    assert repr(registry.load("promoted.two", "previous")) == "StaticMargin()"
    waiting = night(tmp_path, DAYS[3], named(tmp_path, "promoted", spoil=RESTATED), registry)
    assert (waiting["exit"], waiting["markets"]["two"]["verdict"]) == (4, "waiting")
    night_acts.promote(tmp_path / "state", None, registry, QUIET, approve=True, limits=Limits())
    assert_told_once(registry, tmp_path, 5)


@pytest.mark.system
@pytest.mark.parametrize("step", ["write", "_register", "_move", "end"])
def test_postgresql_that_goes_away_is_told_later_and_once(
    postgres: Postgres, database: str, tmp_path: Path, step: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        away_midway_and_at_the_start(tmp_path, Registry(database), postgres, step)
    finally:
        postgres.start()
    assert USER not in "".join(capfd.readouterr())


@pytest.mark.system
def test_postgresql_that_does_not_answer_is_waited_for_no_longer_than_was_said(
    postgres: Postgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    registry, study = Registry(database), named(tmp_path, "held")
    night(tmp_path, DAYS[0], study, registry)
    postgres.hold()
    try:
        begun = time.monotonic()
        assert night(tmp_path, DAYS[1], study, registry)["exit"] == 0
        assert time.monotonic() - begun < 8
    finally:
        postgres.go_on()
    night_acts.recover(tmp_path / "state", registry, QUIET)
    assert_told_once(registry, tmp_path, 2)


@pytest.mark.system
def test_a_login_that_postgresql_refuses_is_not_repeated(postgres: Postgres, capfd: pytest.CaptureFixture[str]) -> None:
    for login in ("recorder:another-secret", "nobody-there:another-secret"):
        with pytest.raises(
            MarginlabError, match=r"failed: .*password authentication failed for user .\*\*\*"
        ) as caught:
            _ = Registry(postgres.uri("runs", login)).client
        assert "another-secret" not in str(caught.value)
        assert "nobody-there" not in str(caught.value)
    assert "".join(capfd.readouterr()) == ""


# ---- An MLflow server, reached by its address alone.


def test_a_server_hears_of_studies_and_nights_by_its_address_alone(
    mlflow_server: MlflowServer, result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    assert_recorded(result, MlflowTracker(), tmp_path)
    told = shell_night(tmp_path)
    champion = read_state(tmp_path / "state").markets["two"].champion
    assert champion is not None
    assert repr(Registry().load("toy.two", expected=champion.model)) == "StaticMargin()"
    assert_hidden(told.output, *texts_of(tmp_path), mlflow_server.log.read_text())


def test_a_server_that_goes_away_is_told_later_and_once(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    try:
        away_midway_and_at_the_start(tmp_path, Registry(mlflow_server.uri), mlflow_server, "_register")
    finally:
        mlflow_server.start()


def test_an_answer_that_is_lost_makes_no_second_run(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    lost = [f"/api/2.0/mlflow/{path}" for path in ("runs/create", "model-versions/create", "runs/update")]
    study = named(tmp_path, "lossy")
    with Lossy(mlflow_server.port, *lost) as way:
        registry = Registry(way.uri)
        night(tmp_path, DAYS[0], study, registry)
        for _ in lost:
            assert len(read_state(tmp_path / "state").outbox) == 1
            night_acts.recover(tmp_path / "state", registry, QUIET)
        assert way.lost == lost
        assert_told_once(registry, tmp_path, 1)
        experiment = registry.client.get_experiment_by_name("nightly")
        assert experiment is not None
        (run,) = registry.client.search_runs([experiment.experiment_id], "attributes.run_name LIKE '%, lossy'")
        (point,) = registry.client.get_metric_history(run.info.run_id, "two/static/equal_margin")
    assert point.value == run.data.metrics[point.key]


@pytest.mark.parametrize("store", ["http://127.0.0.1:{port}", "postgresql+psycopg://127.0.0.1:{port}/runs"])
def test_a_server_that_never_answers_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setattr(reachability, "SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = Registry(store.format(port=silent.getsockname()[1]))
        begun = time.monotonic()
        assert night(tmp_path, DAYS[0], study_file(tmp_path), registry)["exit"] == 0
        assert 2 <= time.monotonic() - begun < 8
    assert len(read_state(tmp_path / "state").outbox) == 1


# ---- What is waited for, and what is said.


def test_what_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "77", "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "3", "PGCONNECT_TIMEOUT": "9"}
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    reachability.be_patient("postgresql://host/runs")
    assert {name: os.environ[name] for name in chosen} == chosen
    assert "MLFLOW_SQLALCHEMYSTORE_POOLCLASS" not in os.environ
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"


def test_a_database_without_a_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MarginlabError, match=r"needs a driver .*psycopg.*: install marginlab\[postgres\]"):
        _ = Registry("postgresql+psycopg://host/runs").client


@pytest.mark.parametrize(
    "store", ["http://{login}@127.0.0.1:{port}", "postgresql+psycopg://{login}@127.0.0.1:{port}/x"]
)
def test_a_dead_server_costs_a_night_seconds_and_no_password_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.format(login=LOGIN, port=free_port()))
    told, begun = shell_night(tmp_path), time.monotonic()
    events = [json.loads(line) for line in told.stderr.splitlines()]
    assert [one["waiting"] for one in events if one["event"] == "tracking_down"] == [1]
    again = CliRunner().invoke(app, ["recover", "--state", str(tmp_path / "state"), "--json"])
    assert json.loads(again.stdout)["waiting"] == 1
    assert time.monotonic() - begun < 5
    assert_hidden(told.output, again.output, *texts_of(tmp_path))


def shell_night(folder: Path) -> Result:
    """A night as a scheduler asks for it; one JSON document is all that stands on stdout."""
    words = ["--as-of", DAYS[0], "--study", str(study_file(folder)), "--state", str(folder / "state"), "--json"]
    told = CliRunner().invoke(app, ["nightly", *words])
    assert json.loads(told.stdout)["exit"] == told.exit_code == 0
    return told


def texts_of(folder: Path) -> list[str]:
    return [path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()]


def assert_hidden(*texts: str) -> None:
    """Neither the password nor its quoted form is in any of them."""
    for secret in (PASSWORD, LOGIN, LOGIN.partition(":")[2]):
        assert all(secret not in text for text in texts)
