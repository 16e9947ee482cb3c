"""Stable-Baselines3's PPO and sb3-contrib's RecurrentPPO in the comparison, as RL Baselines3 Zoo trains them."""

import importlib
from collections.abc import Callable, Mapping
from math import log
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from lifelong.agents.scaling import Normalize, Scaling
from lifelong.experiments.benchmarks.learning.evaluation import SLOTS, play
from lifelong.experiments.benchmarks.learning.tasks import LearningTask
from lifelong.experiments.benchmarks.learning.zoo import IMAGE, Published
from lifelong.experiments.runs.config import TrainConfig
from lifelong.registry import load

__all__ = ["StableBaselinesAgent", "make_env", "published"]

_EVALUATION = 10**9  # seeds of evaluation begin here, those of training at the trial's own


def published(task: LearningTask, agent: str) -> Published:
    """Return the settings of an agent of `OTHERS` in a task, and their source."""
    recurrent = agent.startswith("sb3-recurrent-ppo")
    if not agent.endswith("/ours"):
        return task.recurrent if recurrent else task.ppo
    ours = TrainConfig(f"gym:{task.env_id}").resolved()
    learning, batch = ours.learning, (ours.num_envs or 1) * (ours.segment or 1)
    network: dict[str, Any] = {"net_arch": [ours.width], "log_std_init": log(ours.initial_std or 1.0)}
    if recurrent:
        network |= {"lstm_hidden_size": ours.width, "shared_lstm": True, "enable_critic_lstm": False}
    settings = {
        "n_envs": ours.num_envs,
        "n_steps": ours.segment,
        "batch_size": batch // learning.minibatches,
        "n_epochs": learning.epochs,
        "learning_rate": f"lin_{learning.lr}",
        "clip_range": learning.clip_epsilon,
        "gamma": learning.gamma,
        "gae_lambda": learning.gae_lambda,
        "ent_coef": learning.entropy_coef,
        "vf_coef": learning.value_coef,
        "max_grad_norm": learning.max_grad_norm,
        "normalize": {"norm_obs": ours.normalize_observation, "norm_reward": learning.normalize_reward == "on"},
        "policy_kwargs": network,
    }
    if task.published == "MiniGrid":
        settings["env_wrapper"] = IMAGE
    return Published(settings, "those of our agents")


def make_env(env_id: str, wrapper: str | None = None) -> gymnasium.Env[Any, Any]:
    """Return an environment whose observations these agents can read: a Discrete or vector, others as one vector.

    Args:
        env_id: as `gymnasium.make` takes it.
        wrapper: `module.Class` around it; None is none.
    """
    if env_id.startswith("MiniGrid-") and env_id not in gymnasium.registry:
        importlib.import_module("minigrid")  # registers its environments
    env: gymnasium.Env[Any, Any] = gymnasium.make(env_id, disable_env_checker=True)
    if wrapper is not None:
        module, _, name = wrapper.rpartition(".")
        env = load("wrapper", f"{module}:{name}")(env)
    space = env.observation_space
    if not isinstance(space, spaces.Box | spaces.Discrete) or len(space.shape or ()) > 1:
        env = gymnasium.wrappers.FlattenObservation(env)
    return env


def normalises(space: spaces.Space[Any], normalize: Normalize) -> bool:
    """Return whether our agents normalise numbers of a Box, or of a Discrete, which has none."""
    return isinstance(space, spaces.Box) and Scaling({("observation",): space}, normalize).running


class StableBaselinesAgent:
    """Train an agent of Stable-Baselines3 or sb3-contrib; see `Trained`.

    Args:
        task: where.
        agent: one of `OTHERS`.
        steps: of training, rounded up to whole rollouts.
        seed: of everything.
    """

    def __init__(self, task: LearningTask, agent: str, steps: int, seed: int) -> None:
        from stable_baselines3.common.monitor import Monitor  # pyright: ignore[reportMissingImports]  of `bench`
        from stable_baselines3.common.vec_env import (  # pyright: ignore[reportMissingImports]
            DummyVecEnv,
            VecNormalize,
        )

        torch.set_num_threads(1)
        self.seed, found = seed, published(task, agent)
        rest = dict(found.settings)
        number, wrapper, normalize = (rest.pop(n, default) for n, default in _OF_ENV.items())
        self.make: Callable[[], gymnasium.Env[Any, Any]] = lambda: make_env(task.env_id, wrapper)
        env: Any = DummyVecEnv([lambda: Monitor(self.make())] * number)
        if normalize:
            of_env = {"gamma": rest["gamma"]} if "gamma" in rest else {}
            if isinstance(normalize, Mapping):
                normalize = {**normalize, "norm_obs": normalises(env.observation_space, normalize["norm_obs"])}
                of_env |= normalize
            env = VecNormalize(env, **of_env)
        recurrent = agent.startswith("sb3-recurrent-ppo")
        kind = load("agent", "sb3_contrib:RecurrentPPO" if recurrent else "stable_baselines3:PPO")
        policy = "MlpLstmPolicy" if recurrent else "MlpPolicy"
        self.model = kind(policy, env, seed=seed, device="cpu", **_as_arguments(rest))
        ends, returns = list[int](), list[float]()

        def note(now: dict[str, Any], _: dict[str, Any]) -> bool:
            over = [info["episode"]["r"] for info in now["infos"] if "episode" in info]
            ends.extend([self.model.num_timesteps] * len(over))
            returns.extend(over)
            return True

        self.model.learn(steps, callback=note)
        self.steps: int = self.model.num_timesteps
        self.settings = {**found.settings, "normalize": normalize, "source": found.source}
        self.ends, self.returns = np.array(ends, np.int64), np.array(returns, np.float64)

    def evaluate(self, *, greedy: bool) -> NDArray[np.float64]:
        """Return the returns of new environments, observations normalised as at the end of training."""
        model, normalizer = self.model, self.model.get_vec_normalize_env()
        state: list[Any] = [None]
        steps = 0

        def act(obs: Any, start: NDArray[np.bool_]) -> Any:
            nonlocal steps
            if model.use_sde and steps % max(model.sde_sample_freq, 1) == 0:
                model.policy.reset_noise(SLOTS)
            steps += 1
            shown = obs if normalizer is None else normalizer.normalize_obs(obs)
            action, state[0] = model.predict(shown, state[0], start, deterministic=greedy)
            return action

        env = SyncVectorEnv([self.make] * SLOTS, autoreset_mode=AutoresetMode.SAME_STEP)
        torch.manual_seed(self.seed)
        try:
            return play(env, act, _EVALUATION + 1000 * self.seed)
        finally:
            env.close()


_OF_ENV: dict[str, Any] = {"n_envs": 1, "env_wrapper": None, "normalize": False}
"""Settings of the Zoo that are not the algorithm's, and their defaults."""


def _as_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the constructor takes them: linear schedules and activations by name."""
    made: dict[str, Any] = {name: _schedule(value) for name, value in settings.items() if name != "policy_kwargs"}
    network = dict(settings.get("policy_kwargs", {}))
    if "activation_fn" in network:
        network["activation_fn"] = getattr(torch.nn, network["activation_fn"])
    return made | {"policy_kwargs": network}


def _schedule(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    first = float(value.removeprefix("lin_"))
    return lambda left: left * first
