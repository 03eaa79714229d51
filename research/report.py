"""What came out of a study, on one page that explains itself?"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sklearn import config_context

from backtest.bootstrap import DRAWS, SHARE, block_length
from backtest.comparison import Comparison, Periods
from backtest.coverage_tests import SIZE, Transitions, independence, kupiec, kupiec_region
from backtest.disclosure import FIELDS, FIELDS_NOTE
from backtest.false_discoveries import RATE as FALSE_RATE
from backtest.model_confidence_set import SIZE as SET_SIZE
from backtest.replay import Replay
from data.quality import check
from data.storage import write_whole
from margin_models import MarginModel, StaticMargin
from research import figures
from research.evidence_tables import evidence_in_words, evidence_parts
from research.study import Judged, StudyResult
from research.verdict_tables import FAIR_POWER, LOW_POWER, bunching, coverage_verdict, law_tests

PERCENT = "\u00a0%"  # does not part from its number
_CRISES_DRAWN, _BOOKS_SHOWN, _NOTES_SHOWN = 2, 4, 8
_LAW_BOOKS = 2  # asked of the law that a model states: p-values are simulated for each number of breaches


def write_report(result: StudyResult, path: Path, *, command: str, code_version: str, date: str = "") -> Path:
    """Write the study as one HTML file that needs nothing else, and return its path.

    The same result, command, version and date give the same bytes. The file is put in place whole or not at all, its
    folder is made.

    Parameters
    ----------
    command : what reproduces the study, shown as it is.
    code_version : what the code was, a version or a commit.
    date : when the page was made; nothing is said where it is empty.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, render(result, command=command, code_version=code_version, date=date).encode())
    return path


def render(result: StudyResult, *, command: str, code_version: str, date: str = "") -> str:
    """The page that `write_report` writes."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "span": span, "fingerprint": fingerprint}
    environment.filters |= {"evidence": evidence_in_words, "day": day}
    page = environment.get_template("report.html.j2").render(
        study=result.study,
        markets=[_market(n, judged, result) for n, judged in enumerate(result.markets, start=1)],
        models=list(_described(result.study.every_model)),
        command=command,
        code_version=code_version,
        date=date,
        draws=DRAWS,
        share=SHARE,
        size=SIZE,
        set_size=SET_SIZE,
        false_rate=FALSE_RATE,
        low_power=LOW_POWER,
        fair_power=FAIR_POWER,
        notes_shown=_NOTES_SHOWN,
        fields=FIELDS,
        fields_note=FIELDS_NOTE,
    )
    return figures.writable(page)


def percent(share: float, digits: int = 2) -> str:
    """A share in percent, without the sign."""
    return number(100.0 * share, digits)


def number(value: float, digits: int = 2) -> str:
    """A number with its thousands parted; "n/a" where it is not known.

    >>> number(1234.5678), number(float("nan"))
    ('1,234.57', 'n/a')
    """
    return f"{value:,.{digits}f}" if np.isfinite(value) else "n/a"


def span(low: float, high: float, scale: float = 1.0, digits: int = 2) -> str:
    """An interval; "n/a" where it is not known."""
    known = np.isfinite(low) and np.isfinite(high)
    return f"{number(scale * low, digits)} to {number(scale * high, digits)}" if known else "n/a"


def fingerprint(script: str) -> str:
    """What a content security policy calls the one script that may run."""
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def day(stamp: np.datetime64 | None) -> str:
    """The day of an instant, a dash where there is none."""
    return "-" if stamp is None else str(stamp)[:10]


def _described(models: Mapping[str, MarginModel]) -> Iterator[tuple[str, str, str]]:
    """Each model's name, the sentence its class says of itself, and all its parameters."""
    with config_context(print_changed_only=False):
        for name, model in models.items():
            says = (type(model).__doc__ or "").strip().split("\n\n")[0]
            yield name, " ".join(says.split()), " ".join(repr(model).split())


