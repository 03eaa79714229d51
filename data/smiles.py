"""Which surface do the quotes of one chain imply, and how well does it tell them?"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from data.arrays import Bools, Floats
from data.clock import Stamps
from data.coverage import DAYS_A_YEAR
from data.errors import DataError
from data.option_quotes import OptionQuotes
from data.pricing import black76, implied_deviation
from data.smile_fit import FittedSmile, SmileTargets, fit_spline, fit_svi, flat_smile
from data.surface import butterfly_violation, calendar_violation, smile_variance
from data.surface_kernels import WING

FEWEST_FOR_SVI, FEWEST_FOR_CURVE = 5, 3  # strikes
MISFIT = 0.8  # a raw SVI that leaves more than a fifth of the band of quotes is compared with the cubic
CORE = (0.05, 0.95)  # absolute delta of the quotes that are judged, and weigh in full
_FAR_WEIGHT = 0.3
_BAND = 0.85  # share of the half-spread that costs nothing extra: at the very edge a fit would be outside by rounding
_UNQUOTED = 0.02  # half-width in volatility of a mark without quotes, at the largest vega of its expiry
_LEAST_HALF = 5e-4  # of the at-the-money volatility
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class SurfaceFit:
    """What was fitted to one chain.

    Parameters
    ----------
    underlying, time : of the chain.
    surface : (K, 7) smiles as data/surface.py has them, free of butterfly and calendar arbitrage within their clamps.
    expiries : (K,) of the smiles.
    curve : (K', 3) tenor, carry and rate of every expiry, as data/curves.py has them. The rate is 0: an option quoted
        on its forward tells no rate.
    report : a row an expiry: days; quotes and strikes used; form ("svi", "cubic", "flat", or "left out" where none was
        free of arbitrage); inside, the share of quotes of |delta| 0.05 to 0.95 whose fitted price lies within bid and
        ask; atm_error, rms_error and left_out_error (by strike) in volatility as a fraction; butterfly, the smallest
        g; calendar, the smallest slope of total variance from the smile before.
    """

    underlying: str
    time: np.datetime64
    surface: Floats
    expiries: Stamps
    curve: Floats
    report: pd.DataFrame


def fit_surface(quotes: OptionQuotes, day_count: float = DAYS_A_YEAR) -> SurfaceFit:
    """A smile for each expiry, nearest first, each above the one before.

    Volatilities are the venue's marks where these lie within bid and ask, else the middle of bid and ask; each counts
    by its spread, and leaving the spread costs extra. Raw SVI first; the cubic where that misfits, breaks arbitrage or
    has few strikes; a flat smile for fewer than three strikes, and where neither is free of arbitrage. An expiry of
    which none is free is left out, and the report says so.

    Raises
    ------
    DataError
        If no expiry has a usable quote.
    """
    chain = [quotes.only(quotes.expiry == expiry) for expiry in np.unique(quotes.expiry)]
    tenors = [float(rows.tenor(day_count)[0]) for rows in chain]
    wanted = [_targets(rows, tenor) for rows, tenor in zip(chain, tenors, strict=True)]
    smiles: list[Floats] = []
    expiries, report = [], []
    for i, rows in enumerate(chain):
        targets = wanted[i]
        if targets is not None and i + 1 < len(chain):
            targets = replace(targets, ceiling=_total_variances(wanted[i + 1]))
        form, told = _fit_expiry(rows, targets, smiles[-1] if smiles else None)
        report.append({"expiry": rows.expiry[0], "days": tenors[i] * day_count, **told})
        if form is not None:
            smiles.append(form.smile)
            expiries.append(rows.expiry[0])
    curve = [[t, np.log(np.median(r.forward) / r.spot) / t, 0.0] for t, r in zip(tenors, chain, strict=True)]
    if not smiles:
        raise DataError(f"{quotes!r}: at least one expiry with a usable quote is needed, got none")
    return SurfaceFit(
        quotes.underlying,
        quotes.time,
        np.stack(smiles),
        np.array(expiries, dtype="datetime64[ns]"),
        np.array(curve, dtype=np.float64),
        pd.DataFrame(report),
    )


def _total_variances(targets: SmileTargets | None) -> Floats:
    """Log-moneyness and total variance of each quote, (2, N)."""
    if targets is None:
        return np.empty((2, 0))
    return np.stack([targets.log_moneyness, targets.volatility**2 * targets.tenor])


def _fit_expiry(
    quotes: OptionQuotes, targets: SmileTargets | None, nearer: Floats | None
) -> tuple[FittedSmile | None, dict[str, object]]:
    """The smile of one expiry, None where no form is free of arbitrage, and its row of the report."""
    if targets is None:
        return None, {"quotes": 0, "strikes": 0, "form": "left out"}
    strikes = len(np.unique(targets.strike))
    used: dict[str, object] = {"quotes": len(targets.strike), "strikes": strikes}
    form, fitted = "flat", flat_smile(targets, nearer)
    if strikes >= FEWEST_FOR_CURVE:
        form, fitted = _best_curve(quotes, targets, nearer, strikes)
    if not fitted.free:
        return None, used | {"form": "left out"}
    core = _in_core(targets.log_moneyness, targets.volatility * np.sqrt(targets.tenor))
    level = np.sqrt(smile_variance(fitted.smile, np.r_[targets.log_moneyness, 0.0]) / targets.tenor)
    return fitted, used | {
        "form": form,
        "inside": share_inside(quotes, fitted.smile),
        "atm_error": float(level[-1] - targets.atm),
        "rms_error": _root_mean_square((level[:-1] - targets.volatility)[core]),
        "left_out_error": _root_mean_square(fitted.left_out[core]),
        "butterfly": butterfly_violation(fitted.smile),
        "calendar": np.inf if nearer is None else calendar_violation(np.stack([nearer, fitted.smile])),
    }


def _best_curve(
    quotes: OptionQuotes, targets: SmileTargets, nearer: Floats | None, strikes: int
) -> tuple[str, FittedSmile]:
    """Raw SVI where it is free of arbitrage and fits, else whichever of it and the cubic is free and fits better."""
    if strikes < FEWEST_FOR_SVI:
        return _cubic_or_flat(targets, nearer)
    svi = fit_svi(targets, nearer)
    inside = share_inside(quotes, svi.smile)
    if svi.free and not inside < MISFIT:
        return "svi", svi
    form, other = _cubic_or_flat(targets, nearer)
    if svi.free and not (form == "cubic" and share_inside(quotes, other.smile) > inside):
        return "svi", svi
    return form, other


def _cubic_or_flat(targets: SmileTargets, nearer: Floats | None) -> tuple[str, FittedSmile]:
    cubic = fit_spline(targets, nearer)
    return ("cubic", cubic) if cubic.free else ("flat", flat_smile(targets, nearer))


def _root_mean_square(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def share_inside(quotes: OptionQuotes, smile: Floats) -> float:
    """Share of the quotes in the core whose fitted price lies within bid and ask; NaN where none has either."""
    deviation = np.sqrt(smile_variance(smile, quotes.log_moneyness))
    price = black76(quotes.forward, quotes.strike, deviation, quotes.call)
    tick = _ROUNDING * quotes.forward
    inside = ~(price < quotes.bid - tick) & ~(price > quotes.ask + tick)
    judged = _in_core(quotes.log_moneyness, deviation) & (np.isfinite(quotes.bid) | np.isfinite(quotes.ask))
    return float(inside[judged].mean()) if judged.any() else float("nan")


def _in_core(log_moneyness: Floats, deviation: Floats) -> Bools:
    """Whether the absolute delta N(d1) of a call, and so that of the put, lies in the core."""
    from scipy.special import ndtri

    edge = ndtri(CORE[1])
    return np.asarray(np.abs(-log_moneyness / deviation + deviation / 2) <= edge, dtype=bool)


def _targets(quotes: OptionQuotes, tenor: float) -> SmileTargets | None:
    """What the smile of one expiry should go through, within its clamp; None where no quote tells a volatility."""
    low, high, mark = (_volatility(quotes, price, tenor) for price in (quotes.bid, quotes.ask, quotes.mark))
    mark = np.where(np.isfinite(quotes.mark_volatility), quotes.mark_volatility, mark)
    quoted = np.isfinite(low) & np.isfinite(high)
    middle = (low + high) / 2
    # A bid below intrinsic value bounds nothing from below; without an ask nothing is bounded from above.
    within = ~(mark < low) & ~(mark > high)
    wanted = np.where(np.isfinite(mark) & (within | ~quoted), mark, middle)
    usable = np.isfinite(wanted) & (wanted > 0)
    if not usable.any():
        return None
    atm, anchored = _at_the_money(quotes.log_moneyness[usable], wanted[usable])
    usable &= np.abs(quotes.log_moneyness) <= WING * atm * np.sqrt(tenor)
    if not usable.any():
        return None
    deviation = np.where(usable, wanted, atm) * np.sqrt(tenor)
    d1 = -quotes.log_moneyness / deviation + deviation / 2
    flatness = np.exp(np.minimum(d1**2, 50.0) / 2)  # the largest vega over this one's
    half = np.where(quoted, (high - low) / 2, _UNQUOTED * flatness)
    half = np.maximum(half, _LEAST_HALF * atm)
    core = _in_core(quotes.log_moneyness, deviation)
    return SmileTargets(
        tenor,
        quotes.strike[usable],
        quotes.log_moneyness[usable],
        wanted[usable],
        half[usable],
        np.where(quoted, middle - _BAND * half, np.where(np.isfinite(low), low, -np.inf))[usable],
        np.where(quoted, middle + _BAND * half, np.where(np.isfinite(high), high, np.inf))[usable],
        np.where(core, 1.0, _FAR_WEIGHT)[usable],
        atm,
        anchored,
        np.empty((2, 0)),
    )


def _volatility(quotes: OptionQuotes, price: Floats, tenor: float) -> Floats:
    """Implied volatility of each price, (N,); NaN where it is missing or outside its bounds."""
    told = np.full(len(price), np.nan)
    known = np.isfinite(price)
    told[known] = implied_deviation(price[known], quotes.forward[known], quotes.strike[known], quotes.call[known])
    return np.asarray(told / np.sqrt(tenor))


def _at_the_money(log_moneyness: Floats, volatility: Floats) -> tuple[float, bool]:
    """Volatility at the forward between the neighbouring strikes, and whether there is one on either side."""
    order = np.argsort(log_moneyness)
    k = log_moneyness[order]
    return float(np.interp(0.0, k, volatility[order])), bool(k[0] <= 0 <= k[-1])
