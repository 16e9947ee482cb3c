"""Retention: performance on a task as a function of the lag since it was last met.

Pure functions of the episodes table (`runs/episodes.py`). Lags count episodes and are gathered in bins
1, 2-3, 4-7, 8-15, ...

Two kinds of feedback need two measures, both 0 for an agent without memory and 1 for a perfect one:

| kind | stream | retention rho in a lag bin |
| --- | --- | --- |
| recall | the answer was revealed at the last meeting | (P(correct) - chance) / (1 - chance) of tasks met before |
| stay_shift | reward-only feedback | P(same answer, if rewarded last time) - P(same answer, if not) |

The usual "correct now, given correct last time" is not among them: a policy with a fixed answer to each cue scores 1
on it without any memory. Here it scores 0, as do one constant answer and random answers.

Rows of one life depend on each other, so intervals resample whole lives: 95 % percentile bootstrap. It needs dozens of
lives; one endless life gives no interval, and an agent without errors one of width 0.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Kind",
    "RetentionCurve",
    "Rows",
    "area_under_retention",
    "bin_edges",
    "bin_label",
    "bootstrap",
    "half_life",
    "interquartile_mean",
    "join_runs",
    "lag_bins",
    "memory_index",
    "memory_index_interval",
    "percentile_interval",
    "previous_meeting",
    "recall_curve",
    "stay_shift_curve",
    "stratified_interval",
]

Kind = Literal["recall", "stay_shift"]
Rows = Mapping[str, NDArray[Any]]
"""Columns of the episodes table by name, all of one length."""
Floats = NDArray[np.float64]

_GROUPS = 512  # groups of lives to resample; more lives are summed into groups first
_NAN = float("nan")


# ---- lag bins -------------------------------------------------------------------------------------------------------


def lag_bins(lag: NDArray[Any]) -> NDArray[np.int64]:
    """Return the bin of each lag: floor(log2(lag)), and -1 for lags below 1 (never met)."""
    return np.where(lag >= 1, np.frexp(np.maximum(lag, 1))[1] - 1, -1).astype(np.int64)


def bin_edges(number: int) -> tuple[int, int]:
    """Return the smallest and the largest lag of a bin."""
    return 2**number, 2 ** (number + 1) - 1


def bin_label(number: int) -> str:
    """Return the label of a bin: 1, 2-3, 4-7, ..."""
    low, high = bin_edges(number)
    return f"{low}" if low == high else f"{low}-{high}"


# ---- the curve ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RetentionCurve:
    """Retention by lag; entry k of each tuple belongs to the bin of lags 2^k to 2^(k+1) - 1.

    Args:
        kind: the measure rho, see the module.
        rho: retention; NaN in bins with fewer than `minimum` rows.
        low: lower end of rho's 95 % interval, NaN without one.
        high: upper end.
        score: P(correct) of the same rows.
        count: rows behind rho; with `stay_shift` the smaller of its two groups, which determines rho's accuracy.
        area: mean of rho over its bins.
        area_low: lower end of the area's interval.
        area_high: upper end.
        minimum: count below which a bin has no rho.
    """

    kind: Kind
    rho: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    score: tuple[float, ...]
    count: tuple[int, ...]
    area: float
    area_low: float
    area_high: float
    minimum: int

    @property
    def bins(self) -> tuple[str, ...]:
        """Labels of the bins."""
        return tuple(map(bin_label, range(len(self.rho))))

    @property
    def lag(self) -> tuple[int, ...]:
        """Smallest lag of each bin, in episodes."""
        return tuple(2**k for k in range(len(self.rho)))

    @property
    def half_life(self) -> int | None:
        """Smallest lag of the first bin with rho <= 0.5; None, "longer than measured", if there is none."""
        return half_life(self)

    @property
    def half_life_label(self) -> str:
        """Label of the half-life; "> longest lag measured" if it is longer."""
        measured = [k for k, rho in enumerate(self.rho) if not math.isnan(rho)]
        if not measured:
            return "not measured"
        return f"> {bin_edges(measured[-1])[1]}" if self.half_life is None else f"{self.half_life}"

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """Return rows of text, the heading first: lag, retention, 95 % interval, P(correct), count."""

        def number(value: float) -> str:
            return "-" if math.isnan(value) else f"{value:.3f}"

        def interval(low: float, high: float) -> str:
            return "-" if math.isnan(low) else f"{low:.3f} to {high:.3f}"

        lines = [("lag (episodes)", "retention", "95 % interval", "P(correct)", "count")]
        for k, label in enumerate(self.bins):
            ends = interval(self.low[k], self.high[k])
            lines.append((label, number(self.rho[k]), ends, number(self.score[k]), f"{self.count[k]}"))
        lines.append(("area", number(self.area), interval(self.area_low, self.area_high), "", ""))
        lines.append(("half-life", self.half_life_label, "", "", ""))
        return lines

    def to_json(self) -> str:
        """Return the curve as JSON; what is not known (NaN) becomes null."""

        def plain(value: Any) -> Any:
            if isinstance(value, tuple):
                return [plain(entry) for entry in value]
            return None if isinstance(value, float) and math.isnan(value) else value

        return json.dumps({name: plain(value) for name, value in asdict(self).items()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""

        def back(value: Any) -> Any:
            if isinstance(value, list):
                return tuple(back(entry) for entry in value)
            return _NAN if value is None else value

        return cls(**{name: back(value) for name, value in json.loads(text).items()})


def recall_curve(
    rows: Rows,
    chance: float,
    *,
    where: NDArray[np.bool_] | None = None,
    minimum: int = 30,
    resamples: int = 1000,
    seed: int = 0,
) -> RetentionCurve:
    """Compute retention where the answer was revealed at the last meeting.

    Args:
        rows: `life`, `lag_episodes`, `success` (1 or 0; rows with NaN do not count).
        chance: P(correct) without memory, 1 / answers.
        where: [rows] the rows to count; None is all.
        minimum: rows below which a bin has no rho.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of the bootstrap.

    Returns:
        The curve over as many bins as there are lags.
    """
    success = rows["success"]
    counted = (rows["lag_episodes"] >= 1) & ~np.isnan(success)
    if where is not None:
        counted &= where
    sums = _sums(rows["life"][counted], rows["lag_episodes"][counted], [None, success[counted]])

    def rho(sums: Floats) -> Floats:
        return (_ratio(sums[..., 1], sums[..., 0]) - chance) / (1.0 - chance)

    total = sums.sum(0)
    score = _ratio(total[:, 1], total[:, 0])
    return _curve("recall", sums, rho, score, total[:, 0], minimum, resamples, seed)


def stay_shift_curve(
    rows: Rows,
    *,
    where: NDArray[np.bool_] | None = None,
    minimum: int = 30,
    resamples: int = 1000,
    seed: int = 0,
) -> RetentionCurve:
    """Compute retention under reward-only feedback: win-stay minus lose-stay.

    Args:
        rows: `life`, `episode`, `task`, `lag_episodes`, `answer`, `success` (rewarded or not), and `mode` if there are
            several. A row counts if its task's last meeting is in the table too.
        where: [rows] the rows to count; all of them serve as last meetings. None is all.
        minimum: rows of either group (rewarded, not rewarded last time) below which a bin has no rho.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of the bootstrap.

    Returns:
        The curve over as many bins as there are lags.
    """
    before = previous_meeting(rows)
    success, answer = rows["success"], rows["answer"]
    counted = (before >= 0) & ~np.isnan(success) & ~np.isnan(success[before]) & (answer >= 0)
    if where is not None:
        counted &= where
    now = np.flatnonzero(counted)
    last = before[now]
    won = success[last] > 0.5
    stayed = answer[now] == answer[last]
    sums = _sums(rows["life"][now], rows["lag_episodes"][now], [None, success[now], won, won & stayed, stayed])

    def rho(sums: Floats) -> Floats:
        met, won, stayed_won, stayed = (sums[..., i] for i in (0, 2, 3, 4))
        return _ratio(stayed_won, won) - _ratio(stayed - stayed_won, met - won)

    total = sums.sum(0)
    score = _ratio(total[:, 1], total[:, 0])
    return _curve(
        "stay_shift", sums, rho, score, np.minimum(total[:, 2], total[:, 0] - total[:, 2]), minimum, resamples, seed
    )


def previous_meeting(rows: Rows) -> NDArray[np.int64]:
    """Return for each row the index of the row in which its life last met its task; -1 if that is not in the table.

    Args:
        rows: `life`, `episode`, `task`, `lag_episodes`, and `mode` if there are several, in any order.
    """
    life, episode, task = (rows[name].astype(np.int64) for name in ("life", "episode", "task"))
    mode = rows["mode"].astype(np.int64) if "mode" in rows else np.zeros_like(life)
    before = np.full(life.size, -1, np.int64)
    if not life.size:
        return before
    sizes = [int(column.max()) + 1 for column in (mode, life, task, episode)]
    if math.prod(sizes) < 2**63:  # one sort of integers is several times faster than one by four columns
        order = np.argsort(((mode * sizes[1] + life) * sizes[2] + task) * sizes[3] + episode)
    else:
        order = np.lexsort((episode, task, life, mode))
    earlier, later = order[:-1], order[1:]
    same = (life[earlier] == life[later]) & (task[earlier] == task[later]) & (mode[earlier] == mode[later])
    same &= episode[later] - episode[earlier] == rows["lag_episodes"][later]  # otherwise rows between them are missing
    before[later[same]] = earlier[same]
    return before


def area_under_retention(rho: Sequence[float] | Floats) -> float:
    """Return the mean of rho over the bins that have one; NaN if none has."""
    known = np.asarray(rho, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else _NAN


def half_life(curve: RetentionCurve) -> int | None:
    """Return the smallest lag of the first bin with rho <= 0.5, in episodes; None if there is none: censored."""
    return next((lag for lag, rho in zip(curve.lag, curve.rho, strict=True) if rho <= 0.5), None)


# ---- the memory index -----------------------------------------------------------------------------------------------


def memory_index(rows: Rows, where: NDArray[np.bool_] | None = None) -> float:
    """Compute m = (J - J_within) / (J_cross - J_within): 0 is the best policy without memory, 1 the best with it.

    Args:
        rows: `return`, `within`, `cross`.
        where: [rows] the rows to count; None is all.

    Returns:
        m of the mean returns; NaN if a reference is not known, if both are equal, or without rows.
    """
    everything = np.ones(rows["return"].shape, np.bool_) if where is None else where
    sums = [rows[name][everything].sum(dtype=np.float64) for name in ("return", "within", "cross")]
    return float(_index(np.array(sums)))


def memory_index_interval(
    rows: Rows, where: NDArray[np.bool_] | None = None, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `memory_index`, resampling the `life` of the rows."""
    draws = bootstrap(_index_sums(rows, where), _index, resamples=resamples, seed=seed)
    low, high = percentile_interval(draws)
    return float(low), float(high)


