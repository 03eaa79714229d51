"""Does the project give the published figures?

`python -m pytest tests/test_golden.py --golden DIR` runs every case in DIR; without it, those in tests/golden.
"""

from pathlib import Path

import pytest

from golden_cases import OWN, ROUNDING, Case, check, read_folder
from golden_families import FLOORS
from golden_served import NOT_YET_SERVED, SERVED


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("golden")
    cases = read_folder(Path(folder) if folder else OWN, SERVED.keys() | NOT_YET_SERVED)
    metafunc.parametrize(
        "case", [pytest.param(case, id=f"{case.family}/{case.id}", marks=_marks(case)) for case in cases]
    )


def _marks(case: Case) -> list[pytest.MarkDecorator]:
    if case.family in SERVED:
        return []
    return [pytest.mark.xfail(raises=KeyError, strict=True, reason=f"the family {case.family} is not yet served")]


def test_golden(case: Case) -> None:
    check(case, SERVED[case.family](case), FLOORS.get(case.family, ROUNDING))
