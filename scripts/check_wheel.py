"""Does the installed marginlab hold the four packages of a checkout whole, and nothing else?

Run as `check_wheel.py CHECKOUT` by the interpreter that the wheel was installed for.
"""

import importlib
import sys
from importlib.metadata import files
from pathlib import Path

PACKAGES = ("data", "margin_models", "backtest", "research")


def sources(checkout: Path) -> set[str]:
    """What a wheel of this checkout must hold: every file of the four packages but stored data and caches."""
    found = (path for package in PACKAGES for path in (checkout / package).rglob("*") if path.is_file())
    names = (path.relative_to(checkout) for path in found)
    return {
        name.as_posix() for name in names if name.parts[:2] != ("data", "store") and "__pycache__" not in name.parts
    }


def installed() -> set[str]:
    """What the installed distribution holds, without its metadata, the command and compiled files."""
    names = (path.as_posix() for path in files("marginlab") or ())
    return {name for name in names if not (name.startswith("..") or ".dist-info/" in name or name.endswith(".pyc"))}


def main(checkout: Path) -> None:
    """Compare the two sets and import each package; exit with what differs."""
    expected, got = sources(checkout), installed() - {"bin/marginlab"}
    if expected != got:
        sys.exit(f"the wheel lacks {sorted(expected - got)} and should not hold {sorted(got - expected)}")
    for package in PACKAGES:
        where = Path(importlib.import_module(package).__file__ or "").resolve()
        if checkout.resolve() / package in where.parents or not (where.parent / "py.typed").exists():
            sys.exit(f"{package} was expected from the installed wheel with a py.typed beside it, got {where}")
    print(f"the wheel holds the four packages whole: {len(got)} files")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
