"""What does a reader see? Every figure as a small SVG that needs nothing else.

Each public function that ends in `_svg` returns text that stands alone (an artifact of a run) or inline in a page: no
style sheet, no outside reference, letters as text, every id led by `prefix`, the same bytes for the same input.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as XML

import numpy as np
import pandas as pd

from backtest.comparison import Comparison
from backtest.e_backtests import THRESHOLDS
from backtest.plots import INK, plot_frontier, plot_margin, plot_ranking, plot_rolling_coverage
from backtest.replay import Replay, Rows
from data import Floats, MarketHistory
from data.history import titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SVG = "http://www.w3.org/2000/svg"
PALETTE = (
    *(INK, "#b3541e", "#1b7f4d", "#7a3fa0", "#00758f", "#a8326f", "#6b7a00", "#2f6fd0", "#7d4a2d", "#000000"),
    *("#4d5a66", "#c0392b"),
)
STRETCHES = 300  # a long series is told by the extremes of so many stretches

_WIDTH = 10.4  # inches, of every figure, so that a page shows their letters alike
_PANEL_STRETCHES, _PANEL_COLUMNS = 120, 4
_LONGEST = 34  # characters of a name in a figure; the tables give it whole
_CORNERS = ((7.0, 7.0), (-7.0, -7.0), (9.0, -3.0), (-9.0, 3.0))  # where numbers stand, so that neighbours do not meet
_EVIDENCE = (0.1, 1e4)  # what a figure of evidence spans
_BAR, _PERIOD = "#7b8794", "#f3efe2"
_BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
_ABOVE: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "frameon": False, "ncols": 4}
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LOOK: dict[Any, Any] = {
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
    "axes.axisbelow": True,
    "grid.color": "#e3e7eb",
    "grid.linewidth": 0.6,
    "timezone": "UTC",
}


def frontier_svg(comparison: Comparison, *, prefix: str = "frontier") -> str:
    """Mean shortfall against mean margin of each model as it is scaled; numbered dots are the margins as charged."""
    order = list(comparison.to_frame().index)

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        ax.set_prop_cycle(color=[PALETTE[n % len(PALETTE)] for n in range(len(order))])
        plot_frontier(comparison, ax)
        curve = dict(zip(comparison.replays, ax.get_lines()[::2], strict=True))
        dot = dict(zip(comparison.replays, ax.get_lines()[1::2], strict=True))
        for n, name in enumerate(order):
            _number(ax, dot[name], place_of(comparison, order, name), _CORNERS[n % len(_CORNERS)])
        _near_the_dots(ax, list(dot.values()))
        labels = [_numbered(comparison, order, name) for name in order]
        ax.legend([curve[name] for name in order], labels, **_BESIDE)
        ax.set_title(
            _labelled(comparison, "each model scaled up and down; dots: as charged; nearer the lower left is better")
        )

    told = f"Mean shortfall against mean margin of {len(order)} models on {comparison.market}, each scaled up and down"
    return as_svg(draw, 4.6, f"{told}; dots are the margins as charged.", prefix)


def ranking_svg(comparison: Comparison, *, prefix: str = "ranking") -> str:
    """Margin at equal coverage of each model with its interval, and the margin as charged."""
    order = list(comparison.to_frame().index)

    def draw(figure: "Figure") -> None:
        ax = plot_ranking(comparison, figure.subplots())
        ax.set_yticks(range(len(order)), [_numbered(comparison, order, name) for name in order])
        ax.grid(visible=False, axis="y")
        _plain_log(ax.xaxis)
        ax.set_title(_labelled(comparison, "dot: at equal coverage, with 95 % interval; diamond: as charged"))

    told = f"Mean margin at equal coverage of {len(order)} models on {comparison.market}, with 95 % intervals"
    return as_svg(draw, 0.9 + 0.27 * len(order), f"{told}; the table gives the numbers.", prefix)


def margin_svg(run: Replay, portfolio: str, *, prefix: str = "margin") -> str:
    """One portfolio's margin against what it lost; a long replay is told by the extremes of its stretches."""

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        count = _against_loss(ax, run, portfolio, STRETCHES)
        drawn = (ax.collections[0], *ax.get_lines()[:2])
        ax.legend(drawn, ["loss", "margin", f"breach ({count:,})"], **_ABOVE)
        ax.set_title(titled(f"{_short(run.model, 50)}: {_short(portfolio)}", run.implied))

    return as_svg(draw, 2.9, f"Margin of {run.model} against the losses of {portfolio}, breaches marked.", prefix)


