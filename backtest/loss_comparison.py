"""Which models can still be the best, when chance is allowed for?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.block_means import DRAWS, StationaryBlocks
from backtest.bootstrap import SEED, block_length
from backtest.date_losses import date_losses, law_losses, scored_by_law
from backtest.loss_differences import OVERLAPPING, diebold_mariano
from backtest.model_confidence_set import SIZE, ConfidenceSet, SuperiorAbility, model_confidence_set, superior_ability
from data import Floats, ParameterError

if TYPE_CHECKING:
    from backtest.comparison import Comparison
    from backtest.replay import Replay

LEAST_BLOCKS = 5  # fewer blocks than this cannot be drawn in ways that differ


@dataclass(frozen=True, eq=False)
class LossComparison:
    """Models held against each other by the losses of the same dates.

    Parameters
    ----------
    what : which losses these are.
    models : names, in the order of all arrays, (M,).
    mean_loss : average over dates, (M,); NaN where there are none.
    best : the model of the least, "" where there are no dates; it was chosen by these dates, so that "against the
        best" is no test planned before.
    statistic, p_value : Diebold-Mariano against the best, (M,), above 0 where a model loses more; p 1 for itself.
    resampled_p : the same question put to the block bootstrap, two-sided, (M,).
    confidence_set : the model confidence set.
    ability : a test for each as the benchmark: a small p-value says that some other model is better.
    dates, overlap, block : dates compared, how many a horizon lasts, and the mean length of a drawn block, in dates.
    testable : False where there are too few dates or models; all p-values are then 1.
    notes : what to know before believing it.
    """

    what: str
    models: tuple[str, ...]
    mean_loss: Floats
    best: str
    statistic: Floats
    p_value: Floats
    resampled_p: Floats
    confidence_set: ConfidenceSet
    ability: tuple[SuperiorAbility, ...]
    dates: int
    overlap: int
    block: int
    testable: bool
    notes: str = field(default="")

    @cached_property
    def included(self) -> tuple[str, ...]:
        """Models in the confidence set."""
        return tuple(name for name, kept in zip(self.models, self.confidence_set.included, strict=True) if kept)

    @property
    def sentence(self) -> str:
        """What was compared and how, and which models are in the set, in one sentence."""
        if not self.testable:
            return f"Model confidence set: not testable ({self.notes})."
        share = 100.0 * (1.0 - self.confidence_set.size)
        alike = _noted(self.models, self.confidence_set)
        noted = f" ({alike})" if alike else ""
        return (
            f"Model confidence set at {share:g} % by {self.what} ({self.dates} dates, blocks of {self.block} on "
            f"average): {', '.join(self.included)}{noted}."
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a model, the least loss first."""
        columns = {
            "mean_loss": self.mean_loss,
            "dm_statistic": self.statistic,
            "dm_p": self.p_value,
            "dm_resampled_p": self.resampled_p,
            "set_p": self.confidence_set.p_value,
            "in_set": self.confidence_set.included,
            "spa_lower_p": [one.lower for one in self.ability],
            "spa_p": [one.consistent for one in self.ability],
            "spa_upper_p": [one.upper for one in self.ability],
        }
        table = pd.DataFrame(columns, index=pd.Index(self.models, name="model"))
        return table.sort_values("mean_loss", kind="stable")

    def _repr_html_(self) -> str:
        return f"<p>{self.sentence}</p>{self.to_frame().to_html(float_format='{:.4g}'.format)}"


def compare_losses(
    comparison: "Comparison", *, as_charged: bool = False, draws: int = DRAWS, seed: int = SEED
) -> LossComparison:
    """Compare the ranked models of a comparison by their mean pinball loss over books, date by date.

    At equal coverage (the default) it asks what the ranking asks: each margin is scaled by its walk-forward k_t, so
    that a model is not punished for having been made more careful than the level, and only dates with a scale count.
    `as_charged` judges the margins as they were: level and shape together. Models known in hindsight stay out.
    """
    ranked = [name for name in comparison.replays if name not in comparison.unranked]
    if as_charged:
        losses = {name: date_losses(comparison[name]) for name in ranked}
    else:
        losses = {name: comparison.judgements[name].by_date for name in ranked}
    what = f"pinball loss {'as charged' if as_charged else 'at equal coverage'}, mean over books"
    return compare_dates(losses, _overlap(comparison[ranked[0]]), what, draws=draws, seed=seed)


