"""Is what gets installed ours, whole, locked, and quick to answer?"""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import data.version
from data.compiled import kernel_files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data", "margin_models", "backtest", "research")
LOCKS = tuple(ROOT / "requirements" / name for name in ("dev.lock", "run.lock", "docs.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
IMPORT_NAMES = {"scikit-learn": "sklearn"}


def run(cwd: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter in `cwd`, with nothing of the caller's import settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, check=False, timeout=60
    )


def locked(lock: Path) -> dict[str, list[Requirement]]:
    """The requirements of a lock by canonical name; a name has one a marker."""
    found: dict[str, list[Requirement]] = {}
    for line in re.findall(r"^([A-Za-z0-9].*?) *\\?$", lock.read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(Requirement(line).name), []).append(Requirement(line))
    return found


def contract(name: str) -> dict[str, Any]:
    contracts: list[dict[str, Any]] = PROJECT["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["name"] == name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    built = run(ROOT, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("marginlab-*.whl"))


# ---- The four names are ours, wherever one stands.


@pytest.mark.parametrize("package", PACKAGES)
def test_each_name_imports_from_this_checkout_when_standing_elsewhere(package: str, tmp_path: Path) -> None:
    answer = run(tmp_path, "-c", f"import {package}; print({package}.__file__)")
    assert answer.returncode == 0, answer.stderr
    assert Path(answer.stdout.strip()) == ROOT / package / "__init__.py"


@pytest.mark.parametrize("package", ["margin_models", "backtest", "research.main_job"])
@pytest.mark.parametrize("foreign", ["data.py", "data/__init__.py"])
def test_a_foreign_data_module_is_an_import_error_that_names_both(package: str, foreign: str, tmp_path: Path) -> None:
    stranger = tmp_path / foreign
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_text("")
    answer = run(tmp_path, "-c", f"import {package}")
    last = answer.stderr.strip().splitlines()[-1]
    assert answer.returncode != 0
    assert last.startswith("ImportError")
    assert str(stranger) in last
    assert str(ROOT / "data") in last


def test_a_plain_folder_named_data_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prices.csv").write_text("time,BTC\n")
    answer = run(tmp_path, "-c", "import research, data; print(data.__file__)")
    assert answer.returncode == 0, answer.stderr
    assert Path(answer.stdout.strip()) == ROOT / "data" / "__init__.py"


def test_the_command_line_imports_no_heavy_library() -> None:
    heavy = {"numpy", "pandas", "scipy", "sklearn", "numba", "mlflow", "matplotlib", "lightgbm", "arch", "statsmodels"}
    answer = run(ROOT, "-c", "import research.cli, sys; print(*sys.modules)")
    assert answer.returncode == 0, answer.stderr
    assert heavy & set(answer.stdout.split()) == set()


# ---- The wheel holds the four packages whole, and nothing else.


def test_the_wheel_holds_every_file_of_the_four_packages_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip = run(tmp_path, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", target, wheel)
    assert pip.returncode == 0, pip.stderr
    answer = run(tmp_path, ROOT / "scripts/check_wheel.py", ROOT, PYTHONPATH=str(target))
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_git_ignores_stored_data_and_runs_but_no_package() -> None:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/data/store/", "/mlruns/*", "!/mlruns/README.md", "/.venv/"} <= set(lines)
    assert {line.strip("/*") for line in lines} & set(PACKAGES) == set()


def test_make_clean_keeps_recorded_runs_and_stored_data(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    files = [tmp_path / folder / "__pycache__" / "one" for folder in ("mlruns", "data/store", "data", "tests")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("")
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert [file.exists() for file in files] == [True, True, False, False]


# ---- One version, one licence, the pages one expects.


def test_the_installed_package_and_the_citation_have_the_version_of_the_code() -> None:
    assert version("marginlab") == data.version.__version__
    assert f"version: {data.version.__version__}" in (ROOT / "CITATION.cff").read_text().splitlines()


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert len(text.splitlines()) in (201, 202)


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/decisions.md"])
def test_the_pages_are_there(page: str) -> None:
    assert (ROOT / page).read_text().startswith("# ")


# ---- Locks.


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.stem))
def test_a_lock_names_no_index_and_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert " @ " not in text
    assert set(re.findall(r"^ *(-[^=: ]+)", text, re.MULTILINE)) == {"--hash"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.stem))
def test_every_locked_requirement_is_one_exact_version_with_a_hash(lock: Path) -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) > 20
    exact = re.compile(r"[a-z0-9._-]+==[^ ]+( ; .+?)? \\\n    --hash=sha256:[0-9a-f]{64}")
    assert [block.splitlines()[0] for block in blocks if not exact.match(block)] == []


def test_the_run_time_lock_pins_what_the_development_lock_pins() -> None:
    development, runtime = (locked(lock) for lock in LOCKS[:2])
    pins = {name: {str(pin.specifier) for pin in development.get(name, ())} for name in runtime}
    assert {name: {str(pin.specifier) for pin in pinned} for name, pinned in runtime.items()} == pins


@pytest.mark.parametrize("lock", LOCKS[:2], ids=lambda lock: str(lock.stem))
def test_a_lock_holds_what_the_project_asks_for(lock: Path) -> None:
    asked = DEPENDENCIES
    if lock.stem == "dev":
        asked = asked + [Requirement(line) for line in PROJECT["dependency-groups"]["dev"]]
    pins = locked(lock)
    for requirement in asked:
        pinned = pins.get(canonicalize_name(requirement.name), [])
        versions = [Version(str(pin.specifier).removeprefix("==")) for pin in pinned]
        assert versions, f"{requirement} is not in {lock.name}: run make lock"
        assert all(one in requirement.specifier for one in versions), f"{requirement} against {versions} in {lock.name}"


# ---- Layers and notebooks.


def test_kernels_are_forbidden_every_dependency_but_numpy_and_numba() -> None:
    names = {IMPORT_NAMES.get(requirement.name, requirement.name) for requirement in DEPENDENCIES}
    forbidden = set(contract("kernels are arrays only")["forbidden_modules"])
    assert names - {"numpy", "numba"} - forbidden == set()
    assert forbidden & {"numpy", "numba"} == set()


def test_every_kernel_file_is_held_to_arrays() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in kernel_files()}
    inside = {"margin_models.kernels" if name.startswith("margin_models.kernels.") else name for name in modules}
    assert inside == set(contract("kernels are arrays only")["source_modules"])


def test_notebooks_hold_no_output_and_no_module() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks, "expected at least one notebook in notebooks/"
    assert sorted((ROOT / "notebooks").rglob("*.py")) == []
    for notebook in notebooks:
        cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
        assert [cell["outputs"] for cell in cells if cell["outputs"] or cell["execution_count"]] == [], notebook.name


def test_every_module_but_the_tracker_and_the_registry_is_forbidden_mlflow() -> None:
    (contract,) = (c for c in PROJECT["tool"]["importlinter"]["contracts"] if "mlflow" in c["name"])
    modules = {f"research.{path.stem}" for path in (ROOT / "research").glob("[a-z]*.py")}
    forbidden = {name for name in contract["source_modules"] if "." in name}
    assert modules - {"research.tracking", "research.registry"} == forbidden
