"""Interference: what is left of tasks met before, after n steps of noise or of a foreign task.

    rho(n) = Σ (score_n - forgetful) / Σ (best - forgetful),     loss(n) = rho(0) - rho(n)

Rows are answers to the same questions in the same lives, asked of a memory that went through n steps of something
else. So rho(0) is what the memory retains undisturbed, and loss is a difference of pairs. Scores and references are
those of `curve.py`: `recall`, success between chance and 1; `index`, the return between that of the best policy without
a memory and that of the best with one.

With a foreign task loss is *retroactive interference*; where it is nearly all, *catastrophic interference*. Steps of
noise hold nothing worth keeping: a memory that does not write them loses nothing.

Source: McGeoch 1932, "Forgetting and the law of disuse", Psychol. Rev. 39, 352 (not time forgets, but what comes
between); McCloskey and Cohen 1989, "Catastrophic interference in connectionist networks".
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lifelong.experiments.metrics.proportions import effective_count, wilson_interval
from lifelong.experiments.metrics.rows import Rows

__all__ = ["InterferenceCurve", "interference_curve"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class InterferenceCurve:
    """Retention after n steps of something else; one entry for each n.

    Args:
        measure: what scores are, see the module.
        steps: n, the first is 0.
        rho: retention; NaN with fewer than `minimum` rows.
        low: lower end of rho's 95 % interval.
        high: upper end.
        loss: rho(0) - rho(n), of the same questions.
        loss_low: lower end of loss's 95 % interval, over lives.
        loss_high: upper end.
        score: mean score.
        count: questions asked.
        reason: why there is no curve, as a sentence; empty if there is one.
    """

    measure: Literal["recall", "index"]
    steps: tuple[int, ...]
    rho: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    loss: tuple[float, ...]
    loss_low: tuple[float, ...]
    loss_high: tuple[float, ...]
    score: tuple[float, ...]
    count: tuple[int, ...]
    reason: str = ""

    @property
    def half(self) -> int | None:
        """The first n at which no more than half of rho(0) is left; None if there is none, or nothing was retained."""
        pairs = zip(self.steps, self.rho, strict=True)
        return next((n for n, rho in pairs if rho <= self.rho[0] / 2), None) if self.retained else None

    @property
    def retained(self) -> bool:
        """Whether anything was retained before the disturbance: the interval of rho(0) lies above 0."""
        return bool(self.low) and self.low[0] > 0.0


def interference_curve(
    rows: Rows, measure: Literal["recall", "index"], chance: float = 0.0, *, minimum: int = 30
) -> InterferenceCurve:
    """Return retention by steps of something else, and what is lost.

    Args:
        rows: `disturbed` (n), `life`, `task`, and `success`, or `return`, `within` and `cross`. Every question, a task
            of a life, is there once for each n; rows without references do not count.
        measure: see the module.
        chance: P(success) without a memory; for `recall`.
        minimum: rows below which there is no value.

    Raises:
        ValueError: if the questions differ between two n.
    """
    score, forgetful, best = _scores(rows, measure, chance)
    known = ~np.isnan(score) & ~np.isnan(forgetful) & ~np.isnan(best)
    rows = {name: rows[name][known] for name in ("disturbed", "life", "task")}
    score, forgetful, best = score[known], forgetful[known], best[known]
    steps, number = np.unique(rows["disturbed"], return_inverse=True)
    questions = np.unique(np.stack([rows["life"], rows["task"]]), axis=1).shape[1]
    if questions * steps.size != number.size or (np.bincount(number) != questions).any():
        raise ValueError(f"every question must be asked once for each n: {questions} questions, {steps.size} n, "
                         f"{number.size} rows")  # fmt: skip
    lives, life = np.unique(rows["life"], return_inverse=True)

    def sums(column: NDArray[Any] | None) -> Floats:  # [lives, n]
        cells = np.bincount(life * steps.size + number, column, lives.size * steps.size)
        return cells.reshape(lives.size, steps.size).astype(np.float64)

    low = min(0.0, float(score.min(initial=0.0)), float(forgetful.min(initial=0.0)))
    high = max(1.0, float(score.max(initial=1.0)), float(best.max(initial=1.0)))
    counts, scored, base, top = sums(None), sums(score), sums(forgetful), sums(best)
    n = counts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        span = np.where(n >= minimum, (top - base).sum(0) / n, np.nan)
        span = np.where(span > 0, span, np.nan)
        rho = (scored - base).sum(0) / n / span
        unit, expected = (scored - low * counts) / (high - low), base + rho * (top - base)
        worth = effective_count(unit, counts, (expected - low * counts) / (high - low))
        ends = wilson_interval(unit.sum(0) / n, worth)
        interval = [(low + end * (high - low) - base.sum(0) / n) / span for end in ends]
        loss = rho[:1] - rho
        margins = [_margin(scored[:, 0] - scored[:, k], (top - base)[:, k], n[k]) for k in range(steps.size)]
        mean = scored.sum(0) / n
    return InterferenceCurve(
        measure=measure,
        steps=tuple(steps.tolist()),
        rho=_floats(rho),
        low=_floats(interval[0]),
        high=_floats(interval[1]),
        loss=_floats(loss),
        loss_low=_floats(loss - margins),
        loss_high=_floats(loss + margins),
        score=_floats(mean),
        count=tuple(n.astype(int).tolist()),
        reason="" if np.isfinite(rho).any() else "too few questions of tasks met before",
    )


def _margin(difference: Floats, weight: Floats, pairs: float) -> float:
    """Return half the 95 % interval of d = Σ_l d_l / Σ_l w_l, of pairs in lives.

        t_{L-1} sqrt(L / (L - 1) · Σ_l (d_l - d w_l)²) / Σ_l w_l

    Where all pairs agree no variance is seen, and it is that of Tango's score interval of n pairs without a discordant
    one, z² / (n + z²), for scores of 0 or 1.

    Args:
        difference: [lives] d, sums of differences.
        weight: [lives] w, sums of what they are divided by.
        pairs: n.

    Source: Cochran 1977, Sampling Techniques (ratio estimator); Tango 1998, Statistics in Medicine 17, 891.
    """
    lives, total, tail = difference.size, float(weight.sum()), 0.975
    if lives < 2 or not total > 0:
        return float("nan")
    if not difference.any():
        z = float(special.ndtri(tail))
        return z**2 / (pairs + z**2) * pairs / total
    residuals = difference - difference.sum() / total * weight
    return float(special.stdtrit(lives - 1, tail) * np.sqrt(lives / (lives - 1) * (residuals**2).sum()) / total)


def _floats(column: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in column)


def _scores(rows: Rows, measure: str, chance: float) -> tuple[Floats, Floats, Floats]:
    """Return [rows] score, that of a policy that forgets, and the best."""
    if measure == "recall":
        score = rows["success"].astype(np.float64)
        return score, np.full(score.shape, chance), np.ones(score.shape)
    score, forgetful, best = (rows[name].astype(np.float64) for name in ("return", "within", "cross"))
    return score, forgetful, best
