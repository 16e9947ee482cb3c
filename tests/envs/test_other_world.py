"""A stream that is resumed, or copied, into another world than it was in says so."""

import copy
import random
import re
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lifelong.envs import GymStream, GymTask, StreamError, make_stream
from lifelong.envs.checksum import checksum, checksums

KEY = "observation_checksum"


class World(gymnasium.Env[Any, Any]):
    """Pays nothing, and ends after five steps; shows a number from `source`, which only with `seed` obeys its seed."""

    def __init__(self, source: str = "seed") -> None:
        self.observation_space, self.action_space = spaces.Box(-np.inf, np.inf, (1,), np.float64), spaces.Discrete(2)
        self.source, self.own, self.episodes = source, np.random.default_rng(), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count, self.episodes = 0, self.episodes + 1
        return self._shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self._shown(), 0.0, self.count == 5, False, {}

    def _shown(self) -> Any:
        drawn = {
            "seed": lambda: self.np_random.random(),
            "own generator": lambda: self.own.random(),
            "episodes": lambda: self.episodes,
            "random": lambda: random.random(),  # noqa: S311
            "numpy.random": lambda: np.random.random(),  # noqa: NPY002
        }[self.source]
        return np.array([drawn()], np.float64)


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    gymnasium.register("World-v0", World)
    yield
    del gymnasium.registry["World-v0"]


def stream_of(source: str = "seed", num_envs: int = 2, **settings: Any) -> GymStream:
    return GymStream(GymTask("World-v0", kwargs={"source": source}), num_envs, **settings)


def lived(stream: GymStream, steps: int) -> GymStream:
    stream.reset(seed=3)
    for _ in range(steps):
        stream.step(np.zeros(stream.num_envs, np.int64))
    return stream


@pytest.mark.parametrize("source", ["own generator", "episodes", "random", "numpy.random"])
@pytest.mark.parametrize("steps", [5, 7])  # the first observation of an episode, and one within
def test_an_environment_that_comes_out_otherwise_is_noticed_and_can_begin_new_episodes(source: str, steps: int) -> None:
    there = lived(stream_of(source), steps).position()
    with pytest.raises(StreamError) as caught:
        stream_of(source).resume(there)
    said = str(caught.value)
    where = f"environment 'World-v0', slot 0, step {steps} of life 0: resumed by its seed and {steps - 5} actions"
    assert said.startswith(where)
    was = f"{int(there[KEY][0]) % 2**64:016x}"
    assert re.search(rf"another observation \(checksum [0-9a-f]{{16}}, was {was}\)", said)
    assert said.endswith("it ignores its seed, keeps state over episodes, or is of another version")
    assert (caught.value.report["kwargs"], len(caught.value.report["actions"])) == ({"source": repr(source)}, steps - 5)
    anew = stream_of(source)
    _, info = anew.resume(there, new_episodes=True)
    assert info["episode_start"].all()
    assert not info["life_start"].any()
    assert anew.episode.tolist() == [1 + (steps > 5)] * 2


def test_an_environment_that_obeys_its_seed_goes_on() -> None:
    stream, later = lived(stream_of(), 7), stream_of()
    seen, _ = later.resume(stream.position())
    assert np.array_equal(seen["observation"], stream.observe()[0]["observation"])
    assert np.array_equal(later.position()[KEY], stream.position()[KEY])


def test_copies_notice_it_too() -> None:
    with pytest.raises(StreamError, match="shows another observation"):
        copy.deepcopy(lived(stream_of("own generator"), 7))
    copy.deepcopy(lived(stream_of(), 7))
    copy.deepcopy(stream_of("own generator"))  # before the first reset there is no world yet


def test_a_position_of_before_checksums_is_resumed_without_a_look() -> None:
    there = lived(stream_of("own generator"), 7).position()
    del there[KEY]
    stream_of("own generator").resume(there)


def test_new_episodes_of_lives_whose_last_episode_was_abandoned_begin_new_lives() -> None:
    stream = lived(stream_of(life_episodes=2), 8)  # in the second and last episode of each life
    anew = stream_of(life_episodes=2)
    _, info = anew.resume(stream.position(), new_episodes=True)
    assert info["life_start"].all()
    assert (anew.life.tolist(), anew.lives, anew.episode.tolist()) == ([2, 3], 4, [0, 0])
    assert anew.vector_steps == 8
    for _ in range(5):
        *_, info = anew.step([0, 0])
    assert info["episodes"]["length"].tolist() == [5, 5]
    assert info["episodes"]["step"].tolist() == [26, 26]


def test_new_episodes_keep_lags_and_the_last_action() -> None:
    stream, anew = lived(stream_of(), 7), stream_of()
    seen, _ = anew.resume(stream.position(), new_episodes=True)
    assert np.array_equal(seen["previous_action"], stream.observe()[0]["previous_action"])
    for _ in range(5):
        *_, info = anew.step([0, 0])
    rows = info["episodes"]
    assert rows["episode"].tolist() == [2, 2]  # the second, abandoned, is counted and has no row
    assert (rows["lag_episodes"].tolist(), rows["lag_steps"].tolist()) == ([1, 1], [0, 0])


@pytest.mark.parametrize("name", ["cued-recall", "reversal", "foraging"])
def test_streams_of_ours_have_checksums_and_can_begin_new_episodes(name: str) -> None:
    stream = make_stream(name, 3, seed=1)
    stream.reset()
    for _ in range(6):
        stream.step(np.zeros(3, np.int64))
    there, anew = stream.position(), make_stream(name, 3, seed=1)
    anew.resume(there)
    unfinished = anew.episode_length > 0
    before = anew.episode.copy()
    anew.resume(there, new_episodes=True)
    assert anew.episode.tolist() == (before + unfinished).tolist()
    assert not anew.episode_length.any()
    for _ in range(20):
        anew.step(np.zeros(3, np.int64))
    there[KEY][1] ^= 1
    with pytest.raises(StreamError, match=r"slot 1, step 6 of life 1: the resumed stream shows another observation"):
        make_stream(name, 3, seed=1).resume(there)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(4, np.float32), np.zeros((2, 2), np.float32)),
        (np.zeros(4, np.float32), np.zeros(4, np.int32)),
        (np.zeros(2), np.array([0.0, 1e-300])),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({"a": {"b": 1}}, {"a": {"c": 1}}),
        ((1, 2), (2, 1)),
        ("go left", "go right"),
        ({"mission": "ab", "b": "c"}, {"mission": "a", "b": "bc"}),
        ([1, [2, 3]], [[1, 2], 3]),
    ],
)
def test_checksums_tell_what_differs_in_any_part(one: Any, other: Any) -> None:
    assert checksum(one) == checksum(copy.deepcopy(one))
    assert checksum(one) != checksum(other)


def test_checksums_of_a_batch_are_those_of_its_rows() -> None:
    batch = {"a": np.arange(6).reshape(3, 2), "b": {"c": np.array([0.0, 1.0, 0.0])}}
    found = checksums(batch, 3)
    assert len(set(found.tolist())) == 3
    assert checksums(dict(reversed(batch.items())), 3).tolist() == found.tolist()
    turned = {"a": batch["a"][::-1], "b": {"c": batch["b"]["c"][::-1]}}
    assert checksums(turned, 3).tolist() == found[::-1].tolist()


def test_checksums_do_not_depend_on_the_order_of_keys_or_of_memory() -> None:
    image = np.arange(12).reshape(3, 4)
    assert checksum({"a": image, "b": 1}) == checksum({"b": 1, "a": np.asfortranarray(image)})
    assert checksum(object()) == checksum(object())
