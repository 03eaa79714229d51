"""Do the kernel, Arrow's parser and the reader of text say the same, and does no line vanish?"""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data import ParameterError, SourceError
from data.compiled import plain
from data.csv_kernels import COUNT, DISTINCT, FIGURE, NOT_PLAIN, SKIPPED, WORD, read_lines
from data.records import UNKNOWN
from data.sources import csv_batches
from data.sources.csv_batches import STRANGE, Batch, batches
from data.sources.layout import RawFile
from data.sources.raw_files import raw

HEADER = "id,price,side,name\n"
SIDES = {"side": {"buy": 1, "sell": -1}}


def put(folder: Path, text: str) -> RawFile:
    path = folder / "a.csv"
    path.write_bytes(text.encode())
    return raw(path)


def one(file: RawFile, **options: object) -> Batch:
    read = [*batches(file, text=("name",), whole=("id",), words=SIDES, **options)]  # type: ignore[arg-type]
    return Batch(
        {name: np.concatenate([batch[name] for batch in read]) for name in read[0].columns},
        np.concatenate([batch.row for batch in read]),
    )


def rows(batch: Batch) -> list[tuple[object, ...]]:
    return [*zip(*(batch[name].tolist() for name in ("id", "price", "side", "name")), strict=True)]


def same(left: Batch, right: Batch) -> None:
    np.testing.assert_array_equal(left.row, right.row)
    for name, values in left.columns.items():
        assert values.dtype == right[name].dtype
        if values.dtype == np.float64:  # bit for bit
            np.testing.assert_array_equal(values.view(np.int64), right[name].view(np.int64))
        else:
            np.testing.assert_array_equal(values, right[name])


@pytest.fixture(params=["kernel", "no kernel"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_batches, "SMALL", 0 if request.param == "kernel" else 1 << 40)


@pytest.mark.usefixtures("either")
def test_cells_become_what_their_columns_hold(tmp_path: Path) -> None:
    text = HEADER + "1,1.5,buy,BTC\n,,,\n3,-2e-3,SELL,ETH\n4,.5,Bux,\n"
    batch = one(put(tmp_path, text))
    assert batch.row.tolist() == [1, 2, 3, 4]
    assert batch["id"].tolist() == [1, UNKNOWN, 3, 4]
    np.testing.assert_array_equal(batch["price"], [1.5, np.nan, -0.002, 0.5])
    assert batch["side"].tolist() == [1, 0, -1, STRANGE]
    assert batch["name"].tolist() == ["BTC", None, "ETH", None]
    assert [batch[name].dtype.name for name in ("id", "price", "side", "name")] == [
        "int64",
        "float64",
        "int8",
        "object",
    ]


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1,1.5,buy", (UNKNOWN, None, 0, None)),
        ("1,1.5,buy,BTC,7", (UNKNOWN, None, 0, None)),
        ("", (UNKNOWN, None, 0, None)),
        ("garbage", (UNKNOWN, None, 0, None)),
        ("1,1.5x,buy,BTC", (1, None, 1, "BTC")),
        ("1,0x10,buy,BTC", (1, None, 1, "BTC")),
        ("1,1_000,buy,BTC", (1, None, 1, "BTC")),
        ("1,null,buy,None", (1, None, 1, None)),
        ("x,1.5,buy,BTC", (UNKNOWN, 1.5, 1, "BTC")),
        ("1.5,1.5,buy,BTC", (UNKNOWN, 1.5, 1, "BTC")),
        ("7.0,1.5,buy,BTC", (7, 1.5, 1, "BTC")),
        ("99999999999999999999,1.5,buy,BTC", (UNKNOWN, 1.5, 1, "BTC")),
        (" 1 , 1.5 , buy , BTC ", (1, 1.5, 1, "BTC")),
        ('"1","1.5","buy","B, C"', (1, 1.5, 1, "B, C")),
        ('1,1.5,buy,"BTC', (UNKNOWN, None, 0, None)),
        ('"1,1.5,buy,BTC', (UNKNOWN, None, 0, None)),
        ("1,1.5,b\ry,BTC", (1, 1.5, STRANGE, "BTC")),
        ("1,123456789.123456789012,buy,BTC", (1, 123456789.123456789012, 1, "BTC")),
        ("1,1e400,buy,BTC", (1, math.inf, 1, "BTC")),
        ("1,1e-05,buy,BTC", (1, 1e-05, 1, "BTC")),
        ("1,-,buy,BTC", (1, None, 1, "BTC")),
        ("1,1e,buy,BTC", (1, None, 1, "BTC")),
        ("1,.,buy,BTC", (1, None, 1, "BTC")),
    ],
)
def test_a_torn_or_strange_line_neither_vanishes_nor_lies(tmp_path: Path, line: str, expected: tuple[object]) -> None:
    good = "5,2.5,sell,ETH\n"
    got = rows(one(put(tmp_path, f"{HEADER}{good}{line}\n{good}{good}")))
    assert len(got) == 4
    assert [got[0], got[2], got[3]] == [(5, 2.5, -1, "ETH")] * 3
    shown = tuple(None if isinstance(cell, float) and math.isnan(cell) else cell for cell in got[1])
    assert shown == expected


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("cut", range(1, 15))
def test_a_last_line_without_its_end_is_unknown(tmp_path: Path, cut: int) -> None:
    last = "6,21.5,buy,BTC\n"
    got = rows(one(put(tmp_path, HEADER + "5,2.5,sell,ETH\n" + last[: len(last) - cut])))
    assert got[0] == (5, 2.5, -1, "ETH")
    assert (len(got), got[1][0], math.isnan(got[1][1])) == (2, UNKNOWN, True)  # type: ignore[arg-type]


