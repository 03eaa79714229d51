"""Is a book of somebody's own priced as the model says, whole, and told in full?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from chain_files import chain_frame, chain_market_of
from data import Book, Coverage, DataError, Floats, HistoryError, MarketHistory, ModelError, ParameterError, SourceError
from data.chain_history import after_history
from data.chain_market import ChainMarket, chain_market, read_chain_market
from data.option_quotes import read_chain
from margin_models import HistoricalVaR, MarginModel, ScenarioGrid, ScenarioMargin, SpanLike
from research.named_models import NAMED, named_model
from research.position_table import surface_doubts
from research.price_book import Priced, price_book

SHARED = Path(__file__).parents[2] / "shared" / "data"
CHAINS = sorted((SHARED / "znmahbub+SVCJ-Deribit-Inverse-Options-Pricer" / "data").glob("*.csv"))
NEEDS_SHARED = pytest.mark.skipif(not CHAINS, reason="the reference folder beside the checkout is absent")

CALL, PUT, ETH = "BTC-16JAN26-100000-C", "BTC-16JAN26-90000-P", "ETH-27MAR26-3000-C"
POSITIONS = pd.DataFrame(
    [
        ("strangle", CALL, -2.0),
        ("strangle", PUT, -2.0),
        ("hedged", CALL, 4.0),
        ("hedged", "BTC-PERP", -2.0),
        ("hedged", ETH, 30.0),
        ("linear", "BTC", 1.0),
        ("linear", "BTC-27MAR26", -50_000.0),
        ("linear", "BTC-PERPETUAL", 1_000.0),
    ],
    columns=["portfolio", "symbol", "quantity"],
)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> ChainMarket:
    frame = chain_frame()
    frame.loc[frame["symbol"] == "BTC-16JAN26-80000-P", "bid"] = 1.0
    return chain_market_of(tmp_path_factory.mktemp("chain"), frame)


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    moves = np.random.default_rng(5).multivariate_normal([0, 0], [[4e-4, 3e-4], [3e-4, 6e-4]], 400).cumsum(axis=0)
    spot = np.exp(moves - moves[-1]) * np.array([99_000.0, 3_020.0])
    days = pd.date_range(end="2026-01-04", periods=400)
    return MarketHistory.from_frame(pd.DataFrame(spot, index=days, columns=["BTC", "ETH"]))


@pytest.fixture(scope="module")
def spanned(market: ChainMarket, history: MarketHistory) -> Priced:
    return price_book(POSITIONS, market, SpanLike(), history)


def test_the_margin_is_the_models_own_on_history_and_chain(
    market: ChainMarket, history: MarketHistory, spanned: Priced
) -> None:
    instruments = tuple(market.contracts[symbol] for symbol in dict.fromkeys(POSITIONS["symbol"]))
    quantity = np.zeros((3, len(instruments)))
    for portfolio, symbol, held in POSITIONS.itertuples(index=False):
        column = [one.symbol for one in instruments].index(symbol)
        quantity[["strangle", "hedged", "linear"].index(portfolio), column] = held
    book = Book(instruments, ("strangle", "hedged", "linear"), quantity)
    past = after_history(history, market, book).past
    wanted = SpanLike().fit(past, Coverage(0.99, "1D")).explain(past, book)
    pd.testing.assert_frame_equal(spanned.requirement.to_frame(), wanted.to_frame())
    assert wanted.worst == spanned.requirement.worst
    assert "fitted on 401 rows, the chain's among them" in spanned.remarks


def test_option_value_is_that_of_the_marks_and_the_net_figure_is_less_it(market: ChainMarket, spanned: Priced) -> None:
    marks = dict(zip(market.state.listed, market.state.marks, strict=True))
    wanted = [-2 * marks[CALL] - 2 * marks[PUT], 4 * marks[CALL] + 30 * marks[ETH], 0.0]
    np.testing.assert_allclose(spanned.option_value, wanted, rtol=1e-12)
    np.testing.assert_allclose(spanned.net_of_option_value, spanned.requirement.initial - wanted)
    table = spanned.to_frame()
    np.testing.assert_array_equal(table["net of option value"], spanned.net_of_option_value)


def test_positions_are_told_whole_and_sum_to_their_portfolios(market: ChainMarket, spanned: Priced) -> None:
    table = spanned.positions
    assert table[["portfolio", "symbol", "quantity"]].to_numpy().tolist() == sorted(
        POSITIONS.to_numpy().tolist(), key=lambda row: ["strangle", "hedged", "linear"].index(row[0])
    )
    summed = table.groupby("portfolio", sort=False)[["contribution", "delta_units", "vega_per_point"]].sum()
    np.testing.assert_allclose(summed["contribution"], spanned.requirement.initial)
    of_btc = table[~table["symbol"].str.startswith("ETH")].groupby("portfolio", sort=False)["delta_units"].sum()
    np.testing.assert_allclose(of_btc, spanned.greeks.units[:, 0])
    np.testing.assert_allclose(summed["vega_per_point"], spanned.greeks.vega.sum(axis=1) / 100, atol=1e-12)
    assert table["priced_from"].tolist() == ["mark", "mark", "mark", "spot", "mark", "spot", "curve", "spot"]
    assert not np.signbit(table.loc[table["value"] == 0, "value"]).any()


@pytest.mark.parametrize("name", NAMED)
def test_every_named_model_prices_the_book(name: str, market: ChainMarket, history: MarketHistory) -> None:
    told = price_book(POSITIONS, market, NAMED[name].make(), history if NAMED[name].learns else None)
    asked = told.requirement
    assert np.isfinite(asked.initial).all()
    assert (asked.initial > 0).all()
    assert (asked.maintenance <= asked.initial).all()
    np.testing.assert_allclose(sum(asked.components.values()), asked.initial)
    parts = told.positions.groupby("portfolio", sort=False)["contribution"].sum()
    np.testing.assert_allclose(parts, asked.initial, rtol=1e-9)
    assert told.split
    json.loads(told.to_json())


def test_a_position_left_out_shows_its_own_figure_and_the_rest_is_a_line_of_its_own(market: ChainMarket) -> None:
    model = named_model("paradex").make()
    held = POSITIONS[POSITIONS["portfolio"] != "hedged"]
    told = price_book(held, market, model)
    table = told.positions
    assert table["symbol"].tolist() == [CALL, PUT, "shared", "BTC", "BTC-27MAR26", "BTC-PERPETUAL", "shared"]
    for place, row in table[table["symbol"] != "shared"].iterrows():
        others = held[(held["symbol"] != row["symbol"]) | (held["portfolio"] != row["portfolio"])]
        without = price_book(others, market, model).to_frame()
        less = told.to_frame().loc[row["portfolio"], "initial"] - without.loc[row["portfolio"], "initial"]
        assert row["contribution"] == pytest.approx(less, abs=1e-6), place
    shared = json.loads(told.to_json())["positions"][2]
    assert (shared["symbol"], shared["quantity"], shared["value"], shared["contract"]) == ("shared", None, None, "")
    assert "shared: the rest of it" in str(told)


@pytest.mark.parametrize(
    ("changed", "kept", "said"),
    [
        ("27MAR26", 1, "ETH-27MAR26-3000-C: expiry 2026-03-27 has a flat smile"),
        ("27MAR26", 3, "ETH-27MAR26-3000-C: expiry 2026-03-27 is fitted by a cubic, not by SVI"),
        ("16JAN26", 1, ""),
    ],
)
def test_what_is_on_a_poor_smile_is_named(changed: str, kept: int, said: str) -> None:
    frame = chain_frame("ETH", 3_000.0, inverse=False)
    near = frame["strike"].isin(sorted(frame["strike"].unique(), key=lambda strike: abs(strike - 3_000))[:kept])
    market = chain_market(read_chain(frame[~frame["symbol"].str.contains(changed) | near]))
    told = price_book(pd.DataFrame({"symbol": [ETH, "ETH"], "quantity": 1.0}), market, NAMED["scenario-grid"].make())
    assert any(said in remark for remark in told.remarks)
    assert any("smile" in remark or "cubic" in remark for remark in told.remarks) == bool(said)


def test_what_expires_beyond_or_off_the_surface_is_named(market: ChainMarket) -> None:
    option, future = market.contracts["ETH-27MAR26-3000-C"], market.contracts["BTC-27MAR26"]
    late, odd = "2026-06-26T08:00:00", "2026-02-27T08:00:00"
    held = (
        replace(option, symbol="LATE-C", expiry=late),
        replace(future, symbol="LATE-F", expiry=late),
        replace(option, symbol="ODD-C", expiry=odd),
        replace(future, symbol="ODD-F", expiry=odd),
        option,
    )
    fits = dict(market.fits)
    told = surface_doubts(Book(held, ("p",), np.ones((1, 5))), market)
    assert told == (
        "LATE-C, LATE-F: expires 2026-06-26, beyond the last quoted expiry, 2026-03-27: priced as if the market went "
        "on as there",
        "ODD-C: expiry 2026-02-27 is not quoted: volatility is read from 2026-01-16 and 2026-03-27",
    )
    report = fits["ETH"].report
    poor = report.assign(form=report["form"].where(report["expiry"] != report["expiry"].max(), "left out"))
    fits["ETH"] = replace(fits["ETH"], expiries=fits["ETH"].expiries[:1], report=poor)
    told = surface_doubts(Book((option,), ("p",), np.ones((1, 1))), replace(market, fits=fits))
    assert told == (f"{ETH}: expiry 2026-03-27 is left out: volatility is read from 2026-01-16",)


@pytest.mark.parametrize(
    ("name", "asked", "lines"),
    [
        ("scenario-grid", "; stated rules; options age 1D; USD", []),
        ("span", "; 99 % of losses over 1D; USD", []),
        (
            "deribit",
            "; stated rules, as the venue publishes them; USD",
            [
                "parameter sets of deribit: [V] recomputed: BTC_USD, ETH_USD, BTC, ETH; [S] read: USD; [M] memory: "
                "other pair, other currency",
                "formulas not confirmed as deribit's own: [3P] third party: weighted, dampened, risk_vector, "
                "delta_shock",
            ],
        ),
        (
            "okx",
            "; stated rules, as the venue publishes them; USD",
            [
                "parameter sets of okx: [S] read: 'BTC, ETH', majors, others, minimum charge",
                "formulas not confirmed as okx's own: [M] memory: margins",
                "published part only: too little for options",
            ],
        ),
    ],
)
def test_a_result_says_what_was_asked_and_how_sure_its_rules_are(
    name: str, asked: str, lines: list[str], market: ChainMarket, history: MarketHistory
) -> None:
    told = price_book(POSITIONS, market, NAMED[name].make(), history if NAMED[name].learns else None)
    heading = str(told).split("\n\n")[0].splitlines()
    assert asked in heading[1]
    assert heading[2:] == lines
    document = json.loads(told.to_json())
    assert document["asked"] in heading[1]
    assert document["provenance"] == lines


def test_a_linear_position_loses_its_notional_times_the_move(market: ChainMarket) -> None:
    book = pd.DataFrame({"symbol": ["BTC-PERP"], "quantity": [-0.5]})
    model = ScenarioMargin(ScenarioGrid((-0.2, 0.3)), learned=False, elapsed=False)
    told = price_book(book, market, model)
    assert told.requirement.initial == pytest.approx([0.3 * 50_000.0])
    assert told.requirement.worst[0].startswith("price +0.3")
    assert told.positions["contribution"].tolist() == pytest.approx([0.3 * 50_000.0])


def test_an_account_of_deribit_is_what_the_file_holds(market: ChainMarket) -> None:
    """The venue asks more than in proportion for a larger account: gains of extended scenarios shrink by amounts."""
    model = named_model("deribit").make()
    small, large = (
        price_book(POSITIONS.assign(quantity=POSITIONS["quantity"] * size), market, model) for size in (1.0, 1e4)
    )
    per_unit = large.requirement.initial / 1e4
    assert (per_unit >= small.requirement.initial * (1 - 1e-9)).all()
    assert (per_unit > 1.01 * small.requirement.initial).any()


@pytest.mark.parametrize("name", ["span", "learned-grid", "greeks", "monte-carlo-es", "historical-var"])
def test_a_model_that_learns_says_that_it_has_nothing_to_learn_from(name: str, market: ChainMarket) -> None:
    with pytest.raises(HistoryError, match=r"learns from a history, and none was given \(--history\)"):
        price_book(POSITIONS, market, NAMED[name].make())


def test_what_comes_after_the_chain_changes_nothing(market: ChainMarket, history: MarketHistory) -> None:
    later = history.to_frame()
    later.index += pd.Timedelta(days=60)
    crashed = later.copy()
    crashed.loc[crashed.index > "2026-01-05"] *= 0.01
    told, other = (
        price_book(POSITIONS, market, HistoricalVaR(), MarketHistory.from_frame(frame)) for frame in (later, crashed)
    )
    np.testing.assert_array_equal(told.requirement.initial, other.requirement.initial)
    assert told.data_hash == other.data_hash


def test_a_window_is_counted_without_the_gap(market: ChainMarket, history: MarketHistory) -> None:
    older = MarketHistory.from_frame(history.to_frame().iloc[:300])
    told = price_book(POSITIONS, market, SpanLike(), older, window=200, allow_gap=True)
    assert "fitted on 200 rows, the chain's among them" in told.remarks
    frame = older.to_frame()
    frame.iloc[:90] *= np.exp(np.random.default_rng(1).normal(0, 0.3, (90, 2)))
    other = price_book(POSITIONS, market, SpanLike(), MarketHistory.from_frame(frame), window=200, allow_gap=True)
    np.testing.assert_array_equal(told.requirement.initial, other.requirement.initial)


def test_files_are_priced_as_what_they_hold(market: ChainMarket, tmp_path: Path) -> None:
    POSITIONS.to_csv(tmp_path / "book.csv", index=False)
    frame = chain_frame()
    frame.loc[frame["symbol"] == "BTC-16JAN26-80000-P", "bid"] = 1.0
    chain_market_of(tmp_path, frame)
    model = named_model("scenario-grid").make()
    told, wanted = (
        price_book(tmp_path / "book.csv", tmp_path / "chain.csv", model),
        price_book(POSITIONS, market, model),
    )
    pd.testing.assert_frame_equal(told.positions, wanted.positions)
    assert told.data_hash == wanted.data_hash


def test_the_text_and_the_page_tell_everything(spanned: Priced) -> None:
    told = str(spanned)
    for word in ("SpanLike()", "strangle", CALL, "Worst", "vega", "crossed quotes 1", "svi", "net of it", "scenario 1"):
        assert word in told, word
    page = spanned._repr_html_()
    assert page.count("<table") == 4
    assert CALL in page


def test_the_json_is_whole_and_knows_no_nan(spanned: Priced) -> None:
    told = json.loads(spanned.to_json())
    first = told["portfolios"][0]
    assert first["portfolio"] == "strangle"
    assert first["initial"] == pytest.approx(spanned.requirement.initial[0])
    assert sum(first["components"].values()) == pytest.approx(first["initial"])
    assert [one["underlying"] for one in first["greeks"]] == ["BTC", "ETH"]
    assert told["time"] == "2026-01-05T04:00:00.000Z"
    assert len(told["positions"]) == len(POSITIONS)
    assert told["positions"][3]["volatility"] is None
    assert told["quarantine"][0]["rule"] == "crossed quotes"
    assert told["surface"][0]["expiry"] == "2026-01-16T08:00:00Z"


class Broken(MarginModel):
    def margin(self, past: MarketHistory, book: Book) -> Floats:
        return np.full(len(book.portfolios), -1.0)


def test_what_cannot_be_asked_is_refused(market: ChainMarket, history: MarketHistory) -> None:
    with pytest.raises(ModelError, match=r"Broken\(\): initial margin must be one finite number >= 0"):
        price_book(POSITIONS, market, Broken())
    wrong: list[tuple[dict[str, Any], str]] = [
        (
            {"book": {"BTC-PERP": 1.0}},
            "book must be a Book, or a file or frame of positions, got {'BTC-PERP': 1.0}, a dict",
        ),
        ({"market": history}, "market must be the market of an option chain, or its file, got MarketHistory"),
        ({"market": None}, "market must be the market of an option chain, or its file, got None"),
        ({"model": "span"}, r"model must be a model such as SpanLike\(\), not its name or class, got 'span'"),
        ({"model": SpanLike}, r"model must be a model such as SpanLike\(\), not its name or class, got <class"),
        ({"history": "us-stocks"}, "history must be a MarketHistory or None, got 'us-stocks'"),
        ({"coverage": 0.99}, r"coverage must be a Coverage such as .*, got 0\.99, a float"),
        ({"window": "500"}, "window must be a number of rows, got '500', a str"),
    ]
    for other, told in wrong:
        with pytest.raises(ParameterError, match=told):
            price_book(**{"book": POSITIONS, "market": market, "model": SpanLike(), "history": history, **other})
    with pytest.raises(SourceError, match=r"us-stocks: an option chain must be a CSV file or a sample of a chain"):
        price_book(POSITIONS, "us-stocks", SpanLike(), history)
    with pytest.raises(ParameterError, match="window must be at least 1 row, got 0"):
        price_book(POSITIONS, market, SpanLike(), history, window=0)
    with pytest.raises(ParameterError, match="got a coverage in BTC"):
        price_book(POSITIONS, market, SpanLike(), history, coverage=Coverage(numeraire="BTC"))
    with pytest.raises(ParameterError, match=r"--model must be one of span \(worst of .*; got 'nonsense'"):
        named_model("nonsense")
    with pytest.raises(DataError, match=r"BTC-16JAN26-80000-P is quarantined"):
        price_book(pd.DataFrame({"symbol": ["BTC-16JAN26-80000-P"], "quantity": [1]}), market, Broken())


@NEEDS_SHARED
@pytest.mark.shared
def test_a_real_chain_gives_the_venues_own_value_delta_and_vega() -> None:
    path = CHAINS[0]
    market, source = read_chain_market(path), pd.read_csv(path)
    quotes = read_chain(path)
    kept = np.concatenate([one.symbol[(one.tenor() > 3 / 365) & (one.mark > 20)] for one in quotes.values()])
    own = source.set_index("instrument_name").loc[list(kept)]
    book = pd.DataFrame({"symbol": kept, "quantity": 1.0})
    told = price_book(book, market, named_model("deribit").make())
    table = told.positions.set_index("symbol").loc[list(kept)]
    spot = own["currency"].map(dict(zip(market.state.underlyings, market.state.spot, strict=True)))
    np.testing.assert_allclose(table["value"], own["mark_price"] * spot, rtol=1e-9)
    np.testing.assert_allclose(told.option_value, [(own["mark_price"] * spot).sum()], rtol=1e-9)
    # Forwards were taken at another instant than marks, which deep in the money moves the volatility of a mark.
    for column, theirs, most in (("volatility", "implied_volatility", 0.01), ("delta_units", "delta", 0.01)):
        assert np.quantile(np.abs(table[column] - own[theirs]), 0.98) < most
    assert np.quantile(np.abs(table["vega_per_point"] / own["vega"] - 1.0), 0.9) < 0.05
