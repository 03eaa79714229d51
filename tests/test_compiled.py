"""Is a compiled kernel ever out of date, and does it work where nothing can be written?"""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data.compiled
from data.compiled import compiled, plain

CALLER = """
from data.compiled import compiled
from margin_models.kernels.inner import weight

@compiled
def weighted(x):
    return weight(x) * 10.0
"""
INNER = """
from data.compiled import compiled

@compiled
def weight(x):
    return x * {factor}
"""
ASK = """
from data.compiled import _FOLDER
from margin_models.kernels.outer import weighted
print(weighted(1.0), sum(weighted.stats.cache_hits.values()), _FOLDER)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the project's own `compiled` and two kernel files, one calling the other."""
    kernels = tmp_path / "margin_models" / "kernels"
    kernels.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    for folder in (tmp_path / "data", kernels.parent, kernels):
        (folder / "__init__.py").touch()  # real packages, which come before the installed ones of the same name
    shutil.copy(data.compiled.__file__, tmp_path / "data" / "compiled.py")
    (kernels / "outer.py").write_text(CALLER)
    (kernels / "inner.py").write_text(INNER.format(factor=2.0))
    return tmp_path


def ask(package: Path, user_cache: Path) -> tuple[float, int, str, str]:
    """What a new process gets: the kernel's answer, how often from the cache, the cache folder, and what it warned."""
    where = {**os.environ, "XDG_CACHE_HOME": str(user_cache), "PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=package, env=where, capture_output=True, text=True, check=True
    )
    answer, hits, folder = done.stdout.split(maxsplit=2)
    return float(answer), int(hits), folder.strip(), done.stderr


def test_an_edited_callee_in_another_file_is_noticed(package: Path) -> None:
    first = ask(package, package / "user")
    again = ask(package, package / "user")
    (package / "margin_models" / "kernels" / "inner.py").write_text(INNER.format(factor=6.0))
    edited = ask(package, package / "user")
    assert (first[0], again[0], edited[0]) == (20.0, 20.0, 60.0)
    assert (first[1], again[1], edited[1]) == (0, 1, 0)
    assert Path(first[2]).parent == package / "data" / "__pycache__"


def test_a_package_that_cannot_be_written_uses_the_users_cache(package: Path) -> None:
    # A file in the folder's place refuses writers of every rank; permissions would not stop an administrator.
    (package / "data" / "__pycache__").write_text("")
    user = package / "user"
    answers = [ask(package, user) for _ in range(2)]
    assert [answer[:2] for answer in answers] == [(20.0, 0), (20.0, 1)]
    assert Path(answers[0][2]).parent == user / "marginlab"


def test_with_nowhere_to_write_it_works_and_warns_once(package: Path) -> None:
    (package / "data" / "__pycache__").write_text("")
    (package / "user").write_text("")
    answer, hits, folder, warned = ask(package, package / "user")
    assert (answer, hits, folder) == (20.0, 0, "None")
    assert warned.count("UserWarning") == 1
    assert "compiled afresh" in warned


def test_every_file_that_compiles_is_in_the_hash() -> None:
    root = Path(data.compiled.__file__).parents[1]
    packages = ("data", "margin_models", "backtest", "research")
    sources = [path for name in packages for path in (root / name).rglob("*.py")]
    compiling = {path for path in sources if "import compiled" in path.read_text(encoding="utf-8")}
    assert compiling
    assert compiling <= set(data.compiled.kernel_files())


def test_the_decorator_takes_options_and_keeps_the_plain_function() -> None:
    @compiled(nogil=True, fastmath={"contract"})
    def total(values: np.ndarray) -> float:
        answer = 0.0
        for value in values:
            answer += value
        return answer

    numbers = np.arange(5.0)
    assert total(numbers) == plain(total)(numbers) == 10.0
    assert total.targetoptions["nogil"]  # type: ignore[attr-defined]
    assert total.targetoptions["error_model"] == "numpy"  # type: ignore[attr-defined]


LICENCES = {"contract", "reassoc", "arcp", "afn", "fast"}


def test_arithmetic_that_may_be_rearranged_has_one_copy() -> None:
    """A function that others call is compiled by itself and within each caller; which copy runs depends on the cache.

    Where the compiler may fuse or reorder, the copies differ in the last bit, and a model is not the same twice.
    """
    root = Path(data.compiled.__file__).parents[1]
    names = [".".join(path.relative_to(root).with_suffix("").parts) for path in data.compiled.kernel_files()]
    modules = [importlib.import_module(name) for name in names]
    kernels = {id(one): one for module in modules for one in vars(module).values() if hasattr(one, "targetoptions")}
    called = {name for one in kernels.values() for name in one.py_func.__code__.co_names}
    free = [
        one
        for one in kernels.values()
        if one.targetoptions.get("fastmath") is True or LICENCES & set(one.targetoptions.get("fastmath") or ())
    ]
    assert len(free) > 5
    copied = [
        one.__name__
        for one in free
        if one.__name__ in called
        and one.targetoptions.get("inline") != "always"
        and not one.targetoptions.get("forceinline")
    ]
    assert copied == []
