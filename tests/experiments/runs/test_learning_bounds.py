"""What the end of a training says of its learning, on reports made up."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from lifelong.agents import Segment
from lifelong.experiments.runs.learning_bounds import LearningBounds


def segment(rewards: Sequence[float], returns: Sequence[float] = ()) -> Segment:
    """Return a segment of one life."""
    reward = torch.tensor(rewards)[None, :, None]
    steps = TensorDict({"next": TensorDict({"reward": reward}, [1, len(rewards)])}, [1, len(rewards)])
    return Segment(steps, TensorDict({}, [1]), {"return": np.array(returns)} if returns else {})


def said(
    reports: Mapping[str, Sequence[float]],
    first: Sequence[float] = (1.0, 3.0) * 10,
    *,
    normalized: bool = False,
    resumed: bool = False,
) -> list[str]:
    """Return what is said after four reports at the quarters of a training, of these values by tag."""
    bounds = LearningBounds(100, normalized=normalized, resumed=resumed)
    bounds.observe(segment([0.0, 1.0], first))
    for i, step in enumerate((25, 50, 75, 100)):
        bounds.report({tag: values[i] for tag, values in reports.items()}, step)
    return bounds.out_of_bounds()


WELL = {
    "charts/episodic_return": (2.0, 3.0, 4.0, 5.0),
    "losses/entropy_share": (0.9, 0.5, 0.2, 0.01),
    "losses/explained_variance": (-2.0, 0.3, 0.6, 0.8),
    "plasticity/gradient_clipped": (0.99, 0.99, 0.99, 0.99),
    "plasticity/value_gradient_share": (0.9, 0.4, 0.4, 0.4),
}


def test_nothing_is_said_where_all_is_well() -> None:
    assert said(WELL) == said({}) == []
    assert LearningBounds(100, normalized=True).out_of_bounds() == []


@pytest.mark.parametrize(("normalized", "remedy"), [(False, "--normalize-reward on"), (True, "a smaller --value-coef")])
def test_a_gradient_that_is_all_the_values_and_clipped(normalized: bool, remedy: str) -> None:
    nan = float("nan")  # not measured
    shares = {"plasticity/value_gradient_share": (1.0, nan, 0.94, 0.94)}
    assert said(WELL | shares, normalized=normalized) == [
        "96.0 % of the gradient in the weights that policy and value share is the value's, and clipping takes away "
        f"99.0 %, so the policy hardly learns: {remedy}"
    ]
    assert said(WELL | shares | {"plasticity/gradient_clipped": (0.8, 0.9, 0.9, 0.9)}) == []


def test_one_action_before_the_return_rose() -> None:
    collapsed = {"losses/entropy_share": (0.4, 0.01, 0.01, 0.01), "charts/episodic_return": (1.5, 2.0, 1.0, 1.0)}
    assert said(WELL | collapsed) == [
        "the policy's entropy was 1.0 % of its maximum halfway through the run, and the return never rose above that "
        "of its first episodes, 2: a larger --entropy-coef or fewer --epochs"
    ]
    assert said(WELL | collapsed | {"losses/entropy_share": (0.4, 0.2, 0.01, 0.01)}) == []  # it had time to look
    assert said(WELL | collapsed | {"charts/episodic_return": (1.5, 2.1, 1.0, 1.0)}) == []  # and found something
    assert said(WELL | collapsed, first=(1.0, 3.0)) == []  # of two episodes
    assert said(WELL | collapsed, resumed=True) == []


def test_a_value_that_is_worse_than_a_constant() -> None:
    blind = [LearningBounds(100, normalized=normalized) for normalized in (True, False)]
    for bounds in blind:
        for step, explained in ((40, 0.9), (60, -0.1), (80, -0.2), (100, -0.3)):
            bounds.report({"losses/explained_variance": explained}, step)
    worse = "the value's error varies more than the returns do, their explained variance is -0.20: "
    assert [bounds.out_of_bounds() for bounds in blind] == [
        [worse + "a larger --value-coef or more --epochs"],
        [worse + "--normalize-reward on, a larger --value-coef or more --epochs"],
    ]
    assert said({"losses/explained_variance": (-9.0, -9.0, -9.0, -9.0)}) == []  # two reports of the second half


def test_a_value_that_is_worse_than_a_constant_where_the_task_is_solved_is_no_fault() -> None:
    # CartPole-v1 with --normalize-reward on: returns of 500 without exception, explained variance -1.32
    bounds = LearningBounds(100, normalized=True)
    bounds.observe(segment([0.0, 1.0], [20.0] * 20))
    for step in (60, 80, 100):
        bounds.report({"losses/explained_variance": -1.32, "charts/episodic_return": 500.0}, step)
    assert bounds.out_of_bounds() == []


def test_explained_variance_of_returns_that_nobody_predicts_is_no_fault() -> None:
    bounds = LearningBounds(100, normalized=False)
    for step in (60, 80, 100):
        bounds.report({"losses/explained_variance": -0.05}, step)
    assert bounds.out_of_bounds() == []


def test_rewards_without_a_difference_are_all_that_is_said() -> None:
    def alike(rewards: Sequence[float], returns: Sequence[float], *, resumed: bool = False) -> list[str]:
        bounds = LearningBounds(100, normalized=False, resumed=resumed)
        bounds.observe(segment([-1.0, -1.0], returns))
        bounds.observe(segment(rewards))
        for step in (25, 50, 100):
            bounds.report({"losses/entropy_share": 0.01, "charts/episodic_return": -200.0}, step)
        return bounds.out_of_bounds()

    assert alike([-1.0, -1.0], [-200.0] * 20) == [
        "every reward was -1 and every one of 20 returns -200, so there was nothing to learn from: a larger "
        "--entropy-coef or more --steps may find another reward, if the task has one"
    ]
    assert alike([-1.0, -1.0], [-200.0] * 20, resumed=True) == []
    assert alike([-1.0, -1.0], [-200.0] * 19) == []
    assert "nothing to learn" not in str(alike([-1.0, 0.0], [-200.0] * 20))
    assert "nothing to learn" not in str(alike([-1.0, -1.0], [-200.0] * 19 + [-150.0]))  # ended sooner, as in CartPole
