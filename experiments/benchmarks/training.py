"""Measure environment steps per second of recurrent PPO, acting and learning together.

    pip install 'lifelong-rl[bench]'
    lifelong bench training
    lifelong bench training --env MiniGrid-DoorKey-8x8-v0 --num-envs 64
    lifelong bench training --env MiniGrid-DoorKey-8x8-v0 --num-envs 64 --rooms

Ours with two memories beside sb3-contrib's RecurrentPPO, in one process, in turns: the same gymnasium environment and
observation, width, steps per update, epochs, minibatches and threads. Each turn is one update (collect, then learn);
the first of each is not counted. Prints a Markdown table of medians, their spread, and ratios.
"""

import importlib
import importlib.util
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium
import torch

from lifelong.agents import PPO, ActorCritic, Backbone, Encoder, PPOConfig, Rollout
from lifelong.envs import TaskStream, make_stream
from lifelong.envs.rooms.tasks import TASKS
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.experiments.settings.benchmarks.training import BenchConfig
from lifelong.memory import make_memory

__all__ = ["BenchConfig", "command", "main"]


def main(config: BenchConfig) -> str:
    """Measure and return the table."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    with as_user_error():
        turns: dict[str, Callable[[], None]] = {f"lifelong {name}": _ours(config, name) for name in config.memories}
    turns["sb3-contrib RecurrentPPO"] = _theirs(config)
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(config.turns + 1):
        for name, turn in turns.items():
            began = time.perf_counter()
            turn()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return _table(config, seconds)


def _ours(config: BenchConfig, memory: str) -> Callable[[], None]:
    env = _env(config)
    backbone = Backbone([make_memory(memory, config.width)])
    agent = ActorCritic(Encoder(env.single_observation_space, config.width), backbone, env.single_action_space)
    rollout = Rollout(agent, env)
    learner = PPO(agent, PPOConfig(lr=3e-4, epochs=config.epochs, minibatches=config.minibatches))

    def turn() -> None:
        report = learner.learn(rollout.collect(config.steps))
        if report["ratio_error"] > 1e-4:
            raise RuntimeError(f"acting and learning differ: max |ratio - 1| = {report['ratio_error']}")

    return turn


def _env(config: BenchConfig) -> TaskStream:
    if not config.rooms:
        return make_stream(f"gym:{config.env}", num_envs=config.num_envs)
    twins = {task.minigrid_id: name for name, task in TASKS.items()}
    if config.env not in twins:
        raise UserError(f"--rooms needs an --env that it has a twin of: {', '.join(twins)}, got {config.env!r}")
    return make_stream("rooms", num_envs=config.num_envs, task=twins[config.env])


def _theirs(config: BenchConfig) -> Callable[[], None]:
    if not importlib.util.find_spec("sb3_contrib"):
        raise UserError("sb3-contrib is not installed: pip install 'lifelong-rl[bench]'")
    from sb3_contrib import RecurrentPPO  # pyright: ignore[reportMissingImports]  of the `bench` extra
    from stable_baselines3.common.vec_env import DummyVecEnv  # pyright: ignore[reportMissingImports]

    def make() -> Any:
        if config.env.startswith(("MiniGrid-", "BabyAI-")):
            importlib.import_module("minigrid")  # registers its environments
        env = gymnasium.make(config.env)
        if config.env.startswith(("MiniGrid", "BabyAI")):
            from minigrid.wrappers import ImgObsWrapper

            env = gymnasium.wrappers.FlattenObservation(ImgObsWrapper(env))  # type: ignore[no-untyped-call]
        return env

    batch = config.num_envs * config.steps
    model = RecurrentPPO(
        "MlpLstmPolicy",
        DummyVecEnv([make] * config.num_envs),
        n_steps=config.steps,
        batch_size=batch // config.minibatches,
        n_epochs=config.epochs,
        policy_kwargs={"lstm_hidden_size": config.width, "net_arch": [config.width], "enable_critic_lstm": False,
                       "shared_lstm": True},
        device="cpu",
    )  # fmt: skip

    def turn() -> None:
        model.learn(batch, reset_num_timesteps=False)

    return turn


def _table(config: BenchConfig, seconds: dict[str, list[float]]) -> str:
    batch = config.num_envs * config.steps
    rival = median(seconds["sb3-contrib RecurrentPPO"])
    twin = " (ours: its twin in rooms)" if config.rooms else ""
    lines = [
        f"{config.env}{twin}, {config.num_envs} environments, {config.steps} steps, width {config.width}, "
        f"{config.epochs} epochs, {config.minibatches} minibatches, {config.threads} thread(s), "
        f"torch {torch.__version__}, {platform.machine()}, median of {config.turns} (least to most)",
        "",
        "| agent | steps/s | spread | ratio |",
        "| --- | --- | --- | --- |",
    ]
    for name, times in seconds.items():
        low, high = batch / max(times), batch / min(times)
        lines.append(
            f"| {name} | {batch / median(times):,.0f} | {low:,.0f} to {high:,.0f} | {rival / median(times):.2f} |"
        )
    return "\n".join(lines)


def command(config: BenchConfig) -> None:
    """Measure and print the table."""
    print(main(config))
