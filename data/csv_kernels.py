"""What do plain lines of figures between commas say, read in one pass over their bytes?

Plain means: digits with a sign, a point and an exponent where need be, and numbers that a float holds after one
exactly rounded step (below 2**53, scaled by at most 10**22: Clinger 1990). At anything else the reader stops, and the
caller reads the block by other means; what it does read is what they would read, bit for bit.
"""

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from data.digit_kernels import NONE, REACH, Lanes, decimal, eight, ends_within, first_of, whole_number

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Place = np.uintp  # unsigned, or every look at a byte would ask whether it counts from the end

SKIPPED, FIGURE, COUNT, WORD = 0, 1, 2, 3  # what becomes of a column
DISTINCT = 64  # words that a column may have
NOT_PLAIN = -1

_ONE, _NOWHERE = Place(1), Place(0)
_COMMA, _LINE_END, _RETURN, _QUOTE = 44, 10, 13, 34
_POINT, _MINUS, _ZERO, _SMALL_E, _BIG_E = 46, 45, 48, 101, 69
_EXACT = np.uint64(2**53)
_DIGITS = Place(18)
_NINE = np.uint64(9)
_POWER = 22
_TENS = np.array([10.0**power for power in range(_POWER + 1)])
_WIDE = Place(8)
_INITIALS = 32  # of words, by the last bits of the first letter


@compiled(nogil=True)
def read_lines(
    data: Bytes,
    kinds: Ints,
    slots: Ints,
    figures: NDArray[np.float64],
    counts: Ints,
    words: NDArray[np.int32],
    said: Ints,
) -> int:
    """Lines into columns; how many there are, or NOT_PLAIN where one is not plain.

    Parameters
    ----------
    data : (B,) whole lines, the last with its end.
    kinds, slots : (C,) what becomes of each cell of a line, and in which row of its output it goes.
    figures, counts : (F, R) and (W, R) to be filled, NaN and -1 where blank.
    words : (K, R) to be filled with the number of the word among those its column has said, -1 where blank.
    said : (K, DISTINCT, 2) of 0, to be filled with where each word starts and ends.
    """
    likely = np.full((len(said), _INITIALS), -1)
    lengths = np.zeros(len(kinds), Place)  # of the cells of the line before, which most have again
    at, row, size, last = _NOWHERE, Place(0), Place(len(data)), len(kinds) - 1
    while at < size:
        for column in range(last + 1):
            kind, slot, start, length = kinds[Place(column)], Place(slots[Place(column)]), at, lengths[Place(column)]
            guessed = _NOWHERE < length <= REACH and at + REACH < size and _is_end(data[at + length])
            if guessed:
                ends = eight(data, at), eight(data, at + length - min(length, _WIDE))
                guessed, figure, count = _likely(kind, ends, length)
            if not guessed and kind != WORD:
                figure, count, at = _cell(kind, data, at)
                lengths[Place(column)] = at - start
            elif kind != WORD:
                at += length
            if kind == FIGURE:
                figures[slot, row] = figure
            elif kind == COUNT:
                counts[slot, row] = count
            elif kind == WORD:
                initial = data[at] % _INITIALS
                number = likely[slot, initial]
                other = Place(said[slot, Place(max(number, 0)), 0])
                length = Place(said[slot, Place(max(number, 0)), 1]) - other
                same = start + REACH < size and _same_word(eight(data, start), eight(data, other), length)
                at = start + length
                if number < 0 or not same or not _is_end(data[at]):
                    number, at = _word(data, start, said, slot)
                    likely[slot, initial] = number
                words[slot, row] = number
            if at == _NOWHERE:
                return NOT_PLAIN
            if column == last and data[at] == _RETURN:
                at += _ONE
            if data[at] != (_COMMA if column < last else _LINE_END):
                return NOT_PLAIN
            at += _ONE
        row += _ONE
    return int(row)


@compiled(nogil=True)
def line_count(data: Bytes) -> int:
    """How many line ends there are."""
    count = 0
    for byte in data:
        count += byte == _LINE_END
    return count


@compiled(nogil=True, forceinline=True)
def _is_end(byte: np.uint8) -> bool:
    """Whether a cell may end here."""
    return byte in (_COMMA, _LINE_END, _RETURN)


@compiled(nogil=True, forceinline=True)
def _likely(kind: int, ends: tuple[Lanes, Lanes], length: Place) -> tuple[bool, float, np.int64]:
    """Whether a cell has the length of the one above, and what it says, by the eight bytes at either end of it."""
    if kind == FIGURE:
        value, behind = decimal(ends[0], ends[1], length)
        return bool(value <= _EXACT), np.int64(value) / _TENS[behind % REACH], np.int64(0)
    if kind == COUNT:
        value = whole_number(ends[0], ends[1], length)
        return bool(value != NONE), np.nan, np.int64(value)
    return kind == SKIPPED and not ends_within(ends[0], ends[1], length), np.nan, np.int64(0)


