"""What does the laboratory tell, on one page that needs nothing else?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from backtest.procyclicality import DAYS
from research.figures import writable
from research.importance import importance_svg
from research.lab import OURS, Laboratory, told_shares
from research.lab_extras import CRASHES, Extras, breaker_chart, breaker_sentence, weights_svg
from research.lab_figures import frontier_svg
from research.report import number, percent, span

ROLES = {
    "rival": "Rivals",
    "forecaster": "Each forecaster by itself",
    "proposal": "The prediction",
    "without": "The prediction without a part, or put together otherwise",
    "overlay": "The prediction with something laid over it",
}
MOST = 15  # predictors shown

Row = tuple[str, Sequence[str]]


@dataclass(frozen=True)
class Block:
    """Rows of a table under a title of their own, "" for none."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Table:
    """A table of a page: `first` heads the names of its rows, `prose` says which columns hold words."""

    caption: str
    first: str
    heads: Sequence[str]
    blocks: Sequence[Block]
    prose: Sequence[str] = ()
    marked: str = ""


@dataclass(frozen=True)
class Section:
    """A section of a page: paragraphs, figures with their captions, tables."""

    title: str
    told: Sequence[str]
    figures: Sequence[tuple[Markup, str]] = ()
    tables: Sequence[Table] = field(default_factory=tuple)