def _index_sums(rows: Rows, where: NDArray[np.bool_] | None) -> Floats:
    columns = [rows[name] if where is None else rows[name][where] for name in ("life", "return", "within", "cross")]
    return _grouped(columns[0], np.zeros(columns[0].size, np.int64), 1, columns[1:])[:, 0]


def _index(sums: Floats) -> Floats:
    return _ratio(sums[..., 0] - sums[..., 1], sums[..., 2] - sums[..., 1])


# ---- intervals ------------------------------------------------------------------------------------------------------


def bootstrap(
    sums: Floats, statistic: Callable[[Floats], Floats], *, resamples: int = 1000, seed: int | np.random.Generator = 0
) -> Floats:
    """Bootstrap a statistic of sums over independent units (lives, groups of lives, seeds).

    Args:
        sums: [units, ...] summands of the units.
        statistic: of sums [resamples, ...] over units; returns [resamples, ...].
        resamples: number of draws.
        seed: of the draws.

    Returns:
        [resamples, ...] the resampled statistic.
    """
    units = len(sums)
    if not units:
        return statistic(np.full((resamples, *sums.shape[1:]), np.nan))
    weights = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples)
    drawn = weights.astype(np.float64) @ sums.reshape(units, -1)
    return statistic(drawn.reshape(resamples, *sums.shape[1:]))


