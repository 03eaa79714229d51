"""Do real chains give back their own marks, and a surface that quotes agree with and nobody can arbitrage?"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.curves import forward_ratio
from data.option_quotes import OptionQuotes, read_chain
from data.pricing import black76
from data.quality import sound_smiles
from data.smiles import SurfaceFit, fit_surface
from data.surface import butterfly_violation, calendar_violation, implied_volatility

SHARED = Path(__file__).parents[2] / "shared" / "data"
CHAINS = sorted((SHARED / "znmahbub+SVCJ-Deribit-Inverse-Options-Pricer" / "data").glob("*.csv"))
NEEDS_SHARED = pytest.mark.skipif(not CHAINS, reason="the reference folder beside the checkout is absent")
# The places are stated so that the tests are collected without the folder too.
PLACES = range(16)

pytestmark = [NEEDS_SHARED, pytest.mark.shared]


def _fits(place: int) -> list[tuple[OptionQuotes, SurfaceFit]]:
    return [(quotes, fit_surface(quotes)) for quotes in read_chain(CHAINS[place]).values()]


def _reproduction(quotes: OptionQuotes) -> np.ndarray:
    """Distance of each mark from Black-76 at the venue's own volatility, as a share of the forward."""
    deviation = quotes.mark_volatility * np.sqrt(quotes.tenor())
    price = black76(quotes.forward, quotes.strike, deviation, quotes.call)
    return np.abs(price - quotes.mark) / quotes.forward


def _inside(quotes: OptionQuotes, fit: SurfaceFit) -> np.ndarray:
    """Whether the surface prices each quote of |delta| 0.05 to 0.95, by the venue's volatility, within its spread."""
    from scipy.special import ndtr

    tenor = quotes.tenor()
    deviation = quotes.mark_volatility * np.sqrt(tenor)
    delta = ndtr(-quotes.log_moneyness / deviation + deviation / 2)
    fitted = implied_volatility(fit.surface, quotes.log_moneyness, tenor) * np.sqrt(tenor)
    price = black76(quotes.forward, quotes.strike, fitted, quotes.call)
    inside = ~(price < quotes.bid) & ~(price > quotes.ask)
    return np.asarray(inside[(delta >= 0.05) & (delta <= 0.95)])


def test_every_mark_is_given_back_by_its_own_volatility() -> None:
    assert len(CHAINS) == len(PLACES)
    chains = [quotes for path in CHAINS for quotes in read_chain(path).values()]
    assert sorted({quotes.underlying for quotes in chains}) == ["BTC", "ETH"]
    error = np.concatenate([_reproduction(quotes) for quotes in chains])
    assert len(error) > 24_000
    assert np.median(error) < 2e-5
    assert np.quantile(error, 0.99) < 1e-3
    rules = pd.concat([quotes.quarantine for quotes in chains])["rule"].value_counts().to_dict()
    assert rules == {"mark below intrinsic": 182}  # forwards taken at another instant than the marks


@pytest.mark.parametrize("place", PLACES)
def test_a_chain_gives_a_surface_that_fits_and_has_no_arbitrage(place: int) -> None:
    for quotes, fit in _fits(place):
        report = fit.report
        assert _inside(quotes, fit).mean() >= 0.95
        assert (report["form"] != "left out").all()
        later = report[report["days"] > 3]
        assert later["atm_error"].abs().max() < 0.005
        assert later["rms_error"].max() < 0.01
        assert sound_smiles(fit.surface).all()
        assert min(butterfly_violation(smile) for smile in fit.surface) >= 0
        grid = np.linspace(-3.0, 3.0, 6001)
        assert calendar_violation(fit.surface) >= 0
        assert calendar_violation(fit.surface, grid) >= 0
        forwards = pd.Series(quotes.forward).groupby(quotes.expiry).median()
        np.testing.assert_allclose(quotes.spot * forward_ratio(fit.curve, fit.curve[:, 0]), forwards, rtol=1e-12)
