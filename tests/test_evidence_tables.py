"""Do the tables of disclosure, evidence and responsiveness say what a replay holds?"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backtest.e_backtests import EvidenceMonitor
from backtest.procyclicality import procyclicality
from backtest.replay import Replay
from data import Coverage, HistoryError, ParameterError
from research.evidence_tables import (
    TOGETHER,
    Evidence,
    book_rows,
    disclosed,
    disclosure_rows,
    disclosure_table,
    evidence_in_words,
    evidence_of,
    evidence_rows,
    plain,
    responsiveness_rows,
)

RATE = 0.05


def run(rows: int = 400, *, hours: int = 24, margin: float = 1.645, name: str = "model", seed: int = 1) -> Replay:
    """Standard normal losses of three books, the last without a position, charged one number."""
    loss = np.random.default_rng(seed).standard_normal((rows, 3))
    loss[:, 2] = np.nan
    time = np.datetime64("2020-01-01", "ns") + np.arange(rows) * np.timedelta64(hours, "h")
    asked = np.where(np.isnan(loss), np.nan, margin)
    end = np.asarray(time + np.timedelta64(1, "D"))
    return Replay(name, Coverage(1 - RATE), time, end, ("a", "b", "idle"), asked, asked, loss, loss)


def test_evidence_is_what_a_monitor_would_have_said_day_by_day() -> None:
    told = evidence_of(run(margin=1.0), ("b",))
    monitor = EvidenceMonitor(RATE)
    path = [
        monitor.update(loss, 1.0, stamp=str(end)) for loss, end in zip(told.loss[:, 0].tolist(), told.time, strict=True)
    ]
    np.testing.assert_allclose(told.of("b"), path, rtol=1e-9)
    crossed = {c: None if when is None else str(when) for c, when in told.crossed("b").items()}
    assert crossed == monitor.crossed
    assert crossed[10.0] is not None
    frame = told.to_frame("b")
    assert frame["evidence"].iloc[-1] == pytest.approx(monitor.evidence)
    assert str(frame.index[0]) == "2020-01-02 00:00:00+00:00"


def test_overlapping_horizons_are_no_bets_of_their_own() -> None:
    hourly = run(hours=6)
    told = evidence_of(hourly)
    assert len(told.time) == len(hourly.disjoint) == 100
    assert (told.time == hourly.end[hourly.disjoint]).all()


def test_together_is_one_stake_spread_over_the_books_and_an_idle_book_bets_nothing() -> None:
    told = evidence_of(run(margin=1.0))
    np.testing.assert_allclose(told.of(TOGETHER), told.capital.mean(axis=1))
    assert (told.of("idle") == 1.0).all()
    many = replace(told, capital=np.full_like(told.capital, np.finfo(np.float64).max))
    assert np.isfinite(many.together).all()
    with pytest.raises(ParameterError, match="no portfolio 'c'"):
        told.of("c")
    with pytest.raises(ParameterError, match=r"no portfolio \['c'\]"):
        evidence_of(run(), ("c",))


def test_a_right_margin_is_seldom_convicted_and_a_short_one_nearly_always() -> None:
    right = [evidence_rows({"m": run(seed=seed)}, "a", ("a", "b"))[0] for seed in range(60)]
    short = [evidence_rows({"m": run(margin=1.0, seed=seed)}, "a", ("a", "b"))[0] for seed in range(20)]
    assert np.mean([row["highest"] >= 10 for row in right]) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 60)
    assert np.mean([row["together"] >= 10 for row in right]) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 60)
    assert np.mean([row["highest"] >= 10 for row in short]) > 0.9
    first = short[0]
    dates = [first["crossed"][threshold] for threshold in (2.0, 5.0, 10.0)]
    assert dates == sorted(dates)
    assert first["convicted"] == pytest.approx(2 / 3)  # the idle book never is


def test_evidence_is_read_in_few_letters() -> None:
    assert [evidence_in_words(value) for value in (1.0, 99.94, 100.2, 2e6)] == ["1.0", "99.9", "100", "> 1,000,000"]


def test_the_disclosure_of_a_hand_computed_replay() -> None:
    loss = np.array([[1.0, 3.0], [2.0, 0.0], [5.0, 0.0], [0.0, 0.0]])
    base = run(4)
    asked = np.full((4, 2), 1.5)
    told = replace(base, portfolios=("a", "b"), initial=asked, maintenance=asked, loss_end=loss, loss_worst=loss)
    (row,) = disclosure_rows({"m": told})
    assert (row["breaches"], row["observations"], row["achieved coverage"]) == (3, 8, 1 - 3 / 8)
    assert row["average uncovered"] == pytest.approx((0.5 + 3.5 + 1.5) / 3)
    assert row["peak uncovered"] == 3.5
    assert sum(row["zones"]) == 2
    assert disclosed(told).index.tolist() == ["all books", "a", "b"]
    books = book_rows(told)
    assert [(one["book"], one["breaches"]) for one in books] == [("a", 2), ("b", 1)]
    assert books[0]["average uncovered"] == pytest.approx((0.5 + 3.5) / 2)


def test_books_that_held_nothing_are_not_told_and_models_stand_side_by_side() -> None:
    assert {one["book"] for one in book_rows(run())} == {"a", "b"}
    table = disclosure_table({"one": run(), "two": run(margin=3.0)})
    assert table.index.names == ["model", "portfolio"]
    breaches: dict[Any, int] = table["breaches"].to_dict()
    assert breaches["two", "all books"] < breaches["one", "all books"]
    recent = disclosure_table({"one": run()}, months=2)
    seen: dict[Any, int] = recent["observations"].to_dict()
    assert 55 < seen["one", "a"] < 65
    with pytest.raises(HistoryError, match="one run at least"):
        disclosure_table({})


def test_responsiveness_is_that_of_the_lead_the_middle_and_the_worst_book() -> None:
    base = run()
    margin = base.initial * (1.0 + np.arange(400)[:, None] * np.array([0.01, 0.02, 0.0]))
    (row,) = responsiveness_rows({"m": replace(base, initial=margin)}, "a")
    table = procyclicality(replace(base, initial=margin))
    lead, middle, worst = row["measures"]["call_5d"]
    assert lead == pytest.approx(5 * 0.01 * 1.645)
    assert worst == pytest.approx(2 * lead)
    assert middle == pytest.approx(table["call_5d"].median())


def test_a_call_over_fewer_days_than_lie_between_decisions_is_not_known() -> None:
    (row,) = responsiveness_rows({"m": run(hours=5 * 24)}, "a")
    assert np.isnan(row["measures"]["call_1d"]).all()
    assert np.isfinite(row["measures"]["call_5d"][0])


def test_json_knows_no_nan_and_no_stamp() -> None:
    told = plain({"a": np.float64("nan"), "b": (np.datetime64("2020-01-02", "ns"), np.int64(3)), "c": None})
    assert told == {"a": None, "b": ["2020-01-02T00:00:00Z", 3], "c": None}


def test_evidence_of_nothing_charged_is_one_until_it_is_lost() -> None:
    told: Evidence = evidence_of(run(margin=0.0))
    assert (told.capital[:5, 2] == 1.0).all()
    assert told.of("a").max() > 10
