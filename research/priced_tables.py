"""How is the margin of one book told in a terminal, and to a machine?"""

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from research.named_models import asked_of
from research.price_book import Priced

SHOWN = 10  # quarantined quotes; the JSON holds all


def text(priced: Priced) -> str:
    """Margins, positions, remarks, quarantine and the surface's quality, for a person."""
    asked = asked_of(priced.model, priced.coverage)
    told = f"{_instant(priced.time)}; {asked}; USD; market {priced.data_hash[:12]}"
    heading = "\n".join([_named(priced), told, *priced.provenance])
    parts = [heading, _margins(priced), _positions(priced), _remarks(priced), _quarantine(priced), _quality(priced)]
    return "\n\n".join(filter(None, parts))


def _named(priced: Priced) -> str:
    """The model and its parameters on one line."""
    return " ".join(repr(priced.model).split())


def _instant(time: np.datetime64) -> str:
    return f"{str(time)[:19].replace('T', ' ')} UTC"


def _money(values: Any) -> list[str]:
    return ["-" if not math.isfinite(value) else f"{value:,.2f}" for value in values]


def _margins(priced: Priced) -> str:
    asked = priced.requirement
    shown = pd.DataFrame(
        {
            "initial": _money(asked.initial),
            "maintenance": _money(asked.maintenance),
            "option value": _money(priced.option_value),
            "net of it": _money(priced.net_of_option_value),
            **{f"= {name}" if n == 0 else f"+ {name}": _money(part) for n, (name, part) in _parts(priced)},
        },
        index=pd.Index(asked.portfolios, name=None),
    )
    worst = [f"  {name}: {told}" for name, told in zip(asked.portfolios, asked.worst, strict=False) if told]
    return "\n".join(["Margin", shown.to_string(), *(["Worst", *worst] if worst else [])])


def _parts(priced: Priced) -> list[tuple[int, tuple[str, Any]]]:
    """The components, without a single one that says nothing new."""
    parts = priced.requirement.components
    return [] if len(parts) == 1 else list(enumerate(parts.items()))


def _positions(priced: Priced) -> str:
    table = priced.positions
    shown = pd.DataFrame(
        {
            "portfolio": table["portfolio"],
            "symbol": table["symbol"],
            "contract": table["contract"],
            "quantity": ["" if math.isnan(value) else f"{value:,g}" for value in table["quantity"]],
            "price": _money(table["price"]),
            "from": table["priced_from"],
            "vol %": ["" if math.isnan(value) else f"{100 * value:.1f}" for value in table["volatility"]],
            "value": _money(table["value"]),
            "notional": _money(table["notional"]),
            "contribution": _money(table["contribution"]),
            "delta": ["-" if math.isnan(value) else f"{value:,.4f}" for value in table["delta_units"]],
            "vega": _money(table["vega_per_point"]),
        }
    )
    told = f"; contribution: {priced.split}" if priced.split else "; contributions: too many positions to take apart"
    return f"Positions (delta in units, vega in USD a point{told})\n{shown.to_string(index=False)}"


def _remarks(priced: Priced) -> str:
    return "\n".join(["Remarks", *(f"  {remark}" for remark in priced.remarks)]) if priced.remarks else ""


def _quarantine(priced: Priced) -> str:
    table = priced.quarantine
    if table.empty:
        return "Quarantined quotes: none"
    counts = ", ".join(f"{rule} {count}" for rule, count in table["rule"].value_counts().items())
    more = f"\n  and {len(table) - SHOWN} more" if len(table) > SHOWN else ""
    return f"Quarantined quotes: {counts}\n{table.head(SHOWN).to_string(index=False)}{more}"


def _quality(priced: Priced) -> str:
    table = priced.quality
    shown = pd.DataFrame(
        {
            "underlying": table["underlying"],
            "expiry": [str(expiry)[:10] for expiry in table["expiry"]],
            "days": [f"{days:.1f}" for days in table["days"]],
            "quotes": table["quotes"],
            "form": table["form"],
            "in bid-ask %": _points(table.get("inside"), 0),
            "rms vol": _points(table.get("rms_error"), 2),
            "left out vol": _points(table.get("left_out_error"), 2),
            "butterfly": [f"{value:.3f}" for value in _column(table.get("butterfly"), len(table))],
            "calendar": [f"{value:.3f}" for value in _column(table.get("calendar"), len(table))],
        }
    )
    return (
        "Surface (vol errors in points; arbitrage where butterfly or calendar is below 0)\n"
        f"{shown.replace({'nan': '-', 'inf': '-'}).to_string(index=False)}"
    )


def _column(values: pd.Series | None, size: int) -> list[float]:
    return [math.nan] * size if values is None else [float(value) for value in values]


def _points(values: pd.Series | None, digits: int) -> list[str]:
    return [] if values is None else [f"{100 * float(value):.{digits}f}" for value in values]


def as_json(priced: Priced) -> str:
    """The whole result as JSON (numbers that are not known are null), for machines."""
    return json.dumps(_plain(_document(priced)), indent=1, allow_nan=False)


def _document(priced: Priced) -> dict[str, Any]:
    asked = priced.requirement
    greeks = priced.greeks.to_frame().reset_index()
    return {
        "model": _named(priced),
        "time": f"{str(priced.time)[:23]}Z",
        "level": priced.coverage.level,
        "horizon": priced.coverage.horizon,
        "asked": asked_of(priced.model, priced.coverage),
        "provenance": list(priced.provenance),
        "numeraire": priced.coverage.numeraire,
        "data_hash": priced.data_hash,
        "portfolios": [
            {
                "portfolio": name,
                "initial": asked.initial[p],
                "maintenance": asked.maintenance[p],
                "components": {part: values[p] for part, values in asked.components.items()},
                "worst": asked.worst[p] if asked.worst else "",
                "option_value": priced.option_value[p],
                "net_of_option_value": priced.net_of_option_value[p],
                "greeks": greeks[greeks["portfolio"] == name].drop(columns="portfolio").to_dict("records"),
            }
            for p, name in enumerate(asked.portfolios)
        ],
        "contributions": priced.split,
        "positions": priced.positions.to_dict("records"),
        "remarks": list(priced.remarks),
        "quarantine": priced.quarantine.to_dict("records"),
        "surface": priced.quality.to_dict("records"),
    }


def _plain(value: Any) -> Any:
    """Only what JSON knows."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (pd.Timestamp, np.datetime64)):
        return f"{pd.Timestamp(value).isoformat()}Z"
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
