"""What does every margin model, and every volatility forecaster, promise?"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from data import Book, Coverage, Floats, MarketHistory
from margin_models.requirement_plots import RequirementPlots


@dataclass(frozen=True, eq=False)
class Requirement:
    """What each portfolio must post, (P,) in the numeraire; the (P,) `components` sum to `initial`.

    `worst` names for each portfolio what drives its margin (a scenario, a past date), "" where the model has no such
    thing.
    """

    portfolios: tuple[str, ...]
    initial: Floats
    maintenance: Floats
    components: Mapping[str, Floats]
    worst: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row a portfolio: components, initial, maintenance and what was worst."""
        table = pd.DataFrame(dict(self.components), index=pd.Index(self.portfolios, name="portfolio"))
        table["initial"], table["maintenance"] = self.initial, self.maintenance
        if self.worst:
            table["worst"] = self.worst
        return table

    def summary(self) -> pd.DataFrame:
        """One row a portfolio: initial and maintenance margin, the largest component and its share, what was worst."""
        parts = pd.DataFrame(dict(self.components), index=pd.Index(self.portfolios, name="portfolio"))
        shown = pd.DataFrame({"initial": self.initial, "maintenance": self.maintenance}, index=parts.index)
        if len(parts.columns) > 1 and len(parts):
            shown["largest component"] = parts.idxmax(axis=1)
            due = np.where(shown["initial"] > 0, shown["initial"], np.nan)
            shown["its share"] = parts.max(axis=1) / due
        return shown.assign(worst=list(self.worst)) if self.worst else shown

    @property
    def plot(self) -> RequirementPlots:
        """Pictures: `requirement.plot.components()`."""
        index = pd.Index(self.portfolios, name="portfolio")
        return RequirementPlots(pd.DataFrame(dict(self.components), index=index), pd.Series(self.initial, index))

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:.6g}".format)


@dataclass(frozen=True, eq=False)
class TailForecast:
    """The law a model states for the loss: `var` and `es` (P,) at the coverage level, `sample` (P, S) if it
    has one, NaN in scenarios that a portfolio does not know.

    An elliptical law about zero says its `degrees` of freedom (infinite for the normal one); None for any other.
    """

    var: Floats
    es: Floats
    sample: Floats | None = None
    degrees: float | None = None


class MarginModel(BaseEstimator, ABC):
    """Learn from the past, then say what the whole book must post now.

    `__init__` stores its arguments and does nothing else; `fit` sets attributes ending in `_` and forgets any earlier
    fit. `past` always ends now.
    """

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn what must be survived, and how many rows there were to learn from."""
        self.coverage_ = coverage
        self.window_ = len(past)
        return self

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """One fitted model a stop, each from the `window` rows before it; override to fit them all at once."""
        for stop in stops:
            fresh: Self = clone(self)
            yield fresh.fit(history.rows(max(stop - window, 0), stop), coverage)

    @abstractmethod
    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Cover for the change in value over the horizon, (P,) in the numeraire, finite and >= 0."""

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin as the one component, initial and maintenance alike."""
        margin = self.margin(past, book)
        return Requirement(book.portfolios, margin, margin, {"margin": margin})

    def tail(self, past: MarketHistory, book: Book) -> TailForecast | None:  # noqa: ARG002  a default needs nothing
        """The law of the loss, or None where the model states none."""
        return None

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:  # noqa: ARG002  a default needs nothing
        """How many multiplications each portfolio's charge takes, (P,); NaN where the model does not say."""
        return np.full(len(book.portfolios), np.nan)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The requirement in the finest components the model can name, and what was worst where it has such a thing."""
        return self.requirement(past, book)


class VolatilityForecaster(BaseEstimator, ABC):
    """Forecast the standard deviation of each underlying's return over `Coverage.horizon`.

    The discipline is a margin model's. A forecast made at a row uses that row and the rows before it, nothing else.
    """

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn what is to be forecast, and how many rows there were to learn from."""
        self.coverage_ = coverage
        self.window_ = len(past)
        return self

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """One fitted forecaster a stop, each from the `window` rows before it; override to fit them all at once."""
        for stop in stops:
            fresh: Self = clone(self)
            yield fresh.fit(history.rows(max(stop - window, 0), stop), coverage)

    @abstractmethod
    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """What the fitted forecaster says at each of the newest `count` rows, (count, A), oldest first.

        Row i uses only rows up to itself. NaN where it has too little past to say anything.
        """

    def forecast(self, past: MarketHistory) -> Floats:
        """Standard deviation of the return over the horizon that starts now, (A,)."""
        return np.asarray(self.forecasts(past, 1)[-1])


class CovarianceEstimator(BaseEstimator, ABC):
    """Estimate how the underlyings move together over `Coverage.horizon`. The discipline is a margin model's."""

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn what is to be estimated, and how many rows there were to learn from."""
        self.coverage_ = coverage
        self.window_ = len(past)
        return self

    @abstractmethod
    def estimate(self, past: MarketHistory) -> Floats:
        """Second moments of horizon returns from the newest rows, (A, A).

        NaN where too little is known; what is known is part of a positive semi-definite matrix.
        """
