"""Which AR(1)-GARCH(1,1) makes each window of a series most likely?

A law is (mean, autoregression, omega, alpha, beta) and, under a standardised t, its degrees of freedom. The search is
free of bounds: ln omega, the logits of persistence and of alpha's share in it, and that of 1 / degrees. Minus the
log-likelihood is brought down by BFGS, which starts from the inverse of the expected information (Fiorentini, Calzolari
and Panattoni, 1996) and goes back to it before it says that it has arrived.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]

# (alpha, beta) that fits are tried from: from a warm start alone, one window in two hundred ends in a lesser maximum.
STARTS = np.array([[0.03, 0.95], [0.1, 0.8], [0.2, 0.5], [0.05, 0.9], [0.02, 0.97], [0.01, 0.5]])
TRIED = 3  # of them in each window, in turn
LARGEST = 0.999999  # persistence
THIN, HEAVY = 1.0 / 500.0, 1.0 / 2.05  # 1 / degrees of freedom

_ARRIVED = 1e-9  # what a Newton step promises, or a step brought, in log-likelihood
_LOG_2PI = math.log(2.0 * math.pi)


@compiled
def digamma(x: float) -> float:
    """The derivative of ln gamma at x > 0, by recurrence and Stirling's series."""
    shift = 0.0
    while x < 6.0:
        shift -= 1.0 / x
        x += 1.0
    s = 1.0 / (x * x)
    series = s * (1.0 / 12.0 - s * (1.0 / 120.0 - s * (1.0 / 252.0 - s * (1.0 / 240.0 - s / 132.0))))
    return shift + math.log(x) - 0.5 / x - series


@compiled
def law_of(free: Floats, law: Floats) -> None:
    """Fill the law from what is searched."""
    law[0], law[1], law[2] = free[0], free[1], math.exp(free[2])
    persistence = LARGEST / (1.0 + math.exp(-free[3]))
    share = 1.0 / (1.0 + math.exp(-free[4]))
    law[3], law[4] = persistence * share, persistence * (1.0 - share)
    if len(free) > 5:
        law[5] = 1.0 / (THIN + (HEAVY - THIN) / (1.0 + math.exp(-free[5])))


@compiled
def _slopes(law: Floats, slopes: Floats) -> None:
    """What a step of each free number moves: persistence, alpha's share at a given persistence, degrees."""
    persistence = law[3] + law[4]
    slopes[0] = persistence * (1.0 - persistence / LARGEST)
    slopes[1] = law[3] * law[4] / persistence
    if len(law) > 5:
        inverse = 1.0 / law[5]
        slopes[2] = -law[5] * law[5] * (inverse - THIN) * (HEAVY - inverse) / (HEAVY - THIN)


