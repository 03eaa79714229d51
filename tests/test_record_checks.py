"""Does each check strike where it should, and nowhere else?"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import DataError
from data.check_results import Ledger, Repair, runs, undo
from data.checking import RecordChecker
from data.records import BOOK, DEPTH, LIQUIDATIONS, METRICS, OPTIONS, TRADES, Kind, Records
from records_made import HOUR, NOW, START, bars, checked, funding, levels, quotes, struck, trades

NAN, INF = float("nan"), float("inf")
NAT = np.datetime64("NaT", "ns")
BLANK: dict[str, Any] = {name: dict.fromkeys((1, 2, 3), NAN) for name in ("price", "size")}
SECOND = np.timedelta64(10**9, "ns")


def made(kind: Kind, rows: int, **columns: Any) -> Records:
    types = {column.name: column.dtype for column in kind.columns}
    told = {name: np.array(values, dtype=types[name]) for name, values in columns.items()}
    return Records(kind, "made-up", "X", told, np.arange(1, rows + 1))


def liquidations(**changed: Any) -> Records:
    told = {"time": START + np.arange(4) * SECOND, "price": [10.0] * 4, "size": [1.0, 2, 3, 4], "side": [1, -1, 1, 1]}
    return made(LIQUIDATIONS, 4, **{**told, **changed})


def options(**changed: Any) -> Records:
    told = {
        **{"time": [START] * 3, "symbol": ["A", "B", "C"], "underlying": ["BTC"] * 3, "strike": [1.0, 2, 3]},
        **{"expiry": [START + 24 * HOUR] * 3, "call": [True] * 3, "bid": [0.0, 0.1, 0.2], "ask": [0.1, 0.2, 0.3]},
        "mark_iv": [0.5, 0.6, 0.7],
    }
    return made(OPTIONS, 3, **{**told, **changed})


def test_clean_rows_raise_nothing() -> None:
    for records in (trades(), bars(), funding(), levels(), quotes(), liquidations(), options()):
        assert struck(records) == {}
        (accepted,), ledger = checked(records)
        assert (len(accepted), ledger.rows, ledger.accepted, ledger.quarantined) == (*[len(records)] * 3, 0)
        for name, values in records.columns.items():
            np.testing.assert_array_equal(accepted[name], values)


@pytest.mark.parametrize(
    ("records", "check", "count"),
    [
        (trades(time={3: NAT}, price={3: NAN}, size={3: NAN}), "torn line", 1),
        (trades(4, time=dict.fromkeys((1, 2, 3), NAT), **BLANK), "misread", 4),
        (trades(time={3: NAT}), "no instant", 1),
        (bars(opened={3: NAT}), "no instant", 1),
        (trades(time={39: NOW + SECOND}), "future", 1),
        (trades(price={3: NAN, 9: NAN}), "not a number", 2),
        (trades(size={5: INF}), "not finite", 1),
        (bars(volume={5: -INF}), "not finite", 1),
        (trades(price={5: 0.0}), "price", 1),
        (bars(close={5: -3.0}), "price", 1),
        (trades(size={5: -0.1}), "negative", 1),
        (bars(quote_volume={5: -1.0}), "negative", 1),
        (trades(side={5: -128}), "unknown side", 1),
        (liquidations(side=[1, -1, 0, 1]), "unknown side", 1),
        (bars(high={5: 90.0}), "high", 1),
        (bars(low={5: 150.0}), "low", 1),
        (bars(time={5: START}), "backwards", 1),
        (bars(taker_buy_volume={5: 9e9}), "taker volume", 1),
        (bars(quote_volume={5: 5e5}), "average price", 1),
        (quotes(bid={5: 101.5}), "crossed", 1),
        (options(bid=[0.5, 0.1, 0.2]), "crossed", 1),
        (options(expiry=[START, *[START + HOUR] * 2]), "expired", 1),
        (options(symbol=["A", None, "C"]), "nameless", 1),
        (options(mark_iv=[50.0, 60.0, 70.0]), "volatility in percent", 3),
        (options(bid=[-0.1, 0.1, 0.2]), "negative", 1),
        (trades(price={5: 10_000.0}), "lone price", 1),
        (quotes(bid={5: 0.9}, ask={5: 1.1}), "lone price", 1),
        (made(METRICS, 2, time=[START, START + HOUR], mark=[NAN, 3.0]), "empty row", 1),
        (trades(time={5: START + 20 * SECOND}), "misplaced", 1),
        (trades(id={5: 510}), "conflict", 2),
        (liquidations(time=[START] * 4, size=[1.0, 1, 1, 1], side=[1, 1, 1, -1]), "duplicate", 2),
        (made(DEPTH, 2, time=[START] * 2, band=[0.01, 0.01], size=[1, 1], notional=[3, 3]), "duplicate", 1),
    ],
)
def test_what_cannot_be_right_is_set_aside(records: Records, check: str, count: int) -> None:
    found = struck(records)
    assert {name for name, (_, outcome) in found.items() if outcome == "quarantine"} == {check}
    assert found[check] == (count, "quarantine")
    accepted, ledger = checked(records)
    assert len(accepted[0]) + count == len(records) == ledger.accepted + ledger.quarantined


@pytest.mark.parametrize(
    ("records", "check", "count"),
    [
        (trades(side={5: 0}), "no side", 1),
        (trades(size={5: 0.0}), "no size", 1),
        (trades(id={39: 600}), "numbers skipped", 1),
        (quotes(bid={5: 99.0}, ask={5: 99.0}), "locked", 1),
        (bars(volume={5: NAN}), "blank figure", 1),
        (bars(low={5: 20.0}), "wick", 1),
    ],
)
def test_what_is_odd_is_noted_and_kept(records: Records, check: str, count: int) -> None:
    assert struck(records) == {check: (count, "accept")}


@pytest.mark.parametrize("hours", [0.0, 0.0001, 80.0])
def test_funding_is_paid_for_a_minute_to_a_day(hours: float) -> None:
    records = funding(30)
    spans = np.where(np.arange(30) == 4, hours, 8.0)
    told = Records(records.kind, "v", "s", {**records.columns, "interval": spans}, records.row)
    assert struck(told)["interval"] == (1, "quarantine")
    assert "interval" not in struck(
        Records(records.kind, "v", "s", {**records.columns, "interval": spans * 0 + 24}, records.row)
    )


def test_a_wider_band_holds_no_less_than_a_narrower_one() -> None:
    told: dict[str, Any] = {"time": [START] * 4 + [START + HOUR] * 4, "band": [-0.02, -0.01, 0.01, 0.02] * 2}
    told |= {"size": [2.0, 1, 1, 2] * 2, "notional": [20.0, 10, 10, 20] * 2}
    assert struck(made(DEPTH, 8, **told)) == {}
    assert struck(made(DEPTH, 8, **{**told, "notional": [20.0, 10, 10, 20, 9, 10, 10, 20]})) == {
        "shrinking depth": (2, "quarantine")
    }
    great = {**told, "notional": [20.0, 10, 10, 1e15, 20, 10, 10, 20]}
    assert struck(made(DEPTH, 8, **great)) == {"implausible size": (1, "quarantine")}


def test_a_row_far_ahead_does_not_make_the_next_file_late() -> None:
    records = bars(200)
    for stray in (50, 198, 199):
        checker, first, second = RecordChecker(NOW), Ledger(), Ledger()
        columns = {name: values[:100].copy() for name, values in records.columns.items()}
        at = min(stray, 99) if stray != 198 else 98
        for name in ("time", "opened"):
            columns[name][at : 100 if stray == 198 else at + 1] += 3000 * HOUR
        (one,) = checker.check([Records(records.kind, "v", "s", columns, records.row[:100])], first)
        rest = Records(records.kind, "v", "s", {n: v[100:] for n, v in records.columns.items()}, records.row[100:])
        (other,) = checker.check([rest], second)
        assert (len(one.accepted), len(other.accepted)) == (98 if stray == 198 else 99, 100)
    assert [check.name for check, _ in one.away] == ["far ahead"]


def test_a_market_that_halts_goes_on() -> None:
    records = bars(200)
    for name in ("time", "opened"):
        records[name][100:] += 3000 * HOUR
    assert {name for name, (_, outcome) in struck(records).items() if outcome == "quarantine"} == set()


def test_closes_alone_are_bars_of_which_little_is_known() -> None:
    whole = bars(20)
    blank = {name: np.full(20, NAN) for name in ("open", "high", "low")}
    alone = Records(whole.kind, "v", "s", {**whole.columns, **blank}, whole.row)
    assert struck(alone) == {"closes alone": (20, "accept")}
    partly = bars(20, high={3: NAN})
    assert struck(partly)["not a number"] == (1, "quarantine")


def test_contracts_under_the_name_of_a_spot_market_are_found_by_their_average_price() -> None:
    records = bars()
    records["volume"][:] = np.rint(records["quote_volume"] / 100)  # contracts of 100 USD
    records["quote_volume"][:] = records["volume"] * 100 / records["close"]  # and where the money should be, coins
    records["taker_buy_volume"][:] = records["taker_buy_quote_volume"][:] = 0
    assert struck(records) == {"average price": (60, "quarantine")}


def test_a_file_is_of_the_month_in_its_name() -> None:
    told = struck(trades(), period=(START + 5 * SECOND + 6 * 60 * SECOND, START + HOUR))
    assert told["off the period"] == (40, "quarantine")
    assert struck(trades(), period=(START, START + HOUR)) == {}


def test_newest_first_is_turned_round_and_can_be_undone() -> None:
    straight = trades(1000)
    backwards = straight.where(np.arange(999, -1, -1))
    given_order = Records(TRADES, straight.venue, straight.symbol, backwards.columns, np.arange(1, 1001))
    parts = [given_order.where(slice(start, start + 100)) for start in range(0, 1000, 100)]
    (accepted,), ledger = checked(*parts)
    np.testing.assert_array_equal(accepted["price"], straight["price"])
    assert [one.check.name for one in ledger.results()] == ["newest first"]
    back = undo(accepted, ledger.repairs)
    np.testing.assert_array_equal(back["price"], given_order["price"])
    np.testing.assert_array_equal(back.row, given_order.row)


def test_small_disorder_is_sorted_and_a_lone_stray_instant_is_not_believed() -> None:
    records = trades(time={5: START + 6 * SECOND + SECOND // 2})
    (accepted,), ledger = checked(records)
    assert (np.diff(accepted["time"]) >= np.timedelta64(0, "ns")).all()
    assert [one.check.name for one in ledger.results()] == ["out of order"]
    np.testing.assert_array_equal(undo(accepted, ledger.repairs)["time"], records["time"])
    assert struck(trades(time={5: START + 3600 * SECOND}))["misplaced"] == (1, "quarantine")


def test_disorder_across_batches_is_found_as_within_one() -> None:
    records = trades(200, time={99: START + 100 * SECOND + SECOND // 4})
    whole, _ = checked(records)
    cut, _ = checked(records.where(slice(0, 100)), records.where(slice(100, None)))
    assert sum(map(len, cut)) == 200
    np.testing.assert_array_equal(np.concatenate([part["time"] for part in cut]), whole[0]["time"])


def test_a_book_keeps_the_order_of_its_messages() -> None:
    time = START + np.array([0, 0, 2, 1, 3]) * (SECOND // 10)
    book = made(BOOK, 5, time=time, side=[1, -1, 1, -1, 1], price=[1.0] * 5, size=[1.0] * 5, snapshot=[False] * 5)
    (accepted,), ledger = checked(book)
    assert accepted.row.tolist() == [1, 2, 3, 4, 5]
    assert [one.check.name for one in ledger.results()] == ["book time"]


def test_rows_that_come_again_later_are_struck_once() -> None:
    records = trades(100)
    again = [records.where(slice(0, 60)), records.where(slice(50, None))]
    accepted, ledger = checked(*again)
    np.testing.assert_array_equal(np.concatenate([part["id"] for part in accepted]), records["id"])
    assert ledger.quarantined == 10


def test_files_of_one_symbol_go_on_where_the_last_one_ended() -> None:
    checker, first, second = RecordChecker(NOW), Ledger(), Ledger()
    records = bars(60)
    list(checker.check([records.where(slice(0, 40))], first))
    (told,) = checker.check([records.where(slice(38, None))], second)
    assert (len(told.accepted), second.quarantined) == (20, 2)
    assert [one.check.name for one in second.results()] == ["late"]


def test_conflicting_bars_of_one_hour_are_both_set_aside_and_copies_once() -> None:
    records = bars(20)
    doubled = records.where(np.array([*range(20), 7]))
    assert struck(doubled)["duplicate"] == (1, "quarantine")
    other = records.where(np.array([*range(8), 7, *range(8, 20)]))
    other["close"][7] = other["close"][7] * 1.001
    assert struck(other)["conflict"] == (2, "quarantine")


def test_batches_are_of_one_symbol() -> None:
    records = trades()
    other = Records(records.kind, records.venue, "ETHUSDT", records.columns, records.row)
    with pytest.raises(DataError, match="ETHUSDT"):
        checked(records, other)


def test_results_name_the_rows_in_runs() -> None:
    records = trades(price=dict.fromkeys((3, 4, 5, 9), NAN))
    _, ledger = checked(records.where(slice(0, 5)), records.where(slice(5, None)))
    (result,) = ledger.results()
    assert result.runs == ((4, 6), (10, 10))
    assert result.to_dict()["count"] == 4
    assert "price nan" in result.first
    assert runs(np.array([], dtype=np.int64)) == []


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(30)), st.lists(st.integers(0, 29), max_size=5))
def test_whatever_the_order_nothing_vanishes_and_all_can_be_undone(order: list[int], doubled: list[int]) -> None:
    straight = levels(30)
    shuffled = straight.where(np.array(order + doubled))
    records = Records(straight.kind, "v", "s", shuffled.columns, np.arange(1, len(shuffled) + 1))
    (accepted,), ledger = checked(records)
    assert ledger.accepted + ledger.quarantined == len(records)
    np.testing.assert_array_equal(accepted["value"], straight["value"])
    assert ledger.quarantined == len(doubled)
    back = undo(accepted, ledger.repairs)
    np.testing.assert_array_equal(back["value"], records["value"][np.isin(records.row, back.row)])


def test_a_repaired_figure_is_put_back() -> None:
    records = bars(10, time={4: START + 4 * HOUR + HOUR // 2})
    (accepted,), ledger = checked(records)
    assert [(one.check.name, one.count) for one in ledger.results()] == [("short bar", 1)]
    assert accepted["time"][4] == START + 5 * HOUR
    (repair,) = ledger.repairs
    assert isinstance(repair, Repair)
    assert repair.to_dict()["rows"] == [[5, 5]]
    np.testing.assert_array_equal(undo(accepted, ledger.repairs)["time"], records["time"])
