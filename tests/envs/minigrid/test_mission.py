"""Missions in words, as numbers."""

import gymnasium
import numpy as np
import pytest

pytest.importorskip("minigrid")

from lifelong.envs import GymStream
from lifelong.envs.minigrid.mission import LONGEST, WORDS, read
from lifelong.hashed_words import bucket


def back(numbers):
    return " ".join({0: "", 1: "?"}.get(n, "") if n < 2 else WORDS[n - 2] for n in numbers if n)


def test_words_are_their_places():
    numbers = read("put the red ball, then go")
    assert back(numbers) == "put the red ball , then go"
    assert numbers.shape == (LONGEST,)
    fetch, unknown, *digits, after = read("fetch xyzzy")[:5].tolist()
    assert (fetch, unknown, after) == (WORDS.index("fetch") + 2, 1, 0)
    assert all(2 <= digit < len(WORDS) + 2 for digit in digits)
    assert (read("go " * 200) == WORDS.index("go") + 2).all()  # cut


@pytest.mark.parametrize("env_id", ["BabyAI-GoToLocal-v0", "BabyAI-BossLevelNoUnlock-v0", "MiniGrid-Fetch-5x5-N2-v0"])
def test_a_mission_that_varies_is_shown_and_all_its_words_are_known(env_id):
    stream = GymStream(env_id, 3)
    observation, _ = stream.reset(seed=1)
    shown = observation["observation"]["mission"]
    assert stream.observation_space.contains(observation)
    for slot, numbers in enumerate(shown):
        mission = stream.environment(slot, 0).unwrapped.mission
        assert back(numbers).replace(" ,", ",") == mission
    assert (shown != 1).all()
    assert len(np.unique(shown, axis=0)) > 1


def test_a_mission_that_never_varies_is_not_shown():
    assert "mission" not in GymStream("MiniGrid-Empty-5x5-v0").single_observation_space["observation"].spaces


def test_unknown_words_are_told_apart_and_fit_the_space() -> None:
    missions = [f"fetch a purple {thing}" for thing in ("unicorn", "dragon", "griffin", "Sphinx", "ball")]
    seen = np.array([read(mission) for mission in missions])
    assert len(np.unique(seen, axis=0)) == len(missions)
    assert seen.max() < len(WORDS) + 2
    assert (read("dragon " * 72)[-3:] == read("dragon dragon dragon " * 24)[-3:]).all()  # cut within bounds
    assert read("a dragon")[1:4].tolist() == [1, *np.array(divmod(bucket("dragon", 2916), 54)) + 2]


@pytest.mark.slow
def test_all_words_of_all_missions_are_known():
    gymnasium.make("MiniGrid-Empty-5x5-v0").close()  # registers the others
    ids = [name for name in gymnasium.registry if name.startswith(("MiniGrid-", "BabyAI-")) and "WFC" not in name]
    assert len(ids) > 150
    for name in ids:
        env = gymnasium.make(name, disable_env_checker=True)
        for seed in range(5):
            assert (read(env.reset(seed=seed)[0]["mission"]) != 1).all(), name
        env.close()
