"""Reference policies of `gym:` streams of MiniGrid's and BabyAI's levels: the oracle plans on the whole level.

| ids | by |
| --- | --- |
| BabyAI-... | minigrid's own bot, which explores and follows the mission |
| MiniGrid-..., those of `rooms/tasks.py` | the shortest way, `planner.py` |

Drifts of observations do not affect the oracle, and it inverts permutations of actions. It cannot plan with delayed or
sticky actions, or with drifts of rewards.

On some levels the bot fails an assertion of its own. Such an episode is given up: the agent does nothing until
it is truncated, and `given_up` counts it.

Source: minigrid (`minigrid.utils.baby_ai_bot`), arXiv:1810.08272.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.drifts.actions import ReversedActions, ShuffledActions
from lifelong.envs.drifts.base import Drift
from lifelong.envs.drifts.observations import (
    NoisyObservations,
    RemappedColours,
    RotatedObservations,
    ShuffledObservations,
    SwappedObjects,
)
from lifelong.envs.gym_stream import GymStream, is_minigrid
from lifelong.envs.references.planner import plan
from lifelong.envs.references.policies import Policy, UniformPolicy
from lifelong.envs.rooms.grids import Grids
from lifelong.envs.rooms.tasks import TASKS

__all__ = ["Planner", "gym_policies", "planner_policies"]

_ACTIONS, _DONE = 7, 6
_ROOMS = {task.minigrid_id: task for task in TASKS.values()}
_EXCHANGED = (ReversedActions, ShuffledActions)
_OTHERWISE_SHOWN = (NoisyObservations, RemappedColours, RotatedObservations, ShuffledObservations, SwappedObjects)


class NoWayError(Exception):
    """The planner finds no solution of a level."""


Solver = Callable[[], int]
"""Returns the next action of an episode, after all earlier ones were taken; or raises `NoWayError`."""


def gym_policies(stream: GymStream) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream of gymnasium's environments: `planner_policies`, or none.

    There are none unless all tasks are MiniGrid's or BabyAI's, and none if the stream drifts as a whole.

    Args:
        stream: any `GymStream`.

    Raises:
        ValueError: if it has a level or a drift that no plan can be made for.
    """
    if stream.drifting:
        return {}
    if not all(is_minigrid(stream.environment(0, number)) for number in range(len(stream.tasks))):
        return {}
    return planner_policies(stream)


def planner_policies(stream: GymStream) -> dict[str, Callable[[], Policy]]:
    """Return `random` and `oracle` of a stream of MiniGrid's and BabyAI's levels.

    Args:
        stream: the stream they act in.

    Raises:
        ValueError: if it has a level or a drift that no plan can be made for.
    """
    for number in range(len(stream.tasks)):
        _check(stream, number)
    actions = int(stream.single_action_space.n)  # type: ignore[attr-defined]
    return {"random": lambda: UniformPolicy(actions, stream.seed), "oracle": lambda: Planner(stream)}


class Planner:
    """Oracle: the actions that solve the level of each life.

    Args:
        stream: the stream it acts in; the oracle reads its environments.
    """

    def __init__(self, stream: GymStream) -> None:
        self.stream = stream
        self.given_up = 0
        """Episodes for which no solution was found."""
        self._solvers: list[Solver | None] = [None] * stream.num_envs
        self._exchanged = [_exchanged(stream, number) for number in range(len(stream.tasks))]

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the next actions."""
        return np.array([self._next(slot) for slot in range(self.stream.num_envs)])

    def _next(self, slot: int) -> int:
        number = int(self.stream.task[slot])
        try:
            solver = self._solvers[slot]
            if solver is None or self.stream.episode_start[slot]:
                solver = self._solvers[slot] = _solver(self.stream.environment(slot, number))
            wanted = solver()
        except NoWayError:
            self.given_up += 1
            self._solvers[slot], wanted = _idle, _DONE
        return int(np.flatnonzero(self._exchanged[number] == wanted)[0])


def _idle() -> int:
    return _DONE


def _solver(env: Any) -> Solver:
    """Return a solver of an environment's present level."""
    return _shortest(env) if env.spec.id in _ROOMS else _bot(env)


def _bot(env: Any) -> Solver:
    try:
        bot = importlib.import_module("minigrid.utils.baby_ai_bot").BabyAIBot(env.unwrapped)
    except AssertionError as error:
        raise NoWayError from error

    def solve() -> int:
        try:
            return int(bot.replan())
        except AssertionError as error:
            raise NoWayError from error

    return solve


def _shortest(env: Any) -> Solver:
    twin = importlib.import_module("lifelong.envs.minigrid.bridge")
    grids = Grids(1, [_ROOMS[env.spec.id]])
    grids.load(0, 0, twin.from_minigrid(env))
    way = plan(grids, 0).tolist()

    def solve() -> int:
        if not way:
            raise NoWayError
        return int(way.pop(0))

    return solve


def _exchanged(stream: GymStream, number: int) -> NDArray[np.int64]:
    """Return the executed action of each chosen action."""
    task: Any = stream.tasks[number]
    env = stream.environment(0, number).unwrapped
    executed = np.arange(_ACTIONS)
    for drift in reversed(task.drifts):
        if isinstance(drift, _EXCHANGED):
            change = drift.change(env.observation_space, env.action_space, _ACTIONS)
            executed = change.action(np.arange(_ACTIONS), executed)
    return executed


def _check(stream: GymStream, number: int) -> None:
    """Validate that a task can be planned for."""
    task: Any = stream.tasks[number]
    env: Any = stream.environment(0, number)
    known = env.spec.id.startswith("BabyAI-") or env.spec.id in _ROOMS
    if not known:
        raise ValueError(f"no way through {env.spec.id} can be planned; known are BabyAI's levels and {list(_ROOMS)}")
    if env.spec.id in _ROOMS:
        base, room = env.unwrapped, _ROOMS[env.spec.id]
        if (base.width, base.height) != (room.width, room.height):
            raise ValueError(
                f"{task.name!r} is not {env.spec.id} as it comes: "
                f"width={base.width}, height={base.height}, not {room.width} and {room.height}"
            )
    drifts: tuple[Drift, ...] = task.drifts
    for drift in drifts:
        if not isinstance(drift, _EXCHANGED + _OTHERWISE_SHOWN):
            raise ValueError(f"no way through {task.name!r} can be planned with {drift}")
