"""Does the power of the model confidence set mean what it says?"""

import numpy as np
import pytest

from backtest.model_confidence_set import model_confidence_set
from data import Floats
from research.lab_power import REPETITIONS, SHIFTS, Power, power_of_set


def losses(noise: float, dates: int = 600, models: int = 4) -> dict[str, Floats]:
    random = np.random.default_rng(8)
    common = 1.0 + 0.3 * random.standard_normal(dates)
    return {f"model {n}": common + noise * random.standard_normal(dates) + 0.5 * n for n in range(models)}


def test_what_stands_out_is_seen_and_what_drowns_in_noise_is_not() -> None:
    clear, drowned = (power_of_set(losses(noise), "model 1", 5, relative=False).left_out for noise in (0.05, 3.0))
    assert clear[0.02] > 0.95
    assert drowned[0.10] < 0.3
    assert clear[0.0] <= 0.15


def test_it_does_not_depend_on_how_the_models_did() -> None:
    """They are given the same mean first: power is of the dates, and not of what was found."""
    told, even = losses(0.4), losses(0.4)
    for n, name in enumerate(even):
        even[name] = even[name] - 0.5 * n
    shifted = [power_of_set(one, "model 2", 5, relative=False).left_out for one in (told, even)]
    assert shifted[0] == shifted[1]


def test_shares_of_a_mean_and_losses_are_the_same_shift_where_the_mean_is_one() -> None:
    even = {name: one - one.mean() + 1.0 for name, one in losses(0.4).items()}
    told = [power_of_set(even, "model 0", 5, relative=relative).left_out for relative in (True, False)]
    assert told[0] == pytest.approx(told[1])


def test_a_sample_is_judged_as_a_market_is() -> None:
    """One sample by hand: dates in blocks, the model made worse, the set asked afresh."""
    even = {name: one[:200] - one[:200].mean() for name, one in losses(0.2).items()}
    panel = np.column_stack(list(even.values()))
    random = np.random.default_rng(3)
    out = 0
    for _ in range(REPETITIONS):
        starts = random.integers(200, size=50)
        sample = panel[((starts[:, None] + np.arange(4)) % 200).ravel()]
        sample = sample + np.array([0.05, 0.0, 0.0, 0.0])
        out += int(not model_confidence_set(sample).included[0])
    told = power_of_set(even, "model 0", 4, relative=False).left_out[0.05]
    assert 0.2 < told < 1.0
    assert told == pytest.approx(out / REPETITIONS, abs=0.2)


def test_dates_that_a_model_lacks_are_left_out() -> None:
    holed = losses(0.4)
    holed["model 3"][::2] = np.nan
    assert power_of_set(holed, "model 0", 5, relative=False).dates == 300


def test_it_is_told_in_a_sentence() -> None:
    told = Power("EWMA", {0.0: 0.08, 0.05: 0.31, 0.1: 0.9}, True, 1874).sentence
    assert "of 1,874 dates: were EWMA to lose 5 % more than models that lose alike" in told
    assert "it would be left out of 31 % of the sets, of 90 % at 10 % more" in told
    assert told.endswith("and of 8 % if it lost as they do.")
    assert "to lose 0.05 more than" in Power("EWMA", {0.0: 0.08, 0.05: 0.31}, False, 1874).sentence
    assert min(SHIFTS) == 0.0


def test_few_dates_have_no_power_to_tell_of() -> None:
    told = Power("EWMA", {0.0: 1.0, 0.02: 1.0}, True, 11).sentence
    assert told == "Its power: too few dates to judge (11; 60 or more wanted)."
    assert "of the sets" in Power("EWMA", {0.0: 0.1, 0.02: 1.0}, True, 60).sentence
