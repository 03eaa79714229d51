"""Does a book of snapshots and changes show what it should, and own up to what it cannot know?"""

import numpy as np
import pytest

from data import DataError, ParameterError
from data.flow.book import BookFold, follow, mid
from data.flow.liquidity import quoted_spread
from data.flow.orderflow import order_flow_events
from data.records import BOOK, DEPTH, TRADES, Records
from order_books import NAN, SECOND, Level, Message, rows_of, shown

FIVE = [
    Message(1, [(1, 99.0, 2.0), (1, 98.0, 5.0), (-1, 101.0, 1.0), (-1, 102.0, 4.0)], whole=True, last=10),
    Message(2, [(1, 100.0, 3.0)], first=11, last=11),  # a better bid
    Message(3, [(-1, 101.0, 0.0)], first=12, last=13),  # the best ask goes
    Message(4, [(1, 98.0, 7.0)], first=14, last=14),  # behind the best: nothing to show
    Message(5, [(1, 100.0, 1.0), (-1, 101.5, 2.0)], first=15, last=16),
]


def test_a_book_of_five_messages_by_hand() -> None:
    path = follow([rows_of(FIVE)])
    assert shown(path) == [
        (1.0, 99.0, 2.0, 101.0, 1.0),
        (2.0, 100.0, 3.0, 101.0, 1.0),
        (3.0, 100.0, 3.0, 102.0, 4.0),
        (5.0, 100.0, 1.0, 101.5, 2.0),
    ]
    assert path.quotes["update"].tolist() == [10, 11, 13, 16]
    assert (path.faults.messages, path.faults.gaps, path.faults.crossed) == (5, 0, 0)
    np.testing.assert_allclose(mid(path.quotes), [100.0, 100.5, 101.0, 100.75])
    np.testing.assert_allclose(quoted_spread(path.quotes["bid"], path.quotes["ask"])[:2], [0.02, 1 / 100.5])
    # Cont, Kukanov and Stoikov by hand: a better bid of 3, the ask of 1 gone, and then 2 bids less and 2 asks better.
    quotes = path.quotes
    flow = order_flow_events(quotes["bid"], quotes["bid_size"], quotes["ask"], quotes["ask_size"])
    assert flow.tolist()[1:] == [3.0, 1.0, -4.0]


def test_what_stands_is_told_the_best_first() -> None:
    fold = BookFold()
    fold.add(rows_of(FIVE))
    bids, asks = fold.levels()
    assert bids.tolist() == [[100.0, 1.0], [99.0, 2.0], [98.0, 7.0]]
    assert asks.tolist() == [[101.5, 2.0], [102.0, 4.0]]


def test_a_gap_makes_the_book_unknown_until_the_next_snapshot() -> None:
    after = [
        Message(6, [(1, 100.5, 1.0)], first=18, last=18),  # 17 is missing
        Message(7, [(1, 100.6, 1.0)], first=19, last=19),
        Message(8, [(1, 97.0, 1.0), (-1, 103.0, 1.0)], whole=True, last=30),
        Message(9, [(1, 97.5, 1.0)], first=20, last=30),  # in the snapshot already
        Message(10, [(1, 97.6, 1.0)], first=29, last=31),  # reaches back before it, as the first may
    ]
    path = follow([rows_of([*FIVE, *after])])
    told = shown(path)[4:]
    assert told[0][0] == 6.0
    assert np.isnan(told[0][1:]).all()
    assert told[1:] == [(8.0, 97.0, 1.0, 103.0, 1.0), (10.0, 97.6, 1.0, 103.0, 1.0)]
    assert (path.faults.gaps, path.faults.gap_rows) == (1, (10,))
    assert "1 gaps" in str(path.faults)
    assert "rows (10,)" in str(path.faults)


LATE = [
    Message(6, [(1, 100.2, 4.0), (1, 98.0, 0.0)], first=17, last=18),
    Message(7, [(-1, 101.5, 0.0)], first=19, last=20),
]


@pytest.mark.parametrize("before", [FIVE, FIVE[1:]])
def test_a_snapshot_that_comes_late_has_the_changes_since_put_into_it(before: list[Message]) -> None:
    snapshot = Message(5.5, [(1, 98.0, 1.0), (1, 96.0, 8.0), (-1, 101.5, 2.0), (-1, 103.0, 6.0)], whole=True, last=17)
    fold = BookFold()
    fold.add(rows_of([*before, *LATE, snapshot, Message(8, [(1, 95.0, 1.0)], first=21, last=21)]))
    assert fold.faults.gaps == 0
    assert [side.tolist() for side in fold.levels()] == [[[100.2, 4.0], [96.0, 8.0], [95.0, 1.0]], [[103.0, 6.0]]]
    path = follow([rows_of([*before, *LATE, snapshot])])
    assert shown(path)[-1] == (7.0, 100.2, 4.0, 103.0, 6.0)  # known when the newest change was, not before it
    assert path.quotes["update"][-1] == 20


