"""May this model, as it was fitted tonight, set margins tomorrow, and if not, by how much does it fail?

A gate is a function of a case (what tonight's backtest and fit say) and of limits (what the operator set). It answers
passed, refused or borderline, with its evidence and a sentence. Lists of gates are data: RECALIBRATION is what the
model in force must pass to be published again, PROMOTION what another must pass to take its place, FIRST what the
very first model must.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from backtest.bootstrap import interval
from backtest.coverage_tests import too_many
from backtest.equal_coverage import at_equal_coverage
from backtest.false_discoveries import q_values
from backtest.kernels import tally
from backtest.procyclicality import largest_call
from backtest.replay import Replay
from backtest.scores import Judgement, dates_drawn
from data import Floats
from research.limits import Limits as Limits
from research.parameters import MarketParameters

Verdict = Literal["passed", "refused", "borderline"]


@dataclass(frozen=True, eq=False)
class Judged:
    """A model's replay up to tonight, and the judgement of it."""

    replay: Replay
    judgement: Judgement


@dataclass(frozen=True, eq=False)
class Case:
    """What is known of a model tonight.

    Parameters
    ----------
    judged : its own backtest; `champion` that of the model in force, None where there is none yet.
    parameters : what it would publish tonight; `before` what it would have, or has, published last; None if nothing.
    in_force : what is published, by whichever model; None if nothing is.
    refused_fits : what the parts of tonight's fit say of fits that they refused.
    doubts : what is doubtful in the newest rows of the data, a line each; `remarks` what a person should look at.
    share : part of `Limits.alpha` that is this candidate's.
    """

    judged: Judged
    champion: Judged | None
    parameters: MarketParameters
    before: MarketParameters | None
    in_force: MarketParameters | None = None
    refused_fits: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    share: float = 1.0


@dataclass(frozen=True)
class GateResult:
    """One gate's answer: its evidence as numbers, and a sentence that says by how much."""

    gate: str
    verdict: Verdict
    sentence: str
    evidence: dict[str, float] = field(default_factory=dict)


Gate = Callable[[Case, Limits], GateResult]


def coverage(case: Case, limits: Limits) -> GateResult:
    """Are breaches on horizons that do not overlap no more than the level allows?

    Refused where the exact one-sided test names more than the share `books` at the false discovery rate (Benjamini and
    Yekutieli 2001), or the 95 % block-bootstrap interval of all books' coverage lies below the level.
    """
    run, card = case.judged.replay, case.judged.judgement.card
    level = run.coverage.level
    trial = tally(run.loss[run.disjoint], run.initial[run.disjoint], level)
    some = trial.count > 0
    p_value = too_many(trial.breaches[some], trial.count[some], 1.0 - level).p_value
    named = int((q_values(p_value) <= limits.discovery).sum())
    rate, nominal = 1.0 - card.coverage, 1.0 - level
    evidence = {
        "coverage": card.coverage,
        "coverage_low": card.coverage_low,
        "coverage_high": card.coverage_high,
        "books_named": float(named),
        "books": float(some.sum()),
        "trials": card.trials,
        "least_p": float(p_value.min(initial=1.0)),
    }
    told = f"coverage {card.coverage:.2%} of {level:.2%} asked, on {card.trials:.0f} disjoint horizons"
    if named > limits.books * some.sum() or card.coverage_high < level:
        short = f"{named} of {some.sum()} books breached too often, {limits.books:.0%} may"
        if card.coverage_high < level:
            short += f"; the 95 % interval ends {level - card.coverage_high:.2%} below the target"
        return GateResult("coverage", "refused", f"{told}: {short}", evidence)
    if rate > nominal * (1.0 + limits.excess):
        more = f"{rate / nominal - 1.0:.0%} more breaches than asked, {limits.excess:.0%} go unseen"
        return GateResult("coverage", "borderline", f"{told}: {more}, but chance explains them", evidence)
    return GateResult("coverage", "passed", told, evidence)


