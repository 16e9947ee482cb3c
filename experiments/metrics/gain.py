"""Retention by gain: how much of what visits to a task taught is still there on return, for any task with a return.

    rho_i(lag) = (r_i(lag) - n_i) / (p_i - n_i)

with mean scores of task i: naive n_i in its first meeting, proficient p_i in the last episode of its visits (of an
unfinished visit the newest), and r_i in the first episode of a later visit. Tasks count equally. Where p_i - n_i is
below .05, or lives do not show that it is above 0 (one-sided paired t test over lives, Holm over tasks), there is
nothing to remember of task i.

Lag 1 cannot be: a visit that follows another one is of another task, so the lag on return is 2 at least.

An interval is that of the jackknife over lives with t's quantiles, and at either end not closer than Wilson's of the
scores on return alone (`proportions.py`): where all returns succeed a jackknife sees no variance. With 8 lives or more
it covers .93 to 1, the latter where nearly all returns succeed; with fewer there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lifelong.experiments.metrics.aggregate import holm
from lifelong.experiments.metrics.curve import RetentionCurve, area_under_retention
from lifelong.experiments.metrics.half_life import half_life
from lifelong.experiments.metrics.proportions import weighted_interval
from lifelong.experiments.metrics.rows import Rows, lag_bins, next_episode

__all__ = ["Scale", "TaskGain", "gain_curve", "moments", "scores", "task_gains", "transfer_control"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Scale = Literal["normalised", "success", "return"]

_LEAST = 0.05
_LIVES = 8  # fewer have no interval
_GROUPS = 512  # of lives, to leave out; more lives than that are added up first, which costs nothing in width
_AGES = 8  # pieces of the transfer control's function of age
_MOST_ERROR = 0.125  # standard error of the transfer control, over the range of scores, above which it is not known
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class TaskGain:
    """What rows say of one task.

    Args:
        name: of the task.
        episodes: how many.
        first: n, mean score of first meetings; NaN without one.
        last: p, mean score of the last episodes of visits; NaN if no visit ended.
        returned: r, mean score of the first episodes of later visits, by lag bin; NaN in bins without rows.
        count: rows behind `returned`.
        reason: why there is nothing to remember, as a sentence; empty if there is something.
    """

    name: str
    episodes: int
    first: float
    last: float
    returned: tuple[float, ...]
    count: tuple[int, ...]
    reason: str

    @property
    def forgetting(self) -> float:
        """Mean of last - returned over all returns; NaN without one."""
        if not sum(self.count):
            return _NAN
        known = [(value, n) for value, n in zip(self.returned, self.count, strict=True) if n]
        return self.last - sum(value * n for value, n in known) / sum(self.count)


def scores(rows: Rows) -> tuple[NDArray[Any], Scale]:
    """Return the score of each row and its scale: normalised where references are known, else success, else return."""
    for scale in ("normalised", "success"):
        if not np.isnan(rows[scale]).any():
            return rows[scale], scale
    return rows["return"], "return"


def task_gains(rows: Rows, names: Sequence[str] = (), *, minimum: int = 3) -> list[TaskGain]:
    """Return the scores of each task in the rows: first meeting, end of visits, on return by lag.

    Args:
        rows: `life`, `episode`, `task`, `lag_episodes`, `index_in_visit`, `visit`, `return`, `normalised`, `success`,
            and `mode` if there are several. Rows of a life must follow each other for the last ones of visits to count.
        names: of the tasks; those absent are called by their numbers.
        minimum: lives in which a task must be met first and its visit end, for a test.
    """
    score, scale = scores(rows)
    first, last, returned = moments(rows)
    bins = lag_bins(rows["lag_episodes"])
    width = int(bins[returned].max()) + 1 if returned.any() else 0
    tasks = np.unique(rows["task"])
    gained = [_gained(rows, score, first, last, task) for task in tasks]
    tested = [len(difference) >= minimum for difference in gained]
    p = np.ones(tasks.size)
    adjusted = [_p_value(difference) for difference, test in zip(gained, tested, strict=True) if test]
    p[np.flatnonzero(tested)] = holm(np.array(adjusted))
    least = _LEAST * (float(np.ptp(score)) if scale == "return" and score.size else 1.0)
    found = []
    for number, task in enumerate(tasks):
        mine = rows["task"] == task
        n, q = (float(score[mine & chosen].mean()) if (mine & chosen).any() else _NAN for chosen in (first, last))
        count = np.bincount(bins[mine & returned], minlength=width)
        total = np.bincount(bins[mine & returned], weights=score[mine & returned], minlength=width)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / count
        name = str(names[task]) if task < len(names) else f"task {task}"
        taught = q - n >= least and bool(p[number] <= 0.05)
        reason = _reason(n, q, len(gained[number]), minimum, taught, scale)
        found.append(TaskGain(name, int(mine.sum()), n, q, tuple(map(float, mean)), tuple(map(int, count)), reason))
    return found


def gain_curve(
    rows: Rows,
    names: Sequence[str] = (),
    *,
    where: Bools | None = None,
    minimum: int = 8,
) -> RetentionCurve:
    """Return retention by lag, rho_i(lag) = (r_i(lag) - n_i) / (p_i - n_i), as the mean over tasks.

    Args:
        rows: as for `task_gains`.
        names: of the tasks.
        where: [rows] the returns that count; None is all.
        minimum: returns below which a bin has no value.
    """
    if not rows["task"].size:
        return _empty("no episode has ended", minimum)
    gains = task_gains(rows, names)
    tasks = np.unique(rows["task"])
    worth = np.array([not gain.reason for gain in gains], np.bool_)
    if not worth.any():
        reasons = [f"{gain.name}: {gain.reason}" for gain in gains]
        more = [f"{len(reasons) - 3} more"] if len(reasons) > 3 else []
        return _empty(f"nothing to remember: {'; '.join([*reasons[:3], *more])}", minimum)
    first_met, last_met, returned = moments(rows)
    if where is not None:
        returned &= where
    if not (returned & np.isin(rows["task"], tasks[worth])).any():
        return _empty("no task was met in a second visit", minimum)
    score, _ = scores(rows)
    sums = _sums(rows, score, tasks[worth], (first_met, last_met, returned))
    total = sums.sum(0)
    count = total[:, 2:, 0].sum(0)
    rho = np.where(count < minimum, np.nan, _rho(total))
    known = np.flatnonzero(~np.isnan(rho))
    first, last = (int(known[0]), int(known[-1])) if known.size else (0, -1)
    area = area_under_retention(rho, first, last)
    ends = np.full((2, rho.size + 1), np.nan)  # of each bin, and of the area
    if len(sums) >= _LIVES:
        bounds = float(score.min()), float(score.max())
        binary = bool(np.isin(score, bounds).all())
        for k in known:
            ends[:, k] = _interval(sums, slice(k, k + 1), bounds, binary=binary)
        if not np.isnan(area):
            ends[:, -1] = _interval(sums, slice(first, last + 1), bounds, binary=binary)
    known_age = returned & ~np.isnan(control := transfer_control(rows))
    corrected = np.full(rho.shape, np.nan)
    if known_age.any():
        less = np.where(known_age, score - control, score)
        part = _sums(rows, less, tasks[worth], (first_met, last_met, known_age), rho.size).sum(0)
        corrected = np.where(part[:, 2:, 0].sum(0) < minimum, np.nan, _rho(part))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total[:, 2:, 1].sum(0) / count
    number = np.searchsorted(tasks, rows["task"])
    use = returned & worth[number]
    naive, proficient = (np.array([getattr(gain, name) for gain in gains])[number[use]] for name in ("first", "last"))
    columns = np.stack([score[use], naive, proficient])
    unit = (columns - columns.min()) / np.ptp(columns)
    return RetentionCurve(
        measure="gain",
        rho=tuple(map(float, rho)), low=tuple(map(float, ends[0, :-1])), high=tuple(map(float, ends[1, :-1])),
        score=tuple(map(float, mean)), count=tuple(map(int, count)),
        area=area, area_low=float(ends[0, -1]), area_high=float(ends[1, -1]), area_bins=(first, last),
        minimum=minimum,
        half_life=half_life(rows["lag_episodes"][use], *unit, life=rows["life"][use]),
        lived=int(rows["lag_episodes"][use].max()),
        reason="" if known.size else f"no lag bin has {minimum} returns, the fullest has {int(count.max())}",
        corrected=tuple(map(float, corrected)) if not np.isnan(corrected).all() else (),
    )  # fmt: skip


def transfer_control(rows: Rows) -> Floats:
    """Return [rows] how much better first meetings are at the age of each row than at the age its task was first met.

    First meetings of all tasks follow score = task + f(age), by least squares; f is linear between knots, which are
    quantiles of the ages. What a life gains with age without having met a task is transfer, or slow learning, and no
    memory of the task. NaN where it is not known: no chain of tasks that are first met at both ages connects them, none
    is first met so late, or the chain is so weak that the control's standard error is above 1/8 of the scores' range.

    Args:
        rows: `life`, `episode`, `task`, `lag_episodes`, `return`, `normalised`, `success`.
    """
    from scipy.sparse import coo_array, csr_array  # not above: every training imports this module, and few end here
    from scipy.sparse.csgraph import connected_components

    score, _ = scores(rows)
    first = rows["lag_episodes"] < 0
    control = np.full(score.shape, np.nan)
    if not first.any():
        return control
    ages = rows["episode"].astype(np.float64)
    knots = np.unique(np.quantile(ages[first], np.linspace(0, 1, _AGES + 1), method="nearest"))
    late = ages > knots[-1] + (knots[-1] - knots[0]) / _AGES
    tasks, task = np.unique(rows["task"], return_inverse=True)
    N, A = tasks.size, knots.size

    position = np.interp(ages, knots, np.arange(A))
    left, share = np.divmod(position, 1)
    left = left.astype(np.int64)
    right = np.minimum(left + 1, A - 1)
    parts = np.stack([np.ones(ages.size), 1 - share, share], -1)[first]
    places = np.stack([task, N + left, N + right], -1)[first]
    design = csr_array((parts.ravel(), places.ravel(), np.arange(0, parts.size + 1, 3)), shape=(len(parts), N + A))
    inverse = np.linalg.pinv((design.T @ design).toarray(), hermitian=True)
    fitted = inverse @ (design.T @ score[first])
    f = np.interp(position, np.arange(A), fitted[N:])
    met = np.maximum(np.bincount(task[first], minlength=N), 1)
    at_first = np.bincount(task[first], f[first], N) / met

    weights = np.zeros((ages.size, A))  # f(age) = weights @ fitted[N:]
    weights[np.arange(ages.size), left] = 1 - share
    weights[np.arange(ages.size), right] += share
    mean_first = coo_array((1 / met[task[first]], (task[first], np.flatnonzero(first))), shape=(N, ages.size))
    contrast = weights - (mean_first @ weights)[task]
    noise = ((score[first] - design @ fitted) ** 2).sum() / max(int(first.sum()) - N - A + 1, 1)
    error = np.sqrt(noise * np.einsum("ra,ab,rb->r", contrast, inverse[N:, N:], contrast))

    link = np.stack([places[:, [0, 1]], places[:, [0, 2]]])[np.stack([share < 1, share > 0])[:, first]]
    links = coo_array((np.ones(len(link)), (link[:, 0], link[:, 1])), shape=(N + A, N + A))
    group = connected_components(links, directed=False)[1]
    known = (group[task] == group[N + left]) & ((share == 0) | (group[task] == group[N + right])) & ~late
    known &= error <= _MOST_ERROR * np.ptp(score)
    control[known] = (f - at_first[task])[known]
    return control


def moments(rows: Rows) -> tuple[Bools, Bools, Bools]:
    """Return [rows] which are first meetings, which the last of a visit, and which the first of a later visit.

    Args:
        rows: `life`, `episode`, `task`, `lag_episodes`, `index_in_visit`, and `mode` if there are several.
    """
    following, index = next_episode(rows), rows["index_in_visit"]
    last = (following >= 0) & (rows["task"][following] != rows["task"])
    last |= (following < 0) & (rows["episode"] == _last_episode(rows)) & (index > 0)
    return rows["lag_episodes"] < 0, last, (index == 0) & (rows["lag_episodes"] > 0)


def _last_episode(rows: Rows) -> NDArray[Any]:
    """Return [rows] the number of the last episode of each row's life, in its mode, among the rows."""
    key = rows["life"] if "mode" not in rows else np.stack([rows["mode"], rows["life"]])
    lives, unit = np.unique(key, return_inverse=True, axis=-1)
    latest = np.full(lives.shape[-1], -1)
    np.maximum.at(latest, unit, rows["episode"])
    return latest[unit]


