"""Half-life of a memory: the lag after which half of what was known is forgotten, by maximum likelihood."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["HalfLife", "half_life"]

Floats = NDArray[np.float64]

_NAN = float("nan")
_MOST, _PER_OCTAVE = 512, 16  # different lags up to which all are told apart; else bins of an octave
_GRID = 32  # half-lives tried per octave
_DROP = float(stats.chi2.ppf(0.95, 1) / 2)  # of the log-likelihood, at the ends of a 95 % profile interval


@dataclass(frozen=True, slots=True)
class HalfLife:
    """Half-life in episodes, with its 95 % profile interval.

    Args:
        lag: the estimate; inf if no forgetting is the likeliest, NaN if none can be had.
        low: lower end.
        high: upper end; inf if the rows do not rule out that nothing is forgotten.
        retained: R, retention at lag 0 by the same fit.
    """

    lag: float = _NAN
    low: float = _NAN
    high: float = _NAN
    retained: float = _NAN

    def label(self, lived: int) -> str:
        """Return it in words.

        Args:
            lived: longest lag among the rows; a half-life beyond it is not seen, only bounded.
        """
        if math.isnan(self.lag):
            return "-"
        if self.lag > lived:
            return f"> {lived} (longest lag lived)" if self.low > lived else f"> {self.low:.3g}"
        high = f"{self.high:.3g}" if self.high <= lived else f"> {lived}"
        return f"{self.lag:.3g} ({self.low:.3g} to {high})"


def half_life(
    lag: NDArray[Any],
    score: NDArray[Any],
    forgetful: NDArray[Any] | float,
    best: NDArray[Any] | float = 1.0,
    *,
    effective: float = 1.0,
) -> HalfLife:
    """Return the half-life of greatest likelihood.

        E[score] = forgetful + (best - forgetful) · R · 2^(-lag / h),    0 ≤ R ≤ 1

    with scores between 0 and 1: Bernoulli's likelihood, a quasi-likelihood where they are not 0 or 1. The interval is
    that of the profile likelihood over h, and open above where h = ∞ lies in it (a censored observation). There is no
    half-life where R = 0, "never leaves chance", is not ruled out.

    Args:
        lag: [rows] episodes since the task was last met, at least 1.
        score: [rows] between 0 and 1.
        forgetful: [rows] or one, expected score of a policy that forgets; e.g. chance, 1 / answers.
        best: [rows] or one, of the best policy that does not.
        effective: share of the rows that independent ones would be worth.

    Source: Ebbinghaus 1885; maximum likelihood of P = q + (1 - q) / A with q = R 2^(-lag / h).
    """
    lag = np.asarray(lag, np.float64)
    if not lag.size:
        return HalfLife()
    columns = [np.broadcast_to(np.asarray(column, np.float64), lag.shape) for column in (score, forgetful, best)]
    different, place = np.unique(lag, return_inverse=True)
    if different.size > _MOST:
        place = np.unique(np.rint(np.log2(lag) * _PER_OCTAVE), return_inverse=True)[1]
    n = np.bincount(place).astype(np.float64)
    at, right, base, top = (np.bincount(place, column) / n for column in (lag, *columns))
    n = n * effective
    lags = np.geomspace(0.25, 64.0 * at.max(), int(_GRID * math.log2(256.0 * at.max())) + 1)
    tried = np.append(lags, np.inf)
    decay = (top - base) * 2.0 ** (-at / tried[:, None])  # [tried, bins]

    retained = _likeliest(n, right, base, decay)
    profile = _log_likelihood(n, right, base, decay, retained)
    most = int(profile.argmax())
    nothing = float(_log_likelihood(n, right, base, decay[:1], np.zeros(1))[0])
    if profile[most] - nothing < _DROP:
        return HalfLife()
    inside = np.flatnonzero(profile >= profile[most] - _DROP)
    best_lag, low, high = (float(tried[i]) for i in (most, inside[0], inside[-1]))
    return HalfLife(best_lag, low, high, float(retained[most]))


def _likeliest(n: Floats, right: Floats, base: Floats, decay: Floats) -> Floats:
    """Return [tried] the R in [0, 1] of greatest log-likelihood, a concave function of R: bisection of its slope."""
    low, high = np.zeros(len(decay)), np.ones(len(decay))
    for _ in range(40):
        middle = (low + high) / 2
        p = np.clip(base + decay * middle[:, None], 1e-9, 1 - 1e-9)
        rising = (n * decay * (right / p - (1 - right) / (1 - p))).sum(1) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return (low + high) / 2


def _log_likelihood(n: Floats, right: Floats, base: Floats, decay: Floats, retained: Floats) -> Floats:
    p = np.clip(base + decay * retained[:, None], 1e-9, 1 - 1e-9)
    total: Floats = (n * (right * np.log(p) + (1 - right) * np.log1p(-p))).sum(1)
    return total
