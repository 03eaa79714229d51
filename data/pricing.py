"""What is an option worth, how does that move with the market, and which deviation does a price imply?

All is on the forward and, but for the Greeks, undiscounted. The deviation is volatility * sqrt(tenor), the standard
deviation of the log forward at expiry; volatility is a fraction a year (0.6), tenor is in years.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import DataError, ParameterError
from data.pricing_kernels import LEAST_DEVIATION, Floats, Places, explain_each, greeks_each, price_each
from data.pricing_kernels import reprice as reprice_rows
from data.threads import pool

_ENOUGH_FOR_THREADS = 200_000  # prices; fewer are done before a thread has started


@dataclass(frozen=True, eq=False)
class Greeks:
    """Sensitivities of the value of one unit, each of one shape.

    Parameters
    ----------
    price : value, discounted.
    delta : by the forward, its discount held.
    gamma : second derivative by the forward.
    vega : by volatility, per 1.00.
    theta : by calendar time, per year that passes; what a holder of options loses is negative.
    vanna : by forward and volatility.
    volga : second derivative by volatility.
    """

    price: Floats
    delta: Floats
    gamma: Floats
    vega: Floats
    theta: Floats
    vanna: Floats
    volga: Floats


def black76(forward: ArrayLike, strike: ArrayLike, deviation: ArrayLike, call: ArrayLike) -> Floats:
    """Undiscounted value of European options in the currency of the forward, of the arguments' common shape.

    Black (1976, equation 16), within 1e-15 of the forward (of the strike, for a put that is in the money). Without
    deviation it is the intrinsic value. `call` is true for calls, false for puts.

    Raises
    ------
    DataError
        Where a forward or strike is not > 0, a deviation not >= 0, or one is not finite.

    >>> black76(100.0, [90.0, 110.0], 0.2, [False, True]).round(4).tolist()
    [3.5891, 4.292]
    """
    shape, (f, k, s, put) = _columns(forward, strike, deviation, np.logical_not(call))
    _require_priceable(f, k)
    _require("deviation", s)
    out = np.empty(len(f))
    price_each(f, k, _log_ratio(f, k), s, put, out)
    return out.reshape(shape)


def implied_deviation(price: ArrayLike, forward: ArrayLike, strike: ArrayLike, call: ArrayLike) -> Floats:
    """The deviation at which `black76` gives these prices, of the arguments' common shape.

    0 at the intrinsic value, NaN below it, at or above what an option can cost (the forward for a call, the strike for
    a put), and where the price is NaN. A price carries the deviation to about 1e-15 of the forward over the vega.

    Raises
    ------
    DataError
        Where a forward or strike is not > 0 and finite.

    >>> implied_deviation([4.0, 0.0, 100.0], 100.0, 110.0, True).round(4).tolist()
    [0.1921, 0.0, nan]
    """
    shape, (p, f, k, put) = _columns(price, forward, strike, np.logical_not(call))
    _require_priceable(f, k)
    out = np.empty(len(f))
    explain_each(p, f, k, _log_ratio(f, k), put, out)
    return out.reshape(shape)


def black_scholes(
    spot: ArrayLike,
    strike: ArrayLike,
    volatility: ArrayLike,
    tenor: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    call: ArrayLike,
) -> Floats:
    """Value today of European options on an asset that yields `dividend`, both rates continuously compounded.

    Black, Scholes and Merton (1973), as the discounted `black76` on the forward; its errors are that function's.

    >>> black_scholes(60.0, 65.0, 0.3, 0.25, 0.08, 0.0, True).round(4).tolist()
    2.1334
    """
    years, interest = np.asarray(tenor, np.float64), np.asarray(rate, np.float64)
    forward = np.asarray(spot) * np.exp((interest - np.asarray(dividend)) * years)
    _require("tenor", years)
    deviation = np.asarray(volatility) * np.sqrt(years)
    return np.asarray(np.exp(-interest * years) * black76(forward, strike, deviation, call))


def greeks(
    forward: ArrayLike,
    strike: ArrayLike,
    volatility: ArrayLike,
    tenor: ArrayLike,
    call: ArrayLike,
    discount: ArrayLike = 1.0,
    rate: ArrayLike = 0.0,
) -> Greeks:
    """Value and Greeks of European options, times `discount`, of the arguments' common shape.

    `rate` is that at which the discount grows as expiry nears; it enters theta alone, as the yield of the price.
    Without deviation a call's delta is 1 in the money, 0 out of it and 1/2 at it, a put's one less. The rest is then 0,
    save vega and vanna at the money, which have a limit there; gamma and theta have none, and are 0 too.

    Raises
    ------
    DataError
        Where a forward or strike is not > 0, a volatility or tenor not >= 0, or anything is not finite.

    >>> told = greeks(100.0, 100.0, 0.6, 0.25, [True, False])
    >>> told.delta.round(4).tolist(), told.vega.round(4).tolist()
    ([0.5596, -0.4404], [19.724, 19.724])
    """
    given = (forward, strike, volatility, tenor, np.logical_not(call), discount, rate)
    shape, (f, k, sigma, years, put, worth, growth) = _columns(*given)
    _require_priceable(f, k)
    _require("volatility", sigma)
    _require("tenor", years)
    _require("discount", worth)
    _require("rate", np.abs(growth), "finite")
    root, log_ratio = np.sqrt(years), _log_ratio(f, k)
    price, figures = np.empty(len(f)), np.empty((6, len(f)))
    price_each(f, k, log_ratio, sigma * root, put, price)
    greeks_each(f, log_ratio, sigma, root, put, figures)
    figures *= worth
    figures[3] += growth * worth * price
    return Greeks(*(figure.reshape(shape) for figure in (worth * price, *figures)))


def premium_adjusted(told: Greeks, forward: ArrayLike) -> Floats:
    """Delta of an option that is settled in the coin itself: what its coin value gains, in coins, per relative move.

    With V the price in the forward's currency, V/F coins gain (delta - V/F) dF/F.

    >>> premium_adjusted(greeks(100.0, 100.0, 0.6, 0.25, True), 100.0).round(4).tolist()
    0.4404
    """
    return np.asarray(told.delta - told.price / np.asarray(forward))


def reprice(
    forward: Floats,
    group: Places,
    scale: Floats,
    scale_group: Places,
    strike: Floats,
    deviation: Floats,
    call: NDArray[np.bool_],
    threads: int = 1,
    out: Floats | None = None,
) -> Floats:
    """Undiscounted value of N options in each of S scenarios, (N, S); the same to the last bit for any `threads`.

    Parameters
    ----------
    forward : (G, S) forwards, one row an underlying and expiry; `group` (N,) is each option's row.
    scale : (H, S) multiples of the deviation; `scale_group` (N,) is each option's row.
    strike, deviation, call : (N,); the deviation as it is where the scale is 1.
    threads : how many share the rows of a large job; a small one is done by the caller alone.
    out : (N, S) C-contiguous floats to write to and return; fresh memory can cost half of what its prices do.

    Raises
    ------
    DataError
        Where shapes differ, a row does not exist, a forward or strike is not > 0, a deviation or scale not >= 0, or one
        is not finite.
    ParameterError
        Where threads are fewer than 1.

    >>> one = np.zeros(2, np.intp)
    >>> moved, wider = np.array([[90.0, 100.0]]), np.array([[1.5, 1.0]])
    >>> reprice(moved, one, wider, one, np.array([90.0, 110.0]), np.full(2, 0.2), np.array([False, True])).round(4)
    array([[10.7312,  3.5891],
           [ 4.466 ,  4.292 ]])
    """
    if threads < 1:
        raise ParameterError(f"threads must be >= 1, got {threads}")
    # An array that may not be written to would be another type to a kernel, and compiled for anew.
    given = forward, scale, strike, deviation, np.logical_not(call)
    forward, scale, strike, deviation, put = (np.require(one, np.float64, ["C", "W"]) for one in given)
    group, scale_group = (np.require(rows, np.intp, ["C", "W"]) for rows in (group, scale_group))
    _require_aligned(forward, scale, [group, scale_group, strike, deviation, put])
    _require_rows("group", group, len(forward))
    _require_rows("scale_group", scale_group, len(scale))
    _require_priceable(forward, strike)
    _require("deviation", deviation)
    _require("scale", scale)
    out = _place(out, (len(strike), forward.shape[1]))
    if out.size:
        _reprice(forward, group, scale, scale_group, strike, deviation, put, threads, out)
    return out


def _reprice(
    forward: Floats,
    group: Places,
    scale: Floats,
    scale_group: Places,
    strike: Floats,
    deviation: Floats,
    put: Floats,
    threads: int,
    out: Floats,
) -> None:
    """As `reprice`, of arguments that fit."""
    unit = forward[:, :1]  # logarithms of what is near 1 lose no digits
    logs, log_strike = np.log(forward / unit), np.log(strike / unit[group, 0])
    inverse = np.maximum(scale, LEAST_DEVIATION)
    np.divide(1.0, inverse, out=inverse)  # in place: as many scales as prices are no less work than these

    def fill(first: int, last: int) -> None:
        rows = slice(first, last)
        own = (strike[rows], log_strike[rows], deviation[rows], put[rows], out[rows])
        reprice_rows(forward, logs, group[rows], scale, inverse, scale_group[rows], *own)

    _share(fill, len(strike), threads if out.size >= _ENOUGH_FOR_THREADS else 1)


def _place(given: Floats | None, shape: tuple[int, int]) -> Floats:
    """Where to write; DataError for a place that does not fit."""
    out = np.empty(shape) if given is None else given
    if out.shape != shape or out.dtype != np.float64 or not out.flags.carray:
        raise DataError(f"out must be {shape}, float64, C-contiguous and writable, got {out.shape}, {out.dtype}")
    return out


def _share(fill: Callable[[int, int], None], rows: int, threads: int) -> None:
    """Every thread fills one run of rows, this one too."""
    ends = np.linspace(0, rows, threads + 1).astype(int).tolist()
    others = [pool(threads - 1).submit(fill, *run) for run in pairwise(ends[1:])]
    fill(*ends[:2])
    for other in others:
        other.result()


def _columns(*given: ArrayLike) -> tuple[tuple[int, ...], list[Floats]]:
    """The common shape of some arrays, and each of them along one axis."""
    try:
        alike = np.broadcast_arrays(*(np.asarray(one, np.float64) for one in given))
    except ValueError as error:
        raise DataError(f"arguments must broadcast, got {[np.shape(one) for one in given]}") from error
    return alike[0].shape, [np.array(one, order="C").reshape(-1) for one in alike]


def _log_ratio(forward: Floats, strike: Floats) -> Floats:
    """ln(F/K): where it is small it comes from the difference, which is exact, and not from the rounded ratio."""
    excess = (forward - strike) / strike
    near = np.abs(excess) < 0.5
    return np.where(near, np.log1p(np.where(near, excess, 0.0)), np.log(forward / strike))


def _require_priceable(forward: Floats, strike: Floats) -> None:
    _require("forward", forward, "> 0 and finite", np.greater)
    _require("strike", strike, "> 0 and finite", np.greater)


def _require(name: str, figures: Floats, rule: str = ">= 0 and finite", than: np.ufunc = np.greater_equal) -> None:
    """DataError where a figure is not finite or breaks the rule: the extremes tell, which are NaN where one is."""
    least, most = (figures.min(), figures.max()) if figures.size else (1.0, 1.0)
    if not (than(least, 0.0) and most < np.inf):
        raise DataError(f"{name} must be {rule}, got {least} to {most}")


def _require_aligned(forward: Floats, scale: Floats, of_options: list[NDArray[np.generic]]) -> None:
    """DataError where scenarios or options are not equally many."""
    shapes = [one.shape for one in of_options]
    if forward.ndim != 2 or scale.ndim != 2 or forward.shape[1] != scale.shape[1]:
        raise DataError(f"forward and scale must be (G, S) and (H, S), got {forward.shape} and {scale.shape}")
    if set(shapes) != {shapes[0][:1]}:
        raise DataError(f"group, scale_group, strike, deviation and call must be (N,) alike, got {shapes}")


def _require_rows(name: str, rows: Places, count: int) -> None:
    """DataError for a row that does not exist; a kernel would read past the end."""
    if len(rows) and not 0 <= rows.min() <= rows.max() < count:
        raise DataError(f"{name} must lie in [0, {count}), got {rows.min()} to {rows.max()}")
