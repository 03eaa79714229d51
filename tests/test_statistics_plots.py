"""Does the chart of size and power show the table, and does the command write the same chart?"""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from backtest.statistics_plots import plot_size_and_power, save_size_and_power
from data import Floats, ParameterError
from research.cli import app


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    from matplotlib import pyplot

    matplotlib.use("Agg")
    yield
    pyplot.close("all")


def _table() -> pd.DataFrame:
    """Two tests at two lengths, the longer first, one size of zero."""
    index = pd.MultiIndex.from_product([[500, 250], ["b", "a"]], names=["n", "test"])
    columns = {"size_asymptotic": [0.07, 0.05, 0.0, 0.1], "size": [0.02, 0.04, 0.01, 0.03]}
    return pd.DataFrame({**columns, "power": [0.4, 0.5, 0.2, 1.0]}, index=index)


def _bars(ax: Axes) -> dict[str, Floats]:
    """From where to where each length's lines lead, (tests, 2), by label."""
    found = [it for it in ax.collections if isinstance(it, LineCollection)]
    return {str(it.get_label()): np.array([segment[:, 0] for segment in it.get_segments()]) for it in found}


def test_lines_lead_from_size_to_power_in_the_order_of_the_table() -> None:
    ax = plot_size_and_power(_table())
    bars = _bars(ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a"]
    assert list(bars) == ["250 decisions", "500 decisions"]
    assert_allclose(bars["250 decisions"], [[1.0, 20.0], [3.0, 100.0]])
    assert_allclose(bars["500 decisions"], [[2.0, 40.0], [4.0, 50.0]])


def test_each_share_has_its_mark_and_none_lies_outside() -> None:
    ax = plot_size_and_power(_table())
    marked = [line for line in ax.lines if line.get_linestyle() == "None" and len(np.asarray(line.get_xdata()))]
    hollow, size, power = (np.concatenate([np.asarray(line.get_xdata()) for line in marked[k::3]]) for k in range(3))
    assert_allclose(hollow, [0.0, 10.0, 7.0, 5.0])
    assert_allclose(size, [1.0, 3.0, 2.0, 4.0])
    assert_allclose(power, [20.0, 100.0, 40.0, 50.0])
    at = ax.transData.transform(np.column_stack([[0.0, 5.0, 100.0], np.zeros(3)]))[:, 0]
    assert_allclose((at - at[0]) / (at[2] - at[0]), [0.0, np.sqrt(0.05), 1.0], atol=1e-9)


def test_rows_of_one_length_do_not_meet_those_of_another() -> None:
    heights = [segment[0, 1] for it in plot_size_and_power(_table()).collections for segment in it.get_segments()]  # type: ignore[attr-defined]
    assert len(set(np.round(heights, 6))) == 4


@pytest.mark.parametrize(
    "table", [_table().iloc[:0], _table().drop(columns="power"), _table().reset_index(), _table().droplevel("n")]
)
def test_another_table_is_refused(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="rows by n and test"):
        plot_size_and_power(table)
    with pytest.raises(ParameterError, match="rows by n and test"):
        save_size_and_power({"a": _table(), "b": table}, tmp_path / "none.svg")


def test_the_chart_on_file_has_a_panel_a_table_and_is_the_same_again(tmp_path: Path) -> None:
    laws = _table().assign(power_of_tail=[0.3, 0.2, 0.6, 0.1], size_asymptotic=[np.nan, 0.1, np.nan, 0.2])
    evidence = _table().assign(size_asymptotic=np.nan)
    panels = {"Tests of breaches": _table(), "Tests of laws": laws, "Evidence": evidence}
    first, again = tmp_path / "first.svg", tmp_path / "again.svg"
    save_size_and_power(panels, first)
    save_size_and_power(panels, again)
    assert first.read_bytes() == again.read_bytes()
    drawn = first.read_text(encoding="utf-8")
    for words in (*panels, "500 decisions", "nominal size, 5 %", "samples rejected", "tail too thin"):
        assert words in drawn
    assert drawn.count("right model, by the asymptotic p-value") == 1  # one legend for all
    save_size_and_power({"Evidence": evidence}, again)
    assert "asymptotic" not in again.read_text(encoding="utf-8")


def test_diamonds_are_where_the_tail_is_too_thin() -> None:
    ax = plot_size_and_power(_table().assign(power_of_tail=[0.3, 0.2, 0.6, 0.1]))
    shown = [line for line in ax.lines if line.get_marker() == "D" and len(np.asarray(line.get_xdata()))]
    assert_allclose(np.concatenate([np.asarray(line.get_xdata()) for line in shown]), [60.0, 10.0, 30.0, 20.0])


def test_a_chart_of_another_kind_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["statistics", "size", "--figure", str(tmp_path / "chart.png")])
    assert answer.exit_code == 2
    assert "--figure: the chart is an .svg file" in answer.stderr
