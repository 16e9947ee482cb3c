"""Runs of one stream, its agents, and their seeds: what may be averaged, and what must stay apart.

Runs belong to one *stream* if all its settings are equal: name, options, feedback, schedule, boundary, lives. They are
one *agent* if all settings but the seed, and the steps lived, are equal; agents are named by the settings in which they
differ. Only seeds of one agent are ever averaged.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lifelong.envs import TaskStream
from lifelong.experiments.metrics.curve import area_under_retention
from lifelong.experiments.reports.find_runs import listed
from lifelong.experiments.reports.measure import (
    CURVES,
    EVALUATED,
    EVALUATED_GREEDY,
    TRAINED,
    Curve,
    Matrix,
    Measured,
    lived_endlessly,
    measure,
    measure_matrix,
)
from lifelong.experiments.reports.run import Run, RunError
from lifelong.experiments.reports.seeds import OverSeeds, over_seeds
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.errors import known_errors

__all__ = ["Agent", "Part", "Stream", "group_runs", "sentences", "stream_label"]


@dataclass(frozen=True)
class Agent:
    """An agent, measured with one or more seeds.

    Args:
        name: unlike that of any other agent of its stream.
        seeds: measurements, one for each seed, in the order of seeds.
    """

    name: str
    seeds: tuple[Measured, ...]

    def over_seeds(self, value: Callable[[Measured], float], most: float = float("inf")) -> OverSeeds:
        """Return a number over the seeds; `most` is the largest that can be."""
        return over_seeds([value(one) for one in self.seeds], most)


@dataclass(frozen=True)
class Part:
    """Agents of a stream, measured on the same kind of rows.

    Args:
        name: of the kind, see `measure.py`.
        agents: in the order of their names.
    """

    name: str
    agents: tuple[Agent, ...]

    @property
    def measured(self) -> list[Measured]:
        """Measurements of all agents and seeds."""
        return [one for agent in self.agents for one in agent.seeds]

    @property
    def curves(self) -> list[Curve]:
        """Curves of which some measurement has a value."""
        return [curve for curve in CURVES if any(curve.of(one).measured for one in self.measured)]

    def area_bins(self, curve: Curve) -> tuple[int, int]:
        """Return the first and the last lag bin of the areas: those in which every measured curve has its own."""
        bins = [curve.of(one).area_bins for one in self.measured if curve.of(one).measured]
        return (max(low for low, _ in bins), min(high for _, high in bins)) if bins else (0, -1)

    def area(self, curve: Curve) -> Callable[[Measured], float]:
        """Return the area under a curve over these bins, as a function of a measurement."""
        first, last = self.area_bins(curve)
        return lambda one: area_under_retention(curve.of(one).rho, first, last)


@dataclass
class Stream:
    """Runs of one stream.

    Args:
        label: its settings in words.
        runs: of it, also those that could not be measured.
        names: of the agents, by run directory.
        env: one life of it; None if it cannot be made here.
        parts: what was measured.
        matrices: performance matrices by name of the agent, in the order of seeds.
        missing: what could not be measured, and why: the name of the run, and a sentence.
    """

    label: str
    runs: list[Run]
    names: dict[Any, str]
    env: TaskStream | None = None
    parts: list[Part] = field(default_factory=list)
    matrices: dict[str, list[Matrix]] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)


def group_runs(runs: Sequence[Run], report: str | None = None) -> list[Stream]:
    """Return runs by stream and agent, measured.

    Args:
        runs: in any order.
        report: name of a report of `lifelong retention` to measure; None is the evaluation at the end of training,
            and the training of task sequences in endless lives.
    """
    by_stream: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.config.seed, bool(run.notes), run.name)):  # whole ones first
        by_stream[_key(run.stream)].append(run)
    labels = {key: stream_label(found[0].stream) for key, found in by_stream.items()}
    for key, label in labels.items():
        if list(labels.values()).count(label) > 1:  # two stream files of one name
            labels[key] = f"{label} (file {by_stream[key][0].stream['file'][:8]})"
    return [_measured(labels[key], by_stream[key], report) for key in sorted(by_stream, key=labels.__getitem__)]


def sentences(missing: Sequence[tuple[str, str]]) -> list[str]:
    """Return what is missing, each reason once with the runs that it is of."""
    runs: dict[str, list[str]] = defaultdict(list)
    for name, reason in missing:
        runs[reason].append(name)
    return [
        f"{names[0]}: {reason}" if len(names) == 1 else f"{len(names)} runs ({listed(names)}): {reason}"
        for reason, names in runs.items()
    ]


def stream_label(stream: Mapping[str, Any]) -> str:
    """Return a stream's settings in a few words, as they are typed."""
    settings = {**stream["stream_options"], **stream["env_kwargs"]}
    words = [str(stream["stream"]), *(f"{name}={_word(value)}" for name, value in settings.items())]
    words += [f"{name}={stream[name]}" for name in ("feedback", "schedule", "only_task") if stream[name] is not None]
    words += [f"boundary={stream['boundary']}"] if stream["boundary"] != "none" else []
    hazard, episodes = stream["life_hazard"], stream["life_episodes"]
    endless = "endless lives" if hazard is None else f"lives of {1 / hazard:.4g} episodes on average"
    words += [f"lives of {episodes} episodes" if episodes else endless]
    return ", ".join(words)


