"""How is a proposal told: to a delegate, to a forum, to a model validator and to a supervisor?

Every file is made from the request, the evidence and the code's stamp alone, so that it can be made again and compared.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from backtest.bootstrap import DRAWS
from backtest.disclosure import FIELDS_NOTE
from research import proposal_figures as drawn
from research.csv_cells import csv_text
from research.figures import writable
from research.proposal_request import Request
from research.report import fingerprint, number

PAGES = ("proposal.html", "proposal.md", "model_card.md", "disclosure.csv", "evidence.json")
SPACE = "\u00a0"
_MARKDOWN = re.compile(r"([\\`*_\[\]#|~$]|(?<=www)\.|:(?=//)|^[-+=](?=\s)|(?<=^\d)[.)]|(?<=^\d\d)[.)])")
_FIGURES = ("margin", "books", "variants", "tornado")
_MEASURES = {
    "peak_to_trough": "Peak over trough of margin",
    "call_1d": "Largest call in 1 day",
    "call_5d": "Largest call in 5 days",
    "call_30d": "Largest call in 30 days",
}


def pages_of(request: Request, evidence: Mapping[str, Any], code: Mapping[str, str]) -> dict[str, bytes]:
    """Every file of a bundle but the manifest and the data, by name.

    Parameters
    ----------
    evidence : as `proposal.evidence_of` gives it, or as it was read from evidence.json.
    code : versions, as `bundle.made_with` gives them.
    """
    evidence = json.loads(encoded_json(evidence))  # in the order in which it will be read again
    facts = {"request": request, "e": evidence, "code": code, "draws": DRAWS, "fields_note": FIELDS_NOTE}
    facts |= {"measures": _MEASURES}
    page = _html(evidence).get_template("proposal.html.j2").render(**facts, figures=figures_of(evidence))
    forum, card = (_markdown(evidence).get_template(name).render(**facts) for name in _TEMPLATES)
    return {
        "proposal.html": writable(page).encode(),
        "proposal.md": _tidied(forum).encode(),
        "model_card.md": _tidied(card).encode(),
        "disclosure.csv": disclosure_csv(evidence).encode(),
        "evidence.json": encoded_json(evidence),
    }


_TEMPLATES = ("proposal.md.j2", "model_card.md.j2")


def encoded_json(told: Any) -> bytes:
    """JSON in the one way of writing it."""
    return (json.dumps(told, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def figure_numbers(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What each figure is drawn from, by its name."""
    series = dict(evidence["figures"])
    return {
        **series,
        "books": evidence["affected"]["books"],
        "variants": evidence["variants"],
        "tornado": [evidence["effect"]["margin_change"]["value"], evidence["sensitivity"]],
    }


def figures_of(evidence: Mapping[str, Any]) -> dict[str, Markup]:
    """Every figure of the page by its name."""
    told = figure_numbers(evidence)
    proposed, rows = told["tornado"]
    answer = {
        "margin": drawn.paths_svg(
            told["margin"], "Mean margin through time, current model and candidate", losses=False
        ),
        "books": drawn.books_svg(told["books"], "Change of the mean margin of the books that are changed most"),
        "variants": drawn.variants_svg(told["variants"], "Mean shortfall against mean margin of each variant"),
        "tornado": drawn.tornado_svg(rows, proposed, "Change of mean margin as one choice at a time is changed"),
    }
    for name, series in told.items():
        if name.startswith("crisis"):
            words = f"Margins and losses of {series['book']} around {series['name']}"
            answer[name] = drawn.paths_svg(series, words, losses=True)
    return answer


def disclosure_csv(evidence: Mapping[str, Any]) -> str:
    """The supervisors' table; text that a spreadsheet would take for a formula is led by an apostrophe."""
    rows = evidence["disclosure"]
    columns = ["model", "portfolio", *sorted(rows[0].keys() - {"model", "portfolio", "zone"}), "zone"]
    return csv_text([columns, *([row[column] for column in columns] for row in rows)])


def looked_up(evidence: Any, path: str) -> Any:
    """What stands at a dotted path of the evidence; KeyError where nothing does."""
    found = evidence
    for part in path.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def told_number(value: float | None, form: str) -> str:
    """A number as a page has it: "percent2", "points2", "bp2", "plain1" or "signed1", the digit being those shown.

    "signed" is a change in percent, "points" a change of a share in percentage points.

    >>> told_number(0.0123, "percent2"), told_number(-0.25, "signed0"), told_number(None, "plain1")
    ('1.23\\xa0%', '-25\\xa0%', 'n/a')
    """
    kind, digits = form[:-1], int(form[-1])
    if value is None:
        return "n/a"
    if round(abs(value) * {"plain": 1.0, "bp": 1e4, "signedbp": 1e4}.get(kind, 100.0), digits) == 0:
        value = 0.0  # no sign before nothing
    if kind == "plain":
        return number(value, digits)
    if kind in ("bp", "signedbp"):
        sign = "+" if kind == "signedbp" and round(1e4 * value, digits) > 0 else ""
        return f"{sign}{number(1e4 * value, digits)}{SPACE}bp"
    sign = "+" if kind != "percent" and round(100.0 * value, digits) > 0 else ""
    return f"{sign}{number(100.0 * value, digits)}{SPACE}{'points' if kind == 'points' else '%'}"


def _html(evidence: Mapping[str, Any]) -> Environment:
    environment = _environment(autoescape=True)

    def shown(path: str, form: str) -> Markup:
        value = looked_up(evidence, path)
        words = told_number(value, form)
        raw = "" if value is None else repr(value)
        return Markup('<data value="{}" data-id="{}">{}</data>').format(raw, path, words)

    environment.globals["n"] = shown
    environment.filters |= {"fingerprint": fingerprint, "label": drawn.label}
    return environment


def _markdown(evidence: Mapping[str, Any]) -> Environment:
    """Every value is taken for text and escaped, so that it can be neither Markdown nor HTML."""
    environment = _environment(autoescape=False)

    def shown(path: str, form: str) -> Markup:
        return Markup(told_number(looked_up(evidence, path), form).replace(SPACE, " "))

    environment.globals["n"] = shown
    environment.filters |= {"label": drawn.label, "shortened": drawn.shortened}
    environment.finalize = as_markdown
    return environment


def _environment(*, autoescape: bool) -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def as_markdown(value: Any) -> Any:
    """Text that Markdown shows as it is, on one line, and that neither links nor calls anybody.

    >>> as_markdown("<b>*a* | [x](http://y) @z")
    '&lt;b&gt;\\\\*a\\\\* \\\\| \\\\[x\\\\](http\\\\://y) &#64;z'
    """
    if isinstance(value, Markup):
        return value
    line = " ".join(writable(str(value)).split())
    plain = _MARKDOWN.sub(r"\\\1", line)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")


def _tidied(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", writable(text)).strip() + "\n"
