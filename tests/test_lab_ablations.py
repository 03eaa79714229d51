"""Is every kind of knowledge reached by the forecast, found by its name, and gone where it is taken away?"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_boosted import DAY, WINDOW, clustered, qlike
from test_boosted_surroundings import driven

from data import Floats, MarketHistory, ParameterError
from data.flow.panels import ALL, Series, Timing, feature_panel, with_features
from margin_models import (
    BoostedVolatility,
    CombinedVolatility,
    EwmaVolatility,
    HarVolatility,
    ImpliedVolatility,
    VolatilityForecaster,
)
from margin_models.volatility.predictors import NAMES, AllBut, known_at
from markets import coins_with_options, two_coins
from research.importance import GROUPS, group_of
from research.lab import OURS, candidates
from research.lab_ablations import (
    BARS,
    CALENDAR,
    CROSS,
    FLOW,
    FUNDING,
    IMPLIED,
    KINDS,
    MACRO,
    VOLUME,
    Apart,
    known_of,
    only,
    without,
)
from research.lab_candidates import absent_kinds, members

ROWS, ASSETS = 1400, 3


def smiles(told: Floats) -> Floats:
    """Flat ones at 30 days that know the next day's volatility."""
    surfaces = np.zeros((*told.shape, 1, 7))
    surfaces[..., 0], surfaces[..., 6] = 30 / 365.25, 1.0
    surfaces[..., 2] = ((0.02 * np.exp(told)) ** 2 * 30)[..., None]
    return surfaces


def knowing(kind: str) -> MarketHistory:
    """A market whose volatility of tomorrow is told today by one kind of thing, and by nothing else."""
    random = np.random.default_rng(3)
    own = 0.8 * random.standard_normal((ROWS, ASSETS))
    if kind == CALENDAR:
        return driven(np.repeat(np.where(np.arange(ROWS) % 7 >= 4, -1.5, 0.0)[:, None], ASSETS, axis=1))
    if kind == CROSS:
        leading = np.zeros(ROWS)
        for t in range(1, ROWS):
            leading[t] = 0.9 * leading[t - 1] + 0.35 * random.standard_normal()
        late = np.concatenate([[0.0], leading[:-1]])
        return driven(np.column_stack([late, late, leading]))
    if kind == MACRO:
        rate = 0.8 * random.standard_normal(ROWS)
        history = driven(np.repeat(rate[:, None], ASSETS, axis=1))
        told = Series("rate", "%", ALL, history.time, rate, Timing("0s", "2D"))
        return with_features(history, feature_panel(history.time, history.underlyings, [told]))
    history = driven(own)
    panels: dict[str, dict[str, Any]] = {
        FUNDING: {"funding": 1e-4 * own},
        VOLUME: {"volume": np.exp(own)},
        IMPLIED: {"surfaces": smiles(own), "implied": "quotes"},
        FLOW: {"features": own[:, :, None], "feature_names": ("vpin",)},
        BARS: {"features": own[:, :, None], "feature_names": ("amihud",)},
    }
    return replace(history, **panels[kind])


def loss(forecaster: VolatilityForecaster, history: MarketHistory) -> float:
    """QLIKE of the rows after the window."""
    fitted = forecaster.fit(history.rows(0, WINDOW), DAY)
    told = fitted.forecasts(history, len(history) - WINDOW + 1)[:-1]
    return qlike(told, history.returns(DAY)[WINDOW - 1 :])


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_of_knowledge_tells_is_used_and_gone_without_it(kind: str) -> None:
    history = knowing(kind)
    blind = without(kind, history, {"LightGBM": BoostedVolatility()})
    assert blind is not None
    least = 0.04 if kind == CROSS else 0.2
    assert loss(blind["LightGBM"], history) - loss(BoostedVolatility(), history) > least


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_there_can_be_taken_away(kind: str) -> None:
    plain = {CALENDAR, CROSS}
    assert {kind for kind, names in known_of(knowing(kind)).items() if names} == plain | {kind}
    other = FLOW if kind != FLOW else MACRO
    assert without(other, knowing(kind), {"LightGBM": BoostedVolatility()}) is None
    assert set(absent_kinds(knowing(kind))) == set(KINDS) - plain - {kind}


def test_every_predictor_that_is_not_the_asset_s_own_past_belongs_to_one_kind() -> None:
    coins = coins_with_options()
    random = np.random.default_rng(0).standard_normal((*coins.spot.shape, 3))
    told = known_of(coins.with_features(random, ("taker_imbalance", "funding_pressure", "implied_level")))
    every = [name for some in told.values() for name in some]
    assert len(set(every)) == len(every)
    own = {"own variance", "own range", "own returns"}
    assert {name for name in NAMES if group_of(name) not in own} == set(every) & set(NAMES)
    assert set(GROUPS) - own == {group_of(name) for name in every if name in NAMES}
    assert told[FLOW] == ("taker_imbalance",)
    assert told[FUNDING][0] == "funding_pressure"
    assert told[IMPLIED] == ("implied_level", "implied variance")
    assert told[MACRO] == ()


def test_one_underlying_has_no_others_and_nothing_common() -> None:
    one = only(knowing(MACRO), 1)
    assert one.underlyings == ("A1",)
    told = known_of(one)
    assert told[CROSS] == told[MACRO] == ()
    assert told[FLOW] == ("rate",)


