from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.sources.synthetic import garch_t
from margin_models import HistoricalVaR, StaticMargin
from research.main_job import main_job, newest_report
from research.recording import losses_file, margins_file, record
from research.study import Study, StudyResult, run_study
from research.tracking import MlflowTracker
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