@compiled
def shortfall_of(x: Floats, backcast: float, free: Floats, law: Floats, gradient: Floats) -> float:
    """Minus the log-likelihood of x[1:] given x[0], and its gradient in `free`; `law` is filled on the way."""
    law_of(free, law)
    c, phi, omega, alpha, beta = law[0], law[1], law[2], law[3], law[4]
    student, count = len(free) > 5, len(x) - 1
    nu = law[5] if student else 4.0
    h = omega + (alpha + beta) * backcast
    hc, hp, hw, ha, hb = 0.0, 0.0, 1.0, backcast, backcast
    gc, gp, gw, ga, gb, gn = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    logs, tails, squares, factor, heavier = 0.0, 0.0, 0.0, 1.0, 1.0
    for i in range(1, count + 1):
        before = x[i - 1]
        e = x[i] - c - phi * before
        inverse = 1.0 / h
        square = e * e * inverse
        factor *= h
        weight = 1.0
        if student:
            more = 1.0 + square / (nu - 2.0)
            heavier *= more
            weight = (nu + 1.0) / ((nu - 2.0) * more)
            gn += weight * square
        else:
            squares += square
        if i % 8 == 0:  # a logarithm of eight factors at a time
            logs += math.log(factor)
            tails += math.log(heavier)
            factor, heavier = 1.0, 1.0
        dh, de = inverse * (1.0 - weight * square), 2.0 * weight * e * inverse
        gc += dh * hc - de
        gp += dh * hp - de * before
        gw += dh * hw
        ga += dh * ha
        gb += dh * hb
        hc = beta * hc - 2.0 * alpha * e
        hp = beta * hp - 2.0 * alpha * e * before
        hw = beta * hw + 1.0
        ha = beta * ha + e * e
        hb = beta * hb + h
        h = omega + alpha * e * e + beta * h
    logs, tails = logs + math.log(factor), tails + math.log(heavier)
    slopes = np.empty(3)
    _slopes(law, slopes)
    share = alpha / (alpha + beta)
    gradient[0], gradient[1], gradient[2] = 0.5 * gc, 0.5 * gp, 0.5 * gw * omega
    gradient[3] = 0.5 * (ga * share + gb * (1.0 - share)) * slopes[0]
    gradient[4] = 0.5 * (ga - gb) * slopes[1]
    if not student:
        return 0.5 * (logs + squares + count * _LOG_2PI)
    scale = digamma(0.5 * (nu + 1.0)) - digamma(0.5 * nu) - 1.0 / (nu - 2.0)
    gradient[5] = 0.5 * (tails - gn / (nu - 2.0) - count * scale) * slopes[2]
    constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(math.pi * (nu - 2.0))
    return 0.5 * (logs + (nu + 1.0) * tails) - count * constant


@compiled
def information(x: Floats, backcast: float, law: Floats, out: Floats) -> None:
    """Fill the lower triangle of the expected information about what is searched."""
    c, phi, omega, alpha, beta = law[0], law[1], law[2], law[3], law[4]
    spread, centre, count = 0.5, 1.0, len(x) - 1
    slopes = np.empty(3)
    _slopes(law, slopes)
    out[:] = 0.0
    if len(law) > 5:
        nu = law[5]
        spread *= nu / (nu + 3.0)
        centre *= nu * (nu + 1.0) / ((nu - 2.0) * (nu + 3.0))
        step = 1e-3 * nu  # trigamma by differences, in the information of Lange, Little and Taylor (1989)
        above = digamma(0.5 * (nu + 1.0) + step) - digamma(0.5 * (nu + 1.0) - step)
        below = digamma(0.5 * nu + step) - digamma(0.5 * nu - step)
        each = (below - above) / (8.0 * step) - 0.5 * (nu + 5.0) / (nu * (nu + 1.0) * (nu + 3.0))
        turn = 2.0 / (nu * (nu - 2.0))  # the unit variance ties the scale to the degrees
        each += turn * turn * spread - 2.0 * turn / ((nu + 1.0) * (nu + 3.0))
        out[5, 5] = max(each, 0.01 / nu**4) * count * slopes[2] ** 2
    share = alpha / (alpha + beta)
    d = np.zeros(5)
    h = omega + (alpha + beta) * backcast
    hc, hp, hw, ha, hb = 0.0, 0.0, 1.0, backcast, backcast
    for i in range(1, count + 1):
        before = x[i - 1]
        e = x[i] - c - phi * before
        d[0], d[1], d[2] = hc, hp, hw * omega
        d[3], d[4] = (ha * share + hb * (1.0 - share)) * slopes[0], (ha - hb) * slopes[1]
        of_spread, of_centre = spread / (h * h), centre / h
        for j in range(5):
            for k in range(j + 1):
                out[j, k] += of_spread * d[j] * d[k]
        out[0, 0] += of_centre
        out[1, 0] += of_centre * before
        out[1, 1] += of_centre * before * before
        hc = beta * hc - 2.0 * alpha * e
        hp = beta * hp - 2.0 * alpha * e * before
        hw = beta * hw + 1.0
        ha = beta * ha + e * e
        hb = beta * hb + h
        h = omega + alpha * e * e + beta * h


