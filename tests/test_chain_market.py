"""Is a chain's market what the chain says, and nothing that was quarantined?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chain_files import CARRY, EXPIRIES, TIME, chain_frame, chain_market_of, volatility, years
from data import DataError, Listing, SourceError
from data.chain_market import ChainMarket, chain_market, read_chain_market
from data.option_quotes import read_chain
from data.surface import implied_volatility
from data.valuation import prices


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> ChainMarket:
    return chain_market_of(tmp_path_factory.mktemp("chain"))


def of(*frames: pd.DataFrame) -> ChainMarket:
    return chain_market({name: quotes for frame in frames for name, quotes in read_chain(frame).items()})


def test_the_instant_spot_and_where_volatility_is_from(market: ChainMarket) -> None:
    state = market.state
    assert (str(state.time), state.underlyings, state.implied) == (f"{TIME[:-1]}.000000000", ("BTC", "ETH"), "quotes")
    assert state.spot.tolist() == [100_000.0, 3_000.0]
    assert len(market.history) == 1
    assert market.quarantine.empty
    assert repr(market) == "ChainMarket(BTC, ETH; 2026-01-05T04:00 UTC; 56 options, 0 left out)"


def test_an_option_is_worth_its_mark_in_dollars_of_now(market: ChainMarket) -> None:
    for underlying, inverse in (("BTC", True), ("ETH", False)):
        frame = chain_frame(*((underlying, 100_000.0) if inverse else (underlying, 3_000.0)), inverse=inverse)
        listing = Listing(tuple(market.contracts[symbol] for symbol in frame["symbol"]))
        coin = 100_000.0 if inverse else 1.0
        np.testing.assert_allclose(prices(listing, market.state), frame["mark"] * coin, rtol=1e-12)


def test_the_surface_and_the_curve_are_those_of_the_quotes(market: ChainMarket) -> None:
    surface = market.state.surface
    assert surface is not None
    for expiry in EXPIRIES.values():
        k = np.array([-0.2, 0.0, 0.2])
        told = implied_volatility(surface[0], k, np.full(3, years(expiry)))
        np.testing.assert_allclose(told, volatility(k), atol=2e-3)
    for symbol, spot in (("BTC-27MAR26", 100_000.0), ("ETH-16JAN26", 3_000.0)):
        tenor = years(EXPIRIES[symbol[4:]])
        told = prices(Listing((market.contracts[symbol],)), market.state)
        assert told == pytest.approx(spot * np.exp(CARRY * tenor), rel=1e-9)


@pytest.mark.parametrize(
    ("symbol", "kind", "settlement"),
    [
        ("BTC", "spot", "linear"),
        ("BTC-PERP", "perpetual", "linear"),
        ("BTC-PERPETUAL", "perpetual", "inverse"),
        ("BTC-16JAN26", "future", "inverse"),
        ("BTC-16JAN26-100000-C", "option", "inverse"),
        ("ETH", "spot", "linear"),
        ("ETH-PERP", "perpetual", "linear"),
        ("ETH-PERPETUAL", "perpetual", "linear"),
        ("ETH-27MAR26", "future", "linear"),
        ("ETH-27MAR26-3000-P", "option", "linear"),
    ],
)
def test_what_can_be_held(market: ChainMarket, symbol: str, kind: str, settlement: str) -> None:
    one = market.contracts[symbol]
    assert (one.kind, one.settlement, one.multiplier, one.day_count) == (kind, settlement, 1.0, 365.25)
    assert (one.expiry or "")[:10] == (EXPIRIES[symbol[4:11]][:10] if kind in ("future", "option") else "")
    assert one in market.instruments


def test_what_is_quarantined_cannot_be_held_and_is_told() -> None:
    frame = chain_frame()
    frame.loc[3, "bid"] = 1.0
    market = of(frame)
    assert market.quarantine.to_dict("records") == [
        {"underlying": "BTC", "row": 3, "symbol": frame.loc[3, "symbol"], "rule": "crossed quotes"}
    ]
    assert frame.loc[3, "symbol"] not in market.contracts
    assert frame.loc[3, "symbol"] not in market.history.listed


def test_a_row_of_no_underlying_is_told_once() -> None:
    homeless = chain_frame().head(1).assign(underlying=None)
    frame = pd.concat([chain_frame(), chain_frame("ETH", 3_000.0), homeless])
    assert of(frame).quarantine[["underlying", "rule"]].to_numpy().tolist() == [["", "missing underlying"]]


def test_an_option_without_a_mark_is_priced_on_the_surface() -> None:
    frame = chain_frame()
    symbol, mark = str(frame["symbol"].iloc[7]), float(frame["mark"].iloc[7])
    frame.loc[7, "mark"] = np.nan
    market = of(frame)
    told = prices(Listing((market.contracts[symbol],)), market.state)
    assert told == pytest.approx(mark * 100_000.0, rel=0.01)


def test_instants_of_one_market_are_one_and_what_expired_meanwhile_is_left_out() -> None:
    early = chain_frame(time="2026-01-16T07:50:00Z")
    late = chain_frame("ETH", 3_000.0, time="2026-01-16T08:10:00Z")
    market = of(early, late)
    assert str(market.state.time)[:16] == "2026-01-16T08:10"
    assert set(market.quarantine["rule"]) == {"expired"}
    assert len(market.quarantine) == 14
    assert "BTC-16JAN26" not in market.contracts
    assert "BTC-27MAR26" in market.contracts


def test_an_underlying_without_a_usable_quote_is_left_out_and_said() -> None:
    market = of(pd.concat([chain_frame(), chain_frame("ETH", 3_000.0).assign(forward=np.nan)]))
    assert market.state.underlyings == ("BTC",)
    assert "ETH: no usable quote, so that nothing of it can be held" in market.remarks
    assert market.quarantine["underlying"].unique().tolist() == ["ETH"]


def test_a_future_has_a_name_where_options_have_none_of_the_usual() -> None:
    frame = chain_frame()
    frame["symbol"] = [f"option {n}" for n in range(len(frame))]
    futures = [one.symbol for one in of(frame).instruments if one.kind == "future"]
    assert futures == ["BTC-16JAN26", "BTC-27MAR26"]


def test_files_are_joined_into_one_market(tmp_path: Path, market: ChainMarket) -> None:
    chain_frame().to_csv(tmp_path / "btc.csv.gz", index=False)
    chain_frame("ETH", 3_000.0, inverse=False).to_csv(tmp_path / "eth.csv", index=False)
    told = read_chain_market([tmp_path / "btc.csv.gz", tmp_path / "eth.csv"])
    assert told.contracts == market.contracts
    np.testing.assert_array_equal(told.state.marks, market.state.marks)
    assert told.history.source == "btc.csv.gz, eth.csv"
    assert told.quality["underlying"].tolist() == ["BTC", "BTC", "ETH", "ETH"]


def test_what_makes_no_market_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "btc.csv"
    chain_frame().to_csv(path, index=False)
    with pytest.raises(DataError, match="an underlying must be in one chain, got BTC a second time"):
        read_chain_market([path, path])
    with pytest.raises(DataError, match="within an hour of each other, got"):
        of(chain_frame(), chain_frame("ETH", 3_000.0, time="2026-01-05T05:30:00Z"))
    (quotes,) = read_chain(chain_frame()).values()
    with pytest.raises(DataError, match=r"spot prices must be > 0, got .'BTC': 0"):
        chain_market({"BTC": replace(quotes, spot=0.0)})
    with pytest.raises(DataError, match="at least one underlying with a usable quote"):
        chain_market({})
    with pytest.raises(DataError, match="contracts must differ in symbol"):
        chain_market({"BTC": quotes, "ETH": replace(quotes, underlying="ETH")})


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b'"a\n', b"\x1f\x8bnonsense"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / ("chain.csv.gz" if content and content[:1] == b"\x1f" else "chain.csv")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((SourceError, DataError), match=r"chain\.csv"):
        read_chain_market(path)
