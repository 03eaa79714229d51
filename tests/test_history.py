from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data import Clock, Coverage, DataError, HistoryError, MarketHistory, ParameterError
from data.clock import infer_clock
from data.quality import check

DAYS = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-04"])
GAP = MarketHistory.from_frame(pd.DataFrame({"X": [100.0, 110.0, 121.0]}, index=DAYS))


def frame(prices: list[float], start: str = "2024-01-01", freq: str = "D", name: str = "X") -> pd.DataFrame:
    return pd.DataFrame({name: prices}, index=pd.date_range(start, periods=len(prices), freq=freq))


def test_a_gap_never_makes_a_two_day_return_a_one_day_one() -> None:
    assert_allclose(GAP.returns(Coverage(0.99, "1D"))[:, 0], [0.1, np.nan, np.nan])
    assert_allclose(GAP.returns(Coverage(0.99, "2D"))[:, 0], [np.nan, 0.1])


def test_what_is_off_the_clock_or_no_multiple_of_it_is_refused() -> None:
    with pytest.raises(HistoryError, match="whole number of clock steps"):
        GAP.returns(Coverage(0.99, "36h"))
    with pytest.raises(HistoryError, match=r"must lie on a 2D clock .* 2024-01-02.* at row 1"):
        MarketHistory.from_frame(pd.DataFrame({"X": [1.0, 1.0, 1.0]}, index=DAYS), clock="2D")


def test_a_weekend_is_one_step_and_a_missing_session_a_hole() -> None:
    days = pd.to_datetime(["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-10"])  # Thu, Fri, Mon, Wed
    history = MarketHistory.from_frame(pd.DataFrame({"X": [100.0, 110.0, 121.0, 133.1]}, index=days), clock="1B")
    assert_allclose(history.returns(Coverage(0.99, "1B"))[:, 0], [0.1, 0.1, np.nan, np.nan])
    assert_allclose(history.returns(Coverage(0.99, "2B"))[:, 0], [0.21, np.nan, 0.1])


def test_a_holiday_is_no_session() -> None:
    clock = Clock("1B", ("2024-01-09",))
    days = pd.to_datetime(["2024-01-08", "2024-01-10"])
    history = MarketHistory.from_frame(pd.DataFrame({"X": [100.0, 110.0]}, index=days), clock=clock)
    assert_allclose(history.returns(Coverage(0.99, "1B"))[:, 0], [0.1])
    with pytest.raises(HistoryError, match="2024-01-09"):
        MarketHistory.from_frame(
            pd.DataFrame({"X": [1.0, 1.0]}, index=pd.to_datetime(["2024-01-08", "2024-01-09"])), clock
        )


def test_time_and_sessions_are_not_mixed_up() -> None:
    sessions = MarketHistory.from_frame(frame([1.0] * 3, "2024-01-01"), clock="1B")
    with pytest.raises(HistoryError, match="counts its horizon in sessions"):
        sessions.returns(Coverage(0.99, "1D"))
    with pytest.raises(HistoryError, match="counts its horizon in steps of 1D"):
        GAP.returns(Coverage(0.99, "1B"))
    for wrong in ("2B", "0D", "soon", "-1h"):
        with pytest.raises(ParameterError):
            Clock(wrong)


def test_the_clock_is_read_off_the_stamps() -> None:
    assert infer_clock(pd.date_range("2024-01-01", periods=30, freq="B").to_numpy("datetime64[ns]")) == Clock("1B")
    assert infer_clock(pd.date_range("2024-01-01", periods=30).to_numpy("datetime64[ns]")) == Clock("1D")
    assert infer_clock(pd.date_range("2024-01-01", periods=30, freq="30min").to_numpy("datetime64[ns]")) == Clock(
        "30min"
    )
    holed = pd.date_range("2024-01-01", periods=99, freq="h").delete([5, 6, 50])
    assert infer_clock(holed.to_numpy("datetime64[ns]")) == Clock("1h")


def test_a_frame_in_local_time_becomes_utc() -> None:
    closes = frame([1.0, 1.0], "2024-01-01 08:00", "h")
    assert MarketHistory.from_frame(closes, tz="Asia/Singapore").time[0] == np.datetime64("2024-01-01T00:00")
    aware = closes.tz_localize("America/New_York")
    assert MarketHistory.from_frame(aware).time[0] == np.datetime64("2024-01-01T13:00")