def test_apart_is_each_underlying_by_itself() -> None:
    history = coins_with_options(330)
    history = history.with_features(np.random.default_rng(1).standard_normal((*history.spot.shape, 1)), ("vpin",))
    apart = Apart(BoostedVolatility(trees=5)).fit(history.rows(0, 300), DAY)
    told = apart.forecasts(history, 30)
    for place in (0, 1):
        alone = BoostedVolatility(trees=5).fit(only(history.rows(0, 300), place), DAY)
        assert_array_equal(told[:, place], alone.forecasts(only(history, place), 30)[:, 0])
    other = history.spot.copy()
    other[:, 1] = other[::-1, 1]
    changed = replace(history, spot=other)
    again = Apart(BoostedVolatility(trees=5)).fit(changed.rows(0, 300), DAY).forecasts(changed, 30)
    assert_array_equal(again[:, 0], told[:, 0])
    assert not np.array_equal(again[:, 1], told[:, 1])


def test_the_blind_never_split_on_what_they_may_not_see() -> None:
    history = coins_with_options()
    steps_names = ("funding", "funding lately", "volume", "implied variance")
    fitted = BoostedVolatility(features=AllBut(steps_names)).fit(history, DAY)
    places = [NAMES.index(name) for name in steps_names]
    for booster in fitted.boosters_:
        assert booster is not None
        assert booster.feature_importance("split")[places].sum() == 0
        assert booster.feature_importance("split").sum() > 0
    seeing, blind = (one.forecasts(history, 60) for one in (BoostedVolatility().fit(history, DAY), fitted))
    assert not np.array_equal(seeing, blind)


def test_all_but_nothing_is_everything_bit_for_bit() -> None:
    history = clustered()
    told = [
        BoostedVolatility(features=features).fit(history.rows(0, WINDOW), DAY).forecasts(history, 50)
        for features in (None, AllBut(()), AllBut(("implied variance",)))
    ]
    assert_array_equal(told[0], told[1])
    assert_array_equal(told[0], told[2])
    assert known_at(history, DAY, 1).predictors.shape[2] == len(NAMES)


@pytest.mark.parametrize(
    "told",
    [
        AllBut(("astrology",)),
        AllBut("volume"),  # type: ignore[arg-type]
        AllBut(of_features=("volume",)),
        AllBut(of_predictors=("astrology",)),
        AllBut(of_predictors="volume"),  # type: ignore[arg-type]
    ],
)
def test_names_that_are_nowhere_are_refused(told: AllBut) -> None:
    with pytest.raises(ParameterError, match=r"features must be .* got AllBut"):
        BoostedVolatility(features=told).fit(clustered().rows(0, WINDOW), DAY)


def test_a_name_told_twice_is_left_out_once() -> None:
    history = two_coins()
    once, twice = (
        BoostedVolatility(trees=10, features=AllBut(names)).fit(history, DAY).forecasts(history, 60)
        for names in (("volume",), ("volume", "volume"))
    )
    assert_array_equal(once, twice)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("funding", FUNDING), ("volume", FLOW), ("leader's return over 1", FLOW), ("sine of the day", FLOW)],
)
def test_a_feature_that_is_called_as_a_predictor_is_told_apart_from_it(name: str, kind: str) -> None:
    plain = two_coins()
    named = plain.with_features(np.random.default_rng(0).normal(size=(*plain.spot.shape, 1)), (name,))
    assert name in known_of(named)[kind]
    assert len(set(known_of(named)[kind])) == len(known_of(named)[kind])
    blind = without(kind, named, {"LightGBM": BoostedVolatility(trees=10)})
    bare = without(kind, plain, {"LightGBM": BoostedVolatility(trees=10)}) or {"LightGBM": BoostedVolatility(trees=10)}
    told, expected = (
        some["LightGBM"].fit(history, DAY).forecasts(history, 60)
        for some, history in ((blind or {}, named), (bare, plain))
    )
    assert_array_equal(told, expected)


def test_what_is_unknown_throughout_is_not_in_the_data() -> None:
    history = two_coins()
    panel = np.full((*history.spot.shape, 3), np.nan)
    panel[5:, :, 2] = np.random.default_rng(0).normal(size=(len(history) - 5, 2))
    history = replace(history, features=panel, feature_names=("vpin", "amihud", "oi"), funding=panel[..., 0].copy())
    told = known_of(history)
    assert told[FLOW] == ("oi",)
    assert told[BARS] == told[MACRO] == told[FUNDING] == ()
    assert {BARS, MACRO, FUNDING} <= set(absent_kinds(history))
    assert without(BARS, history, {"LightGBM": BoostedVolatility()}) is None


def test_the_laboratory_has_a_row_for_each_kind_that_is_there() -> None:
    history = coins_with_options()
    every = candidates(history)
    rows = [name for name, one in every.items() if one.role == "without"]
    assert {f"without {kind}" for kind in (IMPLIED, CROSS, FUNDING, VOLUME, CALENDAR)} <= set(rows)
    assert not {f"without {kind}" for kind in (FLOW, BARS, MACRO)} & set(rows)
    assert absent_kinds(history) == (FLOW, BARS, MACRO)
    parts = members(history)
    assert isinstance(parts["implied"], ImpliedVolatility)
    blind = without(IMPLIED, history, parts)
    assert blind is not None
    assert set(parts) - set(blind) == {"implied"}
    apart = without(CROSS, history, parts)
    assert apart is not None
    assert isinstance(apart["LightGBM"], Apart)
    assert isinstance(apart["HAR"], HarVolatility)
    assert not apart["HAR"].pooled
    assert isinstance(apart["fast EWMA"], EwmaVolatility)
    ours = every[OURS].model.get_params()["volatility"]
    assert isinstance(ours, CombinedVolatility)
    assert len(ours.forecasters) == len(parts)
