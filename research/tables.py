"""How is a comparison told in a terminal, and to a machine?"""

import json
import math
from typing import Any

import pandas as pd

from backtest.comparison import Comparison
from backtest.loss_comparison import LossComparison
from research.study import StudyResult

NOTES_SHOWN = 4  # a market; the report and the JSON hold all
FALSE_DISCOVERIES = (
    "rejected (FDR): share of books in % whose breaches a Kupiec test rejects at 5 %, and in brackets the share left "
    "when at most 5 % of those named may be wrong (Benjamini and Yekutieli 2001); power: how likely that test notices "
    "twice the breaches of a book, in %."
)
LAWS = (
    "FZ0: mean loss of the value at risk and expected shortfall that a model states, lower being better; law: share of "
    "books in % whose losses were more or deeper than it states (Acerbi and Szekely 2014, Z2, at 5 %), no law where it "
    "states none."
)


def headline(comparison: Comparison) -> pd.DataFrame:
    """The table a person reads first, in percent of gross notional; ordered by margin at equal coverage."""
    table, run = comparison.to_frame(), next(iter(comparison.replays.values()))
    books = max(int(run.live.any(axis=0).sum()), 1)

    def percent(name: str, digits: int = 2) -> list[str]:
        return [f"{100 * value:.{digits}f}" for value in table[name]]

    def span(low: str, high: str, scale: float, digits: int) -> list[str]:
        pairs = zip(table[low], table[high], strict=True)
        return [f"{scale * a:.{digits}f}..{scale * b:.{digits}f}" for a, b in pairs]

    shown = pd.DataFrame(
        {
            "at equal coverage": percent("equal_margin"),
            "95 %": span("equal_low", "equal_high", 100, 2),
            "covers": percent("equal_coverage"),
            "x best": [f"{value:.2f}" for value in table["equal_ratio"]],
            "95 % ": span("equal_ratio_low", "equal_ratio_high", 1, 2),
            "in set (p)": [
                "-" if kept is None else f"{'yes' if kept else 'no'} ({p:.2f})"
                for kept, p in zip(table["in_set"], table["set_p"], strict=True)
            ],
            "charged": percent("mean_margin"),
            "coverage": percent("coverage"),
            "worst 5 %": percent("coverage_worst_twentieth"),
            "breaches": [f"{value / books:.1f}" for value in table["breaches"]],
            "rejected (FDR)": [
                f"{100 * each:.0f} ({100 * left:.0f})"
                for each, left in zip(table["books_rejected"], table["books_discovered"], strict=True)
            ],
            "power": percent("power", 0),
            "FZ0": [f"{value:.2f}" for value in table["fz0"]],
            "law": [
                f"{100 * share:.0f}" if states else "no law"
                for share, states in zip(table["law_rejected"], table["states_law"], strict=True)
            ],
            "shortfall": percent("mean_shortfall", 4),
            "peak": percent("peak_shortfall", 1),
            "peak/trough": [f"{value:.1f}" for value in table["peak_to_trough"]],
        },
        index=[name if ranked else f"({name})" for name, ranked in zip(table.index, table["ranked"], strict=True)],
    )
    return shown.replace({"nan": "-", "nan..nan": "-", "nan (nan)": "-"})


def text(result: StudyResult) -> str:
    """Every market's table, what its models noted, and its crises, for a terminal."""
    parts = []
    for judged in result.markets:
        comparison, coverage = judged.comparison, judged.market.coverage
        run = next(iter(comparison.replays.values()))
        parts.append(
            f"{judged.market.title}: {len(run.portfolios)} books, {len(run.time)} decisions "
            f"({run.skipped} skipped), {len(run.disjoint)} independent trials, "
            f"{len(run.disjoint) * (1 - coverage.level):.1f} breaches a book expected on these; % of gross notional\n"
            f"{headline(comparison).to_string()}\n"
            f"{comparison.losses.sentence}"
        )
        laws = comparison.law_losses
        if laws is not None and len(laws.models) > 1:
            parts[-1] += f"\n{laws.sentence}"
        parts += filter(None, [notes_text(comparison), crises_text(comparison, judged.market.crises)])
    return "\n\n".join([*parts, f"{FALSE_DISCOVERIES}\n{LAWS}"])


def notes_text(comparison: Comparison) -> str:
    """What the models noted (fits refused, say), a line a note and at most NOTES_SHOWN of them, "" where there is none.

    Models that noted the same share a line.
    """
    noted: dict[str, list[str]] = {}
    for name, run in comparison.replays.items():
        for note in run.notes:
            noted.setdefault(note, []).append(name)
    lines = [f"  {'; '.join(names)}: {note}" for note, names in noted.items()]
    if len(lines) > NOTES_SHOWN:
        lines = [*lines[:NOTES_SHOWN], f"  and {len(lines) - NOTES_SHOWN} more"]
    return "\n".join(["Noted by the models", *lines]) if lines else ""


def crises_text(comparison: Comparison, crises: Any) -> str:
    """Coverage and peak shortfall of each model in each named crisis, "" where there is none."""
    table = comparison.crises(crises)
    if table.empty:
        return ""
    table["told"] = [
        f"{100 * coverage:5.1f} / {100 * peak:5.1f}"
        for coverage, peak in zip(table["coverage"], table["peak shortfall"], strict=True)
    ]
    wide = table.set_index(["model", "crisis"])["told"].unstack()  # noqa: PD010  texts are not to be aggregated
    order = [name for name in comparison.to_frame().index if name in wide.index]
    wide = wide.loc[order, [crisis for crisis in crises if crisis in wide.columns]]
    wide.index.name = wide.columns.name = None
    return f"In each crisis: coverage % / peak shortfall, % of gross notional\n{wide.to_string()}"


def as_json(result: StudyResult) -> str:
    """The whole result as JSON (numbers that are not known are null), for machines."""
    return json.dumps(_jsonable(result), indent=1, allow_nan=False)


def _jsonable(result: StudyResult) -> dict[str, Any]:
    markets = []
    for judged in result.markets:
        plan, frame, law = judged.market, judged.comparison.to_frame(), judged.comparison.law_losses
        markets.append(
            {
                "market": plan.name,
                "title": plan.title,
                "data_hash": judged.data_hash,
                "source": judged.history.source,
                "implied": judged.history.implied,
                "level": plan.coverage.level,
                "horizon": plan.coverage.horizon,
                "window": plan.window,
                "refit_every": plan.refit_every,
                "models": [{"model": name, **_clean(row)} for name, row in frame.to_dict("index").items()],
                "confidence_set": _confidence_set(judged.comparison.losses),
                "law_confidence_set": law if law is None else _confidence_set(law),
                "crises": [_clean(row) for row in judged.comparison.crises(plan.crises).to_dict("records")],
                "notes": {name: list(run.notes) for name, run in judged.comparison.replays.items() if run.notes},
            }
        )
    return {"study": result.study.name, "markets": markets}


def _confidence_set(told: LossComparison) -> dict[str, Any]:
    """The tests of a comparison of losses; p-values that nothing could be tested for are 1."""
    return {
        "models": list(told.included) if told.testable else [],
        "testable": told.testable,
        "size": told.confidence_set.size,
        "losses": told.what,
        "dates": told.dates,
        "mean_block": told.block,
        "notes": told.notes,
        "tests": [_clean(row) for row in told.to_frame().reset_index().to_dict("records")],
    }


def _clean(row: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(key): None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
    }
