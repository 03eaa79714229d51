"""One example of every feature function, for the audit that rewrites the future.

A world is a few tables, each with the instant that every row became true. An example says which figures a function
tells of a world, and from when on each is known.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import Clock, MarketHistory
from data.clock import Stamps
from data.flow import (
    feature_sets,
    history_features,
    liquidity,
    orderflow,
    panels,
    pressure,
    range_volatility,
    realised,
    windows,
)
from data.flow.bars import Bars
from data.flow.panels import ALL, TIMINGS, FeaturePanel, Series, Timing
from data.records import BARS, DEPTH, FUNDING, LIQUIDATIONS, METRICS, QUOTES, Kind, Records
from markets import coins_with_options

Values = NDArray[Any]
MINUTE = np.timedelta64(60, "s").astype("timedelta64[ns]")
START = np.datetime64("2024-03-01", "ns")
ROWS, TRADES_, WINDOW = 90, 600, 8
INTERVALS = 30


@dataclass(frozen=True, eq=False)
class Table:
    time: Stamps
    columns: Mapping[str, Values]

    def __getitem__(self, name: str) -> Values:
        return self.columns[name]


@dataclass(frozen=True, eq=False)
class World:
    """Minute bars, trades, quotes, intervals of returns, and a history; `clock` is when features are asked for."""

    bars: Table
    trades: Table
    quotes: Table
    intervals: Table
    history: MarketHistory
    clock: Stamps

    @property
    def opened(self) -> Stamps:
        opened: Stamps = self.clock - MINUTE
        return opened


Told = list[tuple[Stamps, Values]]  # figures, and from when on each is known
Example = Callable[[World], Told]


def world(seed: int = 3) -> World:
    rng = np.random.default_rng(seed)
    time = START + MINUTE * np.arange(1, ROWS + 1)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 1e-3, ROWS)))
    opening = np.append(100.0, close[:-1]) * np.exp(rng.normal(0, 1e-4, ROWS))
    volume, count = rng.gamma(3.0, 2.0, ROWS), rng.poisson(20, ROWS) + 1.0
    share = rng.random(ROWS)
    bars = {
        "open": opening,
        "high": np.maximum(opening, close) * (1 + 1e-3 * rng.random(ROWS)),
        "low": np.minimum(opening, close) * (1 - 1e-3 * rng.random(ROWS)),
        "close": close,
        "volume": volume,
        "quote_volume": volume * close,
        "count": count,
        "taker_buy_volume": share * volume,
        "taker_buy_quote_volume": share * volume * close,
        "up": rng.gamma(2.0, 1e-6, ROWS),
        "down": rng.gamma(2.0, 1e-6, ROWS),
        "bipower": rng.gamma(2.0, 2e-6, ROWS),
        "depth": rng.gamma(3.0, 1e5, (ROWS, 6)).cumsum(axis=1),
        "rate": rng.normal(1e-4, 1e-4, ROWS),
    }
    coins = coins_with_options(240).rows(175, 235)  # with the missing day
    history = replace(coins, time=START + MINUTE * np.arange(1, len(coins) + 1), clock=Clock("1min"))
    return World(Table(time, bars), _trades(rng), _quotes(rng), _intervals(rng), history, time)


def _instants(rng: np.random.Generator, count: int) -> Stamps:
    return np.sort(START + rng.integers(0, ROWS * int(MINUTE.astype(np.int64)), count).astype("timedelta64[ns]"))


def _trades(rng: np.random.Generator) -> Table:
    price = 100.0 * np.exp(np.cumsum(rng.normal(0, 2e-4, TRADES_)))
    side = rng.choice(np.array([-1, 0, 1], np.int8), TRADES_)
    return Table(_instants(rng, TRADES_), {"price": price, "size": rng.exponential(1.0, TRADES_), "side": side})


def _quotes(rng: np.random.Generator) -> Table:
    bid = np.round(100.0 + np.cumsum(rng.normal(0, 0.02, TRADES_)), 1)
    sizes = {name: rng.exponential(5.0, TRADES_) for name in ("bid_size", "ask_size")}
    return Table(_instants(rng, TRADES_), {"bid": bid, "ask": bid + rng.choice([0.1, 0.2], TRADES_), **sizes})


def _intervals(rng: np.random.Generator) -> Table:
    """Sixty returns of two assets in each of some intervals."""
    time = START + 3 * MINUTE * np.arange(INTERVALS)
    return Table(time, {name: rng.normal(0, 1e-3, (INTERVALS, 60)) for name in ("returns", "others")})


def _records(kind: Kind, time: Stamps, **columns: Values) -> Records:
    return Records(kind, "venue", "X", {"time": time, **columns}, np.arange(1, len(time) + 1))


def _klines(it: World) -> Records:
    names = [column for column in BARS.names if column in it.bars.columns]
    return _records(BARS, it.bars.time, opened=it.bars.time - MINUTE, **{name: it.bars[name] for name in names})


def _tape_bars(it: World) -> Bars:
    b, nothing = it.bars, np.zeros(len(it.bars.time))
    counts = np.where(np.isfinite(b["count"]), b["count"], 0).astype(np.int64)
    return Bars(
        "venue",
        "X",
        b.time - MINUTE,
        b.time,
        b["open"],
        b["high"],
        b["low"],
        b["close"],
        b["volume"],
        b["quote_volume"],
        2 * b["taker_buy_volume"] - b["volume"],
        b["taker_buy_volume"],
        b["taker_buy_quote_volume"],
        nothing,
        counts,
        counts // 2,
        np.zeros_like(counts),
        b["up"],
        b["down"],
        b["bipower"],
    )


def _depth(it: World) -> Records:
    bands = np.array([-0.03, -0.02, -0.01, 0.01, 0.02, 0.03])
    return _records(
        DEPTH,
        np.repeat(it.bars.time, len(bands)),
        band=np.tile(bands, len(it.bars.time)),
        size=it.bars["depth"].ravel() / 100.0,
        notional=it.bars["depth"].ravel(),
    )


def _quoted(it: World) -> Records:
    return _records(QUOTES, it.quotes.time, **it.quotes.columns)


def _metrics(it: World) -> Records:
    columns = {"mark": it.bars["close"], "index": it.bars["open"], "open_interest": it.bars["volume"]}
    return _records(METRICS, it.bars.time, **columns, taker_ratio=it.bars["count"], long_short_ratio=it.bars["up"])


def _forced(it: World) -> Records:
    return _records(LIQUIDATIONS, it.trades.time, **it.trades.columns)


def _series(told: list[Series]) -> Told:
    return [(one.known, one.values) for one in told]


def _panel(told: FeaturePanel) -> Told:
    return [(told.time, told.values), (told.time, told.known_at.view(np.int64))]


def _everything(it: World) -> FeaturePanel:
    """Every source joined on the clock."""
    timing = Timing("17s", "10min")
    series = [
        *feature_sets.taker_features(_klines(it), "X", WINDOW),
        *feature_sets.tape_features(_tape_bars(it), "X", WINDOW),
        *feature_sets.quote_features(_quoted(it), "X", it.opened, it.clock),
        *feature_sets.depth_features(_depth(it), "X"),
        *feature_sets.metrics_features(_metrics(it), "X", 3),
        *feature_sets.funding_features(_records(FUNDING, it.bars.time, rate=it.bars["rate"]), "X", 3),
        Series("vix", "percent", ALL, it.bars.time, it.bars["rate"], timing),
    ]
    return panels.feature_panel(it.clock, ("X",), series)


def _on_bars(function: Callable[..., Values], *names: str, **settings: Any) -> Example:
    def told(it: World) -> Told:
        return [(it.bars.time, function(*(it.bars[name] for name in names), **settings))]

    return told


def _on_intervals(function: Callable[..., Any], *names: str, **settings: Any) -> Example:
    def told(it: World) -> Told:
        figures = function(*(it.intervals[name] for name in names), **settings)
        return [(it.intervals.time, one) for one in (figures if isinstance(figures, tuple) else (figures,))]

    return told


def _on_clock(function: Callable[[World], Values]) -> Example:
    return lambda it: [(it.clock, function(it))]


def _roll(it: World) -> Told:
    told = liquidity.roll_spread(it.bars["close"], WINDOW)
    return [(it.bars.time, one) for one in (told.spread, told.covariance, told.undefined)]


def _buckets(it: World) -> Told:
    told = orderflow.volume_buckets(it.trades["size"], it.trades["side"], 4.0)
    return [(it.trades.time[told.last], one) for one in (told.bought, told.sold)]


def _exact(it: World) -> Told:
    last, told = orderflow.exact_vpin(it.trades["size"], it.trades["side"], 4.0, WINDOW)
    return [(it.trades.time[last], told)]


def _mids(it: World) -> Values:
    return np.asarray(0.5 * (it.quotes["bid"] + it.quotes["ask"]))


def _realised_spreads(it: World) -> Told:
    trades = it.trades
    told = liquidity.realised_spreads(trades.time, trades["price"], trades["side"], it.quotes.time, _mids(it), "90s")
    return [(told.known, told.spread)]


def _effective(it: World) -> Told:
    mid = liquidity.mid_before(it.trades.time, it.quotes.time, _mids(it))
    return [(it.trades.time, liquidity.effective_spread(it.trades["price"], it.trades["side"], mid))]


def _as_of(it: World) -> Told:
    series = Series("x", "", "X", it.bars.time, it.bars["rate"], Timing("90s", "5min"), it.bars.time + 3 * MINUTE)
    return [(it.clock, one.view(np.int64)) for one in panels.as_of(series, it.clock)]


_OHLC = ("open", "high", "low", "close")
_window = partial(_on_bars, window=WINDOW)
EXAMPLES: dict[Callable[..., Any], Example] = {
    windows.moments: _window(windows.moments, "close", "volume"),
    windows.window_mean: _window(windows.window_mean, "close"),
    windows.window_variance: _window(windows.window_variance, "close"),
    windows.lagged: _on_bars(windows.lagged, "close", rows=2),
    windows.changes: _on_bars(windows.changes, "close", rows=2),
    windows.log_changes: _on_bars(windows.log_changes, "close", rows=2),
    windows.logarithm: _on_bars(windows.logarithm, "close"),
    windows.over: _on_bars(windows.over, "close", "volume"),
    orderflow.order_flow_events: lambda it: [
        (
            it.quotes.time,
            orderflow.order_flow_events(*(it.quotes[name] for name in ("bid", "bid_size", "ask", "ask_size"))),
        )
    ],
    orderflow.order_flow_imbalance: _on_clock(
        lambda it: orderflow.order_flow_imbalance(it.quotes.time, it.quotes["bid_size"], it.opened, it.clock)
    ),
    orderflow.trade_imbalance: _on_bars(orderflow.trade_imbalance, "taker_buy_volume", "volume"),
    orderflow.signed_volume: _on_clock(
        lambda it: orderflow.signed_volume(it.trades.time, it.trades["size"], it.trades["side"], it.opened, it.clock)
    ),
    orderflow.bulk_buy_share: _on_bars(orderflow.bulk_buy_share, "rate", "volume"),
    orderflow.vpin: _window(orderflow.vpin, "taker_buy_volume", "volume"),
    orderflow.bulk_vpin: _window(orderflow.bulk_vpin, "close", "volume"),
    orderflow.volume_buckets: _buckets,
    orderflow.exact_vpin: _exact,
    orderflow.arrival_rate: _on_clock(lambda it: orderflow.arrival_rate(it.trades.time, it.clock, "2min")),
    orderflow.arrival_intensity: _on_clock(lambda it: orderflow.arrival_intensity(it.trades.time, it.clock)),
    orderflow.decayed_flow: _on_clock(lambda it: orderflow.decayed_flow(it.trades.time, it.trades["size"], it.clock)),
    liquidity.kyle_lambda: _window(liquidity.kyle_lambda, "rate", "volume"),
    liquidity.amihud_illiquidity: _window(liquidity.amihud_illiquidity, "rate", "quote_volume"),
    liquidity.roll_spread: _roll,
    liquidity.quoted_spread: lambda it: [(it.quotes.time, liquidity.quoted_spread(it.quotes["bid"], it.quotes["ask"]))],
    liquidity.effective_spread: _effective,
    liquidity.realised_spreads: _realised_spreads,
    liquidity.mid_before: _on_clock(lambda it: liquidity.mid_before(it.clock, it.quotes.time, _mids(it))),
    liquidity.depth_slope: lambda it: [
        (it.bars.time, liquidity.depth_slope(np.linspace(0.01, 0.06, 6), it.bars["depth"]))
    ],
    pressure.liquidation_pressure: _on_clock(
        lambda it: pressure.liquidation_pressure(it.trades.time, it.trades["size"], it.trades["side"], it.clock)
    ),
    pressure.funding_pressure: _on_bars(pressure.funding_pressure, "rate", hours=8.0, window=3),
    pressure.basis: _on_bars(pressure.basis, "close", "open"),
    pressure.open_interest_change: _on_bars(pressure.open_interest_change, "volume", rows=3),
    # Bars whose high is the close and whose low is the open: sound where the price rose.
    range_volatility.sound_bars: _on_bars(range_volatility.sound_bars, "open", "close", "open", "close"),
    range_volatility.close_to_close: _window(range_volatility.close_to_close, "close"),
    **{
        function: _window(function, *_OHLC)
        for function in (
            range_volatility.parkinson,
            range_volatility.garman_klass,
            range_volatility.garman_klass_overnight,
            range_volatility.rogers_satchell,
            range_volatility.yang_zhang,
        )
    },
    **{
        function: _on_intervals(function, "returns")
        for function in (
            realised.realised_variance,
            realised.realised_semivariances,
            realised.bipower_variation,
            realised.median_variance,
            realised.minimum_variance,
            realised.realised_quarticity,
            realised.preaveraged_variance,
        )
    },
    realised.realised_kernel: _on_intervals(realised.realised_kernel, "returns", bandwidth=5),
    realised.realised_covariance: _on_intervals(realised.realised_covariance, "returns", "others"),
    realised.subsampled_variance: _on_intervals(realised.subsampled_variance, "returns", step=5),
    realised.two_scale_variance: _on_intervals(realised.two_scale_variance, "returns", step=5),
    panels.as_of: _as_of,
    panels.series_of: lambda it: _series([panels.series_of(_metrics(it), "mark", "X")]),
    panels.feature_panel: lambda it: _panel(_everything(it)),
    history_features.ohlcv_features: lambda it: _panel(history_features.ohlcv_features(it.history, WINDOW)),
    history_features.surface_features: lambda it: _panel(history_features.surface_features(it.history)),
    feature_sets.taker_features: lambda it: _series(feature_sets.taker_features(_klines(it), "X", WINDOW)),
    feature_sets.tape_features: lambda it: _series(feature_sets.tape_features(_tape_bars(it), "X", WINDOW)),
    feature_sets.quote_features: lambda it: _series(feature_sets.quote_features(_quoted(it), "X", it.opened, it.clock)),
    feature_sets.depth_features: lambda it: _series(feature_sets.depth_features(_depth(it), "X")),
    feature_sets.metrics_features: lambda it: _series(feature_sets.metrics_features(_metrics(it), "X", 3)),
    feature_sets.funding_features: lambda it: _series(
        feature_sets.funding_features(_records(FUNDING, it.bars.time, rate=it.bars["rate"]), "X", 3)
    ),
    feature_sets.liquidation_features: lambda it: _series(
        feature_sets.liquidation_features(_forced(it), "X", it.clock, "5min", TIMINGS["trades"])
    ),
}
