"""What would a proposal do to the books of whoever proposes it?"""

from typing import Any

import numpy as np

from backtest.comparison import Periods
from backtest.replay import Outcome, Replay
from data import HistoryError, MarketHistory
from research.own_books import OwnBooks
from research.proposal_effects import DIGITS, book_row
from research.proposal_request import Request
from research.reverse_stress import reverse_stress


def own_effects(
    request: Request,
    history: MarketHistory,
    own: OwnBooks,
    outcome: Outcome,
    runs: tuple[Replay, Replay],
    periods: Periods,
) -> dict[str, Any]:
    """Margins now and through the past, crises, and reverse stress, for each of the books.

    HistoryError where a book could be held at no decision.
    """
    never = [name for p, name in enumerate(own.portfolios) if not runs[0].live[:, p].any()]
    if never:
        raise HistoryError(f"the book {never[0]!r} could be held at no decision of the replay")
    stress = reverse_stress(request, history, own, outcome, own.portfolios)
    in_order = sorted(periods.items(), key=lambda one: (one[1], one[0]))  # JSON does not keep another order
    now = [(book["current"]["margin"], book["candidate"]["margin"]) for book in stress["books"]]
    return {
        "time": f"{str(own.time)[:16]}Z",
        "positions": _positions(request, own),
        "books": [
            {**book_row(*runs, p), "gross": float(own.gross[p]), **_now(float(own.gross[p]), *now[p])}
            for p in range(len(own.portfolios))
        ],
        "crises": [row for name, period in in_order for row in _crisis(*runs, name, period)],
        "stress": stress,
    }


def _positions(request: Request, own: OwnBooks) -> list[dict[str, Any]]:
    symbols = [one.symbol for one in own.contracts]
    return [
        {
            "portfolio": portfolio,
            "symbol": symbol,
            "quantity": quantity,
            "option": own.contracts[symbols.index(symbol)].kind == "option",
            "share": float(own.share[own.portfolios.index(portfolio), symbols.index(symbol)]),
        }
        for portfolio, symbol, quantity in request.book
    ]


def _now(gross: float, current: float, candidate: float) -> dict[str, float]:
    """What each model asks of the positions as they stand, USD and share of notional."""
    return {
        "now_before": current,
        "now_after": candidate,
        "now_change": candidate / current - 1.0 if current > 0 else float("nan"),
        "usd_before": gross * current,
        "usd_after": gross * candidate,
    }


def _crisis(current: Replay, candidate: Replay, name: str, period: tuple[str, str]) -> list[dict[str, Any]]:
    """Of each book the decision that lost it most, horizons that touch the period alone; none where it was not held."""
    first, stop = np.datetime64(period[0], "ns"), np.datetime64(period[1], "ns") + np.timedelta64(1, "D")
    touching = (current.end >= first) & (current.time < stop)
    rows = []
    for p, book in enumerate(current.portfolios):
        at = np.flatnonzero(touching & current.live[:, p])
        if at.size:
            row = int(at[np.argmax(np.round(current.loss[at, p], DIGITS))])
            margins = float(current.initial[row, p]), float(candidate.initial[row, p])
            rows.append({"crisis": name, "book": book, **_day(float(current.loss[row, p]), *margins)})
            rows[-1]["date"] = str(current.time[row])[:10]
    return rows


def _day(loss: float, current: float, candidate: float) -> dict[str, Any]:
    return {
        "loss": loss,
        "current": current,
        "candidate": candidate,
        "uncovered_current": max(loss - current, 0.0),
        "uncovered_candidate": max(loss - candidate, 0.0),
    }
