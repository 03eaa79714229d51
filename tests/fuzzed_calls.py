"""Can any arguments make a public entry point answer wrongly, or break? `python tests/fuzzed_calls.py 100000` tries.

Every call must give an answer that can be right (finite margins >= 0, probabilities in [0, 1], a verdict with its
evidence), or raise an error of `data.errors`; or TypeError (AttributeError, of a method that it lacks) where a value is
of another Python type. Whatever else a call raises, or answers, is printed with the seed that makes it again.
"""

import math
import os
import pickle
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from fuzzed_contents import read_files, read_published
from fuzzed_draws import (
    COUNTS,
    COVERAGE,
    MARKETS,
    NUMBERS,
    PERPETUALS,
    TEXTS,
    Draw,
    holds,
    judged,
    market,
    models,
    probabilities,
    published,
    state,
)

from backtest import coverage_tests
from backtest.e_backtests import evidence_path, quantile_evidence, shortfall_evidence
from backtest.false_discoveries import discoveries, q_values
from backtest.scores import score
from data import (
    Account,
    Book,
    BookRecipe,
    Clock,
    Coverage,
    Instrument,
    MarginlabError,
    MarketHistory,
    standing,
)
from research import gates
from research.gates import Case
from research.limits import Limits
from research.night_data import as_of

Call = Callable[[Draw], str]


# ---- One function a sort of call; each says how it ended


def ask_model(draw: Draw) -> str:
    """A model with other parameters, fitted on a market, asked for the margin of a book."""
    model = draw.one(models())
    given = {name: value for name, value in model.get_params(deep=False).items() if not hasattr(value, "fit")}
    if given and draw.chance(0.6):
        name = draw.one(sorted(given))
        given = {name: draw.like(given[name])}
    made = type(model)(**{**model.get_params(deep=False), **given})
    past = market(draw.one(MARKETS))
    coverage = draw.one((COVERAGE, COVERAGE, Coverage(0.99, "2D"), Coverage(0.995, "1D", "worst"), Coverage(0.9, "1h")))
    size = int(draw.rng.integers(1, 4))
    book = Book(PERPETUALS, tuple(f"p{n}" for n in range(size)), draw.numbers((size, 3), 0.02))
    told = made.fit(past, coverage).requirement(past, book)
    for margin in (told.initial, told.maintenance):
        holds(margin.shape == (size,) and bool((np.isfinite(margin) & (margin >= 0)).all()), (made, margin))
    return "answered"


def build_history(draw: Draw) -> str:
    """A history of a frame that may be wrong in any way."""
    rows = int(draw.rng.integers(0, 40))
    closes = np.exp(draw.rng.normal(size=(rows, 2)).cumsum(0) * 0.02) * 100.0
    if rows and draw.chance(0.4):
        closes[int(draw.rng.integers(rows)), draw.one((0, 1))] = draw.one(NUMBERS)
    index: Any = pd.date_range("2020-01-01", periods=rows, freq=draw.mostly("1D", "1h", "B", "7min"))
    index = draw.mostly(index, index[::-1], index.tz_localize("UTC"), pd.RangeIndex(rows), index.map(str), share=0.2)
    if rows > 3 and draw.chance(0.1):
        at = draw.rng.integers(0, rows, size=rows)
        index = index[np.sort(at) if draw.chance(0.5) else at]
    frame = pd.DataFrame(closes, index, draw.mostly(["A", "B"], ["A", "A"], ["", "B"], [1, 2]))
    if draw.chance(0.1):
        frame = frame.astype(draw.one((str, object, "float32")))
    given: dict[str, Any] = {"missing": draw.mostly(draw.one(("refuse", "hole")), "x")}
    given |= {"clock": draw.mostly(None, "1D", "1h", "1B", *TEXTS), "tz": draw.mostly(None, "UTC", "Mars")}
    if draw.chance(0.2):
        given["defaults"] = {draw.one(("A", "Z")): draw.one(("2020-01-05", "never", "2099-01-01", "2020-01-01"))}
    told = MarketHistory.from_frame(frame, **given)
    spot, time = told.spot, told.time
    holds(bool(((spot >= 0) | np.isnan(spot)).all() and not np.isinf(spot).any()), spot)
    holds(bool((np.diff(time) > np.timedelta64(0, "ns")).all()), time)
    returns = told.returns(Coverage(0.95, draw.mostly("1D", "1h", "1B", "2D")))
    holds(not np.isinf(returns).any(), returns)
    return "answered"


