"""How is a folder of golden cases read, and when does a figure agree with a published one?

A folder holds one JSON file a family; a case has inputs, expected figures and a tolerance. Whatever is not understood,
a schema, a family, an input or a figure, is an error and never a pass.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data import Floats

OWN = Path(__file__).parent / "golden"
REFERENCE_SERIES = Path(__file__).parents[2] / "shared" / "golden" / "data"

# A published figure below this is the rounding of a zero: it is compared absolutely.
ROUNDING = 1e-12


class GoldenError(Exception):
    """A folder, file, family or input that is not what was agreed."""


@dataclass(frozen=True)
class Case:
    """One case of a family; `folder` is where its series are looked for first, `params` are the system's parameters."""

    family: str
    id: str
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any]
    relative: float
    absolute: float
    folder: Path
    params: Mapping[str, Any] = field(default_factory=dict)

    def has(self, *names: str) -> bool:
        """Whether these are exactly the inputs."""
        return set(self.inputs) == set(names)

    def read(self, *names: str, optional: Collection[str] = ()) -> list[Any]:
        """The inputs of these names in this order, None for an optional one not there; GoldenError for any other."""
        given = set(self.inputs)
        if given - set(names) or set(names) - set(optional) - given:
            raise GoldenError(f"{self.family}/{self.id}: inputs must be {names}, got {sorted(given)}")
        return [self.inputs.get(name) for name in names]

    def refuse(self, what: str, value: object) -> GoldenError:
        """The error that says this input is not understood."""
        return GoldenError(f"{self.family}/{self.id}: {what} {value!r} is not understood")

    def table(self, name: str) -> dict[str, Floats]:
        """Columns of the numbers in `data/X.csv`; skips where the series is not at hand."""
        if not re.fullmatch(r"data/[\w.-]+\.csv", name):
            raise self.refuse("series", name)
        for path in (self.folder / name, REFERENCE_SERIES.parent / name):
            if path.exists():
                numbers = pd.read_csv(path).select_dtypes("number")
                return {str(column): numbers[column].to_numpy(np.float64) for column in numbers}
        pytest.skip(f"{name} is neither in {self.folder} nor in the reference folder {REFERENCE_SERIES}")


def read_folder(folder: Path, known: Collection[str]) -> list[Case]:
    """Every case of every `*.json` in the folder; GoldenError for no folder, no case, or a family that is not known."""
    if not folder.is_dir():
        raise GoldenError(f"golden cases are read from a folder, got {folder}, which is none")
    files = sorted(folder.glob("*.json"))
    unknown = [path.name for path in files if path.stem not in known]
    if unknown:
        raise GoldenError(f"families are known by file name, got {unknown} in {folder}")
    cases = [case for path in files for case in _read_file(path)]
    if not cases:
        raise GoldenError(f"{folder} holds no case")
    return cases


def _read_file(path: Path) -> list[Case]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("schema") != "golden/1":
        raise GoldenError(f"{path} must have the schema golden/1, got {content.get('schema')!r}")
    if not content.get("cases"):
        raise GoldenError(f"{path} holds no case")
    return [_case(path, {**content, **case}) for case in content["cases"]]


def _case(path: Path, case: Mapping[str, Any]) -> Case:
    missing = {"id", "inputs", "expected"} - set(case)
    if missing or not case["expected"]:
        raise GoldenError(f"{path}: a case must have id, inputs and expected figures, got {sorted(case)}")
    absolute = case.get("tolerance_abs")
    relative = case.get("rel_tol", case.get("tolerance_rel", 1e-9 if absolute is None else 0.0))
    params = case.get("params", {})
    return Case(path.stem, case["id"], case["inputs"], case["expected"], relative, absolute or 0.0, path.parent, params)


def check(case: Case, told: Mapping[str, Any], floor: float = ROUNDING) -> None:
    """Fail with every expected figure that `told` lacks or gets wrong.

    An expected figure smaller than `floor` is compared to within it. `LRE_min` is no figure but how many digits the
    others must agree in (log relative error).
    """
    expected = dict(case.expected)
    digits = expected.pop("LRE_min", None)
    relative = case.relative if digits is None else min(case.relative, 10.0**-digits)

    def agree(got: float, want: float) -> bool:
        least = floor if abs(want) < floor else 0.0
        return math.isclose(got, want, rel_tol=0.0, abs_tol=max(relative * abs(want), case.absolute, least))

    wrong = differences(told, expected, agree)
    assert not wrong, f"{case.family}/{case.id}: " + "; ".join(wrong)


def differences(told: Any, expected: Any, agree: Callable[[float, float], bool], where: str = "") -> list[str]:
    """What differs between nested figures, by place; keys that are told but not expected do not count."""
    if isinstance(expected, Mapping) and isinstance(told, Mapping):
        absent = [f"{where}.{key} is missing" for key in expected if key not in told]
        shared = [key for key in expected if key in told]
        return absent + [
            line for key in shared for line in differences(told[key], expected[key], agree, f"{where}.{key}")
        ]
    if isinstance(expected, list) and isinstance(told, list | tuple | np.ndarray):
        if len(told) != len(expected):
            return [f"{where} must have {len(expected)} entries, got {len(told)}"]
        pairs = enumerate(zip(told, expected, strict=True))
        return [line for i, (got, want) in pairs for line in differences(got, want, agree, f"{where}[{i}]")]
    return [] if _same(told, expected, agree) else [f"{where} must be {expected!r}, got {told!r}"]


def _same(told: Any, expected: Any, agree: Callable[[float, float], bool]) -> bool:
    if isinstance(told, np.generic | np.ndarray) and np.ndim(told) == 0:
        told = told.item()
    if _is_number(expected) and _is_number(told):
        if isinstance(expected, int) and isinstance(told, int):
            return told == expected
        return agree(float(told), float(expected)) or (math.isnan(told) and math.isnan(expected))
    return type(told) is type(expected) and bool(told == expected)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
