"""What if the feed that prices the book is not sure, or has stopped?"""

import numpy as np

from data import Book, Coverage, DataError, Floats, HistoryError, MarketHistory, ParameterError
from data.clock import plain_span
from data.valuation import notionals
from margin_models.base import MarginModel, Requirement
from margin_models.overlays.base import Overlay
from margin_models.venues.derive_scan import confidence_share


class OracleAddOn(Overlay):
    """An add-on of (1 - confidence) x `factor` of gross notional on underlyings whose oracle is less sure than a limit.

    Derive's rule for its portfolio margin (mainnet's threshold and factor by default), on initial margin alone: a feed
    that falters keeps risk from being added, and liquidates nobody. A feed without a sample within `stale` of now is
    not sure at all.

    Parameters
    ----------
    model : what is charged before.
    threshold : confidence from which nothing is added, 0 to 1.
    factor : share of notional that a feed of no confidence costs, >= 0.
    stale : age from which a sample no longer counts.
    feature : what the history calls the confidence of each underlying's oracle, 0 to 1.
    assumed : confidence of all oracles where the history has no such feature; None refuses to fit there.
    """

    def __init__(
        self,
        model: MarginModel,
        threshold: float = 0.55,
        factor: float = 1.0,
        stale: str = "1h",
        feature: str = "oracle_confidence",
        assumed: float | None = None,
    ) -> None:
        self.model = model
        self.threshold = threshold
        self.factor = factor
        self.stale = stale
        self.feature = feature
        self.assumed = assumed

    def confidence(self, past: MarketHistory) -> Floats:
        """The newest confidence of each underlying's oracle, (A,); 0 where it is stale.

        Raises
        ------
        HistoryError
            Where the history has none, and none is assumed.
        DataError
            For a confidence outside 0 to 1.
        """
        if self.feature not in past.feature_names or past.features is None:
            return self._assumed(past)
        first = int(np.searchsorted(past.time, past.time[-1] - plain_span(self.stale, "stale")))
        told = past.features[first:, :, past.feature_names.index(self.feature)]
        known = np.isfinite(told)
        newest = len(told) - 1 - known[::-1].argmax(axis=0)
        sure = np.where(known.any(axis=0), told[newest, np.arange(told.shape[1])], 0.0)
        wrong = np.flatnonzero(~((sure >= 0) & (sure <= 1)))
        if wrong.size:
            name, got = past.underlyings[wrong[0]], sure[wrong[0]]
            raise DataError(
                f"expected a confidence of the oracle of {name} within 0 to 1, got {got} at {past.time[-1]}"
            )
        return sure

    def _assumed(self, past: MarketHistory) -> Floats:
        if self.assumed is None:
            known = past.feature_names or "none at all"
            raise HistoryError(
                f"{self!r}: the history has no feature {self.feature!r} that says how sure oracles are, got {known}; "
                "lay it with history.with_features, or say what is assumed"
            )
        return np.full(len(past.underlyings), float(self.assumed))

    def _over(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        state = past.now
        share = confidence_share(self.confidence(past), self.threshold, self.factor)
        gross = book.by_underlying(notionals(book.listing, state) / state.rate, state, gross=True)
        more = gross @ share
        parts = {**asked.components, "oracle": more}
        return Requirement(book.portfolios, asked.initial + more, asked.maintenance, parts, asked.worst)

    def _learn(self, past: MarketHistory, coverage: Coverage) -> None:  # noqa: ARG002  only whether there is a feed
        plain_span(self.stale, "stale")
        shares = (self.threshold, 0.0 if self.assumed is None else self.assumed)
        if not (all(0 <= share <= 1 for share in shares) and 0 <= self.factor < np.inf):
            raise ParameterError(
                "OracleAddOn needs a threshold and an assumed confidence within 0 to 1 and a factor >= 0, got "
                f"{self.threshold}, {self.assumed} and {self.factor}"
            )
        self.confidence(past)
