"""What does a reader see? Every figure as a small, self-contained SVG.

Each function returns SVG text that stands alone (an artifact of a run) or inline in a page: no style sheet, no outside
reference, text as text, every id led by `prefix`, and the same bytes for the same input.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as XML

import numpy as np

from backtest.comparison import Comparison
from backtest.plots import INK, plot_frontier, plot_margin, plot_ranking, plot_rolling_coverage
from backtest.replay import Replay, Rows
from data import Floats, MarketHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from numpy.typing import NDArray

SVG = "http://www.w3.org/2000/svg"
PALETTE = (
    *(INK, "#b3541e", "#1b7f4d", "#7a3fa0", "#00758f", "#a8326f", "#6b7a00", "#2f6fd0", "#7d4a2d", "#000000"),
    *("#4d5a66", "#c0392b"),
)
STRETCHES = 300  # a long series is told by the extremes of so many stretches
_PANEL_STRETCHES, _PANEL_COLUMNS = 120, 4
_WIDTH = 10.4  # inches, of every figure, so that a page shows their letters alike
_PERIOD = "#f3efe2"
_LONGEST = 34  # characters of a name in a figure; the tables give it whole
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_OVER_LINES = {"frameon": True, "framealpha": 0.85, "edgecolor": "white", "fontsize": 8}
_LOOK = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,  # names are anybody's: a $ is a dollar
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e7eb",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "timezone": "UTC",
}


def frontier_svg(comparison: Comparison, *, prefix: str = "frontier") -> str:
    """Mean shortfall against mean margin of each model as it is scaled; numbered dots are the margins as charged."""
    order = list(comparison.to_frame().index)

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        ax.set_prop_cycle(color=[PALETTE[n % len(PALETTE)] for n in range(len(comparison.replays))])
        plot_frontier(comparison, ax)
        curve = dict(zip(comparison.replays, ax.get_lines()[::2], strict=True))
        dot = dict(zip(comparison.replays, ax.get_lines()[1::2], strict=True))
        for name in order:
            _number(ax, dot[name], rank_label(comparison, order, name))
        _near_the_dots(ax, list(dot.values()))
        ax.set_title("each model scaled up and down; dots: as charged; nearer the lower left is better")
        labels = [_numbered(comparison, order, name) for name in order]
        beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
        ax.legend([curve[name] for name in order], labels, **beside)

    told = f"Mean shortfall against mean margin of {len(order)} models on {comparison.market}, each scaled up and down"
    return _svg(draw, 4.6, f"{told}; dots are the margins as charged.", prefix)


def ranking_svg(comparison: Comparison, *, prefix: str = "ranking") -> str:
    """Margin at equal coverage of each model with its interval, and the margin as charged."""
    order = list(comparison.to_frame().index)

    def draw(figure: "Figure") -> None:
        ax = plot_ranking(comparison, figure.subplots())
        ax.set_yticks(range(len(order)), [_numbered(comparison, order, name) for name in order])
        ax.grid(visible=False, axis="y")
        _plain_log(ax.xaxis)
        ax.set_title("dot: at equal coverage, with 95 % interval; diamond: as charged")

    told = f"Mean margin at equal coverage of {len(order)} models on {comparison.market}, with 95 % intervals"
    return _svg(draw, 0.9 + 0.27 * len(order), f"{told}; the table gives the numbers.", prefix)


def margin_svg(run: Replay, portfolio: str, *, prefix: str = "margin") -> str:
    """One portfolio's margin against what it lost; a long replay is told by the extremes of its stretches."""

    def draw(figure: "Figure") -> None:
        _against_loss(figure.subplots(), run, portfolio, STRETCHES)

    return _svg(draw, 2.9, f"Margin of {run.model} against the losses of {portfolio}, breaches marked.", prefix)


