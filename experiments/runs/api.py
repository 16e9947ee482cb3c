"""Training, evaluation and trained agents as Python functions; `lifelong` re-exports them."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from lifelong.agents import Agent, AgentState, Carry
from lifelong.experiments.retention import RetentionConfig, main as retention
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import load_lives, load_policy
from lifelong.experiments.runs.lives import MOST_UPDATES, last_empty_memory
from lifelong.experiments.runs.open_run import on_device, open_run
from lifelong.experiments.runs.summary import Summary
from lifelong.experiments.train import Outcome, main

__all__ = ["evaluate", "load_agent", "load_life", "train"]


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
    env_workers: int | None = None,
    trust: bool = False,
    console: Console | None = None,
) -> Summary:
    """Measure the retention of a run's frozen agent in fresh lives, as `lifelong retention RUN` does.

    Probes, sources, other settings of the stream and devices are the command's alone.

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
        env_workers: processes in which environments of gymnasium live; None is as in training.
        trust: as of `load_agent`.
        console: where progress and the table go; None prints nothing.

    Raises:
        UserError: if there is no such run, its agent cannot live so, or it names code and is not trusted.
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
        env_workers=env_workers,
        trust=trust,
    )
    return retention(config, console)


def load_agent(run: str | Path, device: str = "cpu", *, trust: bool = False) -> Agent:
    """Return the trained agent of a run, with its `carry`.

    Warns where training has met no empty memory in its last 50 updates: what the agent does in a new life is then not
    what it did in training, and `load_life` carries training's memory on.

    Args:
        run: directory of the run.
        device: where the agent computes.
        trust: import the code that the run names: a memory or an environment that is neither registered nor of an
            installed package.

    Raises:
        UserError: if there is no such run, its stream cannot be made here, or it names such code and is not trusted.
        CheckpointError: if its checkpoint cannot be read.
    """
    folder = Path(run)
    config = replace(on_device(open_run(folder, trust), device), cuda_graph="auto")
    stream = make_env(config, num_envs=1)
    try:
        with torch.random.fork_rng():  # `make_agent` seeds torch
            policy = make_agent(config, stream)
    finally:
        stream.close()
    facts = load_policy(folder, policy)
    resolved = config.resolved()
    lived = facts["steps"] - last_empty_memory(resolved, facts)
    updates = lived // ((resolved.segment or 1) * (resolved.num_envs or 1))
    if updates > MOST_UPDATES:
        warnings.warn(
            f"the agent of {folder} has met no empty memory in the last {updates:,} updates of its training, so new "
            f"lives may go worse: load_life({str(folder)!r}, agent) returns a state with the memory of training",
            stacklevel=2,
        )
    own = getattr(stream, "env_spaces", None)
    return Agent(policy, stream.single_observation_space, stream.single_action_space, config.carry, own)


def load_life(run: str | Path, agent: Agent, slots: int | Sequence[int] = 0, *, trust: bool = False) -> AgentState:
    """Return the state of lives of training, as copies: their memory, and the last action and reward.

    The agent's next step is the first of an episode.

    Args:
        run: directory of the run.
        agent: of the run, as `load_agent` returns it.
        slots: of the lives, from 0 to the run's `num_envs` - 1; a life may be copied several times.
        trust: as of `load_agent`.

    Raises:
        UserError: as `load_agent`.
        ValueError: if there is no such slot, or the agent has other spaces.
        CheckpointError: if the run's checkpoint cannot be read, or is of another memory.
    """
    folder, chosen = Path(run), [slots] if isinstance(slots, int) else list(slots)
    stream = make_env(open_run(folder, trust).resolved())
    stream.close()
    agent.check_spaces(stream)
    memory_state, position = load_lives(folder, agent.policy, stream)
    lives = position["life"].size
    if outside := [slot for slot in chosen if not 0 <= slot < lives]:
        raise ValueError(f"slots must lie in 0 to {lives - 1}, the lives of {run}: slots={outside[0]}")
    new = agent.initial_state(len(chosen))
    starts = {"lifetime": "life_start", "task": "task_start", "episode": None}[agent.carry]
    rows = {
        name: torch.from_numpy(position[name][chosen])
        for name in ("previous_action", "previous_reward", *([starts] if starts else []))
    }
    state = replace(
        new,
        memory=memory_state[chosen],
        previous_action=rows["previous_action"].to(new.previous_action),
        previous_reward=rows["previous_reward"].to(new.previous_reward),
        start=rows[starts].to(new.start.device) if starts else new.start,
    )
    agent.check_state(state)
    return state