def state_facts(draw: Draw) -> str:
    """The frozen facts: coverage, clock, instrument, book, limits, as-of."""
    which = int(draw.rng.integers(7))
    if which == 0:
        level, horizon = draw.like(0.99), draw.like("1D")
        told = Coverage(level, horizon, draw.one(("end", "worst", "x")), draw.like("USD"))
        holds(0.5 < told.level < 1 and told.years > 0, told)
    elif which == 1:
        clock = Clock(draw.like("1D"), draw.one(((), (), ("2020-01-01",), ("x",))))
        start = np.datetime64("2020-01-01", "ns")
        holds(
            len(clock.grid(start, start + np.timedelta64(40, "D"))) >= 1 if clock.step in ("1D", "1B") else True, clock
        )
    elif which == 2:
        kind = draw.one(("spot", "perpetual", "future", "option", "x"))
        option = {"strike": draw.like(100.0), "right": draw.one(("call", "put", "x"))} if draw.chance(0.5) else {}
        dated = {"expiry": draw.one(("2030-01-01", "2030-01-01T08", "x", "2030-01-01T00:00Z", 5))}
        rest: dict[str, Any] = {**option, **(dated if draw.chance(0.5) else {})}
        made = Instrument("X", "BTC", kind, draw.like(1.0), draw.one(("linear", "inverse", "x")), **rest)
        holds(0 < made.multiplier < math.inf, made)
    elif which == 3:
        shape = (int(draw.rng.integers(0, 4)), int(draw.rng.integers(1, 4)))
        book = Book(
            PERPETUALS[: draw.one((1, 2, 3))], tuple(map(str, range(draw.one((0, 1, 2, 3))))), draw.numbers(shape)
        )
        exposure = book.exposure(market(draw.one(("plain", "plain", "holes", "dead"))).now)
        holds(bool(np.isfinite(exposure).all()), exposure)
    elif which == 4:
        name = draw.one(sorted(Limits.__dataclass_fields__))
        limits = Limits(**{name: draw.like(getattr(Limits(), name))})
        holds(all(math.isfinite(value) for value in vars(limits).values()), limits)
    elif which == 5:
        night = as_of(
            draw.one((*TEXTS, "2024-02-30", "2024-02-29", "2024-02-29T05", "1500", "9999-01-01", "NaT", "2024-W1"))
        )
        holds(not np.isnat(night.until), night)
    else:
        weight = draw.numbers((2, 3))
        recipe = BookRecipe(PERPETUALS, draw.one((("a", "b"), ("a",), ("a", "a"))), weight)
        book = recipe.at(market(draw.one(("plain", "holes", "dead"))).now)
        gross = book.gross(market("plain").now)
        holds(bool((np.isfinite(gross) & (gross >= 0)).all()), gross)
    return "answered"


def keep_account(draw: Draw) -> str:
    """An account beside a book: what stands, and whether it covers."""
    size = int(draw.rng.integers(1, 4))
    currencies = draw.mostly(draw.one((("USD",), ("USD", "BTC"))), ("USD", "USD"), ("EUR",))
    cash = draw.numbers((draw.mostly(size, 2), draw.mostly(len(currencies), 3)), 0.05) * 1e5
    assets = draw.mostly(draw.one(((), ("BTC",), ("ETH", "SOL"))), ("BTC", "BTC"), ("XRP",))
    collateral = np.abs(draw.numbers((len(cash), len(assets)), 0.05)) if assets or draw.chance(0.5) else None
    haircut = draw.mostly(np.full(len(assets), 0.1), draw.numbers((len(assets),)), np.empty(3))
    account = Account(currencies, cash, assets, collateral, haircut)
    book = Book(PERPETUALS, tuple(map(str, range(size))), draw.numbers((size, 3), 0.02))
    margin = draw.mostly(np.abs(draw.rng.normal(size=size)), draw.numbers((size,), 0.5), np.zeros(9))
    past = market(draw.one(("plain", "plain", "holes", "dead")))
    told = standing(account, book, past.now, margin, margin / 2.0)
    for name, value in vars(told).items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            holds(not np.isnan(value).any(), (name, value))
    return "answered"


