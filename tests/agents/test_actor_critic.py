from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from lifelong.agents import ActorCritic, Backbone, Encoder
from lifelong.agents.encoder import as_tensors
from lifelong.memory import make_memory

B, T = 3, 5
LOOK = spaces.Box(-1.0, 1.0, (4,), np.float32)
ACTIONS = {
    "discrete": spaces.Discrete(5),
    "box": spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32)),
    "box of two axes": spaces.Box(-1.0, 3.0, (2, 2), np.float32),
}


@pytest.fixture(params=ACTIONS)
def policy(request: pytest.FixtureRequest, policy_for: Callable[..., ActorCritic], body: Any) -> ActorCritic:
    return policy_for(body(LOOK, ACTIONS[request.param]))


def inputs(policy: ActorCritic, *batch: int) -> TensorDict:
    memory = policy.backbone.initial_state(B).apply(lambda leaf: torch.randn_like(leaf))
    seen = as_tensors(np.random.default_rng(0).uniform(-1, 1, (*batch, 4)), batch)
    start = torch.arange(int(np.prod(batch))).reshape(batch) % 4 == 1
    # a memory is that of the first step: it has no axis of time
    return TensorDict({"observation": seen, "state": memory, "start": start}, [B])


def test_acting_leaves_the_memory_it_was_given_as_it_is(policy: ActorCritic) -> None:
    given = inputs(policy, B)
    kept, weights = given.clone(), {name: p.clone() for name, p in policy.state_dict().items()}
    policy_out, after = policy.act(given["observation"], given["state"], given["start"])
    assert (given == kept).all()
    assert not (after == kept["state"]).all()
    assert all(weights[name].equal(p) for name, p in policy.state_dict().items())
    assert policy_out["state_value"].shape == (B, 1)
    assert policy_out["action_log_prob"].shape == (B,)


@pytest.mark.parametrize("batch", [(B,), (B, T)])
def test_forward_is_pure_and_does_what_it_says(policy: ActorCritic, batch: tuple[int, ...]) -> None:
    given = inputs(policy, *batch)
    kept = given.clone()
    torch.manual_seed(0)
    first = policy(given.clone())
    torch.manual_seed(0)
    again = policy(given)
    for key in policy.in_keys:
        assert (first[key] == kept[key]).all()
    for key in policy.out_keys:
        torch.testing.assert_close(first[key], again[key], rtol=0, atol=0)
    hidden, _ = policy.trunk(given["observation"], kept["state"], given["start"])
    torch.testing.assert_close(again["action_log_prob"], policy.distribution(hidden).log_prob(again["action"]))
    assert again["state_value"].shape == (*batch, 1)


def test_many_steps_are_as_many_single_ones(policy: ActorCritic) -> None:
    given = inputs(policy, B, T)
    hidden, after = policy.trunk(given["observation"], given["state"], given["start"])
    memory = given["state"]
    for t in range(T):
        one, memory = policy.trunk(given["observation"][:, t], memory, given["start"][:, t])
        torch.testing.assert_close(one, hidden[:, t], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(memory, after, rtol=1e-4, atol=1e-5)


def test_the_distribution_is_that_of_the_actor_that_the_loss_calls(policy: ActorCritic) -> None:
    hidden = torch.randn(B, T, policy.backbone.width)
    ours, theirs = policy.distribution(hidden), policy.actor.get_dist(TensorDict({"hidden": hidden}, [B, T]))
    action = theirs.sample()
    assert type(ours) is type(theirs)
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action), rtol=0, atol=0)
    torch.testing.assert_close(
        policy.value(hidden), policy.critic(TensorDict({"hidden": hidden}))["state_value"][..., 0]
    )


def test_continuous_actions_stay_within_their_bounds(policy_for: Callable[..., ActorCritic], body: Any) -> None:
    policy = policy_for(body(LOOK, ACTIONS["box"]))
    action = policy.distribution(10 * torch.randn(500, policy.backbone.width)).sample()
    space = ACTIONS["box"]
    assert (action >= torch.as_tensor(space.low)).all()
    assert (action <= torch.as_tensor(space.high)).all()
    assert action[:, 0].min() < -1  # the bounds are those of each entry
    assert action[:, 0].max() > 1