def lasting_coverage(case: Case, limits: Limits) -> GateResult:
    """Is there evidence, that nightly re-selection cannot have bought, that breaches are rarer than `worse` times?

    An e-process (Wang, Wang and Ziegel 2025) on disjoint horizons bets that the mean share of books breached stays
    below `worse` times the nominal rate; were it not below, the capital would ever reach 1/share with a probability of
    at most `share`, whenever one looks. Shares of all candidates there ever were sum to alpha (`spent`).
    """
    run = case.judged.replay
    bad = limits.worse * (1.0 - run.coverage.level)
    rows = run.disjoint
    held = run.live[rows].sum(axis=1)
    hit = run.breached[rows].sum(axis=1)[held > 0] / held[held > 0]
    capital, highest = below_rate_evidence(hit, bad, 1.0 - run.coverage.level)
    needed = 1.0 / max(case.share * limits.alpha, 1e-300)
    evidence = {
        "e_value": capital,
        "highest": highest,
        "needed": needed,
        "share": case.share,
        "trials": float(len(hit)),
    }
    told = f"e-value {highest:.3g} of {needed:.3g} needed against {limits.worse:g} times the nominal breaches"
    if highest >= needed:
        return GateResult("lasting_coverage", "passed", told, evidence)
    if not len(hit) or hit.mean() >= bad:
        rate = float(hit.mean()) if len(hit) else math.nan
        so_far = f"{told}; the rate so far is {rate:.2%} of {bad:.2%}"
        return GateResult("lasting_coverage", "refused", so_far, evidence)
    short = f"{math.log10(needed / max(highest, 1e-300)):.1f} decades short: too little evidence either way"
    return GateResult("lasting_coverage", "borderline", f"{told}, {short}", evidence)


def below_rate_evidence(hit: Floats, bad: float, good: float) -> tuple[float, float]:
    """Capital now, and the most it has been, of a bet that shares `hit` (R,) in [0, 1] have means below `bad`.

    Each day's e-value is 1 + stake (bad - hit), of mean at most one where the mean is `bad` or more; stakes come from
    the days before and from the optimum of a single book that breaches at the rate `good`.

    >>> below_rate_evidence(np.zeros(500), 0.02, 0.01)[0] > 100, below_rate_evidence(np.ones(5), 0.02, 0.01)[0] < 1
    (True, True)
    """
    excess = bad - np.asarray(hit, dtype=np.float64)
    prior = 100.0
    gain = prior * (bad - good) + np.append(0.0, excess.cumsum())[:-1]
    square = prior * bad * (1.0 - bad) + np.append(0.0, (excess**2).cumsum())[:-1]
    stake = np.clip(gain / square, 0.0, 0.95 / (1.0 - bad))
    path = np.log1p(stake * excess).cumsum()
    last, most = (float(path[-1]), float(path.max())) if len(path) else (0.0, 0.0)
    return math.exp(min(last, 700.0)), math.exp(min(max(most, 0.0), 700.0))


def spent(candidates: Sequence[str], candidate: str) -> float:
    """A candidate's share of alpha: 1 / (n (n + 1)) for the nth there ever was; all of them sum to one.

    >>> spent(["a", "b"], "a"), round(sum(spent(["a", "b", "c"], name) for name in "abc"), 4)
    (0.5, 0.75)
    """
    n = candidates.index(candidate) + 1
    return 1.0 / (n * (n + 1))


def paired_shortfall(case: Case, limits: Limits) -> GateResult:  # noqa: ARG001  no limit but chance
    """Is the loss left uncovered no larger than under the champion, date by date, both scaled to the same coverage?

    Refused where the 95 % block-bootstrap interval of the mean difference lies above zero. As charged, a champion that
    asks for more than the level needs could never be followed; `coverage` is what judges a model as it charges.
    """
    if case.champion is None:
        return GateResult("paired_shortfall", "passed", "no champion to compare with")
    mine, theirs = (_by_date(_shortfall(one.replay)) for one in (case.judged, case.champion))
    both = np.isfinite(mine) & np.isfinite(theirs)
    difference = np.where(both, mine - theirs, 0.0)
    draws = dates_drawn(case.judged.replay)
    low, high = interval((draws @ difference) / np.maximum(draws @ both, 1))
    mean, base = float(difference.sum() / max(both.sum(), 1)), float(theirs[both].mean()) if both.any() else 0.0
    evidence = {"difference": mean, "low": low, "high": high, "champion": base}
    times = f"{mean / base:+.0%} of the champion's" if base > 0 else f"{mean:+.3g} a unit of notional"
    told = f"mean shortfall at equal coverage differs by {times} (95 %: {low:+.3g} to {high:+.3g})"
    if low > 0:
        return GateResult("paired_shortfall", "refused", f"{told}: all of the interval is worse", evidence)
    if mean > 0.1 * base and mean > 0:
        return GateResult("paired_shortfall", "borderline", f"{told}: worse, but chance explains it", evidence)
    return GateResult("paired_shortfall", "passed", told, evidence)


