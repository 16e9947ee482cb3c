"""Statistics over training seeds: what a claim about a memory may be made from.

| seeds | said |
| --- | --- |
| 1 | the point; no interval |
| 2 | the points and their mean; no interval |
| 3 to 9 | the points, their mean, its 95 % t interval |
| 10 and more | their mean, its 95 % bootstrap interval over seeds |

A t interval is cut at the largest value that can be. Where seeds fall in two groups their mean is of none of them: then
there is no interval, but the share that took off and the interquartile mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from lifelong.experiments.metrics.aggregate import interquartile_mean
from lifelong.experiments.metrics.bootstrap import stratified_interval

__all__ = ["FEW", "OverSeeds", "over_seeds"]

FEW = 10
"""Seeds below which the points are shown."""
_LEAST = 3  # for an interval
_BEYOND = 0.5  # of 0 and 1, where normalised scores still lie
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A number over seeds.

    Args:
        points: of each seed; NaN where it has none.
        mean: of the points; NaN if a seed has none.
        low: lower end of the 95 % interval of the mean; NaN without one.
        high: upper end.
        kind: of the interval; empty without one.
        reason: why there is no interval or no mean, in words; empty if there is one.
    """

    points: tuple[float, ...]
    mean: float
    low: float = _NAN
    high: float = _NAN
    kind: Literal["", "t", "bootstrap"] = ""
    reason: str = ""

    def label(self, digits: int = 3) -> str:
        """Return mean and interval as text, `-` without a mean."""
        if math.isnan(self.mean):
            return "-"
        ends = "" if math.isnan(self.low) else f" ({self.low:.{digits}f} to {self.high:.{digits}f})"
        return f"{self.mean:.{digits}f}{ends}"

    def listed(self, digits: int = 3) -> str:
        """Return the points as text, `-` for a seed without one; of many the least and the greatest."""
        if all(map(math.isnan, self.points)):
            return "-"
        if len(self.points) >= FEW and not math.isnan(self.mean):
            return f"{min(self.points):.{digits}f} to {max(self.points):.{digits}f}"
        return " ".join("-" if math.isnan(point) else f"{point:.{digits}f}" for point in self.points)


def over_seeds(points: Sequence[float], most: float = math.inf, *, groups: bool = True) -> OverSeeds:
    """Return what may be said of a number over seeds.

    Args:
        points: of each seed; NaN where it has none.
        most: largest value there can be, where an interval is cut.
        groups: whether they are scores, which may fall in two groups; not of differences.
    """
    values = np.asarray(points, np.float64)
    given = tuple(map(float, values))
    missing = int(np.isnan(values).sum())
    if missing:
        said = f"{missing} of {values.size} seeds have no value" if missing < values.size else "no seed has a value"
        return OverSeeds(given, _NAN, reason=said)
    mean = float(values.mean()) if values.size else _NAN
    if values.size < _LEAST:
        said = "one seed: no interval" if values.size == 1 else f"{values.size} seeds: too few for an interval"
        return OverSeeds(given, mean, reason=said)
    if groups and (off := _took_off(values)):
        iqm = float(interquartile_mean(values))
        said = f"{off} of {values.size} seeds took off, the others stayed behind: no interval; IQM {iqm:.3f}"
        return OverSeeds(given, mean, reason=said)
    top = max(most, float(values.max()))
    if values.size >= FEW:
        low, high = stratified_interval(values[:, None], lambda drawn: drawn.mean((1, 2)))
        return OverSeeds(given, mean, low, min(high, top), "bootstrap")
    half = float(special.stdtrit(values.size - 1, 0.975)) * float(values.std(ddof=1)) / math.sqrt(values.size)
    return OverSeeds(given, mean, mean - half, min(mean + half, top), "t")


def _took_off(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> int:
    """Return how many of the values are above a gap that parts them in two groups; 0 if nothing does.

    A gap parts them if it is at least 0.3 wide and more than half of the way from the least to the greatest, of scores
    from 0, nothing, to 1, all: of returns nobody knows what is wide.
    """
    if values.min() < -_BEYOND or values.max() > 1 + _BEYOND:
        return 0
    ordered = np.sort(values)
    gaps = np.diff(ordered)
    widest = int(gaps.argmax())
    parted = gaps[widest] >= 0.3 and gaps[widest] > 0.5 * (ordered[-1] - ordered[0])
    return int(values.size - widest - 1) if parted else 0
