"""What do we tell, record and promote? The one package that may import all the others.

Nothing is imported here: the command line answers at once, and pays for what it uses.
"""

from pathlib import Path as _Path
from runpy import run_path as _run_path

# Whose `data` would be imported is checked first. Run, not imported: importing its package would load pandas.
_run_path(str(_Path(__file__).resolve().parents[1] / "margin_models" / "ours.py"))

__all__: list[str] = []
