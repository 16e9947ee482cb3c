import gymnasium
import minigrid  # noqa: F401  registers its environments
import numpy as np
import pytest
from minigrid.minigrid_env import MiniGridEnv

from lifelong.envs.minigrid.fast_view import quicken

WORLDS = [
    "MiniGrid-DoorKey-8x8-v0",
    "MiniGrid-FourRooms-v0",
    "MiniGrid-MultiRoom-N6-v0",
    "MiniGrid-LavaCrossingS9N2-v0",
    "MiniGrid-Dynamic-Obstacles-6x6-v0",
    "MiniGrid-KeyCorridorS3R3-v0",
    "MiniGrid-MemoryS13-v0",
    "MiniGrid-ObstructedMaze-2Dlhb-v1",
    "BabyAI-GoToLocal-v0",
]


def make(name, **settings):
    return gymnasium.make(name, disable_env_checker=True, **settings).unwrapped


def walk(env, steps, seed):
    """Act at random, walking and opening doors more often than not; yield every observation."""
    rng = np.random.default_rng(seed)
    seen, _ = env.reset(seed=seed)
    yield seen
    for _ in range(steps):
        seen, _, terminated, truncated, _ = env.step(int(rng.choice([0, 1, 2, 2, 2, 3, 4, 5, 5])))
        if terminated or truncated:
            seen, _ = env.reset()
        yield seen


@pytest.mark.parametrize("name", WORLDS)
def test_the_fast_view_shows_what_minigrid_shows(name):
    env = make(name)
    quicken(env)
    for seen in walk(env, 300, seed=3):
        wanted = MiniGridEnv.gen_obs(env)
        assert seen.keys() == wanted.keys()
        assert seen["image"].dtype == wanted["image"].dtype
        np.testing.assert_array_equal(seen["image"], wanted["image"])
        assert (seen["direction"], seen["mission"]) == (wanted["direction"], wanted["mission"])


@pytest.mark.parametrize("settings", [{"agent_view_size": 3}, {"agent_view_size": 11}, {"see_through_walls": True}])
def test_views_of_other_sizes_and_through_walls_are_the_same_too(settings):
    env = make("MiniGrid-FourRooms-v0", **settings)
    quicken(env)
    for seen in walk(env, 100, seed=4):
        np.testing.assert_array_equal(seen["image"], MiniGridEnv.gen_obs(env)["image"])


def test_an_environment_with_a_view_of_its_own_keeps_it():
    class Blind(MiniGridEnv):
        def gen_obs(self):
            return {"image": np.zeros((7, 7, 3), np.uint8)}

    env = Blind.__new__(Blind)
    quicken(env)
    assert "gen_obs" not in vars(env)


def test_streams_of_minigrid_tasks_use_it():
    from lifelong.envs import make_stream

    stream = make_stream("gym:MiniGrid-Empty-5x5-v0", num_envs=1)
    assert "gen_obs" in vars(stream.environment(0, 0).unwrapped)
