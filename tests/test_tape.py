"""Does a bar depend on how its tape is cut, on what comes later, or on a trade that cannot be?"""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data import Clock, DataError, Floats
from data.compiled import plain
from data.flow import bar_kernels, tape_kernels
from data.flow.bar_rules import BarRule, TickBars, TimeBars
from data.flow.bars import Bars, joined
from data.flow.tape import TapeFold, TapeState, fold
from data.records import FUNDING, TRADES, Records
from tapes import RULES, SIX, START, assert_same_bits, in_parts, random_tape, trades


def test_compiled_kernels_are_the_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = random_tape(3000, seed=2)
    told = [fold(in_parts(tape, [1000]), rule) for rule in RULES]
    for module in (tape_kernels, bar_kernels):
        for name, kernel in list(vars(module).items()):
            if hasattr(kernel, "py_func"):
                monkeypatch.setattr(module, name, plain(kernel))
    for name in ("time_cuts", "threshold_cuts", "imbalance_cuts"):
        monkeypatch.setattr(f"data.flow.bar_rules.{name}", getattr(bar_kernels, name))
    monkeypatch.setattr("data.flow.trade_order.first_refused", tape_kernels.first_refused)
    for rule, bars in zip(RULES, told, strict=True):
        again = fold(in_parts(tape, [1000]), rule)
        assert len(bars) > 5
        for field in fields(Bars)[2:]:
            left, right = getattr(bars, field.name), getattr(again, field.name)
            assert_array_equal(left, right) if left.dtype != float else assert_allclose(left, right, rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    rule=st.sampled_from(RULES),
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    chunk=st.integers(1, 400),
)
def test_the_bits_do_not_depend_on_the_batches(rule: BarRule, seed: int, cuts: list[int], chunk: int) -> None:
    tape = random_tape(400, seed)
    with pytest.MonkeyPatch.context() as patch:
        whole = fold([tape], rule)
        patch.setattr("data.flow.tape.CHUNK", chunk)
        assert_same_bits(fold(in_parts(tape, cuts), rule), whole)


@settings(max_examples=40, deadline=None)
@given(rule=st.sampled_from(RULES), seed=st.integers(0, 1000), at=st.integers(0, 400))
def test_a_fold_that_was_saved_goes_on_as_if_uninterrupted(
    rule: BarRule, seed: int, at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "state.npz"
    tape = random_tape(400, seed)
    first = TapeFold(rule)
    before = first.add(tape.where(slice(0, at)))
    first.finish()  # what a tape that ended here would have told must not change what follows
    first.state.save(path)
    second = TapeFold(rule, TapeState.load(path))
    assert_same_bits(joined([before, second.add(tape.where(slice(at, None))), second.finish()]), fold([tape], rule))


@settings(max_examples=60, deadline=None)
@given(rule=st.sampled_from(RULES), seed=st.integers(0, 1000), at=st.integers(1, 399), factor=st.floats(0.5, 2.0))
def test_no_bar_depends_on_a_later_trade(rule: BarRule, seed: int, at: int, factor: float) -> None:
    tape = random_tape(400, seed)
    later = np.arange(len(tape)) >= at
    columns = dict(tape.columns) | {
        "price": np.where(later, tape["price"] * factor, tape["price"]),
        "size": np.where(later, tape["size"] * 3.0, tape["size"]),
        "side": np.where(later, -tape["side"], tape["side"]),
    }
    changed = Records(TRADES, "venue", "X", columns, tape.row)
    known = TapeFold(rule).add(tape.where(slice(0, at)))
    for told in (fold([tape], rule), fold([changed], rule)):
        assert_same_bits(known, _head(told, len(known)))


def _head(bars: Bars, count: int) -> Bars:
    return Bars(bars.venue, bars.symbol, *(getattr(bars, field.name)[:count] for field in fields(Bars)[2:]))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("time", START, "row 4: .*order of time"),
        ("time", np.datetime64("NaT"), "row 4: .*instant"),
        ("price", np.nan, "row 4: .*price > 0"),
        ("price", 0.0, "row 4: .*price > 0"),
        ("price", np.inf, "row 4: .*price > 0"),
        ("size", -1.0, "row 4: .*size >= 0"),
        ("size", np.nan, "row 4: .*size >= 0"),
        ("side", 2, "row 4: .*side of -1, 0, 1"),
    ],
)
def test_a_trade_that_no_bar_can_take_is_refused_and_nothing_of_its_batch_taken(
    column: str, value: Any, message: str
) -> None:
    broken = dict(SIX.columns) | {column: SIX[column].copy()}
    broken[column][3] = value
    folding = TapeFold(TimeBars("1min"))
    with pytest.raises(DataError, match=message):
        folding.add(Records(TRADES, "venue", "X", broken, SIX.row))
    assert_same_bits(joined([folding.add(SIX), folding.finish()]), fold([SIX], TimeBars("1min")))


def test_batches_out_of_order_doubled_or_of_others_are_refused() -> None:
    numbered = trades([1, 2, 2], [1, 1, 1], [1, 1, 1], [1, 1, 1], id=np.array([5, 6, 6]))
    with pytest.raises(DataError, match="row 3: the trade 6 comes twice"):
        fold([numbered], TickBars(1))
    without = trades([1, 2, 2], [1, 1, 1], [1, 1, 1], [1, 1, 1], id=np.array([-1, -1, -1]))
    assert len(fold([without], TickBars(1))) == 3
    with pytest.raises(DataError, match=r"order of time, got 2024-03-01T00:00:01\.0* after 2024-03-01T00:03:20"):
        fold([SIX, SIX], TickBars(1))
    with pytest.raises(DataError, match="one symbol, X of venue, got Y"):
        fold([SIX, Records(TRADES, "venue", "Y", SIX.columns, SIX.row)], TickBars(1))
    rates = Records(FUNDING, "venue", "X", {"time": SIX["time"], "rate": SIX["size"]}, SIX.row)
    with pytest.raises(DataError, match="expected trades, got funding"):
        fold([rates], TickBars(1))
    with pytest.raises(DataError, match="no batch"):
        fold([], TickBars(1))


def test_a_state_is_refused_by_another_rule_and_when_damaged(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    folding = TapeFold(TickBars(3))
    folding.add(SIX)
    folding.state.save(path)
    with pytest.raises(DataError, match=r"TickBars\(trades=4\).*TickBars\(trades=3\)"):
        TapeFold(TickBars(4), TapeState.load(path))
    longer = replace(folding.state, real=np.zeros((2, 13)))
    with pytest.raises(DataError, match=r"real .* must be \(1, 13\) of float64, got \(2, 13\)"):
        TapeFold(TickBars(3), longer)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="expected the state of a fold"):
        TapeState.load(path)


def test_returns_keep_their_digits_where_prices_are_close() -> None:
    last = 50_000.0
    for price in (50_000.1, 49_999.9, 50_499.0, 50_999.0, 51_100.0, 90_000.0, 5_000.0):
        exact = math.log1p((price - last) / last)
        digits = 4e-16 if abs(exact) < 0.02 else 1e-14
        assert tape_kernels.log_return(price, last) == pytest.approx(exact, rel=digits, abs=0.0)
    assert tape_kernels.log_return(last, last) == 0.0


def test_no_trade_at_all_is_no_bar() -> None:
    nothing: Floats = np.empty(0)
    for rule in RULES:
        bars = fold([trades(nothing, nothing, nothing, nothing)], rule)
        assert len(bars) == 0
        assert len(bars.on_clock(Clock("1min"))) == len(bars.last) == 0
