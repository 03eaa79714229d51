"""Is every kernel that option books meet compiled at install, and not in somebody's first call?"""

import numpy as np
from scipy import sparse

from backtest.option_books import option_books
from backtest.replay import replay
from data import Book, Coverage, surface_kernels
from data.valuation import option_terms
from margin_models import FilteredHistoricalVaR, MonteCarloES, ScenarioMargin, SpanLike
from margin_models.kernels import revaluation
from markets import coins_with_options
from research.warm import warm_options


def signatures() -> dict[str, int]:
    kernels = {**vars(revaluation), **vars(surface_kernels)}
    return {name: len(it.signatures) for name, it in kernels.items() if hasattr(it, "signatures")}


def test_option_books_meet_no_kernel_that_was_not_compiled_at_install() -> None:
    warm_options()
    before = signatures()
    assert min(before["option_gains"], before["add_holdings"]) >= 1
    history, coverage = coins_with_options(), Coverage(0.98, "2D")
    for model in (ScenarioMargin(), SpanLike(), FilteredHistoricalVaR(), MonteCarloES(scenarios=300)):
        replay(model, history, option_books(("BTC", "ETH")), coverage, window=300, refit_every=50, every=40)
    book = option_books(("BTC",)).at(history.now)
    thin = Book(book.instruments, book.portfolios, sparse.csr_array(book.quantity))
    fitted = ScenarioMargin().fit(history, coverage)
    fitted.margin(history, thin)
    assert np.isfinite(option_terms(book.listing, history.now).premium).any()
    assert signatures() == before
