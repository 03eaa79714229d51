"""When is a bar full: after a minute, a volume, a value, a number of trades, or a one-sided flow?

A rule holds no state: what it knows of the trades before is in a memory that the fold keeps for it. No trade is split:
the one that fills a bar belongs to it whole. Volume, dollar, tick and imbalance bars: Lopez de Prado (2018), "Advances
in Financial Machine Learning", chapter 2.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.arrays import Ints
from data.clock import plain_span
from data.contracts import counts_contracts
from data.errors import DataError, ParameterError
from data.flow.bar_kernels import imbalance_cuts, threshold_cuts, time_cuts
from data.flow.tape_kernels import UNSET
from data.flow.trade_order import Trades
from data.records import Records

Memory = NDArray[Any]
_FULL = 1.0 - 1e-9  # of a threshold: ten times 0.1 fill 1, though they add up to a little less


class BarRule(Protocol):
    """What ends a bar."""

    def start(self) -> Memory:
        """What is known before the first trade."""
        ...

    def cut(self, trades: Trades, memory: Memory, cuts: Ints) -> int:
        """How many bars begin in a batch; writes their first trades' places into `cuts`, brings `memory` up to date.

        A place just past the batch says that a bar ended with its last trade.
        """
        ...


def _refuse_outside(rule: object, name: str, value: float, low: float, high: float = np.inf) -> None:
    if not (low < value < high):
        where = f"between {low:g} and {high:g}" if high < np.inf else f"> {low:g} and finite"
        raise ParameterError(f"{type(rule).__name__}.{name} must be {where}, got {value}")


@dataclass(frozen=True)
class TimeBars:
    """Intervals of one width, aligned to 1970-01-01 UTC; a trade at its end belongs to the next.

    An interval without trades has no bar: `Bars.on_clock` lays them.

    Parameters
    ----------
    width : a duration, "1min".
    sampled : None takes returns from trade to trade, across bars. A duration that divides the width takes them between
        the last prices before its multiples instead: prices that bounce between bid and ask inflate the variance of the
        former (Zhang, Mykland and Ait-Sahalia 2005, J. American Statistical Association 100), and a multiple that no
        trade preceded since the last is a return of zero.

    Raises
    ------
    ParameterError
        If one is no positive duration, or the step does not divide the width.
    """

    width: str = "1min"
    sampled: str | None = None

    def __post_init__(self) -> None:
        width, step = self.nanoseconds, self.step
        if step and width % step:
            raise ParameterError(f"TimeBars.sampled must divide the width {self.width!r}, got {self.sampled!r}")

    @property
    def nanoseconds(self) -> int:
        """The width in ns."""
        return int(plain_span(self.width, "TimeBars.width").astype(np.int64))

    @property
    def step(self) -> int:
        """The step at which prices are sampled in ns; 0 for from trade to trade."""
        return int(plain_span(self.sampled, "TimeBars.sampled").astype(np.int64)) if self.sampled is not None else 0

    def start(self) -> Memory:
        """No interval is open."""
        return np.array([UNSET])

    def cut(self, trades: Trades, memory: Memory, cuts: Ints) -> int:
        """Where the first trade of each next interval stands."""
        return time_cuts(trades.time, self.nanoseconds, memory, cuts)


@dataclass(frozen=True)
class VolumeBars:
    """Bars of at least `volume` units of what sizes count; ParameterError unless that is > 0."""

    volume: float

    def __post_init__(self) -> None:
        _refuse_outside(self, "volume", self.volume, 0.0)

    def start(self) -> Memory:
        """Nothing is traded yet."""
        return np.zeros(1)

    def cut(self, trades: Trades, memory: Memory, cuts: Ints) -> int:
        """One past each trade that fills a bar."""
        return threshold_cuts(trades.size, self.volume * _FULL, memory, cuts)


@dataclass(frozen=True)
class DollarBars:
    """Bars in which at least `value` is traded, in quote currency.

    Parameters
    ----------
    value : > 0.
    multiplier : of a contract, where sizes count contracts: units of base, or of an inverse one quote currency.
    inverse : whether the contract is settled in base.

    Raises
    ------
    ParameterError
        If the value or the multiplier is not > 0, or there is none of an inverse contract.
    """

    value: float
    multiplier: float | None = None
    inverse: bool = False

    def __post_init__(self) -> None:
        _refuse_outside(self, "value", self.value, 0.0)
        if self.inverse or self.multiplier is not None:
            _refuse_outside(self, "multiplier", self.multiplier or 0.0, 0.0)

    def refuse_contracts(self, records: Records) -> None:
        """DataError where sizes are contracts of nobody knows which worth."""
        if self.multiplier is None and counts_contracts(records):
            where = f"sizes of {records.venue} {records.symbol} count contracts"
            raise DataError(f"{where}: expected DollarBars with the multiplier of one, got none")

    def start(self) -> Memory:
        """Nothing is traded yet."""
        return np.zeros(1)

    def cut(self, trades: Trades, memory: Memory, cuts: Ints) -> int:
        """One past each trade that fills a bar."""
        worth = trades.size * (1.0 if self.multiplier is None else self.multiplier)
        return threshold_cuts(worth if self.inverse else trades.price * worth, self.value * _FULL, memory, cuts)


@dataclass(frozen=True)
class TickBars:
    """Bars of `trades` trades each; ParameterError unless at least 1."""

    trades: int

    def __post_init__(self) -> None:
        _refuse_outside(self, "trades", self.trades, 0.0)

    def start(self) -> Memory:
        """No trade yet."""
        return np.zeros(1)

    def cut(self, trades: Trades, memory: Memory, cuts: Ints) -> int:
        """One past every so many trades."""
        return threshold_cuts(np.ones(len(trades.time)), self.trades * _FULL, memory, cuts)


@dataclass(frozen=True)
class ImbalanceBars:
    """Bars that end as soon as |signed volume| reaches what past bars let expect.

    Expected are E[trades a bar] times |E[signed volume a trade]|, each an exponentially weighted mean over the bars
    that have ended (Lopez de Prado 2018, section 2.3.2). The side is the venue's and not a tick rule's; a trade without
    one adds to the trades but to no flow. Ours: limits on what is expected, without which the lengths run away to one
    trade or to all of them.

    Parameters
    ----------
    trades, flow : what is expected of the first bar: its number of trades, and its absolute signed volume a trade.
    half_life : bars after which a bar weighs half.
    limit : the expected imbalance stays within a factor `limit` of the first, up and down.

    Raises
    ------
    ParameterError
        If one is not > 0, or the limit not > 1.
    """

    trades: float
    flow: float
    half_life: float = 20.0
    limit: float = 10.0

    def __post_init__(self) -> None:
        for name, low in (("trades", 0.0), ("flow", 0.0), ("half_life", 0.0), ("limit", 1.0)):
            _refuse_outside(self, name, getattr(self, name), low)

    def start(self) -> Memory:
        """No flow yet, and what the first bar is expected to be."""
        return np.array([0.0, 0.0, self.trades, self.flow])

    def cut(self, trades: Trades, memory: Memory, cuts: Ints) -> int:
        """One past each trade that outgrows what is expected."""
        first = self.trades * self.flow
        weight = 1.0 - 0.5 ** (1.0 / self.half_life)
        return imbalance_cuts(trades.size, trades.side, weight, first / self.limit, first * self.limit, memory, cuts)
