"""What does a proposal change, for whom, and how sure is that?"""

from typing import Any

import numpy as np

from backtest.bootstrap import interval
from backtest.comparison import Comparison, Periods
from backtest.replay import Replay
from backtest.scores import Judgement, dates_drawn, judge
from data import Floats
from research.evidence_tables import disclosed

MULTIPLES = {"aggressive": 0.8, "moderate": 1.0, "conservative": 1.25}
BOOKS_TOLD, CRISES_FOUND = 12, 3
DIGITS = 9  # by which numbers are put in order: the last ones differ from processor to processor, and no order may
BOOK_CHANGE = 0.01  # of its margin, from which a book is said to pay more or less
Told = dict[str, Any]


def effect(current: Replay, candidate: Replay) -> Told:
    """What both charge and leave uncovered, and the difference with 95 % intervals, the same dates drawn for both.

    Margins and shortfalls are per unit of gross notional; `margin_change` and `equal_change` are shares of the
    current model's.
    """
    draws = dates_drawn(current)
    judged = judge(current), judge(candidate)
    paid, short, breaches = (_by_date(current, candidate, name) for name in ("initial", "shortfall", "breached"))
    held = current.live.sum(axis=1)
    count = np.maximum(draws @ held, 1)
    return {
        "current": _level(judged[0]),
        "candidate": _level(judged[1]),
        "margin_change": _told(
            paid[1].sum() / paid[0].sum() - 1.0 if paid[0].sum() > 0 else np.nan,
            np.divide(draws @ paid[1], draws @ paid[0], out=np.full(len(draws), np.nan), where=draws @ paid[0] > 0) - 1,
        ),
        "shortfall_change": _told((short[1] - short[0]).sum() / held.sum(), (draws @ (short[1] - short[0])) / count),
        "coverage_change": _told(
            (breaches[0] - breaches[1]).sum() / held.sum(), (draws @ (breaches[0] - breaches[1])) / count
        ),
        "equal_change": _equal_change(*judged),
    }


def _level(judged: Judgement) -> Told:
    names = ("mean_margin", "coverage", "coverage_low", "coverage_high", "coverage_worst_book", "mean_shortfall")
    more = ("peak_shortfall", "peak_to_trough", "equal_margin", "equal_low", "equal_high", "equal_coverage")
    counts = ("breaches", "breaches_expected", "trials", "books_rejected", "power", "decisions", "skipped")
    return {name: float(getattr(judged.card, name)) for name in (*names, *more, *counts)}


def _by_date(current: Replay, candidate: Replay, panel: str) -> tuple[Floats, Floats]:
    """A panel of both replays summed over the books held, (R,) each."""
    both = [np.where(run.live, getattr(run, panel), 0.0).sum(axis=1) for run in (current, candidate)]
    return both[0], both[1]


def _told(value: float, drawn: Floats) -> Told:
    low, high = interval(drawn)
    return {"value": float(value), "low": low, "high": high}


def _equal_change(current: Judgement, candidate: Judgement) -> Told:
    """The change of the margin at equal coverage; its spread is that of the ex-post ratio on the same drawn dates."""
    change = candidate.card.equal_margin / current.card.equal_margin
    with np.errstate(divide="ignore", invalid="ignore"):
        paired = candidate.drawn / current.drawn
    middle = np.nanmedian(paired) if np.isfinite(paired).any() else np.nan
    return _told(change - 1.0, change * paired / middle - 1.0)