def _market(n: int, judged: Judged, result: StudyResult) -> dict[str, Any]:
    """All that the template tells of one market."""
    comparison, plan, history = judged.comparison, judged.market, judged.history
    table = comparison.to_frame()
    ranked = [str(name) for name in table.index[table["ranked"]]]
    flat = flat_rate(result.study.models)
    run = comparison[ranked[0]]
    books = standing_for(run.portfolios, history.underlyings)
    design = design_of(run)
    crises = comparison.crises(plan.crises)
    inside = {} if crises.empty else {name: plan.crises[name] for name in dict.fromkeys(crises["crisis"])}
    lately = list(dict.fromkeys([*ranked[:2], flat or ranked[-1]]))
    prefix = f"m{n}"
    told = evidence_parts(comparison, ranked, books[:_BOOKS_SHOWN], lately[-1])
    return {
        "plan": plan,
        "data_hash": judged.data_hash,
        "answer": list(answer(table, ranked, flat)),
        "facts": list(facts(judged, run)),
        "design": design,
        "ranking": ranking(comparison, table, run),
        "compared": comparison.losses.sentence,
        "law_compared": comparison.law_losses.sentence if comparison.law_losses else "",
        **law_tests({name: comparison[name] for name in ranked}, books[:_LAW_BOOKS]),
        "law_books": books[:_LAW_BOOKS],
        "unranked": comparison.unranked,
        "notes": {name: one.notes for name, one in comparison.replays.items() if one.notes},
        "verdicts": {name: coverage_verdict(comparison[name]) for name in ranked},
        "books": books[:_BOOKS_SHOWN],
        "best": ranked[0],
        **told,
        "evidence_figure": _inline(figures.evidence_svg(told["evidence_paths"], prefix=f"{prefix}-evidence")),
        "bunching": {name: [bunching(comparison[name], book) for book in books[:_BOOKS_SHOWN]] for name in ranked},
        "crises": list(inside),
        "crisis_blocks": crisis_blocks(crises, list(inside), list(table.index)),
        "prices_figure": _inline(figures.prices_svg(history, prefix=f"{prefix}-prices")),
        "ranking_figure": _inline(figures.ranking_svg(comparison, prefix=f"{prefix}-ranking")),
        "frontier_figure": _inline(figures.frontier_svg(comparison, prefix=f"{prefix}-frontier")),
        "margin_figure": _inline(figures.margin_svg(run, books[0], prefix=f"{prefix}-margin")),
        "coverage_figure": _inline(
            figures.coverage_svg(comparison, lately, design["rolling"], prefix=f"{prefix}-coverage")
        ),
        "crisis_figures": {
            name: _inline(figures.crisis_svg(comparison, ranked, books[0], inside[name], prefix=f"{prefix}-crisis{k}"))
            for k, name in enumerate(worst_crises(run, books[0], inside))
        },
    }


def _inline(svg: str) -> Markup:
    """A figure as part of a page, which knows the namespace by itself."""
    return Markup(svg.replace(f' xmlns="{figures.SVG}"', "", 1))


def flat_rate(models: Mapping[str, MarginModel]) -> str | None:
    """The frozen rate on net positions, against which the others are held; None where the study has none."""
    flat = [name for name, model in models.items() if isinstance(model, StaticMargin) and model.cross]
    return flat[0] if flat else None


def standing_for(portfolios: Sequence[str], underlyings: Sequence[str]) -> list[str]:
    """The books that stand for a market, the one first that is told most of: all underlyings long, or the first one."""
    first = underlyings[0]
    wanted = ("basket long", f"{first} long", f"{first} short", f"{first} hedged", "maker 000")
    return [name for name in wanted if name in portfolios] or list(portfolios)


def answer(table: pd.DataFrame, ranked: Sequence[str], flat: str | None) -> Iterator[str]:
    """Who asked for least at equal coverage, by how much, and whether it can be told from the runner-up: sentences."""
    scores: dict[Any, dict[Any, Any]] = table.to_dict("index")
    best = scores[ranked[0]]
    if not np.isfinite(best["equal_margin"]):
        yield "No model could be scaled to equal coverage: too few horizons ended for such a level. Nothing is ranked."
        return
    yield (
        f"Least margin at equal coverage: {ranked[0]}, with {percent(best['equal_margin'])}{PERCENT} of gross notional "
        f"(95{PERCENT} interval {span(best['equal_low'], best['equal_high'], 100)})."
    )
    if flat == ranked[0]:
        yield "That is the static cross rate itself: no model did better."
    elif flat is not None:
        other = scores[flat]
        yield (
            f"That is {percent(1 - 1 / other['equal_ratio'], 0)}{PERCENT} less than the static cross rate, which "
            f"needed {percent(other['equal_margin'])}{PERCENT} ({_times(other)})."
        )
    if len(ranked) > 1 and np.isfinite(scores[ranked[1]]["equal_ratio_low"]):
        second = scores[ranked[1]]
        apart = second["equal_ratio_low"] > 1.0
        told = "excludes 1: these dates tell the two apart" if apart else "includes 1: the two cannot be told apart"
        yield f"The runner-up, {ranked[1]}, needed {_times(second)}, which {told}."
    yield f"So scaled, {ranked[0]} covered {percent(best['equal_coverage'])}{PERCENT} of losses."


def _times(row: Mapping[str, float]) -> str:
    return (
        f"{number(row['equal_ratio'])} times as much, interval {span(row['equal_ratio_low'], row['equal_ratio_high'])}"
    )


