"""Is a book that lacks a row unknown until its next snapshot, and never shown as if nothing were missing?"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.catalog import read_records
from data.check_results import Ledger
from data.checking import RecordChecker
from data.flow.book import BookPath, follow
from data.imports import import_paths
from data.records import BOOK, Records
from order_books import NAN, SECOND, Message, rows_of, shown
from raw_text import put
from records_made import NOW, struck

NAT = np.datetime64("NaT", "ns")
FAR = NOW + np.timedelta64(1, "D")
DAMAGES: list[dict[str, Any]] = [
    {"price": NAN},
    {"price": -1.0},
    {"size": np.inf},
    {"side": 0},
    {"time": FAR},
    {"received": FAR},
    {"time": NAT, "price": NAN, "size": NAN, "side": 0, "snapshot": False, "last_update": -1, "first_update": -1},
]


def market(rng: np.random.Generator, count: int, numbers: bool) -> list[Message]:
    """Messages two seconds apart: a snapshot first, and more of them on the way."""
    told, last = [], 10
    for n in range(count):
        whole = n == 0 or rng.random() < 0.2
        sides = [1, 1, -1, -1] if whole else rng.choice([1, -1], rng.integers(1, 4)).tolist()
        levels = [(int(side), 100.0 - side * float(rng.integers(1, 6)), float(rng.integers(0, 5))) for side in sides]
        known: dict[str, int] = {"last": last} if whole else {"first": last + 1, "last": last + 2}
        last = known["last"]
        told.append(Message(2.0 * (n + 1), levels, whole=whole, **(known if numbers else {})))
    return told


def received(records: Records) -> Records:
    return Records(BOOK, "made", "X", {**records.columns, "received": records["time"]}, records.row)


def damaged(records: Records, hits: dict[int, dict[str, Any]]) -> Records:
    columns = {name: values.copy() for name, values in records.columns.items()}
    for row, damage in hits.items():
        for name, value in damage.items():
            columns[name][row] = value
    return Records(BOOK, "made", "X", columns, records.row)


def accepted(records: Records, cuts: list[int]) -> tuple[list[Records], Ledger]:
    ends = [0, *sorted(cuts), len(records)]
    batches = [records.where(slice(a, b)) for a, b in pairwise(ends) if b > a]
    ledger = Ledger()
    return [one.accepted for one in RecordChecker(NOW).check(batches, ledger)], ledger


def quote_at(path: BookPath, second: float) -> tuple[float, ...]:
    before = [row for row in shown(path) if row[0] <= second]
    return before[-1][1:] if before else (NAN,) * 4


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_no_quote_is_shown_that_is_not_true(seed: int, numbers: bool, messages: bool) -> None:
    rng = np.random.default_rng(seed)
    made = market(rng, 14, numbers)
    whole = received(rows_of(made, numbered=messages))
    rows = rng.choice(len(whole), rng.integers(1, 6), replace=False)
    broken = damaged(whole, {int(row): DAMAGES[rng.integers(len(DAMAGES))] for row in rows})
    batches, ledger = accepted(broken, rng.choice(len(whole), rng.integers(0, 4), replace=False).tolist())
    assert ledger.accepted + ledger.quarantined == len(whole)
    assert ledger.quarantined >= len(rows)
    told, truth = follow(batches), follow([whole])
    for message in made:
        here, true = quote_at(told, message.second), quote_at(truth, message.second)
        assert np.isnan(here).all() or np.array_equal(here, true, equal_nan=True), (message, here, true)


def test_a_loss_lasts_until_the_next_snapshot_and_no_longer() -> None:
    levels = [(1, 99.0, 1.0), (-1, 101.0, 1.0)]
    made = [Message(2.0 * n, levels if n % 4 == 0 else [(1, 98.0, n)], whole=n % 4 == 0) for n in range(9)]
    whole = rows_of(made)
    (batch,), ledger = accepted(damaged(whole, {3: {"price": NAN}}), [])
    assert (len(batch), ledger.accepted, ledger.quarantined) == (len(whole), len(whole) - 1, 1)
    assert batch.row.tolist() == whole.row.tolist()
    known = [not np.isnan(quote_at(follow([batch]), 2.0 * n)[0]) for n in range(9)]
    assert known == [True, True, False, False, True, True, True, True, True]


def test_a_row_of_a_strange_instant_loses_the_messages_on_both_sides() -> None:
    levels = [(1, 99.0, 1.0), (-1, 101.0, 1.0)]
    made = [Message(2.0 * n, levels if n in (0, 3) else [(1, 98.0, 1.0 + n)], whole=n in (0, 3)) for n in range(12)]
    torn = damaged(rows_of(made), {3: {"time": NAT}})  # the row before the snapshot, or perhaps its first
    assert np.isnan([quote_at(follow(accepted(torn, cuts)[0]), 22.0)[0] for cuts in ([], [3], [4], [3, 4])]).all()
    astray = damaged(rows_of(made), {8: {"time": np.datetime64(5000 * SECOND, "ns")}})
    batches, ledger = accepted(astray, [])
    assert [one.check.name for one in ledger.results() if one.check.outcome == "quarantine"] == ["misplaced"]
    assert np.isnan(quote_at(follow(batches), 22.0)[0])


def test_the_rows_of_a_book_that_is_whole_are_left_alone() -> None:
    whole = rows_of(market(np.random.default_rng(3), 20, True))
    batches, ledger = accepted(whole, [5, 9])
    assert (ledger.accepted, ledger.quarantined) == (len(whole), 0)
    for name, values in whole.columns.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in batches]), values)


def test_messages_of_no_level_pass_and_carry_the_numbering_on() -> None:
    made = [
        Message(2, [(1, 99.0, 1.0), (-1, 101.0, 1.0)], whole=True, last=10),
        Message(4, [(0, NAN, NAN)], first=11, last=12),
        Message(6, [(1, 99.5, 1.0)], first=13, last=13),
    ]
    rows = rows_of(made)
    assert struck(rows)["no level"] == (1, "accept")
    batches, ledger = accepted(rows, [])
    assert (ledger.quarantined, follow(batches).faults.gaps) == (0, 0)
    assert shown(follow(batches))[-1] == (6.0, 99.5, 1.0, 101.0, 1.0)
    nameless = damaged(rows, {2: {"last_update": -1}})
    assert struck(nameless)["empty row"] == (1, "quarantine")


HEAD = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"


@pytest.mark.parametrize(("bad", "known"), [("-99.5,1", [0, 2, 8, 10]), ("99.5,x", [0, 2, 8, 10]), ("", [0, 8, 10])])
def test_an_imported_book_is_lost_where_a_row_was_set_aside(bad: str, known: list[int], tmp_path: Path) -> None:
    stamps = [1704067200000000 + 2_000_000 * n for n in range(6)]
    rows = [
        *(f"{stamps[0]},{stamps[0]},true,bid,99,1", f"{stamps[0]},{stamps[0]},true,ask,101,1"),
        f"{stamps[1]},{stamps[1]},false,bid,99.2,1",
        f"{stamps[2]},{stamps[2]},false,bid,{bad}",  # of the message at 4 s, if anybody knows
        f"{stamps[3]},{stamps[3]},false,ask,100.8,1",
        *(f"{stamps[4]},{stamps[4]},true,bid,99.5,2", f"{stamps[4]},{stamps[4]},true,ask,101,2"),
        f"{stamps[5]},{stamps[5]},false,ask,100.7,1",
    ]
    path = put(tmp_path, "deribit_book_2024-01-01.csv", HEAD, *(f"deribit,BTC-PERPETUAL,{row}" for row in rows))
    (file,) = import_paths([path], tmp_path / "store", now=NOW).files
    assert (file.rows, file.accepted, file.quarantined) == (8, 7, 1)
    found = follow(read_records(file.record_set, tmp_path / "store"))
    quotes = {round(row[0] - stamps[0] / 1e6): row[1:] for row in shown(found) if not np.isnan(row[1])}
    told = {0: (99.0, 1.0, 101.0, 1.0), 2: (99.2, 1.0, 101.0, 1.0), 8: (99.5, 2.0, 101.0, 2.0)}
    told[10] = (99.5, 2.0, 100.7, 1.0)
    assert quotes == {second: told[second] for second in known}
    lost = [row[0] - stamps[0] / 1e6 for row in shown(found) if np.isnan(row[1])]
    assert lost == [known[known.index(8) - 1] + 2.0 if bad else 2.0]
    assert found.faults.refused >= 1


def test_a_streams_message_that_nobody_can_read_loses_the_book(tmp_path: Path) -> None:
    start = 1704067200000

    def line(at: int, message: dict[str, Any]) -> str:
        return f"{(start + at) * 1_000_000} {json.dumps({'stream': 'btcusdt@depth', 'data': message})}"

    def change(at: int, number: int, bids: list[list[str]]) -> str:
        told = {"e": "depthUpdate", "E": start + at, "T": start + at, "s": "BTCUSDT", "U": number, "u": number}
        return line(at, {**told, "pu": number - 1, "b": bids, "a": []})

    book = {"lastUpdateId": 6, "E": start, "T": start, "bids": [["42000", "3"]], "asks": [["42001", "1"]]}
    lines = [line(0, book), change(2000, 7, []), change(4000, 8, [["41999", "1"]])]
    path = put(tmp_path, "btcusdt_20240101.gz", *lines, change(6000, 9, [["42000.5", "1"]]))
    (file,) = import_paths([path], tmp_path / "store", now=NOW).files
    assert (file.rows, file.accepted, file.quarantined) == (5, 5, 0)
    assert shown(follow(read_records(file.record_set, tmp_path / "store")))[-1][1] == 42000.5
    cut = put(tmp_path, "btcusdt_20240102.gz", *lines, '{"e":"depthUpdate","E":17', change(6000, 9, [["41990", "1"]]))
    (file,) = import_paths([cut], tmp_path / "other", now=NOW).files
    assert (file.accepted, file.quarantined) == (5, 1)
    assert np.isnan(shown(follow(read_records(file.record_set, tmp_path / "other")))[-1][1])
