"""Reference policies of the controls, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| only T | task T, and ignores the others; one for each task |
| only steady | of CartPole: one LQR that balances poles of very different lengths, found by search |
| within | all tasks; in each episode it identifies the present one from the transitions |
| cross | the same, and begins with the task of the episode before |
| oracle | all tasks, and which it is |

The controllers come from the environments themselves. A pole is balanced by the linear-quadratic regulator of the
environment's own step, linearised around upright; only its sign is used, as CartPole knows two actions. A pendulum is
swung up by pumping energy and held by the same kind of regulator. Those of MuJoCo are in `mujoco.py`.

Source: swinging up by energy is doi:10.1016/S0005-1098(99)00140-5.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lifelong.envs.gym_stream import make_task
from lifelong.envs.references.certificate import FIXED
from lifelong.envs.references.lqr import Controller, Floats, linearised, lqr
from lifelong.envs.references.mujoco import hold, hold_foreseen, reach, reach_foreseen
from lifelong.envs.references.policies import LearningPolicy, OraclePolicy, Policy, RandomPolicy
from lifelong.envs.streams.negative_controls import Control

__all__ = ["Identifying", "Only", "balance", "control_policies", "swing_up"]

Env = gymnasium.Env[Any, Any]
Foresight = Callable[[Env, Floats, Any], Floats]
"""Returns the next observation after an action in an observation."""

_STEADY = 0.0625, 0.307, 5.37, 2.38
"""The one of 576 LQRs with other weights that balances poles of 0.1, 0.5, 2 and 4 to the end."""

_LOOK = 20  # steps of an episode in which the task is identified; after them the estimate stays
_SURE = 1e-6  # squared error of a wrong prediction; right ones are off by rounding to float32


def control_policies(stream: Control) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    envs = [_begun(stream, number) for number in range(len(stream.tasks))]
    first: Any = stream.tasks[0]
    design, foresee = _DESIGNS[first.env_id]
    controllers = [design(env) for env in envs]

    def knowing() -> NDArray[Any]:
        observation = np.asarray(stream.base_observation(), np.float64)
        return _chosen([controller(observation) for controller in controllers], stream.base_task)

    fixed = {task.name: controller for task, controller in zip(stream.tasks, controllers, strict=True)}
    if design is balance:
        fixed["steady"] = partial(_pushed, np.array(_STEADY))
    return {
        "random": lambda: RandomPolicy(stream.single_action_space, stream.seed),
        **{f"{FIXED} {name}": partial(Only, controller) for name, controller in fixed.items()},
        "within": lambda: Identifying(stream.num_envs, envs, controllers, foresee, wiped=True),
        "cross": lambda: Identifying(stream.num_envs, envs, controllers, foresee),
        "oracle": lambda: OraclePolicy(knowing),
    }


class Only:
    """Policy of one controller in all tasks.

    Args:
        controller: of one task.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the next actions."""
        return self.controller(np.asarray(obs["observation"], np.float64))


class Identifying(LearningPolicy):
    """Policy that identifies the task by predicting transitions with each task's environment.

    Args:
        num_envs: B, lives side by side.
        envs: an environment of each task, its drifts begun.
        controllers: of each task.
        foresee: predicts the next observation after an action.
        wiped: whether the estimate is reset at every episode's start.
    """

    def __init__(
        self,
        num_envs: int,
        envs: list[Env],
        controllers: list[Controller],
        foresee: Foresight,
        *,
        wiped: bool = False,
    ) -> None:
        super().__init__(wiped=wiped)
        self.envs, self.controllers, self.foresee = envs, controllers, foresee
        self.error = np.zeros((num_envs, len(envs)))
        self.guess = np.zeros(num_envs, np.int64)
        self.steps = np.zeros(num_envs, np.int64)  # of this episode
        self.before: Floats | None = None  # the previous observation

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the next actions."""
        observation = np.asarray(obs["observation"], np.float64)
        started = obs["episode_start"][:, 0] > 0
        self.guess[self.resets(obs, life_start)] = 0
        self.error[started] = 0.0
        self.steps = np.where(started, 0, self.steps + 1)
        unsure = (np.sort(self.error, 1)[:, 1] < _SURE) & (self.steps <= _LOOK)
        for slot in np.flatnonzero(unsure & ~started):
            assert self.before is not None  # noqa: S101  an episode has begun
            for number, env in enumerate(self.envs):
                foreseen = self.foresee(env, self.before[slot], obs["previous_action"][slot])
                self.error[slot, number] += np.square(foreseen - observation[slot]).sum()
        refuted = self.error[np.arange(len(self.guess)), self.guess] > _SURE
        self.guess = np.where(refuted, self.error.argmin(1), self.guess)
        self.before = observation
        return _chosen([controller(observation) for controller in self.controllers], self.guess)


