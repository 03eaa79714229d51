"""What does the laboratory look like?"""

from typing import TYPE_CHECKING

import numpy as np

from research.figures import PALETTE, as_svg
from research.lab import OURS, Laboratory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = {"rival": "s", "forecaster": "o", "proposal": "*", "without": "v", "overlay": "D"}
_TOLD = {
    "rival": "rivals",
    "forecaster": "single forecasters",
    "proposal": "the prediction",
    "without": "without a part",
    "overlay": "with an overlay",
}


def plot_frontier(lab: Laboratory, ax: "Axes") -> "Axes":
    """Margin against shortfall, both at equal coverage, the colour telling peak-to-trough; bars are 90 % intervals.

    Intervals are of the ratio to the mark, so that the mark has none. Candidates are numbered as in the table.
    """
    table = lab.to_frame()
    base = float(table["equal_margin"][lab.mark])
    x, y = 100.0 * table["equal_margin"].to_numpy(), 1e4 * table["equal_shortfall"].to_numpy()
    low, high = 100.0 * base * table["ratio_low"].to_numpy(), 100.0 * base * table["ratio_high"].to_numpy()
    ax.hlines(y, low, high, color="#b9c1c9", linewidth=1.0, zorder=1)
    shade = np.log(table["peak_to_trough"].to_numpy())
    limits = float(np.nanmin(shade)), float(np.nanmax(shade)) + 1e-9
    for role, mark in _MARKS.items():
        of = (table["role"] == role).to_numpy()
        if of.any():
            size = 170 if role == "proposal" else 46
            drawn = ax.scatter(
                x[of],
                y[of],
                s=size,
                c=shade[of],
                marker=mark,
                cmap="viridis_r",
                vmin=limits[0],
                vmax=limits[1],
                label=_TOLD[role],
                edgecolors=PALETTE[0],
                linewidths=0.6,
                zorder=3,
            )
    for number, (across, up) in enumerate(zip(x, y, strict=True), start=1):
        if np.isfinite(across) and np.isfinite(up):
            ax.annotate(str(number), (across, up), (6.0, 4.0), textcoords="offset points", fontsize=7.5)
    ax.set_xlabel("margin at equal coverage, % of notional (bars: 90 % of the ratio to the mark)")
    ax.set_ylabel("mean shortfall at equal coverage, bp")
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.01, label="peak to trough")
    ticks = np.linspace(*limits, 5)
    bar.set_ticks(list(ticks), labels=[f"{np.exp(tick):.1f}" for tick in ticks])
    ax.legend(loc="upper left", frameon=False, fontsize=8)
    return ax


def frontier_svg(lab: Laboratory, *, prefix: str = "lab") -> str:
    """The three axes of every candidate, numbered, names beside it."""
    table = lab.to_frame()

    def draw(figure: "Figure") -> None:
        ax = plot_frontier(lab, figure.subplots())
        names = [f"{n} {name}" for n, name in enumerate(table.index, start=1)]
        half = -(-len(names) // 2)
        for column, some in enumerate((names[:half], names[half:])):
            ax.annotate("\n".join(some), (0.02 + 0.5 * column, -0.13), xycoords="axes fraction", va="top", fontsize=7.5)
        ax.set_title(f"{lab.comparison.market}; the mark is {lab.mark}")

    ours = table.loc[OURS]
    told = (
        f"Margin at equal coverage against shortfall of {len(table)} models. The prediction asks for "
        f"{100 * ours['equal_margin']:.2f} %, {ours['ratio']:.3f} times {lab.mark}."
    )
    return as_svg(draw, 4.6 + 0.08 * len(table), told, prefix)
