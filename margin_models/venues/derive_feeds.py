"""What do the feeds of Derive (once Lyra) say of its options and their expiries?"""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data import DataError, Floats
from data.arrays import Bools, Places
from margin_models.venues.checks import finite, not_negative, positive

YEAR_SECONDS = 365 * 86_400
AVERAGING_SECONDS = 1_800


@dataclass(frozen=True, eq=False)
class Expiries:
    """The feeds of E expiries, (E,) each.

    Parameters
    ----------
    seconds : until expiry; 0 from expiry on.
    variable, fixed : the part of the forward that still moves, and the part already averaged into the settlement price.
    rate : continuously compounded; the venue takes one below 0 as 0.
    confidence : least confidence of the feeds of the expiry (forward and rate), 0 to 1.
    """

    seconds: Floats
    variable: Floats
    fixed: Floats
    rate: Floats
    confidence: Floats

    def __post_init__(self) -> None:
        _one_length("expiries", self.seconds, self.variable, self.fixed, self.rate, self.confidence)
        not_negative("seconds to expiry", self.seconds)
        not_negative("variable part of the forward", self.variable)
        not_negative("fixed part of the forward", self.fixed)
        positive("forward", self.forward)
        finite("rate", self.rate)
        confident("confidence of an expiry", self.confidence)

    @classmethod
    def averaging(cls, seconds: Floats, forward: Floats, rate: Floats, confidence: Floats) -> "Expiries":
        """From whole forwards (E,): over the last 30 minutes an even share of each becomes the settlement price."""
        moving = np.minimum(not_negative("seconds to expiry", seconds) / AVERAGING_SECONDS, 1.0)
        return cls(seconds, forward * moving, forward * (1.0 - moving), rate, confidence)

    def __len__(self) -> int:
        return self.seconds.size

    @property
    def forward(self) -> Floats:
        """The forward at the spot of now, (E,)."""
        return self.variable + self.fixed

    @property
    def tenor(self) -> Floats:
        """Years of 365 days, (E,)."""
        return self.seconds / YEAR_SECONDS

    @property
    def counted_rate(self) -> Floats:
        """The rate that the venue counts with, never below 0, (E,)."""
        return np.maximum(self.rate, 0.0)

    @property
    def discount(self) -> Floats:
        """What one USD at expiry is worth now, at most 1, (E,)."""
        return np.exp(-self.counted_rate * self.tenor)


