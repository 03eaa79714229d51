from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from data import Account, Book, DataError, Floats, Instrument, MarketHistory, MarketState, Standing, standing
from markets import BTC, COIN, INVERSE, coins_with_options, option_book

ETH_COIN = Instrument("ETH", "ETH", "spot")
FUTURE = Instrument("BTC-JUN", "BTC", "future", expiry="2024-06-28")


def state_of(btc: float = 100.0, eth: float = 10.0, **facts: Any) -> MarketState:
    time = np.array(["2024-01-01"], dtype="datetime64[ns]")
    return MarketHistory(time, ("BTC", "ETH"), np.array([[btc, eth]]), **facts).now


def column(*figures: float) -> Floats:
    return np.array(figures, dtype=np.float64)


def account_of(cash: float = 0.0, **facts: Any) -> Account:
    return Account(("USD",), np.array([[cash]]), **facts)


def stand(account: Account, book: Book, state: MarketState, initial: float = 0.0, maintenance: float = 0.0) -> Standing:
    return standing(account, book, state, column(initial), column(maintenance))


def one(*held: tuple[Instrument, float]) -> Book:
    return Book(tuple(i for i, _ in held), ("one",), np.array([[q for _, q in held]]))


def test_cash_collateral_profit_and_funding_make_equity() -> None:
    account = Account(
        ("USD", "BTC"),
        np.array([[1000.0, 2.0]]),
        ("BTC", "ETH"),
        np.array([[3.0, 10.0]]),
        column(0.1, 0.2),
        np.array([[90.0]]),
        column(-5.0),
    )
    told = stand(account, one((BTC, 4.0)), state_of(), initial=300.0, maintenance=200.0)
    assert_allclose(told.cash, 1000 + 200)
    assert_allclose(told.collateral, 3 * 100 * 0.9 + 10 * 10 * 0.8)
    assert_allclose(told.unrealised, 4 * (100 - 90) - 5)
    assert_allclose(told.value, 0.0)
    assert_allclose(told.equity, 1200 + 350 + 35)
    assert_allclose(told.free_equity, 1585 - 300)
    assert_allclose(told.utilisation, 300 / 1585)
    assert_allclose(told.withdrawable, 1285.0)
    assert_allclose(told.dead_capital, 30 + 20)  # the haircuts
    assert_array_equal(told.liquidatable, [False])


def test_profit_that_is_not_realised_cannot_be_withdrawn() -> None:
    told = stand(account_of(50.0, entry=np.array([[20.0]])), one((BTC, 10.0)), state_of(), initial=300.0)
    assert_allclose(told.equity, 850.0)
    assert_allclose(told.withdrawable, 50.0)
    assert_allclose(told.dead_capital, 850 - 300 - 50)


def test_coins_and_options_held_are_equity_but_cannot_be_withdrawn() -> None:
    state = coins_with_options(210).at(40)
    book = option_book(state)
    size = len(book.portfolios)
    margin = np.full(size, 10.0)
    told = standing(Account(("USD",), np.full((size, 1), 100.0)), book, state, margin, margin)
    assert_allclose(told.value, book.value(state))
    assert_allclose(told.equity, 100 + book.value(state))
    assert_allclose(told.withdrawable, np.clip(90 + book.value(state), 0, 100))
    long, short = (book.portfolios.index(name) for name in ("long call", "short put"))
    assert told.dead_capital[long] == pytest.approx(told.value[long] - 10)
    assert told.liquidatable[short]
    assert np.isinf(told.utilisation[short])


def test_the_profit_of_an_inverse_contract_is_coin_at_spot() -> None:
    held = one((INVERSE, 3.0))  # 100 USD each, entered at 80
    told = stand(account_of(entry=np.array([[80.0]])), held, state_of())
    coins = 3 * 100 * (1 / 80 - 1 / 100)
    assert_allclose(told.unrealised, coins * 100)
    listed = state_of(listed=("BTC-INV",), marks=np.array([[110.0]]))  # its mark is above spot
    assert_allclose(
        stand(account_of(entry=np.array([[80.0]])), held, listed).unrealised, 300 * (1 / 80 - 1 / 110) * 100
    )
    dead = stand(account_of(entry=np.array([[80.0]])), held, state_of(btc=0.0))
    assert_allclose(dead.unrealised, -300.0)


def test_a_future_is_marked_on_its_curve() -> None:
    curve = np.full((1, 2, 1, 3), [1.0, 0.05, 0.0])
    told = stand(account_of(entry=np.array([[100.0]])), one((FUTURE, -2.0)), state_of(curves=curve))
    years = 179 / 365.25
    assert_allclose(told.unrealised, -2 * (100 * np.exp(0.05 * years) - 100))


