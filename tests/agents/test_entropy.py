import math

import pytest
import torch
from gymnasium import spaces
from torch.distributions import Categorical

from lifelong.agents.action_heads import ActionHead, Choice, JointAction, actor_of, masked
from lifelong.agents.entropy import against_uniform
from lifelong.agents.squashed_normal import SquashedNormal


def test_of_discrete_actions_it_is_a_share_of_log_n() -> None:
    halves = Categorical(probs=torch.tensor([0.5, 0.5, 0.0, 0.0]))  # log 2 of log 4
    assert against_uniform(halves, halves.entropy().item()) == {"entropy_share": pytest.approx(0.5)}
    assert against_uniform(Categorical(logits=torch.zeros(3, 7)), math.log(7)) == {"entropy_share": pytest.approx(1)}
    assert against_uniform(Categorical(logits=torch.zeros(1)), 0.0) == {}


def test_of_several_choices_it_is_a_share_of_the_sum_and_under_a_mask_of_what_is_legal() -> None:
    layout = actor_of(4, ActionHead(spaces.MultiDiscrete([2, 4])), "state")[1].distribution_kwargs["layout"]
    logits = torch.zeros(3, 6)
    uniform = JointAction(logits, layout)
    share = {"entropy_share": pytest.approx(1)}
    assert against_uniform(uniform, math.log(8)) == share
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 1, 1], [0, 1, 1, 1, 0, 0]]).bool()
    some = JointAction(masked(logits, mask), layout)
    assert against_uniform(some, some.entropy().mean().item()) == share
    one = Choice(logits=masked(torch.zeros(2, 3), torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()))
    assert against_uniform(one, (math.log(2) + math.log(3)) / 2) == share
    both = ActionHead(spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (1,))]))
    layout = actor_of(4, both, "state")[1].distribution_kwargs["layout"]
    assert against_uniform(JointAction(torch.ones(3, 4), layout), 0.0) == {}


def test_of_a_box_it_is_nats_per_dimension_below_uniform() -> None:
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 1.0])  # of volume 4
    box = SquashedNormal(torch.zeros(5, 2), torch.ones(5, 2), low=low, high=high)
    assert against_uniform(box, math.log(4)) == {"entropy_below_uniform": pytest.approx(0, abs=1e-6)}
    assert against_uniform(box, math.log(4) - 2 * math.log(2)) == {  # half of each range
        "entropy_below_uniform": pytest.approx(math.log(2))
    }


def test_a_box_policy_has_the_entropy_that_its_densities_tell() -> None:
    # tanh of a normal of deviation .01 around 0 is as good as that normal: log(.01 sqrt(2 pi e)), times 2 as [-2, 2] is
    box = SquashedNormal(torch.zeros(20000, 1), torch.full((20000, 1), 0.01), low=-2.0, high=2.0)
    torch.manual_seed(0)
    entropy = -box.log_prob(box.sample()).mean().item()
    expected = math.log(4) - math.log(2 * 0.01 * math.sqrt(2 * math.pi * math.e))
    assert against_uniform(box, entropy)["entropy_below_uniform"] == pytest.approx(expected, abs=0.03)
