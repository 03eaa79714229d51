"""Is what is published what was measured, all of it, and is anything else refused?"""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from backtest.portfolios import standard_books
from data import Book, Coverage, DataError, Instrument, ModelError, ParameterError
from data.errors import SourceError
from data.sealed import encoded
from data.storage import sha256_of
from examples import EXAMPLES
from margin_models import CorrelationVaR, HistoricalVaR, MarginModel, SpanLike, StaticMargin
from markets import two_coins
from research.measured_parameters import measured, refused_fits
from research.parameter_diff import diff
from research.parameter_margin import ParameterMargin, charge_book
from research.parameters import SCHEMA, MarginParameters, MarketParameters, parse_parameters, read_parameters

COVERAGE = Coverage(0.95, "1D")
PAST = two_coins(420).rows(0, 410)
BOOKS = standard_books(PAST.underlyings, makers=20)


def of(model: MarginModel) -> MarketParameters:
    fitted = clone(model).fit(PAST, COVERAGE)
    return measured(fitted, PAST, BOOKS, COVERAGE, model_hash="a" * 64, data_hash="b" * 64)


def published(model: MarginModel | None = None, version: int = 1) -> MarginParameters:
    markets = {"coins": of(model or HistoricalVaR())}
    return MarginParameters("toy", "2021-02-13", version, "", "marginlab", markets)


def test_single_positions_and_pairs_are_the_models_own() -> None:
    model = CorrelationVaR().fit(PAST, COVERAGE)
    told, state = of(CorrelationVaR()), PAST.now
    assert told.multiplier == pytest.approx(1.0)
    assert told.together == pytest.approx(told.against)
    listed = tuple(Instrument(f"{name}-PERP", name) for name in PAST.underlyings)
    rows = np.array([[1.0, 0.0], [0.0, -2.0], [1.0, 1.0], [1.0, -1.0]]) / state.spot
    book = Book(listed, ("a", "b", "c", "d"), rows)
    assert told.charge(book.exposure(state)) == pytest.approx(model.margin(PAST, book))


@pytest.mark.parametrize("model", [HistoricalVaR(), SpanLike(), StaticMargin(cross=True)], ids=repr)
def test_no_linear_test_book_posts_less_than_the_model_asks(model: MarginModel) -> None:
    told, state = of(model), PAST.now
    fitted, book = clone(model).fit(PAST, COVERAGE), BOOKS.at(state)
    exposure = book.exposure(state)
    kept = np.abs(exposure).sum(axis=1) > 0.05 * book.gross(state)
    assert (told.charge(exposure)[kept] >= fitted.margin(PAST, book)[kept] * (1 - 1e-9)).all()
    assert told.uncovered == 0.0


def test_a_model_that_net_exposures_cannot_tell_says_so() -> None:
    assert of(StaticMargin()).uncovered > 0.0


@pytest.mark.parametrize("model", EXAMPLES[:24], ids=repr)
def test_every_model_can_be_published_and_read_back(model: MarginModel) -> None:
    file = published(model)
    back = parse_parameters(file.payload())
    assert back.payload() == file.payload()
    assert back.hash == file.hash


def test_the_document_is_what_its_schema_says() -> None:
    jsonschema = importlib.import_module("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    document = json.loads(published().payload())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    del document["markets"]["coins"]["multiplier"]
    assert not jsonschema.Draft202012Validator(schema).is_valid(document)


def test_any_flipped_bit_of_the_file_is_refused(tmp_path: Path) -> None:
    payload = published().payload()
    rng = np.random.default_rng(1)
    path = tmp_path / "margin_parameters.json"
    for at in rng.integers(0, len(payload), 200):
        broken = bytearray(payload)
        broken[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(broken))
        with pytest.raises(DataError):
            read_parameters(path)
    path.write_bytes(payload[:-1])
    with pytest.raises(DataError):
        read_parameters(path)
    with pytest.raises(SourceError):
        read_parameters(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("assets", "BTC", "scan_range"), 0.0),
        (("assets", "BTC", "scan_range"), -0.1),
        (("assets", "BTC", "price"), "1e5"),
        (("assets", "BTC", "vol_forecast"), None),
        (("assets", "BTC", "price"), True),
        (("multiplier",), 0.5),
        (("correlations", "against"), [[1.0, 2.0], [2.0, 1.0]]),
        (("correlations", "against"), [[1.0, 0.5], [0.4, 1.0]]),
        (("correlations", "together"), [[1.0]]),
        (("mean_margin",), 0.0),
        (("assets",), {}),
    ],
)
def test_a_figure_that_cannot_be_is_refused_whatever_the_hash_says(where: tuple[str, ...], value: object) -> None:
    facts = json.loads(published().payload())
    del facts["hash"]
    place: Any = facts["markets"]["coins"]
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    with pytest.raises(DataError):
        parse_parameters(encoded({**facts, "hash": sha256_of(encoded(facts))}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(number: str) -> None:
    payload = published().payload().decode()
    scan = json.loads(payload)["markets"]["coins"]["multiplier"]
    with pytest.raises(DataError):
        parse_parameters(payload.replace(f'"multiplier": {scan!r}', f'"multiplier": {number}').encode())


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), st.floats(0.1, 10.0))
def test_the_formula_is_homogeneous_and_never_below_its_least(exposure: list[float], scale: float) -> None:
    told = _told()
    one, other = told.charge(np.array([exposure])), told.charge(np.array([exposure]) * scale)
    assert other == pytest.approx(scale * one)
    risk = sum(abs(x) * a.scan_range for x, a in zip(exposure, told.assets.values(), strict=True))
    assert one[0] >= told.least_share * risk * (1 - 1e-12)
    assert one[0] <= told.multiplier * risk * (1 + 1e-9)