@dataclass(frozen=True, eq=False)
class Options:
    """N options, (N,) each.

    Parameters
    ----------
    expiry : the place of the option's expiry among the expiries.
    strike, call : what it is.
    volatility : implied volatility by the venue's mark, annual.
    confidence : of the volatility feed, 0 to 1.
    """

    expiry: Places
    strike: Floats
    call: Bools
    volatility: Floats
    confidence: Floats

    def __post_init__(self) -> None:
        _one_length("options", self.expiry, self.strike, self.call, self.volatility, self.confidence)
        positive("strike", self.strike)
        not_negative("volatility", self.volatility)
        confident("confidence of a volatility", self.confidence)
        if self.call.dtype != np.bool_ or not np.issubdtype(self.expiry.dtype, np.integer):
            raise DataError(f"call must be bool and expiry whole, got {self.call.dtype} and {self.expiry.dtype}")
        if self.expiry.size and self.expiry.min() < 0:
            raise DataError(f"an option's expiry must be a place >= 0, got {self.expiry.min()}")

    def __len__(self) -> int:
        return self.strike.size

    def only(self, kept: Bools | Places) -> "Options":
        """Some of the options."""
        return Options(*(getattr(self, item.name)[kept] for item in fields(self)))

    @cached_property
    def by_contract(self) -> Floats:
        """Adds what is the same contract listed twice: (N, C) of 0 and 1, one column a contract."""
        return _membership(self._contracts[1])

    @cached_property
    def contracts(self) -> "Options":
        """Each contract once, (C,) options in the order of the columns of `by_contract`."""
        first = self._contracts[0]
        return self.only(first)

    @cached_property
    def _contracts(self) -> tuple[Places, Places]:
        return _distinct(np.stack([self.expiry, self.strike, self.call], axis=1))

    @cached_property
    def by_strike(self) -> Floats:
        """Adds the call and the put of a strike: (N, K) of 0 and 1, one column a strike and expiry."""
        return _membership(_distinct(np.stack([self.expiry, self.strike], axis=1))[1])

    def naked_shorts(self, quantity: Floats) -> Floats:
        """Options sold that no option held at the same strike and expiry makes up for, (...), of quantities (..., N).

        At one strike a call held makes up for a put sold and the other way round, so that what counts is their sum.
        """
        return np.asarray(np.maximum(-(quantity @ self.by_strike), 0.0).sum(axis=-1))

    def gross(self, quantity: Floats, count: int) -> Floats:
        """Options held or sold, all counted as positive, in each of `count` expiries, (..., E)."""
        of_expiry = [self.expiry == e for e in range(count)]
        each = [np.abs(quantity[..., mine] @ self.by_contract[mine]).sum(axis=-1) for mine in of_expiry]
        return np.stack(each, axis=-1) if each else np.zeros((*quantity.shape[:-1], 0))

    def least_confidence(self, quantity: Floats, expiries: Expiries, market: Floats) -> Floats:
        """Least confidence of all feeds that each expiry's options need, (..., E); `market` (...) is that of spot.

        Only options held or sold count.
        """
        needed = np.where(quantity != 0, self.confidence, 1.0)
        each = [needed[..., self.expiry == e].min(axis=-1, initial=1.0) for e in range(len(expiries))]
        volatility = np.stack(each, axis=-1) if each else np.ones((*quantity.shape[:-1], 0))
        return np.minimum(np.minimum(volatility, expiries.confidence), np.asarray(market)[..., None])


@dataclass(frozen=True, eq=False)
class Market:
    """What the feeds that a portfolio margin needs say of one underlying: prices in USD, confidences 0 to 1.

    The feed of the perpetual is only asked where one is held. `stable_price` is that of the coin that cash is held in.
    """

    spot: float
    spot_confidence: float
    stable_price: float
    perpetual_price: float
    perpetual_confidence: float
    expiries: Expiries
    options: Options

    def __post_init__(self) -> None:
        positive("stable price", self.stable_price)
        prices, sure = (self.spot, self.perpetual_price), (self.spot_confidence, self.perpetual_confidence)
        refuse_bad_feeds(prices, sure, self.expiries, self.options)


def refuse_bad_feeds(
    prices: tuple[float, float], confidences: tuple[float, float], expiries: Expiries, options: Options
) -> None:
    """DataError for prices or confidences (spot, perpetual) that cannot be, or an option whose expiry has no feed."""
    positive("spot", prices[0])
    not_negative("perpetual price", prices[1])
    confident("confidence", np.array(confidences))
    if len(options) and options.expiry.max() >= len(expiries):
        raise DataError(f"an option's expiry must be one of {len(expiries)}, got {options.expiry.max()}")


def by_expiry(quantity: Floats, unit: Floats, expiry: Places, count: int) -> Floats:
    """Values of the holdings in each expiry, (..., E, S), from quantities (..., N) and unit values (N, S)."""
    held = [quantity[..., expiry == e] @ unit[expiry == e] for e in range(count)]
    return np.stack(held, axis=-2) if held else np.zeros((*quantity.shape[:-1], 0, unit.shape[1]))


def confident(name: str, values: Floats) -> Floats:
    """The values, any shape; DataError where one is outside [0, 1] or NaN."""
    each = not_negative(name, values)
    not_negative(f"1 - {name}", 1.0 - each)
    return each


def _distinct(keys: Floats) -> tuple[Places, Places]:
    """Where each distinct row of the keys first is, (C,), and which of these each row is, (N,)."""
    _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first, place.ravel()


def _membership(place: Places) -> Floats:
    return np.asarray(place[:, None] == np.arange(place.max(initial=-1) + 1), dtype=np.float64)


def _one_length(what: str, *arrays: NDArray[np.generic]) -> None:
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise DataError(f"{what} must be arrays of one length, got the shapes {sorted(shapes)}")
