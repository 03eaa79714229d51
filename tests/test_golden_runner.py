"""Does the golden runner fail where it should?"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_golden import _marks as marks_of

from golden_cases import OWN, REFERENCE_SERIES, Case, GoldenError, check, read_folder
from golden_served import NOT_YET_SERVED, SERVED

KNOWN = SERVED.keys() | NOT_YET_SERVED
TUFF = {
    "id": "a",
    "inputs": {"first_failure": 1, "p": 0.05},
    "expected": {"LR": 5.991464547107982},
    "source": "-2 ln p",
}


def case_of(expected: dict[str, Any], relative: float = 1e-9, absolute: float = 0.0) -> Case:
    return Case("family", "case", {}, expected, relative, absolute, Path())


def write(folder: Path, family: str, *cases: dict[str, Any], **content: Any) -> Path:
    (folder / f"{family}.json").write_text(json.dumps({"schema": "golden/1", "cases": cases} | content))
    return folder


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"a": 1.0 + 5e-10}, {"a": 1.0}),
        ({"a": 1.0, "more": 2.0}, {"a": 1.0}),
        ({"a": np.array([1.0, 2.0])}, {"a": [1, 2]}),
        ({"a": np.array(["green", "red"])}, {"a": ["green", "red"]}),
        ({"a": {"b": [(1, 2.0)]}}, {"a": {"b": [[1, 2.0]]}}),
        ({"a": 3e-16}, {"a": 0.0}),
        ({"a": 3e-16}, {"a": 6e-16}),
        ({"a": None, "b": True}, {"a": None, "b": True}),
        ({"a": 1.00001}, {"a": 1.0, "LRE_min": 4}),
    ],
)
def test_figures_that_agree_pass(told: dict[str, Any], expected: dict[str, Any]) -> None:
    check(case_of(expected, relative=1e-4 if "LRE_min" in expected else 1e-9), told)


@pytest.mark.parametrize(
    ("told", "expected", "where"),
    [
        ({"a": 1.0 + 2e-9}, {"a": 1.0}, ".a must be 1.0"),
        ({"b": 1.0}, {"a": 1.0}, ".a is missing"),
        ({"a": [1.0]}, {"a": [1.0, 2.0]}, ".a must have 2 entries, got 1"),
        ({"a": [1.0, 3.0]}, {"a": [1.0, 2.0]}, r".a\[1\] must be 2.0"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ".a.b must be 2"),
        ({"a": "green"}, {"a": "red"}, "must be 'red'"),
        ({"a": 1}, {"a": True}, "must be True"),
        ({"a": float("nan")}, {"a": 1.0}, "must be 1.0"),
        ({"a": 1e-11}, {"a": 0.0}, "must be 0.0"),
        ({"a": 1.1e-11}, {"a": 1e-11}, "must be 1e-11"),
        ({"a": 1000}, {"a": 1001}, "must be 1001"),
        ({"a": 1.001}, {"a": 1.0, "LRE_min": 4}, "must be 1.0"),
    ],
)
def test_figures_that_differ_fail_by_name(told: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    with pytest.raises(AssertionError, match=where):
        check(case_of(expected, relative=0.1 if "LRE_min" in expected or where.endswith("1001") else 1e-9), told)


def test_tolerances_are_those_of_the_case_then_of_the_file_then_the_default(tmp_path: Path) -> None:
    write(tmp_path, "ewma", TUFF, TUFF | {"rel_tol": 0.1}, TUFF | {"tolerance_abs": 0.5}, tolerance_rel=0.2)
    write(tmp_path, "fhs", TUFF)
    read = read_folder(tmp_path, KNOWN)
    assert [(case.relative, case.absolute) for case in read] == [(0.2, 0), (0.1, 0), (0.2, 0.5), (1e-9, 0)]


@pytest.mark.parametrize(
    ("family", "content", "reason"),
    [
        ("unheard_of", {}, "known by file name, got .'unheard_of.json'"),
        ("ewma", {"schema": "golden/2"}, "must have the schema golden/1, got 'golden/2'"),
        ("ewma", {"cases": []}, "holds no case"),
        ("ewma", {"cases": [{"id": "a", "inputs": {}}]}, "must have id, inputs and expected"),
        ("ewma", {"cases": [{"id": "a", "inputs": {}, "expected": {}}]}, "must have id, inputs and expected"),
    ],
)
def test_a_file_that_is_not_understood_is_an_error(
    tmp_path: Path, family: str, content: dict[str, Any], reason: str
) -> None:
    write(tmp_path, family, TUFF, **content)
    with pytest.raises(GoldenError, match=reason):
        read_folder(tmp_path, KNOWN)


def test_a_missing_and_an_empty_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="which is none"):
        read_folder(tmp_path / "nowhere", KNOWN)
    with pytest.raises(GoldenError, match="holds no case"):
        read_folder(tmp_path, KNOWN)


@pytest.mark.parametrize("case", read_folder(OWN, KNOWN), ids=lambda case: f"{case.family}-{case.id}")
def test_an_input_that_is_not_understood_is_refused(case: Case) -> None:
    # Some families list their inputs, one an account.
    listed: Any = case.inputs
    inputs: Any = [*listed, {"surprise": 1}] if isinstance(listed, list) else {**listed, "surprise": 1}
    surprised = replace(case, inputs=inputs)
    with pytest.raises(GoldenError, match="surprise"):
        SERVED[case.family](surprised)


def test_a_series_is_taken_from_the_folder_first(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("day,r\n2024-01-01,1.5\n")
    case = Case("family", "case", {}, {}, 0.0, 0.0, tmp_path)
    assert {name: column.tolist() for name, column in case.table("data/x.csv").items()} == {"r": [1.5]}
    with pytest.raises(GoldenError, match="is not understood"):
        case.table("../x.csv")
    with pytest.raises(pytest.skip.Exception, match=r"absent\.csv"):
        case.table("data/absent.csv")


def test_no_family_is_both_served_and_not() -> None:
    assert not SERVED.keys() & NOT_YET_SERVED


def test_a_case_of_a_family_not_yet_served_must_fail_and_any_other_must_pass() -> None:
    waiting = marks_of(replace(case_of({}), family="not yet served"))
    assert [mark.name for mark in waiting] == ["xfail"]
    assert waiting[0].kwargs["strict"]
    assert all(not marks_of(replace(case_of({}), family=family)) for family in SERVED)


@pytest.mark.shared
@pytest.mark.skipif(not REFERENCE_SERIES.is_dir(), reason=f"{REFERENCE_SERIES} is absent")
def test_every_family_of_the_reference_folder_is_known() -> None:
    assert {path.stem for path in REFERENCE_SERIES.parent.rglob("*.json")} <= KNOWN


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_golden.py"]
    return subprocess.run([*command, "--golden", folder], cwd=root, capture_output=True, text=True, check=False)


def test_from_the_command_line_right_and_wrong_cases_are_counted(tmp_path: Path) -> None:
    wrong = TUFF | {"id": "b", "expected": {"LR": 6.0}}
    write(tmp_path, "kupiec_tuff", TUFF, wrong)
    done = run(tmp_path)
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "kupiec_tuff/b: .LR must be 6.0" in done.stdout


def test_from_the_command_line_an_unknown_family_is_an_error(tmp_path: Path) -> None:
    done = run(write(tmp_path, "unheard_of", TUFF))
    assert done.returncode > 1
    assert "unheard_of" in done.stdout