@compiled(nogil=True, forceinline=True)
def _same_word(left: Lanes, right: Lanes, length: Place) -> bool:
    """Whether eight bytes and eight others begin with the same word, of no more than them."""
    return bool(_NOWHERE < length <= _WIDE and first_of(left, length) == first_of(right, length))


@compiled(nogil=True, forceinline=True)
def _cell_end(data: Bytes, at: Place) -> Place:
    """Where a cell ends; nowhere where it is quoted."""
    while True:
        while data[at] > _COMMA:  # digits, points and letters are
            at += _ONE
        byte = data[at]
        if byte in (_COMMA, _LINE_END) or (byte == _RETURN and data[at + _ONE] == _LINE_END):
            return at
        if byte == _QUOTE:
            return _NOWHERE
        at += _ONE


@compiled(nogil=True, forceinline=True)
def _digits(data: Bytes, at: Place, value: np.int64) -> tuple[np.int64, Place]:
    """A number that goes on with the digits from here, and where they end; wrong beyond 18 of them."""
    digit = np.int64(data[at]) - _ZERO
    while np.uint64(digit) <= _NINE:  # below 0 it is huge: one look instead of two, and a third less time
        value = 10 * value + digit
        at += _ONE
        digit = np.int64(data[at]) - _ZERO
    return value, at


@compiled(nogil=True, forceinline=True)
def _count(data: Bytes, at: Place) -> tuple[np.int64, Place]:
    """A whole number, -1 where blank, and where it ends; nowhere where it is none."""
    start = at
    negative = data[at] == _MINUS
    if negative:
        at += _ONE
    first = at
    value, at = _digits(data, at, np.int64(0))
    if at == start:
        return np.int64(-1), at
    if at == first or at - first > _DIGITS:
        return value, _NOWHERE
    return (-value if negative else value), at


@compiled(nogil=True, forceinline=True)
def _figure(data: Bytes, at: Place) -> tuple[float, Place]:
    """A float, NaN where blank, and where it ends; nowhere where it is none, or none that one step rounds exactly."""
    start = at
    negative = data[at] == _MINUS
    if negative:
        at += _ONE
    first, power = at, np.int64(0)
    value, at = _digits(data, at, np.int64(0))
    digits = at - first
    if data[at] == _POINT:
        point = at + _ONE
        value, at = _digits(data, point, value)
        digits += at - point
        power = -np.int64(at - point)
    if at == start:
        return np.nan, at
    if digits == _NOWHERE or digits > _DIGITS or value > 2**53:
        return np.nan, _NOWHERE
    if data[at] == _SMALL_E or data[at] == _BIG_E:
        before = at + _ONE
        exponent, at = _count(data, before)
        if at == before:
            return np.nan, _NOWHERE
        power += exponent
    if at == _NOWHERE or power < -_POWER or power > _POWER:
        return np.nan, _NOWHERE
    figure = value / _TENS[Place(-power)] if power < 0 else value * _TENS[Place(power)]
    return (-figure if negative else figure), at


@compiled(nogil=True)
def _word(data: Bytes, at: Place, said: Ints, slot: Place) -> tuple[int, Place]:
    """The number of a word among those said, -1 where blank, and where it ends; nowhere where there are too many."""
    end = _cell_end(data, at)
    if end in (at, _NOWHERE):
        return -1, end
    for number in range(DISTINCT):
        if said[slot, number, 1] == 0:
            said[slot, number, 0], said[slot, number, 1] = at, end
        start = Place(said[slot, number, 0])
        if Place(said[slot, number, 1]) - start == end - at and _same(data, at, start, end - at):
            return number, end
    return -1, _NOWHERE


@compiled(nogil=True)
def _cell(kind: int, data: Bytes, at: Place) -> tuple[float, np.int64, Place]:
    """A cell byte by byte: what it says as its column is to be read, and where it ends."""
    figure, count = np.nan, np.int64(-1)
    if kind == FIGURE:
        figure, at = _figure(data, at)
    elif kind == COUNT:
        count, at = _count(data, at)
    else:
        at = _cell_end(data, at)
    return figure, count, at


@compiled(nogil=True, forceinline=True)
def _same(data: Bytes, start: Place, other: Place, length: Place) -> bool:
    """Whether two cells of this length hold the same bytes; the last one first."""
    while length:
        length -= _ONE
        if data[start + length] != data[other + length]:
            return False
    return True