def compare_laws(comparison: "Comparison", *, draws: int = DRAWS, seed: int = SEED) -> LossComparison | None:
    """Compare the ranked models that state a law by the FZ0 loss of its VaR and ES; None where no model states one.

    FZ0 is larger for riskier books, so that only pairs are scored of which every one of these models states a VaR
    above zero. Patton, Ziegel and Chen (2019), J. Econometrics 211.
    """
    stated = {
        name: run
        for name, run in comparison.replays.items()
        if run.tail is not None and name not in comparison.unranked
    }
    if not stated:
        return None
    pairs = np.logical_and.reduce([scored_by_law(run) for run in stated.values()])
    losses = {name: law_losses(run, pairs) for name, run in stated.items()}
    what = "FZ0 of the stated law, mean over books"
    return compare_dates(losses, _overlap(next(iter(stated.values()))), what, draws=draws, seed=seed)


def _overlap(run: "Replay") -> int:
    """Decisions that a horizon lasts."""
    return int((np.searchsorted(run.time, run.end, side="left") - np.arange(len(run.time))).max())


def compare_dates(
    losses: Mapping[str, Floats], overlap: int, what: str, *, draws: int = DRAWS, seed: int = SEED
) -> LossComparison:
    """Compare models by any losses, one a date: (R,) each by name, as `date_losses` gives them.

    Dates on which a model has no loss (NaN) are left out of all. The draws of dates are shared by all tests; blocks
    hold whole horizons, and those of the superior predictive ability are studentised as Hansen (2005) proposes.

    Parameters
    ----------
    overlap : dates that a horizon lasts, 1 where horizons do not overlap.
    what : what a reader is told the losses are.

    Raises
    ------
    ParameterError
        Where there is no model, lengths differ, a loss is infinite, or the overlap is below 1.
    """
    if not losses or len({np.shape(one) for one in losses.values()}) != 1 or overlap < 1:
        shapes = {name: np.shape(one) for name, one in losses.items()}
        raise ParameterError(
            f"equally many dates of >= 1 model and an overlap >= 1 are needed, got {shapes}, {overlap}"
        )
    names, panel = tuple(losses), np.column_stack(list(losses.values())).astype(np.float64)
    if np.isinf(panel).any():
        wrong = [name for name, column in zip(names, panel.T, strict=True) if np.isinf(column).any()]
        raise ParameterError(f"losses must be finite, or NaN where there is none, got infinite ones of {wrong}")
    panel = np.ascontiguousarray(panel[np.isfinite(panel).all(axis=1)])
    dates = len(panel)
    block = block_length(dates, overlap) if dates else 0
    if dates < LEAST_BLOCKS * max(block, 1):
        return _untestable(what, names, panel, overlap, block)
    blocks = StationaryBlocks(block, draws, seed)
    drawn = blocks.means(panel)
    mean = panel.mean(axis=0)
    best = int(mean.argmin())
    against = np.repeat(panel[:, [best]], len(names), axis=1)
    test = diebold_mariano(panel, against, overlap)
    chosen = model_confidence_set(panel, drawn=drawn)
    ability = tuple(superior_ability(panel, one, blocks, studentised=True, drawn=drawn) for one in range(len(names)))
    error = (drawn - drawn[:, [best]]) - (mean - mean[best])
    further = (np.abs(error) >= np.abs(mean - mean[best])).sum(axis=0)
    return LossComparison(
        what=what,
        models=names,
        mean_loss=mean,
        best=names[best],
        statistic=test.statistic,
        p_value=test.p_value,
        resampled_p=np.where(test.testable, (1.0 + further) / (1.0 + draws), 1.0),
        confidence_set=chosen,
        ability=ability,
        dates=dates,
        overlap=overlap,
        block=block,
        testable=chosen.testable,
        notes="; ".join(filter(None, (_noted(names, chosen), OVERLAPPING if overlap > 1 else ""))),
    )


def _noted(names: tuple[str, ...], chosen: ConfidenceSet) -> str:
    if len(names) == 1:
        return "one model: there is nothing to compare it with"
    pairs = [f"{names[i]} and {names[j]}" for i, j in chosen.alike]
    return f"not told apart, for their losses differ never or always by the same: {'; '.join(pairs)}" if pairs else ""


def _untestable(what: str, names: tuple[str, ...], panel: Floats, overlap: int, block: int) -> LossComparison:
    """Every p-value 1, every model in the set."""
    dates, ones = len(panel), np.ones(len(names))
    note = f"{dates} dates with a loss of every model, fewer than {LEAST_BLOCKS} blocks of {max(block, 1)}"
    kept = ConfidenceSet(ones, np.arange(len(names)), False, SIZE, "model confidence set")
    none = SuperiorAbility(1.0, 1.0, 1.0, 0.0, False, "superior predictive ability", note)
    mean = panel.mean(axis=0) if dates else np.full(len(names), np.nan)
    return LossComparison(
        what=what,
        models=names,
        mean_loss=mean,
        best=names[int(mean.argmin())] if dates else "",
        statistic=np.zeros(len(names)),
        p_value=ones,
        resampled_p=ones,
        confidence_set=kept,
        ability=(none,) * len(names),
        dates=dates,
        overlap=overlap,
        block=block,
        testable=False,
        notes=note,
    )