def test_a_free_standard_deviation_is_the_same_in_all_states_and_is_learned() -> None:
    torch.manual_seed(0)
    encoder, backbone = Encoder(LOOK, 8), Backbone([make_memory("gru", 8)])
    policy = ActorCritic(encoder, backbone, ACTIONS["box"], "free")
    hidden = torch.randn(50, 8)
    with torch.no_grad():
        policy.actor[0].module[1].log_std.copy_(torch.tensor([-1.0, 0.5]))
    parameters = policy._arguments(hidden)
    assert torch.equal(parameters["scale"], torch.tensor([-1.0, 0.5]).exp().expand(50, 2))
    assert parameters["loc"].std(0).min() > 0
    distribution = policy.distribution(hidden)
    distribution.log_prob(distribution.sample()).sum().backward()
    gradient = policy.actor[0].module[1].log_std.grad
    assert gradient is not None
    assert gradient.abs().min() > 0


def test_an_unknown_kind_of_standard_deviation_is_refused() -> None:
    encoder, backbone = Encoder(LOOK, 8), Backbone([make_memory("gru", 8)])
    with pytest.raises(ValueError, match="action_std must be one of state, free, got 'fixed'"):
        ActorCritic(encoder, backbone, ACTIONS["box"], "fixed")  # type: ignore[arg-type]


@pytest.mark.parametrize("action_std", ["state", "free"])
@pytest.mark.parametrize("kind", ["box", "mixed"])
def test_a_new_agent_has_the_initial_standard_deviation(kind: str, action_std: Any) -> None:
    torch.manual_seed(0)
    mixed = spaces.Dict({"push": spaces.Box(-1, 1, (2,)), "gear": spaces.Discrete(3)})
    encoder, backbone = Encoder(LOOK, 8), Backbone([make_memory("gru", 8)])
    space = mixed if kind == "mixed" else ACTIONS["box"]
    policy = ActorCritic(encoder, backbone, space, action_std, 0.25)
    parameters = policy._arguments(torch.zeros(3, 8))
    scale = parameters["parameters"][..., -2:] if kind == "mixed" else parameters["scale"]
    torch.testing.assert_close(scale, torch.full((3, 2), 0.25))


@pytest.mark.parametrize("initial_std", [0.0, 0.01, -1.0, float("inf"), float("nan")])
def test_an_initial_standard_deviation_that_cannot_be_is_refused(initial_std: float) -> None:
    encoder, backbone = Encoder(LOOK, 8), Backbone([make_memory("gru", 8)])
    with pytest.raises(ValueError, match=f"initial_std must be finite and above 0.01, got {initial_std}"):
        ActorCritic(encoder, backbone, ACTIONS["box"], "free", initial_std)


@pytest.mark.parametrize("space", [spaces.Text(4), spaces.Tuple([spaces.Sequence(spaces.Discrete(2))])])
def test_other_action_spaces_are_refused_with_those_that_are_not(
    space: spaces.Space[Any], policy_for: Callable[..., ActorCritic], body: Any
) -> None:
    with pytest.raises(
        ValueError, match=r"policy: actions .* are not supported; supported are Discrete, MultiDiscrete"
    ):
        policy_for(body(LOOK, space))


@pytest.mark.parametrize("T", [None, 4])
def test_without_a_state_a_new_life_begins(T: int | None) -> None:
    encoder, backbone = Encoder(spaces.Box(-1, 1, (2,)), 8), Backbone([make_memory("gru", 8)])
    policy = ActorCritic(encoder, backbone, spaces.Discrete(2))
    sizes = [3] if T is None else [3, T]
    observation = TensorDict({"observation": torch.rand(*sizes, 2)}, sizes)
    start = torch.zeros(sizes, dtype=torch.bool)
    expected, after = policy.trunk(observation, backbone.initial_state(3), start)
    found, state = policy.trunk(observation)
    torch.testing.assert_close(found, expected)
    assert (state == after).all()


def test_wrong_widths_are_named() -> None:
    backbone = Backbone([make_memory("gru", 8)])
    with pytest.raises(ValueError, match="encoder must have the width 8 of the backbone, got 4"):
        ActorCritic(Encoder(spaces.Discrete(2), 4), backbone, spaces.Discrete(2))
    with pytest.raises(ValueError, match=r"x must be \[B, D\] with D = width = 8, got \[3, 4\]"):
        backbone.step(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"x must be \[B, T, D\] with D = width = 8, got \[3, 8\]"):
        backbone(torch.zeros(3, 8))
