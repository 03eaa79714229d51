from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import ParameterError, SourceError
from data.sources.synthetic import garch_t
from margin_models import HistoricalVaR, StaticMargin
from research.main_job import main_job, newest_report
from research.main_job import record as main_job_record
from research.recording import losses_file, margins_file, record
from research.records import provenance
from research.study import Study, StudyResult, run_study
from research.tracking import JsonTracker, MlflowTracker
from research.user_data import Prices, market_of


@pytest.fixture(scope="module")
def result() -> StudyResult:
    market = market_of(garch_t(560, (0.02, 0.03), seed=4).history, "A <small> market", level=0.95)
    models = {"static": StaticMargin(cross=True), "history": HistoricalVaR()}
    return run_study(Study("small", (market,), models, oracle="static"), progress=False)


def test_a_study_becomes_a_parent_and_a_child_a_model_and_market(result: StudyResult, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>report</p>")
    tracker = MlflowTracker(root=tmp_path)
    url = record(result, tracker, page, "marginlab test")
    client = tracker.client
    (experiment,) = [e for e in client.search_experiments() if e.name == "backtest"]
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert parents[0].info.run_id in url
    assert {run.info.run_name for run in children} == {
        "your-data: static",
        "your-data: history",
        "your-data: oracle constant",
    }
    assert all(run.info.status == "FINISHED" for run in runs)
    child = next(run for run in children if run.info.run_name == "your-data: history")
    card = result.markets[0].comparison.scores["history"]
    assert child.data.metrics["equal_margin"] == pytest.approx(card.equal_margin)
    assert child.data.params["model"] == "HistoricalVaR()"
    assert child.data.tags["data.hash"] == result.markets[0].data_hash
    oracle = next(run for run in children if run.info.run_name == "your-data: oracle constant")
    assert oracle.data.params["model"] == "rate of 'static' scaled in hindsight"
    kept = {file.path for file in client.list_artifacts(child.info.run_id)}
    assert {"margin.svg", "replay.parquet", "score.csv"} <= kept
    assert {"report.html", "comparison.json"} <= {f.path for f in client.list_artifacts(parents[0].info.run_id)}


def test_margins_and_losses_can_be_read_back(result: StudyResult, tmp_path: Path) -> None:
    run = result.markets[0].comparison["history"]
    for content, panel in ((margins_file(run), "initial"), (losses_file(run), "loss_end")):
        (tmp_path / "x.parquet").write_bytes(content)
        table = pd.read_parquet(tmp_path / "x.parquet")
        book = run.portfolios[0]
        np.testing.assert_allclose(table[f"{panel}|{book}"], getattr(run, panel)[:, 0], rtol=1e-6)
        assert (table["time"].to_numpy() == run.time).all()


def test_the_main_job_prints_reports_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARGINLAB_MLRUNS", str(tmp_path))
    few = {"static, cross": StaticMargin(cross=True), "history": HistoricalVaR()}
    monkeypatch.setattr("research.main_job.MODELS", few)
    closes = garch_t(560, (0.02, 0.03), seed=4).history.to_frame()
    closes.to_csv(tmp_path / "prices.csv", index_label="date", date_format="%Y-%m-%d")
    said: list[str] = []
    prices = Prices((tmp_path / "prices.csv",), level=0.95)
    main_job(prices, jobs=1, as_json=False, track=False, out=None, say=said.append, command="marginlab test")
    assert "at equal coverage" in capsys.readouterr().out
    assert any(str(newest_report()) in line for line in said)
    assert "prices.csv" in newest_report().read_text()


def prices_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Prices:
    monkeypatch.setenv("MARGINLAB_MLRUNS", str(folder))
    monkeypatch.setattr("research.main_job.MODELS", {"static, cross": StaticMargin(cross=True)})
    closes = garch_t(560, (0.02, 0.03), seed=4).history.to_frame()
    closes.to_csv(folder / "prices.csv", index_label="date", date_format="%Y-%m-%d")
    return Prices((folder / "prices.csv",), level=0.95)


def test_a_report_that_cannot_be_written_is_said_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = prices_in(tmp_path, monkeypatch)
    monkeypatch.setattr("research.main_job.run_study", lambda *_, **__: pytest.fail("it was computed"))
    for out in (tmp_path, tmp_path / "prices.csv" / "page.html"):
        with pytest.raises(ParameterError, match="must"):
            main_job(prices, jobs=1, as_json=False, track=False, out=out, say=print, command="marginlab test")


def test_a_recording_that_failed_sends_nobody_to_look_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise SourceError("the store is gone")

    prices = prices_in(tmp_path, monkeypatch)
    monkeypatch.setattr("research.recording.record", broken)
    said: list[str] = []
    main_job(prices, jobs=1, as_json=False, track=True, out=None, say=said.append, command="marginlab test")
    assert "not recorded: the store is gone" in said
    assert not any("marginlab ui" in line for line in said)


def test_runs_of_a_dead_process_are_ended_before_recording(
    result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JsonTracker(tmp_path)
    run = store.start("backtest", "left open", None, provenance())
    monkeypatch.setattr("research.records.is_gone", lambda tags: True)
    monkeypatch.setattr("research.main_job.tracker", lambda: store)
    said: list[str] = []
    page = tmp_path / "page.html"
    page.write_text("<p>report</p>")
    assert main_job_record(result, page, "marginlab test", said.append)
    assert said == ["1 run(s) of dead processes, left open, ended as KILLED"]
    assert not dict(store.running())
    assert '"status": "KILLED"' in (tmp_path / f"{run}.json").read_text()
