"""Is every real file at hand recognised for what it is, row for row, or refused for the right reason?"""

from pathlib import PurePosixPath

import pytest

from data import SourceError
from data.sources.recognise import recognise
from raw_text import SHARED

NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="no reference folder beside the checkout")
COMBO = "BTC-CS-19MAY26-70000_75000"
CHAIN_ROWS = (
    *(1346, 1288, 1366, 1414, 1318, 1374, 1556, 1530, 1658, 1662, 1704, 1700, 1712, 1700),
    *(1608, 1598),
)

# The last two parts of a path, and layout, rows, venue and symbol.
READ: dict[str, tuple[str, int, str, str]] = {
    **{
        f"Hurst_Crypto/{symbol}.csv": ("binance klines", rows, "binance", symbol)
        for symbol, rows in {
            **{"BTCUSDT": 2924, "DOGEUSDT": 2374, "ETHUSDT": 2924, "LINKUSDT": 2544, "LTCUSDT": 2924, "XRPUSDT": 2801}
        }.items()
    },
    **{
        f"mark6/{symbol}.csv": ("table of bars", rows, "unknown", symbol)
        for symbol, rows in {"BTCUSDT": 38971, "ETHUSDT": 38971, "LUNAUSDT": 38535, "SOLUSDT": 38972}.items()
    },
    "MarketGuessingGame/BTCUSDT_1h.csv": ("table of bars", 55597, "unknown", "BTCUSDT"),
    "freqtrade/XRP_ETH-trades.json.gz": ("freqtrade trades in JSON", 12477, "unknown", "XRP_ETH"),
    "freqtrade/public_trades_list.csv": ("freqtrade trades in CSV", 1000, "unknown", "public_trades_list"),
    "freqtrade/public_trades_list_simple_example.csv": (
        *("freqtrade trades in CSV", 7, "unknown", "public_trades_list_simple_example"),
    ),
    "eth-dashboard/dvol_btc.json": ("pairs of levels", 1102, "deribit", "BTC"),
    "eth-dashboard/funding_rate_btc.json": ("pairs of funding", 3316, "unknown", "BTC"),
    "gamlss-btc-VaR/btc_price_volume.csv": ("table of bars", 4062, "unknown", "BTC"),
    "gamlss-btc-VaR/funding_rates.csv": ("table of a level", 2348, "unknown", "FUNDING_MEAN"),
    "gamlss-btc-VaR/vix.csv": ("table of a level", 2795, "unknown", "VIX"),
    **{
        f"historical-funding-rates-fetcher/BTC-USDT_{venue}_{year}-01-01_2024-01-01_funding_history.csv": (
            *("table of funding", rows, venue, "BTC-USDT"),
        )
        for venue, year, rows in (
            *(("binance", 2020, 4383), ("bybit", 2021, 3285), ("dydx", 2022, 17520), ("gate", 2020, 4290)),
            *(("htx", 2021, 3284), ("kucoin", 2021, 3285), ("mexc", 2021, 3285)),
        )
    },
    "usdm/btcusdt_20240808.gz": ("binance stream of depth", 445521, "binance-futures", "BTCUSDT"),
    "cm/btcusd_perp_20240808.gz": ("binance stream of depth", 298013, "binance-delivery", "BTCUSD_PERP"),
    "spot/btcusdt_20240808.gz": ("binance stream of depth", 126090, "binance", "BTCUSDT"),
    "http_get_last_trades.json": ("deribit trades", 10, "deribit", "ETH-PERPETUAL"),
    "http_get_last_trades_future_combo.json": ("deribit trades", 3, "deribit", "BTC-FS-25DEC26_PERP"),
    "http_get_last_trades_historical_combo.json": ("deribit trades", 1, "deribit", COMBO),
    "http_get_last_trades_option_combo.json": ("deribit trades", 1, "deribit", COMBO),
    "http_get_last_trades_perpetual_with_combo_tags.json": ("deribit trades", 7, "deribit", "BTC-PERPETUAL"),
    "http_get_order_book.json": ("deribit whole book", 40, "deribit", "BTC-PERPETUAL"),
    "http_get_tradingview_chart_data.json": ("deribit bars", 5, "deribit", "unknown"),
    "ws_book_delta.json": ("deribit book", 4, "deribit", "BTC-PERPETUAL"),
    "ws_book_grouped_snapshot.json": ("deribit grouped book", 20, "deribit", "BTC-PERPETUAL"),
    "ws_book_snapshot.json": ("deribit book", 10, "deribit", "BTC-PERPETUAL"),
    "ws_chart.json": ("deribit bar", 1, "deribit", "BTC-PERPETUAL"),
    "ws_quote.json": ("deribit quote", 1, "deribit", "BTC-PERPETUAL"),
    "ws_ticker.json": ("deribit ticker", 1, "deribit", "BTC-PERPETUAL"),
    "ws_trades.json": ("deribit trades", 2, "deribit", "BTC-PERPETUAL"),
    "ws_trades_option_combo.json": ("deribit trades", 1, "deribit", COMBO),
    "ws_volatility_index.json": ("deribit volatility", 1, "deribit", "btc_usd"),
    "bar.json": ("tardis trade_bar messages", 1, "bitmex", "XBTUSD"),
    "book_change.json": ("tardis book_change messages", 1, "bitmex", "XBTUSD"),
    "test_data/book_snapshot.json": ("tardis book_snapshot messages", 4, "bitmex", "XBTUSD"),
    "option_book_snapshot.json": ("tardis book_snapshot messages", 2, "deribit", "BTC-28JUN24-70000-C"),
    "derivative_ticker.json": ("tardis derivative_ticker messages", 1, "deribit", "BTC-PERPETUAL"),
    "trade.json": ("tardis trade messages", 1, "bitmex", "XBTUSD"),
    "deltas_1.csv": ("tardis incremental_book_L2", 2, "deribit", "BTC-PERPETUAL"),
    "deltas_with_snapshot.csv": ("tardis incremental_book_L2", 9, "binance-futures", "BTCUSDT"),
    "derivative_ticker_1.csv": ("tardis derivative_ticker", 2, "bitmex", "XBTUSD"),
    "trades_1.csv": ("tardis trades", 2, "bitmex", "XBTUSD"),
    "options_chain.csv": ("tardis options_chain", 7, "deribit", "options"),
    "binance-futures_book_snapshot_25_BTCUSDT.csv": ("tardis book_snapshot", 500, "binance-futures", "BTCUSDT"),
    "binance-futures_book_snapshot_5_BTCUSDT.csv": ("tardis book_snapshot", 100, "binance-futures", "BTCUSDT"),
    "bitmex_trades_XBTUSD.csv": ("tardis trades", 10, "bitmex", "XBTUSD"),
    "deribit_incremental_book_L2_BTC-PERPETUAL.csv": ("tardis incremental_book_L2", 15, "deribit", "BTC-PERPETUAL"),
    "huobi-dm-swap_quotes_BTC-USD.csv": ("tardis quotes", 10, "huobi-dm-swap", "BTC-USD"),
    "btcusdt-trades.parquet": ("table of binance trades", 2001, "binance", "BTCUSDT"),
}
ORDERS = ("buy", "cancel", "edit", "sell", "stop_market")
REFUSED = {
    "LICENSE": "expected a known layout",
    "http_get_account_summaries": "not market data: the summaries of an account",
    "http_get_combos": "not market data: a list of combinations",
    "http_get_expirations": "not market data: a list of expiries",
    "http_get_instrument": "not market data: the terms of instruments",
    "http_get_time": "not market data: a time",
    "ws_error": "not market data: an error",
    **{f"ws_order_{order}": "not market data: the answer to an order" for order in ORDERS},
    "ws_portfolio": "not market data: an account's own channel",
    "ws_subscribe_response": "not market data: the answer to a subscription",
    "ws_test_request": "not market data: a heartbeat",
    "disconnect": "not market data: a disconnect",
    "instrument_": "not market data: the terms of an instrument",
    "option_summary": "expected markIV of deribit in percent, got 0.565",
}


