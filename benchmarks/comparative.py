"""How fast are a model confidence set and a test for superior predictive ability of 12 models over 2,500 days?"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from arch.bootstrap import MCS, SPA
from race import Measurement, race

from backtest.block_means import StationaryBlocks
from backtest.model_confidence_set import model_confidence_set, superior_ability
from data import Floats

MODELS, DAYS, DRAWS, BLOCK = 12, 2500, 1000, 10
SEED = 1


def workload() -> list[Measurement]:
    """Ours against arch.bootstrap on the same draws: every p-value must be the same."""
    rng = np.random.default_rng(0)
    losses = rng.standard_normal((DAYS, 1)) + 0.3 * rng.standard_t(5, (DAYS, MODELS)) + 0.002 * np.arange(MODELS)
    tests: dict[str, tuple[Callable[[], Floats], Callable[[], Floats]]] = {
        "confidence set, T_R": (lambda: our_set(losses, True), lambda: arch_set(losses, "R")),
        "confidence set, T_max": (lambda: our_set(losses, False), lambda: arch_set(losses, "max")),
        "superior predictive ability": (lambda: our_ability(losses), lambda: arch_ability(losses)),
    }
    return [measured(name, ours, theirs) for name, (ours, theirs) in tests.items()]


def measured(name: str, ours: Callable[[], Floats], theirs: Callable[[], Floats]) -> Measurement:
    np.testing.assert_array_equal(ours(), theirs())
    took = race({"ours": ours, "peer": theirs}, rounds=5)
    metric = f"{name}: {MODELS} models x {DAYS} days x {DRAWS} draws"
    return Measurement("comparative", metric, "arch", took["peer"] / took["ours"], 5.0, took["ours"], took["peer"])


def our_set(losses: Floats, pairwise: bool) -> Floats:
    return model_confidence_set(losses, StationaryBlocks(BLOCK, DRAWS, SEED), pairwise=pairwise).p_value


def arch_set(losses: Floats, method: Literal["R", "max"]) -> Floats:
    test = MCS(losses, 0.1, DRAWS, BLOCK, method, seed=SEED)
    test.compute()
    return test.pvalues["Pvalue"].sort_index().to_numpy(np.float64)


def our_ability(losses: Floats) -> Floats:
    told = superior_ability(losses, 0, StationaryBlocks(BLOCK, DRAWS, SEED))
    return np.array([told.lower, told.consistent, told.upper])


def arch_ability(losses: Floats) -> Floats:
    test = SPA(losses[:, 0], losses[:, 1:], BLOCK, DRAWS, seed=SEED)
    test.compute()
    return test.pvalues.to_numpy(np.float64)
