from dataclasses import replace

import numpy as np
import pytest

from backtest.lookahead import REWRITINGS, Audit, audit, audit_table, truncated
from backtest.planted_leaks import LEAKS, HonestControl
from backtest.portfolios import standard_books
from data import Book, Coverage, Floats, HistoryError, MarketHistory
from margin_models import MarginModel
from markets import two_coins

HISTORY = two_coins(320)
BOOKS = standard_books(HISTORY.underlyings, makers=5)


def found(model: MarginModel, rows: int = 8) -> Audit:
    return audit(model, HISTORY, BOOKS, Coverage(0.95), window=100, rows=rows)


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: type(leak).__name__)
def test_a_planted_leak_is_caught(leak: MarginModel) -> None:
    assert not found(leak).passed


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: type(leak).__name__)
def test_a_hole_where_the_cut_would_lie_hides_no_leak(leak: MarginModel) -> None:
    spot = HISTORY.spot.copy()
    spot[286:290] = np.nan
    holed = replace(HISTORY, spot=spot)
    told = audit(leak, holed, BOOKS, Coverage(0.95), window=100, rows=8)
    assert told.rows == 8
    assert not told.passed


def test_the_same_model_without_a_leak_passes() -> None:
    assert found(HonestControl()).passed


def test_every_rewriting_leaves_the_past_alone_and_changes_the_future() -> None:
    for rewrite in REWRITINGS.values():
        other = rewrite(HISTORY, 250)
        np.testing.assert_array_equal(other.spot[:251], HISTORY.spot[:251])
        if rewrite is not truncated:
            assert not np.array_equal(other.spot[251:], HISTORY.spot[251:])
            assert other.volume is not None
            assert not np.array_equal(other.volume[251:], HISTORY.volume[251:])  # type: ignore[index]


def test_a_leak_through_the_buffer_behind_a_view_is_caught() -> None:
    class Peeking(MarginModel):
        """Reads past the end of the view it was given."""

        def margin(self, past: MarketHistory, book: Book) -> Floats:
            whole = past.spot if past.spot.base is None else past.spot.base
            return np.full(len(book.portfolios), float(np.nanmean(np.abs(whole))))

    assert not found(Peeking()).passed


def test_an_error_that_only_the_future_causes_is_a_leak() -> None:
    class Choking(HonestControl):
        def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
            if np.isnan(history.spot[stop:]).all():
                raise ValueError("no future")
            return super()._deviation(history, stop, coverage)

    leaks = found(Choking()).leaks
    assert any("raised ValueError (no future)" in leak for leak in leaks)


def test_the_table_says_what_is_not_as_it_should_be() -> None:
    table = audit_table([Audit("a", 5, ()), Audit("b", 5, ("perturbed: x",))], [Audit("leak", 5, ())])
    assert table["as it should be"].tolist() == [True, False, False]


def test_a_history_too_short_for_an_audit_is_refused() -> None:
    with pytest.raises(HistoryError, match=r"window \+ rows \+ future = 300 \+ 8 \+ 32 rows, got 320"):
        audit(HonestControl(), HISTORY, BOOKS, Coverage(0.95), window=300, rows=8)
