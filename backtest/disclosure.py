"""What would a clearing house tell its supervisors about this margin: what was covered, and what was not?

The quantities of the CPMI-IOSCO public quantitative disclosures (2015) on the sufficiency of initial margin. Their
field numbers are given from memory, and marked so.
"""

from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.coverage_tests import traffic_light
from backtest.replay import Replay
from data import Floats, HistoryError, ParameterError
from data.arrays import Ints, Places
from data.clock import Stamps

FIELDS = {
    "breaches": "6.5.1",
    "observations": "6.5.2",
    "achieved coverage": "6.5.3",
    "average uncovered": "6.5.4",
    "peak uncovered": "6.5.5",
}
FIELDS_NOTE = "field numbers of the public quantitative disclosures are from memory [M], not checked against the text"
ALL_BOOKS = "all books"


@dataclass(frozen=True, eq=False)
class Disclosure:
    """The supervisors' figures of one replay; exposures are per unit of gross notional.

    Attributes
    ----------
    model, level : what was charged, and the share of losses that it was to cover.
    first, last : the first and the last decision that count.
    portfolios : P names.
    observations, breaches : (P,) decisions with a position, and those of them whose loss was above initial margin.
    average_uncovered, peak_uncovered : (P,) the part of the loss above margin, on average over the breaches and at
        most; 0 without a breach.
    trials, trial_breaches : (P,) the same counts on horizons that do not overlap, which the traffic light is read from.
    zone : (P,) "green", "yellow" or "red"; "" for a portfolio without a trial.
    time : (R,) dates of the aggregate.
    held, breached_books : (R,) portfolios with a position, and those in breach, on each date.
    margin, uncovered, peak : (R,) initial margin and uncovered exposure summed over portfolios, and the largest one.
    """

    model: str
    level: float
    first: np.datetime64
    last: np.datetime64
    portfolios: tuple[str, ...]
    observations: Ints
    breaches: Ints
    average_uncovered: Floats
    peak_uncovered: Floats
    trials: Ints
    trial_breaches: Ints
    zone: NDArray[np.str_]
    time: Stamps
    held: Ints
    breached_books: Ints
    margin: Floats
    uncovered: Floats
    peak: Floats

    def to_frame(self) -> pd.DataFrame:
        """One row a portfolio and, last, all of them together; achieved coverage is NaN without an observation.

        The traffic light of all books is not told: they are not independent trials.
        """
        columns = {
            "breaches": self.breaches,
            "observations": self.observations,
            "achieved coverage": _covered(self.breaches, self.observations),
            "average uncovered": self.average_uncovered,
            "peak uncovered": self.peak_uncovered,
            "trials": self.trials,
            "trial breaches": self.trial_breaches,
            "zone": self.zone,
        }
        whole = zip(columns.items(), self._together(), strict=True)
        table = {name: np.append(by_book, together) for (name, by_book), together in whole}
        return pd.DataFrame(table, index=pd.Index([*self.portfolios, ALL_BOOKS], name="portfolio"))

    def _together(self) -> list[int | float | str]:
        breaches, observations = int(self.breaches.sum()), int(self.observations.sum())
        mean = float(self.uncovered.sum()) / max(breaches, 1)
        counts = int(self.trials.sum()), int(self.trial_breaches.sum())
        return [breaches, observations, 1.0 - breaches / observations, mean, float(self.peak.max()), *counts, ""]

    def by_date(self) -> pd.DataFrame:
        """One row a decision: the books held and in breach, their margin, and the exposure it left uncovered."""
        columns = {
            "books": self.held,
            "books in breach": self.breached_books,
            "achieved coverage": _covered(self.breached_books, self.held),
            "margin": self.margin,
            "uncovered": self.uncovered,
            "average uncovered": self.uncovered / np.maximum(self.breached_books, 1),
            "peak uncovered": self.peak,
        }
        return pd.DataFrame(columns, index=pd.DatetimeIndex(self.time, tz="UTC", name="time"))

    def fields(self) -> pd.DataFrame:
        """The row of all books by field number; what the numbers are worth is in FIELDS_NOTE."""
        whole = self.to_frame().loc[ALL_BOOKS]
        index = pd.Index([f"{number} [M]" for number in FIELDS.values()], name="field")
        return pd.DataFrame({"quantity": list(FIELDS), "value": [whole[name] for name in FIELDS]}, index=index)

    def __repr__(self) -> str:
        span = f"{str(self.first)[:10]}..{str(self.last)[:10]}"
        return f"Disclosure({self.model}: {len(self.time)} decisions, {len(self.portfolios)} portfolios, {span})"

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(max_rows=20, float_format="{:.6g}".format)
        head = f"{escape(repr(self))}, to cover {100 * self.level:g} %"
        return f"<p>{head}</p>{table}<p>{escape(FIELDS_NOTE)}</p>"


def disclose(replay: Replay, *, months: int | None = None) -> Disclosure:
    """The supervisors' table of a replay, of its last `months` (the disclosures ask for 12) or of all of it where None.

    Raises
    ------
    ParameterError
        For months below 1, an infinite loss, or a margin that is not finite where a loss is known (that of a replay
        always is): its breaches could not be told.
    HistoryError
        Where no portfolio held anything then.
    """
    rows = _counted(replay.time, months)
    live, breached = replay.live[rows], replay.breached[rows]
    if not live.any():
        raise HistoryError(f"a disclosure needs a decision with a position, got none in {len(rows)} decisions")
    _refuse_untold(replay)
    short = np.where(breached, replay.shortfall[rows], 0.0)
    breaches = breached.sum(axis=0)
    alone = np.intersect1d(rows, replay.disjoint)
    trials, failed = replay.live[alone].sum(axis=0), replay.breached[alone].sum(axis=0)
    zone = np.where(trials > 0, traffic_light(failed, trials, 1.0 - replay.coverage.level).zone, "")
    return Disclosure(
        replay.model,
        replay.coverage.level,
        replay.time[rows[0]],
        replay.time[rows[-1]],
        replay.portfolios,
        live.sum(axis=0),
        breaches,
        short.sum(axis=0) / np.maximum(breaches, 1),
        short.max(axis=0),
        trials,
        failed,
        zone,
        replay.time[rows],
        live.sum(axis=1),
        breached.sum(axis=1),
        np.where(live, replay.initial[rows], 0.0).sum(axis=1),
        short.sum(axis=1),
        short.max(axis=1),
    )


def _counted(time: Stamps, months: int | None) -> Places:
    """The rows of the last so many months, up to the newest decision."""
    if months is None:
        return np.arange(len(time))
    if months < 1:
        raise ParameterError(f"months must be >= 1, got {months}. The disclosures ask for 12.")
    start = (pd.Timestamp(time[-1]) - pd.DateOffset(months=months)).to_datetime64()
    return np.flatnonzero(time > start)


def _refuse_untold(replay: Replay) -> None:
    untold = np.isinf(replay.loss) | (replay.live & ~np.isfinite(replay.initial))
    if untold.any():
        row, column = np.argwhere(untold)[0]
        raise ParameterError(
            f"a disclosure needs a finite margin for every loss, got {replay.initial[row, column]} for "
            f"{replay.loss[row, column]} in row {row}, {replay.portfolios[column]} ({int(untold.sum())} pairs)"
        )


def _covered(breaches: Ints, observations: Ints) -> Floats:
    return np.where(observations > 0, 1.0 - breaches / np.maximum(observations, 1), np.nan)
