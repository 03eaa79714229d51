"""Does MLflow say which model is in force, once, and is nothing of it believed unverified?"""

import pickle
import warnings
from pathlib import Path

import pytest

from data import MarginlabError
from data.errors import SnapshotError
from night_studies import DAYS, night, study_file
from research import night_acts
from research.night_report import Log
from research.night_state import read_state
from research.registry import Registry

QUIET = Log(quiet=True)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Registry]:
    folder = tmp_path_factory.mktemp("registry")
    study, registry = study_file(folder), Registry(f"sqlite:///{folder}/mlflow.db")
    for day in DAYS[:3]:
        assert night(folder, day, study, registry)["exit"] == 0
    return folder, registry


def test_aliases_are_what_is_in_force(told: tuple[Path, Registry]) -> None:
    folder, registry = told
    two = read_state(folder / "state").markets["two"]
    assert two.champion is not None
    assert two.previous is not None
    assert registry.aliases("toy.two") == {"champion": two.champion.model, "previous": two.previous.model}
    assert registry.aliases("nothing") == {}


def test_every_night_is_one_run_with_its_story_and_its_files(told: tuple[Path, Registry]) -> None:
    _, registry = told
    experiment = registry.client.get_experiment_by_name("nightly")
    assert experiment is not None
    runs = registry.client.search_runs([experiment.experiment_id], order_by=["params.as_of ASC"])
    assert [run.data.tags["sentence"] for run in runs] == ["two first", "two recalibrated", "two promoted"]
    assert all(run.info.status == "FINISHED" for run in runs)
    assert "two/historical/equal_margin" in runs[-1].data.metrics
    files = {one.path for one in registry.client.list_artifacts(runs[-1].info.run_id)}
    assert files == {"margin_parameters.diff.txt", "margin_parameters.json", "models", "result.json"}


def test_an_entry_told_again_is_known_and_makes_nothing(told: tuple[Path, Registry]) -> None:
    folder, registry = told
    from research.night_commit import aliases_of
    from research.night_journal import Entry

    models, aliases = aliases_of(read_state(folder / "state"))
    entry = Entry("nightly-again", "once", {"as_of": DAYS[2]}, {"x": 1.0}, {"a": "b"}, {}, models, aliases)
    assert registry.receive(entry, entry.id, folder / "state").startswith("run ")
    before = len(registry._versions("toy.two"))
    assert registry.receive(entry, entry.id, folder / "state") == "known"
    experiment = registry.client.get_experiment_by_name("nightly-again")
    assert experiment is not None
    assert len(registry.client.search_runs([experiment.experiment_id])) == 1
    assert len(registry._versions("toy.two")) == before


def test_an_entry_that_was_cut_short_is_finished_and_not_doubled(
    told: tuple[Path, Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, registry = told
    from research.night_commit import aliases_of
    from research.night_journal import Entry

    models, aliases = aliases_of(read_state(folder / "state"))
    entry = Entry("nightly-cut", "cut", {"as_of": DAYS[2]}, {"x": 1.0}, {}, {}, models, aliases)
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "_move", _fails)
        with pytest.raises(MarginlabError, match="gone away"):
            registry.receive(entry, entry.id, folder / "state")
    assert registry.receive(entry, entry.id, folder / "state").startswith("run ")
    experiment = registry.client.get_experiment_by_name("nightly-cut")
    assert experiment is not None
    found = registry.client.search_runs([experiment.experiment_id])
    assert [(run.info.status, run.data.metrics) for run in found] == [("FINISHED", {"x": 1.0})]


def _fails(*_: object) -> None:
    raise MarginlabError("the server has gone away")


def test_a_loaded_model_is_the_one_in_force(told: tuple[Path, Registry]) -> None:
    folder, registry = told
    champion = read_state(folder / "state").markets["two"].champion
    assert champion is not None
    assert repr(registry.load("toy.two")) == "HistoricalVaR()"
    assert repr(registry.load("toy.two", "previous")) == "StaticMargin()"
    assert repr(registry.load("toy.two", expected=champion.model)) == "HistoricalVaR()"
    with pytest.raises(SnapshotError, match="that challenger means"):
        registry.load("toy.two", "challenger")


def test_a_tampered_artifact_and_a_planted_pickle_are_refused_unopened(told: tuple[Path, Registry]) -> None:
    folder, registry = told
    champion = read_state(folder / "state").markets["two"].champion
    assert champion is not None
    places = list((folder / "artifacts").rglob(champion.model))  # of every night that had it in force
    whole = (places[0] / "model.json").read_bytes()
    for tampered in (whole.replace(b"0.95", b"0.51"), pickle.dumps(Trap())):
        assert tampered != whole
        for place in places:
            (place / "model.json").write_bytes(tampered)
        with pytest.raises(SnapshotError, match="the file is damaged"):
            registry.load("toy.two")
    for place in places:
        (place / "model.json").write_bytes(whole)
        (place / "python_model.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(SnapshotError, match="must hold"):
        registry.load("toy.two")
    for place in places:
        (place / "python_model.pkl").unlink()
    assert repr(registry.load("toy.two")) == "HistoricalVaR()"


class Trap:
    """Opened, it fails the test."""

    def __reduce__(self) -> tuple[type[BaseException], tuple[str]]:
        return KeyboardInterrupt, ("a pickle was opened",)


def test_a_server_that_is_not_there_does_not_hold_up_a_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    study, nowhere = study_file(tmp_path), Registry("http://127.0.0.1:9")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert night(tmp_path, DAYS[0], study, nowhere)["exit"] == 0
    assert len(read_state(tmp_path / "state").outbox) == 1
    here = Registry(f"sqlite:///{tmp_path}/mlflow.db")
    for _ in range(2):
        night_acts.recover(tmp_path / "state", here, QUIET)
    experiment = here.client.get_experiment_by_name("nightly")
    assert experiment is not None
    assert len(here.client.search_runs([experiment.experiment_id])) == 1
    assert set(here.aliases("toy.two")) == {"champion"}
    assert read_state(tmp_path / "state").outbox == ()
