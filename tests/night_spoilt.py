"""What does a night publish when its prices are spoilt, late or poisoned, or a model of it goes wrong?"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from night_judge import NAMED, Deed, Report, attempt, charged, ended, flagged, look, roles_of
from night_strikes import Fault

from night_studies import DAYS, night, study_file
from research.night_state import read_state

ROW = 642  # of the night of `recalibration`; the first night's is three rows before
REFUSED, LOOKED_AT = 3, 4
Spoil = Callable[[Fault, int], str]  # a fault and the newest row give a statement about the frame `closes`


def _cell(value: str) -> Spoil:
    """A price that is set in the newest row, or in the past where there was a night before."""

    def spoil(fault: Fault, row: int) -> str:
        at = row if row < ROW or fault.draw.random() < 0.5 else fault.draw.randrange(450, ROW)
        name = fault.draw.choice(("BTC", "ETH"))
        return f"closes.iloc[{at}, closes.columns.get_loc('{name}')] {value}"

    return spoil


def _said(statement: str) -> Spoil:
    return lambda fault, row: statement.format(row=row, name=fault.draw.choice(("BTC", "ETH")), after=row + 1)


# Each by name: how it spoils, and whether the first night, which has no night before to compare with, must see it too.
VALUES: dict[str, tuple[Spoil, bool]] = {
    "nan": (_cell("= np.nan"), False),
    "infinite": (_cell("= np.inf"), True),
    "minus infinite": (_cell("= -np.inf"), True),
    "zero": (_cell("= 0.0"), True),
    "negative": (_cell("= -37.63"), True),
    "spike": (_cell("*= 100.0"), False),
    "dip": (_cell("*= 0.01"), False),
    "newest times 100": (_said("closes.iloc[{row}, 0] *= 100.0"), True),
    "newest by a half": (_said("closes.loc[closes.index[{row}], '{name}'] *= 1.5"), True),
    "newest by a third less": (_said("closes.loc[closes.index[{row}], '{name}'] *= 0.67"), True),
    "a thousandth, known before": (_said("closes.loc[closes.index[500], '{name}'] *= 1.001"), False),
    "stale": (_said("closes.iloc[{row} - 12 : {row} + 1] = closes.iloc[{row} - 12].to_numpy()"), False),
    "constant": (_said("closes.iloc[{row} - 25 : {row} + 1] = closes.iloc[{row} - 25].to_numpy()"), True),
    "cents": (_said("closes = closes * 100.0"), False),
    "another unit": (_said("closes['{name}'] = closes['{name}'] * 1000.0"), False),
    "another unit tonight": (_said("closes.iloc[{row} :] *= 100.0"), True),
    "column renamed": (_said("closes = closes.rename(columns={{'{name}': 'XBT'}})"), False),
    "column lost": (_said("closes = closes[['{name}']]"), False),
    "column of words": (_said("closes['{name}'] = 'dear'"), True),
    "columns exchanged": (_said("closes.columns = ['BTC', 'ETH']"), False),
}
TIMES: dict[str, tuple[Spoil, bool]] = {
    "duplicate": (_said("closes = pd.concat([closes.iloc[: {after}], closes.iloc[{row} :] * 1.001])"), True),
    "disorder": (
        _said("closes = closes.iloc[[*range({row} - 9), {row} - 8, {row} - 9, *range({row} - 7, 700)]]"),
        True,
    ),
    "late": (_said("closes = closes.iloc[: {row}]"), True),
    "cut": (lambda fault, row: f"closes = closes.iloc[: {fault.draw.randrange(1, row)}]", True),
    "no row": (_said("closes = closes.iloc[:0]"), True),
    "short": (_said("closes = closes.iloc[{row} - 150 :]"), True),
    "days missing": (_said("closes = closes.drop(closes.index[{row} - 5 : {row}])"), True),
    "naive": (_said("closes.index = closes.index + pd.Timedelta('8h')"), True),
    "shifted by 8 h": (_said("closes.index = closes.index.tz_localize('UTC') + pd.Timedelta('8h')"), False),
    "zone": (_said("closes.index = closes.index.tz_localize('Asia/Tokyo')"), False),
    "daylight saving": (_said("closes.index = closes.index.tz_localize('Europe/Berlin')"), True),
    "a day late": (_said("closes.index = closes.index + pd.Timedelta('1D')"), False),
    "a day early": (_said("closes.index = closes.index - pd.Timedelta('1D')"), False),
    "one column a day late": (_said("closes['{name}'] = closes['{name}'].shift(1).bfill()"), False),
    "future": (_said("closes.iloc[{after} :] *= 100.0"), False),
    "future unknown": (_said("closes.iloc[{after} :] = np.nan"), False),
}
HARMLESS = ("future", "future unknown")  # rows after the as-of are cut away
TABLES = {"values": VALUES, "times": TIMES}


def spoilt(fault: Fault, report: Report) -> None:
    """Prices that are wrong: what was published stays and is marked stale, or tonight's is right all the same."""
    table = TABLES[fault.kind]
    name = sorted(table)[fault.ordinal % len(table)]
    spoil, alone_too = table[name]
    first = alone_too and fault.ordinal // len(table) % 3 == 2
    deed, row = (NAMED["first"], ROW - 3) if first else (NAMED["recalibration"], ROW)
    fault.begin(deed.base)
    report.kind = f"{fault.kind}, {name}{', first night' * first}"
    judged(fault, report, deed, study_file(fault.folder, spoil=spoil(fault, row)), harmless=name in HARMLESS)