def _gained(rows: Rows, score: NDArray[Any], first: Bools, last: Bools, task: Any) -> Floats:
    """Return for each life that knows both: mean score of the last episodes of its visits less that of the first."""
    mine = rows["task"] == task
    lives, unit = np.unique(rows["life"][mine], return_inverse=True)
    means = []
    for chosen in (first[mine], last[mine]):
        count = np.bincount(unit[chosen], minlength=lives.size)
        with np.errstate(divide="ignore", invalid="ignore"):
            means.append(np.bincount(unit[chosen], weights=score[mine][chosen], minlength=lives.size) / count)
    difference = means[1] - means[0]
    return np.asarray(difference[~np.isnan(difference)])


def _p_value(difference: Floats) -> float:
    """Return the one-sided p value of a mean above 0; without any spread, 0 or 1."""
    if np.ptp(difference) == 0:
        return 0.0 if difference[0] > 0 else 1.0
    t = float(difference.mean()) / (float(difference.std(ddof=1)) / np.sqrt(difference.size))
    return float(special.stdtr(difference.size - 1, -t))


def _reason(n: float, p: float, lives: int, minimum: int, taught: bool, scale: Scale) -> str:
    """Return the sentence why there is nothing to remember, or nothing."""
    if np.isnan(n):
        return "its first meeting is not among the rows"
    if np.isnan(p):
        return f"first meeting {n:.2f}, and no visit has ended"
    if lives < minimum:
        return f"first meeting {n:.2f}, end of visits {p:.2f}, in {lives} of at least {minimum} lives"
    if not taught:
        known = "nothing was learnt in a visit" if n <= 0.5 or scale == "return" else "the slow weights know it already"
        return f"first meeting {n:.2f}, end of visits {p:.2f}: {known}"
    return ""


