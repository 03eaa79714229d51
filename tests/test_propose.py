"""Does a proposal say what is changed, for whom, how sure that is, and nothing that its numbers do not?"""

import csv
import io
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from backtest.option_books import OptionRecipe, fridays, structures
from backtest.portfolios import Books
from backtest.replay import Outcome, Replay
from bundles import CANDIDATE, CURRENT, history, recomputed, request
from data import Book, Coverage, Instrument, MarketHistory, ParameterError
from data.proxy_surface import with_proxy_surfaces
from data.snapshot import content_hash
from margin_models import LedoitWolfCovariance, StaticMargin
from margin_models.revalue import book_pnl
from margin_models.scenarios import Scenarios
from research.bundle import write_bundle
from research.cli import app
from research.main_job import one_market
from research.proposal import Evidence
from research.proposal_effects import affected, crises, disclosure, effect, variants, worst_periods
from research.proposal_figures import ticks
from research.proposal_pages import as_markdown, looked_up, pages_of, told_number
from research.proposal_request import Request, model_of
from research.proposal_verdict import LESS_SAFE, NOT_WORTH, UNTOLD, WORTH, verdict
from research.propose_job import request_of
from research.reverse_stress import reverse_stress
from research.sensitivity import model_with

HOSTILE = "=<img src=x onerror=alert(1)>|[a](http://b) @all"


@cache
def told() -> Evidence:
    return recomputed(request(), history())


@cache
def pages() -> dict[str, bytes]:
    return pages_of(request(), told(), {"version": "1", "python": "3"})


def run(margin: float, loss: Any, model: str = "m", portfolios: tuple[str, ...] = ("a", "b")) -> Replay:
    """Two books that are charged the same at every decision."""
    lost = np.asarray(loss, dtype=np.float64)
    days = np.datetime64("2020-01-01", "ns") + np.arange(len(lost)) * np.timedelta64(1, "D")
    charged = np.full(lost.shape, margin)
    end = np.asarray(days + np.timedelta64(1, "D"), dtype="datetime64[ns]")
    return Replay(model, Coverage(0.9), np.asarray(days), end, portfolios, charged, charged, lost, lost)


def losses(rows: int = 120) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((rows, 2)) * 0.02


# --- what is asked -------------------------------------------------------------------------------------------------


def test_a_request_survives_json() -> None:
    asked = request(crises={"spring": ("2015-03-01", "2015-04-01")}, why="<why>")
    assert Request.from_json(json.loads(json.dumps(asked.to_json()))) == asked


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 0},
        {"window": "120"},
        {"window": True},
        {"kind": "elsewhere"},
        {"coverage": {"level": 2.0}},
        {"coverage": 3},
        {"cost": {"half_spread": -1.0}},
        {"crises": [1]},
        {"title": "x" * 5000},
        {"candidate": CURRENT},
        {"extra": 1},
        {"why": None},
    ],
)
def test_what_is_no_request_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Request.from_json({**request().to_json(), **changes})


def test_models_are_named_with_the_parameters_that_differ() -> None:
    assert repr(model_of("static, cross:rate=0.05")) == "StaticMargin(cross=True, rate=0.05)"
    assert model_of("FHS, EWMA:volatility__half_life=30;shortfall=true").volatility.half_life == 30
    assert type(model_of("deribit")).__name__ == "DeribitPortfolioMargin"


@pytest.mark.parametrize(
    "name",
    [
        "nobody",
        "",
        "mine.py:model",
        "static, cross:rat=1",
        "static, cross:rate",
        "static, cross:rate=[1]",
        "static, cross:rate=__import__('os')",
        "FHS, EWMA:volatility=1",
        "static, cross:rate=" + "[" * 100_000,
    ],
)
def test_what_names_no_model_is_refused(name: str) -> None:
    with pytest.raises(ParameterError):
        model_of(name)


def test_a_market_of_the_study_is_asked_as_it_is_set_up_there() -> None:
    plan = one_market("btc-daily", None, (), level=0.99, horizon=None, window=None).markets[0]
    asked = request_of(plan, history(), CURRENT, CANDIDATE, brought=False)
    assert (asked.kind, asked.market, asked.window) == ("study", "btc-daily", 500)
    assert "FTX 2022" in asked.crises
    brought = request_of(replace(plan, title="mine"), history(), CURRENT, CANDIDATE, brought=True)
    assert (brought.kind, brought.market) == ("frozen", "")


def test_other_data_than_the_request_names_is_refused() -> None:
    with pytest.raises(ParameterError, match="names the data"):
        recomputed(request(data_hash="0" * 64), history())


