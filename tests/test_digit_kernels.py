"""Do eight bytes at once say what a loop over them does?"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.csv_kernels import COUNT, FIGURE, SKIPPED, WORD, read_lines
from data.digit_kernels import NONE, REACH, decimal, eight, ends_within, whole_number

CELLS = st.text("0123456789", min_size=1, max_size=16)
ODD = st.text('0123456789.-+eE ,"x\x80\xff/:', min_size=1, max_size=16)
WIDE = np.uintp(8)


def ends(cell: str) -> tuple[np.uint64, np.uint64, np.uintp]:
    """The eight bytes with which a cell begins and ends, in a line that goes on."""
    data = np.frombuffer(f"{cell},7,8,9,10,11,12,13\n".encode("latin-1"), np.uint8)
    length = np.uintp(len(cell))
    last = eight(data, length - min(length, WIDE))
    return np.uint64(eight(data, np.uintp(0))), np.uint64(last), length  # as Python's numbers they would be signed


@given(cell=CELLS | ODD)
@settings(max_examples=400, deadline=None)
@example(cell="0" * 16)
@example(cell="9" * 16)
@example(cell="12345678")
@example(cell="123456789")
@example(cell="1234567\x80")
def test_a_whole_number_is_its_digits(cell: str) -> None:
    assert whole_number(*ends(cell)) == (int(cell) if cell.isascii() and cell.isdigit() else NONE)


@given(cell=CELLS | ODD | st.tuples(CELLS, CELLS).map(".".join).map(lambda cell: cell[:16]))
@settings(max_examples=600, deadline=None)
@example(cell=".")
@example(cell="5.")
@example(cell=".5")
@example(cell="12345678.1234567")
@example(cell="1234567.12345678")
@example(cell="1.2.3")
@example(cell="1.00000000.0")
def test_a_decimal_is_its_digits_and_where_its_point_is(cell: str) -> None:
    value, behind = decimal(*ends(cell))
    digits = cell.replace(".", "", 1)
    if digits and digits.isascii() and digits.isdigit():
        assert (int(value), int(behind)) == (int(digits), len(cell.partition(".")[2]))
    else:
        assert value == NONE


@given(cell=CELLS | ODD)
@settings(deadline=None)
def test_what_ends_a_cell_is_found_within(cell: str) -> None:
    assert ends_within(*ends(cell)) == any(character <= "," for character in cell)


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 10**17),
            st.decimals(0, 10**9, places=4).map(str)
            | st.sampled_from(["", "-1.5", "2e-3", "42000.1", "42000.12345678"]),
            st.sampled_from(["true", "false", "t", "", "longer than eight", "trailing"]),
            st.text("abc 123.", max_size=20),
        ),
        min_size=1,
        max_size=6,
    ),
    again=st.integers(1, 4),
)
@settings(max_examples=200, deadline=None)
def test_cells_of_likely_lengths_are_read_as_any_others(rows: list[tuple[int, str, str, str]], again: int) -> None:
    lines = [line for line in rows for _ in range(again)]
    data = np.frombuffer("".join(f"{a},{b},{c},{d}\n" for a, b, c, d in lines).encode(), np.uint8)
    figures, counts = np.empty((1, len(lines))), np.empty((1, len(lines)), np.int64)
    words, said = np.empty((1, len(lines)), np.int32), np.zeros((1, 64, 2), np.int64)
    kinds, slots = np.array([COUNT, FIGURE, WORD, SKIPPED]), np.zeros(4, np.int64)
    assert read_lines(data, kinds, slots, figures, counts, words, said) == len(lines)
    assert counts[0].tolist() == [line[0] for line in lines]
    np.testing.assert_array_equal(figures[0], [float(line[1] or "nan") for line in lines])
    spoken = [bytes(data[start:end]).decode() for start, end in said[0].tolist()]
    assert [spoken[number] if number >= 0 else "" for number in words[0].tolist()] == [line[2] for line in lines]


@pytest.mark.parametrize("length", [1, 8, 9, 15, 16])
def test_cells_as_long_as_can_be_looked_at(length: int) -> None:
    assert REACH == 16
    assert whole_number(*ends("7" * length)) == int("7" * length)
