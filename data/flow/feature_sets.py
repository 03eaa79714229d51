"""Which features do records of each kind allow: klines, tapes, quotes, depth, metrics, funding, liquidations?

Each gives series on its own clock, known at the end of what it tells of, which `panels.feature_panel` joins. Rows of
records must rise in time.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from data.arrays import Floats
from data.clock import Stamps
from data.contracts import notional_of
from data.errors import DataError
from data.flow.bars import Bars
from data.flow.history_features import ohlcv_features as ohlcv_features  # until data/build_history.py imports it there
from data.flow.liquidity import amihud_illiquidity, depth_slope, kyle_lambda, quoted_spread
from data.flow.orderflow import bulk_vpin, order_flow_events, order_flow_imbalance, trade_imbalance, vpin
from data.flow.panels import TIMINGS, Series, Timing
from data.flow.pressure import basis, funding_pressure, liquidation_pressure, open_interest_change
from data.flow.windows import log_changes, logarithm, over, window_mean
from data.records import BARS, DEPTH, FUNDING, LIQUIDATIONS, METRICS, QUOTES, Kind, Records

_SHARE = "share"
Told = Mapping[str, tuple[str, Floats]]


def taker_features(
    bars: Records | Bars, underlying: str, window: int = 50, timing: Timing | None = None
) -> list[Series]:
    """What bars with taker-buy volume, Binance's klines say, tell of the flow, each known at the bar's end.

    Names: taker_imbalance; vpin and bulk_vpin, kyle_lambda (log return on signed quote volume) and
    quote_amihud over `window` bars; trades_change, the count against its mean. Bars without trades are left out: rows
    are bars that have some. Raises DataError for other records, without quote or taker volume, or not rising in time.
    """
    records = bars.to_records() if isinstance(bars, Bars) else bars
    needs = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
    _refuse(records, BARS, needs)
    volume, value, bought, paid = (records[name] for name in needs)
    moves = log_changes(records["close"])
    told = {
        "taker_imbalance": ("-1 to 1", trade_imbalance(bought, volume - bought)),
        "vpin": ("0 to 1", vpin(bought, volume - bought, window)),
        "bulk_vpin": ("0 to 1", bulk_vpin(records["close"], volume, window)),
        "kyle_lambda": ("share a unit of quote currency", kyle_lambda(moves, 2.0 * paid - value, window)),
        "quote_amihud": ("share a unit of quote currency", amihud_illiquidity(moves, value, window)),
    }
    if "count" in records.columns:
        told["trades_change"] = ("ln", logarithm(over(records["count"], window_mean(records["count"], window))))
    return _series(records["time"], underlying, timing or TIMINGS["bars"], told)


def tape_features(bars: Bars, underlying: str, window: int = 50, timing: Timing | None = None) -> list[Series]:
    """What bars folded from a tape tell beyond klines, each known at the bar's end.

    Names: realised_variance, jump_share (1 - bipower variation over realised variance, at least 0: the relative jump of
    Huang and Tauchen 2005, "The relative contribution of jumps to total price variance", J. Financial Econometrics 3),
    downside_share, and the mean of each over `window` bars, `..._mean`. Bars without trades count as still: a variance
    of 0, no shares.
    """
    whole = bars.realised_variance
    shares = {
        "realised_variance": ("squared log return a bar", whole),
        "jump_share": (_SHARE, np.maximum(1.0 - over(bars.bipower_variation, whole), 0.0)),
        "downside_share": (_SHARE, over(bars.downside_variance, whole)),
    }
    means = {f"{name}_mean": (unit, window_mean(figures, window)) for name, (unit, figures) in shares.items()}
    return _series(bars.time, underlying, timing or TIMINGS["bars"], shares | means)


def quote_features(
    quotes: Records, underlying: str, opened: Stamps, ended: Stamps, timing: Timing | None = None
) -> list[Series]:
    """What the best quotes tell of intervals [opened, ended), (B,), each known at its end.

    Names: order_flow_imbalance, NaN where no quote stood when the interval began; quoted_spread at the last quote, and
    with it depth_imbalance, bid size less ask size over both. All grow old from the last quote on, and are NaN where it
    is stale at the interval's end. Raises DataError for other records, without sizes, or not rising in time.
    """
    sizes = ("bid_size", "ask_size")
    _refuse(quotes, QUOTES, sizes)
    bid, ask, bids, asks = (quotes[name] for name in ("bid", "ask", *sizes))
    timing = timing or TIMINGS["quotes"]
    flow = order_flow_imbalance(quotes["time"], order_flow_events(bid, bids, ask, asks), opened, ended)
    place = np.searchsorted(quotes["time"], ended, side="left") - 1
    quoted = np.where(place >= 0, np.append(quotes["time"], ended[:1])[place], ended)
    fresh = ended - quoted <= timing.age

    def last(figures: Floats) -> Floats:
        return np.where((place >= 0) & fresh, np.append(figures, np.nan)[place], np.nan)

    told = {
        "order_flow_imbalance": ("units of size", np.where(fresh, flow, np.nan)),
        "quoted_spread": (_SHARE, last(quoted_spread(bid, ask))),
        "depth_imbalance": ("-1 to 1", last(trade_imbalance(bids, asks))),
    }
    return [replace(one, received=ended + timing.delay) for one in _series(quoted, underlying, timing, told)]


def depth_features(depth: Records, underlying: str, timing: Timing | None = None) -> list[Series]:
    """The slope of depth on either side, bid_slope and ask_slope, quote currency a share of the mid, an instant each.

    Raises DataError for other records or not rising in time.
    """
    _refuse(depth, DEPTH, ())
    time, row = np.unique(depth["time"], return_inverse=True)
    bands, column = np.unique(depth["band"], return_inverse=True)
    offered = np.full((len(time), len(bands)), np.nan)
    offered[row, column] = depth["notional"]
    near = np.argsort(np.abs(bands), kind="stable")
    sides = {name: near[np.sign(bands[near]) == sign] for name, sign in (("bid_slope", -1), ("ask_slope", 1))}
    told = {
        name: ("quote currency a share of the mid", depth_slope(np.abs(bands[levels]), offered[:, levels]))
        for name, levels in sides.items()
    }
    return _series(time, underlying, timing or TIMINGS["depth"], told)


def metrics_features(metrics: Records, underlying: str, rows: int = 12, timing: Timing | None = None) -> list[Series]:
    """What a venue publishes beside its trades, each as far as the source has it.

    Names: open_interest_change over `rows` rows, basis of the mark over the index, taker_ratio and long_short_ratio as
    ln. Raises DataError for other records or not rising in time.
    """
    _refuse(metrics, METRICS, ())
    has, told = metrics.columns, {}
    if "open_interest" in has:
        told["open_interest_change"] = ("ln", open_interest_change(has["open_interest"], rows))
    if "mark" in has and "index" in has:
        told["basis"] = (_SHARE, basis(has["mark"], has["index"]))
    for name in ("taker_ratio", "long_short_ratio"):
        if name in has:
            told[name] = ("ln", logarithm(has[name]))
    return _series(metrics["time"], underlying, timing or TIMINGS["metrics"], told)


def funding_features(
    funding: Records, underlying: str, window: int = 9, hours: float = 8.0, timing: Timing | None = None
) -> list[Series]:
    """funding_pressure, what longs paid over the newest `window` fundings, a share of notional a day.

    `hours` is the interval of a source that tells none. Raises DataError for other records or not rising in time.
    """
    _refuse(funding, FUNDING, ())
    spans = funding.columns.get("interval", np.full(len(funding), hours))
    pressure = funding_pressure(funding["rate"], spans, window)
    told = {"funding_pressure": ("share of notional a day", pressure)}
    return _series(funding["time"], underlying, timing or TIMINGS["funding"], told)


def liquidation_features(
    forced: Records,
    underlying: str,
    at: Stamps,
    half_life: str = "1h",
    timing: Timing | None = None,
    *,
    multiplier: float | None = None,
    inverse: bool = False,
) -> list[Series]:
    """liquidation_pressure at instants (B,), quote currency a second: below 0 where longs are sold out.

    `multiplier` is what a contract is worth, in base or, `inverse`, in quote currency. Raises DataError for other
    records, not rising in time, or that count contracts without a multiplier; ParameterError for one not above 0.
    """
    _refuse(forced, LIQUIDATIONS, ())
    notional = notional_of(forced, multiplier, inverse)
    pressure = liquidation_pressure(forced["time"], notional, forced["side"], at, half_life)
    told = {"liquidation_pressure": ("quote currency a second", pressure)}
    return _series(at, underlying, timing or TIMINGS["liquidations"], told)


def _series(time: Stamps, underlying: str, timing: Timing, told: Told) -> list[Series]:
    """One series a figure; what is not finite is no figure."""
    return [
        Series(name, unit, underlying, time, np.where(np.isfinite(figures), figures, np.nan), timing)
        for name, (unit, figures) in told.items()
    ]


def _refuse(records: Records, kind: Kind, needed: tuple[str, ...]) -> None:
    """DataError unless the records are of this kind, have these columns and rise in time."""
    lacking = [name for name in needed if name not in records.columns]
    if records.kind is not kind or lacking:
        got = f"{records.kind.name} of {records.venue} without {lacking}"
        raise DataError(f"these features need {kind.name} with {needed}, got {got}")
    if not (records["time"][1:] >= records["time"][:-1]).all():
        late = int(np.flatnonzero(~(records["time"][1:] >= records["time"][:-1]))[0]) + 1
        raise DataError(f"{kind.name} of {records.symbol} must rise in time, got {records['time'][late]} at {late}")
