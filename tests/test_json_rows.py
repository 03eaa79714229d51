"""Are JSON documents read piece by piece, cell by cell, and is a cut one an error?"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import SourceError
from data.records import UNKNOWN
from data.sources import json_rows
from data.sources.json_rows import documents, elements, moments, numbers, sides, whole
from data.sources.layout import Head
from data.sources.owners import symbol_in, venue_in
from data.sources.raw_files import raw
from raw_text import put, put_json

CELLS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2)),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@given(st.lists(CELLS, max_size=6))
def test_no_cell_is_an_error(cells: list[object]) -> None:
    figures, counts, stamps, taken = numbers(cells), whole(cells), moments(cells), sides(cells)
    assert figures.shape == counts.shape == stamps.shape == taken.shape == (len(cells),)
    for cell, figure, count in zip(cells, figures.tolist(), counts.tolist(), strict=True):
        if isinstance(cell, bool) or not isinstance(cell, int | float | str):
            assert (math.isnan(figure), count) == (True, UNKNOWN)
        elif isinstance(cell, float):
            assert figure == cell or math.isnan(cell)
        elif isinstance(cell, int) and 0 <= cell < 1 << 53:
            assert (figure, count) == (cell, cell)


def test_cells() -> None:
    np.testing.assert_array_equal(numbers(["1.5", " 2 ", "1e3", "1_0", "x", "", None]), [1.5, 2, 1000] + [np.nan] * 4)
    np.testing.assert_array_equal(numbers([1, "2", None, True, 10**400]), [1, 2, np.nan, np.nan, np.nan])
    assert whole([7, "8", 9.0, 9.5, "a-b", -3, None, True]).tolist() == [7, 8, 9, *[UNKNOWN] * 5]
    stamps = moments([1704067200000, "1704067200", "2024-01-01T00:00:00Z", "2024-01", None])
    assert np.isnat(stamps).tolist() == [False, False, False, True, True]
    assert len(set(stamps[:3].tolist())) == 1
    assert sides(["Buy", "SELL", "ask", None, " ", "hold", 1]).tolist() == [1, -1, -1, 0, 0, -128, -128]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.one_of(st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=3)), max_size=8),
    piece=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
)
def test_an_array_is_the_same_in_any_pieces(
    rows: list[object], piece: int, indent: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("json") / "rows.json"
    path.write_text(json.dumps(rows, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "PIECE", piece)
        assert [*elements(raw(path))] == rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2", "expected JSON after element 1"),
        ("[1, 2 3]", "expected a comma after element 1, got '3'"),
        ("[1, 2] [3]", "expected nothing after its array, got more"),
        ('{"a": 1}', "expected an array"),
        ("[1, nope]", "expected JSON after element 1"),
    ],
)
def test_an_array_that_is_cut_or_torn_is_an_error(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=says):
        [*elements(raw(path))]


def test_a_document_that_is_cut_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text('{"result": [1, 2')
    with pytest.raises(SourceError, match=r"answer\.json: expected JSON, got"):
        json_rows.document(raw(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "PAGE", 5)
        with pytest.raises(SourceError, match="expected a document of at most 5 bytes"):
            json_rows.document(raw(path))


def test_lines_with_stamps_and_without(tmp_path: Path) -> None:
    path = put(tmp_path, "stream.gz", '1704067200000000001 {"a": 1}', "", '{"a": 2}', "7 [oops")
    assert [*documents(raw(path))] == [(1, 1704067200000000001, {"a": 1}), (3, UNKNOWN, {"a": 2}), (4, 7, None)]
    assert [*documents(raw(put_json(tmp_path, "one.json", {"a": 1})))] == [(1, UNKNOWN, {"a": 1})]


@pytest.mark.parametrize(
    ("file", "symbol", "venue"),
    [
        ("BTC-USDT_binance_2020-01-01_2024-01-01_funding_history.csv", "BTC-USDT", "binance"),
        ("dvol_btc.json", "BTC", "unknown"),
        ("BTCUSDT_1h.csv", "BTCUSDT", "unknown"),
        ("XRP_ETH-trades.json.gz", "XRP_ETH", "unknown"),
        ("my_BTC.csv", "MY_BTC", "unknown"),
        ("BTC-2024-01.csv", "BTC", "unknown"),
        ("btcusdt-trades.parquet", "BTCUSDT", "unknown"),
        ("Gemini_ETHUSD_2020_1min.csv", "ETHUSD", "gemini"),
        ("funding_rates.csv", "funding_rates", "unknown"),
        ("binanceusdm_BTC-USDT-USDT_1h_2024-02.json", "BTC-USDT-USDT", "binance-futures"),
        ("binancecoinm_BTC-USD-BTC_funding_2024-02.json", "BTC-USD-BTC", "binance-delivery"),
        ("krakenfutures_PF-XBTUSD_1d_2024-02.json", "PF-XBTUSD", "kraken-futures"),
    ],
)
def test_names_of_files(file: str, symbol: str, venue: str) -> None:
    head = Head(file, "csv", ())
    assert (symbol_in(head), venue_in(head)) == (symbol, venue)
