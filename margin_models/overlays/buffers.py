"""What is kept in reserve in calm times, so that margins need not jump in a crisis?

Article 28(1) of Regulation (EU) 153/2013 asks a central counterparty for one of three: (a) a buffer of at least 25 %
that may be exhausted while margins rise (`Buffer`), (b) at least 25 % weight for stressed observations, (c) margins not
below those by the volatility of ten years (`LookbackFloor`).
"""

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from margin_models.base import MarginModel, Requirement
from margin_models.historical_var import HistoricalVaR
from margin_models.overlays.base import Overlay, changed_by
from margin_models.overlays.looks_back import LooksBack, free_name
from margin_models.overlays.past_charges import PastBook


def buffered(charge: Floats, reference: Floats, share: float) -> Floats:
    """Charges with a buffer of `share` on top, given up as they rise above what is usual, same shape.

    max(charge, min((1 + share) charge, (1 + share) reference)): whole up to the reference, gone at 1 + share times it.
    NaN where a charge is; whole where the reference is unknown.

    >>> buffered(np.array([0.8, 1.0, 1.2, 1.5]), np.ones(4), 0.25).tolist()
    [1.0, 1.25, 1.25, 1.5]
    """
    return np.asarray(np.maximum(charge, np.fmin((1.0 + share) * charge, (1.0 + share) * reference)))


class Buffer(LooksBack):
    """Any model and a buffer that is used up as margins rise: article 28(1)(a) of Regulation (EU) 153/2013.

    What is usual, the reference, is the median of what the model would have charged the same book over the lookback: a
    crisis within it moves a mean, and with it the buffer, by as much as it lasts and is high, but hardly the median.
    As long as no charge of before is known the buffer is whole.

    Parameters
    ----------
    model : what is charged.
    share : of the model's margin that is kept on top; 0.25 is what the article asks for at least.
    lookback, every : how many earlier charges are looked at, and how many rows apart.
    """

    own = "buffer"

    def __init__(self, model: MarginModel, share: float = 0.25, lookback: int = 100, every: int = 10) -> None:
        self.model = model
        self.share = share
        self.lookback = lookback
        self.every = every

    def _refuse_bad_parameters(self) -> None:
        super()._refuse_bad_parameters()
        if not 0 <= self.share < np.inf:
            raise ParameterError(f"Buffer needs a share >= 0, got {self.share}. Typical value: 0.25.")

    def _reach(self, past: MarketHistory) -> tuple[int, int]:  # noqa: ARG002  the same for every past
        return self.lookback, self.every

    def _unit_charge(self, unit: Floats, before: Floats, then: PastBook) -> Floats:  # noqa: ARG002
        return buffered(unit, _median(before), self.share)


def _median(charges: Floats) -> Floats:
    """Median of what is known of (K, P), (P,); NaN where nothing is."""
    some = np.isfinite(charges).any(axis=0)
    told = np.full(charges.shape[1], np.nan)
    told[some] = np.nanmedian(charges[:, some], axis=0)
    return told


class LookbackFloor(Overlay):
    """Any model, and never less than another asks by ten years alike: article 28(1)(c) of Regulation (EU) 153/2013.

    The article speaks of the margin by "volatility estimated over a 10 year historical lookback". That is what an
    unfiltered model asks that was fitted on all of the last ten years, as no year weighs more than another; the mean of
    what a filtered model would have charged meanwhile is a mean of forecasts, which are below that margin wherever the
    deep losses came as surprises. It costs one charge, of a model fitted at each decision. With less past the floor is
    by all there is, as it is where the market is younger than ten years.

    Parameters
    ----------
    model : what is charged.
    floor : fitted on the years up to each decision and charged; `HistoricalVaR()` where None.
    years : how far back, of 365.25 days.

    Attributes
    ----------
    model_ : the fitted model.
    """

    def __init__(self, model: MarginModel, floor: MarginModel | None = None, years: float = 10.0) -> None:
        self.model = model
        self.floor = floor
        self.years = years

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of the model and of the floor, (P,)."""
        long, floor = self._by_all_years(past)
        return self.model_.multiplications(past, book) + floor.multiplications(long, book)

    def _learn(self, past: MarketHistory, coverage: Coverage) -> None:  # noqa: ARG002  the model has learned
        if not 0 < self.years < np.inf:
            raise ParameterError(f"LookbackFloor needs years > 0, got {self.years}. Typical value: 10.")

    def _over(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        long, floor = self._by_all_years(past)
        missing = np.maximum(floor.margin(long, book) - asked.initial, 0.0)
        return changed_by(asked, free_name("lookback floor", asked.components), missing)

    def _by_all_years(self, past: MarketHistory) -> tuple[MarketHistory, MarginModel]:
        """The years up to now, and the floor fitted on them."""
        start = past.time[-1] - np.timedelta64(round(self.years * 365.25 * 24), "h")
        long = past.rows(int(np.searchsorted(past.time, start)), len(past))
        fresh: MarginModel = HistoricalVaR() if self.floor is None else clone(self.floor)
        return long, fresh.fit(long, self.coverage_)
