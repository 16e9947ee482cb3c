"""Agents of this library in the comparison: `memory` or `memory/carry`, trained with the preset of the stream."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lifelong.agents import AgentState
from lifelong.agents.carry import CARRY
from lifelong.agents.ppo_config import PPOConfig
from lifelong.envs import make_stream
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.benchmarks.learning.evaluation import SLOTS, play
from lifelong.experiments.runs.api import load_agent, train
from lifelong.experiments.runs.config import TrainConfig, in_front, with_horizons
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.presets import preset

__all__ = ["OurAgent", "changed_since", "config_of"]

_OF_THE_BENCH = {"ppo", "horizons", "steps", "evaluation_lives"}
"""Settings of a preset that are compared apart, or that the bench gives itself."""


def config_of(env_id: str, agent: str, steps: int, seed: int, run: Path) -> TrainConfig:
    """Return the settings of a training.

    Args:
        env_id: as gymnasium takes it.
        agent: name of a memory, with `/task` or `/episode` behind it for another `carry`.
        steps: of training.
        seed: of everything.
        run: folder of the run.

    Raises:
        UserError: if there is no such carry.
    """
    memory, _, carry = agent.partition("/")
    if carry and carry not in CARRY:
        raise UserError(f"behind the memory there may be one of {', '.join(CARRY)}: agent={agent}")
    more: dict[str, Any] = {"carry": carry} if carry else {}
    return TrainConfig(
        f"gym:{env_id}",
        memory,
        steps,
        seed=seed,
        name=run.name,
        runs=run.parent,
        evaluation_lives=0,
        evaluate_every="off",
        overwrite=True,
        processes=1,  # trials share the cores
        **more,
    )


def changed_since(settings: Mapping[str, Any]) -> list[str]:
    """Return what its preset says of an agent otherwise now than when it was trained, each as name, value then and now.

    Args:
        settings: of the training, as `OurAgent` has them; without the name of a preset nothing is compared.
    """
    if not settings.get("preset"):
        return []
    config = TrainConfig.from_json(settings)
    now = preset(config.preset)
    learning: PPOConfig = now["ppo"]
    pairs = {name: (getattr(config, name), value) for name, value in now.items() if name not in _OF_THE_BENCH}
    pairs |= {f.name: (getattr(config.learning, f.name), getattr(learning, f.name)) for f in fields(learning)}
    of_memory = with_horizons((), now["horizons"], config.memory, config.width)
    pairs["memory_options"] = config.memory_options, of_memory
    pairs["working_memory"] = config.working_memory, in_front(now["working_memory"], config.memory)
    return [f"{name} {was} then and {value} now" for name, (was, value) in pairs.items() if was != value]


class OurAgent:
    """Train an agent of this library; see `Trained`.

    Args:
        config: of the training.

    Raises:
        KeyboardInterrupt: if the training was interrupted.
    """

    def __init__(self, config: TrainConfig) -> None:
        outcome = train(config)
        if not outcome.finished:
            raise KeyboardInterrupt
        self.config, self.steps = config.resolved(), outcome.steps
        self.settings = {name: value for name, value in self.config.to_json().items() if name not in ("name", "runs")}
        rows = read_episodes(outcome.folder, ["train"], ["step", "return"])
        self.ends, self.returns = rows["step"], rows["return"].astype(np.float64)

    def evaluate(self, *, greedy: bool) -> NDArray[np.float64]:
        """Return the returns of new lives, each of which begins with an empty memory and keeps it as in training."""
        agent, state = load_agent(self.config.run, trust=True), list[AgentState]()

        def act(obs: Any, start: NDArray[np.bool_]) -> Any:  # the observation of a stream says itself where one starts
            action, after = agent.act(obs, state.pop() if state else None, deterministic=greedy)
            state.append(after)
            return action

        env = make_stream(self.config.stream, SLOTS)
        torch.manual_seed(self.config.seed)
        try:
            return play(env, act, evaluation_seed(self.config.seed))
        finally:
            env.close()
