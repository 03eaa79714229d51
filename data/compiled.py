"""How is a plain loop compiled, and where is the result kept?

numba's own file cache does not notice an edited callee in another file, and fails at import where it cannot write. So
the cache lives under a folder named by a hash of every kernel file: beside the package, else in the user's cache
folder, else nowhere, with one warning.
"""

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

import numba

_ROOT = Path(__file__).resolve().parents[1]
_KERNELS = (
    "margin_models/kernels/*.py",
    "backtest/*kernels.py",
    "data/*kernels.py",
    "data/flow/*kernels.py",
    "data/compiled.py",
)

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel_files() -> list[Path]:
    """Every file that holds compiled loops, sorted."""
    return sorted(path for pattern in _KERNELS for path in _ROOT.glob(pattern))


def cache_folder() -> Path | None:
    """Where compiled kernels are kept: the first place that can be written; None, and one warning, where none can."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in kernel_files():
        digest.update(path.name.encode() + path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    user = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for folder in (Path(__file__).parent / "__pycache__" / name, Path(user) / "marginlab" / name):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
        except OSError:
            continue
    warnings.warn("no folder can be written: kernels are compiled afresh in every process", stacklevel=2)
    return None


_FOLDER = cache_folder()


@overload
def compiled(function: Function) -> Function: ...
@overload
def compiled(**options: Any) -> Callable[[Function], Function]: ...
def compiled(function: Function | None = None, **options: Any) -> Function | Callable[[Function], Function]:
    """Compile a loop over arrays and numbers at its first call; `plain` gives the loop back as it was written.

    Used bare, or with numba's options: `@compiled(nogil=True)`.
    """
    if function is None:
        return lambda given: _compile(given, options)
    return _compile(function, options)


def plain(kernel: Function) -> Function:
    """The Python function behind a compiled one; ParameterError for one that is not compiled.

    >>> plain(len)
    Traceback (most recent call last):
    data.errors.ParameterError: expected a compiled function, got <built-in function len>
    """
    from data.errors import ParameterError

    written: Function | None = getattr(kernel, "py_func", None)
    if written is None:
        raise ParameterError(f"expected a compiled function, got {kernel!r}")
    return written


def _compile(function: Function, options: dict[str, Any]) -> Function:
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = str(_FOLDER or before)  # type: ignore[attr-defined]
    try:
        given = {"cache": _FOLDER is not None, "error_model": "numpy", **options}
        jitted: Function = numba.njit(**given)(function)
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
    return jitted
