"""Retention by lag: a score between that of a policy that forgets (0) and that of one that forgets nothing (1).

Every measure gives rows a score and two expectations, and retention in a lag bin is

    rho = Σ (score - forgetful) / Σ (best - forgetful)

| measure | score | forgetful | best |
| --- | --- | --- | --- |
| recall (`recall.py`) | whether the answer was right | chance | 1 |
| index (`index.py`) | return | of the best policy that forgets at every episode's end | of the best that does not |
| gain (`gain.py`) | normalised return, or success | of the task's first meeting | of the last episode of its visits |

Lags count episodes, in bins 1, 2-3, 4-7, 8-15, ..., or each by itself where lags were chosen (probes). An interval is
Wilson's for the mean score, with the number of rows that lives make it worth (`proportions.py`); a bin with fewer than
`minimum` rows has no value.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.half_life import HalfLife, half_life
from lifelong.experiments.metrics.proportions import effective_count, weighted_interval, wilson_interval
from lifelong.experiments.metrics.rows import bin_edges, bin_label, lag_bins

__all__ = ["Measure", "RetentionCurve", "area_under_retention", "number_text", "retention_curve"]

Measure = Literal["recall", "index", "gain", "stay_shift"]
Floats = NDArray[np.float64]

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class RetentionCurve:
    """Retention by lag; entry k of each tuple belongs to the bin of lags 2^k to 2^(k+1) - 1, or to `lags[k]`.

    Args:
        measure: what rho is, see the module.
        rho: retention; NaN in bins with fewer than `minimum` rows.
        low: lower end of rho's 95 % interval, NaN without one.
        high: upper end.
        score: mean score of the same rows.
        count: rows behind rho.
        area: mean of rho over the bins `area_bins`; NaN if one of them has no rho.
        area_low: lower end of the area's interval.
        area_high: upper end.
        area_bins: the first and the last bin of the area.
        minimum: rows below which a bin has no rho.
        half_life: lag, in episodes, after which half is forgotten, and its 95 % interval; NaN if none can be had.
        lived: longest lag among the rows, in episodes.
        reason: why there is no curve, as a sentence; empty if there is one.
        corrected: rho less the transfer that first meetings of other tasks show at the same age; `gain` only.
        lags: exact lags in place of bins; empty with bins.
        load: mean number of different tasks met since, at each of `lags`.
    """

    measure: Measure
    rho: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    score: tuple[float, ...]
    count: tuple[int, ...]
    area: float = _NAN
    area_low: float = _NAN
    area_high: float = _NAN
    area_bins: tuple[int, int] = (0, -1)
    minimum: int = 30
    half_life: HalfLife = field(default_factory=HalfLife)
    lived: int = 0
    reason: str = ""
    corrected: tuple[float, ...] = ()
    lags: tuple[int, ...] = ()
    load: tuple[float, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether any bin has a value."""
        return not all(map(math.isnan, self.rho))

    @property
    def bins(self) -> tuple[str, ...]:
        """Labels of the bins, or of the exact lags."""
        return tuple(map(str, self.lags)) if self.lags else tuple(map(bin_label, range(len(self.rho))))

    @property
    def lag(self) -> tuple[int, ...]:
        """Smallest lag of each bin, or the exact lags, in episodes."""
        return self.lags or tuple(2**k for k in range(len(self.rho)))

    @property
    def area_label(self) -> str:
        """Lags that the area is the mean of: `lags 2 to 127`."""
        first, last = self.area_bins
        if self.lags and last >= first:
            return f"lags {self.lags[first]} to {self.lags[last]}, {last - first + 1} of them"
        return f"lags {bin_edges(first)[0]} to {bin_edges(last)[1]}" if last >= first else "no lags"

    @property
    def half_life_label(self) -> str:
        """Half-life in words: a number with its interval, `> longest lag lived`, or `-`."""
        return self.half_life.label(self.lived)

    def table(self) -> list[tuple[str, ...]]:
        """Return lines of text, the heading first: a line for each bin with rows, the area and the half-life."""
        score = "P(correct)" if self.measure == "recall" else "mean score"
        heading = ["lag (episodes)", "retention", "95 % interval", score, "count"]
        lines: list[list[str]] = []
        for k, label in enumerate(self.bins):
            ends = _interval(self.low[k], self.high[k])
            lines.append([label, number_text(self.rho[k]), ends, number_text(self.score[k]), f"{self.count[k]}"])
            if self.corrected:
                lines[-1].insert(2, number_text(self.corrected[k]))
            if self.load:
                lines[-1].append(f"{self.load[k]:.1f}")
        lines = [line for line, count in zip(lines, self.count, strict=True) if count]
        more, after = [""] if self.corrected else [], [""] if self.load else []
        area = f"area, {self.area_label}" if self.area_bins[1] >= self.area_bins[0] else "area"  # of 0.1: over any bins
        lines.append([area, number_text(self.area), *more, _interval(self.area_low, self.area_high), "", "", *after])
        lines.append(["half-life", self.half_life_label, *more, "", "", "", *after])
        if self.corrected:
            heading.insert(2, "less transfer")
        if self.load:
            heading.append("load")
        return [tuple(heading), *map(tuple, lines)]

    def to_json(self) -> str:
        """Return the curve as JSON; what is not known (NaN) becomes null, what is not bounded "inf"."""
        return json.dumps({name: _plain(value) for name, value in asdict(self).items()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the curve that `to_json` gave, in this version or in 0.1.

        Raises:
            ValueError: if it is no curve.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or "rho" not in content:
            raise ValueError("a retention curve must be a table with an entry `rho`")
        found = {name: _back(value) for name, value in content.items()}
        found["measure"] = found.pop("kind", found.get("measure"))  # 0.1
        if found["measure"] not in get_args(Measure):
            raise ValueError(f"measure must be one of {', '.join(get_args(Measure))}, got {found['measure']!r}")
        if missing := [name for name in ("low", "high", "score", "count") if name not in found]:
            raise ValueError(f"a retention curve needs {', '.join(missing)}")
        if isinstance(found.get("half_life"), dict):
            found["half_life"] = HalfLife(**found["half_life"])
        return cls(**{entry.name: found[entry.name] for entry in fields(cls) if entry.name in found})


def retention_curve(
    measure: Measure,
    life: NDArray[Any],
    lag: NDArray[Any],
    score: NDArray[Any],
    forgetful: NDArray[Any] | float,
    best: NDArray[Any] | float,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    gap: float = 0.0,
    minimum: int = 30,
    exact: bool = False,
) -> RetentionCurve:
    """Return retention by lag, rho = Σ (score - forgetful) / Σ (best - forgetful) in each bin.

    Args:
        measure: name of the measure.
        life: [rows] number of the life; rows of one life depend on each other.
        lag: [rows] episodes since the task was last met, at least 1.
        score: [rows].
        forgetful: [rows] or one, expected score of a policy that forgets.
        best: [rows] or one, expected score of the best policy that does not.
        bounds: least and greatest score there can be, for the intervals.
        gap: least mean of best - forgetful, in parts of the range of `bounds`, for which a bin has a value.
        minimum: rows below which a bin has no value.
        exact: whether each lag is told apart, in place of bins.
    """
    low, high = bounds
    unit = [
        (np.broadcast_to(np.asarray(column, np.float64), lag.shape) - low) / (high - low)
        for column in (score, forgetful, best)
    ]
    lags, place = np.unique(lag, return_inverse=True) if exact else (np.zeros(0, np.int64), lag_bins(lag))
    sums = _sums(life, place, [None, *unit])  # [lives, bins, 4]: rows, scores, forgetful, best
    count, total = sums[..., 0].sum(0), sums.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, base, top = (total[:, i] / count for i in (1, 2, 3))
        span = np.where(top - base > max(gap, 0.0), top - base, np.nan)
    span = np.where(count >= minimum, span, np.nan)
    expected = sums[..., 2] + np.nan_to_num((mean - base) / span) * (sums[..., 3] - sums[..., 2])
    ends = wilson_interval(mean, effective_count(sums[..., 1], sums[..., 0], expected))
    area, area_low, area_high, area_bins = _area(sums, expected, mean, base, span)
    measured = half_life(lag, *unit, life=life)
    return RetentionCurve(
        measure=measure,
        rho=_floats((mean - base) / span),
        low=_floats((ends[0] - base) / span),
        high=_floats((ends[1] - base) / span),
        score=_floats(low + mean * (high - low)),
        count=tuple(count.astype(int).tolist()),
        area=area,
        area_low=area_low,
        area_high=area_high,
        area_bins=area_bins,
        minimum=minimum,
        half_life=measured,
        lived=int(lag.max()) if lag.size else 0,
        reason="" if np.isfinite(span).any() else _why(count, minimum),
        lags=tuple(lags.tolist()),
    )


def area_under_retention(rho: Floats | tuple[float, ...], first: int, last: int) -> float:
    """Return the mean of rho over the bins `first` to `last`; NaN if one of them is absent or has no value."""
    chosen = np.asarray(rho, np.float64)[first : last + 1]
    return float(chosen.mean()) if last >= first and chosen.size == last - first + 1 else _NAN


def _area(
    sums: Floats, expected: Floats, mean: Floats, base: Floats, span: Floats
) -> tuple[float, float, float, tuple[int, int]]:
    """Return the mean of rho over the bins from the first to the last with a value, its interval, and these bins.

    The area is a sum of mean scores, Σ g_k μ_k - Σ g_k base_k with g_k = 1 / (K span_k), and so has Wilson's interval.
    """
    known = np.flatnonzero(np.isfinite(span))
    if not known.size:
        return _NAN, _NAN, _NAN, (0, -1)
    first, last = int(known[0]), int(known[-1])
    chosen = slice(first, last + 1)
    if known.size < last - first + 1:
        return _NAN, _NAN, _NAN, (first, last)
    g = 1.0 / (known.size * span[chosen])
    offset = float((g * base[chosen]).sum())
    low, high = weighted_interval(g, sums[:, chosen, 1], sums[:, chosen, 0], expected[:, chosen])
    return float((g * mean[chosen]).sum()) - offset, low - offset, high - offset, (first, last)


def _sums(life: NDArray[Any], bins: NDArray[Any], columns: list[NDArray[Any] | None]) -> Floats:
    """Return [lives, bins, columns] sums by life and bin; None is the number of rows."""
    width = int(bins.max()) + 1 if bins.size else 0
    lives, unit = np.unique(life, return_inverse=True)
    place = unit * width + bins
    sums = [np.bincount(place, weights=column, minlength=lives.size * width) for column in columns]
    return np.stack(sums, -1).reshape(lives.size, width, len(columns)).astype(np.float64)


def _why(count: Floats, minimum: int) -> str:
    if not count.sum():
        return "no task was met a second time"
    if count.max() < minimum:
        return f"no lag bin has {minimum} rows, the fullest has {int(count.max())}"
    return "a policy that forgets does as well as one that does not"


def _floats(column: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in column)


def number_text(value: float) -> str:
    """Return a number with three decimals; `-` if it is not known (NaN)."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value


def _back(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_back(entry) for entry in value)
    if isinstance(value, dict):
        return {name: _back(entry) for name, entry in value.items()}
    return _NAN if value is None else float("inf") if value == "inf" else value