def efficiency(case: Case, limits: Limits) -> GateResult:
    """Is less capital asked for the same safety, by more than a change is worth?"""
    if case.champion is None:
        return GateResult("efficiency", "passed", "no champion to compare with")
    mine, theirs = case.judged.judgement, case.champion.judgement
    ratio = mine.card.equal_margin / theirs.card.equal_margin
    paired = mine.drawn / theirs.drawn
    middle = float(np.nanmedian(paired)) if np.isfinite(paired).any() else float("nan")
    low, high = interval(ratio * paired / middle)
    evidence = {"gain": 1.0 - ratio, "gain_low": 1.0 - high, "gain_high": 1.0 - low, "floor": limits.least_gain}
    told = f"saves {1.0 - ratio:.1%} of margin at equal coverage (95 %: {1.0 - high:.1%} to {1.0 - low:.1%})"
    if not 1.0 - ratio >= limits.least_gain:
        short = limits.least_gain - (1.0 - ratio)
        return GateResult("efficiency", "refused", f"{told}: {short:.1%} less than the floor", evidence)
    if not 1.0 - high > 0:
        return GateResult("efficiency", "borderline", f"{told}: chance may explain it", evidence)
    return GateResult("efficiency", "passed", told, evidence)


def procyclicality(case: Case, limits: Limits) -> GateResult:
    """Does margin pull no harder on those who post than the champion's, from trough to peak and within five days?"""
    if case.champion is None:
        return GateResult("procyclicality", "passed", "no champion to compare with")
    mine, theirs = case.judged, case.champion
    swing, theirs_swing = (one.judgement.card.peak_to_trough for one in (mine, theirs))
    call, theirs_call = (_median_call(one.replay) for one in (mine, theirs))
    swing_cap = max(limits.procyclicality * theirs_swing, limits.swing)
    call_cap = max(limits.procyclicality * theirs_call, limits.call * mine.judgement.card.mean_margin)
    evidence = {"peak_to_trough": swing, "peak_to_trough_cap": swing_cap, "call": call, "call_cap": call_cap}
    told = f"peak to trough {swing:.2f} of {swing_cap:.2f}, five-day call {call:.3g} of {call_cap:.3g} allowed"
    if not (swing <= swing_cap and call <= call_cap):
        beyond = max(swing / swing_cap, call / max(call_cap, 1e-300)) - 1.0
        return GateResult("procyclicality", "refused", f"{told}: {beyond:.0%} beyond the cap", evidence)
    return GateResult("procyclicality", "passed", told, evidence)


def parameter_jump(case: Case, limits: Limits) -> GateResult:
    """Has no scan range risen overnight by more than a market does?"""
    if case.before is None:
        return GateResult("parameter_jump", "passed", "nothing of its own to compare with")
    asset, ratio = _extreme(case.parameters, case.before, largest=True)
    evidence = {"largest_ratio": ratio, "cap": limits.jump}
    told = f"largest rise of a scan range: {asset} times {ratio:.2f}"
    if not ratio <= limits.jump:
        return GateResult("parameter_jump", "refused", f"{told}, cap {limits.jump:g}", evidence)
    if ratio > math.sqrt(limits.jump):
        return GateResult(
            "parameter_jump", "borderline", f"{told}, a person looks above {math.sqrt(limits.jump):.2f}", evidence
        )
    return GateResult("parameter_jump", "passed", told, evidence)


def overnight_fall(case: Case, limits: Limits) -> GateResult:
    """Has no scan range, and not the mean of the books, fallen overnight without an explanation?

    What poisoned data, a stale price or a diverged fit look like from the outside. A fall is never explained by itself.
    """
    if case.before is None:
        return GateResult("overnight_fall", "passed", "nothing of its own to compare with")
    asset, ratio = _extreme(case.parameters, case.before, largest=False)
    books = case.parameters.mean_margin / case.before.mean_margin
    fall = 1.0 - min(ratio, books)
    what = asset if ratio <= books else "the mean of the test books"
    evidence = {"fall": fall, "least_ratio": ratio, "books_ratio": books, "cap": limits.fall}
    told = f"largest fall: {what} by {max(fall, 0.0):.1%}"
    if not fall <= limits.fall:
        return GateResult("overnight_fall", "refused", f"{told}, {fall - limits.fall:.1%} beyond the cap", evidence)
    if fall > limits.fall / 2.0:
        return GateResult(
            "overnight_fall", "borderline", f"{told}, a person looks above {limits.fall / 2:.0%}", evidence
        )
    return GateResult("overnight_fall", "passed", told, evidence)


def step(case: Case, limits: Limits) -> GateResult:
    """Is the step from what is in force to what this model publishes no larger than one takes without a person?"""
    if case.in_force is None:
        return GateResult("step", "passed", "nothing in force to compare with")
    up, rise = _extreme(case.parameters, case.in_force, largest=True)
    down, fall = _extreme(case.parameters, case.in_force, largest=False)
    evidence = {"largest_ratio": rise, "least_ratio": fall, "jump": limits.jump, "fall": limits.fall}
    told = f"from what is in force {up} goes to {rise:.2f} times, {down} to {fall:.2f} times its scan range"
    if rise > limits.jump or fall < 1.0 - limits.fall:
        return GateResult("step", "borderline", f"{told}: beyond {1.0 - limits.fall:.2f} to {limits.jump:g}", evidence)
    return GateResult("step", "passed", told, evidence)


