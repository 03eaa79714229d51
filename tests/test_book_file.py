"""Is a book read whole, or refused with the place of what is wrong?"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_files import chain_frame, chain_market_of
from data import DataError, SourceError
from data.book_file import BookFile, read_book
from data.chain_market import ChainMarket

CALL, PUT = "BTC-16JAN26-100000-C", "BTC-16JAN26-90000-P"
SYMBOLS = (CALL, PUT, "BTC", "BTC-PERP", "BTC-PERPETUAL", "BTC-27MAR26", "ETH-27MAR26-3000-C")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> ChainMarket:
    frame = chain_frame()
    frame.loc[frame["symbol"] == "BTC-16JAN26-80000-P", "bid"] = 1.0
    return chain_market_of(tmp_path_factory.mktemp("chain"), frame)


def read(text: str, market: ChainMarket, folder: Path) -> BookFile:
    path = folder / "book.csv"
    path.write_text(text, encoding="utf-8")
    return read_book(path, market)


def test_one_portfolio_needs_no_name(market: ChainMarket, tmp_path: Path) -> None:
    told = read(f"symbol,quantity\n{CALL},-2\nBTC-PERP,0.5\n", market, tmp_path)
    assert told.book.portfolios == ("book",)
    assert [one.symbol for one in told.book.instruments] == [CALL, "BTC-PERP"]
    assert np.asarray(told.book.quantity).tolist() == [[-2.0, 0.5]]
    assert told.remarks == ()


def test_portfolios_and_symbols_keep_their_order(market: ChainMarket, tmp_path: Path) -> None:
    text = f"\ufeff Portfolio , Symbol,QUANTITY\nb,BTC,1\na, {CALL} ,1e-1\n,,\nb,{PUT},-3\n"
    told = read(text, market, tmp_path)
    assert told.book.portfolios == ("b", "a")
    assert [one.symbol for one in told.book.instruments] == ["BTC", CALL, PUT]
    assert np.asarray(told.book.quantity).tolist() == [[1.0, 0.0, -3.0], [0.0, 0.1, 0.0]]


def test_rows_of_one_position_are_summed_and_that_is_said(market: ChainMarket, tmp_path: Path) -> None:
    text = "portfolio,symbol,quantity,trader\nb,BTC,1,x\nb,BTC,2.5,y\na,BTC,1,x\nc,BTC,1,x\nc,BTC,-1,x\n"
    told = read(text, market, tmp_path)
    assert np.asarray(told.book.quantity).ravel().tolist() == [3.5, 1.0, 0.0]
    assert told.remarks == (
        "columns not used: trader",
        "2 rows of BTC in b summed to 3.5",
        "2 rows of BTC in c summed to 0",
        "BTC in c comes to nothing",
    )


def test_a_frame_is_read_as_its_file(market: ChainMarket, tmp_path: Path) -> None:
    frame = pd.DataFrame({"symbol": [CALL, "BTC"], "quantity": [1, -2.5]})
    frame.to_csv(tmp_path / "book.csv", index=False)
    told, filed = read_book(frame, market).book, read_book(tmp_path / "book.csv", market).book
    assert told.instruments == filed.instruments
    np.testing.assert_array_equal(told.quantity, filed.quantity)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("BTC-16JAN26-100001-C,1", rf"line 3: 'BTC-16JAN26-100001-C' is not in the chain, the nearest are .*{CALL}"),
        ("btc-perp,1", "line 3: 'btc-perp' is not in the chain"),
        ("DOGE,1", r"line 3: 'DOGE' is not in the chain; underlyings are \('BTC', 'ETH'\)"),
        ("BTC-16JAN26-80000-P,1", "line 3: BTC-16JAN26-80000-P is quarantined .*: crossed quotes"),
        ("BTC-5JAN26-100000-C,1", "BTC-5JAN26-100000-C' is not in the chain"),
        (
            "BTC-2JAN26-100000-C,1",
            "line 3: BTC-2JAN26-100000-C expired on 2026-01-02, the chain is of 2026-01-05T04:00",
        ),
        ("BTC-2JAN26,1", "line 3: BTC-2JAN26 expired on 2026-01-02"),
        ("BTC-31FEB25-100000-C,1", "'BTC-31FEB25-100000-C' is not in the chain"),
        ("BTC,nan", "line 3: the quantity of BTC must be a finite number, got 'nan'"),
        ("BTC,", "line 3: the quantity of BTC must be a finite number, got ''"),
        ("BTC,inf", "got 'inf'"),
        ("BTC,1_000", "got '1_000'"),
        ('BTC,"1,000"', "got '1,000'"),
        ("BTC,two", "got 'two'"),
        (",1", "line 3: the symbol is blank"),
    ],
)
def test_a_faulty_row_is_named_and_nothing_is_read(row: str, said: str, market: ChainMarket, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"book\.csv: .*{said}"):
        read(f"symbol,quantity\nBTC,1\n{row}\n", market, tmp_path)


def test_all_faults_are_told_up_to_five(market: ChainMarket, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: .*; line 6: .*; and 2 more$"):
        read("symbol,quantity\n" + "BTC,x\n" * 7, market, tmp_path)


def test_a_blank_line_does_not_move_the_place(market: ChainMarket, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 4: the quantity"):
        read("symbol,quantity\n\nBTC,1\nBTC,x\n", market, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("symbol,quantity\n", "at least one position, got none"),
        ("symbol,quantity\n,\n,\n", "at least one position, got none"),
        ("symbol;quantity\nBTC;1\n", r"a book has the columns symbol, quantity.*separated by semicolons\?"),
        ("symbol;quantity\nBTC;1,5\n", r"line 2: 1 fields.* got 2: 'BTC;1,5'; separated by semicolons\?"),
        ("symbol,amount\nBTC,1\n", "a book has the columns symbol, quantity"),
        ("symbol,Symbol,quantity\nBTC,BTC,1\n", "each once"),
        ("portfolio,symbol,quantity\n,BTC,1\n", "line 2: the portfolio is blank"),
    ],
)
def test_a_book_without_what_it_needs_is_refused(text: str, said: str, market: ChainMarket, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read(text, market, tmp_path)


@pytest.mark.parametrize("row", ["BTC,1,5", "BTC,1,000", "BTC,1,", "BTC,1,2,3"])
@pytest.mark.parametrize("before", ["", "BTC,1\n", "\nBTC,2\n"])
def test_a_field_too_many_is_refused_with_its_line(before: str, row: str, market: ChainMarket, tmp_path: Path) -> None:
    fields, line = row.count(",") + 1, 2 + before.count("\n")
    with pytest.raises(DataError, match=rf"book\.csv: line {line}: 2 fields, .* got {fields}: '{row}'$"):
        read(f"symbol,quantity\n{before}{row}\nBTC,1\n", market, tmp_path)


def test_a_file_that_cannot_be_read_is_named(market: ChainMarket, tmp_path: Path) -> None:
    (tmp_path / "book.csv").write_bytes(b"\xff\xff")
    for name in ("book.csv", "none.csv"):
        with pytest.raises(SourceError, match=rf"{name}: a book must be a CSV file"):
            read_book(tmp_path / name, market)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(SYMBOLS), st.integers(-50, 50)), min_size=1, max_size=12
    ),
    seed=st.integers(0, 9),
)
def test_no_row_is_lost_whatever_the_order(market: ChainMarket, rows: list[tuple[str, str, int]], seed: int) -> None:
    frame = pd.DataFrame(rows, columns=["portfolio", "symbol", "quantity"])
    wanted = frame.groupby(["portfolio", "symbol"])["quantity"].sum()
    for table in (frame, frame.sample(frac=1.0, random_state=seed)):
        book = read_book(table, market).book
        told = {
            (portfolio, one.symbol): quantity
            for portfolio, row in zip(book.portfolios, np.asarray(book.quantity).tolist(), strict=True)
            for one, quantity in zip(book.instruments, row, strict=True)
            if quantity
        }
        assert told == wanted[wanted != 0].to_dict()
