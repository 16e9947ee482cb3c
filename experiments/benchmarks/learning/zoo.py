"""Settings of Stable-Baselines3's PPO and sb3-contrib's RecurrentPPO, as RL Baselines3 Zoo publishes them.

Keys are those of its files `hyperparams/ppo.yml` and `hyperparams/ppo_lstm.yml`; `lin_x` falls linearly from x to 0.

Source: https://github.com/DLR-RM/rl-baselines3-zoo, commit 22e3ff2450fd92033f7f032915e1f64894a09584.
"""

from typing import Any, NamedTuple

__all__ = ["DEFAULTS", "IMAGE", "PPO", "RECURRENT", "Published"]

IMAGE = "minigrid.wrappers.ImgObsWrapper"
"""MiniGrid's image alone. The Zoo's wrapper adds 2,688 inputs for the characters of the mission, which is constant in
our tasks and would let an LSTM train for days."""


class Published(NamedTuple):
    """Settings, and where they were published."""

    settings: dict[str, Any]
    source: str


_LSTM = {
    "ortho_init": False,
    "activation_fn": "ReLU",
    "lstm_hidden_size": 64,
    "enable_critic_lstm": True,
    "net_arch": {"pi": [64], "vf": [64]},
}
_LARGE = {
    "log_std_init": -2,
    "ortho_init": False,
    "activation_fn": "ReLU",
    "net_arch": {"pi": [256, 256], "vf": [256, 256]},
}
_CARTPOLE = {
    "n_envs": 8, "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20, "ent_coef": 0.0,
    "learning_rate": "lin_0.001", "clip_range": "lin_0.2",
}  # fmt: skip
_ACROBOT = {
    "normalize": True, "n_envs": 16, "n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4, "ent_coef": 0.0,
}  # fmt: skip
_PENDULUM = {
    "n_envs": 4, "n_steps": 1024, "gae_lambda": 0.95, "gamma": 0.9, "n_epochs": 10, "ent_coef": 0.0,
    "learning_rate": 1e-3, "clip_range": 0.2, "use_sde": True, "sde_sample_freq": 4,
}  # fmt: skip
_LANDER = {
    "n_envs": 16, "n_steps": 1024, "batch_size": 64, "gae_lambda": 0.98, "gamma": 0.999, "n_epochs": 4,
    "ent_coef": 0.01,
}  # fmt: skip
_CHEETAH = {
    "normalize": True, "n_envs": 1, "batch_size": 64, "n_steps": 512, "gamma": 0.98, "learning_rate": 2.0633e-05,
    "ent_coef": 0.000401762, "clip_range": 0.1, "n_epochs": 20, "gae_lambda": 0.92, "max_grad_norm": 0.8,
    "vf_coef": 0.58096, "policy_kwargs": _LARGE,
}  # fmt: skip
_HOPPER = {
    "normalize": True, "n_envs": 1, "batch_size": 32, "n_steps": 512, "gamma": 0.999, "learning_rate": 9.80828e-05,
    "ent_coef": 0.00229519, "clip_range": 0.2, "n_epochs": 5, "gae_lambda": 0.99, "max_grad_norm": 0.7,
    "vf_coef": 0.835671, "policy_kwargs": _LARGE,
}  # fmt: skip
_MINIGRID = {
    "env_wrapper": "minigrid.wrappers.FlatObsWrapper", "normalize": True, "n_envs": 8, "n_steps": 128,
    "batch_size": 64, "gae_lambda": 0.95, "gamma": 0.99, "n_epochs": 10, "ent_coef": 0.0,
    "learning_rate": 2.5e-4, "clip_range": 0.2,
}  # fmt: skip

PPO = {
    "CartPole": Published(_CARTPOLE, "ppo.yml, CartPole-v1"),
    "Acrobot": Published(_ACROBOT, "ppo.yml, Acrobot-v1"),
    "Pendulum": Published(_PENDULUM, "ppo.yml, Pendulum-v1"),
    "LunarLander": Published(_LANDER, "ppo.yml, LunarLander-v3"),
    "HalfCheetah": Published(_CHEETAH, "ppo.yml, HalfCheetah-v4"),
    "Hopper": Published(_HOPPER, "ppo.yml, Hopper-v4"),
    "MiniGrid": Published(_MINIGRID, "ppo.yml, MiniGrid-DoorKey-5x5-v0"),
}
RECURRENT = {
    "CartPole": Published(_CARTPOLE | {"normalize": True, "policy_kwargs": _LSTM}, "ppo_lstm.yml, CartPoleNoVel-v1"),
    "Acrobot": Published(_ACROBOT, "ppo_lstm.yml, Acrobot-v1"),
    "Pendulum": Published(_PENDULUM | {"normalize": True, "policy_kwargs": _LSTM}, "ppo_lstm.yml, PendulumNoVel-v1"),
    "LunarLander": Published(
        _LANDER | {"normalize": True, "n_envs": 32, "n_steps": 512, "batch_size": 128, "policy_kwargs": _LSTM},
        "ppo_lstm.yml, LunarLanderNoVel-v2",
    ),
    "HalfCheetah": Published(_CHEETAH, "ppo_lstm.yml, HalfCheetah-v4"),
    "Hopper": Published(_HOPPER, "ppo_lstm.yml, Hopper-v4"),
    "MiniGrid": Published(
        _MINIGRID | {"env_wrapper": IMAGE},
        "ppo_lstm.yml has no MiniGrid: ppo.yml, MiniGrid-DoorKey-5x5-v0, of the image alone",
    ),
}
DEFAULTS = Published({"n_envs": 16}, "none published: the library's defaults, in 16 environments")
