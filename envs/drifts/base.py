"""Drifts: changes of an environment, as data, so that one environment makes many tasks.

    GymStream([GymTask("plain", env_id="CartPole-v1"),
               GymTask("heavy", env_id="CartPole-v1", drifts=[Gravity(4.0), StickyActions(0.25)])])

or in text `make_stream("gym:CartPole-v1", drifts="plain/gravity:4+sticky_actions:0.25")`, see `parse.py`.

| drift | what it does | file |
| --- | --- | --- |
| ReversedActions, ShuffledActions, DelayedActions, StickyActions | changes actions | `actions.py` |
| ShuffledObservations, RotatedObservations, NoisyObservations | changes observations | `observations.py` |
| RemappedColours, SwappedObjects | changes MiniGrid's observations | `observations.py` |
| ScaledRewards, DelayedRewards | changes rewards | `rewards.py` |
| Gravity, Mass, Length, Friction, Damping, Actuators | changes the physics | `physics.py` |

The drifts of the first three files stand between agent and environment, so any stream can have them, for all its lives
at once: `make_stream("rooms", drifts="plain/reversed_actions")`, see `batched.py`. Those of physics are for
gymnasium's environments.

A drift begins with an episode and is undone before the next. What it draws is a function of the episode's seed, so that
an episode stays a pure function of (task, episode seed, actions). Several act from the inside out: the first one stands
next to the environment.

A drift that changes nothing is an error: see `effect.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, bits

__all__ = ["Change", "Drift", "Drifted", "Screen", "environment_name"]

Ints = NDArray[np.int64]

_ALONE = np.zeros(1, np.int64)  # the lives of an environment that has but one


class Change:
    """The effect of a drift on lives side by side; this one changes nothing.

    All arrays have a row for each of `lives` [n].
    """

    part: str | None = None
    """The entry of the observation that changes: "" for the whole observation, None for nothing."""
    kept: tuple[str, ...] = ()
    """Names of the arrays, a row for each life, that an episode changes."""

    def begin(self, lives: Ints, seeds: NDArray[np.uint64]) -> None:
        """Begin an episode in these lives, with the seeds of what is drawn in it."""

    def action(self, lives: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        """Return the actions that the environment gets; called once a step."""
        return actions

    def observation(self, lives: Ints, seen: NDArray[Any]) -> NDArray[Any]:
        """Return what the agent gets of `part`; must not write to `seen` or change its own state."""
        return seen

    def reward(self, lives: Ints, rewards: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the rewards that the agent gets; `over` is true at the last step of an episode."""
        return rewards

    def undo(self) -> None:
        """Restore what was edited in the environment."""


class Drift(ABC):
    """A change of an environment; a frozen dataclass of its strength."""

    reward_only: ClassVar[bool] = False
    """Whether it changes rewards only."""

    @abstractmethod
    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return the change for an episode that is about to be reset.

        Args:
            env: the environment as the drift finds it, other drifts of the same task not seen.
            seed: of what the drift draws in this episode.

        Raises:
            ValueError: if there is nothing in the environment that the drift could change.
        """


class Screen(Drift):
    """A drift between agent and environment, which depends on the spaces only."""

    @abstractmethod
    def change(self, shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int) -> Change:
        """Return the change for lives side by side; call its `begin` before each episode.

        Args:
            shown: observations of one life.
            taken: actions of one life.
            lives: how many.

        Raises:
            ValueError: if there is nothing in the spaces that the drift could change.
        """

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return the change for an episode that is about to be reset; see `Drift`."""
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
                raise ValueError(f"{drift} does not fit {environment_name(self.env)}: {error}") from error
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


def environment_name(env: gymnasium.Env[Any, Any]) -> str:
    """Return the environment's id, or its class if it has none."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
