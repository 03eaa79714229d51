"""How often is a right model rejected, and how often a wrong one: what does it look like?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from backtest.coverage_tests import SIZE
from backtest.plots import ALARM, FAINT, INK
from data import Floats, ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS: dict[str, tuple[str, bool, str]] = {  # of a share: marker, whether it is filled, what it tells
    "size_asymptotic": ("o", False, "right model, by the asymptotic p-value"),
    "size": ("o", True, "right model, by the p-value shown (evidence: ever there)"),
    "power": ("s", True, "margins too small: breaches come twice as often"),
    "power_of_tail": ("D", False, "tail too thin: breaches as often, but deeper"),
}
_NEEDED = ("size_asymptotic", "size", "power")
_TICKS = (0, 1, 2, 5, 10, 20, 40, 60, 80, 100)
_LEGEND = 1.2  # inches below the panels
_SHARED = 0.72  # of a test's row, by the lengths
_LOOK: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "size and power", "font.size": 9.0}


def plot_size_and_power(table: pd.DataFrame, ax: "Axes | None" = None) -> "Axes":
    """Shares of samples that each test rejects at 5 %, in percent: a line a length leads from its size to its power.

    Circles are right models, hollow where the p-value is the asymptotic one; squares are models whose breaches come
    twice as often, diamonds (where the table knows them) ones whose tail alone is too thin. The axis is the root of
    the share, or sizes could not be told apart.

    Parameters
    ----------
    table : of `size_study.size_of_tests` or `size_of_laws.size_of_laws`, by length and test.

    Raises
    ------
    ParameterError
        Where the table is empty or not such a one.
    """
    tests, lengths = _rows(table)
    ax = _axes(ax, _height(table) + _LEGEND)
    _draw(ax, table, tests, lengths)
    ax.set_xlabel("samples rejected, %")
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.1), ncol=2, frameon=False, fontsize=8)
    return ax


def save_size_and_power(panels: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Write `plot_size_and_power` of each table, under its title, as SVG: the same bytes for the same tables.

    ParameterError as there, or without a table.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not panels:
        raise ParameterError("a chart of sizes and powers needs a table")
    rows = [_rows(table) for table in panels.values()]
    heights = [_height(table) for table in panels.values()]
    with rc_context(_LOOK):
        figure = Figure(figsize=(9.5, sum(heights) + _LEGEND), layout=ConstrainedLayoutEngine(h_pad=0.1))
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for ax, (title, table), row in zip(axes, panels.items(), rows, strict=True):
            _draw(ax, table, *row)
            ax.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
            ax.tick_params(labelbottom=True)
        axes[-1].set_xlabel("samples rejected (the scale is a root's), %")
        told = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(told.values(), told.keys(), loc="outside lower left", ncol=2, frameon=False, fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _rows(table: pd.DataFrame) -> tuple[list[str], list[int]]:
    """Tests as they stand in the table, and lengths, least first."""
    if list(table.index.names) != ["n", "test"] or not {*_NEEDED} <= {*table.columns} or table.empty:
        raise ParameterError(
            f"expected rows by n and test with {_NEEDED}, got {len(table)} rows by {tuple(table.index.names)} "
            f"with {tuple(table.columns)}"
        )
    return [str(test) for test in table.index.unique("test")], sorted(int(n) for n in table.index.unique("n"))


def _draw(ax: "Axes", table: pd.DataFrame, tests: Sequence[str], lengths: Sequence[int]) -> None:
    marks = [name for name in _MARKS if name in table and table[name].notna().any()]
    for lane, (n, color) in enumerate(zip(lengths, _shades(len(lengths)), strict=True)):
        shares = 100.0 * table.xs(n, level="n").reindex(pd.Index(tests))[marks]
        place = np.arange(len(tests)) + _SHARED * ((lane + 0.5) / len(lengths) - 0.5)
        ax.hlines(place, shares["size"], shares["power"], color=color, linewidth=1.4, label=f"{n:,} decisions")
        for name in marks:
            ax.plot(shares[name], place, **_mark(name, color))
    ax.axvline(100.0 * SIZE, color=ALARM, linewidth=0.9, zorder=1, label=f"nominal size, {100.0 * SIZE:g} %")
    for name in marks:
        ax.plot([], [], **_mark(name, FAINT) | {"clip_on": True}, label=_MARKS[name][2])  # else layouts make room
    _lay_out(ax, tests)


def _height(table: pd.DataFrame) -> float:
    return 0.6 + 0.15 * len(table)


def _axes(ax: "Axes | None", height: float) -> "Axes":
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(9.0, height), layout="constrained")[1]


def _shades(count: int) -> Sequence[Any]:
    """One colour a length, the longest the darkest."""
    from matplotlib import colormaps

    return [colormaps["Blues"](depth) for depth in np.linspace(0.45, 1.0, count)] if count > 1 else ["#1f3a5f"]


def _mark(name: str, color: Any) -> dict[str, Any]:
    marker, filled, _ = _MARKS[name]
    face = color if filled else "white"
    style = {"linestyle": "", "markersize": 4.5, "clip_on": False}  # a size of 0 stands on the edge
    return style | {"marker": marker, "color": color, "markerfacecolor": face}


def _lay_out(ax: "Axes", tests: Sequence[str]) -> None:
    ax.set_xscale("function", functions=(_root, np.square))
    ax.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
    ax.set_yticks(np.arange(len(tests)), tests)
    ax.tick_params(axis="y", length=0, pad=7)
    ax.grid(axis="x", color="#e3e7eb", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set(xlim=(0.0, 100.0), ylim=(len(tests) - 0.5, -0.5))


def _root(share: Floats) -> Floats:
    return np.asarray(np.sqrt(np.maximum(share, 0.0)))
