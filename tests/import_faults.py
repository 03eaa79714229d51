"""What is left in a store by an import that is killed?

A program of its own, `import_faults.py FOLDER COUNT SEED`: each fault is a child that is forked before anything has
started a thread, and what it left is judged, and imported again, in children as well.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from data.catalog import faults, listed  # noqa: E402
from data.imports import import_paths  # noqa: E402
from data.storage import PARTIAL  # noqa: E402
from store_faults import _STEPS, _counted, ended, forked  # noqa: E402

MINUTE = 60_000


def files(folder: Path) -> list[Path]:
    """Two files of klines, one of them with a bar whose high is below its low."""
    folder.mkdir(parents=True)
    made = []
    for name in ("BTCUSDT", "ETHUSDT"):
        lines, draw, price = [], random.Random(name), 100.0
        for row in range(400):
            opened, price = 1704067200000 + row * MINUTE, round(price + draw.uniform(-0.5, 0.5), 2)
            high = price - 5.0 if (name, row) == ("ETHUSDT", 200) else price + 1.0
            bar = f"{price},{high},{price - 1.0},{price},2,{opened + MINUTE - 1},{2 * price},3,1,{price},0"
            lines.append(f"{opened},{bar}\n")
        made.append(folder / f"{name}-1m-2024-01.csv")
        made[-1].write_text("".join(lines))
    return made


def told(store: Path, brought: list[Path]) -> dict[str, Any]:
    """What an import answers, and what lies in the store after it."""
    report = import_paths(brought, store)
    kept = sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())
    lasting = [name for name in kept if ".lock" not in name]
    assert not [name for name in lasting if PARTIAL in name], lasting
    return {"sets": [[one.file, one.record_set, one.quarantined] for one in report.files], "kept": lasting}


def killed_at(store: Path, brought: list[Path], step: int) -> int:
    """A child that kills itself at its nth call that changes the disk."""

    def work() -> None:
        left = [step]
        for owner, name in _STEPS:
            setattr(owner, name, _counted(getattr(owner, name), left))
        import_paths(brought, store)

    return ended(forked(work))


def recovered(store: Path, brought: list[Path], expected: dict[str, Any]) -> Callable[[], None]:
    """Whatever is listed is whole, and the import done again ends where one that nobody killed does."""

    def work() -> None:
        for one in listed(store):
            assert not one.fault, one.fault
            assert faults(one, store) == []
        got = told(store, brought)
        assert got == expected, (got, expected)

    return work


def main(folder: Path, count: int, seed: int) -> None:
    """Print how many of the children were killed; fail where one left what it should not."""
    brought, draw = files(folder / "files"), random.Random(seed)
    answer = folder / "expected.json"

    def asked() -> None:
        answer.write_text(json.dumps(told(folder / "whole", brought)))

    assert ended(forked(asked)) == 0
    expected = json.loads(answer.read_text())
    killed = 0
    for number in range(count):
        store = folder / f"store{number}"
        killed += killed_at(store, brought, draw.randrange(60)) == -signal.SIGKILL
        assert ended(forked(recovered(store, brought, expected))) == 0, number
    print(killed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)