def _sums(
    rows: Rows,
    score: NDArray[Any],
    tasks: NDArray[Any],
    moments: tuple[Bools, Bools, Bools],
    width: int | None = None,
) -> Floats:
    """Return [groups of lives, tasks, 2 + bins, 2] rows and scores: first meetings, ends of visits, returns by lag."""
    first, last, returned = moments
    bins = lag_bins(rows["lag_episodes"])
    width = width or int(bins[returned].max()) + 1
    groups, group = np.unique(rows["life"] % _GROUPS, return_inverse=True)
    task = np.searchsorted(tasks, rows["task"])
    shape = groups.size, tasks.size, 2 + width
    sums = np.zeros((*shape, 2))
    mine = np.isin(rows["task"], tasks)
    for column, chosen in ((0, first), (1, last), (2 + bins, returned)):
        use = mine & chosen
        place = np.broadcast_to(column, use.shape)[use]
        index = np.ravel_multi_index((group[use], task[use], place), shape)
        for i, weights in enumerate((None, score[use])):
            sums[..., i] += np.bincount(index, weights=weights, minlength=int(np.prod(shape))).reshape(shape)
    return sums


def _rho(sums: Floats) -> Floats:
    """Return [..., bins] retention of sums [..., tasks, 2 + bins, 2], the mean over tasks that have rows in the bin."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums[..., 1] / sums[..., 0]
        each = (mean[..., 2:] - mean[..., :1]) / (mean[..., 1:2] - mean[..., :1])
    known = np.isfinite(each)
    count = known.sum(-2)
    total = np.where(known, each, 0.0).sum(-2)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _interval(sums: Floats, bins: slice, bounds: tuple[float, float], *, binary: bool) -> tuple[float, float]:
    """Return the 95 % interval of the mean of rho over these bins, from sums [lives, tasks, 2 + bins, 2]."""
    lives, total = len(sums), sums.sum(0)
    rho, without = (_rho(part)[..., bins].mean(-1) for part in (total, total - sums))
    half = special.stdtrit(lives - 1, 0.975) * np.sqrt((lives - 1) / lives * ((without - without.mean()) ** 2).sum())

    n, p = (total[:, i, 1] / total[:, i, 0] for i in (0, 1))
    returns = sums[:, :, 2:][:, :, bins]  # [lives, tasks, bins, 2]
    there = total[:, 2:][:, bins, 0] > 0
    g = there / there.sum(0) / there.shape[1] / (p - n)[:, None]
    least, span = bounds[0], bounds[1] - bounds[0]
    units = (returns[..., 1] - least * returns[..., 0])[:, there] / span
    ends = weighted_interval(g[there], units, returns[..., 0][:, there], binary=binary)
    offset = float((g * n[:, None]).sum())
    low, high = (end * span + least * float(g.sum()) - offset for end in ends)
    return min(float(rho - half), low), max(float(rho + half), high)


def _empty(reason: str, minimum: int) -> RetentionCurve:
    return RetentionCurve("gain", (), (), (), (), (), minimum=minimum, reason=reason)
