"""In what do two pieces of evidence differ?"""

import math
from collections.abc import Iterator
from typing import Any

CLOSE = 1e-9  # how far a number may be off, relatively, where it was computed by other versions


def leaves(told: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything that holds nothing else, by its dotted path: empty lists and objects too.

    >>> list(leaves({"a": [1, {"b": "x"}]}))
    [('a.0', 1), ('a.1.b', 'x')]
    """
    if not isinstance(told, (dict, list)) or not told:
        yield path, told
        return
    for key, value in told.items() if isinstance(told, dict) else enumerate(told):
        yield from leaves(value, f"{path}.{key}" if path else str(key))


def differences(told: Any, fresh: Any, *, exact: bool) -> Iterator[str]:
    """What a bundle says otherwise than what was recomputed, in sentences."""
    said, found = dict(leaves(told)), dict(leaves(fresh))
    for path in sorted(found.keys() | said.keys()):
        if path not in said:
            yield f"{path}: recomputed {found[path]!r}, the bundle says nothing"
        elif path not in found:
            yield f"{path}: the bundle says {said[path]!r:.120}, nothing of that is recomputed"
        elif not _same(said[path], found[path], exact):
            yield f"{path}: the bundle says {said[path]!r:.120}, recomputed {found[path]!r:.120}"


def is_number(value: Any) -> bool:
    """Whether it is a number of JSON."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(said: Any, found: Any, exact: bool) -> bool:
    if type(said) is not type(found):
        return False
    if exact or not isinstance(found, float):
        return bool(said == found)
    return math.isclose(said, found, rel_tol=CLOSE, abs_tol=1e-12)
