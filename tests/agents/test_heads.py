"""With a head for each task the present one alone acts and learns."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from lifelong.agents import ActorCritic, Backbone, Encoder
from lifelong.agents.encoder import as_tensors
from lifelong.memory import make_memory

D, K, B, T = 8, 3, 4, 5
LOOK = spaces.Box(-1.0, 1.0, (2,), np.float32)
TOLD = spaces.Dict({"observation": LOOK, "task": spaces.Discrete(K)})


def policy(action_space: Any, **options: Any) -> ActorCritic:
    torch.manual_seed(0)
    made = ActorCritic(Encoder(TOLD, D), Backbone([make_memory("gated_delta", D)]), action_space, **options)
    with torch.no_grad():
        for linear in made.output_maps:
            linear.weight.normal_()
            linear.bias.normal_()
    return made


def seen(*batch: int, task: Any) -> TensorDict:
    looks = np.random.default_rng(0).uniform(-1, 1, (*batch, 2)).astype(np.float32)
    return as_tensors({"observation": looks, "task": np.broadcast_to(task, batch).astype(np.int64)}, batch)


@pytest.mark.parametrize("action_space", [spaces.Discrete(5), spaces.Box(-1.0, 1.0, (2,), np.float32)])
def test_a_head_is_a_linear_map_of_its_own(action_space: Any) -> None:
    agent, one = policy(action_space, heads="task"), policy(action_space)
    one.encoder.load_state_dict(agent.encoder.state_dict())
    one.backbone.load_state_dict(agent.backbone.state_dict())
    task = np.array([0, 2, 1, 2])
    with torch.no_grad():
        parameters, value, _ = agent.outputs(seen(B, task=task))
        for k in range(K):
            for wide, narrow in zip(agent.output_maps, one.output_maps, strict=True):
                narrow.weight[:] = wide.weight[:, k * D : (k + 1) * D]
                narrow.bias[:] = wide.bias
            alone, of_one, _ = one.outputs(seen(B, task=task))
            lives = torch.from_numpy(task) == k
            torch.testing.assert_close(value[lives], of_one[lives])
            for name, x in alone.items():
                torch.testing.assert_close(parameters[name][lives], x[lives])


def test_heads_of_other_tasks_get_no_gradient() -> None:
    agent = policy(spaces.Discrete(5), heads="task")
    hidden, _ = agent.trunk(seen(B, T, task=1))
    assert hidden.shape == (B, T, K * D)
    (agent.value(hidden).sum() + agent.distribution(hidden).logits[..., 0].sum()).backward()
    for linear in agent.output_maps:
        assert linear.weight.grad is not None
        changed = linear.weight.grad.unflatten(1, (K, D)).ne(0).any(2).any(0)
        assert changed.tolist() == [False, True, False]


def test_a_task_that_is_not_told_has_no_head() -> None:
    with pytest.raises(
        ValueError, match=r"heads of tasks need the entry task of observations \(boundary=task_id\), got"
    ):
        ActorCritic(Encoder(LOOK, D), Backbone([make_memory("none", D)]), spaces.Discrete(2), heads="task")
    with pytest.raises(ValueError, match="heads must be one of one, task, got 'many'"):
        policy(spaces.Discrete(2), heads="many")
