"""Is a followed book that of a plain dictionary, of a plain loop, and of the venue itself?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Floats
from data.compiled import plain
from data.flow import book_kernels
from data.flow.book import BookFold, BookPath, follow, mid
from data.flow.orderflow import order_flow_events
from data.records import QUOTES
from data.sources.exchange_streams import beside
from data.sources.recognise import read_records, recognise
from order_books import NAN, SECOND, Level, Message, PlainBook, rows_of


@st.composite
def books(draw: st.DrawFn) -> list[Message]:
    messages, last = [], draw(st.integers(0, 3))
    for n in range(draw(st.integers(1, 30))):
        levels = draw(
            st.lists(
                st.tuples(st.sampled_from([1, -1]), st.integers(0, 6), st.sampled_from([0.0, 1.0, 2.5])),
                min_size=1,
                max_size=6,
            )
        )
        placed = [(sign, 100.0 - sign * (distance - 0.75), size) for sign, distance, size in levels]
        whole = draw(st.integers(0, 7)) == 0
        first = last + 1 + draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, -1]))
        told = max(first, 0) + draw(st.integers(0, 2))
        last = told if not whole else max(last, 0)
        told = max(told - draw(st.integers(0, 6)), 0) if whole else told
        messages.append(Message(float(n), placed, whole=whole, first=told if whole else max(first, 0), last=told))
    return messages


def expected(messages: Sequence[Message]) -> list[tuple[float, ...]]:
    book = PlainBook()
    told: list[tuple[float, ...]] = [(NAN,) * 4]
    for message in messages:
        quote = book.apply(message)
        if not np.array_equal(quote, told[-1], equal_nan=True):
            told.append(quote)
    return told[1:]


@settings(max_examples=150, deadline=None)
@given(messages=books(), cut=st.integers(1, 20), numbered=st.booleans())
def test_any_book_is_that_of_a_plain_dictionary_however_it_is_cut(
    messages: list[Message], cut: int, numbered: bool
) -> None:
    rows = rows_of(messages, numbered=numbered)
    once = follow([rows], (0.01, 0.05), step=2.0)
    quotes = np.column_stack([once.quotes[name] for name in ("bid", "ask", "bid_size", "ask_size")])
    np.testing.assert_array_equal(quotes, np.array(expected(messages)).reshape(-1, 4))
    pieces = [rows.where(slice(at, at + cut)) for at in range(0, len(rows), cut)]
    again = follow(pieces, (0.01, 0.05), step=2.0)
    for one, other in ((once.quotes, again.quotes), (once.depth, again.depth)):
        assert {name: values.tobytes() for name, values in one.columns.items()} == {
            name: values.tobytes() for name, values in other.columns.items()
        }
    assert once.faults == again.faults


@settings(max_examples=60, deadline=None)
@given(messages=books())
def test_levels_and_depth_are_those_of_a_plain_sum(messages: list[Message]) -> None:
    fold, book = BookFold((0.01, 0.05)), PlainBook()
    fold.add(rows_of(messages))
    for message in messages:
        quote = book.apply(message)
    for sign, levels in zip((1, -1), fold.levels(), strict=True):
        assert levels.tolist() == [[p, book.side[sign][p]] for p in sorted(book.side[sign], key=lambda p: -sign * p)]
    size, value = np.empty((2, 2, 2))
    state = (*fold._now()[2], np.array(quote), np.array([0.01, 0.05]), False)
    book_kernels.measure(*state, size, value)
    middle = (quote[0] + quote[1]) / 2
    for s, sign in enumerate((1, -1)):
        for k, band in enumerate((0.01, 0.05)):
            edge = middle * (1 - sign * band)
            within = [(p, q) for p, q in book.side[sign].items() if sign * p >= sign * edge]
            beyond = any(sign * p <= sign * edge for p in book.side[sign])
            assert np.isnan(size[s, k]) == (not (np.isfinite(middle) and beyond))
            if not np.isnan(size[s, k]):
                assert size[s, k] == pytest.approx(sum(q for _, q in within))
                assert value[s, k] == pytest.approx(sum(p * q for p, q in within))


def test_the_compiled_loop_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    messages = [
        Message(float(n), _drawn(rng), first=n - n // 40, last=n - n // 40)
        if n % 40  # and snapshots that come three changes late
        else Message(float(n), _drawn(rng), whole=True, last=max(n - 1 - n // 40 - 3, 0))
        for n in range(120)
    ]
    fast = follow([rows_of(messages)], (0.01, 0.02), step=5.0)
    names = "place_of put start_of breaks lose forget begin keep close quote same measure apply follow"
    for name in names.split():
        monkeypatch.setattr(book_kernels, name, plain(getattr(book_kernels, name)))
    slow = follow([rows_of(messages)], (0.01, 0.02), step=5.0)
    assert len(fast.quotes) > 50
    for one, other in ((fast.quotes, slow.quotes), (fast.depth, slow.depth)):
        for name, values in one.columns.items():
            np.testing.assert_array_equal(values, other[name])


def _drawn(rng: np.random.Generator) -> list[Level]:
    figures = (rng.choice([1, -1], 5), rng.integers(1, 6, 5), rng.integers(0, 4, 5))
    return [(sign, 100.0 - sign * away, float(size)) for sign, away, size in zip(*map(list, figures), strict=True)]


# The raw streams of Binance.

EXAMPLES = Path(__file__).resolve().parents[2] / "shared/data/nkaz001+hftbacktest/examples"


def _binned(path: BookPath, seconds: float) -> tuple[Floats, Floats]:
    """Order flow and move of the mid within each interval of the quotes."""
    quotes = path.quotes
    flow = np.nan_to_num(order_flow_events(quotes["bid"], quotes["bid_size"], quotes["ask"], quotes["ask_size"]))
    bin_of = (quotes["time"].astype(np.int64) // int(seconds * SECOND)).astype(np.int64)
    bin_of -= bin_of.min()
    middle = mid(quotes)
    move = np.diff(middle, prepend=middle[0])
    size = int(bin_of.max()) + 1
    flows, moves = np.bincount(bin_of, flow, size), np.bincount(bin_of, np.nan_to_num(move), size)
    return flows.astype(np.float64), moves.astype(np.float64)


STREAMS = ("usdm/btcusdt_20240808.gz", "spot/btcusdt_20240808.gz", "cm/btcusd_perp_20240808.gz")


@pytest.mark.shared
@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="no reference folder beside the checkout")
@pytest.mark.parametrize("name", STREAMS)
def test_the_recorded_books_show_what_the_venue_itself_said_was_best(name: str) -> None:
    found = recognise(EXAMPLES / name)
    (tickers,) = (layout for layout in beside(found.raw) if layout.kind is QUOTES)
    said = list(tickers.read(found.raw))
    update = np.concatenate([batch["update"] for batch in said])
    order = np.argsort(update, kind="stable")
    quotes = follow(found.records()).quotes
    at = order[np.searchsorted(update[order], quotes["update"], side="right") - 1][2:]  # from where both have begun
    for figure in ("bid", "ask", "bid_size", "ask_size"):
        np.testing.assert_array_equal(quotes[figure][2:], np.concatenate([batch[figure] for batch in said])[at])


@pytest.mark.shared
@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="no reference folder beside the checkout")
@pytest.mark.parametrize("name", STREAMS)
def test_the_recorded_streams_give_a_book_without_a_gap_whose_flow_moves_the_mid(name: str) -> None:
    path = follow(read_records(EXAMPLES / name), (0.0005, 0.001), step=10.0, inverse=name.startswith("cm"))
    flow, move = _binned(path, 1.0)
    correlation = float(np.corrcoef(flow, move)[0, 1])
    print(name, path.faults, len(path.quotes), f"correlation {correlation:.3f} over {len(flow)} seconds")
    assert path.faults.messages > 1000
    assert (path.faults.gaps, path.faults.crossed, path.faults.refused) == (0, 0, 0)
    assert correlation > 0.2
