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
from dataclasses import replace

import torch
from rich.console import Console

from lifelong.envs import TaskStream
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import load_policy
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import own_random
from lifelong.experiments.runs.film import Film
from lifelong.experiments.runs.moments import Moment, moments
from lifelong.experiments.runs.open_run import on_device, open_run
from lifelong.experiments.runs.screen import Movie, Screen, Window
from lifelong.experiments.settings.watch import WatchConfig

__all__ = ["WatchConfig", "command", "main"]


def command(config: WatchConfig) -> None:
    """Run the verb."""
    main(config, Console(stderr=True))


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
    trained = on_device(open_run(config.run, config.trust).resolved(), "cpu")
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
