import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from data import ParameterError
from data.sources.synthetic import garch_t
from research.cli import app
from research.cli_options import typed_command
from research.default_study import MODELS
from research.main_job import _chosen, models_at, one_market
from research.user_data import Prices

RUNNER = CliRunner()
EVIDENCE = ("disclose", "monitor", "venues", "correlation-break")


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prices") / "prices.csv"
    closes = garch_t(560, (0.02, 0.03), seed=4).history.to_frame()
    closes.to_csv(path, index_label="date", date_format="%Y-%m-%d")
    return path


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['marginlab', '--help']\nfrom research.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'pandas', 'numpy', 'mlflow', 'lightgbm', 'arch', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    for command in ("backtest", "compare", "margin", "data", "statistics", "report", "ui", "audit", *EVIDENCE):
        assert command in told.stdout


def test_a_comparison_as_json_is_all_there_is_on_stdout(prices: Path) -> None:
    chosen = ["--model", "static, cross", "--model", "historical"]
    told = RUNNER.invoke(app, ["compare", str(prices), *chosen, "--level", "0.95", "--json", "--jobs", "1"])
    assert told.exit_code == 0, told.output
    (market,) = json.loads(told.stdout)["markets"]
    assert {row["model"] for row in market["models"]} == {
        "static, cross",
        "historical VaR",
        "oracle constant",
    }


def test_a_sample_is_compared_by_name() -> None:
    told = RUNNER.invoke(
        app, ["compare", "sp500", "--model", "EWMA normal", "--horizon", "2B", "--json", "--jobs", "1"]
    )
    assert told.exit_code == 0, told.output
    (market,) = json.loads(told.stdout)["markets"]
    assert [row["model"] for row in market["models"]] == ["correlation VaR, EWMA normal"]
    assert market["horizon"] == "2B"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["static, cross"], {"static, cross"}),
        (["static"], {"static, isolated", "static, cross", "static, cross, yearly step-up"}),
        (["FHS, EWMA", "SPAN-like"], {"FHS, EWMA", "SPAN-like"}),
        (["breakdown"], {"correlation VaR with breakdown"}),
    ],
)
def test_a_model_is_chosen_by_its_name_or_a_part_of_it(words: list[str], names: set[str]) -> None:
    assert set(_chosen(words, MODELS)) == names


def test_a_model_of_one_market_can_be_asked_for_there_alone() -> None:
    level: dict[str, Any] = {"level": 0.99, "horizon": None, "window": None}
    assert list(one_market("us-stocks", None, ["DCC"], **level).models) == ["correlation VaR, DCC"]
    assert "delta-gamma VaR" in one_market("btc-options", None, [], **level).models
    with pytest.raises(ParameterError, match="--model must match one of"):
        one_market("btc-daily", None, ["DCC"], **level)


def test_a_tail_that_begins_beyond_the_level_is_not_asked_for() -> None:
    assert set(MODELS) - set(models_at(0.85)) == {"extreme value, EWMA"}
    assert set(models_at(0.9)) == set(models_at(0.99)) == set(MODELS)


@pytest.mark.parametrize(
    "words", [["--data", "a.csv", "b.csv"], ["--data", "a.csv", "--data", "b.csv"], ["a.csv", "b.csv"]]
)
def test_files_are_taken_after_the_option_and_without_it(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Prices] = []
    monkeypatch.setattr("research.main_job.main_job", lambda prices, **_: asked.append(prices))
    told = RUNNER.invoke(app, ["backtest", *words, "--tz", "UTC", "--window", "300", "--default", "A=2020-01-01"])
    assert told.exit_code == 0, told.output
    files = (Path("a.csv"), Path("b.csv"))
    assert asked == [Prices(files, tz="UTC", window=300, defaults=("A=2020-01-01",))]


def test_one_file_needs_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Prices] = []
    monkeypatch.setattr("research.main_job.main_job", lambda prices, **_: asked.append(prices))
    assert RUNNER.invoke(app, ["backtest", "a.csv"]).exit_code == 0
    assert asked == [Prices((Path("a.csv"),))]


def test_the_command_that_is_recorded_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["marginlab", "backtest", "--data", "my prices.csv"])
    assert typed_command() == "marginlab backtest --data 'my prices.csv'"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backtest", "--data", "nowhere.csv"], "SourceError: nowhere.csv"),
        (["compare", "nowhere"], "SourceError: nowhere"),
        (["compare", "sp500", "--model", "nonsense"], "--model must match one of"),
        (["compare", "sp500", "--model", "SPAN", "--model", "nonsense"], "got 'nonsense'"),
        (["backtest", "--level", "0.95"], "--level: only with --data"),
        (["backtest", "--window", "0"], "--window: only with --data"),
        (["backtest", "--allow-missing", "--tz", "UTC"], "--tz, --allow-missing: only with --data"),
        (["backtest", "--data", "{prices}", "--window", "0"], "--window must be at least 1 row, got 0"),
        (["backtest", "--data", "{prices}", "--out", "{prices}/page.html"], "must go where files can be written"),
        (["compare", "sp500", "--window", "0"], "--window must be at least 1 row, got 0"),
        (["compare", "sp500", "--clock", "1D"], "--clock: only with files"),
        (["compare", "btc-daily", "--label", "open"], "--label: only with files"),
        (["data", "check", "sp500", "--calendar", "NYSE"], "--calendar: only with files"),
        (["data", "freeze", "sp500", "--default", "SP500=2001-01-01"], "--default: only with files"),
        (["backtest", "--data", "{prices}", "--level", "1.5"], "Coverage.level must lie in"),
        (["data", "check", "{prices}", "--default", "A"], "SYMBOL=DATE"),
        (["data", "check", "{prices}", "--calendar", "LSE"], "a calendar is one of NYSE"),
        (["data", "pull", "nonsense"], "a sample is one of"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_2(arguments: list[str], said: str, prices: Path) -> None:
    told = RUNNER.invoke(app, [word.replace("{prices}", str(prices)) for word in arguments])
    assert told.exit_code == 2, told.output
    assert said in told.stderr
    assert "Traceback" not in told.output


def test_data_is_checked_listed_and_frozen(prices: Path, tmp_path: Path) -> None:
    checked = RUNNER.invoke(app, ["data", "check", str(prices)])
    assert "nothing odd was found" in checked.stdout
    assert "sp500" in RUNNER.invoke(app, ["data", "list"]).stdout
    frozen = RUNNER.invoke(app, ["data", "freeze", str(prices), "--folder", str(tmp_path)])
    assert (tmp_path / f"{frozen.stdout.strip()}.parquet").is_file()


def test_odd_prices_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    values = [100.0] * 30 + [1000.0, 100.0]
    days = pd.date_range("2024-01-01", periods=32).strftime("%Y-%m-%d")
    pd.DataFrame({"date": days, "X": values}).to_csv(path, index=False)
    told = RUNNER.invoke(app, ["data", "check", str(path)])
    assert "spike" in told.stdout
    assert "stale" in told.stdout


def test_the_version_is_told() -> None:
    from data import __version__

    assert RUNNER.invoke(app, ["--version"]).stdout.strip() == f"marginlab {__version__}"
