"""Are odd prints and changes of unit found in a tape, however it is cut, and nothing in a clean one?"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.check_results import Ledger
from data.checking import RecordChecker
from data.records import LIQUIDATIONS, Records
from data.tape_checks import APART, RUN, odd_runs
from records_made import NOW, checked, quotes, struck, trades

ROWS = 300


def times(records: Records, rows: Any, factor: float, names: tuple[str, ...] = ("price",)) -> Records:
    columns = {name: values.copy() for name, values in records.columns.items()}
    for name in names:
        columns[name][rows] *= factor
    return Records(records.kind, records.venue, records.symbol, columns, records.row)


def aside(*batches: Records) -> dict[str, int]:
    return {name: count for name, (count, outcome) in struck(*batches).items() if outcome == "quarantine"}


def cut(records: Records, at: list[int]) -> list[Records]:
    edges = [0, *sorted(at), len(records)]
    return [records.where(slice(first, end)) for first, end in pairwise(edges)]


def naive(level: np.ndarray) -> np.ndarray:
    """By the median of the 41 rows around each, row by row."""
    out = []
    for at in range(len(level)):
        first = min(max(at - RUN, 0), max(len(level) - 2 * RUN - 1, 0))
        out.append(abs(level[at] - np.median(level[first : first + 2 * RUN + 1])) > np.log(APART))
    return np.array(out)


@pytest.mark.parametrize("factor", [1e-4, 0.35, 2.5, 100.0])
@pytest.mark.parametrize("rows", [[0], [ROWS - 1], [150, 151], [*range(20)], [*range(100, 120)], [*range(280, 300)]])
def test_odd_prints_are_set_aside_wherever_they_are(rows: list[int], factor: float) -> None:
    records = times(trades(ROWS), rows, factor)
    (accepted,), _ = checked(records)
    np.testing.assert_array_equal(accepted.row, np.delete(records.row, rows))
    both = times(quotes(ROWS), rows, factor, ("bid", "ask"))
    assert sum(aside(both).values()) == len(rows)


def test_a_market_that_moves_is_no_odd_run() -> None:
    falling = times(trades(ROWS), slice(None), 1.0)
    falling["price"][:] = 100 * np.exp(-0.05 * np.arange(ROWS))  # a third in 22 prints, to the file's end
    assert struck(falling) == {}
    crashed = times(trades(ROWS), slice(150, None), 0.3)
    assert struck(crashed) == {"jump of a tape": (1, "accept")}
    assert struck(times(trades(ROWS), slice(150, None), 1.8)) == {}


@pytest.mark.parametrize("factor", [0.01, 1000.0, 1e-8])
def test_another_unit_is_set_aside_until_it_is_left(factor: float) -> None:
    assert aside(times(trades(ROWS), slice(100, None), factor)) == {"unit change of a tape": 200}
    assert aside(times(trades(ROWS), slice(100, 200), factor)) == {"unit change of a tape": 100}
    assert aside(times(quotes(ROWS), slice(100, 200), factor, ("bid", "ask"))) == {"unit change of a tape": 100}


def test_the_next_file_is_measured_by_what_was_accepted() -> None:
    first = times(trades(ROWS), slice(100, None), 100.0)
    after = trades(2 * ROWS).where(slice(ROWS, None))
    checker = RecordChecker(NOW)
    told = []
    for records in (first, after, times(after, slice(None), 100.0)):
        ledger = Ledger()
        told.append(sum(len(one.accepted) for one in checker.check([records], ledger)))
    assert told[:2] == [100, ROWS]
    assert told[2] == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, ROWS - 1), max_size=12, unique=True),
    st.lists(
        st.tuples(st.integers(0, ROWS - 1), st.integers(1, 25), st.sampled_from([0.01, 0.4, 3.0, 1e3])), max_size=3
    ),
)
def test_the_cut_into_batches_does_not_matter(at: list[int], runs: list[tuple[int, int, float]]) -> None:
    records = trades(ROWS)
    for first, length, factor in runs:
        records = times(records, slice(first, first + length), factor)
    # A lone price is judged within its batch, so it is left to the rule of rows in both.
    whole, _ = checked(records)
    parts, ledger = checked(*cut(records, at))
    if not any(one.check.name == "lone price" for one in ledger.results()) and "lone price" not in struck(records):
        np.testing.assert_array_equal(np.concatenate([part.row for part in parts]), whole[0].row)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
@example(2, 0)
def test_runs_are_those_of_a_plain_loop(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    level = rng.choice([0.0, 0.0, 0.0, 3.0, -4.0], rows) + rng.normal(0, 1e-3, rows)
    expected = naive(level)
    expected &= not expected.all()  # every run of these begins or ends with a leap, but for one of all rows
    np.testing.assert_array_equal(odd_runs(level), expected)


def test_liquidations_are_judged_by_their_neighbours_and_options_are_not() -> None:
    tape = trades(ROWS)
    columns = {name: tape[name] for name in ("time", "price", "size", "side")}
    columns["side"] = np.sign(columns["side"]).astype(np.int8)
    forced = Records(LIQUIDATIONS, "v", "s", columns, tape.row)
    assert aside(times(forced, [7], 1e7)) == {"run of odd prices": 1}
    quoted = quotes(ROWS)
    option = Records(quoted.kind, "v", "BTC-28JUN24-70000-C", dict(quoted.columns), quoted.row)
    assert aside(times(option, slice(50, 53), 2.5, ("bid", "ask"))) == {}
    assert aside(times(quoted, [5], 2.1, ("ask",))) == {"implausible spread": 1}
    assert aside(times(option, [5], 2.1, ("ask",))) == {}


def test_sizes_that_cannot_be_and_sizes_that_are_great() -> None:
    assert aside(times(trades(), [5], 1e30, ("size",))) == {"implausible size": 1}
    assert struck(times(trades(), [5], 1e8, ("size",))) == {"great size": (1, "accept")}
    assert aside(times(quotes(), [5], 1e30, ("bid_size",))) == {"implausible size": 1}


def test_another_asset_is_set_aside_until_prices_are_back() -> None:
    records = times(trades(ROWS), slice(150, None), 30.0)
    assert aside(records) == {"splice of a tape": 150}
    assert aside(*cut(records, [40, 149, 151, 200])) == {"splice of a tape": 150}
    back = times(trades(ROWS), slice(150, 230), 30.0)
    assert aside(back) == {"splice of a tape": 80}
    assert aside(times(trades(ROWS), slice(150, None), 5.0)) == {}


def test_a_fall_with_numbers_that_begin_again_is_another_asset() -> None:
    fallen = times(trades(ROWS), slice(150, None), 0.2)
    assert aside(fallen) == {}
    fallen["id"][150:] = np.arange(1, 151)
    assert aside(fallen) == {"splice of a tape": 150}


def test_a_rise_while_no_file_was_brought_is_no_splice() -> None:
    early, late = trades(ROWS), times(trades(ROWS), slice(None), 30.0)
    for later, expected in ((np.timedelta64(1, "h"), ROWS), (np.timedelta64(40, "D"), 0)):
        columns = {**late.columns, "time": late["time"] + later.astype("timedelta64[ns]"), "id": late["id"] + ROWS}
        checker, ledger = RecordChecker(NOW), Ledger()
        for records in (early, Records(late.kind, late.venue, late.symbol, columns, late.row)):
            for _ in checker.check([records], ledger):
                pass
        assert ledger.quarantined == expected
