"""What does a delegate see of a proposal? Each figure drawn from its numbers alone, the same bytes everywhere.

A figure is SVG that needs nothing else: no library draws it, so that no version of one changes a byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil, floor, log10
from typing import Any

from markupsafe import Markup

from research.figures import writable

WIDTH = 440.0
BEFORE, AFTER, LOSS, GRID, SOFT, INK = "#7a4b12", "#1f4f8f", "#98a2ad", "#dfe4e8", "#3a4756", "#14202e"
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 30.0, 26.0
_ROW = 48.0  # of a choice
_LETTER = 6.8  # of a figure's letters, in units of its width


@dataclass
class _Canvas:
    """What is drawn so far."""

    height: float
    parts: list[Markup] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1.0, dash: str = "") -> None:
        extra = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
        shape = '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{:g}"{}/>'
        self.parts.append(Markup(shape).format(x1, y1, x2, y2, color, width, extra))

    def text(
        self, x: float, y: float, words: str, anchor: str = "start", color: str = SOFT, bold: bool = False
    ) -> None:
        weight = Markup(' font-weight="600"') if bold else ""
        shape = '<text x="{:.1f}" y="{:.1f}" text-anchor="{}" fill="{}"{}>{}</text>'
        self.parts.append(Markup(shape).format(x, y, anchor, color, weight, writable(words)))

    def box(self, x: float, y: float, width: float, height: float, color: str) -> None:
        shape = '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"/>'
        self.parts.append(Markup(shape).format(x, y, max(width, 0.5), height, color))

    def dot(self, x: float, y: float, color: str, size: float = 4.0) -> None:
        self.parts.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:g}" fill="{}"/>').format(x, y, size, color))

    def path(self, points: Sequence[tuple[float, float]], color: str, dash: str = "") -> None:
        told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        extra = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
        shape = '<polyline points="{}" fill="none" stroke="{}" stroke-width="1.6" stroke-linejoin="round"{}/>'
        self.parts.append(Markup(shape).format(told, color, extra))

    def svg(self, told: str) -> Markup:
        head = '<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}" font-size="12">'
        return Markup(head).format(WIDTH, self.height, writable(told)) + Markup("").join(self.parts) + Markup("</svg>")


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values over a span.

    >>> ticks(0.0, 0.23)
    [0.0, 0.05, 0.1, 0.15, 0.2]
    """
    span = max(high - low, 1e-12)
    raw = span / wanted
    power = 10.0 ** floor(log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * (1 - 1e-9))
    first = ceil(low / step - 1e-9)
    return [round(n * step, 12) + 0.0 for n in range(first, floor(high / step + 1e-9) + 1)]


def paths_svg(series: dict[str, Any], told: str, *, losses: bool) -> Markup:
    """Margins of the current model and the candidate through time, in percent; losses as bars where there are any."""
    canvas = _Canvas(230.0)
    drawn = {name: [100.0 * v if v is not None else None for v in series[name]] for name in ("current", "candidate")}
    lost = [100.0 * v if v is not None else None for v in series["loss"]] if losses else []
    high = max([v for values in (*drawn.values(), lost) for v in values if v is not None], default=1.0)
    high = max(high, 1e-9) * 1.05
    instants = [datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() for stamp in series["time"]]
    x = _scale(min(instants), max(instants), _LEFT + 4, WIDTH - _RIGHT - 4)
    y = _scale(0.0, high, canvas.height - _BOTTOM, _TOP)
    for value in ticks(0.0, high):
        canvas.line(_LEFT, y(value), WIDTH - _RIGHT, y(value), GRID)
        canvas.text(_LEFT - 5, y(value) + 4, f"{value:g} %", "end")
    for when, told_loss in zip(instants, lost, strict=False):
        if told_loss is not None and told_loss > 0:
            canvas.line(x(when), y(0.0), x(when), y(told_loss), LOSS, 2.0 if len(lost) < 90 else 1.0)
    for name, color, dash in (("current", BEFORE, "5 3"), ("candidate", AFTER, "")):
        known = [(x(w), y(v)) for w, v in zip(instants, drawn[name], strict=True) if v is not None]
        canvas.path(known, color, dash)
        for at, height in known if len(known) < 3 else ():  # hardly a line
            canvas.dot(at, height, color)
    _dates(canvas, series["time"], instants, x)
    _key(canvas, [("today", BEFORE, "5 3"), ("proposed", AFTER, "")] + ([("loss", LOSS, "")] if losses else []))
    return canvas.svg(told)


