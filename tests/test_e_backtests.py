"""Does evidence stay small under a true model however long one looks, and grow under a false one?"""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.e_backtests import (
    MOST_SPREADS,
    EvidenceMonitor,
    evidence_path,
    quantile_evidence,
    shortfall_evidence,
)
from backtest.stakes import Constant, Gree, Grel, Past, Stake
from data import Floats, ParameterError
from data.laws import unit_tail

RATE = 0.05
VAR, ES = unit_tail(1.0 - RATE)
STAKES: list[Stake] = [Constant(0.01), Constant(0.2), Gree(), Gree(0.1), Grel()]


def normal(rows: int, books: int, seed: int = 3) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, books))


def test_e_values_average_to_one_where_the_forecast_is_true() -> None:
    loss = normal(1_000_000, 1)[:, 0]
    assert quantile_evidence(loss, VAR, RATE).mean() == pytest.approx(1.0, abs=0.02)
    assert shortfall_evidence(loss, VAR, ES, RATE).mean() == pytest.approx(1.0, abs=0.02)
    assert shortfall_evidence(loss, VAR, 0.9 * ES, RATE).mean() > 1.5


@pytest.mark.parametrize("of_shortfall", [False, True])
@pytest.mark.parametrize("stake", STAKES, ids=repr)
def test_evidence_is_valid_at_any_time(stake: Stake, of_shortfall: bool) -> None:
    books = 400 if isinstance(stake, Grel) else 4_000
    path = evidence_path(normal(300, books), VAR, RATE, es=ES if of_shortfall else None, stake=stake)
    for alpha in (0.5, 0.2, 0.1, 0.05):
        error = math.sqrt(alpha * (1 - alpha) / books)
        assert (path.highest >= 1.0 / alpha).mean() <= alpha + 3 * error


@pytest.mark.parametrize("stake", [Gree(), Grel()], ids=repr)
def test_a_false_model_is_found(stake: Stake) -> None:
    loss = 1.5 * normal(750, 20)
    path = evidence_path(loss, VAR, RATE, es=ES, stake=stake)
    assert (path.highest >= 10.0).mean() > 0.8
    day = path.first_day(10.0)
    found = day > 0
    reached = path.capital[day[found] - 1, np.flatnonzero(found)]
    assert (reached >= 10.0).all()
    assert (path.first_day(2.0)[found] <= day[found]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(STAKES), st.booleans(), st.integers(1, 80))
def test_the_monitor_tells_what_the_path_tells(seed: int, stake: Stake, of_shortfall: bool, cut: int) -> None:
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.5, 2.0, 120)
    loss, var, es = 1.4 * scale * rng.standard_normal(120), VAR * scale, ES * scale
    loss[rng.random(120) < 0.05] = np.nan
    path = evidence_path(loss, var, RATE, es=es if of_shortfall else None, stake=stake)
    monitor = EvidenceMonitor(RATE, stake)
    for day in range(120):
        told = monitor.update(float(loss[day]), float(var[day]), float(es[day]) if of_shortfall else None)
        assert told == pytest.approx(float(path.capital[day]), rel=1e-9)
        if day == cut:  # a night: only what JSON can carry survives it
            monitor = EvidenceMonitor(RATE, stake).resume(json.loads(json.dumps(monitor.state(), allow_nan=False)))
    assert monitor.highest == pytest.approx(float(path.highest), rel=1e-9)
    assert monitor.crossed == {level: int(path.first_day(level)) or None for level in (2.0, 5.0, 10.0)}


@pytest.mark.parametrize("stake", STAKES, ids=repr)
def test_today_stakes_only_on_yesterday(stake: Stake) -> None:
    loss = normal(200, 1)[:, 0]
    other = loss.copy()
    other[100:] *= -3.0
    one, two = (evidence_path(side, VAR, RATE, es=ES, stake=stake) for side in (loss, other))
    np.testing.assert_array_equal(one.stake[:101], two.stake[:101])
    if not isinstance(stake, Constant):
        assert one.stake[0] == 0.0
        assert (one.stake != two.stake).any()


