"""Controllers of MuJoCo's InvertedPendulum and Reacher, computed from how each of them responds to an action.

The pole is balanced by an LQR of the cart. The arm moves by an LQR of its joints to the nearer of the two elbow angles
that put the fingertip on the target. Both are computed from the task's own step function, so they account for reversed,
weaker or exchanged torques.

Nothing here imports mujoco: the environments do.

Source: the bends of an arm of two links are the textbook's inverse kinematics.
"""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.lqr import Controller, Floats, linearised, lqr

__all__ = ["hold", "hold_foreseen", "reach", "reach_foreseen"]

Env = gymnasium.Env[Any, Any]

_UPPER, _LOWER = 0.1, 0.11
"""Lengths of Reacher's links, from joint to joint and from there to the fingertip."""

_ANGLE = 0.1
"""Cost of a squared angle in the LQR of Reacher, where a squared torque costs 1; found by search."""


def hold(env: Env) -> Controller:
    """Return the LQR controller of an InvertedPendulum around upright.

    Args:
        env: an environment, its drifts begun.
    """
    one = np.ones(1, np.float32)
    A, B = linearised(partial(_state_after, env), 4, [(-one, one)])
    return partial(_held, lqr(A, B, np.diag([1.0, 10.0, 1.0, 1.0])), _most(env))


def hold_foreseen(env: Env, observation: Floats, action: Any) -> Floats:
    """Return the next observation of an InvertedPendulum after an action in `observation`."""
    return _state_after(env, observation, action)


def reach(env: Env) -> Controller:
    """Return the LQR controller of a Reacher's joints toward its target.

    Args:
        env: an environment, its drifts begun.
    """
    units = np.eye(2, dtype=np.float32)
    A, B = linearised(partial(_arm_after, env), 4, [(-unit, unit) for unit in units])
    gain, most = lqr(A, B, np.diag([_ANGLE, _ANGLE, 0.0, 0.0])), _most(env)

    def control(observation: Floats) -> NDArray[Any]:
        return _held(gain, most, np.concatenate((-_bends_to(observation), observation[:, 6:8]), 1))

    return control


def reach_foreseen(env: Env, observation: Floats, action: Any) -> Floats:
    """Return the next observation of a Reacher after an action in `observation`."""
    inner: Any = env.unwrapped
    angles = _angles(observation[None])[0]
    inner.set_state(np.concatenate((angles, observation[4:6])), np.concatenate((observation[6:8], np.zeros(2))))
    return np.asarray(env.step(action)[0], np.float64)


def _held(gain: Floats, most: Floats, state: Floats) -> NDArray[Any]:
    """Return the torques -K x in states [B, ...], clipped to the bounds."""
    torque: NDArray[Any] = np.clip(-state @ gain.T, -most, most).astype(np.float32)
    return torque


def _most(env: Env) -> Floats:
    space: Any = env.action_space
    return np.asarray(space.high, np.float64)


def _state_after(env: Env, state: Floats, action: Any) -> Floats:
    inner: Any = env.unwrapped
    half = len(state) // 2
    inner.set_state(np.array(state[:half]), np.array(state[half:]))
    return np.asarray(env.step(action)[0], np.float64)


def _arm_after(env: Env, state: Floats, action: Any) -> Floats:
    """Return the joint angles and velocities of a Reacher after an action, its target at rest."""
    inner: Any = env.unwrapped
    still = np.zeros(2)
    inner.set_state(np.concatenate((state[:2], still)), np.concatenate((state[2:], still)))
    env.step(action)
    return np.concatenate((inner.data.qpos[:2], inner.data.qvel[:2]))


def _angles(observation: Floats) -> Floats:
    """Return the angles [B, 2] of the joints."""
    return np.arctan2(observation[:, 2:4], observation[:, 0:2])


def _bends_to(observation: Floats) -> Floats:
    """Return the joint angles [B, 2] to the target, or to the nearest reachable point."""
    angles = _angles(observation)
    target = observation[:, 4:6]
    far = np.hypot(*target.T)
    bend = np.arccos(np.clip((far**2 - _UPPER**2 - _LOWER**2) / (2 * _UPPER * _LOWER), -1.0, 1.0))
    ways = []
    for elbow in (bend, -bend):
        aside = np.arctan2(_LOWER * np.sin(elbow), _UPPER + _LOWER * np.cos(elbow))
        shoulder = np.arctan2(target[:, 1], target[:, 0]) - aside
        turn = (shoulder - angles[:, 0] + np.pi) % (2 * np.pi) - np.pi
        ways.append(np.stack((turn, elbow - angles[:, 1]), 1))
    first, other = ways
    nearer = np.square(first).sum(1) <= np.square(other).sum(1)
    return np.where(nearer[:, None], first, other)
