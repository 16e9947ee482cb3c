"""Watch a trained agent live: what its env looks like, and beside it how much it writes to its memory.

    lifelong watch runs/NAME --output life.gif                3 episodes of a new life
    lifelong watch runs/NAME --output life.mp4 --episodes 20 --task doorkey-5x5
    lifelong watch runs/NAME --window

Slow weights are frozen, the life is new, and the memory empty at its beginning. An env that draws no pictures is shown
by its observation. Write strength is |S' - S| / |S'|: how much a step changes the memory's state S, over its norm.
Below the picture stand the three earlier steps that wrote most of what the memory reads at this one, with their shares
(`Memory.attribution`), where its reading is a sum of writes; of several layers, the last such one.
"""

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from lifelong.envs import TaskStream
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.runs.actions import Actions, check_actions
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.build import make_agent, make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import load_policy, on_device, open_run
from lifelong.experiments.runs.errors import UserError, check_output, check_seed, check_sizes
from lifelong.experiments.runs.evaluation import own_random
from lifelong.experiments.runs.film import Film
from lifelong.experiments.runs.moments import Moment, moments
from lifelong.experiments.runs.screen import Movie, Screen, Window, check_movie, check_window

__all__ = ["WatchConfig", "command", "main"]


@dataclass(frozen=True)
class WatchConfig:
    """Watch a trained agent live, beside what it writes to its memory.

    Args:
        run: directory of the run.
        output: film to write, .gif or .mp4.
        window: show it in a window.
        episodes: episodes of the life.
        steps: environment steps after which the film ends, whatever the episodes.
        task: name of the only task of the life; if not given, the schedule of training.
        actions: how the agent acts: by actions drawn from its policy, as in training, or greedily, by the most probable
            ones.
        fps: frames a second.
        seed: random seed of the life and of the actions.
        overwrite: replace a film of the same name.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    output: Path | None = None
    window: bool = False
    episodes: int = 3
    steps: int = 500
    task: str | None = None
    actions: Actions = "drawn"
    fps: int = 10
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_sizes(self, ("episodes", "steps", "fps"))
        check_seed(self.seed)
        check_actions(self.actions)
        if self.output is None and not self.window:
            raise UserError("watch needs --output FILE.gif (or .mp4) or --window")
        if self.window:
            check_window()
        if self.output is not None:
            check_output(self.output)
            check_movie(self.output)
            if self.output.exists() and not self.overwrite:
                raise UserError(f"{self.output} exists: pass --overwrite to replace it")


def command(arguments: list[str]) -> None:
    """Run the verb with words from the command line."""
    main(parse(WatchConfig, arguments, "watch"), Console(stderr=True))


def main(config: WatchConfig, console: Console | None = None) -> list[Moment]:
    """Show a run's agent.

    Args:
        config: what to do.
        console: where is said what was written; None keeps quiet.

    Returns:
        The moments that were shown.

    Raises:
        UserError: if there is no such run or task, or no display.
        CheckpointError: if the run's checkpoint cannot be read.
    """
    console = console or Console(quiet=True)
    trained = on_device(open_run(config.run).resolved(), "cpu")
    if config.task is not None:
        trained = replace(trained, only_task=config.task)
    torch.set_num_threads(trained.threads or 1)
    env = _env(trained, config.seed, console)
    agent = make_agent(trained, env)
    load_policy(config.run, agent)
    shown: list[Moment] = []
    with ExitStack() as stack:
        stack.enter_context(own_random(config.seed))
        stack.callback(env.close)
        life = moments(agent, env, trained.carry, config.actions)
        shown.append(next(life))
        film = Film(
            shown[0], f"{config.run.resolve().name}: {trained.memory}, slow weights frozen, {config.actions} actions"
        )
        screens: list[Screen] = []
        if config.output is not None:
            screens.append(stack.enter_context(closing(Movie(config.output, film, config.fps))))
        if config.window:
            screens.append(stack.enter_context(closing(Window("lifelong watch", config.fps))))
        ended = steps = 0
        while True:
            film.show(shown[-1])
            going = [screen.frame(film) for screen in screens]
            ended, steps = ended + shown[-1].ended, steps + (not shown[-1].ended)
            if not all(going) or ended >= config.episodes or steps >= config.steps:
                break
            shown.append(next(life))
    console.print(f"{steps:,} steps, {ended} episodes ended")
    if config.output is not None:
        console.print(f"wrote {config.output}", markup=False, highlight=False, soft_wrap=True)
    return shown


def _env(trained: TrainConfig, seed: int, console: Console) -> TaskStream:
    """Return the stream with one new life, with pictures where it draws any."""
    changes = {"num_envs": 1, "seed": evaluation_seed(seed)}
    env = make_env(trained, **changes)
    if "rgb_array" not in env.metadata["render_modes"]:
        return env
    env.close()
    try:
        return make_env(trained, **changes, render_mode="rgb_array")
    except UserError as error:
        console.print(f"no pictures: {error}", markup=False, highlight=False, soft_wrap=True)
        return make_env(trained, **changes)
