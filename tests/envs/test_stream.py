"""A stream's counters are kept once: as attributes, for the compiled loops, and in the position."""

import inspect

import numpy as np
import pytest

from lifelong.envs import TaskStream, counters, make_stream
from lifelong.envs.counters import Counters
from lifelong.envs.lives import Lives

POSITION = {
    "seed": ((), "i8"), "vector_steps": ((), "i8"), "lives": ((), "i8"),
    "life": ((3,), "i8"), "episode": ((3,), "i8"), "life_step": ((3,), "i8"), "task": ((3,), "i8"),
    "visits_lived": ((3,), "i8"), "visit_episode": ((3,), "i8"),
    "met": ((3, 4), "i8"), "met_step": ((3, 4), "i8"), "met_visit": ((3, 4), "i8"),
    "meetings": ((3, 4), "i8"), "visits": ((3, 4), "i8"),
    "episode_return": ((3,), "f8"), "episode_length": ((3,), "i8"),
    "episode_start": ((3,), "b1"), "task_start": ((3,), "b1"), "life_start": ((3,), "b1"),
    "previous_action": ((3,), "i8"), "previous_reward": ((3,), "f8"), "last_answer": ((3,), "i8"),
}  # fmt: skip
SINCE = {"observation_checksum": ((3,), "i8")}


def assert_held(stream: TaskStream) -> None:
    for name, array in stream._counters._asdict().items():
        assert getattr(stream, name) is array


def test_attributes_are_the_arrays_of_the_counters() -> None:
    assert tuple(Lives.__annotations__) == Counters._fields
    stream = make_stream("dark-room", 3, maps=4, life_episodes=3)
    assert_held(stream)
    stream.reset(seed=1)
    for _ in range(60):
        stream.step(np.zeros(3, np.int64))
    assert_held(stream)
    position = stream.position()
    stream.resume(position)
    assert_held(stream)
    assert all(np.array_equal(value, stream.position()[name]) for name, value in position.items())


def test_a_position_has_the_keys_of_version_0_1_and_checksums() -> None:
    stream = make_stream("cued-recall", 3, cues=4)
    stream.reset()
    assert {name: (value.shape, value.dtype.str[1:]) for name, value in stream.position().items()} == POSITION | SINCE


def test_drifts_keep_their_keys_of_version_0_1() -> None:
    stream = make_stream("cued-recall", 3, cues=4, drifts="plain/delayed_actions", drift_schedule="cyclic:2", blanks=1)
    stream.reset()
    more = stream.position().keys() - POSITION.keys() - SINCE.keys()
    assert {"drift kind", "plain_return"} < more
    assert all(name.startswith("drift ") for name in more - {"plain_return"})


@pytest.mark.parametrize("name", ["begin_episodes", "count_step", "end_episodes"])
def test_compiled_loops_take_few_arguments(name: str) -> None:
    assert len(inspect.signature(getattr(counters, name).py_func).parameters) <= 6
