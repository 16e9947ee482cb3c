import pytest
import torch
from torch.nn.functional import normalize, softplus

from lifelong.memory import Memory, Mesa
from lifelong.memory.bayesian.mesa import RIDGE

FIRST, BOTH = [2.0, 0.0], [1.0, 1.0]


def test_two_observations_by_hand(bare):
    memory = bare(Mesa(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))  # alpha = beta = 1/2
    memory.ridge.data[:] = torch.tensor(0.75).double().expm1().log()  # lambda = 1
    x = torch.tensor([[[*FIRST, *FIRST, 6.0], [*FIRST, *BOTH, 4.0], [*BOTH, *FIRST, 6.0]]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # 1: H = (1/2 0; 0 0), G = (3, 0): y = 3 / 1.5 = 2
    # 2: H = 1/4 (1 0; 0 0) + 1/4 (1 1; 1 1); H + 1 = (3/2 1/4; 1/4 5/4), its determinant 29/16, r = 16/29 (5/4, -1/4);
    #    G = (1.5 + s, s) with s = 2 / sqrt 2: y = 16/29 (5/4 (1.5 + s) - s / 4) = (30 + 16 s) / 29
    # 3: a new life: as 1, at (1, 1) / sqrt 2: y = 2 / sqrt 2
    want = torch.tensor([2.0, (30 + 16 * 2**0.5) / 29, 2**0.5]).double()
    torch.testing.assert_close(y.flatten(), want, rtol=1e-5, atol=0)  # unit()'s eps
    torch.testing.assert_close(state["H"].flatten(), torch.tensor([0.5, 0.0, 0.0, 0.0]).double(), rtol=1e-5, atol=0)


def inputs(K, V, T):
    x, start = torch.randn(2, T, 2 * K + V).double(), torch.rand(2, T) < 0.1
    q, k, v = x.split([K, K, V], -1)
    return x, start, normalize(q, dim=-1), normalize(k, dim=-1), v


def test_it_is_the_dense_ridge_regression_with_its_gradient(bare):
    K, V, T = 6, 4, 20
    memory = bare(Mesa(2 * K + V, num_heads=1, key_dim=K, value_dim=V, conv_size=1))
    torch.nn.init.normal_(memory.ridge)
    torch.nn.init.normal_(memory.gates.weight)
    x, start, *_ = inputs(K, V, T)
    x.requires_grad_()
    y, _ = memory(x, memory.initial_state(2), start)
    q, k, v = x.split([K, K, V], -1)
    q, k = normalize(q, dim=-1), normalize(k, dim=-1)
    beta, fade = memory.gates(x).split(1, -1)
    beta, alpha = beta.sigmoid(), torch.exp(-softplus(fade))
    ridge, dense = (RIDGE + softplus(memory.ridge[0])).diag(), []
    for life in range(2):
        for t in range(T):
            H, G = torch.zeros(K, K).double(), torch.zeros(V, K).double()
            for s in range(t + 1):
                if start[life, s]:
                    H, G = 0 * H, 0 * G
                H = alpha[life, s] * H + beta[life, s] * torch.outer(k[life, s], k[life, s])
                G = alpha[life, s] * G + beta[life, s] * torch.outer(v[life, s], k[life, s])
            dense.append(G @ torch.linalg.solve(H + ridge, q[life, t]))
    dense = torch.stack(dense).view(2, T, V)
    torch.testing.assert_close(y, dense, rtol=1e-9, atol=1e-9)
    weight, sources = torch.randn_like(y), [x, memory.ridge, memory.gates.weight]
    got, want = (torch.autograd.grad((weight * z).sum(), sources) for z in (y, dense))
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


def test_it_is_the_posterior_mean_of_palimpsa_with_full_covariance(bare):
    K, V, T = 5, 3, 30
    memory = bare(Mesa(2 * K + V, num_heads=1, key_dim=K, value_dim=V, conv_size=1))  # alpha = beta = 1/2
    x, start, q, k, v = inputs(K, V, T)
    y, _ = memory(x, memory.initial_state(2), start)
    prior = (RIDGE + softplus(torch.zeros(1).double())) * torch.eye(K).double()
    for life in range(2):
        precision, mean = prior, torch.zeros(V, K).double()
        for t in range(T):
            if start[life, t]:
                precision, mean = prior, 0 * mean
            evidence = 0.5 * mean @ precision + 0.5 * torch.outer(v[life, t], k[life, t])
            precision = 0.5 * precision + 0.5 * prior + 0.5 * torch.outer(k[life, t], k[life, t])
            mean = torch.linalg.solve(precision, evidence.mT).mT
            torch.testing.assert_close(y[life, t], mean @ q[life, t], rtol=1e-5, atol=1e-5)  # unit()'s eps


def test_few_iterations_give_the_same_in_a_pass_as_in_steps():
    memory = Mesa(32, num_heads=1, iterations=3).double()  # far from solved
    x, start = torch.randn(2, 40, 32).double(), torch.rand(2, 40) < 0.1
    state = memory.initial_state(2)
    torch.testing.assert_close(memory(x, state, start)[0], Memory.forward(memory, x, state, start)[0])


def test_what_cannot_be_solved_is_refused():
    with pytest.raises(ValueError, match="iterations must be positive: iterations=0"):
        Mesa(8, iterations=0)
