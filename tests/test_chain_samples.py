"""Does an option chain come to a fresh machine, read from the text of a file that is never run?"""

import io
import math
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from data import DataError, Floats, ParameterError, SourceError, storage
from data.chain_market import read_chain_market
from data.option_quotes import OptionQuotes, read_chain
from data.pricing import black76, implied_deviation
from data.smiles import fit_surface
from data.sources import chain_samples, samples
from data.sources.chain_samples import CHAINS, chain_in, load_chain
from data.sources.wheels import Wheel
from priced_options import black

NAME = "btc-options-2021"
FILE = "stochvolmodels/data/sample_option_chains.py"
DAYS = (15.5, 36.5, 71.5, 155.5)  # to the four expiries at 08:00 from 20:00 UTC of 2021-10-20
TENORS = ", ".join(repr((days - 2 / 24) / 360) for days in DAYS)
TEXT = f'''
import nowhere_to_be_found

raise SystemExit("the text was run")


def get_another():
    return OptionChain(ttms=1)


def get_btc_test_chain_data():
    """What is said here does not count."""
    ticker = 'BTC'
    ttms = array([{TENORS}])
    forwards = np.array([60000, 61000.5, 62000., 64000.], dtype=float)
    strikes_ttms = (array([50000., 60000., 70000.]), array([55000., 65000.]), [60000.0], (70000., 80000.))
    optiontypes_ttms = (array(['P', 'P', 'C'], dtype='<U1'), array(['P', 'C']), ['P'], ('C', 'C'))
    bid_ivs = (array([0.9, 0.8, 0.85]), array([0.88, 0.87]), [0.9], (0.91, 0.95))
    ask_ivs = (array([0.95, 0.82, 0.87]), array([0.9, 0.9]), [0.92], (0.93, 0.98))
    return OptionChain(ticker=ticker, ttms=ttms)
'''
FUNCTION = "get_btc_test_chain_data"


def _wheel(folder: Path, text: str = TEXT, file: str = FILE) -> Wheel:
    """A wheel in the store, and its pin."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo(file), text)
    wheel = Wheel("fake-chains", "1.0", storage.sha256_of(content.getvalue()))
    wheel.path(folder).parent.mkdir(exist_ok=True)
    wheel.path(folder).write_bytes(content.getvalue())
    return wheel


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that holds our own text in place of the real file."""
    fake = replace(CHAINS[NAME], wheel=_wheel(tmp_path))
    monkeypatch.setitem(chain_samples.CHAINS, NAME, fake)
    monkeypatch.setenv("MARGINLAB_STORE", str(tmp_path))
    return tmp_path


def _read(text: str) -> OptionQuotes:
    (quotes,) = read_chain(CHAINS[NAME].read(lambda name: text.encode())).values()
    return quotes


# The text


def test_a_chain_is_read_from_a_text_that_is_not_run() -> None:
    chain = chain_in(TEXT.encode(), FUNCTION)
    assert chain["underlying"].unique().tolist() == ["BTC"]
    assert chain["place"].tolist() == [0, 0, 0, 1, 1, 2, 3, 3]
    assert chain["forward"].tolist() == [60000, 60000, 60000, 61000.5, 61000.5, 62000, 64000, 64000]
    assert chain["right"].tolist() == list("PPCPCPCC")
    assert chain["bid"].tolist() == [0.9, 0.8, 0.85, 0.88, 0.87, 0.9, 0.91, 0.95]
    assert chain["ask"].tolist() == [0.95, 0.82, 0.87, 0.9, 0.9, 0.92, 0.93, 0.98]
    assert chain["tenor"].iloc[[0, 3, 5, 6]].tolist() == [(days - 2 / 24) / 360 for days in DAYS]


FIGURES = st.floats(1e-3, 1e6)
OPTIONS = st.lists(st.tuples(FIGURES, st.sampled_from("CP"), FIGURES, FIGURES), min_size=1, max_size=4)