def crisis_svg(
    comparison: Comparison, models: Sequence[str], portfolio: str, period: tuple[str, str], *, prefix: str = "crisis"
) -> str:
    """One portfolio's margin against what it lost around a period (first and last day), a panel a model.

    Each panel's title counts the breaches in it.
    """
    first, last = np.datetime64(period[0], "ns"), np.datetime64(period[1], "ns") + np.timedelta64(1, "D")
    around = max((last - first) / 2, np.timedelta64(3, "D"))
    rows = -(-len(models) // _PANEL_COLUMNS)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(rows, min(len(models), _PANEL_COLUMNS), sharex=True, sharey=True, squeeze=False)
        for ax in panels.flat[len(models) :]:
            ax.set_axis_off()
        for ax, name in zip(panels.flat, models, strict=False):
            run = comparison[name]
            seen = np.flatnonzero((run.end >= first - around) & (run.time < last + around))
            count = _against_loss(ax, excerpt(run, portfolio, seen), portfolio, _PANEL_STRETCHES)
            ax.set(ylabel="", title=f"{_short(name, 31)}: {count}")
            ax.get_legend().remove()
            ax.axvspan(first, last, color=_PERIOD, zorder=0)
        _few_dates(panels)
        panels[0, 0].set_ylim(0.0, 1.06 * max(_highest(ax) for ax in panels.flat[: len(models)]))
        figure.supylabel("% of gross notional", fontsize=9)

    told = (
        f"Margin against the losses of {portfolio} from {period[0]} to {period[1]}, one panel a model, breaches marked"
    )
    return _svg(draw, 0.5 + 1.55 * rows, f"{told}.", prefix)


def coverage_svg(comparison: Comparison, models: Sequence[str], decisions: int, *, prefix: str = "coverage") -> str:
    """Share of losses covered over the latest `decisions` by some of the models, all books together."""

    def draw(figure: "Figure") -> None:
        ax = plot_rolling_coverage(comparison, models, decisions, figure.subplots())
        curves = ax.get_lines()[::2]
        for curve, color in zip(curves, PALETTE, strict=False):
            x, y = curve.get_data()
            rows = np.unique(np.linspace(0, len(x) - 1, 2 * STRETCHES).astype(int)) if len(x) else []
            curve.set(data=(x[rows], y[rows]), color=color)
        ax.legend(curves, [_visible(_short(name)) for name in models], loc="lower left", **_OVER_LINES)
        ax.set_title(f"share of losses covered over the latest {decisions:,} decisions; red: the level asked for")

    told = f"Coverage on {comparison.market} over the latest {decisions} decisions of {', '.join(models)}"
    return _svg(draw, 2.6, f"{told}, beside the level asked for.", prefix)


def prices_svg(history: MarketHistory, *, prefix: str = "prices") -> str:
    """Prices of every underlying on a log scale, 100 at its first known price, greatest gain first."""

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        gains = {}
        for n, name in enumerate(history.underlyings):
            price = np.where(history.spot[:, n] > 0, history.spot[:, n], np.nan)
            known = price[np.isfinite(price)]
            if known.size:
                rows = extremes(price, STRETCHES // 2)
                style = {"color": PALETTE[n % len(PALETTE)], "linestyle": "-" if n < len(PALETTE) else "--"}
                (line,) = ax.plot(history.time[rows], 100.0 * price[rows] / known[0], linewidth=0.9, **style)
                gains[line] = (-known[-1] / known[0], _visible(_short(name, 12)))
        ax.set(yscale="log", title="first known price = 100")
        _plain_log(ax.yaxis)
        lines = sorted(gains, key=lambda line: gains[line])
        beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.05), "frameon": False, "ncols": 1 + len(lines) // 14}
        ax.legend(lines, [gains[line][1] for line in lines], fontsize=8, labelspacing=0.3, **beside)

    return _svg(
        draw, 2.6, f"Prices of {', '.join(history.underlyings)} on a log scale, 100 at the first known.", prefix
    )


def rank_label(comparison: Comparison, order: Sequence[str], model: str) -> str:
    """The place of a model in the table, and a star for one that is not ranked."""
    return "*" if model in comparison.unranked else str(order.index(model) + 1)


def excerpt(run: Replay, portfolio: str, rows: Rows) -> Replay:
    """Some decisions of one portfolio."""
    p = [run.portfolios.index(portfolio)]
    panels = {name: getattr(run, name)[rows][:, p] for name in ("initial", "maintenance", "loss_end", "loss_worst")}
    return replace(run, portfolios=(portfolio,), time=run.time[rows], end=run.end[rows], **panels)


def extremes(series: Floats, stretches: int) -> Rows:
    """Rows of the least and the greatest known value, and of one hole, of so many equal stretches, sorted."""
    picked: list[int] = []
    for rows in np.array_split(np.arange(len(series)), min(stretches, len(series))):
        known = rows[np.isfinite(series[rows])]
        if known.size:
            picked += [int(known[series[known].argmin()]), int(known[series[known].argmax()])]
        picked += rows[~np.isfinite(series[rows])][:1].tolist()
    return np.unique(np.array(picked, dtype=np.intp))


def _against_loss(ax: "Axes", run: Replay, portfolio: str, stretches: int) -> int:
    """`plot_margin` of what tells most: the extremes of loss, margin and shortfall. Returns how many breaches there are.

    A stretch with many breaches shows its worst; the number is of all.
    """
    p = run.portfolios.index(portfolio)
    series = (run.loss[:, p], run.initial[:, p], run.loss[:, p] - run.initial[:, p])
    rows = np.unique(np.concatenate([extremes(one, stretches) for one in series]))
    plot_margin(excerpt(run, portfolio, rows), portfolio, ax)
    count = int((series[2] > 0).sum())
    lost, margin, breach = (ax.collections[0], *ax.get_lines()[:2])
    lost.set(color="#7b8794", linewidth=0.8)
    breach.set(markersize=3)
    ax.legend(
        [lost, margin, breach], ["loss", "margin", f"breach ({count:,})"], loc="upper left", ncols=3, **_OVER_LINES
    )
    ax.set_title(f"{_short(run.model, 50)}: {_short(portfolio)}")
    return count


def _highest(ax: "Axes") -> float:
    """The greatest margin or breach drawn."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()[:2]])
    return float(np.nanmax(drawn)) if np.isfinite(drawn).any() else 1.0


def _number(ax: "Axes", dot: "Line2D", label: str) -> None:
    (x,), (y,) = dot.get_data()
    if np.isfinite(x) and np.isfinite(y) and x > 0 and y > 0:
        ax.annotate(label, (x, y), (4, 4), textcoords="offset points", fontsize=8, color="black")


def _near_the_dots(ax: "Axes", dots: Sequence["Line2D"]) -> None:
    """Log scales over what the models charge, not over where their curves run off to."""
    at = np.array([[dot.get_xdata()[0], dot.get_ydata()[0]] for dot in dots], dtype=float)
    ax.set_xscale("log")
    for column, axis, limit in ((0, ax.xaxis, ax.set_xlim), (1, ax.yaxis, ax.set_ylim)):
        known = at[:, column][at[:, column] > 0]
        if known.size:
            limit(known.min() / 2.5, known.max() * 2.5)
        _plain_log(axis)


def _plain_log(axis: "Axis") -> None:
    """Ticks of a log axis as plain numbers, denser where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    dense = high < 12 * low
    axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if dense else (1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_locator(NullLocator())


def _few_dates(panels: "NDArray[np.object_]") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    for ax in panels.flat:
        locator = AutoDateLocator(minticks=3, maxticks=5)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
        ax.tick_params(labelsize=7.5)


def _numbered(comparison: Comparison, order: Sequence[str], model: str) -> str:
    return f"{rank_label(comparison, order, model)}. {_short(model)}".replace("*. ", "* ")


def _short(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _visible(label: str) -> str:
    """A label that matplotlib's legend does not take for a hidden one."""
    return f" {label}" if label.startswith("_") else label


def _svg(draw: Callable[["Figure"], None], height: float, told: str, prefix: str) -> str:
    """Draw on a fresh figure of that height (inches) and return it as SVG, `told` being its text alternative."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    page = io.StringIO()
    with rc_context({**_LOOK, "svg.hashsalt": prefix}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has the fonts that matplotlib lacks
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        figure.savefig(page, format="svg", metadata={"Date": None})
    return _tidied(_UNWRITABLE.sub("\ufffd", page.getvalue()), _UNWRITABLE.sub("\ufffd", told), prefix)


def _tidied(text: str, told: str, prefix: str) -> str:
    """matplotlib's SVG without metadata, style sheet and outside names, its ids prefixed and its paths short."""
    root = XML.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
        _merge_paths(parent)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: _local(name, value, prefix) for name, value in element.items()}
        element.tail = None
        element.text = element.text if element.tag == "text" else None
    root.attrib |= {"xmlns": SVG, "role": "img", "aria-label": told, "stroke-linejoin": "round"}
    return XML.tostring(root, encoding="unicode")


def _merge_paths(parent: "XML.Element") -> None:
    """Join neighbouring paths that differ in their course alone, such as the many lines of one collection."""
    before: XML.Element | None = None
    for child in list(parent):
        same = before is not None and {**before.attrib, "d": ""} == {**child.attrib, "d": ""}
        if same and before is not None and child.tag.endswith("}path") and "id" not in child.attrib:
            before.set("d", before.attrib["d"] + child.attrib["d"])
            parent.remove(child)
        else:
            before = child if child.tag.endswith("}path") else None


def _local(name: str, value: str, prefix: str) -> str:
    """An attribute with its ids prefixed and its numbers at a hundredth of a point."""
    if name == "id":
        return f"{prefix}-{value}"
    if name.endswith("href"):
        return value.replace("#", f"#{prefix}-", 1)
    if name in ("d", "x", "y", "transform"):
        return " ".join(re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", value).split())
    return value.replace("url(#", f"url(#{prefix}-")
