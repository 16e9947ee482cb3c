"""Control streams: tasks change, and memory across episodes gains nothing.

The differences between a control's tasks are observable in the first steps of every episode, or irrelevant to a good
policy. So a loss when the task changes is not due to missing memory across episodes.

| stream | tasks | one policy for all? |
| --- | --- | --- |
| cartpole-sign | CartPole as it is, and with its two actions exchanged | no: opposite actions |
| cartpole-length | poles of 1/5, 1, 4 and 8 times the length | yes, but not the best one of the plain pole |
| cartpole-physics | gravity, pushes and masses of 1/5 to 4 times | yes: the best of any task |
| pendulum-sign | Pendulum as it is, and with its torque reversed | no |
| inverted-pendulum-gear | InvertedPendulum with its gear as it is, at 2/5, and turned round | no |
| reacher-sign | Reacher as it is, with both torques reversed, and with each joint getting the other's | no |

The last two are of MuJoCo: `pip install 'lifelong-rl[mujoco]'`.

A stream where one policy solves all tasks is a negative control: no task requires unlearning another, so a loss there
is interference in the slow weights alone.
"""

from collections.abc import Sequence
from typing import Any

from lifelong.envs.drifts.actions import ReversedActions, ShuffledActions
from lifelong.envs.drifts.base import Drift
from lifelong.envs.drifts.physics import Actuators, Gravity, Length, Mass, Physics
from lifelong.envs.gym_stream import GymStream
from lifelong.envs.gym_task import GymTask
from lifelong.envs.schedules import Cyclic
from lifelong.envs.stream import References

__all__ = [
    "Control",
    "cartpole_length",
    "cartpole_physics",
    "cartpole_sign",
    "inverted_pendulum_gear",
    "pendulum_sign",
    "reacher_sign",
]


_RANDOM = {
    "plain": 22.2,
    "reversed": 22.2,
    "length x 0.2": 8.9,
    "length x 4": 49.7,
    "length x 8": 73.4,
    "gravity x 0.2": 24.6,
    "gravity x 3": 18.8,
    "actuators x 0.5": 29.3,
    "actuators x 4": 10.4,
    "mass x 0.2": 9.5,
    "mass x 2": 29.3,
}
"""Scores of random pushes in CartPole, measured, to 3 %."""

_PENDULUM = References(random=-1204.0, within=-148.0, cross=-146.0, oracle=-146.0)
"""Scores of random torques and the controllers of `control_policies`, measured, to 3 %; better ones may exist."""

_INVERTED_PENDULUM = {"plain": 5.0, "gear x 0.4": 9.0, "reversed": 5.0}
"""Scores of random pushes in InvertedPendulum, measured, to 3 %."""

_REACHER = {
    "plain": References(random=-43.0, within=-3.58, cross=-3.6, oracle=-3.58),
    "reversed": References(random=-43.0, within=-4.85, cross=-3.7, oracle=-3.58),
    "swapped": References(random=-43.0, within=-3.88, cross=-3.65, oracle=-3.58),
}
"""Scores of random torques and the controllers of `references/mujoco.py`, measured, to 3 %; better ones may exist."""


class Control(GymStream):
    """Task stream over drifting versions of one environment; arguments as for `GymStream`."""


def cartpole_sign(num_envs: int = 1, **settings: Any) -> Control:
    """Return lives in which left and right change places every 10 episodes; settings as for `GymStream`."""
    return _cartpole(num_envs, {"plain": (), "reversed": (ReversedActions(),)}, settings)


def cartpole_length(num_envs: int = 1, **settings: Any) -> Control:
    """Return lives with poles of four lengths, 10 episodes each; settings as for `GymStream`."""
    others = {f"length x {factor:g}": (Length(factor),) for factor in (0.2, 4.0, 8.0)}
    return _cartpole(num_envs, {"plain": (), **others}, settings)


def cartpole_physics(num_envs: int = 1, **settings: Any) -> Control:
    """Return lives with other gravity, pushes and masses, 10 episodes each; settings as for `GymStream`."""
    drifts: list[Physics] = [Gravity(0.2), Gravity(3.0), Actuators(0.5), Actuators(4.0), Mass(0.2), Mass(2.0)]
    names = [f"{type(drift).__name__.lower()} x {drift.factor:g}" for drift in drifts]
    return _cartpole(num_envs, {"plain": (), **{n: (d,) for n, d in zip(names, drifts, strict=True)}}, settings)


def pendulum_sign(num_envs: int = 1, **settings: Any) -> Control:
    """Return lives in which the torque is reversed every 10 episodes; settings as for `GymStream`."""
    drifts: dict[str, Sequence[Drift]] = {"plain": (), "reversed": (ReversedActions(),)}
    tasks = [GymTask(name, _PENDULUM, env_id="Pendulum-v1", drifts=some) for name, some in drifts.items()]
    return _control(num_envs, tasks, settings)


def inverted_pendulum_gear(num_envs: int = 1, **settings: Any) -> Control:
    """Return lives with a cart pushed as it is, more weakly, and the wrong way, 10 episodes each.

    Settings as for `GymStream`.
    """
    drifts: dict[str, Sequence[Drift]] = {
        "plain": (),
        "gear x 0.4": (Actuators(0.4),),
        "reversed": (Actuators(-1.0),),
    }
    held = {"within": 1000.0, "cross": 1000.0, "oracle": 1000.0}  # the longest episode, with every step paid
    tasks = [
        GymTask(name, References(random=_INVERTED_PENDULUM[name], **held), env_id="InvertedPendulum-v5", drifts=some)
        for name, some in drifts.items()
    ]
    return _control(num_envs, tasks, settings)


def reacher_sign(num_envs: int = 1, **settings: Any) -> Control:
    """Return lives in which torques are reversed or change joints every 10 episodes; settings as for `GymStream`."""
    drifts: dict[str, Sequence[Drift]] = {
        "plain": (),
        "reversed": (ReversedActions(),),
        "swapped": (ShuffledActions(),),
    }
    tasks = [GymTask(name, _REACHER[name], env_id="Reacher-v5", drifts=some) for name, some in drifts.items()]
    return _control(num_envs, tasks, settings)


def _cartpole(num_envs: int, drifts: dict[str, Sequence[Drift]], settings: dict[str, Any]) -> Control:
    balanced = {"within": 500.0, "cross": 500.0, "oracle": 500.0}  # the longest episode, with every step paid
    tasks = [
        GymTask(name, References(random=_RANDOM[name], **balanced), env_id="CartPole-v1", drifts=some)
        for name, some in drifts.items()
    ]
    return _control(num_envs, tasks, settings)


def _control(num_envs: int, tasks: list[GymTask], settings: dict[str, Any]) -> Control:
    usual: dict[str, Any] = {"schedule": Cyclic(10), "life_episodes": 10 * len(tasks)}
    return Control(tasks, num_envs, **(usual | settings))
