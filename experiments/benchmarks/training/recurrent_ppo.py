"""sb3-contrib's RecurrentPPO in a stream."""

from typing import Any

import numpy as np
from gymnasium import spaces

from lifelong.agents.ppo_config import PPOConfig
from lifelong.experiments.benchmarks.training.worlds import FlatEnv

__all__ = ["recurrent_ppo", "vec_env"]


def vec_env(env: FlatEnv) -> Any:
    """Return a flat environment as Stable-Baselines3 steps it.

    Args:
        env: to act in.

    Raises:
        ImportError: if Stable-Baselines3 is not installed.
    """
    from stable_baselines3.common.vec_env import VecEnv  # pyright: ignore[reportMissingImports]  of the `bench` extra

    class StreamVecEnv(VecEnv):  # type: ignore[misc,unused-ignore] # Any where the extra is not installed
        """A flat environment as Stable-Baselines3 steps it."""

        def __init__(self) -> None:
            bound = np.full(env.size, np.inf, np.float32)
            super().__init__(env.num_envs, spaces.Box(-bound, bound), spaces.Discrete(env.actions))

        def reset(self) -> Any:
            """Begin anew and return observations."""
            return env.reset()

        def step_async(self, actions: Any) -> None:
            """Keep the actions of the next step."""
            self._chosen = actions

        def step_wait(self) -> Any:
            """Step, and return observations, rewards, ends, and a dict for each environment."""
            obs, reward, terminated, truncated, final = env.step(self._chosen)
            infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            if final is not None:
                for slot in np.flatnonzero(truncated & ~terminated):
                    infos[slot] = {"terminal_observation": final[slot], "TimeLimit.truncated": True}
            return obs, reward, terminated | truncated, infos

        def close(self) -> None:
            """Close the stream."""
            env.stream.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            """Return an attribute of the stream for each environment."""
            return [getattr(env.stream, attr_name, None)] * self.num_envs

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            """Refuse: environments of a stream have no attributes of their own."""
            raise NotImplementedError(attr_name)

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            """Refuse: environments of a stream have no methods of their own."""
            raise NotImplementedError(method_name)

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            """Return False for each environment."""
            return [False] * self.num_envs

    return StreamVecEnv()


def recurrent_ppo(env: FlatEnv, width: int, steps: int, config: PPOConfig) -> Any:
    """Return a RecurrentPPO with one LSTM for policy and value; `learn(steps, reset_num_timesteps=False)` goes on.

    Args:
        env: to act in.
        width: of the LSTM and of the layer behind it.
        steps: T, steps of each environment between two updates.
        config: of PPO.

    Raises:
        ImportError: if sb3-contrib is not installed.
    """
    from sb3_contrib import RecurrentPPO  # pyright: ignore[reportMissingImports]  of the `bench` extra

    return RecurrentPPO(
        "MlpLstmPolicy",
        vec_env(env),
        learning_rate=config.lr,
        n_steps=steps,
        batch_size=env.num_envs * steps // config.minibatches,
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_epsilon,
        ent_coef=config.entropy_coef,
        vf_coef=config.value_coef,
        max_grad_norm=config.max_grad_norm,
        policy_kwargs={"lstm_hidden_size": width, "net_arch": [width], "enable_critic_lstm": False,
                       "shared_lstm": True},
        device="cpu",
    )  # fmt: skip
