"""Is the package `data` that Python would import ours?

The name is a common one: a `data.py` or a package `data/` in the working folder comes first on the path of a script or
a notebook. Better a clear sentence at import than a puzzling one later. Importing this module is the check.
"""

from importlib.util import find_spec
from pathlib import Path

_OURS = Path(__file__).resolve().parents[1] / "data" / "__init__.py"


def check_data_is_ours() -> None:
    """ImportError, naming the stranger, where `import data` would not find the package beside this one."""
    spec = find_spec("data")
    found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
    if found != _OURS:
        raise ImportError(
            f"marginlab needs its own package 'data' at {_OURS.parent}, but Python finds {found or 'a folder'} first: "
            "rename that file or folder, or run from elsewhere"
        )


check_data_is_ours()