def crisis_svg(
    comparison: Comparison, models: Sequence[str], portfolio: str, period: tuple[str, str], *, prefix: str = "crisis"
) -> str:
    """One portfolio's margin against what it lost around a period (first and last day), a panel a model.

    The title of a panel counts the breaches in it.
    """
    first, last = pd.Timestamp(period[0]), pd.Timestamp(period[1]) + pd.Timedelta(days=1)
    around = max((last - first) / 2, pd.Timedelta(days=3))
    early, late = (first - around).to_datetime64(), (last + around).to_datetime64()
    columns = min(len(models), _PANEL_COLUMNS)
    rows = -(-len(models) // columns)

    def draw(figure: "Figure") -> None:
        from matplotlib.dates import date2num

        panels: list[Axes] = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for ax, name in zip(panels, models, strict=False):
            run = comparison[name]
            seen = np.flatnonzero((run.end >= early) & (run.time < late))
            count = _against_loss(ax, excerpt(run, portfolio, seen), portfolio, _PANEL_STRETCHES)
            ax.set(ylabel="", title=f"{_short(name, 31)}: {count}")
            ax.axvspan(*date2num([first, last]), color=_PERIOD, zorder=0)  # type: ignore[no-untyped-call]
            _few_dates(ax)
        panels[0].set_ylim(0.0, 1.06 * max(_highest(ax) for ax in panels[: len(models)]))
        for ax in panels[len(models) :]:
            ax.set_axis_off()
        for ax in panels[max(len(models) - columns, 0) : len(models)]:
            ax.tick_params(labelbottom=True)  # also where the panel below is not used
        figure.supylabel("% of gross notional", fontsize=9)

    told = (
        f"Margin against the losses of {portfolio} from {period[0]} to {period[1]}, one panel a model, breaches marked"
    )
    return as_svg(draw, 0.5 + 1.55 * rows, f"{told}.", prefix)


def coverage_svg(comparison: Comparison, models: Sequence[str], decisions: int, *, prefix: str = "coverage") -> str:
    """Share of losses covered over the latest `decisions` by some of the models, all books together."""

    def draw(figure: "Figure") -> None:
        ax = plot_rolling_coverage(comparison, models, decisions, figure.subplots())
        curves = ax.get_lines()[: len(models)]
        for curve, color in zip(curves, PALETTE, strict=False):
            x, y = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
            rows = np.unique(np.linspace(0, max(len(x) - 1, 0), 2 * STRETCHES).astype(np.intp))[: len(x)]
            curve.set(data=(x[rows], y[rows]), color=color)
        ax.legend(curves, [_visible(_short(name)) for name in models], **_ABOVE)
        ax.set_title("")

    told = f"Coverage on {comparison.market} over the latest {decisions} decisions of {', '.join(models)}"
    return as_svg(draw, 2.6, f"{told}, beside the level asked for.", prefix)


def evidence_svg(paths: Mapping[str, pd.Series], *, prefix: str = "evidence") -> str:
    """Evidence against each model through time, from one, on a log scale; beyond its ends it is drawn at the edge."""

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        for (name, path), color in zip(paths.items(), PALETTE, strict=False):
            shown = path.clip(*_EVIDENCE)
            rows = extremes(np.log(shown.to_numpy()), STRETCHES)
            ax.plot(shown.index[rows], shown.to_numpy()[rows], color=color, linewidth=1.1, label=_visible(_short(name)))
        ax.set(yscale="log", ylim=_EVIDENCE, ylabel="evidence")
        _plain_log(ax.yaxis)
        for threshold in THRESHOLDS:
            ax.axhline(threshold, color=_BAR, linewidth=0.8, linestyle="--", zorder=0)
        ax.legend(**_ABOVE)

    told = f"Evidence from breaches against {', '.join(paths)} through time, with lines at 2, 5 and 10."
    return as_svg(draw, 2.8, told, prefix)


def prices_svg(history: MarketHistory, *, prefix: str = "prices") -> str:
    """Prices of every underlying on a log scale, 100 at its first known price, the greatest gain first."""

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        gains: dict[Line2D, float] = {}
        for n, name in enumerate(history.underlyings):
            price = np.where(history.spot[:, n] > 0, history.spot[:, n], np.nan)
            known = price[np.isfinite(price)]
            if known.size:
                rows = extremes(price, STRETCHES // 2)
                (line,) = ax.plot(history.time[rows], 100.0 * price[rows] / known[0], linewidth=0.9)
                line.set(color=PALETTE[n % len(PALETTE)], linestyle="-" if n < len(PALETTE) else "--")
                line.set_label(_visible(_short(name, 12)))
                gains[line] = known[-1] / known[0]
        ax.set(yscale="log", title="first known price = 100")
        _plain_log(ax.yaxis)
        lines = sorted(gains, key=lambda line: -gains[line])
        ax.legend(handles=lines, fontsize=8, labelspacing=0.3, ncols=1 + len(lines) // 14, **_BESIDE)

    return as_svg(
        draw, 2.6, f"Prices of {', '.join(history.underlyings)} on a log scale, 100 at the first known.", prefix
    )


def _labelled(comparison: Comparison, title: str) -> str:
    """A title that says where implied volatility is a proxy: a figure may be passed on without its page."""
    return titled(title, next(iter(comparison.replays.values())).implied)


def place_of(comparison: Comparison, order: Sequence[str], model: str) -> str:
    """The place of a model in the table, a star for one that is not ranked."""
    return "*" if model in comparison.unranked else str(order.index(model) + 1)


def excerpt(run: Replay, portfolio: str, rows: Rows) -> Replay:
    """Some decisions of one portfolio."""
    p = [run.portfolios.index(portfolio)]
    panels = {name: getattr(run, name)[rows][:, p] for name in ("initial", "maintenance", "loss_end", "loss_worst")}
    return replace(run, portfolios=(portfolio,), time=run.time[rows], end=run.end[rows], **panels)


def extremes(series: Floats, stretches: int) -> Rows:
    """Rows of the least and the greatest known value, and of one hole, of so many equal stretches, sorted.

    >>> extremes(np.array([1.0, 5.0, 2.0, 4.0, 3.0, 9.0]), 2)
    array([0, 1, 4, 5])
    """
    picked: list[int] = []
    for rows in np.array_split(np.arange(len(series)), min(stretches, len(series)) or 1):
        known = rows[np.isfinite(series[rows])]
        if known.size:
            picked += [int(known[series[known].argmin()]), int(known[series[known].argmax()])]
        picked += rows[~np.isfinite(series[rows])][:1].tolist()
    return np.unique(np.array(picked, dtype=np.intp))


def _against_loss(ax: "Axes", run: Replay, portfolio: str, stretches: int) -> int:
    """`plot_margin` of what tells most: the extremes of loss, margin and shortfall. Returns the number of breaches.

    A stretch with many breaches shows its worst; the number is of all.
    """
    p = run.portfolios.index(portfolio)
    series = (run.loss[:, p], run.initial[:, p], run.loss[:, p] - run.initial[:, p])
    rows = np.unique(np.concatenate([extremes(one, stretches) for one in series]))
    plot_margin(excerpt(run, portfolio, rows), portfolio, ax)
    ax.get_legend().remove()  # type: ignore[union-attr]
    ax.collections[0].set(color=_BAR, linewidth=0.8)
    ax.get_lines()[1].set(markersize=3)
    return int((series[2] > 0).sum())


def _highest(ax: "Axes") -> float:
    """The greatest margin or breach drawn."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.get_lines()[:2]])
    return float(np.nanmax(drawn, initial=1e-3))


def _number(ax: "Axes", dot: "Line2D", label: str, corner: tuple[float, float]) -> None:
    x, y = _point(dot)
    if x > 0 and y > 0:
        paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.4}
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "bbox": paper}
        dot.set_zorder(4)
        ax.annotate(label, (x, y), corner, textcoords="offset points", **style)


def _point(dot: "Line2D") -> tuple[float, float]:
    """Where a line of one point is."""
    return float(np.asarray(dot.get_xdata())[0]), float(np.asarray(dot.get_ydata())[0])


def _near_the_dots(ax: "Axes", dots: Sequence["Line2D"]) -> None:
    """Log scales over what the models charge, not over where their curves run off to."""
    ax.set_xscale("log")
    charged, lost = zip(*map(_point, dots), strict=True)
    for at, axis, limit in ((charged, ax.xaxis, ax.set_xlim), (lost, ax.yaxis, ax.set_ylim)):
        known = [value for value in at if value > 0]
        if known:
            limit(min(known) / 1.6, max(known) * 1.6)
        _plain_log(axis)


def _plain_log(axis: "Axis") -> None:
    """Ticks of a log axis as plain numbers, the denser the less it spans."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    spans = high / low
    within = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if spans < 20 else (1.0, 2.0, 5.0) if spans < 2000 else (1.0,)
    axis.set_major_locator(LogLocator(subs=within, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:.6g}"))
    axis.set_minor_locator(NullLocator())


def _few_dates(ax: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=5)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
    ax.tick_params(labelsize=7.5)


def _numbered(comparison: Comparison, order: Sequence[str], model: str) -> str:
    place = place_of(comparison, order, model)
    return f"{place} {_short(model)}" if place == "*" else f"{place}. {_short(model)}"


def _short(text: str, longest: int = _LONGEST) -> str:
    """A name as one short line of letters that can be drawn."""
    line = " ".join(writable(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _visible(label: str) -> str:
    """A label that matplotlib's legend does not take for a hidden one."""
    return f" {label}" if label.startswith("_") else label


def as_svg(draw: Callable[["Figure"], None], height: float, told: str, prefix: str) -> str:
    """Draw on a fresh figure of that height (inches) and return it as SVG, `told` being its text alternative."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    page = io.StringIO()
    with rc_context({**_LOOK, "svg.hashsalt": prefix}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has the letters that matplotlib lacks
        warnings.filterwarnings("ignore", message="Data has no positive values")  # nothing to show is no fault
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        figure.savefig(page, format="svg", metadata={"Date": None})
    return _tidied(writable(page.getvalue()), writable(told), prefix)


def writable(text: str) -> str:
    """Text without what neither XML nor UTF-8 can hold, each such character replaced."""
    return _UNWRITABLE.sub("\ufffd", text)


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
        element.text, element.tail = element.text if element.tag == "text" else None, None
    root.attrib |= {"xmlns": SVG, "role": "img", "aria-label": told, "stroke-linejoin": "round"}
    return XML.tostring(root, encoding="unicode")


def _merge_paths(parent: "XML.Element") -> None:
    """Join neighbouring paths that differ in their course alone, such as the many lines of one collection."""
    before: XML.Element | None = None
    for child in list(parent):
        if not child.tag.endswith("}path") or "id" in child.attrib or "d" not in child.attrib:
            before = None
        elif before is not None and {**before.attrib, "d": ""} == {**child.attrib, "d": ""}:
            before.set("d", before.attrib["d"] + child.attrib["d"])
            parent.remove(child)
        else:
            before = child


def _local(name: str, value: str, prefix: str) -> str:
    """An attribute with its ids prefixed and its numbers at a hundredth of a point."""
    if name == "id":
        return f"{prefix}-{value}"
    if name.endswith("href"):
        return value.replace("#", f"#{prefix}-", 1)
    if name in ("d", "x", "y", "transform"):
        return " ".join(re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", value).split())
    return value.replace("url(#", f"url(#{prefix}-")