def test_grel_tells_the_past_by_todays_forecast() -> None:
    rng = np.random.default_rng(11)
    loss, var = 1.5 * rng.standard_normal(60), rng.uniform(0.5, 1.5, 60)
    es, capital = 1.4 * var, 1.0
    for day in range(60):
        share = 0.0
        if day:
            again = np.maximum(loss[:day] - var[day], 0.0) / (RATE * (es[day] - var[day])) - 1.0
            share = min(max(again.sum() / (again**2).sum(), 0.0), 0.5)
        capital *= 1.0 - share + share * float(shortfall_evidence(loss[day], var[day], es[day], RATE))
    assert evidence_path(loss, var, RATE, es=es, stake=Grel()).capital[-1] == pytest.approx(capital, rel=1e-10)


def test_portfolios_bet_alone() -> None:
    loss = 1.3 * normal(150, 3)
    for stake in STAKES:
        together = evidence_path(loss, VAR, RATE, es=ES, stake=stake).capital
        for p in range(3):
            np.testing.assert_allclose(together[:, p], evidence_path(loss[:, p], VAR, RATE, es=ES, stake=stake).capital)


def test_a_hundred_thousand_days_and_none() -> None:
    path = evidence_path(3.0 * normal(100_000, 1)[:, 0], VAR, RATE, es=ES)
    assert np.isfinite(path.capital).all()
    assert int(path.first_day(10.0)) > 0
    assert evidence_path(np.empty(0), 1.0, RATE).highest == 1.0
    assert evidence_path(np.full(5, np.nan), 1.0, RATE).capital == pytest.approx(np.ones(5))


def test_a_monitor_names_the_day_and_does_not_forget_it() -> None:
    monitor = EvidenceMonitor(RATE, Constant(0.3))
    for stamp, loss in (("2024-03-01", 0.0), ("2024-03-02", 9.0), ("2024-03-03", 0.0), ("2024-03-04", 9.0)):
        monitor.update(loss, 1.0, stamp=stamp)
    assert monitor.crossed == {2.0: "2024-03-02", 5.0: "2024-03-04", 10.0: "2024-03-04"}
    assert monitor.highest >= monitor.evidence


def test_a_monitor_does_not_overflow() -> None:
    monitor = EvidenceMonitor(RATE, Constant(0.9))
    for _ in range(400):
        monitor.update(9.0, 1.0)
    assert math.isinf(monitor.evidence)
    assert math.isfinite(monitor.state()["log_capital"])


def test_bad_input_is_refused_and_changes_nothing() -> None:
    monitor = EvidenceMonitor(RATE)
    before = monitor.state()
    for loss, var, es in (
        (2.0, 1.0, 0.5),
        (1.0, math.nan, None),
        (1.0, 1.0, math.nan),
        (math.inf, 1.0, None),
    ):
        with pytest.raises(ParameterError):
            monitor.update(loss, var, es)
    assert monitor.state() == before
    assert monitor.update(0.5, 1.0, 1.0) == 1.0  # nothing can be bet, and nothing is lost
    for wrong in ({}, {**before, "crossed": [[3.0, None]]}, {**before, "past": {"day": 3}}, {**before, "days": "no"}):
        with pytest.raises(ParameterError):
            monitor.resume(wrong)
    monitor.update(0.5, 1.0)
    with pytest.raises(ParameterError, match="Grel needs"):
        EvidenceMonitor(RATE, Grel()).resume({**monitor.state(), "stake": repr(Grel())})
    for call in (lambda: Constant(1.0), lambda: Gree(-0.1), lambda: Grel(1.0), lambda: EvidenceMonitor(1.0)):
        with pytest.raises(ParameterError):
            call()
    with pytest.raises(ParameterError, match="thresholds"):
        EvidenceMonitor(RATE, thresholds=(1.0,))