@compiled
def invert(lower: Floats, out: Floats) -> None:
    """Fill the inverse of a symmetric matrix given by its lower triangle, made positive definite where it is not."""
    size = len(lower)
    root = np.zeros((size, size))
    for j in range(size):
        pivot = lower[j, j] * (1.0 + 1e-9) + 1e-8
        for k in range(j):
            pivot -= root[j, k] * root[j, k]
        root[j, j] = math.sqrt(max(pivot, 1e-10 * lower[j, j] + 1e-10))
        for i in range(j + 1, size):
            rest = lower[i, j]
            for k in range(j):
                rest -= root[i, k] * root[j, k]
            root[i, j] = rest / root[j, j]
    for column in range(size):
        for i in range(size):
            rest = 1.0 if i == column else 0.0
            for k in range(i):
                rest -= root[i, k] * out[k, column]
            out[i, column] = rest / root[i, i]
        for i in range(size - 1, -1, -1):
            rest = out[i, column]
            for k in range(i + 1, size):
                rest -= root[k, i] * out[k, column]
            out[i, column] = rest / root[i, i]


@compiled
def _learn(inverse: Floats, step: Floats, change: Floats) -> None:
    """The BFGS update of an inverse Hessian from a step and the change of gradient along it."""
    size = len(step)
    along = np.zeros(size)
    curved, bent = 0.0, 0.0
    for i in range(size):
        for j in range(size):
            along[i] += inverse[i, j] * change[j]
        curved += step[i] * change[i]
        bent += along[i] * change[i]
    if curved > 1e-12:
        for i in range(size):
            for j in range(size):
                both = along[i] * step[j] + step[i] * along[j]
                inverse[i, j] += ((1.0 + bent / curved) * step[i] * step[j] - both) / curved


@compiled
def descend(x: Floats, backcast: float, free: Floats, law: Floats, limit: int) -> tuple[float, bool]:
    """Move `free` down minus the log-likelihood in at most so many steps: the value there, whether it is the least."""
    size = len(free)
    gradient, ahead, step, trial = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    known, inverse = np.zeros((size, size)), np.zeros((size, size))
    value = shortfall_of(x, backcast, free, law, gradient)
    age, still = limit, 0
    for _ in range(limit):
        fresh = age > 15 or still >= 2
        if fresh:
            law_of(free, law)
            information(x, backcast, law, known)
            invert(known, inverse)
            age = 0
        promise, longest = 0.0, 0.0
        for i in range(size):
            step[i] = 0.0
            for j in range(size):
                step[i] -= inverse[i, j] * gradient[j]
            promise -= step[i] * gradient[i]
            longest = max(longest, abs(step[i]))
        if not promise > _ARRIVED:
            if fresh:
                return value, True
            age = limit
            continue
        length, shorter, told = min(1.0, 1.5 / longest), 0, math.inf
        while shorter < 12:
            for i in range(size):
                trial[i] = free[i] + length * step[i]
            told = shortfall_of(x, backcast, trial, law, ahead)
            if told <= value - 1e-4 * length * promise:
                break
            length *= 0.3
            shorter += 1
        if shorter == 12:
            if fresh:
                return value, promise < 1e-4
            age = limit
            continue
        if fresh and still >= 2 and value - told < _ARRIVED:
            return value, True
        still = still + 1 if value - told < _ARRIVED else 0
        for i in range(size):
            step[i], gradient[i], ahead[i] = trial[i] - free[i], ahead[i], ahead[i] - gradient[i]
            free[i] = trial[i]
        _learn(inverse, step, ahead)
        value = told
        age += 1
    return value, False


@compiled
def begin(x: Floats) -> tuple[float, float, float, float]:
    """Mean and autoregression by least squares, the residuals' mean square, and the variance before the first one.

    The last is arch's: an average of the first 75 squares with weights that fade by 0.94.
    """
    count = len(x) - 1
    early, late = x[:-1].mean(), x[1:].mean()
    cross, square = 0.0, 0.0
    for i in range(count):
        cross += (x[i] - early) * (x[i + 1] - late)
        square += (x[i] - early) ** 2
    phi = cross / square
    c = late - phi * early
    backcast, weights, weight, mean = 0.0, 0.0, 1.0, 0.0
    for i in range(count):
        e = x[i + 1] - c - phi * x[i]
        mean += e * e / count
        if i < 75:
            backcast += weight * e * e
            weights += weight
            weight *= 0.94
    return c, phi, mean, backcast / weights


