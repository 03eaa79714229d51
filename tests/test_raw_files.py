"""Is a file known by its first bytes, and a damaged one refused?"""

import gzip
import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import SourceError
from data.sources import raw_files
from data.sources.first_document import first_document
from data.sources.raw_files import raw

TEXT = "time,price\n1704067200000,1.5\n1704067200001,2.5\n"


def put(folder: Path, data: bytes | str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def zipped(*members: tuple[str, str]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members:
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)  # without the hour, as ids show bytes
    return held.getvalue()


def whole(path: Path) -> bytes:
    with raw(path).open() as stream:
        return stream.read()


PACKINGS = {"plain": TEXT.encode(), "gzip": gzip.compress(TEXT.encode(), mtime=0), "zip": zipped(("b/c.csv", TEXT))}


@pytest.mark.parametrize("data", PACKINGS.values(), ids=PACKINGS)
@pytest.mark.parametrize("name", ["a.csv", "a.zip", "a.gz", "a"])
def test_bytes_decide_and_not_the_suffix(tmp_path: Path, data: bytes, name: str) -> None:
    path = put(tmp_path, data, name)
    head = raw(path).head
    assert (head.file, head.form, head.columns) == (name, "csv", ("time", "price"))
    assert head.lines == tuple(TEXT.splitlines())
    assert head.cells == ("1704067200000", "1.5")
    assert head.member == ("c.csv" if data.startswith(b"PK") else "")
    assert whole(path) == whole(path) == TEXT.encode()


def test_a_concatenated_gzip_is_read_to_its_end(tmp_path: Path) -> None:
    path = put(tmp_path, gzip.compress(TEXT.encode()) + gzip.compress(b"1,2\n"), "a.gz")
    assert whole(path) == TEXT.encode() + b"1,2\n"


@pytest.mark.parametrize(
    ("text", "columns", "cells", "banner"),
    [
        ("1704067200000,1,2\n", (), ("1704067200000", "1", "2"), 0),
        ("\ufefftime,price\n1,2\n", ("time", "price"), ("1", "2"), 0),
        ("time,price\r\n1,2\r\n", ("time", "price"), ("1", "2"), 0),
        ("https://www.a.com\ntime,price\n1,2\n", ("time", "price"), ("1", "2"), 1),
        ('"time","a, b"\n1,2\n', ("time", "a, b"), ("1", "2"), 0),
        ("1,2,True,\n", (), ("1", "2", "True", ""), 0),
        ("2024-01-01 00:00:00,BTCUSDT,x\n", (), ("2024-01-01 00:00:00", "BTCUSDT", "x"), 0),
        (",open\n0,1\n", ("", "open"), ("0", "1"), 0),
    ],
)
def test_a_header_is_told_from_data(tmp_path: Path, text: str, columns: object, cells: object, banner: int) -> None:
    head = raw(put(tmp_path, text)).head
    assert (head.columns, head.cells, head.banner) == (columns, cells, banner)


@pytest.mark.parametrize(
    ("text", "form", "sample"),
    [
        ('{"result": [1, 2]}', "json", {"result": [1, 2]}),
        ("[[1, 2], [3, 4]]\n", "json", [[1, 2], [3, 4]]),
        ('{\n "a": 1,\n "b": {"c": 2}\n}\n', "json", {"a": 1, "b": {"c": 2}}),
        ('{"a": 1}\n{"a": 2}\n', "jsonl", {"a": 1}),
        ('1723161255030314667 {"stream": "x"}\n1723161255030314668 {"stream": "y"}\n', "jsonl", {"stream": "x"}),
        ('{"a": 1, "b": [1, 2', "json", {"a": 1, "b": [1]}),
    ],
)
def test_json_is_known_by_its_first_document(tmp_path: Path, text: str, form: str, sample: object) -> None:
    head = raw(put(tmp_path, text, "a.txt")).head
    assert (head.form, head.sample, head.columns) == (form, sample, ())


def test_a_long_document_shows_its_beginning(tmp_path: Path) -> None:
    rows = [{"id": number, "said": 'a "quoted, word" [', "nested": [number]} for number in range(20_000)]
    sample = raw(put(tmp_path, json.dumps({"result": rows}), "a.json")).head.sample
    assert sample["result"][:100] == rows[:100]
    assert 100 < len(sample["result"]) < len(rows)


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ).filter(lambda made: isinstance(made, dict | list)),
    st.integers(0, 200),
)
def test_a_cut_document_never_breaks(document: object, cut: int) -> None:
    text = json.dumps(document)
    assert first_document(text) == (document, True)
    seen, complete = first_document(text[:cut])
    assert not complete or cut >= len(text)
    assert seen is None or type(seen) is type(document)


