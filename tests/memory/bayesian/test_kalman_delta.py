import pytest
import torch
from torch.nn.functional import normalize, softplus
from torch.testing import assert_close

from lifelong.memory import KalmanDelta, Palimpsa

FIRST, SECOND, BOTH = [2.0, 0.0], [0.0, 3.0], [1.0, 1.0]  # keys and queries, brought to length 1


def test_an_axis_in_use_is_spared(bare):
    memory = bare(KalmanDelta(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))  # of 0: alpha = b = 1/2
    steps = [(FIRST, FIRST, 3.0), (BOTH, BOTH, 6.0), (FIRST, FIRST, 4.0)]
    x = torch.tensor([[[*q, *k, v] for q, k, v in steps]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # 1. P = (1, 1), k = (1, 0): g = .5 (1, 0) / (1 + .5) = (1/3, 0); S = (1, 0); I = (1.5, 1)
    # 2. alpha I = (.75, .5), P = (1.25, 1); S = (1 * .75 / 1.25, 0) = (.6, 0); k = (r, r) with r = sqrt(1/2);
    #    sum k^2 / P = .5 (.8 + 1) = .9; g = .5 r (.8, 1) / 1.45; error 6 - .6 r; y = r (.6 + error (g1 + g2))
    r = 0.5**0.5
    error = 6 - 0.6 * r
    second = r * (0.6 + error * 0.5 * r * 1.8 / 1.45)
    # 3. a new life: S = (4/3, 0), J = (.5, 0)
    assert_close(y.flatten(), torch.tensor([1.0, second, 4 / 3]).double(), rtol=1e-5, atol=0)  # unit()'s eps
    assert_close(state["S"].flatten(), torch.tensor([4 / 3, 0.0]).double(), rtol=1e-5, atol=0)
    assert_close(state["J"].flatten(), torch.tensor([0.5, 0.0]).double(), rtol=1e-5, atol=0)


def one_write(memory, k, v, S, J):
    """Return the state after one write at q = k."""
    state = memory.initial_state(1)
    state["S"], state["J"] = S[None, None], J[None, None]
    return memory.step(torch.cat([k, k, v])[None], state, torch.tensor([False]))[1]


@pytest.mark.parametrize("trust", [-3.0, 0.0, 4.0])
def test_a_step_is_the_exact_posterior_mean_under_a_diagonal_precision(bare, trust):
    torch.manual_seed(0)
    K, V = 6, 3
    memory = bare(KalmanDelta(2 * K + V, num_heads=1, key_dim=K, value_dim=V, conv_size=1))
    memory.gates.bias.data[:] = torch.tensor([trust, -1.0])
    b, alpha = torch.tensor(trust).double().sigmoid(), (-softplus(torch.tensor(-1.0).double())).exp()
    k, v, S, J = (torch.randn(n).double() for n in (K, V, V * K, K))
    S, J, k = S.view(V, K), J.abs(), normalize(k, dim=0)
    after = one_write(memory, k, v, S, J)
    P = alpha * (1 + J) + (1 - alpha)
    precision = torch.diag(P) + b * torch.outer(k, k)  # of every row of S, a Gaussian with mean S alpha I / P
    mean = torch.linalg.solve(precision, (S * alpha * (1 + J) + b * torch.outer(v, k)).mT).mT
    assert_close(after["S"][0, 0], mean, rtol=1e-6, atol=1e-6)  # unit()'s eps
    assert_close(after["J"][0, 0], P + b * k * k - 1, rtol=1e-6, atol=1e-6)


def test_a_certain_observation_is_written_exactly_and_a_worthless_one_not_at_all(bare):
    torch.manual_seed(1)
    K, V = 6, 3
    memory = bare(KalmanDelta(2 * K + V, num_heads=1, key_dim=K, value_dim=V, conv_size=1))
    memory.gates.bias.data[1] = -50.0  # alpha = 1
    k, v, S, J = (torch.randn(n).double() for n in (K, V, V * K, K))
    S, J, k = S.view(V, K), J.abs(), normalize(k, dim=0)
    memory.scale.data[:] = 25.0
    after = one_write(memory, k, v, S, J)["S"][0, 0]
    assert_close(after @ k, v, rtol=1e-5, atol=1e-5)
    memory.scale.data[:] = -60.0
    assert_close(one_write(memory, k, v, S, J)["S"][0, 0], S)


@pytest.mark.parametrize("precision", [0.1, 10.0, 1e6])
def test_an_error_shrinks_and_never_turns(bare, precision):
    torch.manual_seed(2)
    K, V = 6, 3
    memory = bare(KalmanDelta(2 * K + V, num_heads=1, key_dim=K, value_dim=V, conv_size=1))
    memory.gates.bias.data[1] = -50.0  # alpha = 1
    memory.scale.data[:] = torch.tensor(2 * precision).log()
    S, J = torch.zeros(V, K).double(), torch.zeros(K).double()
    for _ in range(50):
        k, v = normalize(torch.randn(K).double(), dim=0), torch.randn(V).double()
        after = one_write(memory, k, v, S, J)
        left = (v - after["S"][0, 0] @ k) / (v - S @ k)  # 1 - k^T g, the same for every value channel
        assert (left > -1e-5).all()  # unit()'s eps
        assert (left < 1).all()
        S, J = after["S"][0, 0], after["J"][0, 0]


def test_state_is_that_of_palimpsa_with_a_scalar_beta():
    assert KalmanDelta(32).state_bytes == Palimpsa(32, beta="scalar").state_bytes


def test_a_precision_that_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match=r"precision must be positive: precision=0"):
        KalmanDelta(8, precision=0)
