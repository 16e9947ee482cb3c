import numpy as np

from lifelong.envs import make_stream
from lifelong.envs.noise import Noise


def test_observations_are_of_the_streams_space_and_fill_it() -> None:
    stream = make_stream("cued-recall", 256, boundary="flag")
    noise = Noise(256, stream.single_observation_space, stream.single_action_space, seed=4)  # type: ignore[arg-type]
    obs, info = noise.reset()
    assert stream.observation_space.contains(obs)
    assert np.abs(obs["observation"]["cue"].std() - 1) < 0.05
    assert set(obs["observation"]["revealed"]) == set(range(5))
    assert set(obs["previous_action"]) == set(range(5))
    assert set(np.unique(obs["episode_start"])) == set(np.unique(obs["task_start"])) == {0.0, 1.0}
    assert not any(flag.any() for flag in info.values())


def test_what_is_done_has_no_effect_and_nothing_ends() -> None:
    stream = make_stream("doors", 3)
    spaces = stream.single_observation_space, stream.single_action_space
    one, other = (Noise(3, *spaces, seed=2) for _ in range(2))  # type: ignore[arg-type]
    one.reset()
    other.reset()
    for _ in range(5):
        (obs, reward, terminated, truncated, info) = one.step(np.zeros(3, np.int64))
        again = other.step(np.ones(3, np.int64))
        assert stream.observation_space.contains(obs)
        assert np.array_equal(reward, again[1])
        assert np.array_equal(reward, obs["previous_reward"][:, 0])
        assert np.array_equal(obs["previous_action"], again[0]["previous_action"])
        assert not np.concatenate([terminated, truncated, info["life_start"], info["episode_start"]]).any()
    third = Noise(3, *spaces, seed=3)  # type: ignore[arg-type]
    assert not np.array_equal(third.reset()[0]["previous_reward"], other.reset()[0]["previous_reward"])
