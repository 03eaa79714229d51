"""Does each gate pass what is right, and refuse what is wrong by what it says?"""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.portfolios import standard_books
from backtest.replay import replay
from backtest.scores import judge
from data import Coverage, MarketHistory, ParameterError
from margin_models import CorrelationVaR, HistoricalVaR, MarginModel, StaticMargin
from research import gates
from research.gates import Case, GateResult, Judged
from research.limits import Limits
from research.measured_parameters import measured
from research.parameters import MarketParameters

COVERAGE = Coverage(0.95, "1D")
LIMITS = Limits()


@cache
def history() -> MarketHistory:
    moves = np.random.default_rng(3).standard_normal((900, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]]) * 0.02
    closes = np.array([3e4, 2e3]) * np.exp(moves.cumsum(0))
    return MarketHistory.from_frame(pd.DataFrame(closes, pd.date_range("2020-01-01", periods=900), ["BTC", "ETH"]))


@cache
def judged(name: str) -> Judged:
    models: dict[str, MarginModel] = {
        "static": StaticMargin(),
        "historical": HistoricalVaR(),
        "normal": CorrelationVaR(),
        "thin": StaticMargin(rate=0.01),
    }
    books = standard_books(("BTC", "ETH"), makers=10)
    ran = replay(models[name], history(), books, COVERAGE, window=200, refit_every=60)
    return Judged(ran, judge(ran))


@cache
def parameters() -> MarketParameters:
    fitted = HistoricalVaR().fit(history(), COVERAGE)
    books = standard_books(("BTC", "ETH"), makers=10)
    return measured(fitted, history(), books, COVERAGE, model_hash="0" * 64, data_hash="1" * 64)


def scaled(factor: float, only: str | None = None) -> MarketParameters:
    assets = {
        name: replace(one, scan_range=one.scan_range * (factor if only in (None, name) else 1.0))
        for name, one in parameters().assets.items()
    }
    mean = parameters().mean_margin * (factor if only is None else 1.0)
    return replace(parameters(), assets=assets, mean_margin=mean)


def case(name: str, champion: str | None = None, **facts: object) -> Case:
    return replace(Case(judged(name), judged(champion) if champion else None, parameters(), None), **facts)  # type: ignore[arg-type]


def test_a_model_that_covers_passes_and_one_that_does_not_is_refused_by_how_much() -> None:
    assert gates.coverage(case("historical"), LIMITS).verdict == "passed"
    told = gates.coverage(case("thin"), LIMITS)
    assert told.verdict == "refused"
    assert "below the target" in told.sentence
    assert told.evidence["books_named"] > 0.5 * told.evidence["books"]


def test_lasting_coverage_asks_more_of_a_later_candidate() -> None:
    first = gates.lasting_coverage(case("historical", share=0.5), LIMITS)
    assert first.verdict == "passed"
    assert first.evidence["needed"] == pytest.approx(40.0)
    late = gates.lasting_coverage(case("historical", share=1e-18), LIMITS)
    assert late.verdict == "borderline"
    assert "decades short" in late.sentence
    assert gates.lasting_coverage(case("thin", share=0.5), LIMITS).verdict == "refused"


def test_a_model_at_twice_the_breaches_hardly_ever_passes_whenever_one_looks() -> None:
    rng = np.random.default_rng(11)
    passed = [
        gates.below_rate_evidence((rng.random(600) < 0.02).astype(float), 0.02, 0.01)[1] >= 20.0 for _ in range(2000)
    ]
    assert np.mean(passed) < 0.05


@given(st.integers(1, 200))
def test_all_shares_that_were_ever_given_are_within_alpha(count: int) -> None:
    names = [str(n) for n in range(count)]
    shares = [gates.spent(names, name) for name in names]
    assert sum(shares) < 1.0
    assert sum(shares) == pytest.approx(1.0 - 1.0 / (count + 1))


def test_efficiency_is_a_floor_with_an_interval() -> None:
    told = gates.efficiency(case("historical", "static"), LIMITS)
    assert told.verdict == "passed"
    assert 0.05 < told.evidence["gain"] < 0.3
    back = gates.efficiency(case("static", "historical"), LIMITS)
    assert back.verdict == "refused"
    assert "less than the floor" in back.sentence
    same = gates.efficiency(case("historical", "historical"), LIMITS)
    assert same.verdict == "refused"
    assert same.evidence["gain"] == pytest.approx(0.0)


