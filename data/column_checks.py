"""Does each column hold what its name says, or have two of them changed places?

A table whose header was mended by hand, or whose columns were read by their order, is wrong in every row alike. What
columns say together tells: prices move little from row to row, sizes do not; a bar opens near where the last one ended.
"""

from collections.abc import Callable

import numpy as np

from data.arrays import Bools, Floats
from data.check_results import Check, Outcome, Rule
from data.option_names import is_option
from data.records import BARS, DEPTH, QUOTES, TRADES, Kind, Records

FEW = 20  # rows that tell nothing of all others
PRINTS = 100  # of a tape, as much
RESTLESS = 1.1  # times, from print to print, beyond which a step is none of a market's
BOUNCE = 1.01  # times, of a step that is taken back at once
OFTEN = 0.1  # of the steps
TICKS = 20  # a step of so few is one of a coarse price, however large it is
ALIKE = 1e-9  # of a price: the same but for its last bits
CLEAR = 4.0  # times nearer: of two orders of columns the right one
NARROW = 0.002  # of the mid: the widest band of a file reaches further
ROUNDING = 1e-3  # of an average price


def _all(records: Records, struck: bool) -> Bools:
    return np.full(len(records), struck)


def _ends_before_it_opens(records: Records) -> Bools:
    """All bars, where they end near where the one before opened, and open far from where it ended."""
    if len(records) < FEW:
        return _all(records, False)
    order = np.argsort(records["opened"], kind="stable")
    with np.errstate(divide="ignore", invalid="ignore"):
        opened, close = np.log(records["open"][order]), np.log(records["close"][order])
    apart = np.array([np.abs(opened[1:] - close[:-1]), np.abs(close[1:] - opened[:-1])])
    known = apart[:, np.isfinite(apart).all(axis=0)]
    as_named, swapped = np.median(known, axis=1) if known.shape[1] >= FEW else (0.0, 0.0)
    return _all(records, bool(as_named > CLEAR * swapped))


def _prices(records: Records) -> Floats:
    """Prices of a tape in the order of time, those above 0."""
    told = records["price"] if records.kind is TRADES else (records["bid"] + records["ask"]) / 2
    time = records["time"].view(np.int64)
    if (np.diff(time) < 0).any():
        told = told[np.argsort(time, kind="stable")]
    return np.asarray(told[told > 0])


def _ratios(price: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(price[1:] / price[:-1])


def _restless(records: Records) -> Bools:
    """All rows, where prices step as only sizes do, or those of two assets that take turns."""
    price = _prices(records)
    if len(price) < PRINTS or is_option(records):
        return _all(records, False)
    ratio = _ratios(price)
    return _all(records, _are_often((ratio > RESTLESS) | (ratio < 1 / RESTLESS), price))


def _bouncing(records: Records) -> Bools:
    price = _prices(records)
    if len(price) < PRINTS or is_option(records):
        return _all(records, False)
    ratio = _ratios(price)
    leap = (ratio[:-1] > BOUNCE) | (ratio[:-1] < 1 / BOUNCE)
    back = np.abs(price[2:] - price[:-2]) < np.abs(price[1:-1] - price[:-2]) / 4
    return _all(records, _are_often(np.append(leap & back, False), price))


def _are_often(leaps: Bools, price: Floats) -> bool:
    """Whether steps (R - 1,) of prices (R,) leap often, and by more than a few ticks."""
    if leaps.mean() <= OFTEN:
        return False
    apart = np.diff(np.unique(price))
    tick = apart[apart > ALIKE * np.median(price)].min(initial=np.inf)
    return bool(np.mean(leaps & (np.abs(np.diff(price)) > TICKS * tick)) > OFTEN)


def _average_prices(records: Records) -> tuple[float, float, float]:
    """The median average price of bids and of asks in the widest band that both sides have, and that band."""
    band, size = records["band"], records["size"]
    side_bands = [set(np.unique(np.abs(band[(np.sign(band) == side) & (size > 0)])).tolist()) for side in (-1, 1)]
    both = side_bands[0] & side_bands[1]
    if not both:
        return np.nan, np.nan, np.nan
    widest = max(both)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        price = records["notional"] / size
    bids, asks = (np.median(price[(band == side * widest) & (size > 0)]) for side in (-1, 1))
    return float(bids), float(asks), widest


def _misplaced_depth(records: Records) -> Bools:
    """All bands, where asks are cheaper than bids on average, or dearer by more than the bands are wide.

    Nothing is asked of coin-margined futures, whose sizes are contracts.
    """
    if records.venue == "binance-delivery" or len(records) < FEW:
        return _all(records, False)
    bids, asks, band = _average_prices(records)
    cheap = asks < bids * (1 - ROUNDING)
    dear = asks > bids * (1 + band) / max(1 - band, ROUNDING) * (1 + ROUNDING)
    return _all(records, bool(cheap or dear))


def _narrow(records: Records) -> Bools:
    return _all(records, bool(len(records) >= FEW and np.abs(records["band"]).max() < NARROW))


def _rule(
    name: str, rule: str, strikes: Callable[[Records], Bools], *kinds: Kind, outcome: Outcome = "quarantine"
) -> Rule:
    return Rule(Check(name, rule, outcome), kinds, strikes)


COLUMN_RULES = (
    _rule("open for close", "half of all bars open near where the one before ended", _ends_before_it_opens, BARS),
    _rule(
        "restless prices",
        f"at most {OFTEN:.0%} of the steps from print to print are beyond x{RESTLESS:g}, but for {TICKS} ticks",
        _restless,
        *(TRADES, QUOTES),
    ),
    _rule(
        "bouncing prices",
        f"at most {OFTEN:.0%} of the steps are beyond x{BOUNCE:g} and taken back at once, but for {TICKS} ticks",
        _bouncing,
        *(TRADES, QUOTES),
        outcome="accept",
    ),
    _rule(
        "depth for notional",
        "notional over size is more for asks than for bids, by no more than their bands are apart",
        _misplaced_depth,
        DEPTH,
    ),
    _rule("narrow bands", f"the widest band reaches {NARROW:.1%} from the mid", _narrow, DEPTH),
)
