"""Is any data frame read once its columns are given their names?"""

import numpy as np
import pandas as pd
import pytest

from data import DataError, ParameterError
from data.records import BARS, OPTIONS, QUOTES, TRADES, UNKNOWN
from data.sources.frames_mapped import from_frame

OHLC = {name: name.upper() for name in ("open", "high", "low", "close")}
FIGURES = {"OPEN": [1.0, 2], "HIGH": [3.0, 4], "LOW": [0.5, 1], "CLOSE": [2, 3]}


@pytest.mark.parametrize(
    ("stamps", "tz"),
    [
        ([1704067200, 1704067201], "UTC"),
        ([1704067200000.0, 1704067201000.0], "UTC"),
        (["2024-01-01", "2024-01-01 00:00:01"], "UTC"),
        (["2024-01-01 01:00:00", "2024-01-01 00:00:01Z"], "Europe/Paris"),
        (pd.to_datetime(["2024-01-01 00:00:00", "2024-01-01 00:00:01"]), "UTC"),
        (pd.to_datetime(["2024-01-01 03:00:00", "2024-01-01 03:00:01"]), "Europe/Istanbul"),
        (
            pd.to_datetime(["2024-01-01 00:00:00", "2024-01-01 00:00:01"], utc=True).tz_convert("Asia/Tokyo"),
            "Europe/Paris",
        ),
    ],
)
def test_stamps_of_every_kind(stamps: object, tz: str) -> None:
    frame = pd.DataFrame({"ts": stamps, "p": [1, 2], "q": [1, 2], "s": [1, -1]})
    records = from_frame(
        frame, TRADES, {"time": "ts", "price": "p", "size": "q", "side": "s"}, venue="mine", symbol="X", tz=tz
    )
    expected = np.array(["2024-01-01T00:00:00", "2024-01-01T00:00:01"], "datetime64[ns]")
    np.testing.assert_array_equal(records["time"], expected)


def test_figures_words_and_numbers() -> None:
    frame = pd.DataFrame(
        {"p": ["1.5", "x", None], "q": [1, 2, 3], "s": ["Buy", None, "huh"], "n": [7.0, np.nan, 1.5]},
        index=pd.DatetimeIndex(["2024-01-01", "2024-01-02", "NaT"], name="when"),
    )
    mapping = {"time": "when", "price": "p", "size": "q", "side": "s", "id": "n"}
    records = from_frame(frame, TRADES, mapping, venue="mine", symbol="X")
    np.testing.assert_array_equal(records["price"], [1.5, np.nan, np.nan])
    assert records["side"].tolist() == [1, 0, -128]
    assert records["id"].tolist() == [7, UNKNOWN, UNKNOWN]
    assert np.isnat(records["time"]).tolist() == [False, False, True]
    assert (records.row.tolist(), records.venue, records.symbol) == ([1, 2, 3], "mine", "X")
    sides = from_frame(frame.assign(s=[1, 2, np.nan]), TRADES, mapping, venue="mine", symbol="X")["side"]
    assert sides.tolist() == [1, -128, 0]


def test_bars_that_tell_one_of_their_ends() -> None:
    frame = pd.DataFrame({"at": ["2024-01-01 00:00", "2024-01-01 01:00"], **FIGURES})
    opened = from_frame(frame, BARS, {"opened": "at", **OHLC}, venue="v", symbol="s", step="1h")
    ended = from_frame(frame, BARS, {"time": "at", **OHLC}, venue="v", symbol="s", step="1h")
    hour = np.timedelta64(1, "h")
    np.testing.assert_array_equal(opened["time"], opened["opened"] + hour)
    np.testing.assert_array_equal(ended["time"], opened["opened"])
    np.testing.assert_array_equal(ended["opened"], opened["opened"] - hour)


def test_options() -> None:
    frame = pd.DataFrame(
        {
            "t": ["2024-01-01"] * 2,
            "name": ["A", None],
            "u": "BTC",
            "k": [1, 2],
            "e": [1704067200] * 2,
            "cp": ["C", "put"],
        }
    )
    mapping = {"time": "t", "symbol": "name", "underlying": "u", "strike": "k", "expiry": "e", "call": "cp"}
    records = from_frame(frame, OPTIONS, mapping, venue="v", symbol="BTC")
    assert records["call"].tolist() == [True, False]
    assert records["symbol"].tolist() == ["A", None]
    with pytest.raises(DataError, match=r"call must be true or false.*got \['x'\]"):
        from_frame(frame.assign(cp=["C", "x"]), OPTIONS, mapping, venue="v", symbol="BTC")


def test_what_cannot_be_mapped_is_refused() -> None:
    frame = pd.DataFrame({"t": [1704067200], "b": [1.0], "a": [2.0]})
    with pytest.raises(ParameterError, match=r"lacking \['ask'\], got also \['foo'\]"):
        from_frame(frame, QUOTES, {"time": "t", "bid": "b", "foo": "a"}, venue="v", symbol="s")
    with pytest.raises(DataError, match=r"expected one column each of \['c'\], got \['t', 'b', 'a'\]"):
        from_frame(frame, QUOTES, {"time": "t", "bid": "b", "ask": "c"}, venue="v", symbol="s")
    doubled = pd.concat([frame, frame[["a"]]], axis=1)
    with pytest.raises(DataError, match=r"expected one column each of \['a'\]"):
        from_frame(doubled, QUOTES, {"time": "t", "bid": "b", "ask": "a"}, venue="v", symbol="s")
    bars = pd.DataFrame({"at": ["2024-01-01"] * 2, **FIGURES})
    for step in ("huh", "-1h"):
        with pytest.raises(ParameterError, match="step must be a duration"):
            from_frame(bars, BARS, {"opened": "at", **OHLC}, venue="v", symbol="s", step=step)