@given(st.lists(st.tuples(FIGURES, FIGURES, OPTIONS), min_size=1, max_size=3))
def test_what_is_written_is_read_to_the_last_bit(expiries: list[tuple[float, float, list[tuple[object, ...]]]]) -> None:
    nested = [[list(column) for column in zip(*options, strict=True)] for _, _, options in expiries]
    lines = ["ticker = 'X'", f"ttms = {[e[0] for e in expiries]}", f"forwards = array({[e[1] for e in expiries]})"]
    for place, name in enumerate(("strikes_ttms", "optiontypes_ttms", "bid_ivs", "ask_ivs")):
        lines.append(f"{name} = ({''.join(f'array({columns[place]}), ' for columns in nested)})")
    frame = chain_in(("def f():\n" + "\n".join(f"    {line}" for line in lines)).encode(), "f")
    told = frame[["tenor", "forward", "strike", "right", "bid", "ask"]].to_numpy(object).tolist()
    assert told == [[tenor, forward, *option] for tenor, forward, options in expiries for option in options]


DAMAGE = {
    "missing variable": ("    bid_ivs = ", "    bids = ", r"must assign bid_ivs, got ticker, ttms"),
    "missing function": (f"def {FUNCTION}", "def get_it", r"one function get_btc_test_chain_data, got 0"),
    "two functions": ("def get_another", f"def {FUNCTION}", r"one function get_btc_test_chain_data, got 2"),
    "no Python": ("import nowhere", "import - nowhere", r"must be Python, got: "),
    "no text": ("import nowhere", "\0", r"must be Python, got: "),
    "an option too few": ("array([0.88, 0.87])", "array([0.88])", r"'bid_ivs': \[3, 1, 1, 2\]"),
    "an expiry too few": ("60000, 61000.5, ", "60000, ", r"got \[3, 4\]"),
    "an expiry without options": ("[60000.0]", "[]", r"must tell as much of every option"),
    "figures that are computed": ("array([0.88, 0.87])", "np.linspace(0.8, 0.9, 2)", r"bid_ivs must be written out"),
    "a name for a figure": ("0.88", "nan", r"bid_ivs must be written out in figures"),
    "a flat array": (f"array([{TENORS}])", "0.1", r"ttms must be an array of figures, got 0\.1"),
    "options without expiries": ("(array([0.9, 0.8, 0.85]), array", "(0.9, array", r"for each expiry, got \[0\.9,"),
    "a cube": ("[0.9],", "[[0.9]],", r"bid_ivs must be an array of figures for each expiry"),
    "a volatility of nothing": ("0.88, 0.87", "0.88, 0", r"bid_ivs must be finite numbers > 0, got \[0\.0\]"),
    "a negative strike": ("55000.", "-55000.", r"strikes_ttms must be finite numbers > 0, got \[-55000\.0\]"),
    "an endless figure": ("61000.5", "1e999", r"forwards must be finite numbers > 0, got \[inf, inf\]"),
    "words for figures": ("0.88, 0.87", "'0.88', 0.87", r"bid_ivs must be finite numbers > 0"),
    "truths for figures": ("[0.9],", "[True],", r"bid_ivs must be finite numbers > 0"),
    "another right": ("array(['P', 'C'])", "array(['P', 'IC'])", r"optiontypes_ttms must be 'C' or 'P', got \['IC'\]"),
    "no name": ("ticker = 'BTC'", "ticker = 7", r"ticker must be a name, got 7"),
    "a later change": (
        "    return OptionChain(ticker",
        "    ttms[0] = 3\n    return O(ticker",
        r"got Assign in line 20",
    ),
    "a second time": (
        "    return OptionChain(ticker",
        "    ttms = [3.]\n    return O(ticker",
        r"each of its names once",
    ),
    "a loop": ("    return OptionChain(ticker", "    while 1: pass\n    return O(ticker", r"got While in line 20"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_text_of_another_shape_is_refused(damage: str) -> None:
    old, new, said = DAMAGE[damage]
    assert TEXT.count(old) == 1
    with pytest.raises(SourceError, match=said):
        chain_in(TEXT.replace(old, new).encode(), FUNCTION)


def test_tenors_of_other_expiries_are_refused() -> None:
    text = TEXT.replace(repr((DAYS[1] - 2 / 24) / 360), repr((DAYS[1] - 1) / 360))
    with pytest.raises(SourceError, match=r"must tell one instant, got 2021-10-20T20:00:00\.0+ to 2021-10-21T18"):
        _read(text)


def test_another_number_of_expiries_is_refused() -> None:
    text, last = TEXT, f", {(DAYS[3] - 2 / 24) / 360!r}"
    for gone in (last, ", 64000.", ", (70000., 80000.)", ", ('C', 'C')", ", (0.91, 0.95)", ", (0.93, 0.98)"):
        assert gone in text
        text = text.replace(gone, "")
    with pytest.raises(SourceError, match=rf"{FUNCTION} must hold 4 expiries, got 3"):
        _read(text)


# The chain


def test_quotes_are_blacks_of_the_volatilities_at_the_instant_that_the_tenors_tell() -> None:
    quotes = _read(TEXT)
    assert str(quotes.time) == "2021-10-20T20:00:00.000000000"
    assert quotes.symbol[[0, 2, 3, 7]].tolist() == [
        "BTC-5NOV21-50000-P", "BTC-5NOV21-70000-C", "BTC-26NOV21-55000-P", "BTC-25MAR22-80000-C",
    ]  # fmt: skip
    assert np.unique(quotes.expiry).astype("datetime64[h]").astype(str).tolist() == [
        "2021-11-05T08", "2021-11-26T08", "2021-12-31T08", "2022-03-25T08",
    ]  # fmt: skip
    assert quotes.tenor(1) == pytest.approx(np.repeat(DAYS, [3, 2, 1, 2]))
    assert (quotes.inverse, quotes.spot) == (True, 60000)
    assert np.isnan([quotes.mark, quotes.mark_volatility]).all()
    first, last = math.sqrt(DAYS[0] / 365), math.sqrt(DAYS[3] / 365)
    assert quotes.bid[[0, 7]] == pytest.approx(
        [black(60000, 50000, 0.9 * first, False), black(64000, 80000, 0.95 * last, True)], rel=1e-9
    )
    assert quotes.ask[2] == pytest.approx(black(60000, 70000, 0.87 * first, True), rel=1e-9)


def test_crossed_volatilities_are_quarantined() -> None:
    quotes = _read(TEXT.replace("0.95, 0.82", "0.95, 0.79"))
    assert quotes.quarantine[["symbol", "rule"]].to_numpy().tolist() == [["BTC-5NOV21-60000-P", "crossed quotes"]]
    assert len(quotes) == 7


def test_a_chain_says_where_it_is_from_and_what_to_mind(store: Path) -> None:
    quotes = load_chain(NAME)["BTC"]
    assert quotes.remarks[0].startswith(f"{NAME}: fake-chains 1.0 (sha256 ")
    assert quotes.remarks[1] == CHAINS[NAME].remarks
    assert "forward of the nearest expiry" in quotes.remarks[2]
    assert load_chain(NAME, at="2021-10-21")["BTC"].bid.tobytes() == quotes.bid.tobytes()


def test_a_chain_that_was_taken_later_is_refused(store: Path) -> None:
    with pytest.raises(DataError, match=rf"{NAME}, taken 2021-10-20 20:00:00 UTC: .*got none as early as 2021-10-19"):
        load_chain(NAME, at="2021-10-19")


def test_a_name_that_is_no_chain_is_refused() -> None:
    with pytest.raises(ParameterError, match=rf"one of {NAME}, got 'sp500'"):
        load_chain("sp500")
    with pytest.raises(ParameterError, match=r"one of coins-30min, .*, vix, got 'btc-options-2021'"):
        samples.load(NAME)


def test_a_wheel_without_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(CHAINS[NAME], wheel=_wheel(tmp_path, file="other.py"))
    monkeypatch.setitem(chain_samples.CHAINS, NAME, other)
    with pytest.raises(SourceError, match=rf"must hold {FILE}"):
        load_chain(NAME, store=tmp_path)


def test_without_a_network_the_error_says_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    said = r"could not fetch stochvolmodels 2\.6\.0 \(no network\?\): .*; what works without it: option chains in your"
    with pytest.raises(SourceError, match=said):
        load_chain(NAME, store=tmp_path, progress=False)


def test_every_chain_says_its_title_its_licence_and_what_to_mind() -> None:
    for name, sample in CHAINS.items():
        assert name == sample.name
        assert all((sample.title, sample.licence, sample.remarks))
        assert name not in samples.SAMPLES


# Where it is offered


def test_a_chain_is_pulled_and_listed_like_any_sample(store: Path) -> None:
    from research.cli import app

    (path,) = samples.pull([NAME], progress=False)
    assert path == CHAINS[NAME].wheel.path(store)
    assert samples.available() == ("sp500", "nasdaq", "wti", "vix", NAME)
    shown = CliRunner().invoke(app, ["data", "list"]).stdout
    (line,) = [line for line in shown.splitlines() if line.startswith(NAME)]
    assert line.endswith("yes")


def test_a_market_is_had_by_the_chains_name(store: Path) -> None:
    market = read_chain_market(NAME)
    assert market.history.source == NAME
    assert market.contracts["BTC-26NOV21-65000-C"].settlement == "inverse"
    assert market.contracts["BTC-26NOV21"].kind == "future"
    assert any("fake-chains 1.0" in remark for remark in market.remarks)
    with pytest.raises(DataError, match=rf"{NAME}: an underlying must be in one chain, got BTC a second time"):
        read_chain_market([NAME, NAME])


# The real file


@pytest.fixture(scope="module")
def real() -> OptionQuotes:
    try:
        return load_chain(NAME, progress=False)["BTC"]
    except SourceError as error:
        if "no network?" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.network
def test_the_chain_is_as_its_file_says(real: OptionQuotes) -> None:
    assert (len(real), len(real.quarantine), str(real.time)[:19]) == (49, 0, "2021-10-20T19:24:34")
    assert np.unique(real.expiry, return_counts=True)[1].tolist() == [12, 13, 15, 9]
    assert np.unique(real.forward).tolist() == pytest.approx([67106.444, 67843.219, 68689.48, 70617.77892857141])
    assert np.where(real.call, real.strike > real.forward, real.strike < real.forward).all()
    assert (real.ask > real.bid).all()


@pytest.mark.network
def test_the_surface_lies_within_the_quotes_without_arbitrage(real: OptionQuotes) -> None:
    report = fit_surface(real).report
    assert len(report) == 4
    assert (report["inside"] >= 0.9).all()
    assert (report["butterfly"] >= 0).all()
    assert (report["calendar"] >= 0).all()


@pytest.mark.network
def test_the_instant_is_the_one_at_which_prices_fall_on_ticks(real: OptionQuotes) -> None:
    """A wrong time to expiry would put the coin prices anywhere between two ticks."""
    volatility = _volatilities(real)

    def off_tick(hours: float) -> Floats:
        tenor = real.tenor(365) - hours / 24 / 365
        ticks = black76(real.forward, real.strike, volatility * np.sqrt(tenor), real.call) / real.forward / 0.0005
        return np.asarray(np.abs(ticks - np.rint(ticks)))

    assert off_tick(0).max() < 1 / 7
    for hours in (-2, 2, 14):
        assert (off_tick(hours) < 1 / 7).mean() < 0.7


def _volatilities(quotes: OptionQuotes) -> Floats:
    """Of bids and asks, (2, N), by the venue's year."""
    deviation = implied_deviation(np.stack([quotes.bid, quotes.ask]), quotes.forward, quotes.strike, quotes.call)
    return np.asarray(deviation / np.sqrt(quotes.tenor(365)))
