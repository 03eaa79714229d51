"""How do the tables of a study of size and power read on a page?"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_NONE = "-"


def printed(tables: Mapping[str, pd.DataFrame]) -> list[pd.DataFrame]:
    """The tables of `size_study.SizeStudy` in per cent, as text: tests, zones, evidence twice, laws."""
    return [
        _tests(tables["tests"]),
        _zones(tables["zones"]),
        _right(tables["evidence"]),
        _wrong(tables["evidence"]),
        _laws(tables["laws"]),
    ]


def size_page(command: str, head: str, tables: Mapping[str, pd.DataFrame], figure: str | None = None) -> str:
    """The page in Markdown, with the chart at the address `figure` where there is one."""
    tests, zones, right, wrong, laws = map(_markdown, printed(tables))
    chart = "" if figure is None else f"\n![Sizes and powers of every test]({figure})\n"
    return _PAGE.format(
        command=command, head=head, chart=chart, tests=tests, zones=zones, right=right, wrong=wrong, laws=laws
    )


_PAGE = """# Size and power of the tests

Made by `{command}`:
{head}. Do not edit: run it again.
{chart}
All figures are in per cent, and ± is one standard error. Margins are those of a GARCH(1,1) with normal shocks, known to
be right. A nominal size is 5 %. Read the power before any verdict: what is not rejected at a power of 24 % is not
thereby confirmed.

## Tests of breaches

A right model is rejected as often as the three sizes say: by the asymptotic p-value, by the one that is shown (exact,
or simulated), and by the one whose ties are broken by chance. `holds` asks that the randomised size be 5 %, and the one
shown at most 5 %, within three standard errors. Some of those shown stay far below: where breaches are few so are the
values that a statistic can take, and no bound between two of them has a size of 5 %. Samples without a breach are among
the repetitions; `undefined` is the share on which a test has nothing to compare (its p-values are 1 there).

Power is the share rejected where breaches are independent and come at twice the rate. Independence and durations are
not asked about the rate; theirs is no measure of what they find where breaches bunch. "Constant margin" leaves the
margins out of the dynamic quantile test; elsewhere its law is simulated on each path of margins, held fixed.

{tests}

## Basel's zones

Exact probabilities of each zone beside simulated shares.

{zones}

## Evidence that may be read every day

Capital that bets against a right model ever reaches 1/alpha with a probability of at most alpha, whenever one looks.
Shares of paths that did within so many days, all of the same paths; `holds` asks for at most alpha within three
standard errors, at every threshold. Far below is as it should be: the promise is for any number of days, and for any
market.

{right}

The same where the model is wrong, from a fifth of the paths, and in brackets the median day of arrival among those that
arrived. "Too small": breaches come at twice the rate, and margin and expected shortfall are too small by one factor.
"Too thin": VaR is right, and losses beyond it are those of a t law with 4 degrees of freedom. Evidence of VaR is not
asked about the latter, and its shares there are sizes.

{wrong}

## Tests of the tail and of the law

As the first table, for tests that need an expected shortfall or a law. P-values shown are simulated from the normal
law, the chi-squared with Bartlett's correction (Berkowitz), or a bootstrap, which is silent below ten breaches;
`repetitions` are those of the right model, powers come from a fifth of them. Z3 asks for every day's law as a sample,
and is judged on fewer. The two powers are those of the two wrong models above: losses too large by a factor, and a tail
too thin behind a right VaR. A power below 5 % is that of a test that looks elsewhere, or whose few extreme values lie
on the other side.

{laws}
"""


def _tests(tests: pd.DataFrame) -> pd.DataFrame:
    shown = tests.index.to_frame(index=False)
    shown["undefined"] = _percent(tests["undefined"])
    for kind in ("size_asymptotic", "size", "size_randomised"):
        shown[_words(kind)] = _with_error(tests[kind], tests[f"{kind}_error"])
    for kind in ("power", "power_randomised"):
        shown[_words(kind)] = _percent(tests[kind])
    return shown.assign(holds=_yes(tests["holds"]))


def _zones(zones: pd.DataFrame) -> pd.DataFrame:
    shown = zones.reset_index().rename(columns=_words)
    for kind in ("exact", "simulated", "error", "at twice the rate"):
        shown[kind] = _percent(shown[kind])
    return shown.assign(holds=_yes(zones["holds"]))


def _laws(laws: pd.DataFrame) -> pd.DataFrame:
    shown = laws.index.to_frame(index=False)
    shown["repetitions"] = [f"{count:,}" for count in laws["repetitions"]]
    shown["undefined"] = _percent(laws["undefined"])
    for kind in ("size_asymptotic", "size"):
        shown[_words(kind)] = _with_error(laws[kind], laws[f"{kind}_error"])
    for kind, name in (("power", "power, too small"), ("power_of_tail", "power, too thin")):
        shown[name] = _percent(laws[kind])
    return shown.assign(holds=_yes(laws["holds"]))


def _right(evidence: pd.DataFrame) -> pd.DataFrame:
    """A line a length and bet: the share that was ever at each threshold."""
    told = pd.Series(_with_error(evidence["share"], evidence["error"]), evidence.index)
    alphas = evidence["alpha"].groupby("threshold").first()
    shown = _beside(told).rename(columns=lambda at: f"ever at {at:g} (at most {100.0 * alphas[at]:g})")
    by_bet = evidence.groupby(["n", "evidence", "stake"], sort=False)
    shown = shown.assign(holds=_yes(by_bet["holds"].all()))
    shown.insert(0, "repetitions", [f"{count:,}" for count in by_bet["repetitions"].first()])
    return shown.reset_index()


def _wrong(evidence: pd.DataFrame) -> pd.DataFrame:
    """A line a length and bet: the share that arrived at each threshold, and its median day, by what is wrong."""
    sides = []
    for share, day, name in (
        ("power", "median_day", "too small"),
        ("power_of_tail", "median_day_of_tail", "too thin"),
    ):
        days = [_NONE if np.isnan(when) else f"{when:.0f}" for when in evidence[day]]
        told = [f"{that} ({when})" for that, when in zip(_percent(evidence[share]), days, strict=True)]
        beside = _beside(pd.Series(told, evidence.index))
        sides.append(beside.set_axis([f"{name}, at {at:g}" for at in beside], axis=1))
    return pd.concat(sides, axis=1).reset_index()


def _beside(told: pd.Series) -> pd.DataFrame:
    """Thresholds as columns, the rows in their order."""
    sides = {at: told.xs(at, level="threshold") for at in told.index.unique("threshold")}
    return pd.DataFrame(sides)


def _yes(holds: pd.Series) -> NDArray[np.str_]:
    return np.where(holds, "yes", "NO")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _percent(shares: pd.Series) -> list[str]:
    return [_NONE if np.isnan(share) else f"{100.0 * share:.2f}" for share in shares]


def _with_error(shares: pd.Series, errors: pd.Series) -> list[str]:
    told = zip(_percent(shares), _percent(errors), strict=True)
    return [share if share == _NONE else f"{share} ± {error}" for share, error in told]


def _markdown(shown: pd.DataFrame) -> str:
    rows = [list(map(str, shown)), ["---"] * shown.shape[1], *shown.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
