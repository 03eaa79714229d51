"""What is proposed, in place of what, on which market, so exactly that anybody can ask it again?"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from sklearn.base import BaseEstimator, clone

from backtest.closeout import LiquidationCost
from backtest.comparison import Periods
from backtest.portfolios import Books, default_books
from data import Coverage, MarketHistory, ParameterError
from margin_models import MarginModel
from margin_models.venues.provenance import Provenance
from research.own_books import OwnBooks, Positions, own_books, refuse_no_positions

if TYPE_CHECKING:
    from research.study import Market

Kind = Literal["study", "sample", "frozen"]
KINDS: tuple[Kind, ...] = ("study", "sample", "frozen")
LONGEST = 4000  # characters of an author's words
MOST_CRISES = 100
_DAY = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")


@dataclass(frozen=True)
class Request:
    """All that the numbers of a proposal follow from, beside the code.

    Parameters
    ----------
    current, candidate : models by name, as `model_of` reads them.
    kind : "study" is a market of the default study, its books included; "sample" another sample with standard books;
        "frozen" a history that is known by its content hash alone.
    market : the name of the market or sample; "" where it is frozen.
    title, remarks, why : what a reader is told; words of an author, which no number depends on.
    data_hash : content hash of the history, 64 hex digits.
    coverage : what margin must survive.
    window, refit_every, every : rows a fit sees, decisions between fits, rows between decisions.
    crises : named periods, first and last day; where there is none, the worst days of the replay are taken.
    cost : what closing out costs.
    book : positions of the author's own, (portfolio, symbol, quantity) each; none where nobody brought any.

    Raises
    ------
    ParameterError
        Where the two models are the same, or a field is out of its range.
    """

    current: str
    candidate: str
    kind: Kind
    market: str
    title: str
    data_hash: str
    coverage: Coverage
    window: int
    refit_every: int
    every: int = 1
    crises: Periods = field(default_factory=dict)
    cost: LiquidationCost = field(default_factory=LiquidationCost)
    remarks: str = ""
    why: str = ""
    book: Positions = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ParameterError(f"a market is one of {KINDS}, got {self.kind!r}")
        if described(model_of(self.current)) == described(model_of(self.candidate)):
            raise ParameterError(f"a proposal changes something, got {self.current!r} and {self.candidate!r}")
        if min(self.window, self.refit_every, self.every) < 1:
            counts = (self.window, self.refit_every, self.every)
            raise ParameterError(f"window, refit_every and every must each be >= 1, got {counts}")
        longest = max(len(text) for text in (self.title, self.remarks, self.why))
        if longest > LONGEST:
            raise ParameterError(f"a title, remark or reason has at most {LONGEST} characters, got {longest}")
        if len(self.crises) > MOST_CRISES or any(len(name) > LONGEST for name in self.crises):
            raise ParameterError(f"at most {MOST_CRISES} crises can be told, by short names, got {len(self.crises)}")
        for first, last in self.crises.values():
            if not (_DAY.fullmatch(first) and _DAY.fullmatch(last) and first <= last):
                raise ParameterError(f"crises go from a day to a day, 2020-02-20 say, got {first!r:.40}, {last!r:.40}")
        refuse_no_positions(self.book)

    def books(self, history: MarketHistory) -> Books:
        """The books that are asked: those of the market of the default study, or the standard ones."""
        if self.kind == "study":
            market = study_market(self.market)
            if market.books is not None:
                return market.books(history.underlyings)
        return default_books(history)

    def own(self, history: MarketHistory) -> OwnBooks | None:
        """The author's own books as this history values them; None where there are none. DataError as `own_books`."""
        return own_books(self.book, history.valued_in(self.coverage.numeraire)) if self.book else None

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON knows it."""
        plain = {"crises": {name: list(period) for name, period in self.crises.items()}}
        return {**asdict(self), **plain, "book": [list(position) for position in self.book]}

    @classmethod
    def from_json(cls, told: Any) -> Self:
        """What `to_json` gave; ParameterError for anything else."""
        names = {one.name for one in fields(cls)}
        if not isinstance(told, dict) or set(told) != names:
            raise ParameterError(f"a request has the fields {sorted(names)}, got {told!r:.200}")
        try:
            whole = dict(told)
            whole["coverage"] = Coverage(**told["coverage"])
            whole["cost"] = LiquidationCost(**told["cost"])
            whole["crises"] = {str(name): (str(first), str(last)) for name, (first, last) in told["crises"].items()}
            whole["book"] = tuple((portfolio, symbol, quantity) for portfolio, symbol, quantity in told["book"])
            _refuse_other_types(whole)
            return cls(**whole)
        except (TypeError, ValueError, AttributeError) as error:
            raise ParameterError(f"no request of a proposal: {error}") from error


def _refuse_other_types(told: Mapping[str, Any]) -> None:
    texts = ("current", "candidate", "kind", "market", "title", "data_hash", "remarks", "why")
    wrong = [name for name in texts if not isinstance(told[name], str)]
    wrong += [name for name in ("window", "refit_every", "every") if type(told[name]) is not int]
    if wrong:
        raise ParameterError(f"{', '.join(wrong)} must be text, or whole numbers, got {told[wrong[0]]!r:.80}")


def study_market(name: str) -> "Market":
    """A market of the default study; ParameterError where there is none of that name."""
    from research.default_study import default_study

    known = {market.name: market for market in default_study().markets}
    if name not in known:
        raise ParameterError(f"a market of the default study is one of {', '.join(known)}, got {name!r}")
    return known[name]


def known_models() -> dict[str, MarginModel]:
    """Every model that a proposal can name: those of the default study, and those that price a book."""
    from research.default_study import BITCOIN_MODELS, MODELS, OPTION_MODELS, STOCK_MODELS
    from research.named_models import NAMED

    of_studies = {**MODELS, **BITCOIN_MODELS, **STOCK_MODELS, **OPTION_MODELS}
    return {**{name: one.make() for name, one in NAMED.items()}, **of_studies}


def model_of(said: str) -> MarginModel:
    """A model by its name and, after a colon, parameters that differ: "static, cross:rate=0.05".

    Several are parted by ";"; a part's own is reached by "__" ("FHS, EWMA:volatility__half_life=30"), values are
    written as in JSON. ParameterError for an unknown name or parameter; a value is refused by the model when it is
    fitted.

    >>> model_of("static, cross:rate=0.05")
    StaticMargin(cross=True, rate=0.05)
    """
    name, _, rest = said.partition(":")
    if Path(name).suffix == ".py":
        raise ParameterError(
            f"a proposal names a model, as its evidence must be had without foreign code, got {said!r}"
        )
    known = known_models()
    if name.strip() not in known:
        raise ParameterError(f"a model is one of {'; '.join(known)}, got {name!r}")
    model: MarginModel = clone(known[name.strip()])
    changes = dict(_parameter(one) for one in rest.split(";") if one.strip())
    possible = {key for key, value in model.get_params().items() if _is_plain(value)}
    unknown = sorted(changes.keys() - possible)
    if unknown:
        raise ParameterError(f"{name.strip()} takes {', '.join(sorted(possible)) or 'no parameters'}, got {unknown}")
    model.set_params(**changes)
    return model


def _parameter(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    try:
        told = json.loads(value) if sign else {}
    except (ValueError, RecursionError):
        told = {}
    if not _is_plain(told):
        raise ParameterError(f"a parameter is NAME=VALUE, the value as in JSON, got {text.strip()!r}")
    return key.strip(), told


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def described(model: MarginModel) -> str:
    """A model with all of its parameters, on one line: nothing is cut, or two models might be told alike.

    Sources of a venue's facts are left out: they are told apart.

    >>> described(model_of("static, cross:rate=0.05"))
    'StaticMargin(cross=True, rate=0.05, review=None, tiers=())'
    """
    return _in_words(model)


def parameters_that_differ(current: MarginModel, candidate: MarginModel) -> list[dict[str, str]]:
    """Name, value today and value proposed, of models of one kind; empty for models of two kinds.

    >>> parameters_that_differ(model_of("static, cross"), model_of("static, cross:rate=0.05"))
    [{'name': 'rate', 'current': 'None', 'candidate': '0.05'}]
    """
    if type(current) is not type(candidate):
        return []
    now, then = _flat(current), _flat(candidate)
    return [
        {"name": name, "current": now.get(name, "none"), "candidate": then.get(name, "none")}
        for name in [*now, *(name for name in then if name not in now)]
        if now.get(name) != then.get(name)
    ]


def _flat(value: object, path: str = "") -> dict[str, str]:
    """What a model is made of by its path, down to what has no parts."""
    told = _parts(value)
    if not told:
        return {path: _in_words(value)}
    flat = {} if not isinstance(value, BaseEstimator) or not path else {path: type(value).__name__}
    for name, one in told.items():
        flat |= _flat(one, f"{path}, {name}" if path else str(name))
    return flat


def _parts(value: object) -> dict[str, object]:
    """Parameters of a model, fields of a dataclass, entries of a mapping; where facts come from is left out."""
    if isinstance(value, BaseEstimator):
        told: dict[str, object] = value.get_params(deep=False)
    elif is_dataclass(value) and not isinstance(value, type):
        told = {one.name: getattr(value, one.name) for one in fields(value) if one.init}
    elif isinstance(value, Mapping):
        told = {str(key): one for key, one in value.items()}
    else:
        told = {}
    return {name: one for name, one in told.items() if not isinstance(one, Provenance)}


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_in_words(one)}" for key, one in _parts(value).items()) + "}"
    if isinstance(value, BaseEstimator) or (is_dataclass(value) and not isinstance(value, type)):
        return f"{type(value).__name__}({', '.join(f'{name}={_in_words(one)}' for name, one in _parts(value).items())})"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(_in_words, value)) + ")"
    return repr(value)


def says_of_itself(model: MarginModel) -> str:
    """The first sentence of what its class says."""
    return " ".join((type(model).__doc__ or "").strip().split("\n\n")[0].split())
