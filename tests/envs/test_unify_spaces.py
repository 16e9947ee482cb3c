"""Tasks with different spaces in one stream."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lifelong.envs import GymStream
from lifelong.envs.unify_spaces import Adapted, common_actions, common_observations
from lifelong.hashed_words import hash_text, without_text


class Given(gymnasium.Env):
    """Environment with a given observation that records its actions."""

    def __init__(self, look, act, seen):
        self.observation_space, self.action_space, self.seen, self.told = look, act, seen, None

    def reset(self, *, seed=None, options=None):
        return self.seen, {}

    def step(self, action):
        self.told = action
        return self.seen, 0.0, False, False, {}


def shown(looks, number, seen):
    common = common_observations(looks)
    env = Adapted(Given(looks[number], spaces.Discrete(2), seen), looks[number], common, spaces.Discrete(2))
    first, again = env.reset()[0], env.step(0)[0]
    assert common.contains(first)
    np.testing.assert_equal(first, again)
    return first


def told(acts, number, action):
    common = common_actions(acts)
    assert common.contains(action)
    env = Given(spaces.Discrete(1), acts[number], 0)
    Adapted(env, env.observation_space, env.observation_space, common).step(action)
    assert acts[number].contains(env.told)
    return env.told


def box(low, high):
    return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))


def test_equal_spaces_stay():
    for space in (box([0.0], [1.0]), spaces.Dict({"a": box([0.0], [1.0])}), spaces.MultiBinary(3)):
        assert common_observations([space, space]) == space


def test_choices_take_the_largest_range_and_count_from_zero():
    looks = [spaces.Discrete(3, start=5), spaces.Discrete(4)]
    assert common_observations(looks) == spaces.Discrete(4)
    assert shown(looks, 0, 7) == 2
    looks = [spaces.MultiDiscrete([2, 9]), spaces.MultiDiscrete([3, 4])]
    assert common_observations(looks) == spaces.MultiDiscrete([3, 9])
    assert shown(looks, 1, np.array([2, 3])).tolist() == [2, 3]


def test_boxes_of_one_shape_take_the_widest_bounds():
    looks = [box([0.0, -1.0], [1.0, 1.0]), box([-2.0, 0.0], [0.0, 3.0])]
    assert common_observations(looks) == box([-2.0, -1.0], [1.0, 3.0])
    assert shown(looks, 0, np.array([0.5, -1.0], np.float32)).tolist() == [0.5, -1.0]


def test_what_differs_in_shape_becomes_a_vector_with_zeros_behind():
    looks = [box([-1.0], [1.0]), spaces.Discrete(3), box([0.0] * 4, [2.0] * 4)]
    assert common_observations(looks) == box([-1.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0])
    assert shown(looks, 0, np.array([-0.5], np.float32)).tolist() == [-0.5, 0.0, 0.0, 0.0]
    assert shown(looks, 1, np.int64(1)).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_dicts_have_all_entries_and_what_is_missing_is_zeros():
    looks = [
        spaces.Dict({"image": spaces.MultiDiscrete([3, 3]), "way": spaces.Discrete(4)}),
        box([-1.0], [1.0]),
        spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(2))),
    ]
    assert set(common_observations(looks)) == {"image", "way", "observation", "0", "1"}
    seen = shown(looks, 0, {"image": np.array([2, 1]), "way": 3})
    assert (seen["image"].tolist(), seen["way"], seen["observation"].tolist(), seen["1"].tolist()) == (
        [2, 1], 3, [0.0], [0, 0])  # fmt: skip
    assert shown(looks, 1, np.array([0.25], np.float32))["observation"].tolist() == [0.25]
    seen = shown(looks, 2, (1, np.array([0, 1], np.int8)))
    assert (seen["0"], seen["1"].tolist(), seen["way"]) == (1, [0, 1], 0)


def test_surplus_choices_begin_again():
    acts = [spaces.Discrete(3, start=1), spaces.Discrete(5)]
    assert [told(acts, 0, np.int64(a)) for a in range(5)] == [1, 2, 3, 1, 2]
    assert [told(acts, 1, np.int64(a)) for a in range(5)] == [0, 1, 2, 3, 4]


def test_forces_are_scaled_to_the_bounds_of_the_task():
    acts = [box([-2.0], [2.0]), spaces.Box(np.zeros((2, 1), np.float32), np.full((2, 1), 4.0, np.float32))]
    assert common_actions(acts) == box([-1.0, -1.0], [1.0, 1.0])
    assert told(acts, 0, np.array([0.5, 1.0], np.float32)).tolist() == [1.0]
    assert told(acts, 1, np.array([-1.0, 0.5], np.float32)).tolist() == [[0.0], [3.0]]


def test_choices_and_forces_do_not_mix():
    with pytest.raises(ValueError, match=r"all choices .* or all Box, got Discrete"):
        common_actions([spaces.Discrete(2), box([0.0], [1.0])])


def test_a_stream_of_different_tasks_lives_and_resumes():
    ids = ["CartPole-v1", "Blackjack-v1", "FrozenLake-v1"]
    with pytest.raises(ValueError, match=r"CartPole-v1 has observations .* and Blackjack-v1 has .*unify=True"):
        GymStream(ids)
    stream, twin = (GymStream(ids, 2, unify=True, seed=4) for _ in range(2))
    actions = np.random.default_rng(0).integers(4, size=(80, 2))
    stream.reset()
    seen: set[int] = set()
    for action in actions[:60]:
        observation, *_, info = stream.step(action)
        assert stream.observation_space.contains(observation)
        seen |= set(info["task"].tolist())
    assert seen == {0, 1, 2}
    twin.resume(stream.position())
    for action in actions[60:]:
        one, other = stream.step(action), twin.step(action)
        np.testing.assert_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_texts_of_two_lengths_share_the_longer_ones_places():
    looks = [without_text(spaces.Text(3)), without_text(spaces.Text(9))]
    assert common_observations(looks) == looks[1]
    seen = shown(looks, 0, hash_text(looks[0], "a b"))
    assert seen.tolist() == [*hash_text(looks[0], "a b").tolist(), *[0] * 12]


def test_a_million_categories_are_not_made_one_hot():
    with pytest.raises(ValueError, match=r"Discrete\(1000000\) and Box.* no common space: one-hot.* 1,000,000 numbers"):
        common_observations([spaces.Discrete(10**6), box([0.0], [1.0])])
    assert common_observations([spaces.Discrete(10**6), spaces.Discrete(3)]) == spaces.Discrete(10**6)
