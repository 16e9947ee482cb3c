"""What is drawn over each action space, and what the environment gets."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torchrl.modules import TanhNormal

from lifelong.action_spaces import as_actions
from lifelong.agents.action_heads import ActionHead, ActionStd, Choice, JointAction, actor_of, masked

WIDTH = 8
SPACES: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=4),
    "multi-discrete": spaces.MultiDiscrete([2, 5, 3]),
    "multi-discrete of two axes": spaces.MultiDiscrete([[2, 3], [4, 5]]),
    "multi-binary": spaces.MultiBinary(4),
    "bounded": spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32)),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "half bounded": spaces.Box(
        np.array([2, -np.inf], np.float64), np.array([np.inf, -1], np.float64), dtype=np.float64
    ),
    "integers": spaces.Box(0, 5, (2,), np.int64),
    "bytes": spaces.Box(0, 255, (1,), np.uint8),
    "wide integers": spaces.Box(-300, 300, (1,), np.int32),
    "all integers": spaces.Box(-np.inf, np.inf, (1,), np.int64),
    "partly fixed": spaces.Box(np.array([-1, 3, 0], np.float32), np.array([1, 3, 2], np.float32)),
    "fixed": spaces.Box(7, 7, (2,), np.int64),
    "tuple": spaces.Tuple([spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)]),
    "dict": spaces.Dict(
        a=spaces.Dict(b=spaces.Box(-np.inf, 0, (1,), np.float32), c=spaces.Box(-1, 1, (1,), np.int8)),
        d=spaces.MultiDiscrete([2, 4]),
        e=spaces.Box(0, 1, (1,), np.float64),
    ),
}


def over(
    space: spaces.Space[Any], std: ActionStd = "state", batch: int = 1, loud: float = 1.0
) -> tuple[Any, Any, Tensor]:
    """Return head, distribution and its hidden vector."""
    torch.manual_seed(0)
    head = ActionHead(space)
    actor = actor_of(WIDTH, head, std)
    torch.nn.init.normal_(actor[0].module[0].weight, std=loud)
    hidden = torch.randn(1, WIDTH).expand(batch, -1)
    parameters = actor[0].module(hidden)
    parameters = parameters if isinstance(parameters, tuple) else (parameters,)
    keys = dict(zip(actor[1].dist_params_keys, parameters, strict=True))
    return head, actor[1].distribution_class(**keys, **actor[1].distribution_kwargs), hidden


@pytest.mark.parametrize("std", ["state", "free"])
@pytest.mark.parametrize("name", SPACES)
def test_every_action_is_of_its_space(name: str, std: ActionStd) -> None:
    head, distribution, _ = over(SPACES[name], std, batch=300, loud=3.0)
    for drawn in (distribution.sample(), distribution.deterministic_sample if name == "bounded" else distribution.mode):
        rows = head.executed(drawn)
        assert all(head.space.contains(as_actions(head.space, row)) for row in rows)
    log_prob = distribution.log_prob(distribution.sample())
    assert log_prob.shape == (300,)
    assert log_prob.isfinite().all()


@pytest.mark.parametrize("name", [name for name in SPACES if name != "bounded"])
def test_the_entropy_is_the_mean_of_minus_log_p(name: str) -> None:
    _, distribution, _ = over(SPACES[name], batch=40_000, loud=0.3)
    torch.manual_seed(1)
    estimate = -distribution.log_prob(distribution.sample()).mean()
    torch.testing.assert_close(distribution.entropy().mean(), estimate, rtol=0.02, atol=0.02)


def test_a_joint_action_has_the_sum_of_its_parts() -> None:
    _, distribution, hidden = over(SPACES["dict"], batch=6)
    assert isinstance(distribution, JointAction)
    action = distribution.sample()
    assert action.shape == (6, 5)  # of d twice, of c, then of e and of b
    choices, squashed, free = distribution.choices, distribution.squashed, distribution.free
    assert choices is not None
    assert squashed is not None
    assert free is not None
    by_hand = torch.zeros(6)
    for k, n in enumerate((2, 4, 3)):
        logits = choices.logits[:, k, :n]
        torch.testing.assert_close(logits.exp().sum(-1), torch.ones(6))
        by_hand += logits.gather(-1, action[:, k : k + 1].long())[:, 0]
    by_hand += TanhNormal(squashed.loc, squashed.scale, low=0.0, high=1.0).log_prob(action[:, 3:4])
    z = (action[:, 4] - free.mean[:, 0]) / free.stddev[:, 0]
    by_hand += -z.square() / 2 - free.stddev[:, 0].log() - math.log(2 * math.pi) / 2
    torch.testing.assert_close(distribution.log_prob(action), by_hand)
    assert hidden.shape == (6, WIDTH)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 5, (1,), np.int64),
        spaces.Box(-1, 1, (1,), np.int64),
        spaces.Box(0, 255, (1,), np.uint8),
        spaces.Box(-300, 300, (1,), np.int32),
        spaces.Box(250, 260, (1,), np.int16),
    ],
)
def test_integers_play_every_value_and_few_equally_often(space: spaces.Box) -> None:
    low, high = int(space.low[0]), int(space.high[0])
    values = high - low + 1
    head, distribution, _ = over(space, batch=1000 * values, loud=0.0)
    counts = np.bincount(head.executed(distribution.sample())[:, 0].astype(int) - low, minlength=values)
    assert counts.size == values
    if values > 256:  # not even, but all of them
        assert counts.min() > 20
    else:
        assert counts.min() > 800
        assert counts.max() < 1200


def test_few_integers_are_choices_and_many_are_rounded() -> None:
    assert ActionHead(spaces.Box(0, 255, (1,), np.int64)).numbers.choices.size == 1
    assert ActionHead(spaces.Box(0, 256, (1,), np.int64)).numbers.squashed.size == 1
    assert ActionHead(spaces.Box(0, 255, (16,), np.uint8)).numbers.choices.size == 16
    assert ActionHead(spaces.Box(0, 255, (17,), np.uint8)).numbers.squashed.size == 17


def test_without_bounds_the_draw_is_clipped_for_the_environment_alone() -> None:
    head, distribution, _ = over(spaces.Box(0.0, np.inf, (1,), np.float32), batch=1000, loud=0.0)
    drawn = distribution.sample()
    got = head.executed(drawn)
    assert drawn.min() < -1
    np.testing.assert_array_equal(got, drawn.clamp_min(0).numpy())
    torch.testing.assert_close(distribution.log_prob(drawn), distribution.free.log_prob(drawn)[:, 0])


def test_a_normal_begins_where_the_space_is_nearest_to_0() -> None:
    _, distribution, _ = over(SPACES["half bounded"], loud=0.0)
    assert distribution.mode.tolist() == [[2.0, -1.0]]


def test_what_is_fixed_has_no_probability() -> None:
    for name in ("fixed", "partly fixed"):
        head, distribution, _ = over(SPACES[name], batch=50)
        drawn = distribution.sample()
        assert set(head.executed(drawn)[:, 1].tolist()) == {7.0 if name == "fixed" else 3.0}
    _, fixed, _ = over(SPACES["fixed"], batch=50)
    assert fixed.log_prob(fixed.sample()).tolist() == [0.0] * 50
    assert fixed.entropy().tolist() == [0.0] * 50
    _, partly, _ = over(SPACES["partly fixed"], batch=50)
    drawn = partly.sample()
    torch.testing.assert_close(partly.log_prob(drawn), partly.squashed.log_prob(drawn[:, 1:]))


def test_illegal_choices_are_never_drawn_and_leave_no_nan() -> None:
    logits = torch.randn(5000, 4, requires_grad=True)
    mask = torch.tensor([True, False, True, False])
    choice = Choice(logits=masked(logits, mask), validate_args=False)
    assert set(choice.sample().tolist()) == {0, 2}
    assert choice.probs[:, ~mask].eq(0).all()
    assert choice.log_prob(torch.tensor(1)).isneginf().all()
    torch.testing.assert_close(choice.entropy(), Choice(logits=logits[:, mask]).entropy())
    (1e6 * choice.entropy().sum() + choice.log_prob(choice.sample()).sum()).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[:, ~mask].eq(0).all()
    assert logits.grad[:, mask].ne(0).any()


def test_a_joint_mask_removes_its_choices_and_no_others() -> None:
    head = ActionHead(SPACES["dict"])
    assert head.masks.size == 6
    torch.manual_seed(0)
    layout = actor_of(WIDTH, head, "state")[1].distribution_kwargs["layout"]
    parameters = torch.cat([torch.randn(2000, 9), torch.randn(2000, 2), torch.rand(2000, 2) + 0.1], 1).requires_grad_()
    mask = torch.tensor([False, True, True, False, True, False])
    distribution = JointAction(masked(parameters, mask), layout)
    action = distribution.sample()
    assert set(action[:, 0].tolist()) == {1}
    assert set(action[:, 1].tolist()) == {0, 2}
    assert set(action[:, 2].tolist()) == {0, 1, 2}
    (distribution.entropy().sum() + distribution.log_prob(action).sum()).backward()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()
