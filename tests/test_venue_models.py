"""Does each venue's adapter ask of a book what the venue's own function asks of each account?"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data import Book, Coverage, DataError, HistoryError, Instrument, MarketHistory, ParameterError
from margin_models import (
    AevoMargin,
    DeribitPortfolioMargin,
    DerivePmrm2Margin,
    DerivePmrmMargin,
    DeriveSrmMargin,
    DriftMargin,
    DydxMargin,
    MarginModel,
    OkxMargin,
    ParadexMargin,
    SynthetixMargin,
    VegaMargin,
)
from margin_models.venues import deribit, deribit_model, dydx_model, paradex
from margin_models.venues.catalogue import catalogue
from markets import BTC, COIN, ETH, INVERSE, option_on, two_coins
from venue_accounts import (
    COVERAGE,
    HISTORY,
    NOW,
    Pair,
    plain_aevo,
    plain_deribit,
    plain_drift,
    plain_dydx,
    plain_okx,
    plain_paradex,
    plain_pmrm,
    plain_pmrm2,
    plain_srm,
    plain_synthetix,
    plain_vega,
    random_book,
)

# Shares at which the minimum on delta is always the larger.
BY_DELTA = replace(paradex.PARAMETERS["portfolio margin"], net=0.9, hedged=0.8)

CASES: dict[str, tuple[MarginModel, Callable[[Book, int], Pair], float]] = {
    "aevo": (AevoMargin(), plain_aevo, 1e-10),
    "deribit": (DeribitPortfolioMargin(), plain_deribit, 1e-10),
    "deribit, large": (DeribitPortfolioMargin(account_size=5e8), lambda b, p: plain_deribit(b, p, 5e8), 1e-10),
    "derive pmrm2": (DerivePmrm2Margin(), plain_pmrm2, 1e-9),
    "derive pmrm": (DerivePmrmMargin(), plain_pmrm, 1e-9),
    "derive srm": (DeriveSrmMargin(), plain_srm, 1e-9),
    "drift": (DriftMargin(account_size=1e9), plain_drift, 5e-3),  # on chain ratios are whole basis points
    "dydx": (DydxMargin(), plain_dydx, 1e-9),
    "okx": (OkxMargin(), plain_okx, 1e-10),
    "paradex": (ParadexMargin(), plain_paradex, 1e-10),
    "paradex, by delta": (ParadexMargin(BY_DELTA), lambda b, p: plain_paradex(b, p, BY_DELTA), 1e-10),
    "synthetix": (SynthetixMargin(), plain_synthetix, 1e-10),
    "vega": (VegaMargin(), plain_vega, 1e-10),
}


@pytest.mark.parametrize("venue", CASES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_book_is_asked_what_each_of_its_accounts_is(venue: str, seed: int) -> None:
    model, plain, tolerance = CASES[venue]
    book = random_book(seed)
    told = model.fit(HISTORY, COVERAGE).requirement(HISTORY, book)
    expected = np.array([plain(book, row) for row in range(len(book.portfolios))])
    assert expected[:-1].min() > 0
    assert_allclose(told.initial, expected[:, 0], rtol=tolerance, atol=1e-13)
    assert_allclose(told.maintenance, expected[:, 1], rtol=tolerance, atol=1e-13)


# Of one BTC long at 30,000 USD, by hand: shares of notional.
BY_HAND: dict[str, tuple[MarginModel, float, float]] = {
    "aevo": (AevoMargin(), 0.05, 0.03),
    "deribit": (DeribitPortfolioMargin(), 0.16 + 0.01, 0.8 * 0.17),
    "derive pmrm2": (DerivePmrm2Margin(), 0.18 + 0.03 + 0.01, 0.8 * 0.18 + 0.03),
    "derive pmrm": (DerivePmrmMargin(), 1.25 * (0.20 + 0.03), 0.20 + 0.03),
    "derive srm": (DeriveSrmMargin(), 0.10, 0.065),
    "drift": (DriftMargin(), 0.05, 0.03),
    "drift, large": (
        DriftMargin(account_size=3e8),
        0.8 * 0.05 + 0.00045 * 100.0,
        0.8 * 0.03 + 0.00045 * 100.0,
    ),
    "dydx": (DydxMargin(), 0.02, 0.6 * 0.02),
    "dydx, crowded": (DydxMargin({"BTC": "mid"}, open_interest=70e6), 0.05 + 0.95 / 2, 0.6 * 0.05),
    "okx": (OkxMargin(), 1.3 * 0.24, 0.24),
    "okx, half of the extreme": (OkxMargin(extreme_share=0.5), 1.3 * 0.12, 0.12),
    "paradex": (ParadexMargin(), 0.16, 0.08),
    "synthetix": (
        SynthetixMargin(account_size=3e6),
        100 / 5e4 * 1.54 + 0.02 + 50 / 3e6,
        (100 / 5e4 * 1.54 + 0.02) * 0.28 + 50 / 3e6,
    ),
}


def flat(price: float = 30_000.0, *names: str) -> MarketHistory:
    """Markets that stand still, at one price."""
    history = two_coins().last(30)
    named = names or ("BTC", "ETH")
    return MarketHistory(history.time, named, np.full((len(history), len(named)), price), history.clock)


@pytest.mark.parametrize("venue", BY_HAND)
def test_one_long_perpetual_by_hand(venue: str) -> None:
    model, initial, maintenance = BY_HAND[venue]
    history = flat()
    book = Book((BTC,), ("long",), np.array([[1.0]])).at(history.now)
    told = model.fit(history, COVERAGE).requirement(history, book)
    assert_allclose([told.initial[0], told.maintenance[0]], [initial, maintenance], rtol=1e-12)


def test_a_coin_settled_position_is_margined_in_coin() -> None:
    history = flat()
    book = Book((INVERSE,), ("long", "short"), np.array([[1.0], [-1.0]])).at(history.now)
    told = DeribitPortfolioMargin().fit(history, COVERAGE).requirement(history, book)
    assert_allclose(told.initial, [1 / 0.84 - 1 + 0.01, 1 - 1 / 1.16 + 0.01], rtol=1e-12)
    assert told.worst == ("-1.00 of the price range, volatility up", "+1.00 of the price range, volatility up")


def test_a_large_account_posts_a_delta_shock_and_its_tails() -> None:
    book = Book((BTC,), ("long",), np.array([[1.0]])).at(flat().now)
    large = DeribitPortfolioMargin(account_size=60e6).fit(flat(), COVERAGE).requirement(flat(), book)
    coins = 60e6 / 30_000
    rate = 0.00005 * (coins - 20e6 / 30_000)
    assert_allclose(large.components["delta shock"], rate, rtol=1e-12)
    strangle = option_on(NOW, "BTC", "put", 0.4), option_on(NOW, "BTC", "call", 2.0)
    short = Book(strangle, ("short",), np.array([[-1.0, -1.0]])).at(NOW)
    small, vast = (DeribitPortfolioMargin(account_size=size).fit(HISTORY, COVERAGE) for size in (1e6, 1e9))
    assert vast.margin(HISTORY, short)[0] > 5 * small.margin(HISTORY, short)[0]
    assert "price" in vast.requirement(HISTORY, short).worst[0]


def test_gains_offset_losses_elsewhere_by_the_share_of_the_currency() -> None:
    book = Book((BTC, replace(ETH, multiplier=1.0)), ("hedge",), np.array([[1.0, -1.0]])).at(flat().now)
    told = DeribitPortfolioMargin().fit(flat(), COVERAGE).requirement(flat(), book)
    # With both up by their range half the book loses 9 %, less 40 % of the 8 % that the other half gains.
    assert_allclose(told.components["risk matrix"], 0.09 - 0.4 * 0.08, rtol=1e-12)
    assert_allclose(told.components["roll shock"], 0.01, rtol=1e-12)


def test_spot_is_collateral_where_it_cancels_risk() -> None:
    history = flat()
    book = Book((COIN, BTC), ("coin", "hedged", "owed"), np.array([[1.0, 0.0], [1.0, -1.0], [-1.0, 0.0]])).at(
        history.now
    )
    told = DerivePmrm2Margin().fit(history, COVERAGE).requirement(history, book)
    assert_allclose(told.initial, [0.18 + 0.02, 0.5 * 0.02 + 0.5 * 0.04, 0.18 + 0.04], rtol=1e-12)
    standard = DeriveSrmMargin().fit(history, COVERAGE).requirement(history, book)
    assert_allclose(standard.components["spot"], [1 - 0.75 * 0.93, 0.5 * (1 - 0.75 * 0.93), 0.0], rtol=1e-12)


def test_an_option_that_is_bought_and_lends_nothing_posts_its_premium() -> None:
    call = option_on(NOW, "BTC", "call")
    book = Book((call,), ("long",), np.array([[1.0]])).at(NOW)
    premium = book.value(NOW)
    assert_allclose(AevoMargin().fit(HISTORY, COVERAGE).margin(HISTORY, book), premium, rtol=1e-12)
    # Derive's standard margin marks options without discounting them.
    assert_allclose(DeriveSrmMargin().fit(HISTORY, COVERAGE).margin(HISTORY, book), premium, rtol=0.005)


# Vega's volatility is that of returns in the numeraire, and another with it.
@pytest.mark.parametrize("venue", sorted(CASES.keys() - {"vega"}))
def test_the_numeraire_is_only_a_unit(venue: str) -> None:
    model, book = CASES[venue][0], random_book(4)
    dollars = model.fit(HISTORY, COVERAGE).margin(HISTORY, book)
    coins = HISTORY.valued_in("BTC")
    again = model.fit(coins, Coverage(0.98, "2D", numeraire="BTC")).margin(coins, book)
    assert_allclose(again * NOW.spot[0], dollars, rtol=1e-9)


OTHERS: list[MarginModel] = [
    DeribitPortfolioMargin(),
    DerivePmrm2Margin(),
    DerivePmrmMargin(),
    DeriveSrmMargin(),
    DriftMargin(),
    DydxMargin(),
    OkxMargin(),
]


@pytest.mark.parametrize("model", OTHERS, ids=repr)
def test_a_coin_whose_parameters_are_unknown_is_never_taken_for_bitcoin(model: MarginModel) -> None:
    history = flat(30_000.0, "BTC", "DOGE")
    book = Book((BTC, Instrument("DOGE-PERP", "DOGE")), ("BTC", "DOGE"), np.eye(2)).at(history.now)
    known, other = model.fit(history, COVERAGE).margin(history, book)
    assert other > 1.2 * known


def test_a_market_that_a_venue_does_not_list_is_refused() -> None:
    history = flat(100.0, "BTC", "DOGE")
    book = Book((BTC, Instrument("DOGE-PERP", "DOGE")), ("BTC", "DOGE"), np.eye(2)).at(history.now)
    model = SynthetixMargin().fit(history, COVERAGE)
    with pytest.raises(ParameterError, match=r"known for \['BTC', 'ETH'\], got 'DOGE'"):
        model.margin(history, book)
    bitcoin = Book(book.instruments, ("BTC",), np.array([[0.01, 0.0]]))
    assert model.margin(history, bitcoin)[0] > 0


WRONG: dict[str, Callable[[], MarginModel]] = {
    "no account": lambda: DeribitPortfolioMargin(account_size=0.0),
    "infinite account": lambda: DriftMargin(account_size=np.inf),
    "account of NaN": lambda: SynthetixMargin(account_size=np.nan),
    "unknown tier": lambda: DydxMargin({}, other="huge"),
    "more than the loss": lambda: OkxMargin(extreme_share=1.5),
    "a haircut below 0": lambda: DerivePmrm2Margin(haircut=-0.1),
    "unknown class": lambda: OkxMargin({"BTC": "dogs"}),
    "grids that do not fit": lambda: DeribitPortfolioMargin(
        {**deribit_model.PAIRS, "ETH_USD": replace(deribit.pair("ETH_USD"), buckets=5)}
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_parameters_that_cannot_be_are_refused(case: str) -> None:
    model = WRONG[case]().fit(HISTORY, COVERAGE)
    with pytest.raises(ParameterError, match=r"must|known|need"):
        model.requirement(HISTORY, random_book(1))


def test_what_is_held_without_a_price_or_a_past_is_refused() -> None:
    gone = Instrument("BTC-OLD", "BTC", "option", expiry="2020-02-01", strike=3e4, right="call")
    book = Book((BTC, gone), ("held",), np.array([[1.0, 1.0]]))
    for model, _, _ in CASES.values():
        with pytest.raises(DataError, match="BTC-OLD is held but has expired"):
            model.fit(HISTORY, COVERAGE).margin(HISTORY, book)
    late = flat()
    spot = late.spot.copy()
    spot[:-1, 0] = np.nan
    young = MarketHistory(late.time, late.underlyings, spot, late.clock)
    with pytest.raises(HistoryError, match="BTC is held but had fewer than two returns"):
        VegaMargin().fit(young, COVERAGE).margin(young, Book((BTC,), ("held",), np.array([[1.0]])))


def test_what_rounding_leaves_of_a_hedge_is_no_open_market() -> None:
    history = flat()
    book = Book((COIN, BTC), ("hedge",), np.array([[0.1 + 0.2, -0.3]]))
    assert SynthetixMargin().fit(history, COVERAGE).margin(history, book)[0] == 0.0


def test_the_catalogue_says_of_every_parameter_where_it_is_from() -> None:
    table = catalogue()
    assert set(table["label"]) <= {"V", "S", "3P", "M"}
    assert (table["source"] != "").all()
    assert not table.duplicated().any()
    for venue in ("aevo", "deribit", "derive", "drift", "dydx", "okx", "paradex", "synthetix", "vega"):
        assert "parameters" in set(table.query(f"venue == '{venue}'")["kind"]), venue
    stand_ins = table[table["name"].str.contains("other") & (table["venue"] != "okx")]
    assert set(stand_ins["label"]) == {"M"}
    assert set(dydx_model.GENESIS_TIERS.values()) <= set(table.query("venue == 'dydx'")["name"])
