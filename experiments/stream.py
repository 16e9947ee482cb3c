"""`lifelong stream show NAME`: print a stream's settings, tasks and timeline.

lifelong stream show cued-recall
lifelong stream show gym:CartPole-v1 --schedule "walk:0.5 every 20" --stream-options 'drifts="plain/gravity:4"'
lifelong stream show my_stream.toml --episodes 500 --output timeline.png
"""

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifelong.agents.durable import writing
from lifelong.envs import TaskStream
from lifelong.envs.composed_schedules import InSteps, counts_steps
from lifelong.envs.timeline import show_timeline, step_timeline, timeline
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.lives import length_of_lives
from lifelong.experiments.runs.tensorboard import COLOURS
from lifelong.experiments.settings.stream import ShowConfig

__all__ = ["ShowConfig", "command", "main"]


def command(config: ShowConfig) -> None:
    """Run the verb."""
    sys.stdout.write(main(config))


def main(config: ShowConfig) -> str:
    """Return the stream in words and its timeline, and draw it where asked.

    Args:
        config: what to show.

    Raises:
        UserError: if there is no such stream.
    """
    words = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in ("episodes", "life", "output")}
    trained = TrainConfig(**words).resolved()
    env = make_env(trained, num_envs=1)
    names = [task.name for task in env.tasks]
    said = [
        f"stream    {config.stream}",
        f"tasks     {len(names)}",
        f"schedule  {env.schedule}",
        f"life      {length_of_lives(env)}",
        f"lives     {trained.num_envs} in parallel",
        f"boundary  {env.boundary}",
        f"actions   {env.single_action_space}",
        f"shown     {', '.join(env.single_observation_space.spaces)}",  # type: ignore[attr-defined]
        "",
    ]
    line, steps = _timeline(env, config)
    if line.size:
        said.append(show_timeline(line, names, span=f"{steps:,} steps of all lives together" if steps else ""))
    else:
        said.append("no timeline: the schedule counts steps and episodes, and how long episodes are is not known\n")
    if config.output is not None:
        if not line.size:
            raise UserError(f"cannot draw {config.output}: the schedule counts steps and episodes, {env.schedule}")
        _draw(env, line.tolist(), steps, config.output)
        sys.stderr.write(f"wrote {config.output}\n")
    env.close()
    return "\n".join(said)


def _timeline(env: TaskStream, config: ShowConfig) -> tuple[NDArray[np.int64], int]:
    """Return the timeline, and the steps of its whole length if it counts steps; empty if it counts both."""
    if isinstance(env.schedule, InSteps):
        return step_timeline(env.schedule, len(env.tasks))
    if counts_steps(env.schedule):
        return np.zeros(0, np.int64), 0
    return timeline(env.schedule, len(env.tasks), config.episodes, config.seed, config.life), 0


def _draw(env: TaskStream, line: list[int], steps: int, path: Path) -> None:
    from matplotlib.figure import Figure

    names = [task.name for task in env.tasks]
    figure = Figure(figsize=(10.0, min(8.0, 1.2 + 0.28 * len(names))), dpi=150, layout="constrained")
    axes = figure.subplots()
    width = steps / len(line) if steps else 1.0
    for number, task in enumerate(line):
        axes.barh(task, width, left=number * width, height=0.8, color=COLOURS[task % len(COLOURS)], linewidth=0)
    axes.set_yticks(range(len(names)), names, fontsize=min(9.0, 220.0 / len(names)))
    axes.invert_yaxis()
    axes.set_xlim(0, width * len(line))
    axes.set_xlabel(f"{'environment steps of all lives' if steps else 'episode'}; {env.schedule}")
    axes.spines[["top", "right"]].set_visible(False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
