"""Variants of classic control are their environments but for what is hidden or scaled."""

import gymnasium
import numpy as np
import pytest

from lifelong.envs import make_stream
from lifelong.envs.variants import VARIANTS


@pytest.mark.parametrize(("env_id", "hidden"), [(i, of["hidden"]) for i, of in VARIANTS.items() if "hidden" in of])
def test_velocities_are_0_and_the_rest_is_as_it_was(env_id: str, hidden: tuple[int, ...]) -> None:
    variant, whole = gymnasium.make(env_id), gymnasium.make(VARIANTS[env_id]["env_id"])
    assert variant.observation_space == whole.observation_space
    (shown, _), (obs, _) = variant.reset(seed=3), whole.reset(seed=3)
    velocities = np.isin(np.arange(obs.size), hidden)
    whole.action_space.seed(3)
    for _ in range(8):  # no pole falls so fast
        action = whole.action_space.sample()
        shown, reward, *_ = variant.step(action)
        obs, same_reward, *_ = whole.step(action)
        assert shown.dtype == obs.dtype
        assert reward == same_reward
        assert (obs[velocities] != 0).any()
        np.testing.assert_array_equal(shown[~velocities], obs[~velocities])
        assert not np.signbit(shown[velocities]).any()  # not even -0.0 tells the direction
        assert not shown[velocities].any()


@pytest.mark.parametrize("env_id", [*VARIANTS, "lifelong/ColourRoom-v0"])
def test_seeds_are_integers_of_numpy_too(env_id: str) -> None:
    env = gymnasium.make(env_id)
    want, _ = env.reset(seed=3)
    for kind in (np.int64, np.uint8):
        obs, _ = env.reset(seed=kind(3))
        assert repr(obs) == repr(want)
    with pytest.raises(TypeError, match=r"seed must be an integer, got 1\.5"):
        env.reset(seed=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.001, 1000.0])
def test_rewards_are_scaled(factor: float) -> None:
    env_id = f"lifelong/CartPoleReward{factor:g}-v1"
    assert VARIANTS[env_id]["reward_factor"] == factor
    stream = make_stream(f"gym:{env_id}", 2)
    stream.reset()
    _, reward, *_ = stream.step(np.array([0, 1]))
    assert reward.tolist() == pytest.approx([factor, factor])


def test_a_variant_ends_when_its_environment_does() -> None:
    spec = gymnasium.make("lifelong/CartPoleNoVel-v1").get_wrapper_attr("_max_episode_steps")
    assert spec == 500
