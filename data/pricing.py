"""What is an option worth, how does it move, and which volatility does a price imply? (interim: being replaced)"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr


@dataclass(frozen=True)
class Greeks:
    price: object
    delta: object
    gamma: object
    vega: object
    theta: object
    vanna: object
    volga: object


def _d(f, k, s):
    s = np.maximum(s, 1e-100)
    with np.errstate(over="ignore"):
        d1 = np.log(f / k) / s + 0.5 * s
    return d1, d1 - s


def black76(forward, strike, deviation, call):
    f, k, s, c = np.broadcast_arrays(*(np.asarray(x) for x in (forward, strike, deviation, call)))
    sign = np.where(c, 1.0, -1.0)
    d1, d2 = _d(f, k, s)
    return np.maximum(sign * (f * ndtr(sign * d1) - k * ndtr(sign * d2)), 0.0)


def implied_deviation(price, forward, strike, call):
    p, f, k, c = np.broadcast_arrays(
        *(np.asarray(x, dtype=object if x is call else float) for x in (price, forward, strike, call))
    )
    c = c.astype(bool)
    lo, hi = np.zeros(p.shape), np.full(p.shape, 50.0)
    intrinsic = np.maximum(np.where(c, f - k, k - f), 0.0)
    bad = ~((p >= intrinsic) & (p <= np.where(c, f, k)))
    for _ in range(80):
        mid = (lo + hi) / 2
        below = black76(f, k, mid, c) < p
        lo, hi = np.where(below, mid, lo), np.where(below, hi, mid)
    return np.where(bad, np.nan, (lo + hi) / 2)


def greeks(forward, strike, volatility, tenor, call, discount=1.0, rate=0.0):
    f, k, v, t, c, w = np.broadcast_arrays(
        *(np.asarray(x) for x in (forward, strike, volatility, tenor, call, discount))
    )
    root = np.sqrt(np.maximum(t, 1e-100))
    s = v * root
    d1, d2 = _d(f, k, s)
    phi = np.exp(-0.5 * np.minimum(d1 * d1, 1400)) / np.sqrt(2 * np.pi)
    price = w * black76(f, k, s, c)
    delta = w * np.where(c, ndtr(d1), ndtr(d1) - 1.0)
    safe = np.maximum(s, 1e-100)
    gamma = w * phi / (f * safe)
    vega = w * f * phi * root
    theta = -w * f * phi * v / (2 * root) + rate * price
    vanna = -w * phi * d2 / np.maximum(v, 1e-100)
    volga = vega * d1 * d2 / np.maximum(v, 1e-100)
    return Greeks(price, delta, gamma, vega, theta, vanna, volga)


def reprice(forward, group, scale, scale_group, strike, deviation, call, threads=1):
    return black76(forward[group], strike[:, None], deviation[:, None] * scale[scale_group], call[:, None])
