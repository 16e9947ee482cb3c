"""Training, evaluation and trained agents as Python functions; `lifelong` re-exports them."""

from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from lifelong.agents import Agent, Carry
from lifelong.experiments.retention import RetentionConfig, main as retention
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.build import make_agent, make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import load_policy, open_run
from lifelong.experiments.runs.summary import Summary
from lifelong.experiments.train import Outcome, main

__all__ = ["evaluate", "load_agent", "train"]


def train(config: TrainConfig | None = None, console: Console | None = None) -> Outcome:
    """Train an agent, or go on training; the same as `lifelong train`.

    Args:
        config: settings; None for the defaults.
        console: where progress and the table go; None prints nothing.

    Returns:
        The run's folder, its steps, and the retention of the frozen agent.

    Raises:
        UserError: if the config cannot be met; nothing is written then.
    """
    return main(config or TrainConfig(), console)


def evaluate(
    run: str | Path,
    *,
    steps: int | None = None,
    times: float = 16.0,
    lives: int | None = None,
    carry: Carry | None = None,
    actions: Actions = "drawn",
    schedule: str | None = None,
    seed: int = 0,
    threads: int = 1,
    console: Console | None = None,
) -> Summary:
    """Measure the retention of a run's frozen agent in fresh lives; the same as `lifelong retention`.

    Args:
        run: directory of the run; the curve is written to its `report` folder.
        steps: environment steps of every life; None is `times` the life of training.
        times: how many times longer the lives are than in training.
        lives: lives side by side; None is as in the evaluation of training.
        carry: what ends the memory; None is as in training.
        actions: how the agent acts: by actions `drawn` from its policy, or `greedy`, by the most probable ones.
        schedule: which task comes next; None is as in training.
        seed: of the lives; never those of training.
        threads: threads of torch.
        console: where progress and the table go; None prints nothing.

    Raises:
        UserError: if there is no such run, or its agent cannot live so.
        CheckpointError: if its checkpoint cannot be read.
    """
    config = RetentionConfig(
        Path(run),
        steps=steps,
        times=times,
        lives=lives,
        carry=carry,
        actions=actions,
        schedule=schedule,
        seed=seed,
        threads=threads,
    )
    return retention(config, console)


def load_agent(run: str | Path, device: str = "cpu") -> Agent:
    """Return the trained agent of a run, with its `carry`.

    Args:
        run: directory of the run.
        device: where the agent computes.

    Raises:
        UserError: if there is no such run, or its stream cannot be made here.
        CheckpointError: if its checkpoint cannot be read.
    """
    folder = Path(run)
    config = replace(open_run(folder), device=device, cuda_graph="auto")
    stream = make_env(config, num_envs=1)
    try:
        with torch.random.fork_rng():  # `make_agent` seeds torch
            policy = make_agent(config, stream)
    finally:
        stream.close()
    load_policy(folder, policy)
    return Agent(policy, stream.single_observation_space, stream.single_action_space, config.carry)