def test_nanoseconds_survive_a_torn_line(tmp_path: Path) -> None:
    file = put(tmp_path, "a,b\n1704067200000000001,1\n9223372036854775808,2\n17040\n")
    (batch,) = batches(file, whole=("a",))
    assert batch["a"].tolist() == [1704067200000000001, UNKNOWN, UNKNOWN]


def test_bytes_that_are_no_text_are_kept_as_such(tmp_path: Path) -> None:
    file = put(tmp_path, HEADER + "1,2.5,buy,BTC\n2,3.5,sell,?\n")
    file.path.write_bytes(file.path.read_bytes().replace(b"?", b"\xff"))
    assert rows(one(file)) == [(1, 2.5, 1, "BTC"), (2, 3.5, -1, "�")]


def test_lines_end_in_either_way(tmp_path: Path) -> None:
    text = HEADER + "1,2.5,buy,BTC\n2,3.5,sell,ETH\n"
    unix, other = one(put(tmp_path, text)), one(put(tmp_path, text.replace("\n", "\r\n")))
    same(unix, other)


def test_columns_are_named_where_there_is_no_header(tmp_path: Path) -> None:
    file = put(tmp_path, "1,2,3\n4,5,6\n")
    read = [*batches(file, ("a", "b", "a"), only=("b", "a"))]
    assert {name: values.tolist() for name, values in read[0].columns.items()} == {"b": [2, 5], "a": [1, 4]}
    with pytest.raises(ParameterError, match=r"a.csv: columns must be among \['a', 'b', 'a'\], got \['c'\]"):
        next(batches(file, ("a", "b", "a"), only=("c",)))
    with pytest.raises(ParameterError, match="got none"):
        next(batches(file))


def test_a_banner_is_passed_over(tmp_path: Path) -> None:
    read = [*batches(put(tmp_path, "https://a.com\nb,c\n1,2\n"))]
    assert (read[0]["b"].tolist(), read[0].row.tolist()) == ([1.0], [1])


def test_no_line_may_be_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path, HEADER + "1,2,buy,BTC\n" + "x" * 5000)
    monkeypatch.setattr(csv_batches, "BLOCK", 1000)
    with pytest.raises(SourceError, match="expected lines of less than 1000 bytes"):
        one(file)


