"""How many times faster is ours than its peer, measured side by side?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter


@dataclass(frozen=True)
class Measurement:
    """One result: `ratio` is the peer's median time over ours; at least `goal` is good."""

    workload: str
    metric: str
    peer: str
    ratio: float
    goal: float
    ours_ms: float
    peer_ms: float

    def line(self) -> str:
        verdict = "reached" if self.ratio >= self.goal else "BELOW GOAL"
        times = f"ours {self.ours_ms:.1f} ms, {self.peer} {self.peer_ms:.1f} ms"
        return f"{self.workload}: {self.metric}: {times}: {self.ratio:.1f}x (goal {self.goal:g}x, {verdict})"


def race(contenders: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Median milliseconds of each, run in turn every round so that a busy moment strikes all; one round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            start = perf_counter()
            run()
            taken[name].append(1e3 * (perf_counter() - start))
    return {name: median(times[1:]) for name, times in taken.items()}
