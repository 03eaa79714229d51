"""What must be added so that a portfolio whose parts offset each other outlives the end of their correlations?"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from data.laws import unit_tail
from margin_models import operations
from margin_models.base import CovarianceEstimator, MarginModel, Requirement
from margin_models.correlation_stress import SEVERE, Severity, past_correlations, stressed_margins
from margin_models.correlation_var import deviation
from margin_models.covariance import EwmaCovariance, correlation_of, sound_covariance

PARTS = ("base", "correlation breakdown", "offset cap")
_AT_ONCE = 4_000_000  # figures: past windows are taken so many at a time that they fit the memory
LEAST_WINDOW = 20  # horizons: the correlations of fewer are mostly noise


class Breakdown(NamedTuple):
    """What a margin is made of, (P,) each, and the stress that is worst for each book, "" where none is."""

    base: Floats
    breakdown: Floats
    offset_cap: Floats
    worst: tuple[str, ...]


class StressedExcess(NamedTuple):
    """How far the worst of some stressed margins lies above the base, (P,), and which that is, "" where none does."""

    excess: Floats
    worst: tuple[str, ...]


def excess_over(base: Floats, names: Sequence[str], margins: Floats) -> StressedExcess:
    """Of margins (S, P) by the names of S stresses, over the base (P,)."""
    furthest, excess = margins.argmax(axis=0), margins.max(axis=0) - base
    worst = tuple(names[k] if more > 0 else "" for k, more in zip(furthest, excess, strict=True))
    return StressedExcess(np.maximum(excess, 0.0), worst)


def stated_excess(exposure: Floats, base: Floats, severity: Severity) -> StressedExcess:
    """How far a severity leads (P, A) exposures above the base margins (P,)."""
    moved = {"": base, **stressed_margins(exposure, base, severity)}
    return excess_over(base, [f"{severity.name}: correlations {end}" for end in moved], np.stack([*moved.values()]))


def worse_of(one: StressedExcess, other: StressedExcess) -> StressedExcess:
    """The larger excess of two for each book."""
    higher = other.excess > one.excess
    names = tuple(b if h else a for a, b, h in zip(one.worst, other.worst, higher, strict=True))
    return StressedExcess(np.maximum(one.excess, other.excess), names)


class CorrelationBreakdown(MarginModel):
    """`CorrelationVaR`, an add-on for correlations that break, and a cap on what one underlying may offset of another.

    Each severity moves all correlations towards 1, towards 0 and against the book, at today's volatilities; its excess
    is how far the worst of these margins lies above the base: it grows with each share, and what a book does not hold
    cannot matter to it. The add-on is the mean excess over the severities, or the excess of the worst past window where
    that is more, between `least` and `most` times the offset (the margins of all underlyings alone less the base). It
    is a mean, so a milder severity beside a severe one lowers it. It is modelled on what Eurex says of PRISMA's
    correlation-break adjustment, whose excess is over rolling windows. In the end no more than `largest_offset` of the
    offset is granted: 80 % is the figure of article 27 of Regulation (EU) 153/2013 as we remember it, unconfirmed.
    `requirement` shows the margin without and with.

    A past window speaks of the pairs that it knows; a pair that was not listed then, or stood still, keeps today's
    correlation, so that a new listing takes no window from the others. Options are seen by their delta alone: a
    delta-neutral book of them has no base, no offset and no add-on here. Windows cost time, by the square of
    the underlyings held: of 500 at once, over 1,500 days, a decision takes about a second; `window=None` takes none.

    Parameters
    ----------
    covariance : how co-movement is estimated; `EwmaCovariance()` where None.
    degrees : degrees of freedom of a Student-t law, > 2; None for a normal one.
    severities : how far correlations are moved; none leaves the past alone to speak.
    window : horizons of a past window, 20 at least; None leaves the past out.
    limits : least and most of the add-on, as shares of the offset.
    largest_offset : share of the offset that is granted, in [0, 1].

    Attributes
    ----------
    covariance_ : the fitted estimator.
    """

    def __init__(
        self,
        covariance: CovarianceEstimator | None = None,
        degrees: float | None = None,
        severities: tuple[Severity, ...] = (SEVERE,),
        window: int | None = 60,
        limits: tuple[float, float] = (0.0, 1.0),
        largest_offset: float = 0.8,
    ) -> None:
        self.covariance = covariance
        self.degrees = degrees
        self.severities = severities
        self.window = window
        self.limits = limits
        self.largest_offset = largest_offset

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the estimator; ParameterError for what is out of range."""
        self._check()
        estimator = EwmaCovariance() if self.covariance is None else clone(self.covariance)
        self.covariance_: CovarianceEstimator = estimator.fit(past, coverage)
        return super().fit(past, coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Base, add-on and what the cap asks for, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin without the add-on, the add-on, and what the cap on offsets asks for beyond it.

        `worst` is the stress that lies furthest above the base.
        """
        parts = self._parts(past, book)
        margin = parts.base + parts.breakdown + parts.offset_cap
        return Requirement(book.portfolios, margin, margin, dict(zip(PARTS, parts[:3], strict=True)), parts.worst)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of the deltas and of one quadratic form a correlation matrix, (P,)."""
        size = len(past.underlyings)
        windows = () if self.window is None else past_correlations(past, self.coverage_, self.window)
        forms = 1 + sum(len(starts) for starts, _ in windows)
        return np.asarray(
            operations.legs(book) + operations.BLACK * operations.options(book) + forms * size * (size + 1)
        )

    def _parts(self, past: MarketHistory, book: Book) -> Breakdown:
        covariance = sound_covariance(self.covariance_, past, book)
        multiple = unit_tail(self.coverage_.level, math.inf if self.degrees is None else self.degrees)[0]
        exposure = multiple * book.exposure(past.now) * np.sqrt(np.diag(covariance))
        correlation = correlation_of(covariance)
        base = deviation(exposure, correlation)
        offset = np.maximum(np.abs(exposure).sum(axis=1) - base, 0.0)
        stated = [stated_excess(exposure, base, severity) for severity in self.severities]
        seen = self._seen(past, exposure, base, correlation)
        mean = np.mean([told.excess for told in stated], axis=0) if stated else np.zeros_like(base)
        least, most = self.limits
        breakdown = np.clip(np.maximum(mean, seen.excess), least * offset, most * offset)
        cap = np.maximum((1.0 - self.largest_offset) * offset - breakdown, 0.0)
        furthest = np.argmax([told.excess for told in (*stated, seen)], axis=0)
        names = [told.worst for told in (*stated, seen)]
        return Breakdown(base, breakdown, cap, tuple(names[k][p] for p, k in enumerate(furthest)))

    def _seen(self, past: MarketHistory, exposure: Floats, base: Floats, correlation: Floats) -> StressedExcess:
        """The worst of the past windows, looked at in what some book is exposed to."""
        told = StressedExcess(np.zeros_like(base), ("",) * len(base))
        used = np.flatnonzero(exposure.any(axis=0))
        if self.window is None or used.size < 2:
            return told
        held, today = exposure[:, used], correlation[np.ix_(used, used)]
        batch = max(_AT_ONCE // held.size, 1)
        for starts, then in past_correlations(past, self.coverage_, self.window, used):
            for first in range(0, len(starts), batch):
                part = then[first : first + batch]
                margins = deviation(held, np.where(np.isnan(part), today, part))
                names = [f"window from {day}" for day in starts[first : first + batch]]
                told = worse_of(told, excess_over(base, names, margins))
        return told

    def _check(self) -> None:
        if self.degrees is not None and not self.degrees > 2:
            raise ParameterError(f"degrees must be > 2, got {self.degrees}. Typical values: 3-8.")
        if self.window is not None and self.window < LEAST_WINDOW:
            raise ParameterError(f"window must be >= {LEAST_WINDOW} horizons or None, got {self.window}. Typical: 60.")
        if not 0.0 <= self.limits[0] <= self.limits[1] <= 1.0:
            raise ParameterError(f"limits must be two shares in [0, 1], the lesser first, got {self.limits}")
        if not 0.0 <= self.largest_offset <= 1.0:
            raise ParameterError(f"largest_offset must lie in [0, 1], got {self.largest_offset}. Typical: 0.8.")