# --- effects -------------------------------------------------------------------------------------------------------


def test_the_effect_of_a_doubled_margin_is_known() -> None:
    lost = losses()
    now, then = run(0.02, lost), run(0.04, lost)
    change = effect(now, then)
    assert change["margin_change"]["value"] == pytest.approx(1.0)
    assert change["margin_change"]["low"] == pytest.approx(1.0)
    assert change["coverage_change"]["value"] == pytest.approx((lost > 0.02).mean() - (lost > 0.04).mean())
    short = np.maximum(lost - 0.04, 0).mean() - np.maximum(lost - 0.02, 0).mean()
    assert change["shortfall_change"]["value"] == pytest.approx(short)
    assert change["shortfall_change"]["low"] < short < change["shortfall_change"]["high"] < 0
    assert change["equal_change"]["value"] == pytest.approx(0.0, abs=1e-12)


def test_who_is_affected_is_told_by_the_change_of_the_mean() -> None:
    lost = losses()
    now, then = run(0.02, lost), run(0.02, lost)
    then.initial[:, 1] = 0.05
    found = affected(now, then)
    assert (found["count"], found["more"], found["less"]) == (2, 1, 0)
    assert found["books"][0]["name"] == "b"
    assert found["books"][0]["change"] == pytest.approx(1.5)
    assert [one["name"] for one in found["books"]] == ["b", "a"]
    assert (found["highest"], found["lowest"]) == pytest.approx((1.5, 0.0))
    assert found["apart"] == pytest.approx(0.75)
    assert found["books"][0]["peak_after"] == pytest.approx(max(lost[:, 1].max() - 0.05, 0.0))


def test_variants_hold_the_capital_and_the_shortfall_of_today() -> None:
    lost = losses()
    rows = {row["name"]: row for row in variants(run(0.03, lost), run(0.02, lost))}
    assert rows["same capital"]["margin"] == pytest.approx(0.03)
    assert rows["same shortfall"]["shortfall"] == pytest.approx(rows["current model"]["shortfall"])
    assert rows["same shortfall"]["multiple"] == pytest.approx(1.5)
    assert [rows[name]["multiple"] for name in ("aggressive", "moderate", "conservative")] == [0.8, 1.0, 1.25]
    covered = [rows[name]["coverage"] for name in ("aggressive", "moderate", "conservative")]
    assert covered == sorted(covered)


def test_the_worst_periods_do_not_overlap_and_hold_the_worst_loss() -> None:
    lost = losses()
    lost[40] = 0.5
    periods = worst_periods(run(0.02, lost))
    assert next(iter(periods.values())) == ("2020-02-10", "2020-02-11")
    assert len({first for first, _ in periods.values()}) == 3


def test_the_order_in_which_crises_are_named_does_not_matter() -> None:
    now, then = run(0.5, losses()), run(0.4, losses())
    named = {"b": ("2020-02-01", "2020-02-03"), "a": ("2020-02-01", "2020-02-04"), "c": ("2020-01-20", "2020-01-21")}
    found = crises(now, then, named)
    assert [row["name"] for row in found] == ["c", "a", "b"]  # nothing is uncovered in any: the earliest first
    assert crises(now, then, dict(reversed(named.items()))) == found


def test_the_disclosure_counts_the_breaches_of_both() -> None:
    lost = losses()
    rows = disclosure(run(0.02, lost), run(0.04, lost))
    whole = [row for row in rows if row["portfolio"] == "all books"]
    assert [row["breaches"] for row in whole] == [(lost > 0.02).sum(), (lost > 0.04).sum()]


# --- the verdict ---------------------------------------------------------------------------------------------------


def judged(
    capital: tuple[float, float],
    covered: tuple[float, float],
    short: tuple[float, float] = (0.0, 0.0),
    apart: float = 0.0,
    drop: float = 0.0,
    coverage: float = 0.995,
) -> str:
    intervals = zip(("margin_change", "coverage_change", "shortfall_change"), (capital, covered, short), strict=True)
    change: dict[str, Any] = {name: {"low": low, "high": high} for name, (low, high) in intervals}
    change |= {"current": {"coverage": 0.995}, "candidate": {"coverage": coverage}}
    return str(verdict(change, {"apart": apart, "drop": drop}, 0.99)["word"])