def test_shortfall_is_compared_date_by_date_at_the_same_coverage() -> None:
    assert gates.paired_shortfall(case("historical", "historical"), LIMITS).evidence["difference"] == 0.0
    assert gates.paired_shortfall(case("historical", "static"), LIMITS).verdict == "passed"
    told = gates.paired_shortfall(case("static", "historical"), LIMITS)
    assert told.verdict == "refused"
    assert told.evidence["low"] > 0


def test_procyclicality_is_capped_by_the_champion_or_by_what_is_always_allowed() -> None:
    assert gates.procyclicality(case("normal", "static"), LIMITS).verdict == "passed"
    strict = replace(LIMITS, swing=1.0, call=0.0)
    told = gates.procyclicality(case("normal", "static"), strict)
    assert told.verdict == "refused"
    assert "beyond the cap" in told.sentence


@pytest.mark.parametrize(
    ("factor", "rise", "fall"),
    [(1.0, "passed", "passed"), (2.0, "borderline", "passed"), (3.5, "refused", "passed"), (0.9, "passed", "passed"),
     (0.8, "passed", "borderline"), (0.6, "passed", "refused")],
)  # fmt: skip
def test_a_jump_and_a_fall_overnight(factor: float, rise: str, fall: str) -> None:
    for only in (None, "BTC"):
        tonight = case("historical", parameters=scaled(factor, only), before=parameters())
        assert gates.parameter_jump(tonight, LIMITS).verdict == rise
        assert gates.overnight_fall(tonight, LIMITS).verdict == fall


def test_a_fall_says_of_what_and_by_how_much() -> None:
    told = gates.overnight_fall(case("historical", parameters=scaled(0.6, "ETH"), before=parameters()), LIMITS)
    assert told.sentence == "largest fall: ETH by 40.0%, 10.0% beyond the cap"


def test_a_large_step_from_what_is_in_force_is_left_to_a_person() -> None:
    assert gates.step(case("historical", in_force=scaled(1.1)), LIMITS).verdict == "passed"
    assert gates.step(case("historical", in_force=scaled(2.0)), LIMITS).verdict == "borderline"
    assert gates.step(case("historical", in_force=scaled(0.2)), LIMITS).verdict == "borderline"


def test_a_fit_that_did_not_converge_is_refused() -> None:
    assert gates.convergence(case("historical"), LIMITS).verdict == "passed"
    told = gates.convergence(case("historical", refused_fits=("BTC: persistence 1.2", "ETH: x")), LIMITS)
    assert (told.verdict, told.sentence) == ("refused", "a fit was refused: BTC: persistence 1.2 and 1 more")
    assets = {name: replace(one, vol_forecast=30 * one.vol_ewma) for name, one in parameters().assets.items()}
    wild = gates.convergence(case("historical", parameters=replace(parameters(), assets=assets)), LIMITS)
    assert wild.verdict == "refused"
    assert "30 times the EWMA's" in wild.sentence


def test_doubtful_data_refuses_and_a_remark_waits() -> None:
    assert gates.data_quality(case("historical"), LIMITS).verdict == "passed"
    assert gates.data_quality(case("historical", doubts=("BTC: spike",)), LIMITS).verdict == "refused"
    assert gates.data_quality(case("historical", remarks=("restated",)), LIMITS).verdict == "borderline"


def test_all_gates_of_a_better_model_pass_and_of_a_worse_one_do_not() -> None:
    good = gates.through(gates.PROMOTION, case("historical", "static", share=0.5), LIMITS)
    assert gates.outcome(good) == "passed"
    assert {gate.gate for gate in good} >= set(gates.MERIT)
    bad = gates.through(gates.PROMOTION, case("thin", "static", share=0.5), LIMITS)
    assert gates.outcome(bad) == "refused"


def test_a_figure_that_cannot_be_told_is_a_refusal() -> None:
    def silent(_: Case, __: Limits) -> GateResult:
        return GateResult("silent", "passed", "fine", {"x": float("nan"), "y": 1.0})

    (told,) = gates.through([silent], case("historical"), LIMITS)
    assert (told.verdict, told.evidence) == ("refused", {"y": 1.0})


@pytest.mark.parametrize("name", list(Limits.__dataclass_fields__))
def test_limits_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=f"Limits.{name} must lie in"):
        replace(LIMITS, **{name: -1})