def test_naive_intraday_stamps_are_refused_and_dates_are_not() -> None:
    with pytest.raises(DataError, match=r"need a zone, got naive ones \(2024-01-01 00:00:00\)"):
        MarketHistory.from_frame(frame([1.0, 1.0], freq="h"))
    assert len(MarketHistory.from_frame(frame([1.0, 1.0]))) == 2


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ([1.0, np.nan, 1.0], r"known .* got nan for X at row 1, 2024-01-02"),
        ([1.0, np.inf, 1.0], r"finite, got inf for X at row 1"),
        ([1.0, 1.0, -37.63], r"positive, got -37.63 for X at row 2"),
        ([1.0, 0.0, 0.0], r"stated default.*got 0.0 for X at row 1"),
    ],
)
def test_a_price_that_cannot_be_is_refused_with_its_place(prices: list[float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        MarketHistory.from_frame(frame(prices))


def test_stamps_that_cannot_be_are_refused_with_their_place() -> None:
    closes = frame([1.0, 2.0, 3.0])
    for order, said in (
        ([0, 1, 1], "duplicate 2024-01-02.* at row 2"),
        ([0, 2, 1], "out of order 2024-01-02.* at row 2"),
    ):
        with pytest.raises(DataError, match=said):
            MarketHistory.from_frame(closes.iloc[order])
    with pytest.raises(DataError, match="labelled by instants"):
        MarketHistory.from_frame(closes.reset_index(drop=True))
    with pytest.raises(DataError, match="at least one row"):
        MarketHistory.from_frame(closes.iloc[:0], clock="1D")
    with pytest.raises(DataError, match=r"must be numbers, got (object|str)"):
        MarketHistory.from_frame(closes.astype(str))


def test_instants_that_no_clock_can_hold_are_refused() -> None:
    far = pd.DataFrame({"X": [1.0, 1.0]}, index=pd.DatetimeIndex(["2500-01-01", "2500-01-02"]).as_unit("s"))
    with pytest.raises(DataError, match=r"must lie in 1678\.\.2261"):
        MarketHistory.from_frame(far)
    sparse = pd.DataFrame(
        {"X": 1.0}, index=pd.to_datetime(["2024-01-01 00:00:00.000", "2024-01-01 00:00:00.001", "2025"], format="mixed")
    )
    with pytest.raises(HistoryError, match="mostly holes on a 1000000ns clock"):
        MarketHistory.from_frame(sparse, tz="UTC")
    twice = frame([1.0, 2.0], "2024-10-27 01:30", "h").tz_localize(None)
    with pytest.raises(DataError, match="zone 'Europe/Berlin'"):
        MarketHistory.from_frame(twice, tz="Europe/Berlin")
    with pytest.raises(DataError, match="zone 'Mars/Olympus'"):
        MarketHistory.from_frame(twice, tz="Mars/Olympus")


def test_words_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ParameterError, match="'refuse' or 'hole', got 'drop'"):
        MarketHistory.from_frame(frame([1.0, 2.0]), missing="drop")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="default of 'X' must be an instant"):
        MarketHistory.from_frame(frame([1.0, 2.0]), defaults={"X": "someday"})


def test_a_blank_is_a_hole_where_one_says_so() -> None:
    history = MarketHistory.from_frame(frame([1.0, np.nan, 1.1]), missing="hole")
    assert_array_equal(np.isnan(history.spot[:, 0]), [False, True, False])


def test_an_asset_that_dies_loses_everything_once_and_nothing_after() -> None:
    closes = pd.DataFrame({"LUNA": [80.0, 40.0, 0.1, 0.1], "X": 1.0}, index=pd.date_range("2022-05-08", periods=4))
    history = MarketHistory.from_frame(closes, defaults={"LUNA": "2022-05-10"})
    assert_allclose(history.returns(Coverage())[:, 0], [-0.5, -1.0, 0.0])
    assert history.summary().loc["LUNA", "default"] == pd.Timestamp("2022-05-10")
    with pytest.raises(DataError, match="defaults names 'UST'"):
        MarketHistory.from_frame(closes, defaults={"UST": "2022-05-10"})


def test_one_stated_default_licenses_no_other_zero() -> None:
    closes = pd.DataFrame({"A": [1.0, 0.1, 0.1], "B": [1.0, 1.0, 0.0]}, index=pd.date_range("2022-05-08", periods=3))
    with pytest.raises(DataError, match=r"stated default.*got 0.0 for B at row 2"):
        MarketHistory.from_frame(closes, defaults={"A": "2022-05-10"})


def test_a_price_after_a_default_is_refused() -> None:
    with pytest.raises(DataError, match="stated default"):
        MarketHistory(GAP.time, ("X",), np.array([[1.0], [0.0], [np.nan], [2.0]]), GAP.clock)


def test_rows_are_read_only_views() -> None:
    cut = GAP.rows(0, 2)
    assert np.shares_memory(cut.spot, GAP.spot)
    with pytest.raises(ValueError, match="read-only"):
        cut.spot[0, 0] = 1.0
    with pytest.raises(HistoryError, match="no now"):
        _ = GAP.rows(0, 0).now


def test_returns_in_coin_are_dollar_returns_at_the_later_rate() -> None:
    closes = pd.DataFrame({"BTC": [100.0, 80.0], "ETH": [10.0, 9.0]}, index=pd.date_range("2024-01-01", periods=2))
    coin = MarketHistory.from_frame(closes).valued_in("BTC")
    moves = coin.returns(Coverage(numeraire="BTC"))
    assert_allclose(moves, [[-0.2 / 0.8, -0.1 / 0.8]])
    assert coin.now.rate == 80.0
    with pytest.raises(HistoryError, match=r"valued_in\('USD'\)"):
        coin.returns(Coverage())
    with pytest.raises(DataError, match="no rate for the numeraire 'EUR'"):
        coin.valued_in("EUR")