def balance(env: Env) -> Controller:
    """Return the bang-bang controller of a CartPole: the sign of its LQR.

    Args:
        env: an environment, its drifts begun.
    """
    A, B = linearised(partial(_state_after, env), 4, [(0, 1)])
    K = lqr(A, B, np.diag([1.0, 1.0, 10.0, 1.0]))
    return partial(_pushed, -K[0])


def swing_up(env: Env) -> Controller:
    """Return the controller of a Pendulum: its LQR near upright, energy pumping elsewhere.

    Args:
        env: an environment, its drifts begun.
    """
    pendulum: Any = env.unwrapped
    one = np.ones(1, np.float32)
    A, B = linearised(partial(_state_after, env), 2, [(-one, one)])
    K = lqr(A, B, np.diag([1.0, 0.1]))
    sign, most, pull = np.sign(B[1, 0]), pendulum.max_torque, 3 * pendulum.g / (2 * pendulum.l)

    def control(observation: Floats) -> NDArray[Any]:
        angle, speed = np.arctan2(observation[:, 1], observation[:, 0]), observation[:, 2]
        held = -(K[0, 0] * angle + K[0, 1] * speed)
        energy = 0.5 * speed**2 + pull * (observation[:, 0] - 1)  # 0 at rest upright
        pumped = -sign * most * np.sign(energy) * np.where(speed >= 0, 1.0, -1.0)
        near = np.abs(held) < 2 * most
        torque: NDArray[Any] = np.clip(np.where(near, held, pumped), -most, most)[:, None].astype(np.float32)
        return torque

    return control


def _pushed(gain: Floats, observation: Floats) -> NDArray[np.int64]:
    """Return the pushes of CartPole by the sign of the LQR."""
    right: NDArray[np.bool_] = observation @ gain > 0
    return right.astype(np.int64)


def _begun(stream: Control, number: int) -> Env:
    """Return an environment of a task, its drifts begun."""
    task: Any = stream.tasks[number]
    env = make_task(task)
    env.reset(seed=0)
    return env


def _state_after(env: Env, state: Floats, action: Any) -> Floats:
    inner: Any = env.unwrapped
    inner.state, inner.steps_beyond_terminated = np.array(state), None
    env.step(action)
    return np.asarray(inner.state, np.float64)


def _moved(env: Env, observation: Floats, action: Any) -> Floats:
    """Return the next observation of an environment after an action in `observation`."""
    inner: Any = env.unwrapped
    state = (
        observation if len(observation) == 4 else np.array([np.arctan2(observation[1], observation[0]), observation[2]])
    )
    inner.state, inner.steps_beyond_terminated = state, None
    return np.asarray(env.step(action)[0], np.float64)


_DESIGNS: dict[str, tuple[Callable[[Env], Controller], Foresight]] = {
    "CartPole-v1": (balance, _moved),
    "Pendulum-v1": (swing_up, _moved),
    "InvertedPendulum-v5": (hold, hold_foreseen),
    "Reacher-v5": (reach, reach_foreseen),
}
"""Controller and predictor of each environment."""


def _chosen(options: list[NDArray[Any]], which: NDArray[np.int64]) -> NDArray[Any]:
    """Return for each life the entry of its option."""
    return np.stack(options)[which, np.arange(which.size)]