def affected(current: Replay, candidate: Replay) -> Told:
    """Which books pay more and which less.

    Told one by one are those raised most, those cut most, and the one that loses most coverage.

    `apart` is how far a book's change lies from that of all together, at most.
    """
    rows = [book_row(current, candidate, p) for p in range(len(current.portfolios)) if current.live[:, p].any()]
    change = np.array([row["change"] for row in rows], dtype=np.float64)
    known = np.round(np.nan_to_num(change), DIGITS)
    live = current.live
    paid = float(current.initial[live].sum()), float(candidate.initial[live].sum())
    whole = paid[1] / paid[0] - 1.0 if paid[0] > 0 else 0.0
    order = np.argsort(-known, kind="stable")
    raised = min(BOOKS_TOLD // 2, len(rows))
    drop = np.round([row["coverage_before"] - row["coverage_after"] for row in rows], DIGITS)
    chosen = dict.fromkeys([*order[:raised], *order[raised:][-(BOOKS_TOLD - raised) :], int(drop.argmax())])
    return {
        "count": len(rows),
        "more": int((known > BOOK_CHANGE).sum()),
        "less": int((known < -BOOK_CHANGE).sum()),
        "threshold": BOOK_CHANGE,
        "median": float(np.median(known)),
        "highest": float(known.max()),
        "lowest": float(known.min()),
        "apart": float(np.abs(known - whole).max()),
        "drop": float(drop.max()),
        "books": [rows[p] for p in chosen],
    }


def book_row(current: Replay, candidate: Replay, p: int) -> Told:
    """Mean margin, coverage and largest shortfall of one book under both; it must be held at some decision."""
    live = current.live[:, p]
    before, after = (float(run.initial[live, p].mean()) for run in (current, candidate))
    return {
        "name": current.portfolios[p],
        "before": before,
        "after": after,
        "change": after / before - 1.0 if before > 0 else float("nan"),
        "coverage_before": float(1.0 - current.breached[live, p].mean()),
        "coverage_after": float(1.0 - candidate.breached[live, p].mean()),
        "peak_before": float(current.shortfall[live, p].max()),
        "peak_after": float(candidate.shortfall[live, p].max()),
    }


def variants(current: Replay, candidate: Replay) -> list[Told]:
    """The candidate times a multiple: three that are stated, and two that hold one thing as it is today.

    "same capital" asks for the current model's mean margin, "same shortfall" leaves its mean shortfall.
    """
    live = current.live
    today = float(current.initial[live].mean()), float(current.shortfall[live].mean())
    margin = float(candidate.initial[live].mean())
    multiples: dict[str, float] = {**MULTIPLES, "same capital": today[0] / margin if margin > 0 else float("nan")}
    multiples["same shortfall"] = _multiple_for(candidate, today[1])
    rows = [{"name": "current model", "multiple": float("nan"), **_scaled(current, 1.0)}]
    rows += [{"name": name, "multiple": k, **_scaled(candidate, k)} for name, k in multiples.items()]
    return rows


def _scaled(run: Replay, multiple: float) -> Told:
    live = run.live
    margin, loss = multiple * run.initial[live], run.loss[live]
    short = np.maximum(loss - margin, 0.0)
    return {
        "margin": float(margin.mean()),
        "coverage": float(1.0 - (loss > margin).mean()) if np.isfinite(multiple) else float("nan"),
        "shortfall": float(short.mean()),
        "peak": float(short.max()),
    }


def _multiple_for(run: Replay, shortfall: float) -> float:
    """The least multiple of the margin whose mean shortfall is no more than that; NaN where a hundredfold is not."""
    loss, margin = run.loss[run.live], run.initial[run.live]

    def left(multiple: float) -> float:
        return float(np.maximum(loss - multiple * margin, 0.0).mean())

    low, high = 0.0, 100.0
    if left(high) > shortfall:
        return float("nan")
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if left(middle) > shortfall else (low, middle)
    return high


def worst_periods(run: Replay) -> Periods:
    """The horizons in which the books lost most on average, so many that do not overlap, the worst first."""
    lost = np.where(run.live, run.loss, 0.0).sum(axis=1) / np.maximum(run.live.sum(axis=1), 1)
    depth = np.where(run.live, np.maximum(run.loss, 0.0), 0.0).sum(axis=1) + 1e-6 * lost
    found: list[int] = []
    for row in np.argsort(-np.round(depth, DIGITS), kind="stable").tolist():
        apart = all(run.time[row] >= run.end[other] or run.end[row] <= run.time[other] for other in found)
        if apart and len(found) < CRISES_FOUND:
            found.append(row)
    days = [(str(run.time[row])[:10], str(run.end[row])[:10]) for row in found]
    return {f"losses of {first}": (first, last) for first, last in days}


def crises(current: Replay, candidate: Replay, periods: Periods) -> list[Told]:
    """How both fared in each period that the replay holds, the most uncovered under the current model first.

    The order in which periods are named does not matter: JSON does not keep it.
    """
    table = Comparison("", {"current": current, "candidate": candidate}).crises(periods)
    if table.empty:
        return []
    rows = []
    for name, both in table.groupby("crisis", sort=False):
        told = both.set_index("model")
        row: Told = {"name": str(name), "first": periods[str(name)][0], "last": periods[str(name)][1]}
        for model in ("current", "candidate"):
            one = told.loc[model]
            row[model] = {key.replace(" ", "_"): float(one[key]) for key in one.index if key != "crisis"}
            eve = row[model]["margin_before"]
            row[model]["rise"] = row[model]["peak_margin"] / eve if eve > 0 else float("nan")
        rows.append(row)
    return sorted(rows, key=lambda row: (-round(row["current"]["mean_shortfall"], DIGITS), row["first"], row["name"]))


def disclosure(current: Replay, candidate: Replay) -> list[Told]:
    """The supervisors' table: one row a model and book, "all books" first."""
    rows = []
    for model, run in (("current", current), ("candidate", candidate)):
        for name, row in disclosed(run).iterrows():
            figures = {str(key).replace(" ", "_"): value for key, value in row.items() if key != "zone"}
            rows.append({"model": model, "portfolio": str(name), **figures, "zone": str(row["zone"])})
    return rows