def facts(judged: Judged, run: Replay) -> Iterator[tuple[str, str]]:
    """What the data of a market is, as terms and texts."""
    history, plan = judged.history, judged.market
    holes = np.isnan(history.spot).sum(axis=0)
    held = [f"{name} {count:,}" for name, count in zip(history.underlyings, holes, strict=True) if count]
    flagged = [
        f"{one.check} {one.symbol}: {one.count:,}, first {_instant(one.first)}"
        for one in check(history.spot, history.time, history.underlyings)
        if one.check != "hole"
    ]
    yield "Underlyings", ", ".join(history.underlyings)
    yield "Span", f"{_instant(history.time[0])} to {_instant(history.time[-1])} UTC"
    yield "Rows", f"{len(history):,} on a {history.clock.step} clock"
    yield "Holes", f"{holes.sum():,} missing prices ({', '.join(held)})" if held else "none"
    yield "Decisions left out", f"{run.skipped:,} for a missing price at either end of the horizon"
    yield "Checks", "; ".join(flagged) or "no spike, stale price or zero was found"
    yield "Source", history.source or "not stated"
    if history.implied:
        yield "Implied volatility", history.implied
    yield "Content hash", judged.data_hash
    yield "To know", plan.remarks or "nothing was remarked"


def _instant(stamp: object) -> str:
    return str(stamp)[:16].replace("T", " ").removesuffix(" 00:00")


def design_of(run: Replay) -> dict[str, Any]:
    """How many books, decisions and independent trials there are, and what the exact test can tell from these."""
    overlap = np.searchsorted(run.time, run.end, side="left") - np.arange(len(run.time))
    rate, trials = 1.0 - run.coverage.level, len(run.disjoint)
    return {
        "books": in_words(run.portfolios),
        "count": len(run.portfolios),
        "decisions": len(run.time),
        "skipped": run.skipped,
        "trials": trials,
        "expected": trials * rate,
        "kept": kupiec_region(trials, rate),
        "power": float(kupiec(0, trials, rate).power),
        "bunching_size": float(independence(Transitions(max(trials - 1, 0), 0, 0, 0), rate).power),
        "block": block_length(len(run.time), int(overlap.max())),
        "rolling": min(max(len(run.time) // 12, 20), len(run.time)),
    }


def in_words(portfolios: Sequence[str]) -> str:
    """Names, a numbered series told by its ends.

    >>> in_words(["long", "maker 000", "maker 001", "maker 002"])
    'long, maker 000 to maker 002'
    """
    series = [list(names) for _, names in groupby(portfolios, key=lambda name: re.sub(r"\d+$", "", name))]
    return ", ".join(f"{names[0]} to {names[-1]}" if len(names) > 2 else ", ".join(names) for names in series)


def ranking(comparison: Comparison, table: pd.DataFrame, run: Replay) -> list[dict[str, Any]]:
    """One dict a model in the order of the table: its scores, its place, and its breaches for each book."""
    order, books = list(table.index), max(int(run.live.any(axis=0).sum()), 1)
    scores: dict[Any, dict[Any, Any]] = table.to_dict("index")
    return [
        {
            **row,
            "name": name,
            "place": figures.place_of(comparison, order, name),
            "breaches_a_book": row["breaches"] / books,
        }
        for name, row in scores.items()
    ]


def crisis_blocks(crises: pd.DataFrame, names: Sequence[str], models: Sequence[str]) -> list[dict[str, Any]]:
    """The crises a measure: models in rows, crises in columns, cells as text; none where no crisis was replayed."""
    found = {(row["model"], row["crisis"]): row for row in crises.to_dict("records")}

    def block(title: str, told: Callable[[Mapping[Any, Any]], str]) -> dict[str, Any]:
        return {"title": title, "rows": {model: [told(found[model, name]) for name in names] for model in models}}

    if not names:
        return []
    return [
        block("Coverage, all books together, %", lambda row: percent(row["coverage"], 1)),
        block("Mean margin on the eve → at its peak, %", _rise),
        block("Peak shortfall of any book, %", lambda row: percent(row["peak shortfall"], 1)),
    ]


def _rise(row: Mapping[Any, Any]) -> str:
    return f"{percent(row['margin before'], 1)} → {percent(row['peak margin'], 1)}"


def worst_crises(run: Replay, portfolio: str, periods: Periods) -> list[str]:
    """The crises in which this book lost most at once, in the order in which they are named."""
    p = run.portfolios.index(portfolio)

    def most_lost(name: str) -> float:
        start, stop = np.datetime64(periods[name][0], "ns"), np.datetime64(periods[name][1], "ns")
        inside = (run.end >= start) & (run.time < stop + np.timedelta64(1, "D"))
        return float(np.nanmax(run.loss[inside, p], initial=-np.inf))

    worst = sorted(periods, key=most_lost, reverse=True)[:_CRISES_DRAWN]
    return [name for name in periods if name in worst]