def convergence(case: Case, limits: Limits) -> GateResult:
    """Did tonight's fits converge, to something that the market has seen?"""
    ratio = {name: one.vol_forecast / one.vol_ewma for name, one in case.parameters.assets.items()}
    odd = [name for name, r in ratio.items() if not 1.0 / limits.volatility <= r <= limits.volatility]
    worst = max((abs(math.log(r)) if r > 0 else math.inf for r in ratio.values()), default=0.0)
    evidence = {"refused_fits": float(len(case.refused_fits)), "largest_log_ratio": min(worst, 1e300)}
    if case.refused_fits:
        more = f" and {len(case.refused_fits) - 1} more" if len(case.refused_fits) > 1 else ""
        return GateResult("convergence", "refused", f"a fit was refused: {case.refused_fits[0]}{more}", evidence)
    if odd:
        told = f"volatility of {odd[0]} is {ratio[odd[0]]:.3g} times the EWMA's, {limits.volatility:g} is the most"
        return GateResult("convergence", "refused", told, evidence)
    return GateResult("convergence", "passed", "every fit converged", evidence)


def data_quality(case: Case, limits: Limits) -> GateResult:
    """Is nothing doubtful in the newest rows, and is the past what it was yesterday?"""
    evidence = {"doubts": float(len(case.doubts)), "remarks": float(len(case.remarks)), "rows": float(limits.recent)}
    if case.doubts:
        more = f" and {len(case.doubts) - 1} more" if len(case.doubts) > 1 else ""
        return GateResult("data_quality", "refused", f"{case.doubts[0]}{more}", evidence)
    if case.remarks:
        return GateResult("data_quality", "borderline", case.remarks[0], evidence)
    return GateResult("data_quality", "passed", f"nothing doubtful in the newest {limits.recent} rows", evidence)


# In the order in which a reader asks: what comes first is often the cause of what comes after.
RECALIBRATION: tuple[Gate, ...] = (data_quality, convergence, parameter_jump, overnight_fall)
PROMOTION: tuple[Gate, ...] = (
    data_quality,
    convergence,
    coverage,
    lasting_coverage,
    paired_shortfall,
    efficiency,
    procyclicality,
    parameter_jump,
    overnight_fall,
    step,
)
FIRST: tuple[Gate, ...] = (data_quality, convergence, coverage)
# What speaks against the model itself; the other gates speak of one night.
MERIT = ("coverage", "lasting_coverage", "paired_shortfall", "efficiency", "procyclicality")

# What compares with yesterday alone: a person who knows why the market moved may take what these refuse.
OVERNIGHT = ("parameter_jump", "overnight_fall")


def through(gates: Sequence[Gate], case: Case, limits: Limits) -> list[GateResult]:
    """Every gate's answer, in order; a figure that is not finite where one was needed is a refusal, never a pass."""
    return [_settled(gate(case, limits)) for gate in gates]


def outcome(results: Sequence[GateResult]) -> Verdict:
    """Refused where one gate refuses, borderline where one is, passed where all do."""
    verdicts = {result.verdict for result in results}
    return "refused" if "refused" in verdicts else "borderline" if "borderline" in verdicts else "passed"


def _settled(result: GateResult) -> GateResult:
    broken = [name for name, value in result.evidence.items() if math.isnan(value)]
    if not broken:
        return result
    told = f"{', '.join(broken)} could not be told: {result.sentence}"
    kept = {name: value for name, value in result.evidence.items() if name not in broken}
    return GateResult(result.gate, "refused", told, kept)


def _shortfall(run: Replay) -> Floats:
    """Loss beyond the margin at equal coverage, (R, P); NaN before there is a scale."""
    return np.maximum(run.loss - at_equal_coverage(run).margin, 0.0)


def _by_date(panel: Floats) -> Floats:
    """Mean over the portfolios that are known, (R,); NaN where none is."""
    known = np.isfinite(panel)
    count = known.sum(axis=1)
    total = np.where(known, panel, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


def _median_call(run: Replay) -> float:
    if run.time[-1] - run.time[0] < np.timedelta64(5, "D"):
        return 0.0
    return float(np.nanmedian(largest_call(np.where(run.live, run.initial, np.nan), run.time, 5)))


def _extreme(now: MarketParameters, before: MarketParameters, *, largest: bool) -> tuple[str, float]:
    """The asset whose scan range moved most, and tonight's over the other; 1 where no asset is in both."""
    ratio = {
        name: one.scan_range / before.assets[name].scan_range
        for name, one in now.assets.items()
        if name in before.assets
    }
    if not ratio:
        return "no asset in both", 1.0
    name = (max if largest else min)(ratio, key=lambda name: ratio[name])
    return name, ratio[name]
