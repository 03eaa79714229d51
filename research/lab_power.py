"""How large must a difference be for the model confidence set to see it on these dates?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backtest.block_means import StationaryBlocks
from backtest.model_confidence_set import SIZE, model_confidence_set
from data import Floats
from data.arrays import Ints

REPETITIONS, DRAWS, SEED = 100, 199, 1202
SHIFTS = (0.0, 0.02, 0.05, 0.10)
LEAST_DATES = 60  # fewer are not judged: at 99 % they hold less than one breach of a book


def too_few(dates: int) -> str:
    """What is said where a judgement would need more dates.

    >>> too_few(11)
    'too few dates to judge (11; 60 or more wanted)'
    """
    return f"too few dates to judge ({dates:,}; {LEAST_DATES} or more wanted)"


@dataclass(frozen=True)
class Power:
    """How often the set leaves a model out that loses more than all others, which lose alike.

    Parameters
    ----------
    model : the one that is made worse.
    left_out : share of the samples in which it is left out, by how much worse it is made; at 0 that is an error, of 10
        % where dates are many.
    relative : whether it is made worse by a share of the mean loss, or by so much loss.
    dates : of each sample.
    """

    model: str
    left_out: Mapping[float, float]
    relative: bool
    dates: int

    @property
    def sentence(self) -> str:
        """The shares in words; that they tell nothing, where dates are fewer than 60."""
        if self.dates < LEAST_DATES:
            return f"Its power: {too_few(self.dates)}."
        worse = [(self._much(shift), f"{100.0 * share:.0f} %") for shift, share in self.left_out.items() if shift]
        much, share = worse[0]
        rest = "".join(f", of {share} at {much} more" for much, share in worse[1:])
        return (
            f"Its power, by {REPETITIONS} redrawn samples of {self.dates:,} dates: were {self.model} to lose {much} "
            f"more than models that lose alike, it would be left out of {share} of the sets{rest}, and of "
            f"{100.0 * self.left_out.get(0.0, np.nan):.0f} % if it lost as they do."
        )

    def _much(self, shift: float) -> str:
        return f"{100.0 * shift:g} %" if self.relative else f"{shift:g}"


def power_of_set(losses: Mapping[str, Floats], model: str, block: int, *, relative: bool) -> Power:
    """Redraw dates in blocks, make `model` worse by each of `SHIFTS`, and see how often the set leaves it out.

    All models are first given the same mean loss, so that what a sample tells is known. Dates on which one has no loss
    are left out.

    Parameters
    ----------
    losses : (R,) one a date, by model, NaN where there is none.
    block : mean length of a drawn block, in dates.
    relative : whether a shift is a share of the mean loss, or a loss: FZ0 is a logarithm, of which .05 is about 5 %.
    """
    names, panel = list(losses), np.column_stack(list(losses.values()))
    panel = panel[np.isfinite(panel).all(axis=1)]
    middle = float(panel.mean())
    alike = panel - panel.mean(axis=0) + middle
    size, place = abs(middle) if relative else 1.0, names.index(model)
    out = np.zeros(len(SHIFTS))
    for rows in _redrawn(len(panel), block):
        sample = alike[rows]
        drawn = StationaryBlocks(block, DRAWS).means(sample)
        for at, shift in enumerate(SHIFTS):
            worse = np.where(np.arange(len(names)) == place, shift * size, 0.0)
            found = model_confidence_set(sample + worse, drawn=drawn + worse, size=SIZE)
            out[at] += not found.included[place]
    return Power(model, dict(zip(SHIFTS, (out / REPETITIONS).tolist(), strict=True)), relative, len(panel))


def _redrawn(dates: int, block: int) -> Ints:
    """Rows of each sample, (REPETITIONS, dates): blocks from any row on and around the end, the last one cut."""
    starts = np.random.default_rng(SEED).integers(dates, size=(REPETITIONS, -(-dates // block), 1))
    rows = (starts + np.arange(block)) % dates
    return np.asarray(rows.reshape(REPETITIONS, -1)[:, :dates])