@compiled(nogil=True)
def fit_windows(
    series: Floats,
    window: int,
    first: int,
    stop: int,
    laws: Floats,
    loglikelihood: Floats,
    backcasts: Floats,
    arrived: NDArray[np.bool_],
) -> None:
    """Fill what is found in the windows that begin at rows first to stop - 1.

    Each is tried from where the one before it ended, from `TRIED` of the starts in turn, and from any other that looks
    better than where these ended.
    """
    size = laws.shape[1]
    best, trial, law, gradient = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    for w in range(first, stop):
        x = series[w : w + window]
        c, phi, mean, backcast = begin(x)
        value, good = math.inf, False
        if w > first:
            value, good = descend(x, backcast, best, law, 100)
        for k in range(len(STARTS)):
            alpha, beta = STARTS[(w + k) % len(STARTS)]
            trial[0], trial[1] = c, phi
            trial[2] = math.log(mean * (1.0 - alpha - beta))
            persistence = (alpha + beta) / LARGEST
            trial[3], trial[4] = math.log(persistence / (1.0 - persistence)), math.log(alpha / beta)
            if size > 5:
                trial[5] = 0.0
            if k < TRIED or not good or shortfall_of(x, backcast, trial, law, gradient) < value:
                told, ended = descend(x, backcast, trial, law, 200)
                if told < value:
                    value, good = told, ended
                    best[:] = trial
        law_of(best, law)
        laws[w], loglikelihood[w], backcasts[w], arrived[w] = law, -value, backcast, good


@compiled
def filter_windows(series: Floats, laws: Floats, backcasts: Floats, ahead: Floats, innovations: Floats) -> None:
    """Fill mean and st.dev. of the row after each window, (W, 2), and the window's innovations, (W, window - 1)."""
    for w in range(len(laws)):
        c, phi, omega, alpha, beta = laws[w, 0], laws[w, 1], laws[w, 2], laws[w, 3], laws[w, 4]
        h = omega + (alpha + beta) * backcasts[w]
        count = innovations.shape[1]
        for i in range(count):
            e = series[w + i + 1] - c - phi * series[w + i]
            innovations[w, i] = e / math.sqrt(h)
            h = omega + alpha * e * e + beta * h
        ahead[w, 0], ahead[w, 1] = c + phi * series[w + count], math.sqrt(h)


@compiled
def baselines(series: Floats, window: int, decay: float, degrees: Floats, told: Floats) -> None:
    """Fill what simpler laws say of each window, (W, 4): two log-likelihoods, a forecast and a share.

    Around the least squares autoregression: the log-likelihoods of a constant variance and of an exponentially weighted
    one, the st.dev. that the latter forecasts, and the share of the largest square in their sum. Innovations are normal
    where `degrees` (W,) are NaN, else standardised t.
    """
    for w in range(len(told)):
        x, nu = series[w : w + window], degrees[w]
        c, phi, mean, h = begin(x)
        student, each = not math.isnan(nu), -0.5 * _LOG_2PI
        if student:
            each = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(math.pi * (nu - 2.0))
        constant, moving, largest = 0.0, 0.0, 0.0
        for i in range(1, window):
            square = (x[i] - c - phi * x[i - 1]) ** 2
            if student:
                constant -= 0.5 * (nu + 1.0) * math.log1p(square / (mean * (nu - 2.0)))
                moving -= 0.5 * (math.log(h) + (nu + 1.0) * math.log1p(square / (h * (nu - 2.0))))
            else:
                constant -= 0.5 * square / mean
                moving -= 0.5 * (math.log(h) + square / h)
            largest = max(largest, square)
            h = decay * h + (1.0 - decay) * square
        rows = window - 1
        told[w, 0], told[w, 1] = constant + rows * (each - 0.5 * math.log(mean)), moving + rows * each
        told[w, 2], told[w, 3] = math.sqrt(h), largest / (rows * mean)