def test_the_verdict_may_say_that_it_is_not_worth_a_vote() -> None:
    assert judged((-0.01, 0.01), (-5e-4, 5e-4)) == NOT_WORTH
    assert judged((-0.01, 0.01), (-5e-4, 5e-4), apart=0.3) == WORTH
    assert judged((-0.01, 0.01), (-5e-4, 5e-4), drop=0.2) == WORTH
    assert judged((-0.3, 0.2), (-5e-3, 5e-3)) == UNTOLD
    assert judged((-0.3, -0.2), (-5e-4, 5e-4)) == WORTH
    assert judged((-0.3, -0.2), (-5e-2, -5e-3)) == WORTH  # what is asked for is still covered
    assert judged((-0.3, -0.2), (-5e-2, -5e-3), (1e-5, 2e-5)) == LESS_SAFE
    assert judged((-0.3, -0.2), (-5e-4, 5e-4), (1e-5, 2e-5)) == LESS_SAFE
    assert judged((-0.3, -0.2), (-5e-2, -5e-3), coverage=0.98) == LESS_SAFE
    assert judged((-0.3, -0.2), (-1e-2, 5e-3), coverage=0.98) == LESS_SAFE
    assert judged((0.2, 0.3), (1e-2, 2e-2), (-2e-5, -1e-5)) == WORTH


def test_a_change_of_nothing_much_is_not_worth_a_vote() -> None:
    lost = losses(400)
    now, then = run(0.02, lost), run(0.02002, lost)
    assert verdict(effect(now, then), affected(now, then), 0.9)["word"] == NOT_WORTH


# --- reverse stress ------------------------------------------------------------------------------------------------


def stressed(book: Books, market: MarketHistory, candidate: str) -> dict[str, Any]:
    asked = request(candidate=candidate, current="static, cross:rate=0.3", data_hash=content_hash(market))
    loss = np.full((60, len(book.portfolios)), 0.01)
    days = np.datetime64("2015-01-01", "ns") + np.arange(60) * np.timedelta64(1, "D")
    ends = np.asarray(days + np.timedelta64(1, "D"), dtype="datetime64[ns]")
    outcome = Outcome(asked.coverage, np.arange(60), np.asarray(days), ends, book.portfolios, loss, loss, 0)
    return reverse_stress(asked, market, book, outcome, book.portfolios)


def test_the_smallest_move_of_a_linear_book_is_the_margin_in_its_own_standard_deviations() -> None:
    """min sqrt(m' C^-1 m) with -e'm = M is M / sqrt(e' C e), at m = -M C e / (e' C e)."""
    market = history()
    held = (Instrument("SYN1-PERP", "SYN1"), Instrument("SYN2-PERP", "SYN2"))
    book = Book(held, ("spread",), np.array([[1.0, -0.5]]))
    found = stressed(book, market, "static, isolated:rate=0.1")["books"][0]
    past = market.last(120)
    covariance = LedoitWolfCovariance().fit(past, Coverage(0.95)).estimate(past)
    state = market.now
    exposure = (book.exposure(state) / book.gross(state))[0]
    sigma = float(np.sqrt(exposure @ covariance @ exposure))
    cost = float(np.sum(request().cost.of(book.at(state).positions(state)[2])))  # of a book of unit gross notional
    distance = (found["candidate"]["margin"] - cost) / sigma
    assert found["candidate"]["margin"] == pytest.approx(0.1)
    assert found["candidate"]["distance"] == pytest.approx(distance, rel=1e-6)
    moves = {one["underlying"]: one["move"] for one in found["candidate"]["moves"]}
    expected = -distance * (covariance @ exposure) / sigma
    assert [moves["SYN1"], moves["SYN2"]] == pytest.approx(expected.tolist(), rel=1e-6)


def test_the_multiple_that_stands_a_plausible_move_does() -> None:
    market = history()
    book = Book((Instrument("SYN1-PERP", "SYN1"),), ("long",), np.array([[1.0]]))
    thin = stressed(book, market, "static, isolated:rate=0.001")["books"][0]
    assert thin["plausible"]
    assert thin["farthest"] == pytest.approx(1.0)
    enough = stressed(book, market, f"static, isolated:rate={0.001 * thin['multiple'] + 1e-6}")
    assert enough["multiple"] is None
    assert not enough["books"][0]["plausible"]


def test_an_option_book_is_revalued_along_the_way() -> None:
    """A short straddle loses either way: the move that is found costs its margin, and a little less does not."""
    market = with_proxy_surfaces(history())
    books = OptionRecipe(("SYN1",), {"short straddle": structures()["short straddle"]}, True, fridays)
    found = stressed(books, market, "static, isolated:rate=0.2")
    one = found["books"][0]
    assert not found["exact"]
    assert one["candidate"]["distance"] is not None
    state = market.now
    book = books.at(state)
    assert found["volatility"]
    told = {(told["factor"], told["underlying"]): told["move"] for told in one["candidate"]["moves"]}
    price, vol = (np.array([[told.get((k, u), 0.0) for u in market.underlyings]]) for k in ("price", "volatility"))
    for times, beyond in ((1.02, True), (0.9, False)):
        scenarios = Scenarios(times * price, times * vol, ("move",))
        p = book.portfolios.index(one["name"])
        lost = -float(book_pnl(book, state, scenarios)[p, 0]) / float(book.gross(state)[p])
        assert (lost > one["candidate"]["margin"]) == beyond


