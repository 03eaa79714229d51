"""How does a boosted ensemble follow the rows that become known, without starting over each time?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from data import Floats, ParameterError

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset

Settings = Mapping[str, object]

# The same rows and settings give the same trees, whatever the number of threads.
REPRODUCIBLE: Settings = {
    "max_bin": 63,
    "deterministic": True,
    "force_col_wise": True,
    "metric": "none",  # none is asked for, and the gamma one would refuse a target of 0
    "verbosity": -1,
}


@dataclass(frozen=True)
class Growth:
    """How large each tree is and how far it steps.

    Parameters
    ----------
    leaves : of a tree, >= 2.
    learning_rate : share of what a tree found that is taken, > 0.
    """

    leaves: int = 8
    learning_rate: float = 0.05

    @property
    def settings(self) -> Settings:
        """LightGBM's names."""
        return {"num_leaves": self.leaves, "learning_rate": self.learning_rate}

    def check(self, model: str) -> None:
        """ParameterError, naming the model, for trees without a split or steps that go nowhere."""
        if self.leaves < 2:
            raise ParameterError(f"{model}: leaves must be >= 2, got {self.leaves}. Typical values: 4-16.")
        if not self.learning_rate > 0:
            got = f"got {self.learning_rate}. Typical values: 0.02-0.1."
            raise ParameterError(f"{model}: learning_rate must be > 0, {got}")


def binned(predictors: Floats, goal: Floats, settings: Settings, bins: "Dataset | None" = None) -> "Dataset":
    """Rows (R, F) with their goals (R,), to be sorted into the bins of earlier rows if given, else into their own.

    A column that had no hole where the bins are from takes later holes for 0, one that did not move there is not seen.
    """
    import lightgbm

    return lightgbm.Dataset(predictors, goal, reference=bins, params={**REPRODUCIBLE, **settings})


def grown(data: "Dataset", settings: Settings, trees: int, previous: "Booster | None" = None) -> "Booster":
    """So many trees on these rows, after those of a previous booster if there is one."""
    import lightgbm

    return lightgbm.train({**REPRODUCIBLE, **settings}, data, num_boost_round=trees, init_model=previous)


@dataclass(frozen=True, eq=False)
class ContinuedBooster:
    """An ensemble as it stands at one stop of a walk forward; `following` gives that of the next.

    Rows are sorted into the bins of the first stop, whose edges no later row moves. Most trees, the trunk, are grown
    anew at every `renew`-th stop; at each stop the newest are grown after them on the rows known by then, and the
    newest of the stop before are dropped: an ensemble is always of the same size, and does not learn its walk by heart.
    What it says depends on where the walk began, as a static rate's does: it is not what a fit on the same rows alone
    would give.

    Parameters
    ----------
    settings : LightGBM's, with the loss and the number of threads; the trees are the same whatever that number is.
    trees, newest : of the ensemble, and how many of them are grown at each stop.
    renew : stops from one trunk to the next.
    booster, stop : what was grown, and at which stop of the walk; None and -1 before the first.
    """

    settings: Settings
    trees: int = 100
    newest: int = 20
    renew: int = 6
    booster: "Booster | None" = None
    stop: int = -1
    trunk: "Booster | None" = None
    bins: "Dataset | None" = None

    def following(self, predictors: Floats, goal: Floats) -> Self:
        """The ensemble of the next stop, from all rows (R, F) and goals (R,) known there; this one stays as it is."""
        stop, trunk, bins = self.stop + 1, self.trunk, self.bins
        if trunk is None or stop % self.renew == 0:
            data = binned(predictors, goal, self.settings, bins)
            bins = bins or data
            trunk = grown(data, self.settings, max(self.trees - self.newest, 1))
        booster = grown(binned(predictors, goal, self.settings, bins), self.settings, self.newest, trunk)
        return replace(self, booster=booster, stop=stop, trunk=trunk, bins=bins)
