"""Does a chain follow a history so that returns stay returns, and nothing after the chain is seen?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chain_files import chain_market_of
from data import Book, Coverage, DataError, HistoryError, Instrument, MarketHistory
from data.chain_history import after_history, only_chain
from data.chain_market import ChainMarket
from markets import coins_with_options

DAY = Coverage(0.99, "1D")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> ChainMarket:
    return chain_market_of(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def book(market: ChainMarket) -> Book:
    instruments = tuple(market.contracts[symbol] for symbol in ("BTC-16JAN26-100000-C", "BTC-PERP"))
    return Book(instruments, ("book",), np.array([[-1.0, 0.5]]))


def closes(end: str, rows: int = 300, step: str = "1D", last: float = 99_000.0) -> MarketHistory:
    """BTC and DOGE up to an instant."""
    moves = np.random.default_rng(3).normal(0.0, 0.02, (rows, 2)).cumsum(axis=0)
    spot = np.exp(moves - moves[-1]) * np.array([last, 0.1])
    index = pd.date_range(end=end, periods=rows, freq=step, tz="UTC")
    return MarketHistory.from_frame(pd.DataFrame(spot, index=index, columns=["BTC", "DOGE"]))


@pytest.mark.parametrize(
    ("end", "step", "rows", "moved"),
    [
        ("2026-01-04", "1D", 301, "4 h 00 min"),  # yesterday's row is the one before the chain's
        ("2026-01-05", "1D", 300, "4 h 00 min"),  # today's gives way
        ("2026-01-05T04:00Z", "1h", 300, ""),  # the very instant of the chain
        ("2026-01-05T03:30Z", "1h", 300, "0 h 30 min"),
    ],
)
def test_the_last_row_is_the_chain_and_the_others_the_history(
    market: ChainMarket, book: Book, end: str, step: str, rows: int, moved: str
) -> None:
    history = closes(end, step=step)
    told = after_history(history, market, book)
    past, own = told.past, only_chain(market, book).past
    assert (len(past), past.underlyings, told.holes) == (rows, ("BTC",), 0)
    assert past.now.time == market.state.time
    assert past.now.spot.tolist() == [100_000.0]
    assert past.listed == ("BTC-16JAN26-100000-C",)
    for kept, wanted in ((past.now.marks, own.now.marks), (past.now.surface, own.now.surface)):
        np.testing.assert_array_equal(kept, wanted)
    np.testing.assert_array_equal(past.spot[:-1, 0], history.spot[: rows - 1, 0])
    steps = past.steps(Coverage(0.99, "1D"))
    np.testing.assert_array_equal(past.returns(DAY)[:-1, 0], history.returns(DAY)[: rows - 1 - steps, 0])
    assert any(f"moved later by {moved}," in remark for remark in told.remarks) == bool(moved)


def test_rows_after_the_chain_are_not_seen(market: ChainMarket, book: Book) -> None:
    history = closes("2026-03-01")
    spot = np.array(history.spot)
    spot[history.time > market.state.time] *= 7.0
    told, other = (after_history(one, market, book) for one in (history, replace(history, spot=spot)))
    np.testing.assert_array_equal(told.past.spot, other.past.spot)
    assert any(remark == "55 rows of the history after the chain are not seen" for remark in told.remarks)


def test_a_history_that_ends_long_before_needs_leave(market: ChainMarket, book: Book) -> None:
    for end, holes in (("2025-12-30", 5), ("2025-12-29", 6)):
        history = closes(end)
        if holes == 6:
            with pytest.raises(HistoryError, match="got none after 2025-12-29 00:00 UTC: bring a newer one"):
                after_history(history, market, book)
        told = after_history(history, market, book, allow_gap=True)
        assert (told.holes, told.known) == (holes, 300)
        assert np.isnan(told.past.spot[300 : 300 + holes]).all()
        assert any(f"{holes} rows between the two have no price" in remark for remark in told.remarks)
        assert not np.isfinite(told.past.returns(DAY)[-1]).any()


def test_holes_that_end_a_history_count_as_a_gap(market: ChainMarket, book: Book) -> None:
    history = closes("2026-01-04")
    spot = np.array(history.spot)
    spot[-3:, 0] = np.nan
    told = after_history(replace(history, spot=spot), market, book)
    assert (told.known, told.holes) == (300, 3)
    spot[-30:, 0] = np.nan
    with pytest.raises(HistoryError, match="the history must run to the chain"):
        after_history(replace(history, spot=spot), market, book)


def test_surfaces_from_quotes_are_kept_beside_the_chains(market: ChainMarket, book: Book) -> None:
    coins = coins_with_options(260)
    shift = np.datetime64("2026-01-04", "ns") - coins.time[-1]
    spot = coins.spot / coins.spot[-1] * np.array([99_000.0, 2_900.0])
    history = replace(coins, time=coins.time + shift, spot=spot)
    both = Book((*book.instruments, market.contracts["ETH"]), ("book",), np.ones((1, 3)))
    told = after_history(history, market, both)
    past = told.past
    assert past.surfaces is not None
    assert history.surfaces is not None
    assert past.surfaces.shape == (len(history) + 1, 2, 3, 7)
    np.testing.assert_array_equal(past.surfaces[:-1], history.surfaces)
    assert past.implied_changes(DAY)[-1] != pytest.approx(0.0)
    assert past.funding is not None
    assert np.isnan(past.funding[-1]).all()
    proxied = after_history(replace(history, implied="proxy: realised"), market, both)
    assert proxied.past.surfaces is not None
    assert np.isnan(proxied.past.surfaces[:-1]).all()
    assert any("no quote (proxy: realised)" in remark for remark in proxied.remarks)


def test_what_does_not_fit_the_chain_is_refused(market: ChainMarket, book: Book) -> None:
    history = closes("2026-01-04")
    doge = Instrument("DOGE-PERP", "DOGE")
    with pytest.raises(DataError, match=r"the book must hold underlyings of the chain, .* got \['DOGE'\] too"):
        only_chain(market, Book((doge,), ("book",), np.ones((1, 1))))
    eth = Book((market.contracts["ETH"],), ("book",), np.ones((1, 1)))
    with pytest.raises(HistoryError, match=r"every underlying held, got .* without \['ETH'\]"):
        after_history(history, market, eth)
    days = pd.bdate_range(end="2026-01-02", periods=30)
    sessions = MarketHistory.from_frame(pd.DataFrame({"BTC": np.full(30, 1e5)}, index=days))
    with pytest.raises(HistoryError, match="history of sessions"):
        after_history(sessions, market, book)
    with pytest.raises(HistoryError, match="counted in USD, the history in BTC"):
        after_history(history.valued_in("BTC"), market, book)
    for late in ("2027-01-04", "2026-11-01"):
        with pytest.raises(HistoryError, match="must begin before the chain of 2026-01-05 04:00 UTC"):
            after_history(closes(late), market, book)
    with pytest.raises(HistoryError, match="must begin before the chain"):
        after_history(closes("2026-10-31"), market, book)
    with pytest.raises(HistoryError, match="BTC must be the same thing in both, got 20000 last"):
        after_history(closes("2026-01-04", last=20_000.0), market, book)
    with pytest.raises(HistoryError, match="too long before"):
        after_history(closes("2020-01-04", rows=3, step="1min"), market, book, allow_gap=True)


def test_the_chain_alone_is_one_row_of_what_is_held(market: ChainMarket, book: Book, tmp_path: Path) -> None:
    told = only_chain(market, book)
    assert (len(told.past), told.past.underlyings, told.known) == (1, ("BTC",), 0)
    assert told.past.now.marks.tolist() == [
        market.state.marks[market.state.listed.index("BTC-16JAN26-100000-C")],
    ]