def percentile_interval(draws: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return the ends [...] of the percentile interval of draws [resamples, ...]; NaN where a quarter is not known."""
    tail = (1.0 - level) / 2.0
    usable = np.isfinite(draws).mean(0) > 0.75  # NaN where rows are so few that resamples often miss them all
    ends = np.nanquantile(np.where(usable, draws, 0.0), [tail, 1.0 - tail], axis=0)
    low, high = np.where(usable, ends, np.nan)
    return low, high


def interquartile_mean(scores: NDArray[Any], axis: int | tuple[int, ...] | None = None) -> Floats:
    """Compute the interquartile mean (IQM) of the scores; with `axis` over these axes only."""
    ordered = np.asarray(scores, np.float64)
    if axis is not None:
        axes = (axis,) if isinstance(axis, int) else axis
        ordered = np.moveaxis(ordered, axes, range(-len(axes), 0))
        ordered = ordered.reshape(*ordered.shape[: ordered.ndim - len(axes)], -1)
    else:
        ordered = ordered.reshape(-1)
    ordered = np.sort(ordered, axis=-1)
    cut = ordered.shape[-1] // 4
    return np.asarray(ordered[..., cut : ordered.shape[-1] - cut].mean(-1))


def stratified_interval(
    scores: NDArray[Any],
    statistic: Callable[[Floats], Floats] = lambda scores: interquartile_mean(scores, (-2, -1)),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a statistic over seeds, seeds resampled within each task.

    Args:
        scores: [seeds, tasks].
        statistic: of scores [resamples, seeds, tasks]; returns [resamples].
        resamples: number of draws.
        seed: of the draws.
    """
    seeds, tasks = scores.shape
    chosen = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds, tasks))
    low, high = percentile_interval(statistic(np.asarray(scores, np.float64)[chosen, np.arange(tasks)]))
    return float(low), float(high)


