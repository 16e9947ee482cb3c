"""Half-life of a memory: the lag after which half of what was known is forgotten, by maximum likelihood."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lifelong.experiments.metrics.proportions import few_lives

__all__ = ["HalfLife", "half_life"]

Floats = NDArray[np.float64]

_NAN = float("nan")
_MOST, _PER_OCTAVE = 512, 16  # different lags up to which all are told apart; else bins of an octave
_GRID = 32  # half-lives tried per octave, and
_PASSES = 8  # finer ones between the ends of the interval, until it is wide enough for the grid
_DROP = float(special.gammaincinv(0.5, 0.95))  # half of χ²(1): of the log-likelihood, at the ends of a 95 % interval
_LEAST = float(special.gammaincinv(0.5, 0.99))  # gain of log-likelihood over R = 0 below which nothing is retained


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
    life: NDArray[Any] | None = None,
) -> HalfLife:
    """Return the half-life of greatest likelihood.

        E[score] = forgetful + (best - forgetful) · R · 2^(-lag / h),    0 ≤ R ≤ 1

    with scores between 0 and 1: Bernoulli's likelihood, a quasi-likelihood where they are not 0 or 1. The interval is
    that of the profile likelihood over h, and open above where h = ∞ lies in it (a censored observation). Where lives
    differ more than independent rows would, the log-likelihood is divided by their dispersion (`_dispersions`). No
    half-life can be had where R = 0, "never leaves chance", is not ruled out at the 1 % level.

    Args:
        lag: [rows] episodes since the task was last met, at least 1.
        score: [rows] between 0 and 1.
        forgetful: [rows] or one, expected score of a policy that forgets; e.g. chance, 1 / answers.
        best: [rows] or one, of the best policy that does not.
        life: [rows] number of the life; None if all rows are independent.

    Source: Ebbinghaus 1885; maximum likelihood of P = q + (1 - q) / A with q = R 2^(-lag / h).
    """
    lag = np.asarray(lag, np.float64)
    if not lag.size:
        return HalfLife()
    rows = [np.broadcast_to(np.asarray(column, np.float64), lag.shape) for column in (score, forgetful, best)]
    different, place = np.unique(lag, return_inverse=True)
    if different.size > _MOST:
        place = np.unique(np.rint(np.log2(lag) * _PER_OCTAVE), return_inverse=True)[1]
    n = np.bincount(place).astype(np.float64)
    at, right, base, top = (np.bincount(place, column) / n for column in (lag, *rows))

    def profile(tried: Floats) -> tuple[Floats, Floats]:
        """Return [tried] log-likelihood and R."""
        decay = (top - base) * 2.0 ** (-at / tried[:, None])  # [tried, bins]
        retained = _likeliest(n, right, base, decay)
        return _log_likelihood(n, right, base, decay, retained), retained

    tried = np.append(np.geomspace(0.25, 64.0 * at.max(), int(_GRID * math.log2(256.0 * at.max())) + 1), np.inf)
    height, retained = profile(tried)
    most = int(height.argmax())
    gained = height[most] - float(_log_likelihood(n, right, base, np.zeros((1, n.size)), np.zeros(1))[0])
    if gained < _LEAST:
        return HalfLife()
    some = more = 1.0
    if life is not None:
        some, more = _dispersions(life, lag, *rows, retained=retained[most], h=tried[most])
    if gained < _LEAST * some:
        return HalfLife()
    inside = np.flatnonzero(height >= height.max() - _DROP * more)
    for _ in range(_PASSES):
        first, last = max(int(inside[0]) - 1, 0), min(int(inside[-1]) + 1, tried.size - 1)
        if inside.size >= _GRID // 2 or math.isinf(tried[last]):
            break
        tried = np.geomspace(tried[first], tried[last], 2 * _GRID)
        height, retained = profile(tried)
        inside = np.flatnonzero(height >= height.max() - _DROP * more)
    most = int(height.argmax())
    lowest = tried[inside[0]] if math.isfinite(tried[inside[0]]) else tried[-2]  # beyond the largest that was tried
    return HalfLife(*(float(value) for value in (tried[most], lowest, tried[inside[-1]], retained[most])))


def _dispersions(
    life: NDArray[Any], lag: Floats, score: Floats, forgetful: Floats, best: Floats, *, retained: float, h: float
) -> tuple[float, float]:
    """Return how much more lives differ than independent rows would, in what decides about R, and in what does about h.

        φ = max(1, L / (L - 1) · Σ_l u_l² / Σ_l I_l · (t_{L-1} / z)²)

    with the score u and the information I of the rows of life l at the fit, for R, and for 1/h less what R explains.

    Source: Chandler and Bate 2007, doi:10.1093/biomet/asm015 (a log-likelihood adjusted to clusters).
    """
    lives, unit = np.unique(life, return_inverse=True)
    if lives.size < 2:
        return 1.0, 1.0
    decay = (best - forgetful) * 2.0 ** (-lag / h)
    expected = np.clip(forgetful + retained * decay, 1e-9, 1 - 1e-9)
    weight = 1 / (expected * (1 - expected))

    def dispersion(slope: Floats) -> float:
        information = float((weight * slope**2).sum())
        between = float((np.bincount(unit, weight * slope * (score - expected)) ** 2).sum()) * lives.size
        return max(1.0, between / (lives.size - 1) / information / float(few_lives(lives.size))) if information else 1.0

    explained = float((weight * lag * decay**2).sum() / (weight * decay**2).sum())
    return dispersion(decay), dispersion((lag - explained) * decay)


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
