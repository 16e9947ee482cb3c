"""TorchRL on every registered id: its environments, vector wrappers, collectors and replay of slices."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from lifelong.envs import STREAMS, make_single, make_vector
from lifelong.envs.extras import is_installed

torch = pytest.importorskip("torch")
envs = pytest.importorskip("torchrl.envs")
Collector = pytest.importorskip("torchrl.collectors").Collector
data = pytest.importorskip("torchrl.data")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*Box observation space m.*infinity", "ignore:.*symmetric and normalized"
)

QUICK = ("Rooms-DoorKey-5x5", "Rooms-LavaGapS5", "Rooms-KeyCorridorS3R1")
IDS = [
    pytest.param(name, marks=pytest.mark.slow if "Rooms" in name and not any(one in name for one in QUICK) else ())
    for name, spec in gymnasium.registry.items()
    if name.startswith("lifelong/") and spec.vector_entry_point
]


@pytest.fixture(params=IDS)
def name(request: pytest.FixtureRequest) -> str:
    extra = STREAMS[gymnasium.spec(request.param).kwargs["name"]].extra
    if not is_installed(extra):
        pytest.skip(f"needs {extra}")
    return str(request.param)


def leaves(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if isinstance(tree, dict):
        return {k: v for key, part in tree.items() for k, v in leaves(part, (*path, key)).items()}
    return {path: tree}


def test_an_environment_by_its_id(name: str) -> None:
    """Specs hold, and a rollout is the life that the environment itself lives by the same seed and actions."""
    env = envs.GymEnv(name, categorical_action_encoding=True)
    envs.check_env_specs(env)
    env.set_seed(3)
    torch.manual_seed(0)
    rollout = env.rollout(60, break_when_any_done=False)
    single = make_single(**gymnasium.spec(name).kwargs)
    single.reset(seed=3)
    obs, _ = single.reset()  # set_seed has reset already
    for step in rollout:
        compare(step, obs)
        obs, reward, terminated, truncated, _ = single.step(step["action"].numpy())
        assert step["next", "reward"].item() == pytest.approx(reward)
        assert (step["next", "terminated"].item(), step["next", "truncated"].item()) == (terminated, truncated)
        compare(step["next"], obs)
        if terminated or truncated:
            obs, _ = single.reset()
    env.close()


def compare(step: Any, obs: Any) -> None:
    for path, value in leaves(obs).items():
        np.testing.assert_array_equal(step[path].numpy(), value)


def test_one_hot_actions_and_skipped_frames(name: str) -> None:
    """As GymEnv has it where nothing is said of the actions; frames are skipped by its own wrapper."""
    env = envs.GymEnv(name, frame_skip=2)
    envs.check_env_specs(env)
    env.close()


@pytest.mark.parametrize(("mode", "flat"), [("DISABLED", False), ("DISABLED", True), ("SAME_STEP", True)])
def test_a_vector_environment_in_its_wrapper(name: str, mode: str, flat: bool) -> None:
    """Three lives as the vector environment itself lives them; TorchRL reads Dicts only with DISABLED."""

    def made() -> Any:
        vector = gymnasium.make_vec(name, num_envs=3, autoreset_mode=mode, flat=flat)
        return envs.GymWrapper(vector, categorical_action_encoding=True)

    envs.check_env_specs(made())
    env = made()  # TorchRL keeps observations of a finished rollout for its next reset
    env.set_seed(3)
    torch.manual_seed(0)
    rollout = env.rollout(40, break_when_any_done=False)
    own: Any = make_vector(num_envs=3, autoreset_mode="DISABLED", flat=flat, **gymnasium.spec(name).kwargs)
    own.reset(seed=3)
    obs, _ = own.reset()
    for step in rollout.unbind(1):
        compare(step, {"observation": obs} if flat else obs)
        obs, reward, terminated, truncated, _ = own.step(step["action"].numpy())
        np.testing.assert_allclose(step["next", "reward"][:, 0].numpy(), reward, rtol=1e-6)
        np.testing.assert_array_equal(step["next", "done"][:, 0].numpy(), terminated | truncated)
        compare(step["next"], {"observation": obs} if flat else obs)
        if (terminated | truncated).any():
            obs, _ = own.reset(options={"reset_mask": terminated | truncated})
    env.close()


def test_a_collector_and_replayed_slices(name: str) -> None:
    """Slices of five steps that lie within an episode, or end with it, each observation followed by the next."""
    env = envs.TransformedEnv(envs.GymEnv(name, flat=True, categorical_action_encoding=True), envs.InitTracker())
    env.set_seed(0)
    buffer = data.ReplayBuffer(
        storage=data.LazyTensorStorage(128),
        sampler=data.SliceSampler(slice_len=2, end_key=("next", "done")),
        batch_size=16,
    )
    frames = 0
    for batch in Collector(env, None, frames_per_batch=32, total_frames=64):
        assert batch["is_init"][1:].equal(batch["next", "done"][:-1])
        buffer.extend(batch)
        frames += batch.numel()
    assert frames == 64
    if name == "lifelong/CuedRecall-v0":
        return  # its episodes are single steps
    slices = buffer.sample().reshape(8, 2)
    inside = ~slices["next", "done"][:, 0, 0]
    assert inside.all()
    assert slices["observation"][:, 1].equal(slices["next", "observation"][:, 0])


def test_a_serial_environment_of_copies_lives_different_lives() -> None:
    env = envs.SerialEnv(2, lambda: envs.GymEnv("lifelong/CuedRecall-v0"))
    cues = env.reset()["observation", "cue"]
    assert not torch.allclose(cues[0], cues[1])
    env.close()
