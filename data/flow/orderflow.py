"""Who wants to trade, and how badly: the flow of orders and trades, and how unequal its two sides are?

Every figure at a row or instant is of what came by then. Sides are +1 where a buyer took, -1 where a seller took, 0
where the source does not say; sizes are units of base or contracts, as the source counts.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.arrays import Floats, Ints, Places
from data.clock import Stamps, plain_span
from data.errors import DataError, ParameterError
from data.flow import orderflow_kernels as kernel
from data.flow.windows import lagged, over, window_mean, window_variance

Sides = NDArray[np.int8]


def order_flow_events(bid: Floats, bid_size: Floats, ask: Floats, ask_size: Floats) -> Floats:
    """Order flow of each change of the best quotes, (Q,), in units of size; the first has none before it and is NaN.

    e = q_b 1{b >= b'} - q_b' 1{b <= b'} - q_a 1{a <= a'} + q_a' 1{a >= a'}, primes for the quotes before (Cont,
    Kukanov and Stoikov 2014, "The price impact of order book events", J. Financial Econometrics 12, e_n). NaN
    beside an unknown quote.

    >>> flow = order_flow_events(*np.array([[100, 100.5], [10, 5], [101, 101], [8, 9]]))
    >>> flow.tolist()
    [nan, 4.0]
    """
    columns = [np.array(column, np.float64) for column in (bid, bid_size, ask, ask_size)]
    if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1:
        raise ParameterError(f"quotes need four columns (Q,), got {[column.shape for column in columns]}")
    out = np.empty(len(columns[0]))
    bids, bid_sizes, asks, ask_sizes = columns
    kernel.quote_flow(bids, bid_sizes, asks, ask_sizes, out)
    return out


def order_flow_imbalance(time: Stamps, events: Floats, opened: Stamps, ended: Stamps) -> Floats:
    """Order flow imbalance: the sum of the events (Q,) of each interval [opened, ended), (B,), in units of size.

    Cont, Kukanov and Stoikov (2014), OFI_k. 0 without events, NaN where no quote stood when the interval
    began. Raises DataError unless `time` is sorted.
    """
    start, stop = _places(time, opened, ended)
    total = np.empty(len(start))
    kernel.sums_between(np.array(events, np.float64), start.astype(np.int64), stop.astype(np.int64), total)
    return np.where(start > 0, total, np.nan)


def trade_imbalance(bought: Floats, sold: Floats) -> Floats:
    """Volume that buyers took less that sellers took, over both, in [-1, 1]; NaN without either.

    Order imbalance of Chordia, Roll and Subrahmanyam (2002), "Order imbalance, liquidity, and market returns", J.
    Financial Economics 65. Any shape.
    """
    bought, sold = np.asarray(bought, np.float64), np.asarray(sold, np.float64)
    return over(bought - sold, bought + sold)


def signed_volume(time: Stamps, size: Floats, side: Sides, opened: Stamps, ended: Stamps) -> Floats:
    """Bought less sold by takers within each interval [opened, ended), (B,), in units of size; 0 without trades.

    Raises DataError unless `time` is sorted.
    """
    start, stop = _places(time, opened, ended)
    total = np.empty(len(start))
    amount = np.asarray(size, np.float64) * np.sign(np.asarray(side))
    kernel.sums_between(np.array(amount), start.astype(np.int64), stop.astype(np.int64), total)
    return total


def bulk_buy_share(change: Floats, deviation: Floats | float) -> Floats:
    """The share of a bar's volume that was bought, by how much the price rose: Phi(change / deviation), in [0, 1].

    Bulk volume classification (Easley, Lopez de Prado and O'Hara 2012, "Flow toxicity and liquidity in a high-frequency
    world", Review of Financial Studies 25, with the normal law). `change` and its standard deviation are
    of one unit. 1/2 for no change; NaN where the deviation is not > 0, or either is unknown.
    """
    from scipy.special import ndtr

    share: Floats = ndtr(over(change, np.asarray(deviation, np.float64)))
    return share


def vpin(bought: Floats, sold: Floats, window: int = 50) -> Floats:
    """Volume-synchronised probability of informed trading over the newest `window` bars, (B, ...), in [0, 1].

    sum |bought - sold| / sum (bought + sold) (Easley, Lopez de Prado and O'Hara 2012), which for buckets of
    one volume is theirs. On bars of unequal volume, one-minute klines say, each weighs by what was traded in it.
    """
    bought, sold = np.asarray(bought, np.float64), np.asarray(sold, np.float64)
    known = np.where(np.isfinite(bought + sold), 0.0, np.nan)
    apart = window_mean(np.abs(bought - sold) + known, window)
    return np.minimum(over(apart, window_mean(bought + sold + known, window)), 1.0)


def bulk_vpin(close: Floats, volume: Floats, window: int = 50) -> Floats:
    """VPIN over the newest `window` bars, from prices and volumes alone, (B, ...), in [0, 1].

    Sides by `bulk_buy_share`, with the standard deviation of the price changes of the same window, so that it knows no
    later ones; the paper takes that of the whole sample.
    """
    change = np.asarray(close, np.float64) - lagged(close)
    share = bulk_buy_share(change, np.sqrt(window_variance(change, window)))
    return vpin(share * volume, (1.0 - share) * volume, window)


@dataclass(frozen=True, eq=False)
class VolumeBuckets:
    """Full buckets of one volume, K of them: the trade that filled each (K,), what was bought and sold in it (K,)."""

    last: Places
    bought: Floats
    sold: Floats


def volume_buckets(size: Floats, side: Sides, volume: float) -> VolumeBuckets:
    """Trades (R,) cut into buckets of `volume`; a trade that overflows one is split, as in the paper.

    A trade of unknown side counts half for either; one of unknown size is passed over. What is left at the end fills
    no bucket. ParameterError unless the volume is > 0 and finite, DataError for a negative size.
    """
    if not 0 < volume < np.inf:
        raise ParameterError(f"buckets must have a volume > 0 and finite, got {volume}")
    sizes = np.array(size, np.float64)
    if (sizes < 0).any():
        raise DataError(f"sizes must be >= 0, got {sizes[sizes < 0][0]} at trade {int(np.argmax(sizes < 0))}")
    most = int(sizes[np.isfinite(sizes)].sum() / volume * (1 + 1e-9)) + 2
    last, bought = np.empty(most, np.int64), np.empty(most)
    share = 0.5 + 0.5 * np.sign(np.asarray(side, np.float64))
    found = kernel.equal_volume_buckets(sizes, share, float(volume), last, bought)
    full = np.clip(bought[:found], 0.0, volume)
    return VolumeBuckets(last[:found].astype(np.intp), full, volume - full)


def exact_vpin(size: Floats, side: Sides, volume: float, window: int = 50) -> tuple[Places, Floats]:
    """VPIN from the sides that the venue tells: the trade at which each bucket was full, and VPIN from then on, (K,).

    Easley, Lopez de Prado and O'Hara (2012), with known sides in place of bulk classification. Raises as
    `volume_buckets` does.
    """
    buckets = volume_buckets(size, side, volume)
    return buckets.last, vpin(buckets.bought, buckets.sold, window)


def arrival_rate(time: Stamps, at: Stamps, span: str = "1min") -> Floats:
    """Trades a second within the span that ends with each instant, (at - span, at], (B,).

    Raises DataError unless both are sorted, ParameterError for no duration.
    """
    width = plain_span(span, "span")
    start, stop = (np.searchsorted(_rising(time), _rising(ends), side="right") for ends in (at - width, at))
    return np.asarray((stop - start) / float(width / np.timedelta64(1, "s")), np.float64)


def arrival_intensity(time: Stamps, at: Stamps, half_life: str = "1min") -> Floats:
    """Trades a second, the weight of each halving every `half_life`, (B,); trades at an instant count at it.

    beta sum exp(-beta (t - t_i)): the excited part of a Hawkes process with an exponential kernel of branching ratio 1
    (Hawkes 1971, "Spectra of some self-exciting and mutually exciting point processes", Biometrika 58), nothing
    estimated. Raises as `arrival_rate` does.
    """
    return decayed_flow(time, np.ones(len(time)), at, half_life)


def decayed_flow(time: Stamps, amount: Floats, at: Stamps, half_life: str = "1min") -> Floats:
    """Amounts (R,) a second, the weight of each halving every `half_life`, at instants (B,); NaN amounts are left out.

    Of signed sizes it is a signed intensity. Raises as `arrival_rate` does.
    """
    rate = math.log(2.0) / float(plain_span(half_life, "half_life").astype(np.int64))
    out = np.empty(len(at))
    kernel.decayed_sums(_ints(_rising(time)), np.array(amount, np.float64), _ints(_rising(at)), rate, out)
    return np.asarray(out * (rate * 1e9))


def _places(time: Stamps, opened: Stamps, ended: Stamps) -> tuple[Places, Places]:
    """The events [start, stop) of intervals that begin with `opened` and end before `ended`."""
    if opened.shape != ended.shape or (opened > ended).any():
        raise DataError(f"intervals must begin before they end, got {opened.shape} beginnings and {ended.shape} ends")
    start = np.searchsorted(_rising(time), opened, side="left")
    return start, np.searchsorted(time, ended, side="left")


def _rising(time: Stamps) -> Stamps:
    late = np.flatnonzero(~(time[1:] >= time[:-1]))
    if len(late) or np.isnat(time).any():
        where = int(late[0]) + 1 if len(late) else 0
        raise DataError(f"instants must be sorted and known, got {time[where]} at place {where}")
    return time


def _ints(time: Stamps) -> Ints:
    return np.array(time.astype("datetime64[ns]")).astype(np.int64)
