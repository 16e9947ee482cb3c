"""Steps bound to fixed tensors are those of the plain policy: the same draws, numbers and states."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from lifelong.agents import PPO, ActorCritic, Agent, Backbone, Encoder, PPOConfig, Rollout, Segment, bound_policy
from lifelong.envs import GymStream, GymTask, make_stream
from lifelong.memory import make_memory


@pytest.fixture
def bindings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Policies that were bound since."""
    seen: list[Any] = []
    begin = bound_policy.BoundPolicy.__init__

    def counted(self: Any, policy: ActorCritic, *rest: Any, **options: Any) -> None:
        seen.append(policy)
        begin(self, policy, *rest, **options)

    monkeypatch.setattr(bound_policy.BoundPolicy, "__init__", counted)
    return seen


def close(got: TensorDict, want: TensorDict) -> None:
    assert set(got.keys(True, True)) == set(want.keys(True, True))
    for key in want.keys(True, True):
        assert got[key].dtype == want[key].dtype, key
        torch.testing.assert_close(got[key], want[key], rtol=1e-4, atol=1e-5, equal_nan=True)


def lived(
    make: Callable[[], tuple[Any, Any]], *, bound: bool, lengths: tuple[int, ...] = (5, 9), **options: Any
) -> list[Segment]:
    """Return segments between which the policy learns."""
    policy, env = make()
    rollout, learner = Rollout(policy, env, seed=3, **options), PPO(policy, PPOConfig(minibatches=2, epochs=1))
    rollout.bound = bound
    torch.manual_seed(7)
    segments = []
    for length in lengths:
        segments.append(rollout.collect(length))
        learner.learn(segments[-1])
    env.close()
    return segments


def same_lives(make: Callable[[], tuple[Any, Any]], bindings: list[Any], **options: Any) -> None:
    want = lived(make, bound=False, **options)
    assert not bindings
    got = lived(make, bound=True, **options)
    assert len(bindings) == len(got)
    for one, other in zip(got, want, strict=True):
        close(one.steps, other.steps)
        close(one.state, other.state)
        assert one.episodes.keys() == other.episodes.keys()
        for name, column in other.episodes.items():
            np.testing.assert_allclose(one.episodes[name], column, rtol=1e-4)


@pytest.mark.parametrize("memory", ["gated_delta", "gru", "lstm", "none", "palimpsa", "window", "rwkv7"])
@pytest.mark.parametrize("options", [{}, {"carry": "episode"}, {"deterministic": True}])
def test_lives_are_the_same(memory: str, options: dict[str, Any], bindings: list[Any]) -> None:
    def make() -> tuple[Any, Any]:
        env = make_stream("cued-recall", num_envs=4, cues=3, life_episodes=4)
        return Agent.for_spaces(env, memory, width=16, layers=2, seed=0), env

    same_lives(make, bindings, **options)


@pytest.mark.parametrize("options", [{}, {"deterministic": True}])
def test_so_they_are_with_a_head_for_each_task(options: dict[str, Any], bindings: list[Any]) -> None:
    def make() -> tuple[Any, Any]:
        env = make_stream("rooms", num_envs=4, task="empty-5x5,lavagaps5", boundary="task_id", schedule="cyclic:1")
        torch.manual_seed(0)
        encoder, backbone = Encoder(env.single_observation_space, 16), Backbone([make_memory("gated_delta", 16)])
        return ActorCritic(encoder, backbone, env.single_action_space, heads="task"), env

    same_lives(make, bindings, lengths=(40, 40), **options)


@pytest.mark.parametrize("residual", ["sum", "gated"])
@pytest.mark.parametrize("working", [None, "gru", "gated_delta"])
def test_so_they_are_with_a_working_memory_and_gates(residual: Any, working: str | None, bindings: list[Any]) -> None:
    def make() -> tuple[Any, Any]:
        env = make_stream("gym:CartPole-v1", num_envs=3)
        return Agent.for_spaces(env, width=16, residual=residual, working_memory=working, seed=0), env

    same_lives(make, bindings, lengths=(30, 30))


