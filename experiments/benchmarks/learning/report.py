"""Report of `lifelong bench learning`: tables and learning curves, from the results of trials alone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.agents.durable import writing
from lifelong.experiments.benchmarks.learning.others import OTHERS
from lifelong.experiments.benchmarks.learning.ours import changed_since
from lifelong.experiments.benchmarks.learning.stable_baselines import published
from lifelong.experiments.benchmarks.learning.tasks import TASKS
from lifelong.experiments.metrics.aggregate import interquartile_mean
from lifelong.experiments.metrics.bootstrap import stratified_interval
from lifelong.experiments.runs.errors import UserError, error_text
from lifelong.experiments.runs.tensorboard import COLOURS, STYLES

__all__ = ["CURVES", "PAGE", "Line", "lines_of", "read_result", "read_results", "write_report"]

PAGE, CURVES = "README.md", "curves.png"
_COLUMNS = 3  # of the figure
_FEW = 5  # seeds from which on the intervals cover what they say
_KEYS = {"task", "agent", "seed", "asked_steps", "steps", "drawn", "greedy", "seconds", "cpu_seconds", "curve", "git",
         "versions"}  # fmt: skip

_HEAD = """# Learning curves and final returns

Written by `lifelong bench learning --report-only` from the results in `trials/`, one JSON file for each trial.

Every agent trains for the same environment steps in the same gymnasium environment, and is then evaluated frozen in new
ones: 20 environments, the first 5 complete episodes of each, once with drawn and once with greedy actions. Returns are
sums of rewards, neither discounted nor normalised (where a task scales rewards, in those of the original). A seed's
score is the mean of its 100 episodes; the table has the interquartile mean over seeds with its 95 % bootstrap interval
(expanded percentiles, `experiments/metrics/bootstrap.py`), and the least seed's. Seconds are of training, the mean over
seeds, with the least and most where these are a factor of two apart; trials ran side by side, so CPU seconds compare
better, on one machine and with one commit.

