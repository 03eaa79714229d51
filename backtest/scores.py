"""How much capital, for how much safety?"""

from dataclasses import asdict, dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.bootstrap import block_draws, block_length, interval
from backtest.coverage_tests import kupiec
from backtest.date_losses import date_losses, law_losses
from backtest.equal_coverage import FLOOR, EqualCoverage, at_equal_coverage, mean_or_nan, scaled_margin_draws
from backtest.false_discoveries import RATE, q_values
from backtest.kernels import Tally, tally
from backtest.law_verdicts import share_rejected
from backtest.replay import Replay
from data import Floats

if TYPE_CHECKING:
    from backtest.plot_accessors import ScorecardPlots

WORST_SHARE = 0.05


@dataclass(frozen=True)
class Scorecard:
    """One judged model; margins, shortfalls and pinball are per unit of gross notional, the rest shares and counts.

    Attributes
    ----------
    coverage, coverage_low, coverage_high : share of losses not above margin over all decisions and books, with a 95 %
        block-bootstrap interval over dates.
    coverage_worst_twentieth, coverage_worst_book : the same in the worst 5 % of books (their mean), and the worst book.
    trials : decisions whose horizons do not overlap; each book is tested on these.
    breaches : losses above margin on those trials, all books together.
    breaches_expected : what the level allows a book on those trials.
    books_rejected : share of books whose breaches an exact Kupiec test at 5 % rejects.
    books_discovered : share that is left when at most 5 % of those named may be wrong (Benjamini and Yekutieli).
    mean_margin : mean initial margin; `capital_efficiency` is its inverse, notional carried per unit of capital.
    equal_margin, equal_low, equal_high : mean margin at equal coverage (walk-forward), the ranking, with a 95 %
        interval.
    equal_coverage, equal_worst_twentieth, equal_worst_book : what was covered at that scale.
    mean_shortfall, peak_shortfall : uncovered loss, over all decisions and at its worst.
    pinball : mean quantile loss at the level.
    peak_to_trough : largest over smallest margin of a book, the median book.
    not_coverable : share of pairs that lost without having any margin to scale.
    decisions, skipped : decisions judged, and left out for a missing price.
    power : probability that the exact Kupiec test of a book (the median one) notices breaches at twice the rate: "not
        rejected" at a low power is no evidence.
    fz0 : mean FZ0 loss, over dates, of the value at risk and expected shortfall stated (Patton, Ziegel and Chen 2019),
        lower being better; NaN without a law.
    law_rejected : share of books whose stated law Acerbi and Szekely's Z2, at 5 %, rejects for losses beyond value at
        risk that were too many or too deep. It holds where laws are estimated, and hardly sees an expected shortfall
        too small behind a right value at risk (`law_verdicts.share_rejected`); NaN without a law.
    states_law : 1 where the model states a law of the loss, else 0.
    """

    coverage: float
    coverage_low: float
    coverage_high: float
    coverage_worst_twentieth: float
    coverage_worst_book: float
    trials: float
    breaches: float
    breaches_expected: float
    books_rejected: float
    books_discovered: float
    mean_margin: float
    capital_efficiency: float
    equal_margin: float
    equal_low: float
    equal_high: float
    equal_coverage: float
    equal_worst_twentieth: float
    equal_worst_book: float
    mean_shortfall: float
    peak_shortfall: float
    pinball: float
    peak_to_trough: float
    not_coverable: float
    decisions: float
    skipped: float
    power: float
    fz0: float
    law_rejected: float
    states_law: float

    def to_frame(self) -> pd.DataFrame:
        """One row a score."""
        return pd.DataFrame({"value": asdict(self)})

    def summary(self) -> pd.DataFrame:
        """What a person reads first; shares and margins in percent."""
        shown = {
            "covered": f"{self.coverage:.2%} ({self.coverage_low:.2%} to {self.coverage_high:.2%})",
            "covered in the worst 5 % of books": f"{self.coverage_worst_twentieth:.2%}",
            "margin at equal coverage": f"{self.equal_margin:.2%} ({self.equal_low:.2%} to {self.equal_high:.2%})",
            "margin as charged": f"{self.mean_margin:.2%}",
            "mean shortfall": f"{self.mean_shortfall:.4%}",
            "peak shortfall": f"{self.peak_shortfall:.2%}",
            "peak to trough": f"{self.peak_to_trough:.1f}",
            "books rejected": f"{self.books_rejected:.1%} (power {self.power:.0%})",
            "independent trials": f"{self.trials:,.0f}",
        }
        return pd.DataFrame({"": shown})

    @property
    def plot(self) -> "ScorecardPlots":
        """Pictures: `scorecard.plot.coverage()`, `.margin()`."""
        from backtest.plot_accessors import ScorecardPlots

        return ScorecardPlots(self)

    def _repr_html_(self) -> str:
        return self.summary().to_html(header=False)


