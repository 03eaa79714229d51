"""What do supervisors ask of each model's margin, when did evidence against it come in, and how hard does it pull?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from backtest.comparison import Comparison
from backtest.disclosure import ALL_BOOKS, FIELDS, disclose
from backtest.e_backtests import THRESHOLDS, evidence_path
from backtest.procyclicality import DAYS, procyclicality
from backtest.replay import Replay
from data import Floats, HistoryError, ParameterError
from data.clock import Stamps

TOGETHER = "books together"
_LARGEST = 1e300  # so that a sum over books stays a number
ZONES = ("green", "yellow", "red")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was staked on breaches of one model's margin has grown to, from one, on horizons that do not overlap.

    Attributes
    ----------
    model : whose margin it is.
    portfolios : P names.
    time : (T,) when each horizon had ended, so that its loss was known.
    loss, margin : (T, P) per unit of gross notional, NaN where nothing was held: no bet.
    capital : (T, P) evidence after each horizon; a right margin brings any of them ever to c with a chance of at most
        1 / c.
    """

    model: str
    portfolios: tuple[str, ...]
    time: Stamps
    loss: Floats
    margin: Floats
    capital: Floats

    @property
    def together(self) -> Floats:
        """Capital spread evenly over the books, (T,): evidence that the margin of some of them is wrong."""
        return np.asarray(np.minimum(self.capital, _LARGEST).mean(axis=1))

    def of(self, portfolio: str) -> Floats:
        """Evidence from one book, (T,), or from all of them where `TOGETHER` is asked for; ParameterError otherwise."""
        if portfolio == TOGETHER:
            return self.together
        if portfolio not in self.portfolios:
            raise ParameterError(f"no portfolio {portfolio!r} in this replay, there are {self.portfolios[:8]} ...")
        return self.capital[:, self.portfolios.index(portfolio)]

    def crossed(self, portfolio: str) -> dict[float, np.datetime64 | None]:
        """When the evidence first stood at each of the thresholds 2, 5 and 10; None where it never did."""
        path = self.of(portfolio)
        return {threshold: self._first(path >= threshold) for threshold in THRESHOLDS}

    def to_frame(self, portfolio: str) -> pd.DataFrame:
        """One row a horizon of one book: what was charged and lost, and the evidence then."""
        p = self.portfolios.index(portfolio) if portfolio in self.portfolios else None
        columns = {} if p is None else {"margin": self.margin[:, p], "loss": self.loss[:, p]}
        index = pd.DatetimeIndex(self.time, tz="UTC", name="time")
        return pd.DataFrame({**columns, "evidence": self.of(portfolio)}, index=index)

    def _first(self, reached: np.ndarray) -> np.datetime64 | None:
        return self.time[int(np.argmax(reached))] if reached.any() else None


def evidence_of(run: Replay, portfolios: Sequence[str] | None = None) -> Evidence:
    """Bet every horizon on a breach of the initial margin, growth-optimally, for some books or all.

    Margin is taken for the level's quantile of the loss: what asks for more than that is never told apart from it.
    ParameterError for a portfolio that the replay has not.
    """
    chosen = run.portfolios if portfolios is None else tuple(portfolios)
    unknown = [name for name in chosen if name not in run.portfolios]
    if unknown or not chosen:
        raise ParameterError(f"no portfolio {unknown} in this replay, there are {run.portfolios[:8]} ...")
    pairs = np.ix_(run.disjoint, np.array([run.portfolios.index(name) for name in chosen]))
    loss, margin = run.loss[pairs], run.initial[pairs]
    capital = evidence_path(loss, margin, 1.0 - run.coverage.level).capital
    return Evidence(run.model, chosen, run.end[run.disjoint], loss, margin, capital)


def evidence_rows(runs: Mapping[str, Replay], lead: str, standing: Sequence[str]) -> list[dict[str, Any]]:
    """One dict a model: when the evidence of the lead book crossed 2, 5 and 10, and the most it has been.

    Beside it the most of the `standing` books together, and the share of all books that ever came to 10.
    """
    rows = []
    for name, run in runs.items():
        told = evidence_of(run)
        few = Evidence(name, tuple(standing), told.time, *_columns(told, standing))
        rows.append(
            {
                "model": name,
                "crossed": told.crossed(lead),
                "highest": float(told.of(lead).max(initial=1.0)),
                "now": float(told.of(lead)[-1]),
                "together": float(few.together.max(initial=1.0)),
                "together_crossed": few.crossed(TOGETHER)[THRESHOLDS[-1]],
                "convicted": float((told.capital.max(axis=0, initial=1.0) >= THRESHOLDS[-1]).mean()),
            }
        )
    return rows


