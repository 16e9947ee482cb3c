"""Drifts: changes of an environment, as data, so that one environment makes many tasks.

    GymStream([GymTask("plain", env_id="CartPole-v1"),
               GymTask("heavy", env_id="CartPole-v1", drifts=[Gravity(4.0), StickyActions(0.25)])])

or in text `make_stream("gym:CartPole-v1", drifts="plain/gravity:4+sticky_actions:0.25")`, see `parse.py`.

| drift | effect | file |
| --- | --- | --- |
| ReversedActions, ShuffledActions, DelayedActions, StickyActions | changes actions | `actions.py` |
| ShuffledObservations, RotatedObservations, NoisyObservations | changes observations | `observations.py` |
| RemappedColours, SwappedObjects | changes MiniGrid's observations | `observations.py` |
| ScaledRewards, DelayedRewards | changes rewards | `rewards.py` |
| Gravity, Mass, Length, Friction, Damping, Actuators | changes the physics | `physics.py` |

The drifts of the first three files wrap the agent's interface, so they apply to any stream, to all its lives at once:
`make_stream("rooms", drifts="plain/reversed_actions")`, see `batched.py`. Those of physics are for gymnasium's
environments.

A drift begins with an episode and is undone before the next. Its random numbers are a function of the episode's seed,
so that an episode stays a pure function of (task, episode seed, actions). Several apply from the inside out: the first
one is next to the environment.

A drift that changes nothing is an error: see `effect.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.action_spaces import Masks, is_nested
from lifelong.envs.rng import Purpose, bits

__all__ = ["Change", "Drift", "Drifted", "Screen", "environment_name"]

Ints = NDArray[np.int64]

_ALONE = np.zeros(1, np.int64)  # the only slot of a single environment


class Change:
    """Change that a drift makes to a batch of lives; this one changes nothing.

    All arrays have a row for each of `slots` [n].
    """

    part: str | None = None
    """The entry of the observation that changes: "" for the whole observation, None for nothing."""
    kept: tuple[str, ...] = ()
    """Names of the arrays, a row for each life, that an episode changes."""

    def begin(self, slots: Ints, seeds: NDArray[np.uint64]) -> None:
        """Begin an episode in these slots, with its random seeds."""

    def action(self, slots: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        """Return the drifted actions for the environment; called once a step."""
        return actions

    def mask(self, slots: Ints, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return [n, choices] which of the agent's actions are legal, from which of the environment's are.

        Of actions that are delayed or repeated it stays: they were legal when they were chosen.
        """
        return masks

    def observation(self, slots: Ints, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the drifted observations of `part`; must not write to `obs` or change its own state."""
        return obs

    def reward(self, slots: Ints, rewards: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the drifted rewards; `over` is true at the last step of an episode."""
        return rewards

    def undo(self) -> None:
        """Restore the edited attributes of the environment."""


class Drift(ABC):
    """A change of an environment; a frozen dataclass of its strength."""

    reward_only: ClassVar[bool] = False
    """Whether it changes rewards only."""

    @abstractmethod
    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return the change for an episode that is about to be reset.

        Args:
            env: the environment, without other drifts of the same task.
            seed: of the drift's random numbers in this episode.

        Raises:
            ValueError: if the drift does not apply to the environment.
        """


class Screen(Drift):
    """Drift of actions, observations or rewards: depends on the spaces only and applies to batches."""

    @abstractmethod
    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change for a batch of lives; call its `begin` before each episode.

        Args:
            observation_space: observations of one life.
            action_space: actions of one life.
            num_envs: B.

        Raises:
            ValueError: if the drift does not apply to the spaces.
        """

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return the change for an episode that is about to be reset; see `Drift`."""
        change = self.change(env.observation_space, env.action_space, 1)
        change.begin(_ALONE, np.array([seed], np.uint64))
        return change


class Drifted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Environment wrapper that applies drifts.

    Args:
        env: the environment; its spaces stay as they are.
        drifts: drifts of the coming episodes, the innermost first.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], drifts: Sequence[Drift] = ()) -> None:
        super().__init__(env)
        self.drifts = tuple(drifts)
        self._changes: list[Change] = []

    def undo(self) -> None:
        """Undo all drifts."""
        while self._changes:
            self._changes.pop().undo()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Undo the last episode's drifts, and begin one with the present drifts.

        Raises:
            ValueError: if there are drifts and no seed, or a drift does not apply here.
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
        obs, info = self.env.reset(seed=seed, options=options)
        return self._drifted(obs), self._masked(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment with drifted action, observation and reward."""
        if self._changes and not is_nested(self.action_space):  # of which no drift changes the actions
            chosen = np.asarray(action)[None]
            for change in reversed(self._changes):
                chosen = change.action(_ALONE, chosen)
            action = chosen[0]
        obs, reward, terminated, truncated, info = self.env.step(action)
        rewards, over = np.array([reward], np.float64), np.array([terminated or truncated])
        for change in self._changes:
            rewards = change.reward(_ALONE, rewards, over)
        return self._drifted(obs), float(rewards[0]), terminated, truncated, self._masked(info)

    def _masked(self, info: dict[str, Any]) -> dict[str, Any]:
        if info.get("action_mask") is None or not self._changes:
            return info
        masks = Masks(self.action_space)
        if not masks.size:
            return info
        mask = masks.read(info["action_mask"])[None]
        for change in self._changes:
            mask = change.mask(_ALONE, mask)
        return info | {"action_mask": mask[0]}

    def _drifted(self, obs: Any) -> Any:
        for change in self._changes:
            if change.part is not None:
                part = np.asarray(obs[change.part] if change.part else obs)
                drifted = change.observation(_ALONE, part[None])[0]
                obs = obs | {change.part: drifted} if change.part else drifted
        return obs

    def close(self) -> None:
        """Undo the drifts and close the environment."""
        self.undo()
        super().close()


def environment_name(env: gymnasium.Env[Any, Any]) -> str:
    """Return the environment's id, or its class if it has none."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
