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

The drifts of the first three files stand between agent and environment, so any stream can have them, for all its lives
at once: `make_stream("rooms", drifts="plain/reversed_actions")`, see `drifted_lives.py`. Those of physics are for
gymnasium's environments.

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
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, bits, normal, uniform

__all__ = [
    "Change",
    "Drift",
    "Drifted",
    "Screen",
    "by_themselves_and_together",
    "check_effect",
    "effect",
    "refuse_without_effect",
    "same",
    "some_action",
]

Ints = NDArray[np.int64]

_ALONE = np.zeros(1, np.int64)  # the lives of an environment that has but one
_EPISODES, _STEPS = 8, 64  # an effect is looked for in that many episodes of that many steps at most


class Change:
    """A drift at work in lives side by side; this one changes nothing.

    What it gets has a row for each of `lives` [n].
    """

    part: str | None = None
    """The entry of the observation that is changed; empty for all of it, None for nothing."""
    kept: tuple[str, ...] = ()
    """Names of the arrays, a row for each life, that an episode changes."""

    def begin(self, lives: Ints, seeds: NDArray[np.uint64]) -> None:
        """Begin an episode in these lives, with the seeds of what is drawn in it."""

    def action(self, lives: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        """Return what is done when `actions` were chosen; called once a step."""
        return actions

    def observation(self, lives: Ints, seen: NDArray[Any]) -> NDArray[Any]:
        """Return what is shown when `part` was seen; not to be written to, and changing nothing by itself."""
        return seen

    def reward(self, lives: Ints, rewards: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return what is paid for steps that were worth `rewards`; `over` where they were the last."""
        return rewards

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


class Screen(Drift):
    """A drift that stands between agent and environment, and needs to know no more of it than its spaces."""

    @abstractmethod
    def change(self, shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int) -> Change:
        """Return what the drift does in lives side by side; its `begin` is to be called before an episode.

        Args:
            shown: observations of one life.
            taken: actions of one life.
            lives: how many.

        Raises:
            ValueError: if there is nothing in the spaces that the drift could change.
        """

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return what the drift does in an episode that is about to be reset; see `Drift`."""
        change = self.change(env.observation_space, env.action_space, 1)
        change.begin(_ALONE, np.array([seed], np.uint64))
        return change


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
        if self._changes:
            chosen = np.asarray(action)[None]
            for change in reversed(self._changes):
                chosen = change.action(_ALONE, chosen)
            action = chosen[0]
        seen, reward, terminated, truncated, info = self.env.step(action)
        paid, over = np.array([reward], np.float64), np.array([terminated or truncated])
        for change in self._changes:
            paid = change.reward(_ALONE, paid, over)
        return self._shown(seen), float(paid[0]), terminated, truncated, info

    def _shown(self, seen: Any) -> Any:
        for change in self._changes:
            if change.part is not None:
                part = np.asarray(seen[change.part] if change.part else seen)
                shown = change.observation(_ALONE, part[None])[0]
                seen = seen | {change.part: shown} if change.part else shown
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
    for some in by_themselves_and_together(drifts):
        differs, paid = _compare(env, some)
        refuse_without_effect(some, differs > 0, paid, f"{_name(env)}: {_EPISODES} episodes")


def by_themselves_and_together(drifts: Sequence[Drift]) -> list[tuple[Drift, ...]]:
    """Return the parts of a task's drifts that must have an effect."""
    return list(dict.fromkeys([*((drift,) for drift in drifts), tuple(drifts)]))


def refuse_without_effect(drifts: Sequence[Drift], differs: bool, paid: bool, where: str) -> None:
    """Refuse drifts that changed nothing.

    Args:
        drifts: what was to differ.
        differs: whether anything did.
        paid: whether anything was paid without them.
        where: the environment, and how much of it was tried.

    Raises:
        ValueError: naming the drifts.
    """
    if not differs and (paid or not all(drift.reward_only for drift in drifts)):
        what = drifts[0] if len(drifts) == 1 else f"{list(drifts)} together"
        raise ValueError(f"{what} has no effect on {where} of random actions were the same without")


def _compare(env: gymnasium.Env[Any, Any], drifts: Sequence[Drift]) -> tuple[float, bool]:
    """Return the share of steps that differ, and whether anything was paid without the drifts."""
    wrapped, differ, total, paid = Drifted(env), 0, 0, False
    for seed in range(_EPISODES):
        wrapped.drifts = ()
        plain = _played(wrapped, seed)
        wrapped.drifts = tuple(drifts)
        other = _played(wrapped, seed)
        wrapped.undo()
        differ += abs(len(plain) - len(other)) + sum(not same(*pair) for pair in zip(plain, other, strict=False))
        total += max(len(plain), len(other))
        paid = paid or any(float(step[1]) != 0 for step in plain[1:])
    return differ / total, paid


def _played(env: gymnasium.Env[Any, Any], seed: int) -> list[tuple[Any, ...]]:
    """Return what an episode of random actions showed and paid, step by step."""
    steps: list[tuple[Any, ...]] = [(copy.deepcopy(env.reset(seed=seed)[0]),)]
    for step in range(_STEPS):
        seen, reward, terminated, truncated, _ = env.step(some_action(env.action_space, seed, step))
        steps.append((copy.deepcopy(seen), reward, terminated, truncated))
        if terminated or truncated:
            break
    return steps


def some_action(space: spaces.Space[Any], seed: int, step: int) -> Any:
    """Return a random action."""
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


def same(one: Any, other: Any) -> bool:
    """Return whether all numbers of two observations, or tuples of such, are equal."""
    if isinstance(one, dict):
        return all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(np.array_equal(one, other))


def _name(env: gymnasium.Env[Any, Any]) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