def worst_twentieth(by_book: Floats) -> float:
    """Mean over the lowest 5 % of books, at least one; NaN where no book is known."""
    known = np.sort(by_book[np.isfinite(by_book)])
    return mean_or_nan(known[: ceil(WORST_SHARE * len(known))])


def lowest(by_book: Floats) -> float:
    """The lowest known book, NaN where none is."""
    known = by_book[np.isfinite(by_book)]
    return float(known.min()) if known.size else float("nan")


def peak_to_trough(margin: Floats) -> Floats:
    """Largest over smallest margin above the floor of each book over time, (P,); NaN where there is none.

    Murphy, Vasios and Vause (2014), Bank of England Financial Stability Paper 29.
    """
    known = np.where(margin > FLOOR, margin, np.nan)
    some = np.isfinite(known).any(axis=0)
    answer = np.full(margin.shape[1], np.nan)
    answer[some] = np.nanmax(known[:, some], axis=0) / np.nanmin(known[:, some], axis=0)
    return answer


def _shares(covered: Floats) -> Floats:
    """Share of ones in each column of what is known, (P,)."""
    known = np.isfinite(covered)
    count = known.sum(axis=0)
    total = np.where(known, covered, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


def dates_drawn(replay: Replay) -> NDArray[np.int64]:
    """Bootstrap draws of this replay's decisions; equal for every model that was replayed over the same ones."""
    overlap = np.searchsorted(replay.time, replay.end, side="left") - np.arange(len(replay.time))
    return block_draws(len(replay.time), block_length(len(replay.time), int(overlap.max())))


def by_book(replay: Replay) -> pd.DataFrame:
    """One row a portfolio: coverage of all decisions, breaches and exact Kupiec p on disjoint trials, margin, loss.

    `kupiec_q` is the smallest false discovery rate at which the book would be named, all of them having been tested.
    """
    level = replay.coverage.level
    whole = tally(replay.loss, replay.initial, level)
    trial = tally(replay.loss[replay.disjoint], replay.initial[replay.disjoint], level)
    equal = at_equal_coverage(replay)
    columns = {
        "coverage": 1.0 - whole.breach_share,
        "trials": trial.count,
        "breaches": trial.breaches,
        "breaches_expected": trial.count * (1.0 - level),
        "kupiec_p": _kupiec_p(trial, level),
        "kupiec_q": q_values(_kupiec_p(trial, level)),
        "mean_margin": whole.mean_margin,
        "equal_coverage": _shares(equal.covered),
        "mean_shortfall": whole.mean_shortfall,
        "peak_shortfall": whole.peak_shortfall,
        "pinball": whole.pinball,
        "peak_to_trough": peak_to_trough(replay.initial),
    }
    return pd.DataFrame(columns, index=pd.Index(replay.portfolios, name="portfolio"))


def _kupiec_p(trial: Tally, level: float) -> Floats:
    """Exact p-values, (P,); NaN for a book without a trial."""
    some = trial.count > 0
    p_value = np.full(len(some), np.nan)
    p_value[some] = kupiec(trial.breaches[some], trial.count[some], 1.0 - level).p_value
    return p_value


def _power(trial: Tally, level: float) -> float:
    """Power of the exact Kupiec test of the median book that has a trial, NaN where none has."""
    some = trial.count > 0
    if not some.any():
        return float("nan")
    return float(np.median(kupiec(trial.breaches[some], trial.count[some], 1.0 - level).power))


@dataclass(frozen=True, eq=False)
class Judgement:
    """A scorecard, the margin at equal coverage on each bootstrap draw of the dates, (B,), and losses by date.

    `by_date` (R,) is the mean pinball loss over books at equal coverage, NaN on dates that have no scale yet.
    """

    card: Scorecard
    drawn: Floats
    by_date: Floats


def score(replay: Replay) -> Scorecard:
    """Judge one replay."""
    return judge(replay).card


def judge(replay: Replay) -> Judgement:
    """Judge one replay, and keep what a comparison with others over the same decisions needs: the dates are paired."""
    draws = dates_drawn(replay)
    drawn = scaled_margin_draws(replay, draws)
    level, live = replay.coverage.level, replay.live
    whole = tally(replay.loss, replay.initial, level)
    trial = tally(replay.loss[replay.disjoint], replay.initial[replay.disjoint], level)
    shares = 1.0 - whole.breach_share
    p_value = _kupiec_p(trial, level)
    margin = mean_or_nan(np.where(live, replay.initial, np.nan))
    bare = live & (replay.initial <= FLOOR) & (replay.loss > FLOOR)
    low, high = interval(_coverage_draws(replay, draws))
    equal = at_equal_coverage(replay)
    card = Scorecard(
        coverage=1.0 - whole.breaches.sum() / whole.count.sum(),
        coverage_low=low,
        coverage_high=high,
        coverage_worst_twentieth=worst_twentieth(shares),
        coverage_worst_book=lowest(shares),
        trials=float(len(replay.disjoint)),
        breaches=float(trial.breaches.sum()),
        breaches_expected=len(replay.disjoint) * (1.0 - level),
        books_rejected=_share_of_known(p_value < 0.05, p_value),
        books_discovered=_share_of_known(q_values(p_value) <= RATE, p_value),
        mean_margin=margin,
        capital_efficiency=1.0 / margin if margin > 0 else float("nan"),
        **_equal_scores(equal, drawn),
        mean_shortfall=mean_or_nan(replay.shortfall),
        peak_shortfall=float(np.nanmax(replay.shortfall)),
        pinball=float((whole.pinball * whole.count)[whole.count > 0].sum() / whole.count.sum()),
        peak_to_trough=float(np.nanmedian(peak_to_trough(replay.initial)))
        if (replay.initial > FLOOR).any()
        else np.nan,
        not_coverable=float(bare.sum() / live.sum()),
        decisions=float(len(replay.time)),
        skipped=float(replay.skipped),
        power=_power(trial, level),
        fz0=float("nan") if replay.tail is None else mean_or_nan(law_losses(replay)),
        law_rejected=share_rejected(replay),
        states_law=float(replay.tail is not None),
    )
    return Judgement(card, drawn, date_losses(replay, margin=equal.margin))


def _share_of_known(chosen: NDArray[np.bool_], by_book: Floats) -> float:
    """Share of the books that are chosen among those known; NaN where none is known."""
    return mean_or_nan(np.where(np.isfinite(by_book), chosen, np.nan))


def _equal_scores(equal: EqualCoverage, drawn: Floats) -> dict[str, float]:
    """The fields that begin with `equal_`."""
    by_portfolio = _shares(equal.covered)
    # The spread of the ex-post figure about its middle, laid around the walk-forward one that is reported.
    middle = np.nanmedian(drawn) if np.isfinite(drawn).any() else np.nan
    low, high = interval(equal.mean_margin * drawn / middle)
    return {
        "equal_margin": equal.mean_margin,
        "equal_low": low,
        "equal_high": high,
        "equal_coverage": mean_or_nan(equal.covered),
        "equal_worst_twentieth": worst_twentieth(by_portfolio),
        "equal_worst_book": lowest(by_portfolio),
    }


def _coverage_draws(replay: Replay, draws: NDArray[np.int64]) -> Floats:
    """Coverage over all decisions and books, once for each bootstrap draw, (B,)."""
    held = replay.live.sum(axis=1)
    covered = (replay.live & ~replay.breached).sum(axis=1)
    return np.asarray((draws @ covered) / np.maximum(draws @ held, 1))


def frontier(run: Replay, multiples: Floats) -> tuple[Floats, Floats]:
    """Mean margin and mean shortfall as a replay's margin is scaled by each multiple, two arrays like `multiples`."""
    margin = np.where(run.live, run.initial, np.nan)
    shortfall = np.array([np.nanmean(np.maximum(run.loss - k * run.initial, 0.0)) for k in multiples])
    return np.nanmean(margin) * multiples, shortfall
