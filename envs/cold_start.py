"""Cold start of MuJoCo's simulation, for environments whose reset sets a part of its state only."""

import importlib
from typing import Any

import gymnasium
import numpy as np

__all__ = ["ColdStart"]


class ColdStart(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrap an environment of MuJoCo so that each episode begins from the whole state after its construction.

    A reset that sets positions and velocities alone leaves the controls and the solver's first guess of the episode
    before, and with them differences of about 1e-14, which grow.

    Args:
        env: with MuJoCo's `model` and `data`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._mujoco: Any = importlib.import_module("mujoco")
        self._kind = self._mujoco.mjtState.mjSTATE_INTEGRATION
        inner: Any = env.unwrapped
        self._state = np.empty(self._mujoco.mj_stateSize(inner.model, self._kind))
        self._mujoco.mj_getState(inner.model, inner.data, self._state, self._kind)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        inner: Any = self.env.unwrapped
        self._mujoco.mj_setState(inner.model, inner.data, self._state, self._kind)
        return self.env.reset(seed=seed, options=options)