def join_runs(tables: Iterable[Rows]) -> dict[str, NDArray[Any]]:
    """Concatenate the tables of several runs (seeds); lives are renumbered to stay distinct."""
    joined: list[dict[str, NDArray[Any]]] = []
    lives = 0
    for table in tables:
        joined.append({**table, "life": table["life"] + lives})
        lives += int(table["life"].max()) + 1 if table["life"].size else 0
    shared = [name for name in joined[0] if all(name in table for table in joined)] if joined else []
    return {name: np.concatenate([table[name] for table in joined]) for name in shared}


# ---- sums -----------------------------------------------------------------------------------------------------------


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """Return top / bottom, NaN where bottom is 0."""
    ratio = np.full(np.shape(bottom), np.nan)
    np.divide(top, bottom, out=ratio, where=np.asarray(bottom) != 0)
    return ratio


def _sums(life: NDArray[Any], lag: NDArray[Any], columns: Sequence[NDArray[Any] | None]) -> Floats:
    """Return the sums of columns (None counts rows) by group of lives and lag bin, [groups, bins, columns]."""
    bins = lag_bins(lag)
    return _grouped(life, bins, int(bins.max()) + 1 if bins.size else 0, columns)


def _grouped(life: NDArray[Any], bins: NDArray[np.int64], size: int, columns: Sequence[NDArray[Any] | None]) -> Floats:
    group = life.astype(np.int64) % _GROUPS
    cell = group * size + bins
    sums = [np.bincount(cell, weights=column, minlength=_GROUPS * size) for column in columns]
    stacked = np.stack(sums, -1).astype(np.float64).reshape(_GROUPS, size, len(columns))
    return stacked[np.bincount(group, minlength=_GROUPS) > 0]


def _curve(
    kind: Kind,
    sums: Floats,
    rho: Callable[[Floats], Floats],
    score: Floats,
    count: Floats,
    minimum: int,
    resamples: int,
    seed: int,
) -> RetentionCurve:
    """Build a curve from sums [groups, bins, columns] and the function from sums to rho [..., bins]."""
    measured = count >= max(minimum, 1)
    value = np.where(measured, rho(sums.sum(0)), np.nan)
    low = high = np.full(value.shape, np.nan)
    area_low = area_high = np.array(np.nan)
    if resamples and measured.any():
        draws = bootstrap(sums, rho, resamples=resamples, seed=seed)
        low, high = (np.where(measured, end, np.nan) for end in percentile_interval(draws))
        known = ~np.isnan(draws) & measured
        area_low, area_high = percentile_interval(
            _ratio(np.where(known, draws, 0.0).sum(-1), known.sum(-1).astype(float))
        )
    return RetentionCurve(
        kind=kind,
        rho=tuple(value.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        score=tuple(score.tolist()),
        count=tuple(count.astype(np.int64).tolist()),
        area=area_under_retention(value),
        area_low=float(area_low),
        area_high=float(area_high),
        minimum=minimum,
    )
