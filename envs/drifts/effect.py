"""Check that drifts have an effect: equal random actions with and without them must give different steps."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from lifelong.action_spaces import as_actions, batch_of, no_action, spread_rows
from lifelong.envs.drifts.base import Drift, Drifted, environment_name
from lifelong.envs.rng import Purpose, normal, uniform

__all__ = ["check_effect", "check_effect_on_lives", "effect", "random_rollout"]

_EPISODES, _STEPS = 8, 64  # compared in one environment: so many episodes, of so many steps at most

Played = Iterator[tuple[Any, Any, Any, Any]]


def effect(env: gymnasium.Env[Any, Any], drifts: Sequence[Drift]) -> float:
    """Return the share of steps that differ between episodes with and without drifts, at the same random actions.

    Args:
        env: an environment without drifts; it is reset.
        drifts: the drifts.
    """
    return _compare(env, drifts)[0]


def check_effect(env: gymnasium.Env[Any, Any], drifts: Sequence[Drift]) -> None:
    """Validate that drifts change an environment, each alone and all together.

    Drifts of rewards pass where random actions meet no reward.

    Args:
        env: an environment without drifts; it is reset.
        drifts: the drifts.

    Raises:
        ValueError: if one has no effect; names it and the environment.
    """
    for some in _each_and_all(drifts):
        share, rewarded = _compare(env, some)
        _validate(some, share > 0, rewarded, f"{environment_name(env)}: {_EPISODES} episodes")


def check_effect_on_lives(drifts: Sequence[Drift], play: Callable[[Sequence[Drift]], Played], where: str) -> None:
    """Validate that drifts change a stream, each alone and all together.

    Args:
        drifts: the drifts.
        play: plays new lives with some of them at the same random actions; see `random_rollout`.
        where: the stream and the number of steps, for the message.

    Raises:
        ValueError: if one has no effect; names it and the stream.
    """
    base = list(play(()))
    rewarded = any(bool(np.any(rewards)) for _, rewards, _, _ in base)
    for some in _each_and_all(drifts):
        with closing(play(some)) as played:  # type: ignore[type-var]
            differs = any(not _same(*pair) for pair in zip(base, played, strict=True))
        _validate(some, differs, rewarded, where)


def random_rollout(
    reset: Callable[[], tuple[Any, Any]],
    step: Callable[[Any], tuple[Any, Any, Any, Any, Any]],
    space: spaces.Space[Any],
    seed: int,
    num_envs: int,
    steps: int,
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield observation, rewards, terminated and truncated of new lives at random actions, the same in all of them."""
    yield reset()[0]["observation"], 0.0, False, False
    for t in range(steps):
        obs, reward, terminated, truncated, _ = step(batch_of(_random_action(space, seed, t), num_envs))
        yield obs["observation"], reward, terminated, truncated


def _each_and_all(drifts: Sequence[Drift]) -> list[tuple[Drift, ...]]:
    return list(dict.fromkeys([*((drift,) for drift in drifts), tuple(drifts)]))


def _validate(drifts: Sequence[Drift], differs: bool, rewarded: bool, where: str) -> None:
    if not differs and (rewarded or not all(drift.reward_only for drift in drifts)):
        what = drifts[0] if len(drifts) == 1 else f"{list(drifts)} together"
        raise ValueError(f"{what} has no effect on {where} of random actions were the same without")


def _compare(env: gymnasium.Env[Any, Any], drifts: Sequence[Drift]) -> tuple[float, bool]:
    """Return the share of steps that differ, and whether there was a reward without the drifts."""
    wrapped, differ, total, rewarded = Drifted(env), 0, 0, False
    for seed in range(_EPISODES):
        wrapped.drifts = ()
        base = _play(wrapped, seed)
        wrapped.drifts = tuple(drifts)
        other = _play(wrapped, seed)
        wrapped.undo()
        differ += abs(len(base) - len(other)) + sum(not _same(*pair) for pair in zip(base, other, strict=False))
        total += max(len(base), len(other))
        rewarded = rewarded or any(float(step[1]) != 0 for step in base[1:])
    return differ / total, rewarded


def _play(env: gymnasium.Env[Any, Any], seed: int) -> list[tuple[Any, ...]]:
    """Return observation, reward, terminated and truncated of each step of an episode of random actions."""
    steps: list[tuple[Any, ...]] = [(copy.deepcopy(env.reset(seed=seed)[0]),)]
    for t in range(_STEPS):
        obs, reward, terminated, truncated, _ = env.step(_random_action(env.action_space, seed, t))
        steps.append((copy.deepcopy(obs), reward, terminated, truncated))
        if terminated or truncated:
            break
    return steps


def _random_action(space: spaces.Space[Any], seed: int, step: int) -> Any:
    if isinstance(space, spaces.Discrete):
        return int(space.start + int(uniform(seed, Purpose.POLICY, step) * int(space.n)))
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        entries = np.arange(int(np.prod(space.shape))).reshape(space.shape)
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        low, high = np.where(bounded, space.low, 0.0), np.where(bounded, space.high, 0.0)
        inside = low + uniform(seed, Purpose.POLICY, step, entries) * (high - low)
        anywhere = np.clip(normal(seed, Purpose.POLICY, step, entries), space.low, space.high)
        return np.where(bounded, inside, anywhere).astype(space.dtype)
    return as_actions(space, spread_rows(space, uniform(seed, Purpose.POLICY, step, np.arange(no_action(space).size))))


def _same(one: Any, other: Any) -> bool:
    """Return whether all numbers of two observations, or tuples of them, are equal."""
    if isinstance(one, dict):
        return all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return bool(np.array_equal(one, other))