def gap(fault: Fault, report: Report) -> None:
    """Days of which nobody heard until tonight: a return over six days is not one of a day, and somebody is told."""
    deed = NAMED["after a gap"]
    fault.begin(deed.base)
    report.kind = "gap"
    lost = fault.draw.randrange(1, 6)
    statement = f"closes = closes.drop(closes.index[{ROW + 5 - lost} : {ROW + 5}])"
    judged(fault, report, deed, study_file(fault.folder, spoil=statement))


def poisoned(fault: Fault, report: Report) -> None:
    """A past made calm, so that margin falls overnight: blocked, and by the gate that is there for it."""
    deed = NAMED["recalibration"]
    fault.begin(deed.base)
    calm, since = fault.draw.uniform(0.05, 0.6), fault.draw.randrange(300, 470)
    calmed = f"closes.iloc[{since}] * np.exp({calm} * np.log(closes.iloc[{since}:643] / closes.iloc[{since}]))"
    study = study_file(fault.folder, spoil=f"closes.iloc[{since}:643] = {calmed}")
    judged(fault, report, deed, study, says="overnight_fall")


BROKEN = {
    "nan": "return np.full(len(book.portfolios), np.nan)",
    "infinite": "return np.full(len(book.portfolios), np.inf)",
    "negative": "return -was(self, past, book)",
    "nothing": "return 0.0 * was(self, past, book)",
    "of another shape": "return was(self, past, book)[:-1]",
    "diverged": "raise ConvergenceError('no optimum within 1 step')",
    "a bug": "return was(self, past, book).no_such_thing",
    "exploded": "return 5.0 * was(self, past, book)",
    "collapsed": "return 0.4 * was(self, past, book)",
    "of a refused fit": "self.failures_ = {'BTC': 'alpha + beta >= 1'}; return was(self, past, book)",
}
EXTRA = """
from margin_models import {model} as Broken
from data.errors import ConvergenceError

was = Broken.margin

def margin(self, past, book):
    {body}

Broken.margin = margin
"""


def broken_model(fault: Fault, report: Report) -> None:
    """The model in force, or a candidate, goes wrong: it is refused and says why, and what is in force stays."""
    deed = NAMED["recalibration"]
    fault.begin(deed.base)
    name = sorted(BROKEN)[fault.ordinal % len(BROKEN)]
    champion = bool(fault.ordinal // len(BROKEN) % 2)
    model = "HistoricalVaR" if champion else "StaticMargin"
    report.kind = f"model, {'champion' if champion else 'candidate'} {name}"
    study = study_file(fault.folder, extra=EXTRA.format(model=model, body=BROKEN[name]))
    judged(fault, report, deed, study, says=deed.as_of if champion else "", harmless=not champion)


def judged(fault: Fault, report: Report, deed: Deed, study: Path, *, says: str = "", harmless: bool = False) -> None:
    """A night on this study, in a child; what it left, and what the repaired study comes to."""
    folder, facts = fault.folder, fault.world.facts[deed.name]
    report.counts["struck"] += 1
    code = ended(lambda: int(night(folder, deed.as_of, study)["exit"]))
    state = read_state(folder / "state")
    told = "; ".join(state.stale.values())
    report.counts["refused"] += code in (REFUSED, LOOKED_AT)
    look(report, replace(facts, roles=[*facts.roles, roles_of(state)]), folder)
    flagged(report, folder)
    if code not in (0, REFUSED, LOOKED_AT):
        report.wrong("untyped", f"exit {code}")
    if code == 0 and not harmless:
        report.wrong("unflagged", "a night on wrong data that went through, and nobody is told")
    if code and not told:
        report.wrong("unflagged", f"exit {code}, and what is published is not marked")
    if says and says not in told + str(state.nights[-1:]):
        report.wrong("unflagged", f"{says} is not among the reasons: {told}")
    if not harmless and charged(folder) != facts.margins[0]:
        report.wrong("unflagged", "what was published was not kept")
    repaired(fault, report, deed)


def repaired(fault: Fault, report: Report, deed: Deed) -> None:
    """On repaired data the night comes to the margins that it should; a past that changed waits for a person."""
    folder, facts = fault.folder, fault.world.facts[deed.name]
    study_file(folder)
    began = time.perf_counter()
    if attempt(report, lambda: deed.do(folder)) == LOOKED_AT:
        attempt(report, lambda: NAMED["approval"].do(folder))
    report.seconds = time.perf_counter() - began
    right = charged(folder) == facts.margins[-1] and not read_state(folder / "state").stale
    report.counts["recovered"] += right
    if not right:
        report.wrong("hash", f"repaired data give {charged(folder)}, {read_state(folder / 'state').stale}")


SPOILT: dict[str, Callable[[Fault, Report], None]] = {
    **dict.fromkeys(("values", "times"), spoilt),
    **{"gap": gap, "poison": poisoned, "model": broken_model},
}
assert DAYS[3] == NAMED["recalibration"].as_of
