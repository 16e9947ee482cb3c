from typing import Any

import gymnasium
import numpy as np
import pytest

from lifelong.envs.cold_start import ColdStart

mujoco = pytest.importorskip("mujoco")

SLIDE = """
<mujoco>
  <worldbody><body><joint name="x" type="slide" damping="1"/><geom size="1" mass="1"/></body></worldbody>
  <actuator><motor joint="x"/></actuator>
</mujoco>
"""


class Careless(gymnasium.Env[Any, Any]):
    """Sets position and velocity at a reset, then lets go for a step, with the controls of the episode before."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(SLIDE)
        self.data = mujoco.MjData(self.model)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.data.qpos[:] = self.data.qvel[:] = 0
        mujoco.mj_step(self.model, self.data)
        return self.data.qvel.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data)
        return self.data.qvel.copy(), 0.0, False, False, {}


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_episode_begins_as_the_first_did(wrapped: bool) -> None:
    env: gymnasium.Env[Any, Any] = ColdStart(Careless()) if wrapped else Careless()
    first, _ = env.reset()
    env.step(np.ones(1))
    assert np.array_equal(env.reset()[0], first) == wrapped
