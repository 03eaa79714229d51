"""Does the break that users are shown tell the add-on from its absence?"""

import json
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as XML

import pandas as pd
import pytest
from typer.testing import CliRunner

from data import ParameterError
from research import planted_break
from research.cli import app
from research.planted_break import BREAKS, PlantedBreak, planted_breaks, save_figure, table_of

RUNNER = CliRunner()


@cache
def breaks() -> list[PlantedBreak]:
    return planted_breaks()


@pytest.mark.parametrize("book", BREAKS)
def test_a_break_is_survived_with_the_add_on_and_not_without(book: str) -> None:
    table = table_of(breaks()).loc[book]
    assert (table["decisions"] == 250).all()
    assert table["expected"].tolist() == pytest.approx([2.5] * 3)
    p_value, before = table["p"].to_dict(), table["margin before, %"].to_dict()
    assert p_value["correlation VaR"] < 1e-5
    assert p_value["historical VaR"] < 0.01
    assert p_value["with breakdown add-on"] > 0.25
    assert before["with breakdown add-on"] > before["correlation VaR"]


def test_the_figure_is_a_small_svg_that_is_the_same_again(tmp_path: Path) -> None:
    first, second = tmp_path / "one.svg", tmp_path / "two.svg"
    save_figure(breaks(), first)
    save_figure(breaks(), second)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 150_000
    words = " ".join(text for text in XML.parse(first).getroot().itertext() if text.strip())
    assert "with breakdown add-on" in words
    assert "hedged pair: correlations go from 0.9 to 0.1" in words


def test_the_command_prints_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted_break, "planted_breaks", breaks)
    told = RUNNER.invoke(app, ["correlation-break", "--figure", str(tmp_path / "break.svg")])
    assert told.exit_code == 0, told.output
    assert "with breakdown add-on" in told.stdout
    assert (tmp_path / "break.svg").is_file()
    rows = json.loads(RUNNER.invoke(app, ["correlation-break", "--json"]).stdout)
    assert pd.DataFrame(rows).groupby("book").size().to_dict() == {"basket": 3, "hedged pair": 3}
    refused = RUNNER.invoke(app, ["correlation-break", "--figure", "chart.png"])
    assert refused.exit_code == 2
    assert "the chart is an .svg file, got chart.png" in refused.stderr


def test_an_unknown_break_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"one of .*'hedged pair', 'basket'.*, got 'none'"):
        planted_break.planted_break("none")
