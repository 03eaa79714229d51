"""Are an author's own positions charged as they stand, held through the past as said, and told without harm?"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bundles import forge, history, recomputed, request
from data import DataError, MarketHistory, ParameterError, SourceError
from data.proxy_surface import with_proxy_surfaces
from data.snapshot import content_hash
from data.valuation import notionals
from research.bundle import write_bundle
from research.cli import app
from research.own_books import MOST_BOOKS, MOST_POSITIONS, own_books, read_positions, refuse_no_positions
from research.proposal import Evidence
from research.proposal_pages import pages_of
from research.proposal_request import Request
from research.verification import verify_bundle

DESK = "desk <b>|[x](http://y) @z"
POSITIONS = ((DESK, "SYN1-PERP", 2.0), (DESK, "SYN2", -3.0), ("=hedge", "SYN1-INV", 50.0))
LATER = "19DEC16"  # more than a year after the last row
CRISES = {"z": ("2015-08-01", "2015-08-09"), "a": ("2015-09-01", "2015-09-09")}


@cache
def options() -> MarketHistory:
    return with_proxy_surfaces(history())


def asked(**changes: Any) -> Request:
    flat = {"current": "static, isolated:rate=0.05", "candidate": "static, isolated:rate=0.08"}
    return request(**{**flat, "book": POSITIONS, "crises": CRISES, **changes})


@cache
def told() -> Evidence:
    return recomputed(asked(), history())


def test_a_flat_rate_on_own_books_is_the_rate_times_their_notional() -> None:
    spot = dict(zip(history().underlyings, history().now.spot, strict=True))
    first, second = told()["own"]["books"]
    assert first["gross"] == pytest.approx(2 * spot["SYN1"] + 3 * spot["SYN2"])
    assert second["gross"] == pytest.approx(50.0)  # one contract of a coin-settled perpetual is one dollar
    for book in (first, second):
        assert book["usd_before"] == pytest.approx(0.05 * book["gross"])
        assert book["usd_after"] == pytest.approx(0.08 * book["gross"])
        assert (book["before"], book["after"]) == pytest.approx((0.05, 0.08))
        assert (book["now_change"], book["change"]) == pytest.approx((0.6, 0.6))


def test_own_books_keep_their_shares_at_every_instant() -> None:
    own = own_books(POSITIONS, history())
    assert np.abs(own.share).sum(axis=1) == pytest.approx(1.0)
    for row in (10, 200):
        state = history().at(row)
        book = own.at(state)
        value = book.dense * notionals(book.listing, state)
        assert value == pytest.approx(own.share)


def test_options_keep_moneyness_and_days() -> None:
    spot = float(options().now.spot[0])
    own = own_books((("a", f"SYN1-{LATER}-{2 * spot:.6f}-C", -1.0), ("a", "SYN1", 1.0)), options())
    assert own.options_on == ("SYN1",)
    now = options().now.time
    for row in (60, 200):
        state = options().at(row)
        (option,) = [one for one in own.at(state).instruments if one.kind == "option"]
        assert option.strike == pytest.approx(2 * state.spot[0], rel=1e-6)
        left = np.datetime64(str(option.expiry)) - state.time
        assert abs(left - (np.datetime64("2016-12-19T08:00") - now)) < np.timedelta64(1, "m")
        assert own.at(state).gross(state) == pytest.approx(1.0)


def test_the_day_of_a_crisis_is_that_which_lost_most() -> None:
    rows = told()["own"]["crises"]
    assert {row["book"] for row in rows} == {DESK, "=hedge"}
    for row in rows:
        assert row["uncovered_current"] == pytest.approx(max(row["loss"] - row["current"], 0.0))
        assert row["uncovered_candidate"] <= row["uncovered_current"]


def test_own_books_do_not_touch_the_numbers_of_the_proposal() -> None:
    without = recomputed(asked(book=()), history())
    assert without["own"] is None
    assert {**told(), "own": None} == without


def test_hostile_names_of_books_are_text() -> None:
    pages = pages_of(asked(), told(), {"version": "1", "python": "3"})
    page, forum = pages["proposal.html"].decode(), pages["proposal.md"].decode()
    assert "<b>|" not in page
    assert "desk &lt;b&gt;" in page
    assert "desk &lt;b&gt;\\|\\[x\\]" in forum
    assert "@z" not in forum
    assert "own books</h2>" in page


def test_a_forged_number_of_an_own_book_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(asked(), history(), folder, progress=False)
    assert verify_bundle(folder, recompute=recomputed).holds
    forge(folder, lambda evidence: evidence["own"]["books"][0].update(usd_after=1.0))
    problems = verify_bundle(folder, recompute=recomputed).problems
    assert any(problem.startswith("own.books.0.usd_after: the bundle says 1.0") for problem in problems)


def test_a_request_with_a_book_survives_json() -> None:
    assert Request.from_json(json.loads(json.dumps(asked().to_json()))) == asked()


@pytest.mark.parametrize(
    "book",
    [
        "SYN1",
        [["a", "SYN1"]],
        [["a", "SYN1", 1]],
        [["a", "SYN1", 0.0]],
        [["a", "SYN1", float("inf")]],
        [["a", "SYN1", 1.0], ["a", "SYN1", 2.0]],
        [["", "SYN1", 1.0]],
        [["x" * 81, "SYN1", 1.0]],
        [[f"{n}", "SYN1", 1.0] for n in range(MOST_BOOKS + 1)],
        [["a", f"{n}", 1.0] for n in range(MOST_POSITIONS + 1)],
        {"a": 1.0},
        3,
    ],
)
def test_what_is_no_book_is_refused(book: Any) -> None:
    with pytest.raises(ParameterError):
        Request.from_json({**request().to_json(), "book": book})


@given(st.tuples(st.text(max_size=90), st.text(max_size=90), st.floats(allow_nan=True)))
def test_positions_are_refused_or_whole(one: tuple[str, str, float]) -> None:
    try:
        refuse_no_positions((one,))
    except ParameterError:
        return
    assert 0 < len(one[0]) <= 80
    assert np.isfinite(one[2])


def test_symbols_that_the_market_does_not_have_are_named() -> None:
    for symbol in ("../../etc/passwd", "BTC", f"SYN1-{LATER}-100-C", "SYN1-01JAN14-1-C"):
        with pytest.raises(DataError):
            own_books((("a", symbol, 1.0),), history())
    with pytest.raises(DataError, match="no contract"):
        own_books((("a", "SYN1-01JAN14-1-C", 1.0),), options())
    holes = replace(history(), spot=np.full_like(history().spot, np.nan))
    with pytest.raises(DataError, match="no row"):
        own_books(POSITIONS, holes)


def test_a_file_is_read_and_its_faults_are_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    path.write_text(f"portfolio,symbol,quantity,note\na,SYN1,1\na,SYN1,2,x\nb,SYN1-{LATER}-100-P,-1\n")
    positions, remarks = read_positions(path, options())
    assert positions == (("a", "SYN1", 3.0), ("b", f"SYN1-{LATER}-100-P", -1.0))
    assert any("summed" in remark for remark in remarks)
    path.write_text("symbol,quantity\nNOBODY,1\n")
    with pytest.raises(DataError, match="line 2"):
        read_positions(path, options())
    path.write_bytes(b"symbol,quantity\n" + b"SYN1,1\n" * 200_000)
    with pytest.raises(ParameterError, match="at most"):
        read_positions(path, options())
    with pytest.raises(SourceError):
        read_positions(tmp_path / "nowhere.csv", options())


def test_the_command_takes_a_book_and_says_what_is_wrong_with_one(tmp_path: Path) -> None:
    prices, book, out = tmp_path / "closes.csv", tmp_path / "book.csv", tmp_path / "bundle"
    history().to_frame().iloc[:, :1].to_csv(prices, index_label="date", date_format="%Y-%m-%d")
    book.write_text("symbol,quantity\nSYN1-PERP,-2\n")
    words = ["--current", "static, cross:rate=0.05", "--candidate", "static, cross:rate=0.06", "--market", str(prices)]
    options = ["--level", "0.9", "--window", "150", "--jobs", "1", "--book", str(book), "--out", str(out)]
    done = CliRunner().invoke(app, ["propose", *words, *options])
    assert done.exit_code == 0, done.output
    evidence = json.loads((out / "evidence.json").read_bytes())
    assert evidence["own"]["positions"][0]["symbol"] == "SYN1-PERP"
    assert evidence["market"]["hash"] == content_hash(history()) or len(evidence["market"]["hash"]) == 64
    book.write_text("symbol,quantity\nSYN9-PERP,-2\n")
    wrong = CliRunner().invoke(app, ["propose", *words, *options[:-1], str(tmp_path / "other")])
    assert wrong.exit_code == 2
    assert "SYN9-PERP" in wrong.output