def lab_page(lab: Laboratory, extras: Extras | None = None, *, command: str = "", code_version: str = "") -> str:
    """The laboratory as one HTML page: figures inline, no script, no outside reference, whatever names hold escaped.

    The same arguments give the same bytes. `command` says what makes the page again, "" for nothing.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("lab_page.html.j2").render(
        market=lab.comparison.market,
        design=_design(lab),
        sections=[*_judged(lab), *(_extra(extras) if extras is not None else ()), _limits(lab)],
        command=command,
        code_version=code_version,
    )
    return writable(page)


def _design(lab: Laboratory) -> str:
    run = lab.comparison.replays[OURS]
    days = f"{str(run.time[0])[:10]} to {str(run.end[-1])[:10]}"
    asked = f"{percent(run.coverage.level, 1)} % of losses over {run.coverage.horizon}"
    return f"{len(run.time):,} decisions, {days}, {len(run.portfolios)} books, {asked}"


def _judged(lab: Laboratory) -> Iterator[Section]:
    table = lab.to_frame()
    yield Section("Does prediction pay?", lab.sentences)
    yield Section(
        "Three axes",
        (
            "Capital at equal coverage, shortfall, and procyclicality: every candidate is judged on all three at once. "
            f"The mark is the better rival, {lab.mark}.",
        ),
        [(Markup(frontier_svg(lab)), "Numbers as in the table. Nearer the lower left is better; lighter is calmer.")],
        [_candidates(table)],
    )
    if "without" in set(table["role"]):
        yield Section(
            "What each part is worth",
            (
                "The prediction is replayed without one of its parts, or blind to one kind of knowledge. A change "
                "above 0 means that the part earns.",
            ),
            tables=[_ablations(table, lab.absent)],
        )
    if "overlay" in set(table["role"]):
        yield Section(
            "What calmness costs",
            ("Each tool against procyclicality, and each guard, has a price in average extra margin.",),
            tables=[_prices(lab)],
        )


def _candidates(table: pd.DataFrame) -> Table:
    heads = ["margin at equal coverage, %", "over the mark (90 %)", "shortfall, bp", "peak to trough", "as charged, %"]
    heads += ["coverage, %", "pinball, bp", "in its set"]
    law = "fz0" in table
    heads += ["FZ0", "in its set "] if law else []
    place = {name: n for n, name in enumerate(table.index, start=1)}
    blocks = []
    for role, names in groupby(table.index, key=lambda name: str(table["role"][name])):
        rows = [(f"{place[name]}. {name}", _judged_cells(table.loc[name], law)) for name in names]
        blocks.append(Block(ROLES[role], rows))
    caption = (
        "Margin in percent of gross notional. The interval is of the ratio, dates drawn in blocks, the same for both. "
        "A set is the model confidence set of a loss: what can still be best once chance is allowed for."
    )
    return Table(caption, "Model", heads, blocks, marked=f"{place[OURS]}. {OURS}")


def _judged_cells(row: pd.Series, law: bool) -> list[str]:
    told = [
        percent(row["equal_margin"]),
        f"{number(row['ratio'], 3)} ({span(row['ratio_low'], row['ratio_high'], digits=3)})",
        number(1e4 * row["equal_shortfall"]),
        number(row["peak_to_trough"], 1),
        percent(row["mean_margin"]),
        percent(row["coverage"]),
        number(1e4 * row["pinball"]),
        _in_set(row["pinball_in_set"]),
    ]
    return [*told, number(row["fz0"], 3), _in_set(row["fz0_in_set"])] if law else told


def _ablations(table: pd.DataFrame, absent: Sequence[str]) -> Table:
    ours = table.loc[OURS]
    rows = [
        (
            str(name),
            [
                percent(row["equal_margin"]),
                _change(row["equal_margin"] / ours["equal_margin"]),
                _change(row["equal_shortfall"] / ours["equal_shortfall"]),
                _change(row["pinball"] / ours["pinball"]),
                _in_set(row["pinball_in_set"]),
            ],
        )
        for name, row in table[table["role"].isin(["proposal", "without"])].iterrows()
    ]
    heads = ["margin at equal coverage, %", "change", "change of shortfall", "change of pinball loss", "in its set"]
    rows += [(f"without {kind}", ["not in the data", *("" for _ in heads[1:])]) for kind in absent]
    return Table("Changes against the prediction as it is.", "Model", heads, [Block("", rows)], marked=OURS)


def _prices(lab: Laboratory) -> Table:
    calls, table = [f"call_{days}d" for days in DAYS], lab.prices()
    extra, equal = told_shares(table, "extra"), told_shares(table, "equal")
    rows = [
        (
            str(name),
            [
                *((extra[place], equal[place]) if name != OURS else ("", "")),
                percent(row["coverage"]),
                number(1e4 * row["mean_shortfall"]),
                number(row["peak_to_trough"], 1),
                *(percent(row[call]) for call in calls),
            ],
        )
        for place, (name, row) in enumerate(table.iterrows())
    ]
    heads = ["extra margin, % (90 %)", "at equal coverage, % (90 %)", "coverage, %", "shortfall, bp", "peak to trough"]
    heads += [f"largest call over {days} {'day' if days == 1 else 'days'}, %" for days in DAYS]
    caption = (
        "Average margin over that of the prediction with nothing laid over it, as charged and at equal coverage; dates "
        "are drawn in blocks, the same for both. Calls are of the book in the middle, in % of notional."
    )
    return Table(caption, "Model", heads, [Block("", rows)], marked=OURS)


def _extra(extras: Extras) -> Iterator[Section]:
    yield _impulses(extras)
    yield Section(
        "The circuit breaker: missed breaches against false alarms",
        (breaker_sentence(extras.alarms),),
        [
            (
                Markup(breaker_chart(extras.alarms)),
                "The trip level, in deviations of what is usual, stands beside each point; below the straight line an "
                f"alarm knows more than chance. Crash days are those about the {CRASHES} largest losses of the basket.",
            )
        ],
    )
    yield Section(
        "What drives the forecast",
        (extras.importance.sentence,),
        [(Markup(importance_svg(extras.importance)), "Each fit is told on the decisions until the next one.")],
        [_predictors(extras)],
    )
    yield Section(
        "Whom to trust",
        (
            "The prediction weighs its forecasters evenly. These are the weights that learning from their losses in "
            "the tails would have given them.",
        ),
        [(Markup(weights_svg(extras.weights)), "Learned walk-forward: no weight knows a loss that was not over.")],
    )
    yield Section(
        "What it saw before each crisis", (extras.sightings.sentence, *extras.sightings.notes), (), [_saw(extras)]
    )


def _impulses(extras: Extras) -> Section:
    blocks = []
    for kind, table in extras.impulses.groupby(level="kind", sort=False):
        rows = [(str(name), _answer_cells(row)) for name, row in table.droplevel("kind").iterrows()]
        blocks.append(Block(f"A step in {kind}", rows))
    heads = ["margin settles at", "due", "overshoot, %", "half-life, days", "note"]
    caption = (
        "Multiples of the margin before the step, in the newest quarter of 150 days. What is due is what a margin that "
        "follows the true risk asks."
    )
    return Section(
        "How margin answers a shock",
        (
            "A made market whose volatility doubles, or whose correlation rises from 0 to 0.8, one day and for good. "
            "Slow models are calm and late, fast ones are neither. That market has no option prices and no order flow, "
            "so that EWMA stands in for forecasts that rest on these.",
        ),
        tables=[Table(caption, "Model", heads, blocks, prose=("note",))],
    )


def _answer_cells(row: pd.Series) -> list[str]:
    cells = [number(row["settled"]), number(row["due"]), percent(row["overshoot"], 1), number(row["half_life"], 1)]
    return [*cells, str(row["note"])]


def _predictors(extras: Extras) -> Table:
    table = extras.importance.summary().head(MOST)
    columns = ["moves volatility by, %", "at the latest fit, %", "gain, %"]
    rows = [
        (str(name), [str(row["group"]), *(number(row[column]) for column in columns)]) for name, row in table.iterrows()
    ]
    caption = (
        f"The {len(rows)} predictors that move the forecast most. Gain is the share of what splits brought in the fit; "
        "the move is on decisions that the fit had not seen."
    )
    return Table(caption, "Predictor", ["group", *columns], [Block("", rows)], prose=("group",))


def _saw(extras: Extras) -> Table:
    table = extras.sightings.summary()
    words = ("eve", "by", "by then by")
    rows = [
        (str(name), [cell if isinstance(cell, str) else number(cell) for cell in row])
        for name, row in zip(table.index, table.to_numpy().tolist(), strict=True)
    ]
    caption = (
        f"Margin and loss of {extras.sightings.portfolio}, in percent of notional; the forecast, against EWMA, is the "
        "mean of the underlyings. A fit on the eve knows nothing that came later."
    )
    return Table(caption, "Crisis", list(table.columns), [Block("", rows)], prose=words)


def _limits(lab: Laboratory) -> Section:
    return Section(
        "Limits",
        (
            "Margin at equal coverage is scaled by one number that is shared by all books and learned walk-forward; "
            "shortfall at equal coverage by the one that meets the level exactly, known in hindsight.",
            "An interval tells what the dates could have been, given these years. It knows nothing of a crisis that is "
            "not in the data, and the best of many candidates is picked after the fact.",
            *lab.notes,
        ),
    )


def _in_set(value: bool | float | None) -> str:
    return "n/a" if value is None or pd.isna(value) else "yes" if value else "no"


def _change(ratio: float) -> str:
    return f"{100.0 * (ratio - 1.0):+.1f} %" if np.isfinite(ratio) else "n/a"
