from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents import CARRY, ActorCritic, Agent, Backbone, Carry, Encoder, Rollout
from lifelong.agents.encoder import as_tensors
from lifelong.envs import CuedRecall
from lifelong.memory import Memory

LENGTHS = np.array([2, 3, 5, 1])  # of the episodes of each slot: ends never come all at once before step 30
TRUNCATED = np.array([False, True, False, True])


class Clockwork:
    """Four slots: a new task every second episode, a new life every fourth; slots 1 and 3 are truncated, others end."""

    num_envs = 4
    single_observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    single_action_space = spaces.Discrete(2)
    action_space = spaces.MultiDiscrete([2, 2, 2, 2])

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        self.now, self.final = np.zeros(4, np.int64), {}
        return self._shown(self.now), self._said()

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.now = self.now + 1
        ended = self.now % LENGTHS == 0
        truncated = ended & TRUNCATED
        said = self._said()
        if truncated.any():
            said["final_obs"] = self.final[int(self.now[0])] = self._shown(self.now + 1000)
        return self._shown(self.now), actions.astype(float), ended & ~truncated, truncated, said

    def starts(self, steps: int) -> dict[Carry, NDArray[np.int64]]:
        """Return the steps below `steps`, [slot, step], at which a memory starts."""
        every = {"episode": LENGTHS, "task": 2 * LENGTHS, "lifetime": 4 * LENGTHS}
        return {carry: np.arange(steps) % lengths[:, None] == 0 for carry, lengths in every.items()}  # type: ignore[misc]

    def _shown(self, now: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.sin(now + 10.0 * np.arange(4), dtype=np.float32)[:, None]

    def _said(self) -> dict[str, Any]:
        lengths = {"episode_start": LENGTHS, "task_start": 2 * LENGTHS, "life_start": 4 * LENGTHS}
        return {name: self.now % every == 0 for name, every in lengths.items()}


class Age(Memory):
    """Memory that counts the steps since its start, this step included."""

    def initial_state(self, batch: int) -> TensorDict:
        return TensorDict({"age": torch.zeros(batch, 1)}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        age = self.restart(state, start)["age"] + 1
        return x + age.log(), TensorDict({"age": age}, state.batch_size)


@pytest.fixture
def aged() -> ActorCritic:
    torch.manual_seed(0)
    encoder = Encoder(Clockwork.single_observation_space, 4)
    return ActorCritic(encoder, Backbone([Age(4)]), Clockwork.single_action_space)


def ages(rollout: Rollout) -> list[int]:
    return rollout.state["0", "age"][:, 0].int().tolist()


@pytest.mark.parametrize("carry", CARRY)
def test_only_what_carry_names_ends_the_memory_of_a_slot(carry: Carry, aged: ActorCritic) -> None:
    rollout = Rollout(aged, Clockwork(), carry)
    every = {"episode": LENGTHS, "task": 2 * LENGTHS, "lifetime": 4 * LENGTHS}[carry]
    for now in range(25):
        rollout.collect(1)
        assert ages(rollout) == (now % every + 1).tolist()


@pytest.mark.parametrize("carry", CARRY)
def test_a_segment_says_where_memories_start_and_end(carry: Carry, aged: ActorCritic) -> None:
    env = Clockwork()
    steps = Rollout(aged, env, carry).collect(25).steps
    starts = env.starts(26)[carry]
    episodes = env.starts(26)["episode"]
    np.testing.assert_array_equal(steps["start"], starts[:, :-1])
    np.testing.assert_array_equal(steps["next", "end"][..., 0], starts[:, 1:])
    np.testing.assert_array_equal(steps["next", "episode_end"][..., 0], (episodes & ~starts)[:, 1:])
    cut = episodes[:, 1:] & TRUNCATED[:, None]
    np.testing.assert_array_equal(steps["next", "truncated"][..., 0], cut)


def test_a_segment_begins_with_the_memory_the_last_one_ended_with(aged: ActorCritic) -> None:
    rollout = Rollout(aged, Clockwork())
    segments = rollout.segments(4)
    assert (next(segments).state["0", "age"] == 0).all()
    for _ in range(3):
        ended = rollout.state.clone()
        began = next(segments).state
        assert (began == ended).all()


@pytest.mark.parametrize("carry", CARRY)
def test_values_of_what_follows_are_taken_on_a_copy_of_the_memory(carry: Carry, aged: ActorCritic) -> None:
    env = Clockwork()
    torch.manual_seed(1)
    singly, after = Rollout(aged, Clockwork(), carry), []
    for _ in range(12):
        singly.collect(1)
        after.append(singly.state)
    torch.manual_seed(1)
    rollout = Rollout(aged, env, carry)
    steps = rollout.collect(12).steps
    assert ages(rollout) == ages(singly)
    following = steps["next", "state_value"][..., 0]
    never = torch.zeros(4, dtype=torch.bool)
    for t in range(12):
        present = rollout.observation if t == 11 else steps["observation"][:, t + 1]
        start = rollout.start if t == 11 else steps["start"][:, t + 1]
        expected = aged.value(aged.trunk(present, after[t], start)[0])
        final = aged.value(aged.trunk(as_tensors(env.final[t + 1], (4,)), after[t], never)[0])
        expected = torch.where(steps["next", "truncated"][:, t, 0], final, expected)
        torch.testing.assert_close(following[:, t], expected)


@pytest.mark.parametrize("options", [{}, {"blanks": 2, "life_episodes": 3}])
def test_one_long_segment_is_the_same_life_as_two_short_ones(
    options: dict[str, Any], policy_for: Callable[..., ActorCritic], recall: Callable[..., CuedRecall]
) -> None:
    policy = policy_for(recall(**options))
    torch.manual_seed(1)
    whole = Rollout(policy, recall(**options)).collect(12)
    torch.manual_seed(1)
    halves = Rollout(policy, recall(**options))
    first, second = halves.collect(6), halves.collect(6)
    torch.testing.assert_close(torch.cat([first.steps, second.steps], 1), whole.steps)
    for name, column in whole.episodes.items():
        np.testing.assert_array_equal(np.concatenate([first.episodes[name], second.episodes[name]]), column)


def test_rows_agree_with_rewards_and_actions(
    policy_for: Callable[..., ActorCritic], recall: Callable[..., CuedRecall]
) -> None:
    env = recall()
    segment = Rollout(policy_for(env), env).collect(20)  # every step is an episode
    in_time = segment.steps.transpose(0, 1)
    np.testing.assert_array_equal(segment.episodes["return"], in_time["next", "reward"].flatten())
    np.testing.assert_array_equal(segment.episodes["answer"], in_time["action"].flatten())
    assert 0 < segment.episodes["return"].mean() < 1


def test_the_agent_sees_its_own_last_action_and_reward(
    policy_for: Callable[..., ActorCritic], recall: Callable[..., CuedRecall]
) -> None:
    env = recall(num_envs=16, feedback="reward")  # an episode's last step shows what the decision was rewarded with
    steps = Rollout(policy_for(env), env).collect(10).steps
    first = steps["observation", "episode_start"][:, 1:, 0] > 0
    action, reward = (steps["observation", name][:, 1:] for name in ("previous_action", "previous_reward"))
    assert action[~first].equal(steps["action"][:, :-1][~first])
    assert reward[~first].equal(steps["next", "reward"][:, :-1][~first])
    assert reward.sum() > 0
    assert (action[first] == env.answers).all()  # sealed: none yet
    assert not reward[first].any()


def test_actions_of_two_axes_reach_the_world_in_their_shape(policy_for: Callable[..., ActorCritic]) -> None:
    class Canvas(Clockwork):
        single_action_space = spaces.Box(-1.0, 1.0, (2, 2), np.float32)
        action_space = spaces.Box(-1.0, 1.0, (4, 2, 2), np.float32)

        def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
            assert actions.shape == (4, 2, 2)
            return super().step(actions.sum((1, 2)))

    assert Rollout(policy_for(Canvas()), Canvas()).collect(3).steps["action"].shape == (4, 3, 4)


def test_new_weights_do_not_touch_the_memories(
    policy_for: Callable[..., ActorCritic], recall: Callable[..., CuedRecall]
) -> None:
    policy, other = policy_for(recall()), policy_for(recall(), seed=1)
    rollout = Rollout(policy, recall())
    rollout.collect(5)
    before = rollout.state.clone()
    assert all(leaf.any() for leaf in before.values(True, True))
    policy.load_state_dict(other.state_dict())
    TensorDict.from_module(other).data.to_module(policy)  # as TorchRL's collectors sync weights
    assert (rollout.state == before).all()


def test_a_policy_holds_no_memory(policy_for: Callable[..., ActorCritic], recall: Callable[..., CuedRecall]) -> None:
    policy = policy_for(recall())
    weights = {name: value.clone() for name, value in policy.state_dict().items()}
    Rollout(policy, recall()).collect(5)
    assert weights.keys() == dict(policy.named_parameters()).keys()
    assert all(value.equal(weights[name]) for name, value in policy.state_dict().items())


def test_the_policy_may_change_between_segments_and_lives_go_on(
    policy_for: Callable[..., ActorCritic], recall: Callable[..., CuedRecall]
) -> None:
    rollout = Rollout(policy_for(recall()), recall())
    for number, segment in zip(range(1, 4), rollout.segments(5), strict=False):
        assert rollout.steps == 15 * number
        assert segment.episodes["episode"].min() == 5 * (number - 1)


def test_an_unknown_carry_is_refused(policy_for: Callable[..., ActorCritic], recall: Callable[..., CuedRecall]) -> None:
    with pytest.raises(ValueError, match="one of lifetime, task, episode, got 'forever'"):
        Rollout(policy_for(recall()), recall(), "forever")  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [0, -1])
def test_a_segment_has_a_step_at_least(
    length: int, policy_for: Callable[..., ActorCritic], recall: Callable[..., CuedRecall]
) -> None:
    rollout = Rollout(policy_for(recall()), recall())
    with pytest.raises(ValueError, match=f"length must be positive: length={length}"):
        rollout.collect(length)
    with pytest.raises(ValueError, match=f"length must be positive: length={length}"):
        next(rollout.segments(length))


@pytest.mark.parametrize("space", [spaces.Discrete(2), spaces.Box(-1, 1, (3, 4))])
def test_a_greedy_rollout_takes_the_mode_and_draws_nothing(space: spaces.Space[Any], policy_for: Any) -> None:
    class Canvas(Clockwork):
        single_action_space = space
        action_space = batch_space(space, 4)

        def step(self, actions: Any) -> Any:
            return super().step(np.zeros(4))

    policy = policy_for(Canvas())
    torch.manual_seed(3)
    before = torch.get_rng_state()
    greedy, again = (Rollout(policy, Canvas(), deterministic=True).collect(9).steps for _ in range(2))
    assert torch.get_rng_state().equal(before)
    assert greedy["action"].equal(again["action"])
    drawn = Rollout(policy, Canvas()).collect(9).steps
    assert not torch.get_rng_state().equal(before)
    assert not greedy["action"].equal(drawn["action"])
    with torch.no_grad():
        hidden, _ = policy.trunk(greedy["observation"], policy.backbone.initial_state(4), greedy["start"])
        found = policy.distribution(hidden)
    mode = found.mode if isinstance(space, spaces.Discrete) else found.deterministic_sample
    torch.testing.assert_close(greedy["action"], mode)


@pytest.mark.parametrize("name", ["lifelong/Reversal-v0", "lifelong/CartPoleSign-v0", "lifelong/Rooms-LavaGapS5-v0"])
def test_a_stream_of_gymnasiums_form_is_lived_as_the_stream_itself(name: str) -> None:
    """Truncated episodes (Rooms) have the value of their last observation; rows are the same."""
    options: dict[str, Any] = {"max_steps": 5} if "Rooms" in name else {}
    form = gymnasium.make_vec(name, num_envs=3, **options)
    itself = gymnasium.make_vec(name, num_envs=3, **options).unwrapped
    agent = Agent.for_spaces(form, width=8, seed=0)
    segments = []
    for env in (form, itself):
        torch.manual_seed(0)
        segments.append(Rollout(agent, env, seed=0).collect(40))
    one, other = segments
    assert (one.steps == other.steps).all()
    assert one.steps["next", "truncated"].any() == ("Rooms" in name)
    assert one.episodes.keys() == other.episodes.keys()
    assert one.episodes["return"].size
    for column, values in other.episodes.items():
        np.testing.assert_array_equal(one.episodes[column], values)


@pytest.mark.parametrize("mode", ["NEXT_STEP", "DISABLED"])
def test_a_stream_that_does_not_reset_in_the_same_step_is_refused(mode: str) -> None:
    env = gymnasium.make_vec("lifelong/Reversal-v0", num_envs=3, autoreset_mode=mode)
    with pytest.raises(ValueError, match=f"SAME_STEP here, got {mode}"):
        Rollout(Agent.for_spaces(env, width=8, seed=0), env)
