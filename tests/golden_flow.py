"""What does the project say to the golden cases of order flow, realised measures and range volatility?"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from data import Floats
from data.flow import range_volatility, realised
from data.flow.liquidity import roll_spread
from data.flow.orderflow import bulk_buy_share, order_flow_events, vpin
from golden_cases import Case

Figures = dict[str, Any]

ON_BARS = {
    "parkinson": range_volatility.parkinson,
    "garman_klass": range_volatility.garman_klass,
    "rogers_satchell": range_volatility.rogers_satchell,
    "gk_yz": range_volatility.garman_klass_overnight,
    "yang_zhang": range_volatility.yang_zhang,
}
SAMPLE = "sample ddof=1 of (dp_t,dp_{t-1})"


def order_flow(case: Case) -> Figures:
    if case.has("bid", "bsz", "ask", "asz"):
        columns = [np.array(column, float) for column in case.read("bid", "bsz", "ask", "asz")]
        return {"e": order_flow_events(*columns)[1:]}
    if case.has("p", "cov"):
        return _roll(case)
    return _bulk(case)


def _roll(case: Case) -> Figures:
    price, covariance = case.read("p", "cov")
    if covariance != SAMPLE:
        raise case.refuse("the covariance", covariance)
    told = roll_spread(np.array(price, float), len(price) - 1)
    return {"cov": told.covariance[-1], "spread": told.spread[-1], "undefined": told.undefined[-1]}


def _bulk(case: Case) -> Figures:
    change, deviation, volume = case.read("dp", "sigma_dp", "V")
    share = bulk_buy_share(np.array(change, float), deviation)
    return {"buy_fraction": share, "VPIN": vpin(share * volume, (1 - share) * volume, len(share))[-1]}


def realised_measures(case: Case) -> Figures:
    """Every measure that a case may ask for; `RV_5m` is of every fifth price, `RK_parzen_H10` of ten lags."""
    data, column, bipower = case.read("data", "col", "bv")
    named = re.fullmatch(r"(\w+) \((\d+) prices\)", column)
    if named is None or bipower != "no small-sample factor":
        raise case.refuse("the column or bipower variation", (column, bipower))
    table = case.table(data)
    price = table[named[1]]
    if len(price) != int(named[2]):
        raise case.refuse("the number of prices", len(price))
    r = np.diff(np.log(price))
    below, above = realised.realised_semivariances(r)
    told = {
        "BV_1m": realised.bipower_variation(r),
        "medRV_1m": realised.median_variance(r),
        "minRV_1m": realised.minimum_variance(r),
        "RQ_1m": realised.realised_quarticity(r),
        "RS_minus": below,
        "RS_plus": above,
    }
    if "MARKET" in table:
        told["RCov"] = realised.realised_covariance(r, np.diff(np.log(table["MARKET"])))
    return told | {name: _sampled(name, price) for name in case.expected if re.match("RV_|RK_", name)}


def _sampled(name: str, price: Floats) -> Floats:
    """A measure whose name says at which step, or up to which lag."""
    if found := re.fullmatch(r"RV_(\d+)m", name):
        return realised.realised_variance(np.diff(np.log(price[:: int(found[1])])))
    if found := re.fullmatch(r"RK_parzen_H(\d+)", name):
        return realised.realised_kernel(np.diff(np.log(price)), int(found[1]))
    return np.asarray(np.nan)


def ohlc_vol(case: Case) -> Figures:
    data, window, periods = case.read("data", "n", "N")
    table = case.table(data)
    bars = (table["Open"], table["High"], table["Low"], table["Close"])
    if case.id == "close":
        told = range_volatility.close_to_close(bars[-1], window, periods)
    elif case.id in ON_BARS:
        told = ON_BARS[case.id](*bars, window, periods)
    else:
        raise case.refuse("the estimator", case.id)
    return {"last_two": told[-2:]}


FAMILIES: dict[str, Callable[[Case], Figures]] = {
    "order_flow": order_flow,
    "realised_measures": realised_measures,
    "ohlc_vol": ohlc_vol,
}
