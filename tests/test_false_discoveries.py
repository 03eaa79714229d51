import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, norm

from backtest.false_discoveries import discoveries, q_values
from data import ParameterError

P_VALUES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40)


@given(P_VALUES, st.booleans())
def test_adjusted_as_scipy_does(p: list[float], dependent: bool) -> None:
    expected = false_discovery_control(p, method="by" if dependent else "bh")
    np.testing.assert_allclose(
        q_values(p, dependent=dependent), expected, rtol=1e-12, atol=1e-300
    )  # below, doubles have few digits


def test_the_published_example() -> None:
    """Benjamini and Hochberg (1995), section 4.1: of 15 comparisons the first four are rejected at 5 %."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    told = discoveries([*p, 0.7590, 1.0], dependent=False)
    assert (told.tests, told.rejected, told.discoveries) == (15, 9, 4)
    assert told.expected == pytest.approx(0.75)
    assert "9 of 15 rejected at 5 % (0.8 expected by chance); 4 at" in str(told)


@given(P_VALUES, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_tests_that_were_not_made_do_not_count(p: list[float], random: object) -> None:
    shuffled = list(range(len(p)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    q = q_values(p)
    np.testing.assert_array_equal(q_values([p[i] for i in shuffled]), q[shuffled])
    holes = q_values([np.nan, *p, np.nan])
    assert np.isnan(holes[[0, -1]]).all()
    np.testing.assert_array_equal(holes[1:-1], q)
    assert (q >= np.array(p)).all()
    assert (q >= q_values(p, dependent=False)).all()


def test_false_discoveries_are_held_where_books_hang_together() -> None:
    """1,000 times 100 right books and 20 wrong ones that share a factor: the mean false share stays below 5 %."""
    rng = np.random.default_rng(7)
    common, own = rng.standard_normal((1000, 1)), rng.standard_normal((1000, 120))
    score = np.sqrt(0.6) * common + np.sqrt(0.4) * own
    score[:, 100:] += 4.0
    p = 2 * norm.sf(np.abs(score))
    found = np.array([q_values(row) <= 0.05 for row in p])
    false_share = found[:, :100].sum(1) / np.maximum(found.sum(1), 1)
    assert false_share.mean() < 0.05
    assert found[:, 100:].mean() > 0.4
    each = p < 0.05
    assert (each[:, :100].sum(1) / np.maximum(each.sum(1), 1)).mean() > 0.1


def test_nothing_tested_is_nothing_found() -> None:
    told = discoveries([np.nan, np.nan])
    assert (told.tests, told.rejected, told.discoveries, told.expected) == (0, 0, 0, 0.0)
    assert q_values([]).size == 0


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"within \[0, 1\], got 1.5"):
        q_values([0.1, 1.5])
    with pytest.raises(ParameterError, match="rate must lie within"):
        discoveries([0.1], rate=0.0)