def _scale(low: float, high: float, start: float, stop: float) -> Any:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def _dates(canvas: _Canvas, stamps: Sequence[str], instants: Sequence[float], x: Any) -> None:
    """The first day, the last, and between them those that find room."""
    wide = _LETTER * 10 + 8
    last = len(stamps) - 1
    canvas.text(x(instants[0]), canvas.height - 8, stamps[0][:10], "start")
    taken = x(instants[0]) + wide
    for n in range(1, last):
        at = x(instants[n])
        if at - wide / 2 > taken + wide / 2 and at + wide / 2 < x(instants[last]) - wide:
            canvas.text(at, canvas.height - 8, stamps[n][:10], "middle")
            taken = at + wide / 2
    if x(instants[last]) - wide > taken:
        canvas.text(x(instants[last]), canvas.height - 8, stamps[last][:10], "end")


def _key(canvas: _Canvas, entries: Sequence[tuple[str, str, str]]) -> None:
    at = _LEFT
    for name, color, dash in entries:
        canvas.line(at, 13, at + 22, 13, color, 2.5, dash)
        canvas.text(at + 27, 17, name, color=INK)
        at += 27 + 16 + _LETTER * len(name)


def tornado_svg(rows: Sequence[dict[str, Any]], proposed: float | None, told: str) -> Markup:
    """The change of mean margin, in percent, as one choice at a time is taken otherwise."""
    known = [row for row in rows if any(way["margin_change"] is not None for way in row["ways"])]
    canvas = _Canvas(52.0 + _ROW * len(known))
    values = [100.0 * way["margin_change"] for row in known for way in row["ways"] if way["margin_change"] is not None]
    centre = 100.0 * (proposed or 0.0)
    x = _span_scale([*values, centre])
    _vertical_grid(canvas, x, [*values, centre])
    for n, row in enumerate(known):
        top = 26.0 + _ROW * n
        ways = [(100.0 * way["margin_change"], way["value"]) for way in row["ways"] if way["margin_change"] is not None]
        canvas.text(6, top + 12, shortened(label(row["choice"]), 48), color=INK, bold=True)
        canvas.text(6, top + 27, "; ".join(f"{name}: {value:+.1f} %" for value, name in ways))
        low, high = min(v for v, _ in [*ways, (centre, "")]), max(v for v, _ in [*ways, (centre, "")])
        canvas.box(x(low), top + 32, x(high) - x(low), 9, "#9db6d6")
        canvas.line(x(centre), top + 30, x(centre), top + 43, INK, 1.6)
        for value, _ in ways:
            canvas.dot(x(value), top + 36.5, AFTER)
    canvas.text(x(centre), 14, f"as proposed: {centre:+.1f} %", _toward(x(centre)), INK)
    return canvas.svg(told)


def _span_scale(values: Sequence[float]) -> Any:
    low, high = min([*values, 0.0]), max([*values, 0.0])
    room = 0.04 * max(high - low, 1e-9)
    return _scale(low - room, high + room, 14.0, WIDTH - 14.0)


def _vertical_grid(canvas: _Canvas, x: Any, values: Sequence[float]) -> None:
    for value in ticks(min([*values, 0.0]), max([*values, 0.0])):
        canvas.line(x(value), 22, x(value), canvas.height - 18, GRID)
        canvas.text(x(value), canvas.height - 5, f"{value:+g} %" if value else "0", _toward(x(value)))


