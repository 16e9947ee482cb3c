"""Masks that lie deep in observations."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lifelong.agents import PPO, Agent, PPOConfig, Rollout
from lifelong.envs import GymStream, GymTask
from lifelong.mask_entry import at_path, mask_path


def mask(n: int) -> spaces.Box:
    return spaces.Box(0, 1, (n,), np.int8)


LOOK = spaces.Box(-1, 1, (2,), np.float32)
TWO, HANDS = spaces.MultiDiscrete([2, 3]), spaces.Dict(left=spaces.Discrete(2), right=spaces.Discrete(3))
FOUND: dict[str, tuple[spaces.Space[Any], spaces.Space[Any], tuple[Any, ...]]] = {
    "at the top, whatever is below": (
        spaces.Discrete(4),
        spaces.Dict(action_mask=mask(4), other=spaces.Dict(action_mask=mask(4))),
        ("action_mask",),
    ),
    "in a Dict": (
        spaces.Discrete(4),
        spaces.Dict(look=LOOK, own=spaces.Dict(action_mask=mask(4))),
        ("own", "action_mask"),
    ),
    "in a Tuple": (
        spaces.Discrete(4),
        spaces.Tuple([LOOK, spaces.Dict(action_mask=spaces.MultiBinary(4))]),
        (1, "action_mask"),
    ),
    "the one that fits": (
        spaces.Discrete(4, start=-3),
        spaces.Dict(other=spaces.Dict(action_mask=mask(5)), own=spaces.Dict(action_mask=spaces.MultiDiscrete([2] * 4))),
        ("own", "action_mask"),
    ),
    "a tuple of masks": (
        TWO,
        spaces.Dict(own=spaces.Dict(action_mask=spaces.Tuple([mask(2), mask(3)]))),
        ("own", "action_mask"),
    ),
    "a dict of masks": (
        HANDS,
        spaces.Dict(own=spaces.Dict(action_mask=spaces.Dict(left=mask(2), right=mask(3)))),
        ("own", "action_mask"),
    ),
    "a dict of masks at the top": (
        HANDS,
        spaces.Dict(action_mask=spaces.Dict(left=mask(2), right=mask(3))),
        ("action_mask",),
    ),
}


class Plain(gymnasium.Env[Any, Any]):
    """Six choices, all legal, and no mask."""

    action_space, observation_space = spaces.Discrete(6), spaces.Dict(look=LOOK)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return {"look": np.zeros(2, np.float32)}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return {"look": np.zeros(2, np.float32)}, 1.0, True, False, {}


class Deep(gymnasium.Env[Any, Any]):
    """One choice of each number is legal, another one in every step; counts what was taken, and what was illegal."""

    taken = illegal = 0

    def __init__(self, case: str) -> None:
        self.action_space, self.observation_space, self.path = FOUND[case]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self._shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        moves = action.values() if isinstance(action, dict) else np.reshape(action - self.action_space.start, -1)
        legal = self.legal.values() if isinstance(self.legal, dict) else self.legal
        legal = legal if isinstance(self.action_space, spaces.Dict | spaces.MultiDiscrete) else [legal]
        Deep.taken += 1
        Deep.illegal += not all(part[move] for part, move in zip(legal, moves, strict=True))
        self.count += 1
        return self._shown(), 1.0, self.count == 5, False, {}

    def _shown(self) -> Any:
        observation = self.observation_space.sample()
        self.legal = self._one(at_path(self.observation_space, self.path))
        at_path(observation, self.path[:-1])["action_mask"] = self.legal
        return observation

    def _one(self, space: Any) -> Any:
        if isinstance(space, spaces.Dict):
            return {key: self._one(inner) for key, inner in space.spaces.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(self._one(inner) for inner in space.spaces)
        legal = np.zeros(space.shape, space.dtype)
        legal[self.np_random.integers(len(legal))] = 1
        return legal


gymnasium.register("DeepMask-v0", Deep)
gymnasium.register("NoMask-v0", Plain)


@pytest.mark.parametrize("case", FOUND)
def test_masks_are_found_and_applied_in_streams_vector_environments_and_loops(case: str) -> None:
    assert mask_path(FOUND[case][1], FOUND[case][0]) == FOUND[case][2]
    Deep.taken = Deep.illegal = 0
    stream = GymStream([GymTask("DeepMask-v0", kwargs={"case": case})], num_envs=2, seed=0)
    vector = SyncVectorEnv([lambda: Deep(case)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    for env in (stream, vector):
        agent = Agent.for_spaces(env, width=8)
        segment = Rollout(agent, env, seed=0).collect(12)
        assert PPO(agent, PPOConfig(minibatches=1)).learn(segment)["ratio_error"] <= 1e-4
    alone = Deep(case)
    agent, state = Agent.for_spaces(alone, width=8), None
    observation, _ = alone.reset(seed=0)
    for _ in range(4):
        action, state = agent.act(observation, state, reward=1.0)
        observation, *_ = alone.step(action)
    assert (Deep.taken, Deep.illegal) == (2 * 2 * 12 + 4, 0)


@pytest.mark.parametrize("case", ["at the top, whatever is below", "in a Dict"])
def test_a_task_without_a_mask_may_come_before_one_with(case: str) -> None:
    Deep.taken = Deep.illegal = 0
    tasks = [GymTask("NoMask-v0"), GymTask("DeepMask-v0", kwargs={"case": case})]
    stream = GymStream(tasks, num_envs=2, seed=0, unify=True)
    agent = Agent.for_spaces(stream, width=8)
    segment = Rollout(agent, stream).collect(200)
    assert segment.steps["action_mask"][:, 0].all()
    assert Deep.taken
    assert not Deep.illegal


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((5,), r"no entry fits as the mask of the 4 choices of the actions: 0/action_mask \(5 numbers\); rename what"),
        ((4, 4), r"more than one entry fits .*: 0/action_mask \(4 numbers\), 1/action_mask \(4 numbers\); rename what"),
    ],
)
def test_what_is_not_clear_is_refused(sizes: tuple[int, ...], said: str) -> None:
    space = spaces.Tuple([spaces.Dict(action_mask=mask(n)) for n in sizes])
    with pytest.raises(ValueError, match=said):
        mask_path(space, spaces.Discrete(4))
    assert mask_path(space, LOOK) is None  # nothing to choose
    assert mask_path(LOOK, spaces.Discrete(4)) is None
