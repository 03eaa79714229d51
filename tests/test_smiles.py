"""Does a fit find the surface that made the quotes, stay free of arbitrage where they are not, and say how it did?"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data import DataError, Floats
from data.option_quotes import OptionQuotes, read_chain
from data.pricing import black76
from data.quality import sound_smiles
from data.smile_fit import SmileTargets, fit_spline, fit_svi
from data.smiles import fit_surface, share_inside
from data.surface import butterfly_violation, calendar_violation, implied_volatility, smile_variance

DAYS = (7.0, 30.0, 90.0)
SPREAD = 0.01  # bid to ask, in volatility


def _svi(days: float, level: float = 0.5) -> list[float]:
    """A smile of `level` at the forward, skewed to the left, in at-the-money deviations."""
    tenor = days / 365.25
    unit = level * np.sqrt(tenor)
    b, rho, m, s = 0.55, -0.3, 0.1, 1.2
    a = 1.0 - b * (-rho * m + np.hypot(m, s))
    return [tenor, 0.0, a * unit**2, b * unit, rho, m * unit, s * unit]


def _quotes(
    surface: Floats, strikes: Floats, forward: float = 100.0, *, marks: bool = True, wide: float = SPREAD
) -> OptionQuotes:
    """A call and a put a strike and smile, quoted around the surface; strikes are in at-the-money deviations."""
    rows = []
    start = pd.Timestamp("2026-01-01", tz="UTC")
    for smile in surface:
        tenor = smile[0]
        k = strikes * np.sqrt(smile_variance(smile, np.zeros(1))[0])
        volatility = np.sqrt(smile_variance(smile, k) / tenor)
        expiry = start + pd.Timedelta(days=round(tenor * 365.25))
        for right in ("call", "put"):
            strike = forward * np.exp(k)
            bid, mark, ask = (
                black76(np.full(len(k), forward), strike, v * np.sqrt(tenor), np.full(len(k), right == "call"))
                for v in (volatility - wide / 2, volatility, volatility + wide / 2)
            )
            told = {"strike": strike, "bid": bid, "ask": ask, "right": right, "expiry": expiry}
            told |= {"mark": mark, "volatility": volatility} if marks else {}
            rows.append(pd.DataFrame(told))
    frame = pd.concat(rows, ignore_index=True).assign(time=start, underlying="X", forward=forward, spot=99.0)
    (quotes,) = read_chain(frame.assign(symbol=[f"X-{n}" for n in range(len(frame))])).values()
    return quotes


STRIKES = np.linspace(-3.0, 3.0, 13)
SURFACE = np.array([_svi(days) for days in DAYS])


@pytest.mark.parametrize("marks", [True, False])
def test_the_surface_that_made_the_quotes_is_found(marks: bool) -> None:
    fit = fit_surface(_quotes(SURFACE, STRIKES, marks=marks))
    assert fit.report["form"].tolist() == ["svi"] * 3
    for days in (7.0, 20.0, 90.0):
        tenor = np.full(25, days / 365.25)
        k = np.linspace(-2.5, 2.5, 25) * 0.5 * np.sqrt(tenor)
        told, true = implied_volatility(fit.surface, k, tenor), implied_volatility(SURFACE, k, tenor)
        np.testing.assert_allclose(told, true, atol=1e-3)
    assert (fit.report["inside"] == 1.0).all()
    assert (fit.report["rms_error"] < 1e-3).all()
    assert (fit.report["atm_error"].abs() < 5e-4).all()


def test_the_curve_has_each_expirys_forward() -> None:
    fit = fit_surface(_quotes(SURFACE, STRIKES))
    np.testing.assert_allclose(fit.curve[:, 0], np.array(DAYS) / 365.25, rtol=1e-12)
    np.testing.assert_allclose(99.0 * np.exp(fit.curve[:, 1] * fit.curve[:, 0]), 100.0, rtol=1e-12)
    assert (fit.curve[:, 2] == 0).all()
    assert fit.expiries.astype("datetime64[D]").astype(str).tolist() == ["2026-01-08", "2026-01-31", "2026-04-01"]


def test_a_wild_quote_does_not_bend_the_smile() -> None:
    quotes = _quotes(SURFACE[:1], STRIKES)
    volatility, ask = quotes.mark_volatility.copy(), quotes.ask.copy()
    # Asked far too high, and marked likewise: its spread tells how little it knows.
    ask[8] *= 3
    volatility[8] *= 1.5
    fit = fit_surface(replace(quotes, mark_volatility=volatility, ask=ask))
    k = np.linspace(-2, 2, 9) * 0.5 * np.sqrt(7 / 365.25)
    tenor = np.full(9, 7 / 365.25)
    np.testing.assert_allclose(
        implied_volatility(fit.surface, k, tenor), implied_volatility(SURFACE, k, tenor), atol=0.01
    )


def test_quotes_that_break_the_calendar_are_not_followed() -> None:
    """The later expiry is quoted at less total variance than the earlier one."""
    quotes = _quotes(np.array([_svi(30, 0.8), _svi(40, 0.6)]), STRIKES)
    fit = fit_surface(quotes)
    assert calendar_violation(fit.surface) >= 0
    assert all(butterfly_violation(smile) >= 0 for smile in fit.surface)
    # What cannot be followed without arbitrage shows in the report.
    assert fit.report["form"].iloc[-1] == "left out" or fit.report["inside"].iloc[-1] < 0.5


def test_quotes_that_break_the_butterfly_are_not_followed() -> None:
    quotes = _quotes(SURFACE[1:2], STRIKES)
    dented = quotes.mark_volatility - 0.1 * np.exp(-20 * (quotes.log_moneyness - 0.15) ** 2 / 0.02)
    bare = np.full(len(quotes), np.nan)
    fit = fit_surface(replace(quotes, mark_volatility=dented, bid=bare, ask=bare))
    assert butterfly_violation(fit.surface[0]) >= 0


def test_a_wing_that_would_fall_below_zero_beyond_the_quotes_is_not_followed() -> None:
    """Raw SVI whose total variance is positive for five deviations either way, and negative further up."""
    smile = np.array([30 / 365.25, 0.0, -0.032, 0.09, -0.9, 0.0, 0.8])
    assert butterfly_violation(smile) > 0
    assert not sound_smiles(smile)
    fit = fit_surface(_quotes(smile[None], STRIKES))
    assert fit.report["form"].tolist() == ["cubic"]
    assert sound_smiles(fit.surface).all()
    assert abs(fit.report["atm_error"].iloc[0]) < 0.015


@pytest.mark.parametrize(("count", "form"), [(1, "flat"), (2, "flat"), (3, "cubic"), (4, "cubic"), (5, "svi")])
def test_the_form_follows_the_number_of_strikes(count: int, form: str) -> None:
    strikes = np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)
    fit = fit_surface(_quotes(SURFACE[1:2], strikes))
    assert fit.report["form"].tolist() == [form]
    assert fit.report["strikes"].tolist() == [count]
    assert butterfly_violation(fit.surface[0]) >= 0
    # Against the chord between the strikes beside the forward, which four strikes leave 2/3 of a deviation apart.
    assert abs(fit.report["atm_error"].iloc[0]) < 0.01
    assert fit.report["inside"].iloc[0] >= 0.5 or form == "flat"


def test_the_cubic_goes_through_what_svi_made() -> None:
    targets = _targets(SURFACE[1], np.linspace(-2, 2, 17))
    fitted = fit_spline(targets, None)
    assert fitted.free
    told = np.sqrt(smile_variance(fitted.smile, targets.log_moneyness) / targets.tenor)
    np.testing.assert_allclose(told, targets.volatility, atol=0.011)


def _targets(smile: Floats, z: Floats) -> SmileTargets:
    k = z * np.sqrt(smile_variance(smile, np.zeros(1))[0])
    volatility = np.sqrt(smile_variance(smile, k) / smile[0]) + 0.004 * np.cos(9 * z)
    ones = np.ones(len(z))
    half = 0.005 * ones
    low, high = volatility - half, volatility + half
    return SmileTargets(smile[0], np.exp(k), k, volatility, half, low, high, ones, 0.5, True, np.empty((2, 0)))


def test_the_error_without_a_strike_is_that_of_a_fit_without_it() -> None:
    targets = _targets(SURFACE[1], np.linspace(-2.5, 2.5, 11))
    told = fit_svi(targets, None).left_out
    truly = np.empty(11)
    for n in range(11):
        kept = np.arange(11) != n
        cut = {
            name: getattr(targets, name)[kept]
            for name in ("strike", "log_moneyness", "volatility", "half", "low", "high", "weight")
        }
        smile = fit_svi(replace(targets, **cut), None).smile
        at = smile_variance(smile, targets.log_moneyness[n : n + 1])[0]
        truly[n] = np.sqrt(at / targets.tenor) - targets.volatility[n]
    within = np.abs(truly) > 5e-4
    assert within.sum() >= 6
    assert np.corrcoef(told[within], truly[within])[0, 1] > 0.97
    assert np.sqrt(np.mean(told**2)) == pytest.approx(np.sqrt(np.mean(truly**2)), rel=0.15)


def test_share_inside_counts_prices_against_bid_and_ask() -> None:
    quotes = _quotes(SURFACE[:1], STRIKES)
    lifted = SURFACE[0].copy()
    lifted[2] *= 1.5
    assert share_inside(quotes, SURFACE[0]) == 1.0
    assert share_inside(quotes, lifted) == 0.0
    bare = np.full(len(quotes), np.nan)
    assert np.isnan(share_inside(replace(quotes, bid=bare, ask=bare), SURFACE[0]))


def test_quotes_that_tell_no_volatility_are_refused() -> None:
    quotes = _quotes(SURFACE[:1], STRIKES)
    bare = np.full(len(quotes), np.nan)
    with pytest.raises(DataError, match="at least one expiry with a usable quote"):
        fit_surface(replace(quotes, bid=bare, ask=bare, mark=bare, mark_volatility=bare))
