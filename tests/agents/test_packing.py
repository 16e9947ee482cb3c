"""A weight is read by the task it was given to and by those after it, and given once."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from lifelong.agents import ActorCritic, Backbone, Encoder
from lifelong.agents.encoder import as_tensors
from lifelong.agents.packing import Packing
from lifelong.memory import make_memory

D, K = 8, 3
LOOK = spaces.Box(-1.0, 1.0, (2,), np.float32)
TOLD = spaces.Dict({"observation": LOOK, "task": spaces.Discrete(K)})


def parameter(values: list[list[float]]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def test_shares_of_three_tasks_by_hand() -> None:
    weights = {"w": parameter([[3.0, -1.0, 0.5], [-2.0, 0.1, 4.0]]), "b": nn.Parameter(torch.tensor([1.0, 2.0]))}
    packing = Packing(weights, {}, 3)
    assert packing.read_by(-1, weights)["w"] is weights["w"]
    assert packing.give(2, weights) == 0  # a third of six: 3 and 4
    assert weights["w"].tolist() == [[3, 0, 0], [0, 0, 4]]
    with torch.no_grad():
        weights["w"].add_(torch.tensor([[0.0, -1.0, 7.0], [5.0, 0.5, 0.0]]))  # what the next task learns
    assert packing.give(0, weights) == 1  # half of four: 7 and 5
    assert weights["w"].tolist() == [[3, 0, 7], [5, 0, 4]]
    with torch.no_grad():
        weights["w"].add_(torch.tensor([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]]))
    assert packing.give(1, weights) == 2  # what is left
    assert packing.read_by(0, weights)["w"].tolist() == [[3, 0, 0], [0, 0, 4]]
    assert packing.read_by(1, weights)["w"].tolist() == [[3, 0, 7], [5, 0, 4]]
    assert packing.read_by(2, weights)["w"].tolist() == [[3, 1, 7], [5, 2, 4]]
    assert weights["b"].tolist() == [1, 2]
    assert packing.rank.tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="task 0 was given its weights, as number 1"):
        packing.give(0, weights)


def test_what_a_task_may_change() -> None:
    weights = {"w": parameter([[3.0, -1.0]]), "b": nn.Parameter(torch.tensor([1.0]))}
    head = parameter([[0.0] * 6])  # three columns for each of two tasks
    packing = Packing(weights, {"head": head}, 2)

    def learnable(rank: int) -> dict[str, list[bool]]:
        named: dict[str, Tensor] = {**weights, "head": head}
        return {name: packing.may_learn(name, x, rank).expand(x.shape).flatten().tolist() for name, x in named.items()}

    assert learnable(-1) == {"w": [True] * 2, "b": [True], "head": [True] * 6}
    packing.give(1, weights)
    assert learnable(0) == {"w": [True, False], "b": [True], "head": [False] * 3 + [True] * 3}
    assert learnable(-1) == {"w": [False, True], "b": [False], "head": [True] * 3 + [False] * 3}
    packing.give(0, weights)
    assert learnable(1) == {"w": [False, True], "b": [False], "head": [True] * 3 + [False] * 3}
    assert learnable(-1) == {"w": [False] * 2, "b": [False], "head": [False] * 6}


def policy(memory: str = "none", *, packed: bool = True, heads: str = "task") -> ActorCritic:
    torch.manual_seed(0)
    backbone = Backbone([make_memory(memory, D)])
    return ActorCritic(Encoder(TOLD, D), backbone, spaces.Discrete(5), heads=heads, packed=packed)  # type: ignore[arg-type]


def test_every_step_is_read_by_the_weights_of_its_task() -> None:
    agent, plain = policy(), policy(packed=False)
    assert agent.packing is not None
    agent.packing.give(1, dict(agent.named_parameters()))
    with torch.no_grad():
        for weight in agent.parameters():  # a second task changes what is free
            weight.add_(0.1 * torch.randn_like(weight))
    agent.packing.give(0, dict(agent.named_parameters()))
    tasks = np.array([[0, 0, 1, 2], [1, 1, 1, 0]])
    looks = np.random.default_rng(0).uniform(-1, 1, (*tasks.shape, 2)).astype(np.float32)
    seen = as_tensors({"observation": looks, "task": tasks}, tasks.shape)
    with torch.no_grad():
        hidden, state = agent.trunk(seen)
        steps = [agent.trunk(seen[:, t])[0] for t in range(tasks.shape[1])]
    torch.testing.assert_close(torch.stack(steps, 1), hidden)
    assert state.batch_size == (2,)
    for task, rank in ((0, 1), (1, 0), (2, -1)):
        plain.load_state_dict({n: x for n, x in agent.state_dict().items() if not n.startswith("packing.")})
        with torch.no_grad():
            named = dict(plain.named_parameters())
            for name, x in agent.packing.read_by(rank, dict(agent.named_parameters())).items():
                named[name].copy_(x)
            wanted, _ = plain.trunk(seen)
        there = torch.from_numpy(tasks == task)
        torch.testing.assert_close(hidden[there], wanted[there])


def test_the_share_of_a_task_is_the_same_in_every_tensor() -> None:
    agent = policy()
    assert agent.packing is not None
    parameters = dict(agent.named_parameters())
    agent.packing.give(0, parameters)
    shared = [name for name, x in parameters.items() if name.startswith(("encoder.", "backbone.")) and x.ndim > 1]
    assert len(shared) > 3
    for name in shared:
        assert int((agent.packing.owner(name) == 0).sum()) == round(math.prod(parameters[name].shape) / K), name


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a memory without state, .*: such as none, this one has the state 0/S"):
        policy("gated_delta")
    with pytest.raises(ValueError, match="heads must be task, got one"):
        policy(heads="one")