numbers = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(-(10**9), 10**9, allow_nan=False, places=8).map(lambda number: f"{number:f}"),
    st.sampled_from(["", "nan", "null", "x", "1.", ".1", "-", "1e5", "1E-5", "--1", "+2", " 3", "1e", "0x1", '"4"']),
)
lines = st.one_of(
    st.tuples(
        numbers, numbers, st.sampled_from(["buy", "sell", "", "BUY", "bux"]), st.sampled_from(["a", "b", ""])
    ).map(",".join),
    st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=12),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(lines, min_size=1, max_size=12), st.integers(1, 40), st.integers(1, 5))
@example(["1,2.5,buy,a"] * 12, 3, 5)
def test_every_way_of_reading_gives_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, made: list[str], block: int, count: int
) -> None:
    file = put(tmp_path_factory.mktemp("a"), HEADER + "1,2.5,buy,a\n" + "".join(line + "\n" for line in made))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_batches, "_typed", lambda *_: None)
        patch.setattr(csv_batches, "_plain", lambda *_: None)
        as_text = one(file)
    assert as_text.row.tolist() == [*range(1, len(made) + 2)]
    same(as_text, one(file))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_batches, "SMALL", 0)
        same(as_text, one(file, rows=count))
        patch.setattr(csv_batches, "BLOCK", 200 + block)  # batches and blocks change nothing
        same(as_text, one(file))


def _kernel(text: str, width: int = 4) -> tuple[int, list[np.ndarray]]:
    data, count = np.frombuffer(text.encode(), np.uint8), text.count("\n")
    kinds, slots = np.array([COUNT, FIGURE, WORD, SKIPPED][:width]), np.zeros(width, np.int64)
    results = []
    for kernel in (read_lines, plain(read_lines)):
        out = (np.zeros((1, count)), np.zeros((1, count), np.int64), np.zeros((1, count), np.int32))
        said = np.zeros((1, DISTINCT, 2), np.int64)
        with np.errstate(over="ignore"):
            results.append((kernel(data, kinds, slots, *out, said), *out, said))
    assert results[0][0] == results[1][0]
    if results[0][0] != NOT_PLAIN:
        for left, right in zip(results[0][1:], results[1][1:], strict=True):
            np.testing.assert_array_equal(left, right)
    return results[0][0], [*results[0][1:]]


def test_the_kernel_against_a_plain_loop() -> None:
    text = "1,42000.10,true,x\r\n,,,\n-3,-0.00120000,false,\n4,7e-3,true,y\n123456789012345678,9007199254740992,t,\n"
    count, (figures, counts, words, _) = _kernel(text)
    assert count == 5
    np.testing.assert_array_equal(figures[0], [42000.1, np.nan, -0.0012, 0.007, 9007199254740992.0])
    assert counts[0].tolist() == [1, -1, -3, 4, 123456789012345678]
    assert words[0].tolist() == [0, -1, 1, 0, 2]


@pytest.mark.parametrize(
    "line",
    [
        "1,2,x",
        "1,2,x,y,z",
        "1.0,2,x,y",
        "1,2 ,x,y",
        "1,+2,x,y",
        '1,2,"x",y',
        "1,12345678.12345678901,x,y",
        "1,1e30,x,y",
    ],
)
def test_the_kernel_leaves_what_is_not_plain(line: str) -> None:
    assert _kernel("1,2,x,y\n" + line + "\n1,2,x,y\n")[0] == NOT_PLAIN


def test_the_kernel_leaves_a_column_of_many_words() -> None:
    def spoken(words: int) -> int:
        return _kernel("".join(f"1,2,{word},y\n" for word in range(words)))[0]

    assert (spoken(DISTINCT), spoken(DISTINCT + 1)) == (DISTINCT, NOT_PLAIN)
    assert FIGURE != COUNT
