import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from data.sources.synthetic import garch_t
from research.cli import app

RUNNER = CliRunner()


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
    for command in ("backtest", "compare", "data", "report", "ui", "audit"):
        assert command in told.stdout


def test_a_comparison_as_json_is_all_there_is_on_stdout(prices: Path) -> None:
    told = RUNNER.invoke(
        app, ["compare", str(prices), "--models", "cross,historical", "--level", "0.95", "--json", "--jobs", "1"]
    )
    assert told.exit_code == 0, told.output
    (market,) = json.loads(told.stdout)["markets"]
    assert {row["model"] for row in market["models"]} == {
        "static, cross",
        "static, cross, yearly step-up",
        "historical VaR",
        "oracle constant",
    }


def test_a_sample_is_compared_by_name() -> None:
    told = RUNNER.invoke(app, ["compare", "sp500", "--models", "correlation VaR, EWMA", "--jobs", "1"])
    assert told.exit_code == 0, told.output
    assert "correlation VaR, EWMA normal" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backtest", "--data", "nowhere.csv"], "SourceError: nowhere.csv"),
        (["compare", "nowhere"], "SourceError: nowhere"),
        (["compare", "sp500", "--models", "nonsense"], "--models must match one of"),
        (["backtest", "--level", "0.95"], "go with --data"),
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