def pass_gates(draw: Draw) -> str:
    """Every gate on a case that nobody foresaw: a verdict, and evidence without a NaN."""
    mine, theirs = judged()
    told, _ = published()
    moved = {
        name: replace(one, scan_range=one.scan_range * float(np.exp(2 * draw.rng.normal())))
        for name, one in told.assets.items()
        if draw.chance(0.9)
    }
    found = replace(told, assets=moved, mean_margin=draw.one((told.mean_margin, *NUMBERS)))
    limits = draw.one((Limits(), Limits(jump=1.01), Limits(fall=0.01), Limits(volatility=1.5), Limits(shadow=0)))
    case = Case(
        mine,
        draw.one((None, theirs, mine)),
        found,
        draw.one((None, told)),
        draw.one((None, told)),
        draw.one(((), ("a: no optimum",))),
        draw.one(((), ("a doubt",))),
        draw.one(((), ("a remark",))),
        draw.one((1.0, 0.5, 1e-9)),
    )
    every = draw.one((gates.RECALIBRATION, gates.PROMOTION, gates.FIRST))
    results = gates.through(every, case, limits)
    holds(all(result.verdict in ("passed", "refused", "borderline") for result in results), results)
    holds(all(not math.isnan(value) for result in results for value in result.evidence.values()), results)
    unsound = not all(math.isfinite(value) for value in (found.mean_margin,)) and case.before is not None
    holds(not (unsound and gates.outcome(results) == "passed" and every is gates.RECALIBRATION), results)
    return "answered"


def count(draw: Draw, most: int = 300) -> Any:
    """A count, of which a few are none."""
    wrong = (*COUNTS, 3.5, math.nan, math.inf, 1e300, np.arange(4), np.array([1.0, math.nan]), [1, 2], "x")
    return draw.mostly(int(draw.rng.integers(0, most)), *wrong, share=0.08)


def judge_breaches(draw: Draw) -> str:
    """Tests of coverage on counts."""
    rate = draw.mostly(draw.one((0.01, 0.05, 0.025)), *NUMBERS, "x")
    which = int(draw.rng.integers(5))
    if which == 0:
        told = draw.one((coverage_tests.kupiec, coverage_tests.too_many))(count(draw, 20), count(draw), rate)
        probabilities(told.p_value)
    elif which == 1:
        probabilities(coverage_tests.tuff(count(draw), rate).p_value)
    elif which == 2:
        probabilities(coverage_tests.traffic_light(count(draw, 20), count(draw), rate).cumulative)
    else:
        moves = coverage_tests.Transitions(*(count(draw) for _ in range(4)))
        if which == 3:
            probabilities(coverage_tests.independence(moves, rate).p_value)
        else:
            probabilities(coverage_tests.conditional_coverage(count(draw, 20), count(draw), moves, rate).p_value)
    return "answered"


def bet_on_losses(draw: Draw) -> str:
    """Evidence against forecasts, and discoveries among tests."""
    rate = draw.mostly(draw.one((0.01, 0.05, 0.1)), *NUMBERS)
    loss = draw.numbers((30,))
    var, beyond = np.abs(draw.numbers((30,), 0.01)), np.abs(draw.numbers((30,), 0.01)) + 3.0
    which = int(draw.rng.integers(4))
    if which == 0:
        told = quantile_evidence(loss, var, rate)
        holds(bool((np.isfinite(told) & (told >= 0)).all()), told)
    elif which == 1:
        told = shortfall_evidence(loss, var, beyond, rate)
        holds(bool((np.isfinite(told) & (told >= 0)).all()), told)
    elif which == 2:
        path = evidence_path(loss, var, rate, es=draw.one((None, beyond)))
        holds(bool((np.isfinite(path.capital) & (path.capital >= 0)).all()), path.capital)
    else:
        p_value = draw.one((draw.rng.random(9), draw.numbers((9,)), np.empty(0)))
        probabilities(q_values(p_value, dependent=draw.chance(0.5)))
        discoveries(p_value, draw.one((0.05, *NUMBERS)))
    return "answered"


