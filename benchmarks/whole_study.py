"""How long does the default study take, against the three minutes that a person is willing to wait?"""

import os

from race import Measurement

from research.default_study import default_study
from research.study import run_study

LIMIT = 180.0


def workload() -> list[Measurement]:
    """The whole default study on two processes (or one, where there is one core), data in the store already."""
    jobs = min(2, os.cpu_count() or 1)
    result = run_study(default_study(), jobs=jobs)
    models, markets = len(result.study.every_model), len(result.markets)
    metric = f"{models} models on {markets} markets, {jobs} processes"
    took = 1e3 * result.seconds
    return [Measurement("study", metric, "limit of 3 minutes", 1e3 * LIMIT / took, 1.0, took, 1e3 * LIMIT)]