def test_everything_is_counted_in_the_numeraire() -> None:
    account = Account(
        ("USD",), np.array([[500.0]]), ("ETH",), np.array([[5.0]]), column(0.2), np.array([[90.0, np.nan]])
    )
    book = one((BTC, 1.0), (COIN, 2.0))
    coin = replace(state_of(), numeraire="BTC", rate=100.0)
    dollars, coins = stand(account, book, state_of(), 100.0, 50.0), stand(account, book, coin, 1.0, 0.5)
    for name in ("cash", "collateral", "unrealised", "value", "equity", "free_equity", "withdrawable", "dead_capital"):
        assert_allclose(getattr(coins, name) * 100.0, getattr(dollars, name), err_msg=name)
    assert_allclose(dollars.equity, 500 + 40 + 10 + 200)
    assert_allclose(coins.utilisation, dollars.utilisation)


def test_currencies_convert_at_the_rate_given() -> None:
    account = Account(("EUR", "USD"), np.array([[100.0, 1.0]]))
    book = one((BTC, 0.0))
    told = standing(account, book, state_of(), column(0.0), column(0.0), fx={"EUR": 1.1})
    assert_allclose(told.cash, 111.0)
    euro = replace(state_of(), numeraire="EUR", rate=1.1)
    assert_allclose(stand(account, book, euro).cash, 100 + 1 / 1.1)
    with pytest.raises(
        DataError, match=r"no rate for 'EUR' at 2024-01-01.*: there are USD and \['BTC', 'ETH', 'USD'\]"
    ):
        stand(account, book, state_of())
    with pytest.raises(DataError, match="no rate for 'ETH'"):
        stand(Account(("ETH",), np.ones((1, 1))), book, state_of(eth=np.nan))
    assert_allclose(stand(Account(("ETH",), np.zeros((1, 1))), book, state_of(eth=np.nan)).cash, 0.0)


@pytest.mark.parametrize(
    ("cash", "initial", "maintenance", "utilisation", "withdrawable", "dead", "liquidatable"),
    [
        (100.0, 0.0, 0.0, 0.0, 100.0, 0.0, False),
        (100.0, 100.0, 50.0, 1.0, 0.0, 0.0, False),
        (100.0, 120.0, 100.0, 1.2, 0.0, 0.0, False),  # at maintenance it still stands
        (100.0, 120.0, 100.5, 1.2, 0.0, 0.0, True),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, False),
        (0.0, 1.0, 1.0, np.inf, 0.0, 0.0, True),
        (-10.0, 0.0, 0.0, 0.0, 0.0, 0.0, True),
    ],
)
def test_the_edges_of_a_standing(
    cash: float,
    initial: float,
    maintenance: float,
    utilisation: float,
    withdrawable: float,
    dead: float,
    liquidatable: bool,
) -> None:
    told = stand(account_of(cash), one((BTC, 1.0)), state_of(), initial, maintenance)
    assert_allclose(told.utilisation, utilisation)
    assert_allclose(told.withdrawable, withdrawable)
    assert_allclose(told.dead_capital, dead)
    assert told.liquidatable.tolist() == [liquidatable]


def test_debt_is_paid_before_collateral_leaves() -> None:
    account = account_of(-40.0, assets=("BTC",), collateral=np.array([[1.0]]), haircut=column(0.25))
    told = stand(account, one((BTC, 1.0)), state_of(), initial=10.0)
    assert_allclose(told.withdrawable, 75 - 40 - 10)
    assert_allclose(told.dead_capital, 25.0)  # of the 60 that are owned net
    short = stand(account, one((BTC, 1.0)), state_of(), initial=50.0)
    assert_allclose((short.free_equity, short.withdrawable, short.dead_capital), [[-15.0], [0.0], [25.0]])


figures = st.floats(-1e3, 1e3)