Our agents are named by their memory, and use the preset of `gym:` streams; `/episode` behind it empties the memory at
every episode's end. They read previous action, previous reward and the start of an episode beside the observation, and
of MiniGrid the direction, which the others' wrappers leave out. Agents of Stable-Baselines3 and sb3-contrib use the
settings that RL Zoo publishes for the task (below each table), or with `/ours` behind the name our preset's.
"""


@dataclass(frozen=True)
class Line:
    """Results of one agent in one task.

    Args:
        agent: its name.
        drawn: [seeds] mean return with drawn actions.
        greedy: [seeds] with greedy ones.
        seconds: [seeds] of training.
        cpu_seconds: [seeds] of training.
        curve_steps: [bins] at which the parts of training end.
        curve: [seeds, bins] mean return; NaN where no episode ended.
        changed: settings of some seeds that are otherwise in the preset of now.
        preset: that it was trained with; empty of another library's.
        memory: what the preset gave its memory, in words; empty if nothing.
    """

    agent: str
    drawn: NDArray[np.float64]
    greedy: NDArray[np.float64]
    seconds: NDArray[np.float64]
    cpu_seconds: NDArray[np.float64]
    curve_steps: NDArray[np.float64]
    curve: NDArray[np.float64]
    changed: tuple[str, ...] = ()
    preset: str = ""
    memory: str = ""


def read_result(path: Path) -> dict[str, Any]:
    """Return the result of a trial.

    Raises:
        UserError: if it is none.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if missing := _KEYS - result.keys():
            raise KeyError(*sorted(missing))
        if result["task"] not in TASKS:
            raise ValueError(f"no task {result['task']!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{path} is no result of a trial: {error_text(error)}; remove it to have it tried again"
        raise UserError(said) from error
    return dict(result)


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the results in a folder, in the order of tasks, agents (ours first) and seeds.

    Raises:
        UserError: if one cannot be read; names it.
    """
    place = {name: number for number, name in enumerate(TASKS)}
    return sorted(
        map(read_result, (folder / "trials").glob("*.json")),
        key=lambda found: (place[found["task"]], found["agent"] in OTHERS, found["agent"], found["seed"]),
    )


def lines_of(results: Iterable[dict[str, Any]]) -> dict[str, list[Line]]:
    """Return the results of every agent by task.

    Raises:
        UserError: if results of a task are of different steps; names two.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    asked: dict[str, dict[str, Any]] = {}
    for result in results:
        groups.setdefault((result["task"], result["agent"]), []).append(result)
        first = asked.setdefault(result["task"], result)
        if result["asked_steps"] != first["asked_steps"]:
            one, other = (f"{x['agent']} seed {x['seed']} of {x['asked_steps']:,} steps" for x in (first, result))
            raise UserError(f"results of {result['task']} are not comparable: {one}, {other}; give each an --output")
    found: dict[str, list[Line]] = {}
    for (task, agent), group in groups.items():
        ours = {} if agent in OTHERS else group[0].get("settings", {})
        line = Line(
            agent,
            drawn=_means(one["drawn"] for one in group),
            greedy=_means(one["greedy"] for one in group),
            seconds=_means(one["seconds"] for one in group),
            cpu_seconds=_means(one["cpu_seconds"] for one in group),
            curve_steps=np.array(group[0]["curve"]["steps"], np.float64),
            curve=np.array([one["curve"]["returns"] for one in group], np.float64),  # None becomes NaN
            changed=() if agent in OTHERS else _changed(group),
            preset=ours.get("preset", ""),
            memory=_memory(ours),
        )
        found.setdefault(task, []).append(line)
    return found


def _changed(group: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(change for one in group for change in changed_since(one.get("settings", {}))))


def _memory(settings: Mapping[str, Any]) -> str:
    """Return what an agent has beside its memory's name: options, and a memory in front of it."""
    given = ", ".join(settings.get("memory_options", ()))
    front = settings.get("working_memory", "off")
    behind = "" if front == "off" else f"stands behind a `{front}` that begins anew with every episode"
    return " and ".join(part for part in (f"has {given}" if given else "", behind) if part)


def _means(values: Iterable[Any]) -> NDArray[np.float64]:
    return np.array([np.mean(value) for value in values], np.float64)


def write_report(folder: Path) -> str:
    """Write page and figure of the results in a folder, and return the page.

    Raises:
        UserError: if there are none.
    """
    results = read_results(folder)
    if not results:
        raise UserError(f"{folder} holds no results of lifelong bench learning: {folder / 'trials'} is empty")
    lines = lines_of(results)
    page = "\n".join(
        [_HEAD, f"![Learning curves]({CURVES})\n", *(_section(*item) for item in lines.items()), _origin(results)]
    )
    with writing(folder / PAGE):
        (folder / PAGE).write_text(page, encoding="utf-8")
        _draw(lines, folder / CURVES)
    return page


def _section(task: str, lines: Sequence[Line]) -> str:
    heading = ("agent", "seeds", "drawn [95 %]", "least", "greedy [95 %]", "least", "seconds", "CPU seconds")
    rows = [heading, ("---", *["---:"] * (len(heading) - 1))]
    rows += [
        (
            f"`{line.agent}`",
            str(line.drawn.size),
            _with_interval(line.drawn),
            _number(line.drawn.min()),
            _with_interval(line.greedy),
            _number(line.greedy.min()),
            _of_trials(line.seconds),
            _of_trials(line.cpu_seconds),
        )
        for line in lines
    ]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    steps = f"{lines[0].curve_steps[-1]:,.0f} steps of `{TASKS[task].env_id}`."
    sources = [
        f"`{line.agent}`: {published(TASKS[task], line.agent).source}." for line in lines if line.agent in OTHERS
    ]
    presets = sorted({line.preset for line in lines if line.preset})
    ours = [f"Ours: preset {', '.join(presets)}."] if presets else []
    ours += [f"`{line.agent}` {line.memory}." for line in lines if line.memory]
    since = [f"`{line.agent}` was trained with {', '.join(line.changed)}." for line in lines if line.changed]
    few = sorted({line.drawn.size for line in lines if line.drawn.size < _FEW})
    numbers = f"{' or '.join(map(str, few))} seed{'' if few == [1] else 's'}"
    warning = [f"Some agents have only {numbers}: their intervals are too narrow."] if few else []
    return f"## {task}\n\n{' '.join([steps, *ours, *sources, *since, *warning])}\n\n{table}"


def _with_interval(scores: NDArray[np.float64]) -> str:
    middle = _number(float(interquartile_mean(scores)))
    if scores.size < 2:
        return middle
    low, high = stratified_interval(scores[:, None], lambda drawn: interquartile_mean(drawn, (1, 2)))
    return f"{middle} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    """Return a number with three digits at least, and no more behind the point than it needs."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _of_trials(seconds: NDArray[np.float64]) -> str:
    """Return the mean, and least and most if the mean of them would say nothing."""
    least, most = seconds.min(), seconds.max()
    return f"{seconds.mean():,.0f}" + (f" ({least:,.0f} to {most:,.0f})" if most > 2 * least else "")


def _origin(results: Sequence[dict[str, Any]]) -> str:
    commits = sorted({str(result["git"])[:12] for result in results})
    versions = sorted({f"{name} {number}" for result in results for name, number in result["versions"].items()})
    return f"## Origin\n\nCommits: {', '.join(commits)}. Packages: {', '.join(versions)}.\n"


def _draw(lines: dict[str, list[Line]], path: Path) -> None:
    """Draw a panel for each task: each agent's interquartile mean over seeds, and a band from least to greatest."""
    from matplotlib.figure import Figure

    rows, agents = (
        -(-len(lines) // _COLUMNS),
        list(dict.fromkeys(line.agent for group in lines.values() for line in group)),
    )
    figure = Figure(figsize=(4.0 * min(len(lines), _COLUMNS), 2.6 * rows + 0.5), dpi=100, layout="constrained")
    panels: Any = figure.subplots(rows, min(len(lines), _COLUMNS), squeeze=False)
    handles: dict[str, Any] = {}
    for axes, (task, group) in zip(panels.flat, lines.items(), strict=False):
        for line in group:
            number = agents.index(line.agent)
            curve = np.array([_held(seed) for seed in line.curve])
            known = ~np.isnan(curve).any(0)
            steps, curve = line.curve_steps[known], curve[:, known]
            middle = interquartile_mean(curve, 0) if known.any() else np.empty(0)
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
            (handles[line.agent],) = axes.plot(steps, middle, style, color=colour, linewidth=1.4)
            axes.fill_between(steps, curve.min(0), curve.max(0), color=colour, alpha=0.12, linewidth=0)
        axes.set_title(task, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat[len(lines) :]:
        axes.set_visible(False)
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("mean return of training episodes", fontsize=9)
    figure.legend([handles[name] for name in agents], agents, loc="outside upper center", ncols=5, fontsize=8)
    figure.savefig(path)


def _held(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a curve [bins] whose gaps have the value before them; NaN before the first."""
    last = np.maximum.accumulate(np.where(np.isnan(curve), -1, np.arange(curve.size)))
    return np.where(last < 0, np.nan, curve[last])
