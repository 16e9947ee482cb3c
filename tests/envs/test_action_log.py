"""The record of actions of episodes that never end."""

import time
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lifelong.envs.action_log import ActionLog
from lifelong.envs.gym_stream import GymStream


class Endless(gymnasium.Env[Any, Any]):
    """Counts what it was given, for ever."""

    observation_space, action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32), spaces.Discrete(3, start=1)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.total = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.total += int(action)
        return self._seen(), float(action), False, False, {}

    def _seen(self) -> Any:
        return np.array([self.total % 1000], np.float32)


def test_each_slot_has_the_actions_of_its_episode_and_what_was_shown_stays() -> None:
    rng, log, lists = np.random.default_rng(0), ActionLog(3, np.zeros(2, np.float32)), [list[Any]() for _ in range(3)]
    shown: list[tuple[Any, Any]] = []
    for step in range(1000):
        actions = rng.normal(size=(3, 2)).astype(np.float32)
        log.append(actions)
        for slot, taken in enumerate(lists):
            taken.append(actions[slot])
        if step % 7 == 0:
            slot = int(rng.integers(2))  # the third never ends
            log.begin(slot)
            lists[slot] = []
        if step % 50 == 0:
            shown += [(log.of(slot), log.of(slot).copy()) for slot in range(3)]
        for slot, taken in enumerate(lists):
            np.testing.assert_array_equal(log.of(slot), np.array(taken, np.float32).reshape(-1, 2))
    assert all((view == copied).all() for view, copied in shown)
    again = ActionLog(3, np.zeros(2, np.float32))
    again.restore([log.of(slot) for slot in range(3)])
    assert all((again.of(slot) == log.of(slot)).all() for slot in range(3))


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> GymStream:
    monkeypatch.setitem(gymnasium.registry, "Endless-v0", gymnasium.envs.registration.EnvSpec("Endless-v0", Endless))
    return GymStream("Endless-v0", num_envs=2)


def test_a_snapshot_is_that_of_its_moment_and_costs_the_same_after_many_steps(stream: GymStream) -> None:
    stream.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(100):
        stream.step(rng.integers(0, 3, 2))
    there, taken = stream.position(), stream.snapshot()
    stream._taken.restore([np.ones(10**6, np.int64)] * 2)  # as after so many steps
    began = time.process_time()
    for _ in range(100):
        stream.snapshot()
    assert time.process_time() - began < 1.0  # rebuilding it would take 8 s
    found = taken()
    assert found.keys() == there.keys()
    assert all((found[name] == value).all() for name, value in there.items())
    later = GymStream("Endless-v0", num_envs=2)
    later.resume(found)
    assert all((later.position()[name] == value).all() for name, value in there.items())


def test_an_action_beyond_the_bounds_of_a_box_can_be_resumed() -> None:
    stream = GymStream("Pendulum-v1", num_envs=1)
    stream.reset(seed=0)
    stream.step(np.array([[99.0]]))  # streams refuse only what is not finite
    later = GymStream("Pendulum-v1", num_envs=1)
    later.resume(stream.position())
    assert later.previous_action.item() == 99.0
    with pytest.raises(ValueError, match=r"position has actions of inf, it must be finite"):
        later.resume(stream.position() | {"actions": np.full((1, 1), np.inf, np.float32)})


def test_what_is_no_previous_action_is_refused(stream: GymStream) -> None:
    stream.reset(seed=0)
    there = stream.position()
    stream.resume(there | {"previous_action": there["previous_action"]})  # none yet
    with pytest.raises(ValueError, match="position has a previous_action that is not of the action space"):
        stream.resume(there | {"previous_action": there["previous_action"] + 1})
    with pytest.raises(ValueError, match="position has 1 actions of unfinished episodes, which took 0 steps"):
        stream.resume(there | {"actions": np.ones(1, np.int64)})
