"""How does a JSON document begin, where only its beginning is at hand?"""

import json
from typing import Any

_CLOSING = {"{": "}", "[": "]"}


def first_document(text: str) -> tuple[Any, bool]:
    """The document at the start of a text, and whether it is whole.

    Of one that breaks off, all elements that are complete; None where nothing can be read.

    >>> first_document('[{"a": 1}, {"a": 2}] and more')
    ([{'a': 1}, {'a': 2}], True)
    >>> first_document('{"result": [[1, 2.5], [2, 3')
    ({'result': [[1, 2.5], [2]]}, False)
    """
    start = text.lstrip()
    try:
        return json.JSONDecoder().raw_decode(start)[0], True
    except (json.JSONDecodeError, RecursionError):
        pass
    for end, closing in _cuts(start):
        try:
            return json.loads(start[:end] + closing), False
        except (json.JSONDecodeError, RecursionError):
            continue
    return None, False


def _cuts(text: str, tried: int = 3) -> list[tuple[int, str]]:
    """Where a document that breaks off could end, the latest first, and what would close it there."""
    cuts: list[tuple[int, str]] = []
    opened: list[str] = []
    in_string = escaped = False
    for place, letter in enumerate(text):
        if in_string:
            in_string, escaped = letter != '"' or escaped, letter == "\\" and not escaped
        elif letter == '"':
            in_string = True
        elif letter in "{[":
            opened.append(_CLOSING[letter])
        elif letter in "}]" and opened:
            opened.pop()
        elif letter == ",":
            cuts = [*cuts[-(tried - 1) :], (place, "".join(reversed(opened)))]
    return cuts[::-1]