def listed() -> list[PurePosixPath]:
    """Every file of the reference folder."""
    lines = (SHARED / "MANIFEST.sha256").read_text().splitlines() if SHARED.is_dir() else []
    return [PurePosixPath(line.split("  ", 1)[1]) for line in lines]


def expected(path: PurePosixPath) -> tuple[str, int, str, str] | str:
    """What a file holds, or why it is refused."""
    chains = sorted(other.name for other in listed() if other.name.startswith("deribit_options_snapshot"))
    if path.name in chains:
        return ("deribit chains in CSV", CHAIN_ROWS[chains.index(path.name)], "deribit", "options")
    repository = path.parts[0].split("+")[-1]
    short = (f"{repository}/{path.name}", f"{path.parent.name}/{path.name}", path.name)
    found = next((READ[name] for name in short if name in READ), None)
    return found or next(reason for name, reason in REFUSED.items() if path.name.startswith(name))


@pytest.mark.shared
@NEEDS_SHARED
@pytest.mark.parametrize("path", listed() or [PurePosixPath("none")], ids=str)
def test_every_file_is_read_or_refused(path: PurePosixPath) -> None:
    told = expected(path)
    if isinstance(told, str):
        with pytest.raises(SourceError, match=told):
            recognise(SHARED / path)
        return
    found = recognise(SHARED / path)
    records = [*found.records()]
    assert {part.kind for part in records} == {found.layout.kind}
    assert {(part.venue, part.symbol) for part in records} == {told[2:]}
    assert (found.layout.name, sum(len(part) for part in records)) == told[:2]


@pytest.mark.shared
@NEEDS_SHARED
def test_the_list_is_whole() -> None:
    told = [expected(path) for path in listed()]
    assert (len(told), sum(isinstance(one, str) for one in told)) == (111, 33)
