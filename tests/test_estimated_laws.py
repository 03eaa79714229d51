"""Is a right model, whose law was estimated from a window of losses or is a small sample, named wrong no more often?"""

import math

import numpy as np
import pytest

from backtest.calibration_tests import exceedance_bootstrap, exceedance_residuals
from backtest.law_tests import berkowitz_tail, cumulative_violations, violation_autocorrelation
from backtest.law_verdicts import law_verdicts, share_rejected
from backtest.pit_kernels import sample_pits
from backtest.pits import pit_of_sample, places
from backtest.replay import Replay
from backtest.tail_path import TailPath
from data import Coverage, Floats
from margin_models.kernels.tails import book_tails

DECISIONS = 1_000
ERROR = 3.0 * math.sqrt(0.05 * 0.95)  # of a size of 5 %, by the root of the books


def rolling(window: int, level: float, degrees: float, books: int = 100, seed: int = 2) -> Replay:
    """Historical simulation of independent losses that are all alike: right, but for what is estimated."""
    rng = np.random.default_rng(seed)
    shape = (window + DECISIONS, books)
    past = rng.standard_normal(shape) if math.isinf(degrees) else rng.standard_t(degrees, shape)
    loss, place = past[window:].copy(), places((DECISIONS, books))
    var, es, pit = np.empty((3, DECISIONS, books))
    for day in range(DECISIONS):
        sample = np.ascontiguousarray(past[day : day + window].T)
        var[day], es[day] = book_tails(sample, level)
        sample_pits(sample, loss[day], place[day], pit[day])
    time = np.datetime64("2020-01-01", "ns") + np.arange(DECISIONS) * np.timedelta64(1, "D")
    names = tuple(map(str, range(books)))
    law = TailPath(var, es, pit)
    return Replay(
        "rolling", Coverage(level), time, time + np.timedelta64(1, "D"), names, var, var, loss, loss, tail=law
    )


@pytest.mark.parametrize("degrees", [math.inf, 4.0])
@pytest.mark.parametrize("level", [0.975, 0.99])
@pytest.mark.parametrize("window", [250, 500, 1_000])
def test_a_scorecard_does_not_reject_the_laws_of_right_historical_simulations(
    window: int, level: float, degrees: float
) -> None:
    assert share_rejected(rolling(window, level, degrees)) <= 0.05 + ERROR / math.sqrt(100)


def test_a_scorecard_rejects_estimated_laws_of_losses_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest.law_verdicts.DEGREES", (math.inf,))  # the law of these losses, and quick
    run = rolling(500, 0.975, math.inf, books=40)
    grown = Replay(**{**vars(run), "loss_end": 1.4 * run.loss, "loss_worst": 1.4 * run.loss})
    assert share_rejected(grown) == 1.0


def test_tests_that_reject_estimated_laws_too_often_say_so_and_the_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backtest.law_verdicts.DEGREES", (math.inf,))  # the law of these losses, and quick
    table = law_verdicts(rolling(250, 0.99, math.inf, books=150))
    most = 0.05 + ERROR / math.sqrt(150)
    warned = table["notes"].str.contains("estimated from few losses are rejected too often")
    assert set(table.index[warned]) == {
        "Acerbi-Szekely Z1",
        "McNeil-Frey exceedance residuals",
        "McNeil-Frey, bootstrap",
    }
    assert (table["rejected"][["Acerbi-Szekely Z1", "McNeil-Frey exceedance residuals"]] > 0.10).all()
    assert (table["rejected"][~warned] <= most).all()
    for test, told in table[warned].iterrows():
        stated = float(str(told["notes"]).split("too often: ")[1].split(" %")[0]) / 100.0
        assert told["rejected"] <= stated + 3.0 * math.sqrt(stated * (1.0 - stated) / 150), test


def test_residuals_per_value_at_risk_are_wrong_less_often_than_per_estimated_spread() -> None:
    run = rolling(250, 0.99, math.inf, books=150)
    assert run.tail is not None
    told = [
        float((exceedance_residuals(run.loss, run.tail.var, run.tail.es, 0.01, scale=scale).p_value <= 0.05).mean())
        for scale in (None, run.tail.var)
    ]
    assert told[0] > 0.3
    assert told[1] < told[0] - 0.08


def ranked(size: int, books: int = 600) -> tuple[Floats, Floats]:
    """Pits of losses drawn from the law of a sample of that size, spread within their rank and in its middle."""
    rank = np.random.default_rng(4).integers(0, size + 1, (500, books))
    law = np.broadcast_to(np.arange(size, dtype=np.float64), (*rank.shape, size))
    return pit_of_sample(size - rank - 0.5, law), np.asarray((rank + 0.5) / (size + 1.0), dtype=np.float64)


@pytest.mark.parametrize("size", [150, 250, 350, 450])
def test_tails_of_coarse_samples_are_judged_at_their_size(size: int) -> None:
    spread, middle = ranked(size)
    np.testing.assert_array_equal(np.floor(spread * (size + 1.0)), np.floor(middle * (size + 1.0)))
    for test in (berkowitz_tail, cumulative_violations, violation_autocorrelation):
        verdict = test(spread, 0.01)
        assert (verdict.p_value[verdict.testable] <= 0.05).mean() <= 0.05 + ERROR / math.sqrt(600), test
    if size == 150:  # what the middle of the rank did
        assert (berkowitz_tail(middle, 0.01).p_value <= 0.05).mean() > 0.2


def test_losses_that_are_the_shortfall_but_for_rounding_are_no_evidence() -> None:
    rng = np.random.default_rng(3)
    es = np.repeat(rng.uniform(0.01, 3.0, (300, 1)), 2, axis=1)
    loss = np.zeros(es.shape)
    loss[:12] = es[:12] * (1.0 + np.finfo(float).eps)
    loss[:12, 1] = es[:12, 1] * (1.0 + 1e-6)
    for scale in (None, 1.0, 0.8 * es):
        verdict = exceedance_residuals(loss, 0.8 * es, es, 0.01, scale=scale)
        assert verdict.statistic[0] == 0.0
        assert verdict.p_value[0] > 0.05 > verdict.p_value[1]
        assert exceedance_bootstrap(loss, 0.8 * es, es, 0.01, scale=scale).p_value[0] == 1.0
    assert exceedance_residuals(loss, 0.8 * es, es, 0.01, asymptotic=True).p_value[0] == 0.5