@pytest.mark.parametrize("form", ["parquet", "feather"])
def test_typed_tables_show_their_schema(tmp_path: Path, form: str) -> None:
    path, table = tmp_path / "a.bin", pd.DataFrame({"time": [1, 2], "price": [1.5, 2.5]})
    getattr(table, f"to_{form}")(path)
    head = raw(path).head
    assert (head.form, head.columns, head.lines) == ("parquet" if form == "parquet" else "arrow", ("time", "price"), ())
    getattr(table.iloc[:0], f"to_{form}")(path)
    with pytest.raises(SourceError, match=r"a.bin: expected"):
        raw(path)
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[: len(whole_file) // 2])
    with pytest.raises(SourceError, match=r"a.bin: expected"):
        raw(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file"),
        (b" \n\n", "an empty file"),
        (b"time,price\n", "rows below the header, got none"),
        (gzip.compress(b"", mtime=0), "an empty file"),
        (zipped(("a.csv", TEXT), ("b.csv", TEXT)), r"one file in the archive, got 2: a.csv, b.csv"),
        (zipped(), "an empty zip archive"),
        (zipped(("folder/", "")), r"one file in the archive, got 0"),
        (b"\x28\xb5\x2f\xfdabcd", "a zstd archive"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "a message of a server.*NoSuchKey"),
        (b"time,pr\rice\n1,2\n", "cells between commas, got new-line"),
        (b"\x00\x01\x02\x03", "bytes that are no text"),
        (TEXT.encode("utf-16"), "text in UTF-16"),
        (gzip.compress(b"PAR1abcdefgh", mtime=0), "parquet in an archive"),
        (b"PAR1abcdefgh", "a parquet file"),
        (zipped(("a.csv", TEXT))[:40], "an archive that can be unpacked"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(SourceError, match=rf"^a.csv: expected .*{says}"):
        raw(put(tmp_path, data))


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="got nothing"):
        raw(tmp_path / "a")
    with pytest.raises(SourceError, match="got a folder"):
        raw(tmp_path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(("a.csv", TEXT)))
    data[6] |= 1  # the flag in the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    with pytest.raises(SourceError, match="without a password"):
        raw(put(tmp_path, bytes(data)))


@pytest.mark.parametrize("packed", [gzip.compress, lambda data: zipped(("a.csv", data.decode()))])
def test_a_damaged_archive_is_an_error_while_it_is_read(tmp_path: Path, packed: object) -> None:
    text = "".join(f"{1704067200000 + row},{row * 7919 % 10007}\n" for row in range(100_000)).encode()
    data = packed(text)  # type: ignore[operator]
    assert whole(put(tmp_path, data)) == text
    flipped = bytearray(data)
    flipped[len(data) * 2 // 3] ^= 16
    with pytest.raises(SourceError, match="can be unpacked"):
        whole(put(tmp_path, bytes(flipped)))


def test_a_gzip_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    text = "".join(f"{1704067200000 + row},{row * 7919 % 10007}\n" for row in range(100_000)).encode()
    data = gzip.compress(text)
    for cut in (len(data) - 1, len(data) - 8, len(data) * 3 // 4):
        with pytest.raises(SourceError, match="can be unpacked"):
            whole(put(tmp_path, data[:cut]))


@pytest.mark.parametrize("packed", [gzip.compress, lambda data: zipped(("a.csv", data.decode()))])
def test_an_archive_that_swells_is_refused(tmp_path: Path, packed: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_files, "SMALL", 1 << 20)
    path = put(tmp_path, packed(b"1704067200000,1\n" * (1 << 17)))  # type: ignore[operator]
    with pytest.raises(SourceError, match=r"a.csv: expected to unpack to at most 250 times its size"):
        whole(path)
