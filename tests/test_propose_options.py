"""Can a change of margin on options be proposed and checked: who is affected, volatility under stress, crises?"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bundles import forge, recomputed
from data import Coverage, MarketHistory
from data.proxy_surface import with_proxy_surfaces
from data.snapshot import content_hash
from data.sources.synthetic import garch_t
from data.surface import volatilities_at
from margin_models.monte_carlo import learn_implied
from margin_models.revalue import book_pnl
from research import bundle, verification
from research.bundle import write_bundle
from research.default_study import bitcoin_option_books
from research.proposal import Evidence
from research.proposal_pages import pages_of
from research.proposal_request import Request, study_market
from research.sensitivity import with_implied
from research.stress_search import FARTHEST, joint_covariance, scenarios_of, searched
from research.verification import verify_bundle

COVERAGE = Coverage(0.95)
BOOK = (("desk", "BTC", 1.0), ("desk", "BTC-25DEC15-100-C", -1.0))


@cache
def market() -> MarketHistory:
    """A short stand-in for bitcoin: one synthetic coin, with surfaces made of what it realised."""
    return with_proxy_surfaces(replace(garch_t(300, (0.03,), seed=11).history, underlyings=("BTC",)))


def request() -> Request:
    """The study's market of options, over the stand-in; Derive's second margin in place of its first."""
    known = study_market("btc-options")
    return Request(
        "derive-pmrm",
        "Derive PMRM_2",
        "study",
        "btc-options",
        known.title,
        content_hash(market()),
        COVERAGE,
        window=150,
        refit_every=10,
        every=5,
        crises={"spring": ("2015-06-10", "2015-06-25"), "autumn": ("2015-09-01", "2015-09-20")},
        remarks=known.remarks,
        book=BOOK,
    )


@cache
def told() -> Evidence:
    return recomputed(request(), market())


def test_every_part_of_a_proposal_is_told_of_options() -> None:
    evidence = told()
    names = set(bitcoin_option_books(("BTC",)).portfolios)
    assert {book["name"] for book in evidence["affected"]["books"]} <= names
    assert evidence["affected"]["count"] == len(names)
    assert {crisis["name"] for crisis in evidence["crises"]} == {"spring", "autumn"}
    assert {evidence["figures"][f"crisis{n}"]["book"] for n in range(2)} <= names
    choices = {row["choice"] for row in evidence["sensitivity"]}
    assert {"implied volatility", "level", "horizon"} <= choices
    assert evidence["own"]["books"][0]["name"] == "desk"
    assert not evidence["stress"]["exact"]
    assert evidence["market"]["implied"].startswith("proxy")


def test_stress_moves_volatility_and_finds_books_that_only_it_hurts() -> None:
    stress = told()["stress"]
    assert stress["volatility"]
    moved = [move["factor"] for book in stress["books"] for move in book["candidate"]["moves"]]
    assert set(moved) == {"price", "volatility"}
    books = bitcoin_option_books(("BTC",)).at(market().now)
    search = searched(books, market(), COVERAGE, 150, request().cost)
    for name, sign in (("BTC long straddle", -1.0), ("BTC short straddle", 1.0)):
        distance, way = search.nearest(books.portfolios.index(name), 0.02)
        assert 0 < distance < FARTHEST
        assert sign * search.move[way, 1] > 0


def test_what_cannot_be_said_of_options_is_said() -> None:
    evidence = told()
    assert [row["measure"] for row in evidence["responsiveness"] if row["measure"] == "call_1d"] == []
    assert any("within a day" in line for line in evidence["unsaid"])
    assert any("level" in line and "neither model" in line for line in evidence["unsaid"])
    page = pages_of(request(), evidence, {"version": "1", "python": "3"})["proposal.html"].decode()
    assert "What this page cannot say" in page
    assert "implied volatilities together" in page
    assert "Largest call in 1 day" not in page


def test_a_bundle_of_options_holds_where_the_market_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The market is loaded by its name; here that name stands for the stand-in."""
    known = study_market("btc-options")
    monkeypatch.setattr(verification, "study_market", lambda name: replace(known, load=market))
    monkeypatch.setattr(bundle, "evidence_of", lambda asked, history, **_: recomputed(asked, history))
    folder = tmp_path / "bundle"
    write_bundle(request(), market(), folder, progress=False)
    assert verify_bundle(folder, recompute=recomputed).problems == ()
    assert not (folder / "data").exists()
    forge(folder, lambda evidence: evidence["stress"]["books"][0]["candidate"].update(margin=0.9))
    problems = verify_bundle(folder, recompute=recomputed).problems
    assert any("stress.books.0.candidate.margin: the bundle says 0.9" in problem for problem in problems)


def test_the_joint_covariance_is_that_of_the_regression() -> None:
    """v = beta r + e with e apart from r: cov(v, r) = beta var(r), var(v) = beta^2 var(r) + var(e)."""
    book = bitcoin_option_books(("BTC",)).at(market().now)
    found = joint_covariance(book, market(), COVERAGE, 150)
    law = learn_implied(market().last(150), COVERAGE)
    beta, spread = float(law.beta[0]), float(law.spread[0])
    assert spread > 0
    assert found[0, 1] == found[1, 0] == pytest.approx(beta * found[0, 0])
    assert found[1, 1] == pytest.approx(beta**2 * found[0, 0] + spread**2)
    assert np.linalg.eigvalsh(found).min() >= -1e-15


def test_every_direction_is_one_standard_deviation_long_and_losses_are_those_of_revaluation() -> None:
    book = bitcoin_option_books(("BTC",)).at(market().now)
    covariance = joint_covariance(book, market(), COVERAGE, 150)
    search = searched(book, market(), COVERAGE, 150, request().cost)
    length = np.einsum("da,ab,db->d", search.move, np.linalg.pinv(covariance, hermitian=True), search.move)
    assert length == pytest.approx(1.0)
    assert search.distance[-1] == FARTHEST
    assert search.moves_volatility
    p, way, k = book.portfolios.index("BTC short strangle"), 0, 40
    moved = scenarios_of(search.distance[k] * search.move[way : way + 1])
    lost = -book_pnl(book, market().now, moved)[p, 0] / book.gross(market().now)[p]
    assert search.loss[p, way, k] > lost  # which closing out adds to
    assert search.loss[p, way, k] == pytest.approx(lost, abs=0.01)


def test_implied_volatility_can_be_taken_higher_for_every_strike_alike() -> None:
    flat = market().surfaces
    assert flat is not None
    higher = with_implied(market(), 1.2).surfaces
    assert higher is not None
    rows, k = slice(100, 104), np.array([-0.2, 0.0, 0.1, 0.3])
    before = volatilities_at(flat[rows, 0], k, 30 / 365.25)
    after = volatilities_at(higher[rows, 0], 1.2 * k, 30 / 365.25)
    assert after == pytest.approx(1.2 * before)
    assert with_implied(replace(market(), surfaces=None, implied=""), 1.2).surfaces is None


def test_the_evidence_of_options_is_json() -> None:
    assert json.loads(json.dumps(told(), allow_nan=False)) == told()