def test_a_margin_of_everything_is_never_exceeded() -> None:
    book = Book((Instrument("SYN1-PERP", "SYN1"),), ("long",), np.array([[1.0]]))
    found = stressed(book, history(), "static, isolated:rate=1.0")["books"][0]
    assert found["candidate"]["distance"] is None
    assert found["multiple"] is None


def test_one_parameter_is_changed_at_a_time_and_no_other() -> None:
    model = StaticMargin(rate=0.1)
    assert model_with(model, "rate", 0.2).get_params() == {**model.get_params(), "rate": 0.2}
    assert model.rate == 0.1
    choices = {row["choice"]: row["ways"] for row in told()["sensitivity"]}
    assert {"level", "window", "horizon", "cost of closing out", "candidate: volatility__half_life"} <= set(choices)
    scaled = {way["value"]: way["margin_change"] for way in choices["multiple of the candidate"]}
    proposed = told()["effect"]["margin_change"]["value"]
    assert scaled["1.1"] == pytest.approx(1.1 * (1.0 + proposed) - 1.0)
    free = {way["value"]: way for way in choices["cost of closing out"]}
    assert free["0 times"]["coverage"] >= free["4 times"]["coverage"]
    assert free["0 times"]["margin_change"] == pytest.approx(proposed)


# --- pages ---------------------------------------------------------------------------------------------------------


def test_every_number_of_the_page_stands_in_the_evidence_under_its_id() -> None:
    evidence = json.loads(pages()["evidence.json"])
    page = pages()["proposal.html"].decode()
    shown = re.findall(r'<data value="([^"]*)" data-id="([^"]*)">([^<]*)</data>', page)
    assert len(shown) > 250
    for raw, path, words in shown:
        value = looked_up(evidence, path)
        assert raw == ("" if value is None else repr(value)), path
        assert words == "n/a" if value is None else any(digit.isdigit() for digit in words), path
    crises = evidence["crises"]
    assert crises
    assert all(one["name"] in page for one in crises)


def test_no_measured_number_is_told_outside_of_its_id() -> None:
    """Digits outside of numbers, figures and fixed words are names, dates and parameters of the request alone."""
    page = pages()["proposal.html"].decode()
    body = page[page.index("<body>") : page.index("<script>")]
    for pattern in (r"<svg.*?</svg>", r"<data .*?</data>", r"<code>.*?</code>", r"<[^>]*>"):
        body = re.sub(pattern, " ", body, flags=re.DOTALL)
    names = [*told()["market"]["underlyings"], "95&nbsp;%", "Python 3", "marginlab 1", "1D", "95 % of losses"]
    for name in sorted([*names, *(book["name"] for book in told()["affected"]["books"])], key=len, reverse=True):
        body = body.replace(name, " ")
    ways = [way["value"] for row in told()["sensitivity"] for way in row["ways"]]
    for way in sorted(ways, key=len, reverse=True):
        body = re.sub(rf"(?<!\S){re.escape(way)}(?!\S)", " ", body)
    left = re.findall(r"\d+\.\d+", re.sub(r"\d{4}-\d\d-\d\d|6\.5\.\d|maker \d+|SYN\d", " ", body))
    assert left == []


def test_the_pages_have_the_parts_that_delegates_and_validators_look_for() -> None:
    page, forum, card = (pages()[name].decode() for name in ("proposal.html", "proposal.md", "model_card.md"))
    parts = ("Summary", "What changes", "Why", "Expected effect", "Who is affected", "Crises, without", "Variants")
    for part in (*parts, "What it hangs on", "Reverse stress", "For supervisors", "Limitations", "How to check this"):
        assert re.search(rf"<h2 id=[^>]*>{part}", page), part
    headings = re.findall(r"^## (.*)$", card, flags=re.MULTILINE)
    assert headings == [
        *("Purpose and use", "Theory", "Data", "Assumptions", "Implementation", "Testing", "Limitations"),
        *("Outcomes", "Monitoring", "Change log", "Effective challenge"),
    ]
    for part in (
        "Summary",
        "Motivation",
        "Specification",
        "Methodology",
        "Supporting data",
        "Limitations",
        "Next steps",
    ):
        assert f"## {part}" in forum
    assert told()["verdict"]["word"] in page
    assert told()["verdict"]["word"] in forum
    assert "undefined" not in (page + forum + card).lower()