_KEPT: list[MarketParameters] = []


def _told() -> MarketParameters:
    if not _KEPT:
        _KEPT.append(of(HistoricalVaR()))
    return _KEPT[0]


def test_assets_stand_by_name_whatever_the_market_calls_first() -> None:
    from data import MarketHistory

    names = tuple(reversed(PAST.underlyings))
    turned = MarketHistory(PAST.time, names, PAST.spot[:, ::-1], clock=PAST.clock)
    fitted = HistoricalVaR().fit(turned, COVERAGE)
    books = standard_books(PAST.underlyings, makers=20)
    told = measured(fitted, turned, books, COVERAGE, model_hash="a" * 64, data_hash="b" * 64)
    assert list(told.assets) == ["BTC", "ETH"]
    straight = _told()
    assert told.assets["BTC"].scan_range == straight.assets["BTC"].scan_range
    assert (
        parse_parameters(replace(published(), markets={"coins": told}).payload()).markets["coins"].told() == told.told()
    )


def test_a_model_that_asks_nothing_is_not_published() -> None:
    with pytest.raises(ModelError, match="must ask positive margins"):
        of(StaticMargin(rate=0.0))
    coin = Coverage(0.95, "1D", numeraire="BTC")
    fitted = HistoricalVaR().fit(PAST.valued_in("BTC"), coin)
    with pytest.raises(ParameterError, match="published in USD"):
        measured(fitted, PAST, BOOKS, coin, model_hash="", data_hash="")


def test_refused_fits_are_told_once() -> None:
    part, fitted = SimpleNamespace(failures_={"BTC": "persistence 1.1", "no row": 3}), SimpleNamespace(failures_={})
    fitted.volatility_ = part
    fitted.volatility = part
    assert refused_fits(fitted) == ("BTC: persistence 1.1", "no row")


def test_a_difference_is_told_for_a_person() -> None:
    first, second = published(HistoricalVaR()), published(SpanLike(), 2)
    assert "the first publication" in diff(None, first)
    told = diff(first, second)
    assert "version 1 as of 2021-02-13 -> version 2" in told
    assert "model was HistoricalVaR()" in told
    assert "offset against, largest change: " in told
    assert "coins: unchanged" in diff(first, replace(first, version=2))
    assert "coins: no longer published" in diff(first, replace(first, markets={}))


def book_file(folder: Path, rows: str) -> Path:
    path = folder / "book.csv"
    path.write_text("symbol,quantity\n" + rows)
    return path


def test_a_file_alone_charges_a_book(tmp_path: Path) -> None:
    place = tmp_path / "margin_parameters.json"
    place.write_bytes(published().payload())
    told = charge_book(book_file(tmp_path, "BTC-PERP,2\nETH,-3\n"), place)
    one = published().markets["coins"]
    exposure = np.array([[2 * one.assets["BTC"].price, -3 * one.assets["ETH"].price]])
    assert told.margin == pytest.approx(one.charge(exposure))
    assert json.loads(told.to_json())["parameters"] == published().hash
    assert "version 1 as of 2021-02-13" in str(told)
    status = {"hash": published().hash, "stale": True, "reason": "coins: no data"}
    (tmp_path / "margin_parameters.status.json").write_text(json.dumps(status))
    assert charge_book(tmp_path / "book.csv", place).stale == "coins: no data"
    beside = place.with_name("margin_parameters.status.json")
    assert beside.exists()
    for wrong, said in (
        (json.dumps({**status, "hash": "0" * 64, "stale": False}), "another publication"),
        ('{"hash": ', "cannot be read"),
    ):
        beside.write_text(wrong)
        assert said in charge_book(tmp_path / "book.csv", place).stale
    beside.write_text(json.dumps({**status, "stale": False}))
    assert charge_book(tmp_path / "book.csv", place).stale == ""


def test_a_book_that_the_parameters_do_not_know_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "margin_parameters.json"
    place.write_bytes(published().payload())
    with pytest.raises(DataError, match="'DOGE' is not in"):
        charge_book(book_file(tmp_path, "DOGE,1\n"), place)
    with pytest.raises(ParameterError, match="the file has the markets coins"):
        charge_book(book_file(tmp_path, "BTC,1\n"), place, "stocks")
    several = replace(published(), markets={"a": _told(), "b": _told()})
    place.write_bytes(several.payload())
    with pytest.raises(ParameterError, match="all have what"):
        charge_book(book_file(tmp_path, "BTC,1\n"), place)
    assert charge_book(tmp_path / "book.csv", place, "b").market == "b"


def test_an_option_or_another_coverage_is_refused() -> None:
    model = ParameterMargin(_told())
    with pytest.raises(ParameterError, match="the parameters cover"):
        model.fit(PAST, Coverage(0.99, "1D"))
    option = Instrument("BTC-C", "BTC", "option", expiry="2022-01-01", strike=3e4, right="call")
    with pytest.raises(DataError, match="charge spot and perpetuals, got BTC-C"):
        model.fit(PAST, COVERAGE).margin(PAST, Book((option,), ("x",), np.array([[1.0]])))
