"""Does the ablation find order flow that tells of tomorrow, and stay silent about order flow that tells nothing?"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from typer.testing import CliRunner

from backtest.loss_comparison import compare_dates
from backtest.portfolios import standard_books
from data import Coverage, DataError, Floats, SourceError
from margin_models import BoostedVolatility
from research.ablation import ALL, BASE, OHLCV, PINBALL, QLIKE, TAKER, Ablation, ablate, qlike_by_date, verdict
from research.bar_files import Bars, read_bars
from research.cli import app

DAY = Coverage(0.95)
KLINES = Path(__file__).parents[2] / "shared/data/djienne+Hurst_Crypto/data"
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_asset_volume,trades,taker_buy_base,taker_buy_quote,ignore"
)
TAKERS = ("taker_imbalance", "vpin", "bulk_vpin", "kyle_lambda", "quote_amihud", "trades_change")


def klines(folder: Path, symbol: str, *, rows: int = 700, tells: float, seed: int) -> Path:
    """Daily klines whose log volatility is `tells` times what takers did the day before; no range, flat volume."""
    random = np.random.default_rng(seed)
    flow = random.standard_normal(rows)
    volatility = 0.02 * np.exp(tells * np.concatenate([[0.0], flow[:-1]]))
    close = 100.0 * np.exp((volatility * random.standard_normal(rows)).cumsum())
    opening = np.concatenate([[100.0], close[:-1]])
    bought = np.clip(50.0 + 12.0 * flow, 1.0, 99.0)
    time = pd.date_range("2020-01-01", periods=rows, tz="UTC")
    table = pd.DataFrame(
        {
            "open_time": time.astype(str),
            "open": opening,
            "high": np.maximum(opening, close),
            "low": np.minimum(opening, close),
            "close": close,
            "volume": 100.0,
            "close_time": (time.as_unit("ms").asi8 + 86_399_999),
            "quote_asset_volume": 50.0 * (opening + close),
            "trades": random.integers(900, 1100, rows),
            "taker_buy_base": bought,
            "taker_buy_quote": 0.5 * bought * (opening + close),
            "ignore": 0,
        }
    )
    path = folder / f"{symbol}.csv"
    table.to_csv(path, index=False)
    return path


def market(folder: Path, tells: float) -> Bars:
    return read_bars([klines(folder, name, tells=tells, seed=seed) for seed, name in enumerate(("XXXUSDT", "YYYUSDT"))])


def judged(bars: Bars) -> Ablation:
    books = standard_books(bars.history.underlyings, makers=2)
    return ablate(bars, DAY, window=400, refit_every=100, books=books)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    return judged(market(tmp_path_factory.mktemp("told"), tells=0.8))


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    return judged(market(tmp_path_factory.mktemp("silent"), tells=0.0))


def test_order_flow_that_foretells_volatility_is_found(told: Ablation) -> None:
    table = told.to_frame()
    assert table["qlike_change"][TAKER] < -0.2
    assert table["qlike_high"][TAKER] < 0.0
    assert set(table.index[table["qlike_in_set"]]) <= {TAKER, ALL}
    assert "Order flow lowers the QLIKE" in told.sentence


def test_order_flow_of_chance_tells_nothing(silent: Ablation) -> None:
    assert "Of the QLIKE nothing can be told" in silent.sentence
    assert "Of the pinball loss nothing can be told" in silent.sentence


def test_changes_are_against_no_features(told: Ablation) -> None:
    table = told.to_frame()
    changes = table.filter(regex="_(change|low|high)$")
    assert changes.shape == (4, 9)
    np.testing.assert_array_equal(changes.loc[BASE].to_numpy(float), 0.0)
    by_hand = table["equal_margin"] / table["equal_margin"][BASE] - 1.0
    np.testing.assert_allclose(table["margin_change"], by_hand, rtol=1e-12)
    np.testing.assert_allclose(table["qlike_change"], table["qlike"] - table["qlike"][BASE], rtol=1e-12)
    for what in ("margin", "pinball", "qlike"):
        assert (table[f"{what}_low"] <= table[f"{what}_change"]).all()
        assert (table[f"{what}_change"] <= table[f"{what}_high"]).all()


def test_the_sets_of_features_are_what_they_are_called(told: Ablation) -> None:
    assert told.features[BASE] == ()
    assert told.features[TAKER] == TAKERS
    assert set(told.features[OHLCV]).isdisjoint(TAKERS)
    assert told.features[ALL] == told.features[OHLCV] + TAKERS
    assert told.to_frame()["features"].tolist() == [len(names) for names in told.features.values()]


def test_the_same_bars_give_the_same_table(silent: Ablation, tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(judged(market(tmp_path, tells=0.0)).to_frame(), silent.to_frame(), check_exact=True)


def test_it_is_told_as_text_and_as_json(told: Ablation) -> None:
    document = json.loads(told.to_json())
    assert document["verdict"] == told.sentence
    assert [row["model"] for row in document["sets"]] == [BASE, OHLCV, TAKER, ALL]
    assert told.sentence in repr(told)
    assert "95 % intervals" in repr(told)
    assert told.sentence in told._repr_html_()


def plain_qlike(bars: Bars, volatility: BoostedVolatility, rows: list[int], window: int) -> Floats:
    """Refitted at every decision, one forecast at a time."""
    returns, losses = bars.history.returns(DAY), []
    for row in rows:
        fitted = clone(volatility).fit(bars.history.rows(row + 1 - window, row + 1), DAY)
        variance = fitted.forecast(bars.history.rows(0, row + 1)) ** 2
        losses.append(np.mean(np.log(variance) + returns[row] ** 2 / variance))
    return np.array(losses)


def test_qlike_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    bars, volatility, rows = market(tmp_path, tells=0.8), BoostedVolatility(trees=5), [400, 401, 403]
    found = qlike_by_date(volatility, bars.history, DAY, np.array(rows), window=300, refit_every=1)
    np.testing.assert_allclose(found, plain_qlike(bars, volatility, rows, 300), rtol=1e-12)
    seldom = qlike_by_date(volatility, bars.history, DAY, np.array(rows), window=300, refit_every=3)
    assert seldom[0] == found[0]
    assert np.isfinite(seldom).all()


NAMES = (BASE, OHLCV, TAKER, ALL)


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        ((1.0, 1.0, 0.0, 0.0), "Order flow lowers the loss"),
        ((0.0, 0.0, 1.0, 1.0), "Order flow does not lower the loss"),
        ((1.0, 0.0, 0.0, 0.0), "whether order flow does cannot be told"),
        ((0.0, 0.0, 0.0, 0.0), "Of the loss nothing can be told"),
        ((0.0, 1.0, 1.0, 0.0), "Of the loss nothing can be told"),
    ],
)
def test_the_verdict_follows_the_confidence_set(mean: tuple[float, ...], expected: str) -> None:
    random = np.random.default_rng(3)
    losses = {name: one + 0.5 * random.standard_normal(400) for name, one in zip(NAMES, mean, strict=True)}
    assert expected in verdict("loss", compare_dates(losses, 1, "loss"))


def test_too_few_dates_tell_nothing() -> None:
    losses = {name: np.arange(4.0) + place for place, name in enumerate(NAMES)}
    assert "nothing can be told: 4 dates" in verdict("loss", compare_dates(losses, 1, "loss"))


def test_rows_before_the_last_listing_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    early, late = (klines(tmp_path, name, rows=90, tells=0.0, seed=1) for name in ("XXXUSDT", "YYYUSDT"))
    lines = late.read_text().splitlines()
    late.write_text("\n".join([lines[0], *lines[31:], ""]))
    bars = read_bars([early, late])
    assert str(bars.history.time[0])[:10] == "2020-02-01"
    assert bars.notes == ("30 rows of 90 left out: bars of YYYUSDT begin at 2020-02-01T00:00.",)
    assert np.isfinite(bars.history.spot).all()


def test_a_row_set_aside_is_said_to_be(tmp_path: Path) -> None:
    path = klines(tmp_path, "XXXUSDT", rows=90, tells=0.0, seed=1)
    lines = path.read_text().splitlines()
    lines[50] = ",".join(["-1" if place == 4 else cell for place, cell in enumerate(lines[50].split(","))])
    path.write_text("\n".join([*lines, ""]))
    bars = read_bars([path])
    assert bars.notes == ("XXXUSDT.csv: 1 of 90 rows set aside.",)
    assert np.isnan(bars.history.spot).sum() == 1


def test_files_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    path = klines(tmp_path, "XXXUSDT", rows=90, tells=0.0, seed=1)
    strange = tmp_path / "notes.csv"
    strange.write_text("who,what\nme,this\n")
    with pytest.raises(SourceError, match=r"needs files of bars, got notes\.csv"):
        read_bars([path, strange])
    with pytest.raises(SourceError, match="got none"):
        read_bars([])


def test_bars_without_takers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "XXXUSDT.csv"
    rows = [f"{1_577_836_800_000 + day * 86_400_000},1,2,0.5,1,7" for day in range(90)]
    path.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]))
    with pytest.raises((DataError, SourceError), match=r"taker|layout"):
        read_bars([path])


def test_the_command_prints_one_document(tmp_path: Path) -> None:
    path = klines(tmp_path, "XXXUSDT", rows=420, tells=0.8, seed=1)
    asked = ["ablation", str(path), "--level", "0.9", "--window", "300", "--json"]
    answer = CliRunner().invoke(app, asked)
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["market"] == "XXXUSDT by 1D"
    assert document["features"][TAKER] == list(TAKERS)


def test_the_command_refuses_in_a_sentence(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["ablation", str(tmp_path / "none.csv")])
    assert answer.exit_code == 2
    assert "Error: " in answer.output


def test_files_that_are_too_short_are_told_how_long_they_should_be(tmp_path: Path) -> None:
    path = klines(tmp_path, "XXXUSDT", rows=200, tells=0.0, seed=1)
    answer = CliRunner().invoke(app, ["ablation", str(path), "--level", "0.9", "--window", "300"])
    assert answer.exit_code == 2
    told = " ".join(answer.output.split())
    assert "the files give 200 rows of 1D; a fit on 300 rows and judgement of as many need 601" in told


@pytest.mark.shared
@pytest.mark.skipif(not KLINES.is_dir(), reason=f"the reference folder {KLINES} is absent")
def test_daily_klines_of_an_archive_give_a_table() -> None:
    """A short form: two coins, a hundred and fifty decisions, a small ensemble."""
    bars = read_bars([KLINES / f"{name}USDT.csv" for name in ("BTC", "ETH")])
    assert bars.history.underlyings == ("BTCUSDT", "ETHUSDT")
    assert bars.taker == TAKERS
    recent = Bars(bars.history.last(650), bars.taker)
    books = standard_books(recent.history.underlyings, makers=2)
    result = ablate(recent, DAY, window=500, refit_every=50, books=books, volatility=BoostedVolatility(trees=10))
    table = result.to_frame()
    assert np.isfinite(table.drop(columns=["pinball_in_set", "qlike_in_set"]).to_numpy(float)).all()
    assert table["equal_margin"].between(0.001, 0.5).all()
    assert result.losses[PINBALL].testable
    assert result.losses[QLIKE].testable
