"""What do up to sixteen bytes of a cell say, when eight are looked at as one number?

Every byte is a lane of eight bits; arithmetic on all lanes at once replaces a loop over them (Lamport 1975, "Multiple
byte processing with full-word instructions"). Cells whose length is known in advance have no step that waits for the
step before, which is what a loop over digits spends its time on.
"""

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Bytes = NDArray[np.uint8]
Place = np.uintp  # unsigned, or every look at a byte would ask whether it counts from the end
Lanes = np.uint64

REACH = Place(16)  # bytes of the longest cell that is read so
NONE = Lanes(2**64 - 1)  # of what is no number

_WIDE, _BITS, _ONE, _EIGHT = Place(8), Place(64), Place(1), Lanes(8)
_ZEROS = Lanes(0x3030303030303030)
_POINT, _LANE = Lanes(0x1E), Lanes(0xFF)  # "." once "0" is taken away
_TOP = Lanes(0x8080808080808080)
_TEN_AND_MORE = Lanes(0x7676767676767676)  # what lifts a lane above 9 to its top bit
_BEYOND_COMMA = Lanes(0x2D2D2D2D2D2D2D2D)
_SEVEN_DIGITS, _EIGHT_DIGITS = Lanes(10_000_000), Lanes(100_000_000)
_PLACES = Lanes(0x0001020304050607)  # times 2**(8 k) it has k in its topmost lane


@compiled(nogil=True, forceinline=True)
def eight(data: Bytes, at: Place) -> Lanes:
    """The eight bytes from here, the first one lowest: one look at memory, as the compiler sees."""
    low = Lanes(data[at]) | Lanes(data[at + Place(1)]) << Lanes(8)
    low |= Lanes(data[at + Place(2)]) << Lanes(16) | Lanes(data[at + Place(3)]) << Lanes(24)
    low |= Lanes(data[at + Place(4)]) << Lanes(32) | Lanes(data[at + Place(5)]) << Lanes(40)
    return low | Lanes(data[at + Place(6)]) << Lanes(48) | Lanes(data[at + Place(7)]) << Lanes(56)


@compiled(nogil=True, forceinline=True)
def first_of(lanes: Lanes, length: Place) -> Lanes:
    """Only the first `length` bytes, 1 to 8, at the top, with 0 below them."""
    return lanes << Lanes(_BITS - length * _WIDE)


@compiled(nogil=True, forceinline=True)
def ends_within(first: Lanes, last: Lanes, length: Place) -> bool:
    """Whether any of 1 to 16 bytes is a comma or less, as all are that end a cell or open a quote.

    `first` and `last` are the eight bytes with which the cell begins and ends, here as below; of a cell of up to
    eight only the first ones count.
    """
    if length <= _WIDE:
        return bool(first_of(_up_to_comma(first), length) != 0)
    return bool((_up_to_comma(first) | _up_to_comma(last)) != 0)


@compiled(nogil=True, forceinline=True)
def _up_to_comma(lanes: Lanes) -> Lanes:
    """The top bit of every lane that holds a comma or less."""
    return ~(((lanes | _TOP) - _BEYOND_COMMA) | lanes) & _TOP


@compiled(nogil=True, forceinline=True)
def whole_number(first: Lanes, last: Lanes, length: Place) -> Lanes:
    """What 1 to 16 digits say; NONE where one of them is no digit."""
    if length <= _WIDE:
        low = first_of(first ^ _ZEROS, length)
        return _number(low) if _no_digits(low) == 0 else NONE
    high, low = first_of(first ^ _ZEROS, length - _WIDE), last ^ _ZEROS
    return _EIGHT_DIGITS * _number(high) + _number(low) if _no_digits(high) | _no_digits(low) == 0 else NONE


@compiled(nogil=True, forceinline=True)
def decimal(first: Lanes, last: Lanes, length: Place) -> tuple[Lanes, Place]:
    """What 1 to 16 digits say with a point among them left out, and how many follow it; NONE where there is other."""
    if length <= _WIDE:
        lanes, behind = _without_point(first_of(first ^ _ZEROS, length))
        return (_number(lanes), behind % _WIDE) if behind < REACH and (length > _ONE or behind) else (NONE, behind)
    high, before = _without_point(first_of(first ^ _ZEROS, length - _WIDE))
    low, behind = _without_point(last ^ _ZEROS)
    if before == _WIDE and behind <= _WIDE:  # the point is in the last eight, or nowhere
        scale = _EIGHT_DIGITS if behind == _WIDE else _SEVEN_DIGITS
        return scale * _number(high) + _number(low), behind % _WIDE
    if before < _WIDE and behind == _WIDE:
        return _EIGHT_DIGITS * _number(high) + _number(low), before + _WIDE
    return NONE, before


@compiled(nogil=True, forceinline=True)
def _without_point(lanes: Lanes) -> tuple[Lanes, Place]:
    """Lanes without their point's, and how many are behind it: 8 where there is none, REACH where one is no digit."""
    odd = _no_digits(lanes)
    if odd == 0:
        return lanes, _WIDE
    mark = odd >> Lanes(7)
    if odd & (odd - Lanes(1)) or lanes & (mark * _LANE) != mark * _POINT:
        return lanes, REACH
    closed = (lanes & ~((mark << _EIGHT) - Lanes(1))) | (lanes & (mark - Lanes(1))) << _EIGHT
    return closed, Place(7) - Place((mark * _PLACES) >> Lanes(56))


@compiled(nogil=True, forceinline=True)
def _no_digits(lanes: Lanes) -> Lanes:
    """The top bit of every lane above 9."""
    return (((lanes & ~_TOP) + _TEN_AND_MORE) | lanes) & _TOP


@compiled(nogil=True, forceinline=True)
def _number(lanes: Lanes) -> Lanes:
    """Eight digits, the highest in the lowest lane: neighbours are joined to pairs, those to fours, those to all."""
    pairs = (lanes * Lanes(10) + (lanes >> _EIGHT)) & Lanes(0x00FF00FF00FF00FF)
    fours = (pairs * Lanes(100) + (pairs >> Lanes(16))) & Lanes(0x0000FFFF0000FFFF)
    return (fours * Lanes(10_000) + (fours >> Lanes(32))) & Lanes(0xFFFFFFFF)
