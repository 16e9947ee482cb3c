"""The losses of PPO, by hand and against TorchRL's."""

import math
from typing import Any

import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch.distributions import Categorical
from torchrl.objectives import ClipPPOLoss

from lifelong.agents import ActorCritic, Backbone, Encoder
from lifelong.agents.action_heads import entropy_of
from lifelong.agents.ppo_loss import clipped_losses
from lifelong.memory import make_memory


def test_they_are_those_worked_by_hand() -> None:
    ratios, advantage = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1]), torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    value, target = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0])
    coins = Categorical(torch.tensor([[0.5, 0.5]]).expand(5, 2))
    losses = clipped_losses(coins, ratios.log(), advantage, value, target, 0.2)
    # min(r A, clip(r) A): 1.2, -1.5, 0.5, -0.8, 2.2
    assert losses.policy.item() == pytest.approx(-1.6 / 5)
    assert losses.value.item() == pytest.approx((1 + 0 + 1 + 4 + 9) / 5)
    assert losses.entropy.item() == pytest.approx(math.log(2))
    assert losses.clip_fraction.item() == pytest.approx(4 / 5)
    assert clipped_losses(coins, ratios.log(), advantage, value, target, 0.2, entropy=False).entropy.item() == 0


@pytest.mark.parametrize(
    "actions",
    [
        spaces.Discrete(4),
        spaces.Box(-2.0, 3.0, (2,)),
        spaces.Box(float("-inf"), float("inf"), (2,)),
        spaces.MultiDiscrete([2, 3]),
        spaces.Dict(a=spaces.Discrete(3), b=spaces.Box(-1.0, 1.0, (2,))),
    ],
    ids=["discrete", "box", "free", "choices", "both"],
)
@pytest.mark.parametrize("masked", [False, True])
def test_losses_and_gradients_are_those_of_torchrl(actions: spaces.Space[Any], masked: bool) -> None:
    torch.manual_seed(0)
    policy = ActorCritic(Encoder(spaces.Box(-1.0, 1.0, (3,)), 8), Backbone([make_memory("none", 8)]), actions)
    if masked and not policy.head.masks.size:
        pytest.skip("there is nothing to choose")
    with torch.no_grad():
        for p in policy.parameters():
            torch.nn.init.normal_(p, std=0.5) if p.ndim > 1 else None
    hidden = torch.randn(7, 5, 8)
    mask = torch.rand(7, 5, policy.head.masks.size) < 0.5
    if masked:
        mask[..., [0, 2]] = True  # one of each choice
    given = {"action_mask": mask} if masked else {}
    then = policy.distribution(hidden + 0.3 * torch.randn(7, 5, 8), mask if masked else None)
    action = then.sample()
    batch = {
        "action": action,
        "action_log_prob": then.log_prob(action).detach(),
        "advantage": torch.randn(7, 5),
        "value_target": torch.randn(7, 5),
    }
    weights = [*policy.actor.parameters(), *policy.critic.parameters()]

    torch.manual_seed(1)  # squashed normals have no entropy but that of a draw
    reference = ClipPPOLoss(
        policy.actor, policy.critic, clip_epsilon=0.2, entropy_coeff=0.1, critic_coeff=0.5, loss_critic_type="l2",
        functional=False,
    )  # fmt: skip
    wide = {name: x[..., None] if name in ("advantage", "value_target") else x for name, x in batch.items()}
    want = reference(TensorDict({"hidden": hidden, **wide, **given}, [7, 5]).flatten())
    want_total = want["loss_objective"] + want["loss_critic"] + want["loss_entropy"]

    torch.manual_seed(1)
    now = policy.distribution(hidden, mask if masked else None)
    log_ratio = now.log_prob(action) - batch["action_log_prob"]
    got = clipped_losses(now, log_ratio, batch["advantage"], policy.value(hidden), batch["value_target"], 0.2)
    total = got.policy + 0.5 * got.value - 0.1 * got.entropy

    for mine, name in ((got.policy, "loss_objective"), (0.5 * got.value, "loss_critic"), (got.entropy, "entropy")):
        assert mine.item() == pytest.approx(want[name].item(), abs=1e-6), name
    assert got.clip_fraction.item() == pytest.approx(want["clip_fraction"].item())
    assert 0 < got.clip_fraction.item() < 1
    for mine, theirs in zip(torch.autograd.grad(total, weights), torch.autograd.grad(want_total, weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_an_entropy_without_a_formula_is_that_of_a_draw() -> None:
    policy = ActorCritic(
        Encoder(spaces.Box(-1.0, 1.0, (3,)), 8), Backbone([make_memory("none", 8)]), spaces.Box(-2.0, 3.0, (2,))
    )
    with torch.no_grad():
        distribution = policy.distribution(torch.zeros(40_000, 8))
        entropies = entropy_of(distribution)
    # a standard normal z through 2.5 tanh(z) + 0.5: log sqrt(2 pi e) + log 2.5 + E[log(1 - tanh(z)^2)]
    z = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    weight = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    stretch = torch.trapezoid(weight * (2 * math.log(2) - 2 * z.abs() - 2 * torch.log1p(torch.exp(-2 * z.abs()))), z)
    want = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(2.5) + stretch.item())
    assert entropies.mean().item() == pytest.approx(want, abs=0.03)


def test_a_clip_of_one_or_more_bounds_the_ratio_above_alone() -> None:
    normal = torch.distributions.Normal(torch.zeros(3), 1.0)
    log_ratio, advantage = torch.tensor([-5.0, 0.0, 2.0]), torch.tensor([-1.0, 1.0, 1.0])
    found = clipped_losses(normal, log_ratio, advantage, torch.zeros(3), torch.zeros(3), 1.5, entropy=False)
    want = -(-math.exp(-5.0) + 1.0 + 2.5) / 3
    assert found.policy.item() == pytest.approx(want)