def _measured(label: str, runs: list[Run], report: str | None) -> Stream:
    stream = Stream(label, [], {})
    for run in runs:
        stream.missing += [(run.name, note) for note in run.notes]
    stream.runs = _one_of_each_seed(runs, stream.missing)
    stream.names = _agent_names(stream.runs)
    try:
        stream.env = make_env(stream.runs[0].config, num_envs=1)
    except known_errors() as error:
        stream.missing.append((label, f"the stream cannot be made here, so nothing is measured: {error}"))
        return stream
    found: dict[str, list[Measured]] = defaultdict(list)
    for run in stream.runs:
        for part in _parts(run, stream.env, report, stream.missing):
            try:
                measured = measure(run, part, stream.env)
            except RunError as error:
                stream.missing.append((run.name, f"left out of {part}: {error}"))
            else:
                found[part].append(measured)
                stream.missing += [(run.name, note) for note in measured.notes]
        try:
            matrix = measure_matrix(run, stream.env)
        except RunError as error:
            stream.missing.append((run.name, f"no performance matrix: {error}"))
            continue
        if matrix is not None and report is None:
            mode = "" if matrix.mode == "probe" else f" ({matrix.mode})"  # modes are never averaged
            stream.matrices.setdefault(f"{stream.names[run.folder]}{mode}", []).append(matrix)
    stream.env.close()
    for part, ones in found.items():
        agents: dict[str, list[Measured]] = defaultdict(list)
        for one in ones:
            agents[stream.names[one.run.folder]].append(one)
        stream.parts.append(Part(part, tuple(Agent(name, tuple(agents[name])) for name in sorted(agents))))
    return stream


def _parts(run: Run, env: TaskStream, report: str | None, missing: list[tuple[str, str]]) -> list[str]:
    """Return what of a run is measured; add to `missing` what is not."""
    if report is not None:
        if (run.folder / "report" / report / "episodes").is_dir():
            return [report]
        missing.append((run.name, f"it has no report {report}; lifelong retention {run.folder} makes one"))
        return []
    trained = [TRAINED] if lived_endlessly(run, env) else []
    if run.facts and not run.finished:
        return trained
    if run.config.evaluation_lives:
        return [*trained, EVALUATED_GREEDY if run.config.actions == "greedy" else EVALUATED]
    without = f"it was trained without an evaluation (evaluation_lives=0); lifelong retention {run.folder} measures it"
    missing.append((run.name, without))
    return trained


def _one_of_each_seed(runs: list[Run], missing: list[tuple[str, str]]) -> list[Run]:
    """Return the runs without those whose agent and seed were there before: they are no further seed."""
    kept: dict[tuple[str, int], Run] = {}
    for run in runs:
        first = kept.setdefault((_key(run.agent), run.config.seed), run)
        if first is not run:
            same = f"left out, since {first.name} is the same agent with the same seed, {run.config.seed}"
            missing.append((run.name, same))
    return list(kept.values())


def _agent_names(runs: Sequence[Run]) -> dict[Any, str]:
    """Return a name for each run: its memory, its options, and the settings in which agents of these runs differ."""
    settings = {run.folder: run.agent for run in runs}
    values = list(settings.values())
    always = ("memory", "memory_options", "carry")
    differ = [name for name in values[0] if name not in always and len({_key({"": s.get(name)}) for s in values}) > 1]
    names = {}
    for folder, agent in settings.items():
        words = [str(agent["memory"]), *agent["memory_options"]]
        words += [f"carry={agent['carry']}"] if agent["carry"] != "lifetime" else []
        words += [f"{name}={_word(agent.get(name))}" for name in differ]
        names[folder] = " ".join(words)
    return names


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return listed(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
