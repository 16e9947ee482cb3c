"""Measure the seconds until a task is solved, with the settings of its preset."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from lifelong.agents import Rollout
from lifelong.experiments.benchmarks.training.contestants import is_installed
from lifelong.experiments.benchmarks.training.lstm_loop import LSTMLoop
from lifelong.experiments.benchmarks.training.recurrent_ppo import recurrent_ppo
from lifelong.experiments.benchmarks.training.worlds import FlatEnv, World
from lifelong.experiments.runs.build import make_agent, make_learner
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.settings.benchmarks.training import BenchConfig, Solvable

__all__ = ["solve_table"]

_UPDATES = 5  # over which the score is averaged
_LAST = 0.05  # share of the learning rate at the end, as in `lifelong train`


class _Goal(NamedTuple):
    stream: str
    width: int
    score: float
    text: str


_GOALS: dict[Solvable, _Goal] = {
    "doorkey-8x8": _Goal("rooms", 128, 0.9, "a mean return of .9 in DoorKey-8x8 (`rooms`)"),
    "cued-recall": _Goal("cued-recall", 64, 0.95, "95 % right answers where the cue was met before in the life"),
}

Update = Callable[[float], list[float]]
"""Collects and learns once, with this share of the learning rate; returns the scores of the episodes that ended."""


def solve_table(task: Solvable, config: BenchConfig) -> str:
    """Return the table of seconds and steps until a task is solved, or that it was not within its preset's steps.

    Others take part in DoorKey only: in cued recall they would forget where every episode ends. Their settings of PPO
    are those of ours.

    Args:
        task: to be solved.
        config: memories and threads; sizes are those of the preset, but for a width that was given.
    """
    goal = _GOALS[task]
    base = TrainConfig(goal.stream, width=goal.width, processes=1).resolved()  # as all others have
    if config.solve_steps is not None:
        base = replace(base, steps=config.solve_steps)
    updates: dict[str, Callable[[], Update]] = {
        f"lifelong {memory}": lambda memory=memory: _ours(replace(base, memory=memory), task)  # type: ignore[misc]
        for memory in config.memories
    }
    if task == "doorkey-8x8":
        updates["LSTM loop"] = lambda: _loop(base)
        if is_installed():
            updates["sb3-contrib RecurrentPPO"] = lambda: _recurrent_ppo(base)
    lines = [f"## Until {goal.text}", "", "| trainer | seconds | CPU seconds | steps |", "| --- | --- | --- | --- |"]
    for name, make in updates.items():
        torch.manual_seed(config.seed)
        lines.append(f"| {name} | {_solved(make(), base, goal.score)} |")
    return "\n".join(lines)


def _solved(update: Update, base: TrainConfig, wanted: float) -> str:
    """Return seconds, seconds of the processor and steps until the score is reached, as cells.

    It counts once as many episodes ended as there are environments: at first only those end that are short, and solved.
    """
    batch, recent = (base.num_envs or 1) * (base.segment or 1), deque[list[float]](maxlen=_UPDATES)
    most, wall, cpu = base.steps or 1, time.perf_counter(), time.process_time()
    steps, score = 0, float("nan")
    while steps < most:
        recent.append(update(max(_LAST, 1.0 - (1.0 - _LAST) * steps / most)))
        steps += batch
        scores = [score for scores in recent for score in scores]
        score = float(np.mean(scores)) if scores else float("nan")
        if len(recent) == _UPDATES and len(scores) >= (base.num_envs or 1) and score >= wanted:
            return f"{time.perf_counter() - wall:,.1f} | {time.process_time() - cpu:,.1f} | {steps:,}"
    return f"- | - | not within {steps:,}: {score:.3f}"


def _ours(config: TrainConfig, task: Solvable) -> Update:
    env = make_env(config)
    agent = make_agent(config, env)
    rollout, learner = Rollout(agent, env, config.carry), make_learner(config, agent)

    def update(share: float) -> list[float]:
        segment = rollout.collect(config.segment or 1)
        learner.learn(segment, share)
        rows = segment.episodes
        if not rows:
            return []
        asked = rows["meetings"] > 0 if task == "cued-recall" else np.ones(len(rows["return"]), np.bool_)
        return [float(score) for score in rows["return"][asked]]

    return update


def _loop(config: TrainConfig) -> Update:
    env = _flat(config)
    loop = LSTMLoop(env, config.width, config.segment or 1, config.learning)

    def update(share: float) -> list[float]:
        for group in loop.optimizer.param_groups:
            group["lr"] = config.learning.lr * share
        loop.collect()
        loop.learn()
        return _taken(env)

    return update


def _recurrent_ppo(config: TrainConfig) -> Update:
    env = _flat(config)
    model = recurrent_ppo(env, config.width, config.segment or 1, config.learning)

    def update(share: float) -> list[float]:
        model.lr_schedule = lambda _: config.learning.lr * share
        model.learn((config.num_envs or 1) * (config.segment or 1), reset_num_timesteps=False, log_interval=None)
        return _taken(env)

    return update


def _flat(config: TrainConfig) -> FlatEnv:
    return FlatEnv(World("MiniGrid-DoorKey-8x8-v0", compiled=True, short=False).stream(config.num_envs or 1))


def _taken(env: FlatEnv) -> list[float]:
    """Return the returns since the last call."""
    returns, env.returns = env.returns, []
    return returns