@given(
    st.tuples(
        figures, st.floats(0, 20), st.floats(0, 1), figures, st.floats(1, 1e3), st.floats(0, 500), st.floats(0, 1)
    ),
    st.floats(0, 3),
)
def test_what_is_owned_covers_margin_leaves_or_is_dead(facts: tuple[float, ...], coins: float) -> None:
    cash, posted, haircut, quantity, entry, initial, share = facts
    account = account_of(
        cash,
        assets=("BTC",),
        collateral=np.array([[posted]]),
        haircut=column(haircut),
        entry=np.array([[entry, np.nan]]),
    )
    told = stand(account, one((BTC, quantity), (COIN, coins)), state_of(), initial, share * initial)
    assert 0 <= told.withdrawable[0] <= max(told.cash[0] + told.collateral[0], 0.0)
    assert told.dead_capital[0] >= 0
    owned = cash + posted * 100 + told.unrealised[0] + coins * 100
    if told.equity[0] >= initial:
        assert told.dead_capital[0] == pytest.approx(owned - initial - told.withdrawable[0], abs=1e-6)
    else:
        assert told.withdrawable[0] == 0
    assert told.liquidatable[0] == (told.equity[0] < share * initial)


def test_a_sparse_book_stands_as_a_dense_one() -> None:
    dense = Book((BTC, INVERSE, COIN), ("a", "b"), np.array([[1.0, -2.0, 0.0], [0.0, 3.0, 1.0]]))
    thin = Book(dense.instruments, dense.portfolios, sparse.csr_array(np.asarray(dense.quantity)))
    account = Account(("USD",), np.ones((2, 1)), entry=np.array([[90.0, 80.0, np.nan], [np.nan, 120.0, np.nan]]))
    margin = column(5.0, 6.0)
    told = [standing(account, book, state_of(), margin, margin).to_frame() for book in (dense, thin)]
    assert_allclose(told[0].to_numpy(float), told[1].to_numpy(float))
    assert_allclose(told[0]["unrealised"], [10 - 200 * (1 / 80 - 1 / 100) * 100, 300 * (1 / 120 - 1 / 100) * 100])


def test_a_standing_is_a_table() -> None:
    told = stand(account_of(10.0), one((BTC, 1.0)), state_of(), 4.0, 2.0)
    table = told.to_frame()
    assert table.index.tolist() == ["one"]
    assert table.loc["one", "free equity"] == 6.0
    assert {"dead capital", "withdrawable", "utilisation", "liquidatable"} <= set(table.columns)
    assert "<table" in told._repr_html_()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"cash": np.ones((1, 2))}, r"cash must have the shape \(1, 1\), got \(1, 2\)"),
        ({"cash": np.array([[np.nan]])}, "cash must be finite"),
        ({"currencies": ("USD", "USD"), "cash": np.ones((1, 2))}, "must differ in name"),
        ({"assets": ("BTC",)}, r"haircut must have the shape \(1,\), got \(0,\)"),
        ({"assets": ("BTC",), "haircut": column(0.1), "collateral": np.ones((2, 1))}, "collateral must have the shape"),
        ({"assets": ("BTC",), "haircut": column(0.1), "collateral": -np.ones((1, 1))}, r"collateral .* \[0.0, inf\]"),
        ({"assets": ("BTC",), "haircut": column(1.1), "collateral": np.ones((1, 1))}, r"haircut .* got 1.1"),
        ({"entry": np.ones((2, 1))}, "entry must be"),
        ({"entry": np.zeros((1, 1))}, "entry prices must be > 0"),
        ({"unrealised_funding": np.ones(2)}, "unrealised_funding must have the shape"),
    ],
)
def test_an_account_that_makes_no_sense_is_refused(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Account(**{"currencies": ("USD",), "cash": np.ones((1, 1)), **facts})


def test_what_does_not_fit_together_is_refused() -> None:
    book, state = one((BTC, 1.0)), state_of()
    with pytest.raises(DataError, match="the account has 2 portfolios, the book 1"):
        stand(Account(("USD",), np.ones((2, 1))), book, state)
    with pytest.raises(DataError, match=r"entry must be \(portfolios, instruments\) = \(1, 1\), got \(1, 2\)"):
        stand(account_of(entry=np.ones((1, 2))), book, state)
    with pytest.raises(DataError, match="'one' holds BTC-PERP without an entry price"):
        stand(account_of(entry=np.full((1, 1), np.nan)), book, state)
    with pytest.raises(DataError, match="initial margin must be"):
        stand(account_of(), book, state, initial=-1.0)
    with pytest.raises(DataError, match="maintenance margin must be"):
        standing(account_of(), book, state, column(1.0), column(1.0, 2.0))
    with pytest.raises(DataError, match="BTC-PERP is held but has no price"):
        stand(account_of(entry=np.ones((1, 1))), book, state_of(btc=np.nan))
    assert_allclose(
        stand(account_of(entry=np.full((1, 2), np.nan)), one((ETH_COIN, 2.0), (BTC, 0.0)), state).value, 20.0
    )