def test_a_snapshot_older_than_what_is_remembered_is_believed_until_the_next_change_tells() -> None:
    snapshot = Message(6, [(1, 90.0, 1.0), (-1, 91.0, 1.0)], whole=True, last=3)
    follows, leaps = (Message(7, [(1, 90.5, 1.0)], first=n, last=n) for n in (4, 17))
    assert shown(follow([rows_of([*FIVE, snapshot, follows])]))[-1] == (7.0, 90.5, 1.0, 91.0, 1.0)  # numbered anew
    path = follow([rows_of([*FIVE, snapshot, leaps])])
    assert path.faults.gaps == 1
    assert np.isnan(shown(path)[-1][1:]).all()


@pytest.mark.parametrize(
    ("next_one", "gaps"),
    [
        (Message(6, [(1, 99.9, 1.0)], first=990, last=995, pu=16), 0),  # futures: numbers leap, `pu` follows
        (Message(6, [(1, 99.9, 1.0)], first=17, last=18, pu=15), 1),  # and where it does not, something is missing
        (Message(6, [(1, 99.9, 1.0)], first=17, last=18), 0),
        (Message(6, [(1, 99.9, 1.0)], first=18, last=18), 1),
        (Message(6, [(1, 99.9, 1.0)], first=3, last=4), 1),  # numbers that fall back
        (Message(6, [(1, 99.9, 1.0)]), 0),  # nothing said
    ],
)
def test_each_venues_numbering_is_followed(next_one: Message, gaps: int) -> None:
    path = follow([rows_of([*FIVE, next_one])])
    assert path.faults.gaps == gaps
    assert np.isnan(shown(path)[-1][1]) == (gaps == 1)


def test_a_message_that_comes_twice_is_passed_over() -> None:
    path = follow([rows_of([*FIVE, FIVE[-1]])])
    assert (path.faults.repeated, path.faults.gaps) == (1, 0)
    assert len(path.quotes) == 4


def test_a_snapshot_replaces_the_book() -> None:
    fold = BookFold()
    fold.add(rows_of([*FIVE, Message(6, [(1, 90.0, 1.0), (-1, 91.0, 1.0)], whole=True)]))
    assert [side.tolist() for side in fold.levels()] == [[[90.0, 1.0]], [[91.0, 1.0]]]


def test_changes_alone_are_believed_once_both_sides_are_seen_and_anew_after_a_gap() -> None:
    messages = [
        Message(1, [(1, 99.0, 1.0)], first=1, last=1),
        Message(2, [(-1, 101.0, 1.0)], first=2, last=2),
        Message(3, [(1, 98.0, 1.0)], first=4, last=4),  # 3 is missing
        Message(4, [(-1, 102.0, 1.0)], first=5, last=5),
    ]
    path = follow([rows_of(messages)])
    assert shown(path)[0] == (2.0, 99.0, 1.0, 101.0, 1.0)
    assert np.isnan(shown(path)[1][1:]).all()
    assert shown(path)[2] == (4.0, 98.0, 1.0, 102.0, 1.0)


def test_a_crossed_book_is_counted_and_not_shown() -> None:
    crossing = [Message(6, [(1, 101.5, 1.0)], first=17, last=17), Message(7, [(1, 101.5, 0.0)], first=18, last=18)]
    path = follow([rows_of([*FIVE, *crossing])])
    assert path.faults.crossed == 1
    assert np.isnan(shown(path)[4][1:]).all()
    assert shown(path)[5] == (7.0, 100.0, 1.0, 101.5, 2.0)
    assert follow([rows_of([*FIVE, crossing[0]])]).faults.crossed == 1  # in the last message too


def test_an_empty_side_of_a_known_book_is_a_size_of_zero() -> None:
    path = follow([rows_of([*FIVE, Message(6, [(-1, 101.5, 0.0), (-1, 102.0, 0.0)], first=17, last=17)])])
    _, bid, bid_size, ask, ask_size = shown(path)[-1]
    assert (bid, bid_size, ask_size) == (100.0, 1.0, 0.0)
    assert np.isnan(ask)
    assert np.isnan(mid(path.quotes)[-1])


@pytest.mark.parametrize(
    "level", [(1, NAN, 1.0), (1, -1.0, 1.0), (1, 99.0, -1.0), (1, np.inf, 1.0), (0, 99.0, 1.0), (1, 99.0, np.inf)]
)
def test_a_row_that_is_no_level_loses_the_book(level: Level) -> None:
    path = follow([rows_of([*FIVE, Message(6, [level], first=17, last=17)])])
    assert path.faults.refused == 1
    assert np.isnan(shown(path)[-1][1:]).all()


def test_a_message_of_no_level_carries_the_numbering_on() -> None:
    messages = [*FIVE, Message(6, [(0, NAN, NAN)], first=17, last=17), Message(7, [(1, 100.1, 1.0)], first=18, last=18)]
    path = follow([rows_of(messages)])
    assert (path.faults.refused, path.faults.gaps) == (0, 0)
    assert shown(path)[-1] == (7.0, 100.1, 1.0, 101.5, 2.0)
    lost = [*FIVE, Message(6, [(0, NAN, NAN)]), Message(7, [(1, 100.1, 1.0)], first=18, last=18)]
    assert follow([rows_of(lost)]).faults.refused == 1  # a line that could not be read says nothing of its number