def score_replay(draw: Draw) -> str:
    """Scores of a replay whose figures were changed: a number, or NaN, and coverage within [0, 1]."""
    run = judged()[0].replay
    initial = np.array(run.initial)
    if draw.chance(0.7):
        at = draw.rng.random(initial.shape) < 0.02
        initial[at] = draw.one((0.0, 1e300, np.nan, 1e-300))
    card = score(replace(run, initial=initial, maintenance=initial))
    holds(0.0 <= card.coverage <= 1.0, card)
    holds(not any(math.isinf(value) for value in vars(card).values() if isinstance(value, float)), card)
    return "answered"


CALLS: dict[str, tuple[Call, int]] = {
    "models": (ask_model, 22),
    "histories": (build_history, 16),
    "facts": (state_facts, 18),
    "accounts": (keep_account, 10),
    "published": (read_published, 16),
    "files": (read_files, 5),
    "gates": (pass_gates, 2),
    "coverage": (judge_breaches, 8),
    "evidence": (bet_on_losses, 12),
    "scores": (score_replay, 1),
}


@dataclass
class Tally:
    """How calls ended, by their sort and by the error; and what is wrong, a line each."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def fuzz(count: int, seed: int = 0, first: int = 0, step: int = 1) -> Tally:
    """Make calls `first`, `first + step`, ... below a count."""
    tally, names = Tally(), [name for name, (_, share) in CALLS.items() for _ in range(share)]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for number in range(first, count, step):
            draw = Draw(seed, number)
            name = draw.one(names)
            try:
                tally.ended[name, CALLS[name][0](draw)] += 1
            except (MarginlabError, TypeError) as error:
                tally.ended[name, "refused"] += 1
                tally.errors[type(error).__name__] += 1
            except AttributeError as error:  # how Python says it of a value of another type that is asked for a method
                tally.ended[name, "refused" if draw.other_type else "wrong"] += 1
                tally.errors["AttributeError"] += 1
                if not draw.other_type:
                    tally.wrong.append(f"call {number} of seed {seed}, {name}: {error}")
            except Exception as error:
                tally.ended[name, "wrong"] += 1
                words = " ".join(str(error).split())[:160]
                tally.wrong.append(f"call {number} of seed {seed}, {name}: {type(error).__name__}: {words}")
    return tally


def fuzzed(count: int, seed: int) -> Tally:
    """The same, shared out to processes where they can be forked."""
    workers = os.cpu_count() or 1
    if os.name != "posix" or workers < 2:
        return fuzz(count, seed)
    ready = (published(), judged(), state(), [market(name) for name in MARKETS])  # once, before the fork
    assert ready
    pipes = []
    for worker in range(workers):
        ours, theirs = os.pipe()
        if not os.fork():
            with os.fdopen(theirs, "wb") as pipe:
                pickle.dump(fuzz(count, seed, worker, workers), pipe)
            os._exit(0)
        os.close(theirs)
        pipes.append(ours)
    whole = Tally()
    for ours in pipes:
        with os.fdopen(ours, "rb") as pipe:
            part: Tally = pickle.load(pipe)
        whole.ended += part.ended
        whole.errors += part.errors
        whole.wrong += part.wrong
    return whole


def main() -> None:
    """Print how calls ended, by their sort."""
    count, seed = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, int(sys.argv[2]) if len(sys.argv) > 2 else 0
    tally = fuzzed(count, seed)
    print(f"{'calls of':12}{'all':>9}{'answered':>10}{'refused':>9}{'wrong':>7}")
    for name in (*CALLS, "all"):
        told = {
            how: sum(n for (of, end), n in tally.ended.items() if name in (of, "all") and end == how)
            for how in ("answered", "refused", "wrong")
        }
        every = sum(n for (of, _), n in tally.ended.items() if name in (of, "all"))
        print(
            f"{name:12}{every:9d}"
            + "".join(f"{told[how]:{w}d}" for how, w in (("answered", 10), ("refused", 9), ("wrong", 7)))
        )
    print(", ".join(f"{error} {times}" for error, times in tally.errors.most_common()))
    print("\n".join(tally.wrong[:60]) or "every call answered soundly, or was refused in so many words")
    sys.exit(bool(tally.wrong))


if __name__ == "__main__":
    main()
