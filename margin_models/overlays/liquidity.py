"""What does it cost to close the book in the market that is there, and how long does it take?"""

from typing import NamedTuple

import numpy as np

from data import Book, Coverage, Floats, HistoryError, MarketHistory, MarketState, ParameterError
from data.arrays import Bools
from data.flow.closing import Trading, days_a_row, depth_cost, lately_traded
from margin_models.base import MarginModel, Requirement
from margin_models.overlays.base import Overlay, changed_by

_LATELY = 30.0  # days over which volume and volatility are read


class Concentration(NamedTuple):
    """How large each portfolio's position in each underlying is, (P, A): over a day's volume, and in days to close."""

    of_volume: Floats
    days: Floats


class LiquidityAddOn(Overlay):
    """An add-on for what closing costs, and one for positions too large to be closed within the horizon.

    Liquidity: all longs of a portfolio on one underlying are sold to the bids together, all shorts bought back from the
    asks, options by their underlying's notional. They walk the depth that the history has now. What is not offered
    there, or all where no depth is known, pays the square-root law:

        share of notional = impact x a day's volatility x sqrt(size / a day's volume),

    each a mean over the newest 30 days. Almgren, Thum, Hauptmann and Li (2005), "Direct estimation of equity market
    impact", Risk 18, measure a power of 0.6; Toth et al. (2011), Phys. Rev. X 1, 021006, find the root, with an impact
    near 1 at the end of the execution (what is paid on average is two thirds of that).

    Concentration: a position that takes more days to close than the horizon has, at a `participation` in the volume,
    raises the model's margin by the root of how many times longer, as the liquidity horizons of Basel's MAR33 do; each
    underlying by its share of gross notional. Both add-ons grow faster than the book.

    Parameters
    ----------
    model : what is charged before.
    account_size : USD that one unit of gross notional stands for.
    half_spread : share of notional paid whatever the size.
    impact : share of a day's volatility that is paid for closing a whole day's volume.
    participation : share of volume that closing may take; None asks for no concentration add-on.
    assumed_volume : USD a day that an underlying is taken to trade where the history knows no volume, or knows of none;
        None refuses to charge there.
    """

    def __init__(
        self,
        model: MarginModel,
        account_size: float = 1e6,
        half_spread: float = 0.0001,
        impact: float = 1.0,
        participation: float | None = 0.1,
        assumed_volume: float | None = None,
    ) -> None:
        self.model = model
        self.account_size = account_size
        self.half_spread = half_spread
        self.impact = impact
        self.participation = participation
        self.assumed_volume = assumed_volume

    def concentration(self, past: MarketHistory, book: Book) -> Concentration:
        """Share of a day's volume and days to close, NaN without a participation; HistoryError without a volume."""
        sides = self._sides(past.now, book)
        largest = sides.max(axis=2)
        volume = self._traded(past, (largest > 0).any(axis=0)).volume
        of_volume = np.divide(largest, volume, out=np.zeros_like(largest), where=largest > 0)
        return Concentration(of_volume, of_volume / (np.nan if self.participation is None else self.participation))

    def cost(self, past: MarketHistory, book: Book) -> Floats:
        """What closing costs each portfolio, (P,), in the numeraire per unit of the book.

        HistoryError where the volume is needed and not known.
        """
        state, sides = past.now, self._sides(past.now, book)
        walked, left = self._walked(state, sides)
        traded = self._traded(past, np.asarray((left > 0).any(axis=(0, 2))))
        alone = np.divide(left, traded.volume[:, None], out=np.zeros_like(left), where=left > 0)
        rate = np.where(left > 0, traded.volatility[:, None] * np.sqrt(alone), 0.0)
        paid = (walked + self.impact * left * rate).sum(axis=(1, 2))
        return np.asarray(paid / (self.account_size * state.rate))

    def _over(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        longer = asked.initial * (self._lengthening(past, book) - 1.0)
        return changed_by(changed_by(asked, "concentration", longer), "liquidity", self.cost(past, book))

    def _lengthening(self, past: MarketHistory, book: Book) -> Floats:
        """By what the margin of a horizon is to be multiplied to last until the book is closed, (P,)."""
        if self.participation is None:
            return np.ones(len(book.portfolios))
        horizon = past.steps(self.coverage_) * days_a_row(past)
        longer = np.sqrt(np.maximum(self.concentration(past, book).days / horizon, 1.0)) - 1.0
        gross = self._sides(past.now, book).sum(axis=2)
        held = gross.sum(axis=1)
        return np.asarray(1.0 + (longer * gross).sum(axis=1) / np.where(held > 0, held, 1.0))

    def _sides(self, state: MarketState, book: Book) -> Floats:
        """USD of each account to sell to the bids and to buy from the asks, by underlying, (P, A, 2)."""
        portfolio, instrument, notional = book.positions(state)
        column = book.listing.columns(state.underlyings)[instrument]
        shape = (len(book.portfolios), len(state.underlyings), 2)
        place = np.ravel_multi_index((portfolio, column, (notional < 0).astype(np.intp)), shape)
        usd = np.abs(notional) * (state.rate * self.account_size)
        return np.bincount(place, usd, minlength=int(np.prod(shape))).astype(np.float64).reshape(shape)

    def _walked(self, state: MarketState, sides: Floats) -> tuple[Floats, Floats]:
        """USD that walking the depth costs, half the spread where it is unknown, and USD not offered, as the sides."""
        depth = np.full((*sides.shape[1:], 0), np.nan) if state.depth is None else state.depth
        each = np.broadcast_to(depth, (*sides.shape, depth.shape[2])).reshape(sides.size, depth.shape[2])
        walked = depth_cost(each, state.depth_bands, sides.ravel(), half_spread=self.half_spread).reshape(sides.shape)
        offered = np.where(np.isnan(depth), 0.0, depth).max(axis=2, initial=0.0)
        return walked, np.maximum(sides - offered, 0.0)

    def _traded(self, past: MarketHistory, needed: Bools) -> Trading:
        """Volume and volatility lately; HistoryError where one is needed (A,) and neither known nor assumed."""
        told = lately_traded(past, _LATELY)
        volume = told.volume
        if self.assumed_volume is not None:
            volume = np.where(volume > 0, volume, self.assumed_volume)
        unknown = np.flatnonzero(needed & ~((volume > 0) & np.isfinite(told.volatility)))
        if unknown.size:
            raise HistoryError(
                f"{self!r}: the cost of closing {past.underlyings[unknown[0]]} at {str(past.time[-1])[:19]} needs its "
                f"volume and its returns over {_LATELY:g} days, or a volume assumed, got "
                f"{volume[unknown[0]]:g} USD a day at a volatility of {told.volatility[unknown[0]]:g}"
            )
        return Trading(volume, told.volatility)

    def _learn(self, past: MarketHistory, coverage: Coverage) -> None:  # noqa: ARG002  only the parameters are checked
        positive = {"account_size": self.account_size, "participation": self.participation}
        positive["assumed_volume"] = self.assumed_volume
        for name, given in positive.items():
            if given is not None and not 0 < given < np.inf:
                raise ParameterError(f"LiquidityAddOn needs {name} > 0 and finite, got {given}")
        if not (0 <= self.half_spread < 1 and 0 <= self.impact < np.inf):
            got = (self.half_spread, self.impact)
            raise ParameterError(f"LiquidityAddOn needs half_spread in [0, 1) and impact >= 0, got {got}")
