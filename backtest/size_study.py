"""How often does each test of breaches reject a model that is right, and one that breaches twice as often as it says?

Markets with a known law: returns of a GARCH(1,1) with normal innovations, margins the true quantile. Breaches are then
independent, though margins move and every breach moves those after it. No sample is left out, least of all those
without a breach.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from backtest.breach_counts import probabilities
from backtest.coverage_tests import SIZE, traffic_light
from backtest.dynamic_quantile import dynamic_quantile_test
from backtest.hit_battery import battery
from backtest.simulated_p_values import (
    SEED,
    Flags,
    HitVerdict,
    draw_sequences,
    judge_panel,
    refuse_rate,
)
from backtest.size_of_evidence import size_of_evidence
from backtest.size_of_laws import ERRORS, RIGHT, size_of_laws, tail_panel
from backtest.size_of_pages import printed, size_page
from data import Floats, ParameterError

LENGTHS = (250, 500, 1000)
RATE = 0.01
REPETITIONS = 20_000
PATH_REPETITIONS = 1_999  # of the law of each path; every block draws its own, so that their errors average out

_BLOCK = 250  # samples judged together
_ZONES = ("green", "yellow", "red")


@dataclass(frozen=True, eq=False)
class SizeStudy:
    """The tables of `size_of_tests`, `zone_probabilities`, `size_of_evidence`, `size_of_laws`, and what made them."""

    tests: pd.DataFrame
    zones: pd.DataFrame
    evidence: pd.DataFrame
    laws: pd.DataFrame
    rate: float
    repetitions: int
    seed: int

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by name, as JSON and the page have them."""
        return {"tests": self.tests, "zones": self.zones, "evidence": self.evidence, "laws": self.laws}

    @property
    def holds(self) -> bool:
        """Whether every size, zone and share of evidence is what it should be."""
        return all(bool(table["holds"].all()) for table in self.tables.values())

    @property
    def panels(self) -> dict[str, pd.DataFrame]:
        """Sizes and powers at a nominal 5 %, by length and test: what a chart shows, under its titles."""
        evidence = self.evidence.xs(1.0 / SIZE, level="threshold").reset_index(["evidence", "stake"])
        evidence["test"] = evidence["evidence"] + ", " + evidence["stake"]
        read = evidence.set_index("test", append=True).rename(columns={"share": "size"})
        return {
            "Tests of breaches": self.tests,
            "Tests of the tail and of the law": self.laws,
            f"Evidence, read every day: ever at {1.0 / SIZE:g}": read.assign(size_asymptotic=np.nan),
        }

    def to_json(self) -> str:
        """All tables and what made them."""
        asked = {"rate": self.rate, "repetitions": self.repetitions, "seed": self.seed, "holds": self.holds}
        told = {name: json.loads(table.reset_index().to_json(orient="records")) for name, table in self.tables.items()}
        return json.dumps(asked | told, indent=1)

    def to_markdown(self, command: str, figure: str | None = None) -> str:
        """A page: the command that made it, the seed, the chart at that address, the tables, and how to read them."""
        head = f"{self.repetitions:,} repetitions a row, a nominal rate of {100 * self.rate:g} %, seed {self.seed}"
        return size_page(command, head, self.tables, figure)

    def __repr__(self) -> str:
        head = f"per cent; {self.repetitions:,} repetitions, rate {self.rate:g}, seed {self.seed}"
        return "\n\n".join([head, *(table.to_string(index=False) for table in printed(self.tables))])


def size_study(
    ns: Sequence[int] = LENGTHS,
    rate: float = RATE,
    repetitions: int = REPETITIONS,
    seed: int = SEED,
    *,
    progress: bool = False,
) -> SizeStudy:
    """All tables; arguments and errors as `size_of_tests`, and the rate within (0, 0.125)."""
    tests = size_of_tests(ns, rate, repetitions, seed, progress=progress)
    zones = zone_probabilities(ns, rate, repetitions, seed)
    evidence = size_of_evidence(ns, rate, repetitions, seed, progress=progress)
    laws = size_of_laws(ns, rate, repetitions, seed, progress=progress)
    return SizeStudy(tests, zones, evidence, laws, rate, repetitions, seed)


def size_of_tests(
    ns: Sequence[int] = LENGTHS,
    rate: float = RATE,
    repetitions: int = REPETITIONS,
    seed: int = SEED,
    *,
    progress: bool = False,
) -> pd.DataFrame:
    """One row a length and test: shares of right models rejected at 5 %, by each p-value, with standard errors.

    Columns: `undefined`, the share of samples on which the test is not testable; `size_asymptotic`, `size` (of the
    p-value that is shown) and `size_randomised` with their `_error`; `power` and `power_randomised` where breaches come
    at twice the rate; `holds`, whether the randomised size is 5 % and that of the p-value shown at most 5 %, within
    three standard errors.

    Raises
    ------
    ParameterError
        Where the rate is not within (0, 0.5), or there is no length or no repetition.
    """
    _refuse(ns, rate, repetitions)
    tables = []
    for n in ns:
        null = _Samples(n, rate, rate, repetitions, seed).rejected(progress)
        wrong = _Samples(n, rate, 2.0 * rate, repetitions, seed + 1).rejected(progress)
        power = wrong[["size", "size_randomised"]].rename(columns=lambda name: name.replace("size", "power"))
        table = null.join(power)
        table["holds"] = _holds(table, repetitions)
        tables.append(table.reset_index().assign(n=n).set_index(["n", "test"]))
    return pd.concat(tables)