def test_a_monitor_goes_on_from_its_own_state_alone() -> None:
    monitor = EvidenceMonitor(RATE, Constant(0.1))
    for loss in (3.0, 0.0):
        monitor.update(loss, 1.0)
    state = monitor.state()
    for other in (EvidenceMonitor(0.01, Constant(0.1)), EvidenceMonitor(RATE, Constant(0.4)), EvidenceMonitor(RATE)):
        with pytest.raises(ParameterError, match="must be of rate"):
            other.resume(state)
        assert other.days == 0
    figures: dict[str, object] = {"log_capital": math.nan, "log_highest": -1.0, "days": 1, "past": {"gain": math.inf}}
    for name, wrong in figures.items():
        broken = {**state, name: {**state["past"], **wrong} if isinstance(wrong, dict) else wrong}
        with pytest.raises(ParameterError, match="finite and agree"):
            EvidenceMonitor(RATE, Constant(0.1)).resume(broken)
    assert EvidenceMonitor(RATE, Constant(0.1)).resume(state).state() == state


def test_a_state_that_forgot_a_crossing_or_counts_in_fractions_is_refused() -> None:
    monitor = EvidenceMonitor(RATE, Constant(0.3))
    monitor.update(9.0, 1.0, stamp="first")  # 6.7 times the capital
    state = monitor.state()
    assert state["crossed"] == [[2.0, "first"], [5.0, "first"], [10.0, None]]
    for days in ({"days": 7.9}, {"days": "1"}, {"past": {**state["past"], "days": 0.5}}):
        with pytest.raises(ParameterError, match="must be what `state` told"):
            EvidenceMonitor(RATE, Constant(0.3)).resume({**state, **days})
    for first, last in ((None, None), ("first", "second")):
        with pytest.raises(ParameterError, match="agree with each other"):
            EvidenceMonitor(RATE, Constant(0.3)).resume(
                {**state, "crossed": [[2.0, first], [5.0, first], [10.0, last]]}
            )
    assert EvidenceMonitor(RATE, Constant(0.3)).resume(state).state() == state


@pytest.mark.parametrize("share", [1.0, 1.5, -0.1, math.nan])
def test_a_stake_that_could_lose_more_than_all_is_refused_before_anything_changes(share: float) -> None:
    class Reckless:
        def share(self, past: Past, var: float, es: float | None, rate: float) -> float:
            return share

    monitor = EvidenceMonitor(RATE, Reckless())
    before = monitor.state()
    with pytest.raises(ParameterError, match=r"must stake a share within \[0, 1\)"):
        monitor.update(0.5, 1.0)
    assert monitor.state() == before
    with pytest.raises(ParameterError, match=r"must stake a share within \[0, 1\)"):
        evidence_path(np.zeros(3), 1.0, RATE, stake=Reckless())


def test_a_loss_beyond_a_law_without_a_tail_is_evidence_with_a_bound() -> None:
    """As ES comes down to VaR the e-value grows to its bound, and stays there."""
    told = [float(shortfall_evidence(2.0, 1.0, 1.0 + spread, RATE)) for spread in (0.1, 0.02, 0.01, 1e-9, 0.0)]
    assert told == pytest.approx([10 / RATE, 50 / RATE, *[MOST_SPREADS / RATE] * 3])
    assert shortfall_evidence(1.0, 1.0, 1.0, RATE) == 1.0
    monitor = EvidenceMonitor(RATE, Constant(0.01))
    assert monitor.update(2.0, 1.0, 1.0, stamp="worst") == pytest.approx(1.0 + 0.01 * (MOST_SPREADS / RATE - 1.0))
    assert monitor.crossed == {2.0: "worst", 5.0: "worst", 10.0: "worst"}
    assert monitor.update(0.5, 1.0, 1.4) > 10.0


def test_a_stake_does_not_see_how_large_todays_evidence_is() -> None:
    """Today's e-value taken off a running sum again would leave its rounding behind."""
    loss = np.random.default_rng(0).standard_normal(200)
    es = np.where(np.arange(200) == 150, 1.5 + 1e-8, 1.9)
    wild = np.where(np.arange(200) == 150, 40.0, loss)
    one, two = (evidence_path(side, 1.5, 0.025, es=es).stake for side in (loss, wild))
    assert one[150] > 0.0
    np.testing.assert_array_equal(one[:151], two[:151])
