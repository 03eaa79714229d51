"""What does the project say to the golden cases of pricing?"""

from collections.abc import Callable
from typing import Any

from golden_cases import Case

Figures = dict[str, Any]

FAMILIES: dict[str, Callable[[Case], Figures]] = {}