class Shows(gymnasium.Env[Any, Any]):
    """Shows samples of a space and takes any action; every fifth step truncates."""

    def __init__(self, seen: spaces.Space[Any], done: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space, self.count = seen, done, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.count = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        paid = float(np.sum([np.sum(x) for x in np.atleast_1d(action)])) if not isinstance(action, dict) else 1.0
        return self.observation_space.sample(), paid, self.count % 7 == 0, self.count % 5 == 0, {}


SEEN: dict[str, spaces.Space[Any]] = {
    "floats": spaces.Box(-2.0, 6.0, (3, 2), np.float32),
    "doubles without bounds": spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "scalar": spaces.Box(-1.0, 1.0, (), np.float64),
    "flags": spaces.MultiBinary([2, 3]),
    "from -2": spaces.Discrete(5, start=-2),
    "a million": spaces.Discrete(10**6, start=7),
    "text": spaces.Text(5),
    "image": spaces.Box(0, 255, (20, 24, 3), np.uint8),
    "nested": spaces.Dict(
        b=spaces.Tuple([spaces.Discrete(3), spaces.Box(0, 9, (2,), np.float32)]), a=spaces.MultiDiscrete([2, 4])
    ),
}
DONE: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3),
    "choices": spaces.MultiDiscrete([2, 3]),
    "box": spaces.Box(-2.0, 1.0, (2,), np.float32),
    "free": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "both": spaces.Dict(way=spaces.Discrete(3, start=1), force=spaces.Box(0.0, 1.0, (1,), np.float32)),
}


@pytest.mark.parametrize("seen", SEEN)
def test_so_they_are_whatever_is_seen(seen: str, bindings: list[Any]) -> None:
    same_lives(lambda: shown(SEEN[seen], DONE["discrete"]), bindings)


@pytest.mark.parametrize("done", DONE)
@pytest.mark.parametrize("deterministic", [False, True])
def test_so_they_are_whatever_is_done(done: str, deterministic: bool, bindings: list[Any]) -> None:
    same_lives(lambda: shown(SEEN["floats"], DONE[done]), bindings, deterministic=deterministic)


def shown(seen: spaces.Space[Any], done: spaces.Space[Any]) -> tuple[Any, Any]:
    gymnasium.register("Shows-v0", Shows)
    try:
        env = GymStream(GymTask("shows", env_id="Shows-v0", kwargs={"seen": seen, "done": done}), 3)
        agent = Agent.for_spaces(env, width=16, seed=0)
        for slot in range(3):
            env.environment(slot, 0)
    finally:
        del gymnasium.registry["Shows-v0"]
    return agent, env


def test_the_state_before_a_segment_stays_as_it_is() -> None:
    env = make_stream("cued-recall", num_envs=3, cues=3)
    rollout = Rollout(Agent.for_spaces(env, width=16, seed=0), env)
    first = rollout.collect(6)
    kept = rollout.state.clone()
    second = rollout.collect(6)
    assert (second.state == kept).all()
    assert not (rollout.state == kept).all()
    assert (first.state == rollout.policy.backbone.initial_state(3)).all()


@pytest.mark.parametrize("seen", ["floats", "image", "from -2"])
def test_a_record_goes_with_its_segment(seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[Any] = []
    begin = bound_policy.BoundPolicy.__init__

    def noted(self: Any, *given: Any, **options: Any) -> None:
        alive.append(weakref.ref(self))
        begin(self, *given, **options)

    monkeypatch.setattr(bound_policy.BoundPolicy, "__init__", noted)
    agent, env = shown(SEEN[seen], DONE["discrete"])
    rollout = Rollout(agent, env)
    gc.disable()  # images would pile up until it comes
    try:
        rollout.collect(6)
        assert [ref() for ref in alive] == [None]
    finally:
        gc.enable()


def test_what_others_may_have_changed_is_not_bound(policy_for: Any, recall: Any, bindings: list[Any]) -> None:
    class Loud(ActorCritic):
        def trunk(self, *given: Any) -> Any:
            hidden, state = super().trunk(*given)
            return 2 * hidden, state

    def acts(policy: Any) -> Segment:
        return Rollout(policy, recall()).collect(3)

    acts(policy_for(recall()))
    assert len(bindings) == 1
    acts(policy_for(recall()).double())
    hooked, patched = policy_for(recall()), policy_for(recall())
    hooked.encoder.mlp.register_forward_hook(lambda module, given, y: 2 * y)
    patched.trunk = lambda *given: ActorCritic.trunk(patched, *given)
    loud = policy_for(recall())
    loud.__class__ = Loud
    for policy in (hooked, patched, loud):
        learner = PPO(policy, PPOConfig(minibatches=1, epochs=1))
        assert learner.learn(acts(policy))["ratio_error"] <= 1e-5
    assert len(bindings) == 1


def test_whole_numbers_of_a_space_of_floats_are_recorded_as_floats() -> None:
    space = spaces.Dict(
        {"x": spaces.Box(-1, 1, (2,)), "image": spaces.Box(0, 255, (2,), np.uint8), "n": spaces.Discrete(3)}
    )
    whole = np.zeros((4, 2), np.int64)
    assert bound_policy._as_declared(whole, space, ("x",)).dtype == np.float32
    assert bound_policy._as_declared(whole.astype(np.uint8), space, ("image",)).dtype == np.uint8
    assert bound_policy._as_declared(whole[:, 0], space, ("n",)).dtype == np.int64
    assert bound_policy._as_declared(whole, spaces.Box(-1, 1, (2,)), ()).dtype == np.float32
