"""Is the project as fast as it claims?

Runs `workload()` of every file beside this one, or of those named: `python benchmarks/bench.py w6_scores`. Prints a
line a result and writes build/bench.json. A result below its goal is told and is no error; a wrong answer is one.
"""

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the packages, where the project is not installed

from race import Measurement  # noqa: E402


def workloads() -> list[str]:
    """Files that may hold a workload."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("bench", "race"))


def main(names: list[str]) -> None:
    """Run, print and write."""
    results: list[Measurement] = []
    for name in names or workloads():
        for result in importlib.import_module(name).workload():
            print(result.line(), flush=True)
            results.append(result)
    report = HERE.parent / "build" / "bench.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n", encoding="utf-8")
    below = sum(result.ratio < result.goal for result in results)
    print(f"{len(results)} results, {below} below goal, in {report.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main(sys.argv[1:])
