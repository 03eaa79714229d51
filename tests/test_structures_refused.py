"""Is a surface or a curve that is none refused, and is nothing else?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Clock, DataError, Floats, MarketHistory
from data.quality import sound_smiles
from data.surface import smile_variance

NEAR = [0.1, 0.0, 0.01, 0.05, -0.3, 0.02, 0.15]
FAR = [0.5, 0.0, 0.06, 0.10, -0.3, 0.02, 0.30]
CUBIC = [1.0, 1.0, 0.30, 0.22, 0.20, 0.205, 0.24]
PADDING = [np.nan] * 7
SOUND = np.array([NEAR, FAR, CUBIC, PADDING])
TIME = Clock("1D").grid(np.datetime64("2024-01-01", "ns"), np.datetime64("2024-01-03", "ns"))
HISTORY = MarketHistory(TIME, ("BTC", "ETH"), np.ones((3, 2)))


def with_surface(surface: Floats) -> MarketHistory:
    """The surface at the second instant of the second underlying, a sound one everywhere else."""
    panel = np.tile(SOUND, (3, 2, 1, 1))
    panel[1, 1] = surface
    return replace(HISTORY, surfaces=panel, implied="quotes")


def changed(*changes: tuple[int, int, float]) -> Floats:
    surface = SOUND.copy()
    for smile, figure, value in changes:
        surface[smile, figure] = value
    return surface


SMILES = r"smiles of raw SVI \(0\) or the cubic \(1\)"
TENORS = "finite figures, tenors rising from 0"
WRONG: dict[str, tuple[Floats, str]] = {
    "a tenor of 0": (changed((0, 0, 0.0)), TENORS),
    "a tenor twice": (changed((1, 0, 0.1)), TENORS),
    "tenors that fall": (SOUND[[1, 0, 2, 3]], TENORS),
    "tenors that fall over a hole": (changed((1, 3, np.nan), (2, 0, 0.05)), TENORS),
    "an infinite figure": (changed((0, 5, np.inf)), TENORS),
    "padding before a smile": (SOUND[[0, 3, 1, 2]], "no smile behind its padding"),
    "a form that is none": (changed((0, 1, 2.0)), SMILES),
    "b below 0": (changed((0, 3, -0.05)), SMILES),
    "rho beyond 1": (changed((0, 4, -1.01)), SMILES),
    "s of 0": (changed((0, 6, 0.0)), SMILES),
    "a least variance below 0": (changed((0, 2, -0.0072)), SMILES),
    "no variance at the money": (changed((0, 2, 0.0), (0, 3, 0.0)), SMILES),
    "a knot of 0": (changed((2, 3, 0.0)), SMILES),
    "a knot below 0": (changed((2, 6, -0.1)), SMILES),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_surface_is_refused_with_its_place(case: str) -> None:
    surface, rule = WRONG[case]
    with pytest.raises(DataError, match=f"surfaces of ETH at 2024-01-02.* must have {rule}"):
        with_surface(surface)


@pytest.mark.parametrize(
    "surface",
    [
        SOUND,
        np.array([PADDING] * 4),
        changed((1, 3, np.nan)),
        changed((0, 2, -0.0071)),  # the least variance is b s sqrt(1 - rho^2) more
        changed((0, 4, 1.0)),
    ],
    ids=["padded", "unknown", "with a hole", "with a < 0", "with a straight wing"],
)
def test_what_may_be_one_is_let_through(surface: Floats) -> None:
    kept = with_surface(surface).surfaces
    assert kept is not None
    np.testing.assert_array_equal(kept[1, 1], surface)


@pytest.mark.parametrize("wrong", [[[0.5, 0.1, 0.0], [0.5, 0.1, 0.0]], [[-0.1, 0.1, 0.0], [0.5, np.inf, 0.0]]])
def test_what_is_no_curve_is_refused(wrong: list[list[float]]) -> None:
    panel = np.tile([[0.5, 0.1, 0.0], [1.0, np.nan, 0.0]], (3, 2, 1, 1))
    assert replace(HISTORY, curves=panel).now.curve is not None
    panel[2, 0] = wrong
    with pytest.raises(DataError, match=f"curves of BTC at 2024-01-03.* must have {TENORS}"):
        replace(HISTORY, curves=panel)


@settings(max_examples=200, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(0.0, 2.0), st.floats(-0.99, 0.99), st.floats(-1.0, 1.0), st.floats(0.01, 2.0))
def test_svi_is_sound_where_it_is_nowhere_negative(a: float, b: float, rho: float, m: float, s: float) -> None:
    """Against the formula on a grid that holds the minimum, k = m - rho s / sqrt(1 - rho^2)."""
    k = np.r_[np.linspace(-3.0, 3.0, 25), 0.0, m - rho * s / np.sqrt(1 - rho**2)]
    variance = a + b * (rho * (k - m) + np.hypot(k - m, s))
    if abs(variance.min()) > 1e-9:
        told = bool(sound_smiles(np.array([0.5, 0.0, a, b, rho, m, s])))
        assert told == bool(variance.min() > 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-0.2, 1.0), min_size=5, max_size=5))
def test_a_sound_cubic_has_a_variance_everywhere(variance: list[float]) -> None:
    smile = np.array([0.5, 1.0, *variance])
    assert bool(sound_smiles(smile)) == (min(variance) > 0)
    if min(variance) > 1e-9:
        assert (smile_variance(smile, np.linspace(-3.0, 3.0, 61)) > 0).all()
