"""Does every public entry point answer soundly, or refuse in so many words, whatever it is given?

`make fuzz` makes 100,000 calls; what it found once stands here by itself.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzed_calls import CALLS, fuzz
from fuzzed_draws import COVERAGE, PERPETUALS, Draw, WrongAnswerError, holds, market, probabilities, state

from backtest.coverage_tests import Transitions, conditional_coverage, kupiec, tuff
from data import Account, Book, Clock, Coverage, DataError, Instrument, ParameterError
from data.errors import SnapshotError
from data.sealed import sealed, unsealed
from margin_models import (
    DeribitPortfolioMargin,
    DeriveSrmMargin,
    DriftMargin,
    MarginModel,
    StaticMargin,
    StressedFloor,
    VegaMargin,
)
from research.night_state import commit, read_state


@pytest.mark.parametrize("seed", [11, 12])
def test_calls_with_any_arguments_answer_soundly_or_are_refused(seed: int) -> None:
    tally = fuzz(1000, seed)
    assert not tally.wrong, "\n".join(tally.wrong)
    assert tally.ended.total() == 1000
    for name in CALLS:
        assert tally.ended[name, "answered"], f"no call of {name} was answered"


def test_the_same_seed_makes_the_same_calls() -> None:
    assert fuzz(60, 3).ended == fuzz(60, 3).ended
    assert fuzz(60, 3).ended == fuzz(60, 3, 0, 2).ended + fuzz(60, 3, 1, 2).ended


def test_a_call_that_breaks_or_lies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def lies(_: Draw) -> str:
        holds(False, "a margin of -1")
        return "answered"

    def breaks(_: Draw) -> str:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("fuzzed_calls.CALLS", {"lies": (lies, 1), "breaks": (breaks, 1)})
    assert len(fuzz(20, 0).wrong) == 20
    with pytest.raises(WrongAnswerError):
        probabilities([0.5, np.nan])


WRONG: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "holidays that are no days": (lambda: Clock("1B", ("x",)), ParameterError),
    "a duration that is no text": (lambda: Coverage(0.99, None), TypeError),  # type: ignore[arg-type]
    "more contracts than there are numbers": (lambda: Book(PERPETUALS[:1], ("a",), np.array([[1e300]])), DataError),
    "more cash than there are numbers": (lambda: Account(("USD",), np.array([[1e305]])), DataError),
    "a multiplier that is a list": (lambda: Instrument("X", "X", multiplier=[]), DataError),  # type: ignore[arg-type]
    "transitions beyond counting": (
        lambda: conditional_coverage(1, 9, Transitions(1, 1e300, 1, 1), 0.01),
        ParameterError,
    ),
    "decisions beyond counting": (lambda: kupiec(1, 10**12, 0.01), ParameterError),
    "breaches and decisions of other shapes": (lambda: kupiec([1, 2], [9, 9, 9], 0.01), ParameterError),
    "transitions of other shapes": (
        lambda: conditional_coverage([1, 2], 9, Transitions([1, 2, 3], 1, 1, 1), 0.01),
        ParameterError,
    ),
    "a breach that is never due": (lambda: tuff(1, 1e-300), ParameterError),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_was_found_is_refused(what: str) -> None:
    call, error = WRONG[what]
    with pytest.raises(error):
        call()


@pytest.mark.parametrize(
    "model",
    [
        StaticMargin(rate=np.inf),
        StressedFloor(window=120, weight=np.inf),
        DeriveSrmMargin(rules={}),
        DriftMargin(parameters={}),
        DeribitPortfolioMargin(pairs={}),
        VegaMargin(drift=1e300),
    ],
    ids=repr,
)
def test_models_that_could_not_charge_say_so(model: MarginModel) -> None:
    book = Book(PERPETUALS, ("a",), np.array([[1.0, -1.0, 2.0]]))
    with pytest.raises(ParameterError):
        model.fit(market("plain"), COVERAGE).requirement(market("plain"), book)


@pytest.mark.parametrize("wrong", [{"number": []}, {"number": True}, {"study": 1}, {"published": []}, {"outbox": [1]}])
def test_a_state_of_another_shape_is_none_whatever_its_seal_says(tmp_path: Path, wrong: dict[str, Any]) -> None:
    commit(tmp_path, state())
    path = tmp_path / "state.json"
    path.write_bytes(sealed({**unsealed(path), **wrong}))
    with pytest.raises(SnapshotError, match="no state of nights"):
        read_state(tmp_path)