WIDE: list[Level] = [(1, 99.0, 2.0), (1, 95.0, 5.0), (1, 50.0, 9.0), (-1, 101.0, 1.0), (-1, 104.0, 4.0)]


def test_depth_within_bands_by_hand() -> None:
    messages = [Message(1, WIDE, whole=True), Message(61, [(1, 99.0, 1.0)]), Message(240, [(1, 99.0, 3.0)])]
    path = follow([rows_of(messages)], (0.005, 0.01, 0.05), step=60.0, multiplier=10.0)
    assert path.depth.kind is DEPTH
    assert path.depth["band"].tolist() == [-0.005, -0.01, -0.05, 0.005, 0.01, 0.05] * 2
    # The mid is 100; beyond 104 nothing is told, so that how much there is within 5 % above is not known.
    size = path.depth["size"].reshape(2, 2, 3)
    np.testing.assert_array_equal(size[0], [[0.0, 2.0, 7.0], [0.0, 1.0, NAN]])
    np.testing.assert_array_equal(size[1], [[0.0, 1.0, 6.0], [0.0, 1.0, NAN]])
    notional = path.depth["notional"].reshape(2, 2, 3)
    np.testing.assert_array_equal(notional[0], [[0.0, 1980.0, 1980.0 + 4750.0], [0.0, 1010.0, NAN]])
    # At the multiple after each message, where a later one has gone past; none between, and none after the last.
    assert path.depth["time"].astype(np.int64)[::6].tolist() == [60 * SECOND, 120 * SECOND]
    inverse = follow([rows_of(messages)], (0.005, 0.01, 0.05), multiplier=100.0, inverse=True)
    np.testing.assert_array_equal(inverse.depth["notional"].reshape(2, 2, 3)[0, 0], [0.0, 200.0, 700.0])


def test_a_sample_of_depth_knows_what_came_by_its_instant_and_no_more() -> None:
    messages = [Message(60, WIDE, whole=True), Message(60, [(1, 99.0, 1.5)]), Message(60.000000001, [(1, 99.0, 9.0)])]
    path = follow([rows_of([*messages, Message(300, [(1, 99.0, 8.0)])])], (0.01,), step=60.0)
    assert path.depth["time"].astype(np.int64)[::2].tolist() == [60 * SECOND, 120 * SECOND]
    assert path.depth["size"][::2].tolist() == [1.5, 9.0]


def test_depth_is_unknown_after_a_gap() -> None:
    messages = [*FIVE, Message(70, [(1, 99.0, 1.0)], first=99, last=99), Message(190, [(1, 98.0, 1.0)])]
    path = follow([rows_of(messages)], (0.01,), step=60.0)
    assert np.isnan(path.depth["size"].reshape(-1, 2)[:, 0]).tolist() == [False, True]


def test_rows_of_something_else_are_refused() -> None:
    rows = rows_of(FIVE)
    fold = BookFold()
    fold.add(rows)
    with pytest.raises(DataError, match="expected rows of the book of"):
        fold.add(Records(BOOK, "made", "Y", rows.columns, rows.row))
    trades = {"time": rows["time"], "price": rows["price"], "size": rows["size"], "side": rows["side"]}
    with pytest.raises(DataError, match="got trades"):
        BookFold().add(Records(TRADES, "made", "X", trades, rows.row))
    nowhere = dict(rows.columns) | {"time": np.full(len(rows), np.datetime64("NaT", "ns"))}
    with pytest.raises(DataError, match="none at row 1"):
        BookFold().add(Records(BOOK, "made", "X", nowhere, rows.row))
    with pytest.raises(DataError, match="no batch"):
        follow([])


@pytest.mark.parametrize(("bands", "step"), [((0.1, 0.05), 60.0), ((0.0,), 60.0), ((1.0,), 60.0), ((0.1,), 0.0)])
def test_bands_and_steps_that_cannot_be_are_refused(bands: tuple[float, ...], step: float) -> None:
    with pytest.raises(ParameterError):
        BookFold(bands, step)


def test_a_book_that_only_grows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.flow.book.MOST_LEVELS", 11)
    fold = BookFold()
    fold.add(rows_of(FIVE))
    with pytest.raises(DataError, match="at most 11 levels"):
        fold.add(rows_of(FIVE))


def test_more_levels_than_there_was_room_for() -> None:
    many = [(1, 1.0 + n, 1.0) for n in range(40_000)] + [(-1, 50_000.0 + n, 1.0) for n in range(10)]
    fold = BookFold()
    fold.add(rows_of([Message(1, many, whole=True)]))
    bids, asks = fold.levels()
    assert (len(bids), bids[0].tolist(), asks[0].tolist()) == (40_000, [40_000.0, 1.0], [50_000.0, 1.0])