def _toward(x: float) -> str:
    """Where a word is anchored so that it stays inside."""
    return "start" if x < 60 else "end" if x > WIDTH - 60 else "middle"


def books_svg(rows: Sequence[dict[str, Any]], told: str) -> Markup:
    """The change of each book's mean margin, in percent."""
    known = [row for row in rows if row["change"] is not None]
    canvas = _Canvas(40.0 + 30.0 * len(known))
    values = [100.0 * row["change"] for row in known]
    x = _span_scale(values)
    _vertical_grid(canvas, x, values)
    for n, (row, value) in enumerate(zip(known, values, strict=True)):
        top = 16.0 + 30.0 * n
        color = BEFORE if value > 0 else AFTER
        canvas.text(6, top + 9, f"{shortened(row['name'], 44)}: {value:+.1f} %", color=INK)
        canvas.box(min(x(0.0), x(value)), top + 13, abs(x(value) - x(0.0)), 9, color)
    canvas.line(x(0.0), 14, x(0.0), canvas.height - 18, INK, 1.2)
    return canvas.svg(told)


def variants_svg(rows: Sequence[dict[str, Any]], told: str) -> Markup:
    """Mean shortfall (basis points) against mean margin (percent), one dot a variant."""
    known = [row for row in rows if row["coverage"] is not None]
    canvas = _Canvas(270.0)
    across, up = [100.0 * row["margin"] for row in known], [1e4 * row["shortfall"] for row in known]
    right, top = 1.12 * max([*across, 1e-9]), 1.15 * max([*up, 1e-9])
    left = 0.85 * min([*across, right])
    x, y = _scale(left, right, _LEFT, WIDTH - _RIGHT), _scale(0.0, top, canvas.height - 40, _TOP)
    for value in ticks(0.0, top):
        canvas.line(_LEFT, y(value), WIDTH - _RIGHT, y(value), GRID)
        canvas.text(_LEFT - 5, y(value) + 4, f"{value:g}", "end")
    for value in ticks(left, right):
        canvas.text(x(value), canvas.height - 22, f"{value:g} %", "middle")
    canvas.text(_LEFT, 14, "mean shortfall, bp of notional", color=SOFT)
    canvas.text(WIDTH - _RIGHT, canvas.height - 6, "mean margin, % of notional", "end")
    taken: list[tuple[float, float, float]] = [(x(a), x(a), y(b)) for a, b in zip(across, up, strict=True)]
    for row, a, b in zip(known, across, up, strict=True):
        color = BEFORE if row["name"] == "current model" else AFTER
        wide = _LETTER * len(row["name"])
        at, height = _free(x(a), y(b), wide, taken)
        if y(b) - height > 8.0:  # moved away from its dot
            canvas.line(x(a), y(b), min(max(x(a), at), at + wide), height + 3, color, 0.8)
        canvas.dot(x(a), y(b), color, 7.5 if row["name"] == "current model" else 4.0)
        canvas.text(at, height, row["name"], "start", color)
    return canvas.svg(told)


def _free(x: float, y: float, wide: float, taken: list[tuple[float, float, float]]) -> tuple[float, float]:
    """Where a word beside a dot begins so that it stays inside and meets no earlier word and no dot."""
    left = x + 9.0 if x + 9.0 + wide < WIDTH else x - 9.0 - wide
    height = y - 6.0
    others = [one for one in taken if one != (x, x, y)]
    while height > 20 and any(left < b + 8 and left + wide > a - 8 and abs(height - h) < 14 for a, b, h in others):
        height -= 4.0
    taken.append((left, left + wide, height))
    return left, height


def label(name: str) -> str:
    """A parameter's name as words.

    >>> label("candidate: volatility__half_life")
    'candidate: volatility, half life'
    """
    return name.replace("__", ", ").replace("_", " ")


def shortened(text: str, longest: int) -> str:
    """A name on one line, cut where it is long."""
    line = " ".join(writable(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
