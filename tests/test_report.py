"""Does the report say what came out, to everybody, and nothing to anybody's server?"""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as XML

import numpy as np
import pandas as pd
import pytest

from backtest.comparison import Comparison
from backtest.disclosure import disclose
from backtest.portfolios import Books
from backtest.replay import Replay
from data import BookRecipe, Coverage, Instrument, MarketHistory
from data.sources.synthetic import garch_t
from margin_models import EwmaVolatility, FilteredHistoricalVaR, HistoricalVaR, MarginModel, StaticMargin
from research import figures
from research.evidence_tables import evidence_in_words, evidence_of
from research.report import answer, render, worst_crises, write_report
from research.study import ORACLE, Market, Study, StudyResult, run_study

OWNED = "document.documentElement.dataset.owned=1"
HOSTILE_MODEL = f'"><script>{OWNED}</script>'
HOSTILE_BOOK = f"<img src=x onerror={OWNED}> & \"book\" 'x'"
HOSTILE_TITLE = f"</title><svg onload={OWNED}> $x_$ 日本"
HOSTILE_CRISIS = "<b>the</b> {{ 7 * 7 }} crash"
VOID = {"meta", "link", "br", "img", "input", "hr", "base", "source", "use", "path", "circle", "rect"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def history() -> MarketHistory:
    """Two synthetic assets with one hole, whose source is a web address."""
    made = garch_t(720, seed=5).history
    spot = made.spot.copy()
    spot[600] = np.nan
    return replace(made, spot=spot, source="see https://prices.example/<i>file</i>")


def hostile_books(underlyings: tuple[str, ...]) -> Books:
    held = tuple(Instrument(f"{name}-PERP", name) for name in underlyings)
    weights = {name: {held[0].symbol: w, held[1].symbol: 1.0} for name, w in (("long", 1.0), (HOSTILE_BOOK, -0.7))}
    makers = {f"maker {n:03d}": {held[0].symbol: -1.0, held[1].symbol: 0.1 * n} for n in range(6)}
    return BookRecipe.of(held, {HOSTILE_BOOK: weights[HOSTILE_BOOK], "long": weights["long"]} | makers)


def market(name: str, title: str, books: object = None, rows: int = 720) -> Market:
    crises = {"spring": ("2016-02-01", "2016-03-01"), HOSTILE_CRISIS: ("2016-08-01", "2016-08-20")}
    crises |= {"calm": ("2016-05-01", "2016-05-02"), "never": ("1999-01-01", "1999-02-01")}
    given = {"books": books} if books else {}
    return Market(name, title, lambda: history().rows(0, rows), Coverage(0.95), 150, 100, crises=crises, **given)  # type: ignore[arg-type]


@cache
def result() -> StudyResult:
    models: dict[str, MarginModel] = {
        "flat": StaticMargin(cross=True),
        HOSTILE_MODEL: StaticMargin(rate=0.02),
        "_history": HistoricalVaR(),
        "filtered": FilteredHistoricalVaR(EwmaVolatility()),
    }
    markets = (market("plain", "Plain market"), market("hostile", HOSTILE_TITLE, hostile_books))
    return run_study(Study("<u>small</u>", markets, models, oracle="flat"), progress=False)


@cache
def page() -> str:
    return render(result(), command="marginlab backtest --x '<a>' && true", code_version="1.2.3 (0123abc)")


class Reader(HTMLParser):
    """The elements of a page: (tag, attributes), the texts in them, and what was never closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(" ".join(data.split()))

    def attributes(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@cache
def read() -> Reader:
    return Reader(page())


def test_every_section_is_there_once_and_closed() -> None:
    ids = [attributes["id"] for attributes in read().attributes("h2")]
    assert ids == ["question", "data", "market1", "market2", "definitions", "limits"]
    for part in (
        "Ranking",
        "Shortfall against margin",
        "Margin through time",
        "Crises",
        "Was coverage what was asked",
        "For supervisors",
        "Evidence as it came in",
        "Responsiveness",
    ):
        for number in (3, 4):
            heads = [text for text in read().texts if re.fullmatch(rf"{number}\.\d {re.escape(part)}.*", text)]
            assert len(heads) == 1, (part, heads)
    assert read().open == []
    assert {href["href"].removeprefix("#") for href in read().attributes("a")} <= set(ids)


def test_nothing_is_asked_of_any_server() -> None:
    assert not read().attributes("link", "img", "iframe", "object", "embed", "base", "image", "foreignobject")
    for tag, attributes in read().elements:
        for name, value in attributes.items():
            assert name not in ("src", "srcset", "action", "poster", "data", "background"), (tag, name)
            assert not name.startswith("on"), (tag, name)
            if name.endswith("href"):
                assert value.startswith("#"), (tag, value)
            if name != "aria-label" and "://" in value:
                pytest.fail(f"<{tag} {name}={value!r}> names a server")
    outside = re.sub(r'aria-label="[^"]*"', "", page())
    assert "@import" not in outside
    assert not re.search(r"url\((?!#)", outside)
    addresses = re.findall(r"https?://\S+", outside)
    assert addresses, "the source of the data should be told"
    assert all(address.startswith("https://prices.example/&lt;i&gt;file") for address in addresses)


def test_hostile_names_are_text_and_never_markup() -> None:
    tags = {tag for tag, _ in read().elements}
    assert tags.isdisjoint({"b", "i", "u", "img"})
    assert len(read().attributes("script")) == 1
    told = " ".join(read().texts)
    for name in (HOSTILE_MODEL, HOSTILE_BOOK, HOSTILE_TITLE, HOSTILE_CRISIS, "<u>small</u>", "--x '<a>' && true"):
        assert " ".join(name.split()) in told, name


def test_ids_are_unique_and_every_reference_within_the_page_resolves() -> None:
    ids = [attributes["id"] for _, attributes in read().elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 100
    used = re.findall(r"url\(#([^)]+)\)", page())
    used += [attributes["href"].removeprefix("#") for attributes in read().attributes("use", "a")]
    assert used
    assert set(used) <= set(ids)


def test_the_same_result_gives_the_same_bytes() -> None:
    study = result()
    fresh = replace(
        study,
        seconds=study.seconds + 1.0,
        markets=tuple(
            replace(one, comparison=replace(one.comparison, replays=dict(one.comparison.replays)))
            for one in study.markets
        ),
    )
    dated = render(
        fresh, command="marginlab backtest --x '<a>' && true", code_version="1.2.3 (0123abc)", date="2024-02-29"
    )
    assert dated.count("2024-02-29") == 1
    assert dated.replace(", 2024-02-29", "") == page()


def test_every_figure_and_table_can_be_read_without_eyes() -> None:
    drawings = read().attributes("svg")
    assert len(drawings) == 2 * (6 + 2)
    assert all(one["role"] == "img" and len(one["aria-label"]) > 20 for one in drawings)
    assert all("scope" in head for head in read().attributes("th"))
    assert len(read().attributes("caption")) == len(read().attributes("table")) == 2 + 2 * 9


def test_the_table_holds_the_scores_of_the_comparison() -> None:
    told = read().texts
    for judged in result().markets:
        for card in judged.comparison.scores.values():
            assert f"{100 * card.equal_margin:.2f}" in told
            assert f"{100 * card.equal_low:.2f} to {100 * card.equal_high:.2f}" in told
            assert f"{100 * card.coverage:.2f}" in told
            assert f"{1e4 * card.mean_shortfall:,.2f}" in told
        assert judged.data_hash in told


def test_the_rate_known_in_hindsight_is_set_apart_and_never_ranked() -> None:
    tables = re.findall(r'<table class="sortable">.*?</table>', page(), re.DOTALL)
    rankings, others = tables[0::6], [table for n, table in enumerate(tables) if n % 6]
    for ranking in rankings:
        ranked, apart = ranking.split('<tbody class="apart">')
        assert ORACLE in apart
        assert ORACLE not in ranked
        assert "<td>*</td>" in apart
        assert [int(place) for place in re.findall(r"<td>(\d+)</td>", ranked)] == [1, 2, 3, 4]
    assert len(rankings) == 2
    assert all(ORACLE not in other for other in others)


def test_models_are_told_with_every_parameter() -> None:
    assert "StaticMargin(cross=True, rate=None, review=None, tiers=())" in read().texts
    assert any("EwmaVolatility(half_life=" in text for text in read().texts)


def test_holes_are_counted_and_crises_outside_the_replay_left_out() -> None:
    assert "2 missing prices (SYN1 1, SYN2 1)" in read().texts
    assert "spring" in read().texts
    assert "never" not in read().texts


def test_the_power_of_the_study_at_hand_is_printed() -> None:
    assert any(
        re.fullmatch(r"(not rejected; power \d+ %.*|rejected: too (many|few) breaches)", t) for t in read().texts
    )
    assert any(re.fullmatch(r"\d+ %", text) for text in read().texts)


def scores(**margins: tuple[float, float, float, float]) -> pd.DataFrame:
    """A table of margins, ratios and the ends of the ratio's interval."""
    columns = ["equal_margin", "equal_ratio", "equal_ratio_low", "equal_ratio_high"]
    table = pd.DataFrame.from_dict(margins, orient="index", columns=columns)
    return table.assign(
        equal_low=0.9 * table["equal_margin"], equal_high=1.1 * table["equal_margin"], equal_coverage=0.99
    )


def said(table: pd.DataFrame, flat: str | None) -> str:
    return " ".join(answer(table, list(table.index), flat)).replace("\u00a0", " ")


def test_the_answer_says_who_is_least_by_how_much_and_whether_that_is_certain() -> None:
    table = scores(a=(0.05, 1.0, 1.0, 1.0), b=(0.06, 1.2, 1.1, 1.3), c=(0.10, 2.0, 1.8, 2.3))
    assert "a, with 5.00 % of gross notional (95 % interval 4.50 to 5.50)" in said(table, "c")
    assert "50 % less than the static cross rate, which needed 10.00 %" in said(table, "c")
    assert "b, needed 1.20 times as much, interval 1.10 to 1.30, which excludes 1" in said(table, "c")
    close = scores(a=(0.05, 1.0, 1.0, 1.0), b=(0.06, 1.2, 0.9, 1.3))
    assert "includes 1: the two cannot be told apart" in said(close, None)
    assert "static cross" not in said(close, None)
    assert "no model did better" in said(close, "a")


def test_nobody_wins_where_nothing_could_be_scaled() -> None:
    unknown = (np.nan, np.nan, np.nan, np.nan)
    assert "Nothing is ranked" in said(scores(a=unknown, b=unknown), "b")
    assert "a, with" in said(scores(a=(0.05, 1.0, 1.0, 1.0), b=unknown), None)


def test_a_replay_too_short_to_scale_still_makes_a_report(tmp_path: Path) -> None:
    short = replace(market("short", "Short", rows=165), coverage=Coverage(0.99), window=120, crises={})
    study = Study("short", (short,), {"flat": StaticMargin(rate=10.0), "dear": StaticMargin(rate=11.0)})
    path = write_report(
        run_study(study, progress=False), tmp_path / "new" / "report.html", command="c", code_version="v"
    )
    told = Reader(path.read_text(encoding="utf-8")).texts
    assert any("Nothing is ranked" in text for text in told)
    assert "No named crisis falls into this replay." in told
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


def one_book(rows: int, worst: int) -> Replay:
    """A replay of one book, hour by hour, with one loss that dwarfs all others."""
    rng = np.random.default_rng(3)
    loss = 0.01 * rng.standard_normal((rows, 1))
    loss[worst] = 0.8
    time = (np.datetime64("2000-01-01T00", "h") + np.arange(rows)).astype("datetime64[ns]")
    margin = np.full((rows, 1), 0.02)
    end = np.asarray(time + np.timedelta64(1, "D"), dtype="datetime64[ns]")
    return Replay("model", Coverage(), time, end, ("book",), margin, margin, loss, loss)


def test_a_long_series_is_thinned_and_keeps_its_extremes() -> None:
    run = one_book(20_000, worst=12_345)
    rows = figures.extremes(run.loss[:, 0], 300)
    assert 12_345 in rows
    assert len(rows) <= 600
    drawn = figures.margin_svg(run, "book")
    assert len(drawn) < 150_000
    assert f"breach ({(run.loss > run.initial).sum():,})" in drawn


def test_extremes_keep_holes_and_take_short_series_whole() -> None:
    assert figures.extremes(np.array([1.0, np.nan, 3.0]), 10).tolist() == [0, 1, 2]
    assert figures.extremes(np.empty(0), 10).tolist() == []


def test_the_worst_crises_are_those_where_the_book_lost_most() -> None:
    run = one_book(20_000, worst=12_345)
    day = str(run.time[12_345])[:10]
    periods = {"a": ("2000-02-01", "2000-02-03"), "b": ("2000-03-01", "2000-04-03"), "worst": (day, day)}
    assert worst_crises(run, "book", periods) == ["b", "worst"]


def test_figures_stand_alone_as_xml_with_odd_names() -> None:
    name, book = "_a $x_{$ <&> \x00 日本", "$b$ <script>"
    run = replace(one_book(400, worst=100), model=name, portfolios=(book,))
    comparison = Comparison(name, {name: run, "b": replace(run, model="b", initial=1.5 * run.initial)})
    period = ("2000-01-05", "2000-01-08")
    drawings = [
        figures.margin_svg(run, book),
        figures.frontier_svg(comparison),
        figures.ranking_svg(comparison),
        figures.coverage_svg(comparison, [name, "b"], 50),
        figures.crisis_svg(comparison, [name, "b"], book, period),
        figures.prices_svg(replace(history(), underlyings=(name, "B"))),
    ]
    for drawing in drawings:
        root = XML.fromstring(drawing)
        assert root.tag == f"{{{figures.SVG}}}svg"
        assert root.get("role") == "img"
        assert not root.findall(f".//{{{figures.SVG}}}style")
        assert "href" not in drawing or 'href="#' in drawing
        labels = [element.text or "" for element in root.iter(f"{{{figures.SVG}}}text")]
        assert any("日本" in label or "$b$" in label or "_a $x" in label for label in labels), labels


def test_a_margin_that_nothing_exceeds_can_be_drawn() -> None:
    safe = replace(one_book(300, worst=100), initial=np.full((300, 1), 5.0))
    comparison = Comparison("market", {"safe": safe})
    assert figures.frontier_svg(comparison).startswith("<svg")
    assert figures.crisis_svg(comparison, ["safe"], "book", ("2000-01-05", "2000-01-06")).startswith("<svg")


def browser() -> str:
    """A headless browser; the test skips, or fails where the system's components are required, without one."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        why = f"none of {', '.join(BROWSERS)} is installed"
        if os.environ.get("MARGINLAB_REQUIRE_SYSTEM") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return found


def opened(path: Path, profile: Path) -> tuple[str, list[str]]:
    """The page as a browser without a network has it after its script ran, and what its console said."""
    quiet = "--no-first-run --disable-gpu --disable-quic --disable-background-networking --disable-component-update"
    apart = "--disable-sync --no-sandbox --proxy-server=127.0.0.1:9 --enable-logging=stderr --dump-dom"
    command = [browser(), "--headless", *quiet.split(), *apart.split(), f"--user-data-dir={profile}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.system
def test_a_browser_without_a_network_shows_it_without_a_complaint(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(), encoding="utf-8")
    shown, console = opened(path, tmp_path / "profile")
    assert console == []
    assert "data-owned" not in shown
    drawn = Reader(shown)
    assert len(drawn.attributes("svg")) == len(read().attributes("svg"))
    sortable = 14 + 9 + 7 + 8 + 8 + 5  # columns of the ranking, verdicts, disclosures, evidence, responsiveness
    assert len(drawn.attributes("button")) == 2 * sortable


@pytest.mark.system
def test_a_browser_refuses_any_other_script_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page().replace("</main>", f"<script>{OWNED}</script></main>"), encoding="utf-8")
    shown, console = opened(path, tmp_path / "profile")
    assert "data-owned" not in shown
    assert any("Content Security Policy" in line for line in console)


def test_a_model_without_a_law_is_said_to_have_none_and_one_with_a_law_has_its_verdict() -> None:
    (table, *_) = [one for one in re.findall(r"<table>.*?</table>", page(), re.DOTALL) if "Acerbi-Szekely" in one]
    rows = dict(re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table, re.DOTALL))
    assert set(re.findall(r"<td.*?>(.*?)</td>", rows["flat"])) == {"no law"}
    assert "no law" not in rows["filtered"]
    assert re.search(r"<td class=\"nowrap\">\d+ of \d+<small>p ", rows["filtered"])
    ranking = re.findall(r'<table class="sortable">.*?</table>', page(), re.DOTALL)[0]
    assert ranking.count("<small>power ") == 5
    assert ranking.count("no law") == 3  # two flat rates, and the hindsight rate
    assert ranking.count("<small>FZ0 ") == 2


def test_evidence_and_disclosure_are_those_of_the_replays() -> None:
    runs = result().markets[0].comparison.replays
    for run in (run for name, run in runs.items() if name != ORACLE):
        assert f"{int(disclose(run).breaches.sum()):,}</td>" in page()
    most = evidence_of(runs["flat"]).of("basket long").max(initial=1.0)
    assert evidence_in_words(float(most)).replace(">", "&gt;") in page()