def test_a_currency_with_a_rate_is_a_numeraire() -> None:
    history = MarketHistory(GAP.time, ("X",), GAP.spot, GAP.clock, fx={"EUR": np.array([1.0, 1.1, 1.1, 1.2])})
    moves = history.valued_in("EUR").returns(Coverage(numeraire="EUR"))
    assert_allclose(moves[0], (1.1 - 1.0) / 1.1)


def test_panels_are_laid_on_the_same_clock_and_share_the_labels_of_the_closes() -> None:
    closes = pd.DataFrame({"X": [100.0, 110.0, 121.0]}, index=DAYS)
    history = MarketHistory.from_frame(closes, volume=closes * 2)
    assert history.volume is not None
    assert_allclose(history.volume[:, 0], [200, 220, np.nan, 242])
    with pytest.raises(DataError, match="must have the labels of the closes"):
        MarketHistory.from_frame(closes, high=closes.rename(columns={"X": "Y"}))
    with pytest.raises(DataError, match="must have the shape"):
        MarketHistory(GAP.time, ("X", "Y"), GAP.spot, GAP.clock)


def test_odd_prices_are_flagged_by_name() -> None:
    prices = np.array([[100.0], [100.0], [1000.0], [100.0], *([[101.0]] * 25), [np.nan], [0.0]])
    time = np.datetime64("2024-01-01", "ns") + np.arange(len(prices)) * np.timedelta64(1, "D")
    found = {one.check: one for one in check(prices, time, ["X"])}
    assert set(found) == {"spike", "stale", "hole", "zero"}
    assert found["spike"].first == "2024-01-03T00:00:00"
    assert found["stale"].count == 5
    assert check(prices[:1], time[:1], ["X"]) == []


def test_coverage_refuses_what_it_cannot_mean() -> None:
    for wrong in ({"level": 0.4}, {"level": 1.0}, {"horizon": "-1D"}, {"horizon": "soon"}, {"path": "middle"}):
        with pytest.raises(ParameterError):
            Coverage(**wrong)


def test_a_surface_or_curve_that_is_none_is_refused_with_its_place() -> None:
    history = MarketHistory.from_frame(frame([1.0, 2.0]))
    smile = [0.25, 0.0, 0.04, 0.0, 0.0, 0.0, 1.0]
    good = np.tile(np.array([[smile, [1.0, *smile[1:]]]]), (2, 1, 1, 1))
    assert replace(history, surfaces=good, implied="quotes").now.surface is not None
    curves = np.array([[[[0.5, 0.1, 0.0], [0.5, 0.1, 0.0]]]] * 2)
    with pytest.raises(DataError, match=r"curves of X at 2024-01-01.* must have finite figures, tenors rising"):
        replace(history, curves=curves)
    holed = good.copy()
    holed[0, 0, 0, 3] = np.nan  # unknown is not wrong
    assert replace(history, surfaces=holed, implied="quotes").implied_changes(Coverage()).tolist() == [[0.0]]


def test_a_weekend_takes_three_days_and_an_hour_an_hour() -> None:
    friday = MarketHistory(np.array(["2024-01-05"], dtype="datetime64[ns]"), ("X",), np.ones((1, 1)), Clock("1B"))
    assert friday.now.years_ahead(Coverage(horizon="1B")) * 365.25 == 3.0
    hourly = MarketHistory(np.array(["2024-01-05"], dtype="datetime64[ns]"), ("X",), np.ones((1, 1)), Clock("1h"))
    assert hourly.now.years_ahead(Coverage(horizon="8h")) * 365.25 * 24 == pytest.approx(8.0)


def test_who_gave_the_figures_cannot_change_the_history() -> None:
    time = np.datetime64("2024-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D")
    given, rate, stamps = np.full((4, 2), 100.0), np.ones(4), time.copy()
    window = given[:, :1]
    window.flags.writeable = False  # a view that is read-only says nothing of what it looks at
    for spot in (given[:, :1], window):
        history = MarketHistory(stamps, ("X",), spot, fx={"EUR": rate})
        given[2], rate[2], stamps[2] = -1.0, -1.0, time[0]
        assert_array_equal(history.spot, 100.0)
        assert_array_equal(history.fx["EUR"], 1.0)
        assert_array_equal(history.time, time)
        given[2], rate[2], stamps[2] = 100.0, 1.0, time[2]


def test_what_is_sealed_is_not_copied_again() -> None:
    time = np.datetime64("2024-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D")
    history = MarketHistory(time, ("X",), np.full((4, 1), 100.0))
    assert np.shares_memory(replace(history, source="again").spot, history.spot)
    assert np.shares_memory(history.rows(1, 3).spot, history.spot)