def zone_probabilities(
    ns: Sequence[int] = LENGTHS, rate: float = RATE, repetitions: int = REPETITIONS, seed: int = SEED
) -> pd.DataFrame:
    """One row a length and Basel zone: its fewest breaches, exact probability, simulated share and error.

    `at_twice_the_rate` is the exact probability where breaches come twice as often. Errors as `size_of_tests`.
    """
    _refuse(ns, rate, repetitions)
    rows = []
    for n in ns:
        zone = traffic_light(np.arange(n + 1), n, rate).zone
        drawn = zone[draw_sequences(n, rate, repetitions, (seed, n)).count]
        for name in _ZONES:
            inside = zone == name
            exact, twice = (float(probabilities(n, true_rate)[inside].sum()) for true_rate in (rate, 2.0 * rate))
            error = sqrt(exact * (1.0 - exact) / repetitions)
            share = float((drawn == name).mean())
            fewest = int(np.argmax(inside)) if inside.any() else n + 1
            holds = abs(share - exact) <= ERRORS * error + 1.0 / repetitions  # one sample more or less is no error
            rows.append((n, name, fewest, exact, share, error, holds, twice))
    columns = ["n", "zone", "from_breaches", "exact", "simulated", "error", "holds", "at_twice_the_rate"]
    return pd.DataFrame(rows, columns=columns).set_index(["n", "zone"])


def garch_panel(n: int, columns: int, true_rate: float, seed: int | tuple[int, ...]) -> tuple[Flags, Floats]:
    """Breaches and margins, (n, columns) each, of a GARCH(1,1) whose margin is its true quantile at `true_rate`.

    Judged at another rate it is a model that is wrong by a constant factor.
    """
    panel = tail_panel(n, columns, true_rate, RIGHT, seed)
    return panel.loss > panel.var, panel.var


class _Samples(NamedTuple):
    """Samples of n decisions, judged at `rate` where breaches come at `true_rate`."""

    n: int
    rate: float
    true_rate: float
    repetitions: int
    seed: int

    def rejected(self, progress: bool) -> pd.DataFrame:
        """Shares of samples rejected at 5 %, one row a test."""
        counts: dict[str, Floats] = {}
        told = f"n = {self.n}, breaches at {self.true_rate:g}"
        for start in tqdm(range(0, self.repetitions, _BLOCK), desc=told, disable=not progress):
            for test, verdict in self._judged(start).items():
                rejections = ((p <= SIZE).sum() for p in (verdict.asymptotic, verdict.p_value, verdict.randomised))
                found = np.array([(~verdict.testable).sum(), *rejections], dtype=np.float64)
                counts[test] = counts.get(test, 0.0) + found
        names = ["undefined", "size_asymptotic", "size", "size_randomised"]
        table = pd.DataFrame.from_dict(counts, orient="index", columns=names).rename_axis("test") / self.repetitions
        for name in names[1:]:
            table[f"{name}_error"] = np.sqrt(table[name] * (1.0 - table[name]) / self.repetitions)
        return table

    def _judged(self, start: int) -> dict[str, HitVerdict]:
        """Every test of the block of samples that begins there."""
        columns = min(_BLOCK, self.repetitions - start)
        hits, margins = garch_panel(self.n, columns, self.true_rate, (self.seed, self.n, start))
        # Ties and the laws of paths take another seed a block, or all blocks would share one error.
        own = int(np.random.SeedSequence((self.seed, self.n, start)).generate_state(1)[0])
        found = battery(hits, margins, self.rate, repetitions=PATH_REPETITIONS, seed=own)
        constant = dynamic_quantile_test()
        alone = judge_panel(constant, hits, self.rate, own)
        return {test: found[test] for test in found.tests} | {f"{constant.name}, constant margin": alone}


def _holds(table: pd.DataFrame, repetitions: int) -> pd.Series:
    reach = ERRORS * sqrt(SIZE * (1.0 - SIZE) / repetitions)
    return ((table["size_randomised"] - SIZE).abs() <= reach) & (table["size"] <= SIZE + reach)


def _refuse(ns: Sequence[int], rate: float, repetitions: int) -> None:
    refuse_rate(rate)
    if rate >= 0.5 or repetitions < 1 or not len(ns) or min(ns) < 1:
        raise ParameterError(
            f"a study needs lengths >= 1, a rate below 0.5 and a repetition, got {tuple(ns)}, {rate}, {repetitions}"
        )