def test_hostile_names_are_text_everywhere() -> None:
    evidence = json.loads(pages()["evidence.json"])
    evidence["affected"]["books"][0]["name"] = HOSTILE
    evidence["crises"][0]["name"] = HOSTILE
    evidence["market"]["underlyings"][0] = HOSTILE
    evidence["disclosure"][1]["portfolio"] = HOSTILE
    evidence["sensitivity"][0]["choice"] = HOSTILE
    evidence["variants"][1]["name"] = HOSTILE
    for series in evidence["figures"].values():
        if "name" in series:
            series["name"] = series["book"] = HOSTILE
    made = pages_of(request(title=HOSTILE, why=HOSTILE, remarks=HOSTILE), evidence, {"version": HOSTILE, "python": "3"})
    page = made["proposal.html"].decode()
    assert "<img" not in page
    assert page.count("<script") == 1
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") > 8
    for name in ("proposal.md", "model_card.md"):
        text = made[name].decode()
        assert "<img" not in text
        assert not re.search(r"(?<!\\)\]\(", text)
        assert "@all" not in text
        assert "&lt;img" in text
    cells = [cell for row in csv.reader(io.StringIO(made["disclosure.csv"].decode())) for cell in row]
    assert f"'{HOSTILE}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t")) or re.match(r"-(?![\d.])", cell)]


def test_numbers_stay_numbers_in_the_disclosure() -> None:
    table = list(csv.DictReader(io.StringIO(pages()["disclosure.csv"].decode())))
    assert {row["model"] for row in table} == {"current", "candidate"}
    first = told()["disclosure"][0]
    assert float(table[0]["achieved_coverage"]) == first["achieved_coverage"]
    assert table[0]["breaches"] == str(int(first["breaches"]))


@given(st.text(max_size=60))
def test_text_in_markdown_keeps_no_power(text: str) -> None:
    made = as_markdown(text)
    assert "\n" not in made
    assert "<" not in made
    assert not re.search(r"(?<!\\)(\\\\)*[\[\]*_`|]", made)


@pytest.mark.parametrize(
    ("value", "form", "words"),
    [
        (0.0123, "percent2", "1.23\u00a0%"),
        (0.0123, "signed1", "+1.2\u00a0%"),
        (-0.0000001, "signed1", "0.0\u00a0%"),
        (0.00021, "signedbp2", "+2.10\u00a0bp"),
        (0.001, "points2", "+0.10\u00a0points"),
        (1234.5, "plain0", "1,234"),
        (None, "signed1", "n/a"),
    ],
)
def test_numbers_are_told_with_their_unit(value: float | None, form: str, words: str) -> None:
    assert told_number(value, form) == words


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3))
def test_ticks_lie_within_the_span_and_are_a_few(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 8
    assert all(low - 1e-6 * width <= value <= low + width * (1 + 1e-6) for value in found)


# --- the command ---------------------------------------------------------------------------------------------------


def test_a_folder_that_is_used_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(ParameterError, match="new or empty folder"):
        write_bundle(request(), history(), tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["x"]


def test_the_command_writes_a_bundle_of_files_that_somebody_brought(tmp_path: Path) -> None:
    prices = tmp_path / "closes.csv"
    history().to_frame().iloc[:, :1].to_csv(prices, index_label="date", date_format="%Y-%m-%d")
    out = tmp_path / "bundle"
    words = ["--current", "static, cross:rate=0.05", "--candidate", "static, cross", "--market", str(prices)]
    asked = ["--level", "0.9", "--window", "150", "--jobs", "1", "--why", "less & <b>better</b>", "--out", str(out)]
    done = CliRunner().invoke(app, ["propose", *words, *asked])
    assert done.exit_code == 0, done.output
    assert "manifest.json sha256" in done.stdout
    page = (out / "proposal.html").read_text(encoding="utf-8")
    assert "less &amp; &lt;b&gt;better&lt;/b&gt;" in page
    assert str(tmp_path) not in page
    assert CliRunner().invoke(app, ["verify", str(out), "--jobs", "1"]).exit_code == 0
    again = CliRunner().invoke(app, ["propose", *words, *asked])
    assert again.exit_code == 2
    wrong = CliRunner().invoke(app, ["propose", "--current", "nobody", *words[2:], *asked[:-1], str(tmp_path / "o")])
    assert wrong.exit_code == 2
    assert "a model is one of" in wrong.output