def _columns(told: Evidence, portfolios: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    p = [told.portfolios.index(name) for name in portfolios]
    return told.loss[:, p], told.margin[:, p], told.capital[:, p]


def evidence_in_words(capital: float) -> str:
    """Evidence as it is read: beyond a million its size says nothing more.

    >>> evidence_in_words(3.14159), evidence_in_words(1234.5), evidence_in_words(1e40)
    ('3.1', '1,234', '> 1,000,000')
    """
    if capital > 1e6:
        return "> 1,000,000"
    return f"{capital:,.1f}" if capital < 100 else f"{capital:,.0f}"


def most_convicted(rows: Sequence[Mapping[str, Any]]) -> str:
    """The model against which the lead book has seen most evidence."""
    return str(max(rows, key=lambda row: row["highest"])["model"])


def disclosed(run: Replay, months: int | None = None) -> pd.DataFrame:
    """The supervisors' figures of a replay, all books together first; HistoryError where none held anything."""
    table = disclose(run, months=months).to_frame()
    return table.loc[[ALL_BOOKS, *(name for name in table.index if name != ALL_BOOKS)]]


def disclosure_rows(runs: Mapping[str, Replay], months: int | None = None) -> list[dict[str, Any]]:
    """One dict a model: the figures of all books together, and how many books are green, yellow and red."""
    rows = []
    for name, run in runs.items():
        table = disclosed(run, months)
        zones = table["zone"].iloc[1:]
        whole = {field: float(table[field].iloc[0]) for field in FIELDS}
        rows.append({"model": name, **whole, "zones": [int((zones == zone).sum()) for zone in ZONES]})
    return rows


def book_rows(run: Replay) -> list[dict[str, Any]]:
    """One dict a book that held something: its figures and its traffic light, most breaches first."""
    table = disclosed(run).iloc[1:]
    held = table[table["observations"] > 0].sort_values(["breaches"], ascending=False, kind="stable")
    rows: dict[Any, dict[Any, Any]] = held.to_dict("index")
    return [{"book": name, **row} for name, row in rows.items()]


def responsiveness_rows(runs: Mapping[str, Replay], lead: str) -> list[dict[str, Any]]:
    """One dict a model: peak-to-trough and the largest call over 1, 5 and 30 days.

    Each is a triple: of the lead book, of the book in the middle, and of the worst; NaN where nothing is known.
    """
    return [{"model": name, "measures": _measured(run, lead)} for name, run in runs.items()]


def _measured(run: Replay, lead: str) -> dict[str, tuple[float, float, float]]:
    table = procyclicality(run, DAYS)
    apart = np.median(np.diff(run.time)) if len(run.time) > 1 else np.timedelta64(0, "D")
    for length in DAYS:
        if apart > np.timedelta64(length, "D"):  # a call over fewer days than lie between decisions is not seen
            table[f"call_{length}d"] = np.nan
    of_lead = table.loc[lead].to_numpy(dtype=np.float64)
    return {
        column: (float(value), float(table[column].median()), float(table[column].max()))
        for column, value in zip(table.columns, of_lead, strict=True)
    }


def evidence_parts(comparison: Comparison, ranked: Sequence[str], books: Sequence[str], flat: str) -> dict[str, Any]:
    """Disclosure, evidence and responsiveness of the ranked models, for a page.

    The first of the `books` is the one told most of; `flat` is drawn beside the best two and the most convicted model.
    """
    runs = {name: comparison[name] for name in ranked}
    evidence = evidence_rows(runs, books[0], books)
    drawn = dict.fromkeys([*ranked[:2], flat, most_convicted(evidence)])
    return {
        "disclosure": disclosure_rows(runs),
        "disclosed_books": book_rows(runs[ranked[0]]),
        "evidence": evidence,
        "evidence_paths": {name: evidence_of(runs[name], books[:1]).to_frame(books[0])["evidence"] for name in drawn},
        "responsiveness": responsiveness_rows(runs, books[0]),
    }


def disclosure_table(runs: Mapping[str, Replay], months: int | None = None) -> pd.DataFrame:
    """One row a model and book, "all books" first; ParameterError for months below 1, HistoryError for no run."""
    if not runs:
        raise HistoryError("a disclosure needs one run at least, got none")
    return pd.concat({name: disclosed(run, months) for name, run in runs.items()}, names=["model"])


def plain(value: Any) -> Any:
    """What JSON knows: numbers that are not known become null, stamps become text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.datetime64, pd.Timestamp)):
        return f"{pd.Timestamp(value).tz_localize(None).isoformat()}Z"
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
