"""What do tests say of each model, with the power that gives their word weight?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from backtest.coverage_tests import SIZE, count_transitions, independence, kupiec, traffic_light
from backtest.law_verdicts import NO_LAW, NO_PIT, law_verdicts
from backtest.replay import Replay
from backtest.tail_path import TailPath

LOW_POWER, FAIR_POWER = 0.5, 0.8  # at twice the breach rate: below, "not rejected" is no evidence, or a weak one


def coverage_verdict(run: Replay) -> dict[str, Any]:
    """Exact Kupiec and Basel's zones on disjoint horizons, over all books and for the one in the middle."""
    rate, rows = 1.0 - run.coverage.level, run.disjoint
    held = run.live[rows].any(axis=0)
    breaches, trials = run.breached[rows][:, held].sum(axis=0), run.live[rows][:, held].sum(axis=0)
    test, light = kupiec(breaches, trials, rate), traffic_light(breaches, trials, rate)
    rejected, many = test.p_value < SIZE, breaches > trials * rate
    middle = np.argsort(light.cumulative, kind="stable")[(len(breaches) - 1) // 2]
    return {
        "rejected": rejected.mean(),
        "too_many": (rejected & many).mean(),
        "too_few": (rejected & ~many).mean(),
        "breaches": int(breaches[middle]),
        "trials": int(trials[middle]),
        "expected": trials[middle] * rate,
        "p_value": float(test.p_value[middle]),
        "p": p_in_words(float(test.p_value[middle])),
        "zone": str(light.zone[middle]),
        "zones": [int((light.zone == zone).sum()) for zone in ("green", "yellow", "red")],
        "words": verdict_in_words(test.p_value[middle], test.power[middle], bool(many[middle])),
    }


def verdict_in_words(p_value: float, power: float, many: bool) -> str:
    """What a p-value says, with the power that gives it weight.

    >>> verdict_in_words(0.4, 0.24, False)
    'not rejected; power 24 %: no evidence'
    """
    if p_value < SIZE:
        return f"rejected: too {'many' if many else 'few'} breaches"
    weight = ": no evidence" if power < LOW_POWER else ": weak evidence" if power < FAIR_POWER else ""
    return f"not rejected; power {100 * power:.0f} %{weight}"


def law_tests(runs: Mapping[str, Replay], books: Sequence[str]) -> dict[str, Any]:
    """Names of the tests that need a law, and a cell a test for each model; nothing where no model states one.

    A few books are asked: their p-values are simulated for each number of breaches, and of hundreds that takes long.
    """
    if all(run.tail is None for run in runs.values()):
        return {"law_tests": [], "laws": {}}
    told = {name: law_verdicts(some_books(run, books)) for name, run in runs.items()}
    tests = [str(test) for test in next(iter(told.values())).index]
    return {"law_tests": tests, "laws": {name: _law_cells(table, len(books)) for name, table in told.items()}}


def some_books(run: Replay, books: Sequence[str]) -> Replay:
    """The replay of some portfolios alone."""
    p = [run.portfolios.index(name) for name in books]
    panels = {name: getattr(run, name)[:, p] for name in ("initial", "maintenance", "loss_end", "loss_worst")}
    tail = None if run.tail is None else TailPath(run.tail.var[:, p], run.tail.es[:, p], run.tail.pit[:, p])
    return replace(run, portfolios=tuple(books), tail=tail, **panels)


def _law_cells(table: pd.DataFrame, books: int) -> list[dict[str, Any]]:
    """How many books each test rejects of those it can test, in words, and the p-value and power in the middle."""
    cells: list[dict[str, Any]] = []
    for row in table.to_dict("records"):
        tested = round(row["testable"] * books)
        if not tested:
            known = {NO_LAW: "no law", NO_PIT: "no distribution"}
            cells.append({"words": known.get(row["notes"], "not testable"), "figures": ()})
            continue
        power = "not known" if np.isnan(row["median_power"]) else f"{100 * row['median_power']:.0f} %"
        p_value = p_in_words(float(row["median_p"]))
        rejected = f"{round(row['rejected'] * tested)} of {tested}"
        cells.append({"words": rejected, "figures": (f"p {p_value}", f"power {power}")})
    return cells


def bunching(run: Replay, portfolio: str) -> dict[str, Any]:
    """Christoffersen's independence of one book's breaches on disjoint horizons, in words, and how many there were."""
    breached = run.breached[run.disjoint, run.portfolios.index(portfolio)]
    table = count_transitions(breached)
    verdict = independence(table, 1.0 - run.coverage.level)
    n00, n01, n10, n11 = (float(np.asarray(count)) for count in table)
    apart = "bunched" if n11 * (n00 + n01) > n01 * (n10 + n11) else "spread out"
    told = f"{apart if verdict.p_value < SIZE else 'not rejected'}, p {p_in_words(float(verdict.p_value))}"
    return {"words": told if verdict.testable else "not testable", "breaches": int(breached.sum())}


def p_in_words(p_value: float) -> str:
    """A p-value to three digits.

    >>> p_in_words(0.04321), p_in_words(1e-9)
    ('0.043', '< 0.001')
    """
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
