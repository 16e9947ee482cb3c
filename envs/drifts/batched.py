"""Batched drifts of actions, observations and rewards, for any stream.

    make_stream("rooms", 256, task="doorkey-5x5", drifts="plain/reversed_actions+sticky_actions", schedule="cyclic:20")
    make_stream("cued-recall", 256, drifts="plain/reversed_actions", drift_schedule="cyclic:40")

The second makes two tasks of every cue, one without drifts and one with reversed actions, in this order: all tasks of
the first kind, then all of the second. `drift_schedule` says which kind comes next, and the stream's own schedule which
cue; where a stream has but one task there is nothing else to schedule, and its schedule says which kind.

Observations, `previous_action` and rows have the action that the agent chose and the reward that it got. Reference
scores are those of tasks without drifts: tasks with drifts have none, and a stream's reference policies do not account
for them. `success` and `answer` are those of the task without drifts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.drifts.base import Change, Drift, Screen
from lifelong.envs.rng import Purpose, bits

__all__ = ["DriftedLives", "NoDrift"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class NoDrift:
    """The null drift of a stream: everything stays as it is."""

    drifting: bool = False
    """Whether there are drifts."""

    def base_task(self, task: Ints) -> Ints:
        """Return [B] the numbers of the tasks without their drifts."""
        return task

    def base_return(self, episode_return: Floats) -> Floats:
        """Return [B] the returns of the present episodes without their drifts."""
        return episode_return

    def begin(self, slots: Ints, task: Ints, seeds: Callable[[Ints], Ints]) -> None:
        """Begin episodes, and undo the drifts of those before.

        Args:
            slots: [n] in which.
            task: [B] of which tasks.
            seeds: returns [n] the seeds of the episodes in some slots.
        """

    def action(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return [B, ...] the actions that the tasks get; called once a step."""
        return actions

    def mask(self, masks: Bools) -> Bools:
        """Return [B, choices] which of the agent's actions are legal, from which of the tasks' are."""
        return masks

    def reward(self, reward: Floats, terminated: Bools, truncated: Bools) -> Floats:
        """Return [B] the rewards that the agent gets; called once a step."""
        return reward

    def observation(self, obs: Any) -> Any:
        """Return the batch of observations that the agent gets."""
        return obs

    def blank_references(self, slots: Ints, columns: dict[str, NDArray[Any]]) -> None:
        """Write NaN for the references of tasks with drifts into the rows of these slots."""

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the state of the drifts in the unfinished episodes."""
        return {}

    def resume(self, position: dict[str, NDArray[Any]]) -> None:
        """Restore the state that `position` returned."""


class DriftedLives(NoDrift):
    """Drifts of a batch of lives.

    Args:
        kinds: the drifts of each kind of task, none of them or more, the one next to the environment first.
        observation_space: of one life.
        action_space: of one life.
        num_envs: B.
        tasks: number of tasks without drifts.

    Raises:
        ValueError: if a drift is of a gymnasium environment's own, or does not fit these spaces.
    """

    drifting = True

    def __init__(
        self,
        kinds: Sequence[Sequence[Drift]],
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        num_envs: int,
        tasks: int,
    ) -> None:
        self._given = kinds, observation_space, action_space, num_envs, tasks
        self._changes = [
            [_change(drift, observation_space, action_space, num_envs) for drift in some] for some in kinds
        ]
        self._has_drifts = np.array([bool(some) for some in kinds])
        self._kind, self._base_return, self._tasks = np.zeros(num_envs, np.int64), np.zeros(num_envs), tasks

    def base_task(self, task: Ints) -> Ints:
        """Return [B] the numbers of the tasks without their drifts."""
        return task % self._tasks

    def base_return(self, episode_return: Floats) -> Floats:
        """Return [B] the returns of the present episodes without their drifts."""
        return self._base_return

    def begin(self, slots: Ints, task: Ints, seeds: Callable[[Ints], Ints]) -> None:
        """Begin episodes, and undo the drifts of those before; see `NoDrift`."""
        kinds, drawn = task[slots] // self._tasks, seeds(slots)
        self._base_return[slots] = 0.0
        self._kind[slots] = kinds
        for number, changes in enumerate(self._changes):
            here = kinds == number
            for place, change in enumerate(changes):
                change.begin(slots[here], bits(drawn[here], Purpose.DRIFT, place))

    def action(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return [B, ...] the actions that the tasks get; called once a step."""
        changed = actions.copy()
        for slots, changes in self._at_work():
            for change in reversed(changes):
                changed[slots] = change.action(slots, changed[slots])
        return changed

    def mask(self, masks: Bools) -> Bools:
        """Return [B, choices] which of the agent's actions are legal, from which of the tasks' are."""
        changed = masks.copy()
        for slots, changes in self._at_work():
            for change in changes:
                changed[slots] = change.mask(slots, changed[slots])
        return changed

    def reward(self, reward: Floats, terminated: Bools, truncated: Bools) -> Floats:
        """Return [B] the rewards that the agent gets; called once a step."""
        self._base_return += reward
        changed, over = reward.copy(), terminated | truncated
        for slots, changes in self._at_work():
            for change in changes:
                changed[slots] = change.reward(slots, changed[slots], over[slots])
        return changed

    def observation(self, obs: Any) -> Any:
        """Return the batch of observations that the agent gets."""
        for slots, changes in self._at_work():
            for change in changes:
                if change.part is not None:
                    part = (obs[change.part] if change.part else obs).copy()
                    part[slots] = change.observation(slots, part[slots])
                    obs = obs | {change.part: part} if change.part else part
        return obs

    def blank_references(self, slots: Ints, columns: dict[str, NDArray[Any]]) -> None:
        """Write NaN for the references of tasks with drifts into the rows of these slots."""
        drifting = self._has_drifts[self._kind[slots]]
        columns["within"][drifting] = columns["cross"][drifting] = np.nan

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the state of the drifts in the unfinished episodes."""
        state = {name: getattr(change, key).copy() for name, change, key in self._states()}
        return state | {"drift kind": self._kind.copy(), "plain_return": self._base_return.copy()}

    def resume(self, position: dict[str, NDArray[Any]]) -> None:
        """Restore the state that `position` returned."""
        self._kind, self._base_return = position["drift kind"].copy(), position["plain_return"].copy()
        for name, change, key in self._states():
            setattr(change, key, position[name].copy())

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: the arguments, and the state in the unfinished episodes."""
        return {"given": self._given, "position": self.position()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the changes anew, which hold functions, and restore their state."""
        vars(self).update(vars(DriftedLives(*state["given"])))
        self.resume(state["position"])

    def _at_work(self) -> list[tuple[Ints, list[Change]]]:
        """Return the slots of each kind of task that has drifts, and these."""
        found = [(np.flatnonzero(self._kind == number), changes) for number, changes in enumerate(self._changes)]
        return [(slots, changes) for slots, changes in found if slots.size and changes]

    def _states(self) -> list[tuple[str, Change, str]]:
        return [
            (f"drift {number} {place} {key}", change, key)
            for number, changes in enumerate(self._changes)
            for place, change in enumerate(changes)
            for key in change.kept
        ]


def _change(
    drift: Drift, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int
) -> Change:
    if not isinstance(drift, Screen):
        raise ValueError(f"{drift} edits an environment of gymnasium; write gym:<id>, or a file with tasks")
    try:
        return drift.change(observation_space, action_space, num_envs)
    except ValueError as error:
        raise ValueError(f"{drift} does not fit this stream: {error}") from error
