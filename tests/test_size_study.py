"""Does every test of breaches reject a right model as often as it says, and does the command say so?"""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from backtest.size_of_evidence import KINDS, STAKES
from backtest.size_of_laws import TESTS
from backtest.size_study import garch_panel, size_of_tests, size_study, zone_probabilities
from backtest.statistics_plots import save_size_and_power
from data import ParameterError
from research.cli import app


def test_every_test_holds_its_size() -> None:
    table = size_of_tests((250,), repetitions=2_000)
    assert table["holds"].all(), table
    by_test = table.loc[250]
    expected = {"size_asymptotic": 0.095, "size": 0.014, "power": 0.236}
    told = by_test[list(expected)].to_numpy()[by_test.index == "proportion of failures"][0]
    np.testing.assert_allclose(told, list(expected.values()), atol=0.025)
    undefined = by_test["undefined"].to_numpy()[by_test.index == "independence"]
    assert undefined == pytest.approx(0.99**250 + 0.01 * 0.99**249, abs=0.02)


def test_breaches_of_the_study_are_independent_at_the_true_rate() -> None:
    hits, margins = garch_panel(400, 500, 0.05, 7)
    assert hits.mean() == pytest.approx(0.05, abs=0.0025)
    assert (hits[1:] & hits[:-1]).mean() == pytest.approx(0.0025, abs=0.0005)
    assert (margins.max(axis=0) > 1.2 * margins.min(axis=0)).all()


def test_zones_of_basel_are_as_likely_as_simulated() -> None:
    zones = zone_probabilities((250, 1000), repetitions=50_000)
    assert zones["holds"].all(), zones
    assert zones["exact"].groupby("n").sum().tolist() == pytest.approx([1.0, 1.0])
    assert zones.loc[[250], "from_breaches"].tolist() == [0, 5, 10]
    assert zones.loc[[250], "exact"].tolist()[1] == pytest.approx(0.1075623, abs=1e-6)


def test_a_study_of_nothing_is_refused() -> None:
    for ns, rate, repetitions in (((), 0.01, 10), ((250,), 0.6, 10), ((250,), 0.01, 0), ((0,), 0.01, 10)):
        with pytest.raises(ParameterError):
            size_study(ns, rate, repetitions)


def test_the_command_prints_the_tables_and_writes_the_page_with_its_chart(tmp_path: Path) -> None:
    page, chart = tmp_path / "size.md", tmp_path / "drawn" / "size.svg"
    chart.parent.mkdir()
    asked = ["statistics", "size", "--repetitions", "60", "--seed", "7", "--length", "40", "--length", "60", "--json"]
    told = CliRunner().invoke(app, [*asked, "--out", str(page), "--figure", str(chart)])
    assert told.exit_code == 0, told.output
    answer = json.loads(told.stdout)
    assert (answer["repetitions"], answer["seed"], answer["holds"]) == (60, 7, True)
    assert {row["n"] for table in ("tests", "zones", "evidence", "laws") for row in answer[table]} == {40, 60}
    text = page.read_text(encoding="utf-8")
    assert "60 repetitions a row, a nominal rate of 1 %, seed 7" in text.split("\n\n")[1]
    assert "](drawn/size.svg)" in text.split("\n\n")[2]
    lines = 10 + 3 + 2 * len(KINDS) * len(STAKES) + len(TESTS)
    assert text.count("\n| 60 |") == text.count("\n| 40 |") == lines
    own = size_study((40, 60), repetitions=60, seed=7)
    save_size_and_power(own.panels, page)
    assert chart.read_bytes() == page.read_bytes()
