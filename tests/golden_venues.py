"""What does the project say to the golden cases of the margin systems of other venues and clearing houses?"""

from collections.abc import Callable
from typing import Any

from golden_cases import Case

Figures = dict[str, Any]

FAMILIES: dict[str, Callable[[Case], Figures]] = {}
