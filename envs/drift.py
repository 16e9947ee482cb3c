"""Drift: what differs from an environment as it is made, as data; so one environment makes many tasks.

    GymStream([GymTask("plain", env_id="CartPole-v1"),
               GymTask("heavy", env_id="CartPole-v1", drifts=[Gravity(4.0), StickyActions(0.25)])])

or in text `make_stream("gym:CartPole-v1", drifts="plain/gravity:4+sticky_actions:0.25")`, see `drifts.py`.

| drift | what it does | found in |
| --- | --- | --- |
| ReversedActions, ShuffledActions, DelayedActions, StickyActions | what is done of what was chosen | action_drift |
| ShuffledObservations, RotatedObservations, NoisyObservations | what is shown | observation_drift |
| RemappedColours, SwappedObjects | what MiniGrid shows | observation_drift |
| ScaledRewards, DelayedRewards | what is paid | reward_drift |
| Gravity, Mass, Length, Friction, Damping, Actuators | the physics | physics_drift |

A drift begins with an episode and is undone before the next. What it draws is a function of the episode's seed, so that
an episode stays a pure function of (task, episode seed, actions). Several act from the inside out: the first one stands
next to the environment.

A drift that changes nothing there is an error, not a task like any other: see `check_effect`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from lifelong.envs.draws import Purpose, bits, normal, uniform

__all__ = ["Change", "Drift", "Drifted", "check_effect", "effect"]

_EPISODES, _STEPS = 8, 64  # an effect is looked for in that many episodes of that many steps at most


class Change:
    """A drift at work in one episode; this one changes nothing."""

    def action(self, action: Any) -> Any:
        """Return what is done when `action` was chosen."""
        return action

    def observation(self, seen: Any) -> Any:
        """Return what is shown when the environment showed `seen`; not to be written to."""
        return seen

    def reward(self, reward: float, over: bool) -> float:
        """Return what is paid for a step that was worth `reward`; `over` if it was the last."""
        return reward

    def undo(self) -> None:
        """Put back what was edited in the environment."""


class Drift(ABC):
    """What differs from an environment as it is made; a frozen dataclass of its strength."""

    reward_only: ClassVar[bool] = False
    """Whether nothing differs but what is paid."""

    @abstractmethod
    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return what the drift does in an episode that is about to be reset.

        Args:
            env: the environment as the drift finds it, other drifts of the same task not seen.
            seed: of what the drift draws in this episode.

        Raises:
            ValueError: if there is nothing in the environment that the drift could change.
        """


class Drifted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment with drifts.

    Args:
        env: the environment; its spaces stay as they are.
        drifts: what differs in the episodes to come, the one next to the environment first.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], drifts: Sequence[Drift] = ()) -> None:
        super().__init__(env)
        self.drifts = tuple(drifts)
        self._changes: list[Change] = []

    def undo(self) -> None:
        """Make the environment what it was before the first drift."""
        while self._changes:
            self._changes.pop().undo()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Undo the last episode's drifts, and begin one with the present drifts.

        Raises:
            ValueError: if there are drifts and no seed, or a drift has nothing to change here.
        """
        self.undo()
        if self.drifts and seed is None:
            raise ValueError(f"an episode with drifts needs a seed: seed=None, drifts={list(self.drifts)}")
        for place, drift in enumerate(self.drifts):
            own = int(bits(seed or 0, Purpose.DRIFT, place))
            try:
                self._changes.append(drift.begin(self.env, own))
            except ValueError as error:
                self.undo()
                raise ValueError(f"{drift} does not fit {_name(self.env)}: {error}") from error
        seen, info = self.env.reset(seed=seed, options=options)
        return self._shown(seen), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Do one step as the drifts have it."""
        for change in reversed(self._changes):
            action = change.action(action)
        seen, reward, terminated, truncated, info = self.env.step(action)
        paid = float(reward)
        for change in self._changes:
            paid = change.reward(paid, terminated or truncated)
        return self._shown(seen), paid, terminated, truncated, info

    def _shown(self, seen: Any) -> Any:
        for change in self._changes:
            seen = change.observation(seen)
        return seen

    def close(self) -> None:
        """Undo what is left to undo, and close the environment."""
        self.undo()
        super().close()


def effect(env: gymnasium.Env[Any, Any], drifts: Sequence[Drift]) -> float:
    """Return the share of steps in which an episode with drifts differs from one without, at the same random actions.

    Args:
        env: an environment without drifts; it is reset.
        drifts: what is to differ.
    """
    return _compare(env, drifts)[0]


def check_effect(env: gymnasium.Env[Any, Any], drifts: Sequence[Drift]) -> None:
    """Refuse drifts that change nothing, each by itself and all of them together.

    Random actions may never meet a reward; drifts of rewards that find none to change are believed.

    Args:
        env: an environment without drifts; it is reset.
        drifts: what is to differ.

    Raises:
        ValueError: naming the drift and the environment.
    """
    for some in dict.fromkeys([*((drift,) for drift in drifts), tuple(drifts)]):
        differs, paid = _compare(env, some)
        if not differs and (paid or not all(drift.reward_only for drift in some)):
            what = some[0] if len(some) == 1 else f"{list(some)} together"
            raise ValueError(
                f"{what} has no effect on {_name(env)}: {_EPISODES} episodes of random actions were the same without"
            )


def _compare(env: gymnasium.Env[Any, Any], drifts: Sequence[Drift]) -> tuple[float, bool]:
    """Return the share of steps that differ, and whether anything was paid without the drifts."""
    wrapped, differ, total, paid = Drifted(env), 0, 0, False
    for seed in range(_EPISODES):
        wrapped.drifts = ()
        plain = _played(wrapped, seed)
        wrapped.drifts = tuple(drifts)
        other = _played(wrapped, seed)
        wrapped.undo()
        differ += abs(len(plain) - len(other)) + sum(not _same(*pair) for pair in zip(plain, other, strict=False))
        total += max(len(plain), len(other))
        paid = paid or any(float(step[1]) != 0 for step in plain[1:])
    return differ / total, paid


def _played(env: gymnasium.Env[Any, Any], seed: int) -> list[tuple[Any, ...]]:
    """Return what an episode of random actions showed and paid, step by step."""
    steps: list[tuple[Any, ...]] = [(copy.deepcopy(env.reset(seed=seed)[0]),)]
    for step in range(_STEPS):
        seen, reward, terminated, truncated, _ = env.step(_some_action(env.action_space, seed, step))
        steps.append((copy.deepcopy(seen), reward, terminated, truncated))
        if terminated or truncated:
            break
    return steps


def _some_action(space: spaces.Space[Any], seed: int, step: int) -> Any:
    if isinstance(space, spaces.Discrete):
        return int(space.start + int(uniform(seed, Purpose.POLICY, step) * int(space.n)))
    if isinstance(space, spaces.Box):
        entries = np.arange(int(np.prod(space.shape))).reshape(space.shape)
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        low, high = np.where(bounded, space.low, 0.0), np.where(bounded, space.high, 0.0)
        inside = low + uniform(seed, Purpose.POLICY, step, entries) * (high - low)
        anywhere = np.clip(normal(seed, Purpose.POLICY, step, entries), space.low, space.high)
        return np.where(bounded, inside, anywhere).astype(space.dtype)
    raise ValueError(f"actions {space} are not supported; supported are Discrete and Box")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return bool(np.array_equal(one, other))


def _name(env: gymnasium.Env[Any, Any]) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
