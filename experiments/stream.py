"""`lifelong stream show NAME`: print a stream's settings, tasks and timeline.

lifelong stream show cued-recall
lifelong stream show gym:CartPole-v1 --schedule "walk:0.5 every 20" --stream-options 'drifts="plain/gravity:4"'
lifelong stream show my_stream.toml --episodes 500 --output timeline.png
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from lifelong.envs import TaskStream
from lifelong.envs.timeline import show_timeline, timeline
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.build import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError, check_output, check_seed, check_sizes
from lifelong.experiments.runs.tensorboard import COLOURS

__all__ = ["ShowConfig", "command", "main"]


@dataclass(frozen=True)
class ShowConfig:
    """Show the tasks of a stream and their schedule."""

    stream: tyro.conf.Positional[str]
    """Name of a stream (see `lifelong list`), gym:<id>, or a stream file."""
    schedule: str | None = None
    """Which task comes next; None: the stream's."""
    stream_options: tuple[str, ...] = ()
    """More settings of the stream, as name=value."""
    feedback: Literal["reveal", "reward"] | None = None
    """As in `lifelong train`."""
    boundary: Literal["none", "flag", "task_id"] = "none"
    """As in `lifelong train`."""
    life_episodes: int | None = None
    """As in `lifelong train`; None: the stream's."""
    episodes: int = 200
    """How far to look."""
    seed: int = 0
    """Of the lives."""
    life: int = 0
    """Number of the life."""
    output: Path | None = None
    """Draw it there too, as a picture."""

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_sizes(self, ("episodes",))
        check_sizes(self, ("life", "life_episodes"), 0)
        check_seed(self.seed)
        check_output(self.output)


def command(arguments: list[str]) -> None:
    """Run what the first word names.

    Raises:
        UserError: if it is not `show`.
    """
    what, *rest = arguments or [""]
    if what in ("-h", "--help"):
        sys.stdout.write("usage: lifelong stream show NAME [OPTIONS]\n\nlifelong stream show --help tells more.\n")
    elif what == "show":
        sys.stdout.write(main(parse(ShowConfig, rest, "stream show")))
    else:
        raise UserError(f"stream what{f': {what!r}' if what else ''}? known: show")


def main(config: ShowConfig) -> str:
    """Return the stream in words and its timeline, and draw it where asked.

    Args:
        config: what to show.

    Raises:
        UserError: if there is no such stream.
    """
    said_so = {
        name: getattr(config, name)
        for name in ("stream", "schedule", "stream_options", "seed", "feedback", "boundary", "life_episodes")
    }
    trained = TrainConfig(**said_so, num_envs=1)
    env = make_env(trained.resolved())
    line = timeline(env.schedule, len(env.tasks), config.episodes, config.seed, config.life)
    names = [task.name for task in env.tasks]
    said = [
        f"stream    {config.stream}",
        f"tasks     {len(names)}",
        f"schedule  {env.schedule}",
        f"life      {'endless' if env.life_episodes is None else f'{env.life_episodes} episodes'}",
        f"boundary  {env.boundary}",
        f"actions   {env.single_action_space}",
        f"shown     {', '.join(env.single_observation_space.spaces)}",  # type: ignore[attr-defined]
        "",
        show_timeline(line, names),
    ]
    if config.output is not None:
        _draw(env, line.tolist(), config.output)
        sys.stderr.write(f"wrote {config.output}\n")
    env.close()
    return "\n".join(said)


def _draw(env: TaskStream, line: list[int], path: Path) -> None:
    from matplotlib.figure import Figure

    names = [task.name for task in env.tasks]
    figure = Figure(figsize=(10.0, min(8.0, 1.2 + 0.28 * len(names))), dpi=150, layout="constrained")
    axes = figure.subplots()
    for episode, task in enumerate(line):
        axes.barh(task, 1.0, left=episode, height=0.8, color=COLOURS[task % len(COLOURS)], linewidth=0)
    axes.set_yticks(range(len(names)), names, fontsize=min(9.0, 220.0 / len(names)))
    axes.invert_yaxis()
    axes.set_xlim(0, len(line))
    axes.set_xlabel(f"episode; {env.schedule}")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
