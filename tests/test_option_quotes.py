"""Is a chain of any venue read right, and what cannot be right named and left out?"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data import DataError
from data.option_quotes import OptionQuotes, read_chain

SHARED = Path(__file__).parents[2] / "shared" / "data"
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference folder beside the checkout is absent")

GOOD: dict[str, Any] = {
    "time": "2026-01-01T00:00:00Z",
    "underlying": "BTC",
    "strike": 100_000.0,
    "expiry": "2026-01-31T08:00:00Z",
    "right": "call",
    "forward": 100_000.0,
    "bid": 5_000.0,
    "ask": 5_200.0,
    "mark": 5_100.0,
    "volatility": 0.45,
    "spot": 99_500.0,
}


def _chain(*changes: dict[str, Any], **every: Any) -> pd.DataFrame:
    """One good quote named GOOD, and one a change, named by its place."""
    rows = [GOOD | every | {"symbol": "GOOD"}]
    rows += [GOOD | every | {"symbol": f"BAD-{n}"} | change for n, change in enumerate(changes)]
    return pd.DataFrame(rows)


def _only(frame: pd.DataFrame) -> OptionQuotes:
    (quotes,) = read_chain(frame).values()
    return quotes


# What is read


def test_a_plain_frame_is_read_as_it_stands() -> None:
    quotes = _only(_chain({"symbol": "PUT", "right": "P", "strike": 90_000, "bid": 0.0, "mark": 900.0}))
    assert (quotes.underlying, str(quotes.time), quotes.spot) == ("BTC", "2026-01-01T00:00:00.000000000", 99_500.0)
    assert quotes.symbol.tolist() == ["GOOD", "PUT"]
    assert quotes.call.tolist() == [True, False]
    assert quotes.tenor() == pytest.approx((30 + 8 / 24) / 365.25)
    assert quotes.tenor(365) == pytest.approx((30 + 8 / 24) / 365)
    assert quotes.log_moneyness == pytest.approx([0.0, np.log(0.9)])
    assert np.isnan(quotes.bid).tolist() == [False, True]
    assert quotes.mark_volatility.tolist() == [0.45, 0.45]
    assert quotes.remarks == ("volatility read as a fraction: its median is 0.45",)
    assert not quotes.inverse
    assert quotes.quarantine.empty


def test_prices_in_coin_are_counted_at_the_forward() -> None:
    quotes = _only(_chain(bid=0.05, ask=0.052, mark=0.051, inverse=True))
    assert (quotes.bid[0], quotes.ask[0], quotes.mark[0]) == pytest.approx((5_000, 5_200, 5_100))
    assert quotes.inverse


def test_underlyings_are_told_apart() -> None:
    chain = read_chain(_chain({"symbol": "E", "underlying": "ETH", "spot": 99_000.0}))
    assert {name: (quotes.symbol.tolist(), quotes.spot) for name, quotes in chain.items()} == {
        "BTC": (["GOOD"], 99_500.0),
        "ETH": (["E"], 99_000.0),
    }


def test_percent_is_known_by_its_size_and_said() -> None:
    quotes = _only(_chain({"symbol": "X", "volatility": 60.0}, volatility=45.0))
    assert quotes.mark_volatility.tolist() == [0.45, 0.60]
    assert quotes.remarks == ("volatility read as percent: its median is 52.5",)


def test_without_a_spot_the_nearest_forward_stands_in_and_that_is_said() -> None:
    later = {"symbol": "LATER", "expiry": "2026-03-27T08:00:00Z", "forward": 101_000.0}
    quotes = _only(_chain(later).drop(columns="spot"))
    assert quotes.spot == 100_000.0
    assert any("no spot" in remark for remark in quotes.remarks)


def test_a_chain_is_taken_at_an_instant() -> None:
    frame = _chain({"symbol": "GOOD", "time": "2026-01-01T00:30:00Z", "mark": 5_150.0})
    assert _only(frame).mark.tolist() == [5_150.0]
    assert read_chain(frame, at="2026-01-01T00:10:00")["BTC"].mark.tolist() == [5_100.0]


@pytest.mark.parametrize(("minutes", "said"), [(1, "00:01:00 "), (5, "00:05:00 "), (7, "00:05:00 and 2 later ")])
def test_the_instants_are_told_where_none_is_early_enough(minutes: int, said: str) -> None:
    frame = pd.concat([_chain(time=f"2026-01-01T00:{minute:02d}:00Z") for minute in range(1, minutes + 1)])
    with pytest.raises(DataError, match=rf"none as early as 2025-12-31T23:00:00; instants are .*{said}\(UTC\)$"):
        read_chain(frame, at="2025-12-31T23:00")
    assert len(read_chain(frame, at="2026-01-01T00:01:00")["BTC"]) == 1


def test_a_file_and_its_frame_are_read_alike(tmp_path: Path) -> None:
    frame = _chain({"symbol": "PUT", "right": "put", "mark": 5_000.0})
    frame.to_csv(tmp_path / "chain.csv.gz", index=False)
    told, expected = read_chain(tmp_path / "chain.csv.gz")["BTC"], _only(frame)
    assert told.symbol.tolist() == expected.symbol.tolist()
    np.testing.assert_array_equal(told.mark, expected.mark)
    np.testing.assert_array_equal(told.expiry, expected.expiry)


@pytest.mark.parametrize("name", ["chain.csv", "chain.csv.gz"])
@pytest.mark.parametrize("surplus", [(1,), (2,), (1, 2, 3)])
def test_a_field_too_many_shifts_no_column(surplus: tuple[int, ...], name: str, tmp_path: Path) -> None:
    lines = _chain({"symbol": "PUT", "right": "put"}, {"symbol": "X"}).to_csv(index=False).splitlines()
    text = "\n".join(f"{line}," if n in surplus else line for n, line in enumerate(lines))
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    else:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name}: line {surplus[0] + 1}: 12 fields, .* got 13: '2026-01-01T00:00:00Z"):
        read_chain(tmp_path / name)


def test_semicolons_are_asked_about(tmp_path: Path) -> None:
    _chain().to_csv(tmp_path / "chain.csv", index=False, sep=";")
    with pytest.raises(DataError, match=r"of no known option chain: .*separated by semicolons\?"):
        read_chain(tmp_path / "chain.csv")


def test_a_deribit_snapshot_is_known_by_its_columns() -> None:
    quotes = _only(
        pd.DataFrame(
            {
                "timestamp": "2026-01-05T04:11:27.551698+00:00",
                "instrument_name": ["BTC-16JAN26-82000-C"],
                "currency": "BTC",
                "underlying": 92_962.85,
                "strike": 82_000.0,
                "expiry_datetime": "2026-01-16T08:00:00+00:00",
                "option_type": "call",
                "bid_price": 0.1185,
                "ask_price": 0.127,
                "mark_price": 0.12101857,
                "implied_volatility": 0.5124,
                "index_price": 92_791.88,
            }
        )
    )
    assert quotes.inverse
    assert (quotes.forward[0], quotes.spot, quotes.mark_volatility[0]) == (92_962.85, 92_791.88, 0.5124)
    assert quotes.mark[0] == pytest.approx(0.12101857 * 92_962.85)


TARDIS = {
    "exchange": "deribit",
    "symbol": "BTC-9JUN20-9875-P",
    "timestamp": 1_591_574_399_413_000,
    "type": "put",
    "strike_price": 9_875,
    "expiration": 1_591_689_600_000_000,
    "bid_price": 0.0205,
    "ask_price": 0.0235,
    "mark_price": 0.02210436,
    "mark_iv": 62.89,
    "underlying_price": 9_756.36,
}


def test_a_tardis_chain_counts_in_microseconds_coin_and_percent() -> None:
    quotes = _only(pd.DataFrame([TARDIS]))
    assert str(quotes.expiry[0]) == "2020-06-09T08:00:00.000000000"
    assert quotes.mark[0] == pytest.approx(0.02210436 * 9_756.36)
    assert (quotes.mark_volatility[0], quotes.inverse) == (0.6289, True)


def test_a_tardis_chain_in_dollars_and_one_of_an_unknown_exchange() -> None:
    linear = TARDIS | {"symbol": "BTC_USDC-9JUN20-9875-P", "bid_price": 200, "ask_price": 230, "mark_price": 215}
    (quotes,) = read_chain(pd.DataFrame([linear])).values()
    assert (quotes.underlying, quotes.inverse, quotes.mark[0]) == ("BTC_USDC", False, 215)
    with pytest.raises(DataError, match=r"exchange must be one of .* got .'somewhere'"):
        read_chain(pd.DataFrame([TARDIS | {"exchange": "somewhere"}]))


# What is left out

FAULTS: dict[str, dict[str, Any]] = {
    "unknown right": {"right": "both"},
    "strike not positive": {"strike": 0.0},
    "missing expiry": {"expiry": "soon"},
    "expired": {"expiry": "2025-12-31T08:00:00Z"},
    "missing forward": {"forward": np.nan},
    "negative quote": {"bid": -1.0},
    "infinite quote": {"ask": np.inf},
    "crossed quotes": {"bid": 5_300.0},
    "volatility not positive": {"volatility": 0.0},
    "mark below intrinsic": {"strike": 80_000.0, "mark": 19_900.0, "bid": 19_000.0, "ask": 21_000.0},
    "mark above its bound": {"mark": 100_100.0, "ask": 100_200.0},
    "ask below intrinsic": {"strike": 80_000.0, "mark": np.nan, "bid": 19_000.0, "ask": 19_500.0},
    "bid above its bound": {"mark": np.nan, "bid": 100_100.0, "ask": 100_200.0},
    "stale quote": {"time": "2025-12-31T22:00:00Z"},
    "missing instant": {"time": None},
}


@pytest.mark.parametrize("rule", FAULTS)
def test_a_faulty_row_is_named_and_the_others_stay(rule: str) -> None:
    quotes = _only(_chain(FAULTS[rule]))
    assert quotes.symbol.tolist() == ["GOOD"]
    assert quotes.quarantine.to_dict("records") == [{"row": 1, "symbol": "BAD-0", "rule": rule}]


def test_all_faults_at_once_are_all_named() -> None:
    quotes = _only(_chain(*FAULTS.values()))
    assert quotes.symbol.tolist() == ["GOOD"]
    assert quotes.quarantine["rule"].tolist() == list(FAULTS)
    assert quotes.quarantine["row"].tolist() == list(range(1, len(FAULTS) + 1))


def test_a_row_without_a_volatility_is_left_out_where_others_have_one() -> None:
    quotes = _only(_chain({"volatility": np.nan}))
    assert quotes.quarantine["rule"].tolist() == ["volatility not positive"]
    assert len(_only(_chain({"symbol": "X"}).drop(columns="volatility"))) == 2


def test_a_row_without_any_price_is_left_out() -> None:
    bare = _chain({"mark": np.nan, "bid": np.nan}).drop(columns="volatility")
    assert _only(bare).quarantine["rule"].tolist() == ["no price"]


def test_of_a_symbol_quoted_twice_the_last_stands() -> None:
    quotes = _only(_chain({"symbol": "GOOD", "mark": 5_111.0}))
    assert quotes.mark.tolist() == [5_111.0]
    assert quotes.quarantine.to_dict("records") == [{"row": 0, "symbol": "GOOD", "rule": "duplicate symbol"}]


def test_a_faulty_repeat_does_not_push_out_the_good_quote() -> None:
    quotes = _only(_chain({"symbol": "GOOD", "bid": 5_300.0}))
    assert quotes.mark.tolist() == [5_100.0]
    assert quotes.quarantine["rule"].tolist() == ["crossed quotes"]


def test_a_row_of_no_underlying_is_in_every_quarantine() -> None:
    chain = read_chain(_chain({"underlying": None}, {"underlying": "ETH", "symbol": "E"}))
    for quotes in chain.values():
        assert quotes.quarantine.to_dict("records") == [{"row": 1, "symbol": "BAD-0", "rule": "missing underlying"}]


def test_rounding_of_a_mark_against_its_forward_is_no_fault() -> None:
    quotes = _only(_chain({"strike": 80_000.0, "mark": 19_995.0, "bid": 19_000.0, "ask": 21_000.0}))
    assert quotes.quarantine.empty


def test_an_underlying_of_which_nothing_is_left_keeps_its_quarantine() -> None:
    chain = read_chain(_chain({"underlying": "ETH", "forward": np.nan}))
    assert len(chain["BTC"]) == 1
    assert len(chain["ETH"]) == 0
    assert chain["ETH"].quarantine["rule"].tolist() == ["missing forward"]


# What is refused


def test_a_chain_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(DataError, match=r"got none of 2 rows.*'missing forward': 2"):
        read_chain(_chain({}, forward=np.nan))


def test_columns_of_no_known_chain_are_refused_with_what_they_lack() -> None:
    with pytest.raises(DataError, match=r"frame: .* the plain columns lacks \['expiry'\]"):
        read_chain(_chain().drop(columns="expiry"))


def test_coin_and_dollars_in_one_underlying_are_refused() -> None:
    with pytest.raises(DataError, match="settled in coin or in dollars, got both"):
        read_chain(_chain({"inverse": True}, inverse=False))


# Real files


@NEEDS_SHARED
@pytest.mark.shared
def test_a_real_tardis_file_is_read() -> None:
    path = "nautechsystems+nautilus_trader/crates/adapters/tardis/test_data/options_chain.csv"
    chain = read_chain(SHARED / path)
    assert {name: len(quotes) for name, quotes in chain.items()} == {"BTC": 3, "ETH": 2}
    assert chain["BTC"].quarantine["rule"].tolist() == ["duplicate symbol"] * 2
    assert "volatility read as percent: its median is 62.86" in chain["BTC"].remarks
