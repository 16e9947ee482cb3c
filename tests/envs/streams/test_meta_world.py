"""Meta-World's arm as a sequence of tasks; skipped where metaworld is not installed."""

import gymnasium
import numpy as np
import pytest

from lifelong.envs import make_stream
from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.schedules import Cyclic
from lifelong.envs.streams.meta_world import CW10, Arm, MetaWorld


@pytest.fixture(scope="module")
def stream() -> MetaWorld:
    pytest.importorskip("metaworld")
    made = make_stream("cw10", schedule=Cyclic(1), seed=3)
    assert isinstance(made, MetaWorld)
    return made


def test_two_sequences_of_ten_tasks(stream: MetaWorld) -> None:
    assert len(CW10) == 10
    assert [task.name for task in stream.tasks] == list(CW10)
    assert stream.life_episodes == 50_000
    look = stream.single_observation_space["observation"]  # type: ignore[index]
    assert (look.shape, stream.single_action_space.shape) == ((39,), (4,))
    assert "task" not in stream.single_observation_space.spaces  # type: ignore[attr-defined]
    assert all(np.isfinite([scores.random, scores.oracle]).all() for scores in CW10.values())


@pytest.mark.slow
def test_the_second_sequence_is_the_first_twice() -> None:
    pytest.importorskip("metaworld")
    stream = make_stream("cw20", boundary="task_id")
    assert (stream.schedule, stream.life_episodes, len(stream.tasks)) == (Cyclic(5000), 100_000, 10)
    assert stream.reset()[0]["task"].tolist() == [0]


def test_an_episode_is_a_function_of_its_seed_and_actions() -> None:
    pytest.importorskip("metaworld")
    one, other = (gymnasium.make("lifelong/MetaWorld-v0", task="push-v3") for _ in range(2))
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 4)).astype(np.float32)
    other.reset(seed=8)
    for action in actions[::-1]:
        other.step(action)
    first, again = one.reset(seed=5)[0], other.reset(seed=5)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first[-3:], one.reset(seed=6)[0][-3:]), "the goal is drawn anew"
    one.reset(seed=5)
    for action in actions:
        seen, *paid = one.step(action)[:3]
        seen_too, *paid_too = other.step(action)[:3]
        assert one.observation_space.contains(seen)
        assert np.array_equal(seen, seen_too)
        assert paid == paid_too


def test_the_goal_is_shown_and_an_episode_has_200_steps() -> None:
    pytest.importorskip("metaworld")
    env = gymnasium.make("lifelong/MetaWorld-v0", task="window-close-v3")
    seen, _ = env.reset(seed=1)
    assert np.array_equal(seen[-3:], env.unwrapped._target_pos)  # type: ignore[attr-defined]
    still, ends = np.zeros(4, np.float32), []
    for _ in range(200):
        *_, terminated, truncated, _ = env.step(still)
        ends.append(terminated or truncated)
    assert ends == [False] * 199 + [True]


def test_a_success_counts_until_the_end() -> None:
    class Flickering(gymnasium.Env):  # type: ignore[type-arg]
        solved = iter([0.0, 1.0, 0.0, 0.0])

        def seed(self, seed: int) -> None:
            self.seeded = seed

        def reset(self, **_: object) -> tuple[int, dict[str, float]]:
            return 0, {}

        def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, float]]:
            return 0, 0.0, False, False, {"success": next(self.solved), "grasp": 2.0}

    env = Arm(Flickering())
    env.reset(seed=4)
    assert env.unwrapped.seeded == 4  # type: ignore[attr-defined]
    assert [env.step(0)[4] for _ in range(3)] == [{"success": float(s), "grasp": 2.0} for s in (0, 1, 1)]
    env.reset(seed=5)
    assert env.step(0)[4]["success"] == 0, "of this episode"


def test_the_script_of_a_task_solves_it(stream: MetaWorld) -> None:
    rows = play(stream, reference_policies(stream)["oracle"](), 1)
    assert stream.tasks[rows["task"][0]].name == "hammer-v3"
    assert rows["success"].tolist() == [1.0]
    assert rows["normalised"][0] > 0.7


@pytest.mark.parametrize("name", ["cw10", "cw20"])
def test_without_metaworld_it_is_said_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.envs.extras.is_installed", lambda extra: False)
    monkeypatch.setitem(__import__("sys").modules, "metaworld", None)
    monkeypatch.setitem(__import__("sys").modules, "metaworld.env_dict", None)
    with pytest.raises(ValueError, match=r"metaworld.*pip install 'lifelong-rl\[metaworld\]'"):
        make_stream(name)
