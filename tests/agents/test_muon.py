"""Muon turns a matrix by an orthogonal one, and leaves all else to Adam."""

import pytest
import torch
from torch import nn

from lifelong.agents import PPO, Agent, PPOConfig, Rollout
from lifelong.agents.checkpoint import CheckpointError, optimizer_tensors, restore_optimizer
from lifelong.agents.muon import Muon, hidden_matrices
from lifelong.envs import make_stream


def test_the_first_step_is_the_gradient_without_its_sizes() -> None:
    torch.manual_seed(0)
    x = nn.Parameter(torch.zeros(6, 4))
    x.grad = torch.randn(6, 4)
    Muon([x], [x], lr=0.1).step()
    step = x.detach() / -(0.2 * 6**0.5 * 0.1)
    u, _, v = torch.linalg.svd(x.grad, full_matrices=False)
    core = u.T @ step @ v.T  # diagonal: the singular vectors are the gradient's
    assert (core - core.diag().diag()).abs().max() < 0.05  # bfloat16
    assert 0.5 < core.diag().min() < core.diag().max() < 1.5


def test_all_else_is_adams() -> None:
    torch.manual_seed(0)
    matrix, vector, table = (nn.Parameter(torch.randn(n)) for n in ((3, 3), (3,), (5, 2)))
    others = [nn.Parameter(x.detach().clone()) for x in (vector, table)]
    muon, adam = (
        Muon([vector, matrix, table], [matrix], lr=0.01),
        torch.optim.Adam(others, lr=0.01, eps=1e-5, fused=True),
    )
    for _ in range(3):
        for x in (matrix, vector, table):
            x.grad = torch.randn_like(x)
        for mine, theirs in zip((vector, table), others, strict=True):
            theirs.grad = mine.grad
        muon.step()
        adam.step()
    assert all(mine.equal(theirs) for mine, theirs in zip((vector, table), others, strict=True))


def test_filters_biases_and_decays_are_adams() -> None:
    policy = Agent.for_spaces(make_stream("cued-recall", 2), "gated_delta", width=16, seed=0).policy
    chosen = {id(x) for x in hidden_matrices(policy)}
    names = {name for name, x in policy.named_parameters() if id(x) in chosen}
    assert {name for name in names if name.endswith("project.linear.weight")}
    others = {name for name, x in policy.named_parameters() if x.ndim == 2 and id(x) not in chosen}
    assert {name.rpartition(".")[2] for name in others if name.startswith("backbone.")} == {"conv"}


def test_adams_counts_are_where_its_kernel_reads_them() -> None:
    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    muon = Muon([vector, matrix], [matrix], lr=0.01)
    matrix.grad, vector.grad = torch.ones(2, 2), torch.ones(2)
    muon.step()
    saved = muon.state_dict()
    for state in saved["state"].values():
        if "step" in state:
            state["step"] = state["step"].double()
    muon.load_state_dict(saved)
    assert {state["step"].dtype for state in muon.state.values() if "step" in state} == {torch.float32}


def test_the_rate_of_a_segment_is_that_of_both() -> None:
    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    muon = Muon([vector, matrix], [matrix], lr=0.01)
    muon.param_groups[0]["lr"] = 0.0
    matrix.grad, vector.grad = torch.ones(2, 2), torch.ones(2)
    muon.step()
    assert matrix.eq(1).all()
    assert vector.eq(1).all()


def learner(optimizer: str) -> tuple[PPO, Rollout]:
    env = make_stream("rooms", 2, task="empty-5x5")
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    return PPO(agent, PPOConfig(optimizer=optimizer)), Rollout(agent, env)  # type: ignore[arg-type]


def test_matrices_are_those_between_hidden_vectors() -> None:
    policy = learner("adam")[0].policy
    names = {name for name, x in policy.named_parameters() if any(x is y for y in hidden_matrices(policy))}
    assert "encoder.choices.table" not in names
    assert {name.partition(".")[0] for name in names} == {"encoder", "backbone"}
    assert sum(name.startswith("encoder.mlp.") for name in names) == 2


def test_a_state_is_restored_only_into_the_optimiser_that_it_is_of() -> None:
    mine, rollout = learner("muon")
    mine.learn(rollout.collect(8))
    names = [name for name, _ in mine.policy.named_parameters()]
    saved = {name: x.clone() for name, x in optimizer_tensors(mine.optimizer, names).items()}
    other, _ = learner("muon")
    restore_optimizer(other.optimizer, saved, names)
    again = optimizer_tensors(other.optimizer, names)
    assert saved.keys() == again.keys()
    assert all(x.equal(again[name]) for name, x in saved.items())
    assert any(name.endswith("momentum_buffer") for name in saved)
    assert any(name.endswith("exp_avg_sq") for name in saved)
    with pytest.raises(CheckpointError, match=r"must be step, exp_avg, exp_avg_sq: \['momentum_buffer'\]"):
        restore_optimizer(learner("adam")[0].optimizer, saved, names)


def test_a_step_of_a_matrix_changes_all_of_it_which_packnet_must_not() -> None:
    with pytest.raises(ValueError, match=r"packnet fixes the weights .*: packnet=2, optimizer=muon"):
        PPOConfig(packnet=2, optimizer="muon")
