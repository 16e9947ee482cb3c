import math

import torch

from lifelong.memory import GatedDelta, PreconditionedDelta

FIRST = [3.0, 0.0]


def test_a_correction_is_scaled_by_recent_use(bare):
    memory = bare(PreconditionedDelta(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))  # alpha = beta = 1/2
    memory.use_gates.bias.data[:] = torch.tensor([math.log(3.0), math.log(3.0)])  # b = 3/4, a = 1/4
    x = torch.tensor([[[*FIRST, *FIRST, 4.0]] * 3]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # centre 0.  A = 3/4, then 3/16 + 3/4 = 15/16;  r = log A = -0.287682, -0.064539
    # g = 1.5^(0.287682 / 1.287682) = 1.094813, 1.5^(0.064539 / 1.064539) = 1.024886
    # S = 4/2 * 1.094813 = 2.189626;  S = 1.094813 + 1/2 (4 - 1.094813) 1.024886 = 2.583556
    torch.testing.assert_close(y.flatten(), torch.tensor([2.189626, 2.583556, 2.189626]).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(state["A"].flatten(), torch.tensor([0.75, 0.0]).double(), rtol=1e-5, atol=0)


def loop(q, k, v, gates, centre, start):
    """Return the readings [T][V] of one head and life by the recursion, one number at a time."""
    K, V, ys = len(k[0]), len(v[0]), []
    S, A = [[0.0] * K for _ in range(V)], [0.0] * K
    for t, (beta, alpha, b, a) in enumerate(gates):
        if start[t]:
            S, A = [[0.0] * K for _ in range(V)], [0.0] * K
        g = [0.0] * K
        for j in range(K):
            A[j] = a * A[j] + b * k[t][j] ** 2
            r = math.log(A[j] + 1e-6) - centre
            g[j] = k[t][j] * 1.5 ** (-r / (1 + abs(r)))
        for i in range(V):
            S[i] = [alpha * s for s in S[i]]
            error = v[t][i] - sum(s * key for s, key in zip(S[i], k[t], strict=True))
            S[i] = [s + beta * error * write for s, write in zip(S[i], g, strict=True)]
        ys.append([sum(s * query for s, query in zip(S[i], q[t], strict=True)) for i in range(V)])
    return ys


def test_it_is_the_recursion_of_its_definition(bare):
    torch.manual_seed(0)
    B, T, H, K, V = 2, 40, 2, 4, 3
    memory = bare(PreconditionedDelta(H * (2 * K + V), num_heads=H, key_dim=K, value_dim=V, conv_size=1))
    for p in memory.parameters():
        torch.nn.init.normal_(p)
    x, start = torch.randn(B, T, H * (2 * K + V)).double(), torch.rand(B, T) < 0.1
    y, _ = memory(x, memory.initial_state(B), start)
    q, k, v, _ = memory.project(x, None, start)
    (beta, fade), (b, use_fade) = (m(x).detach().split(H, -1) for m in (memory.gates, memory.use_gates))
    alpha, a = (1 / (1 + z.exp()) for z in (fade, use_fade))  # exp(-softplus(z))
    gates = torch.stack([beta.sigmoid(), alpha, b.sigmoid(), a], -1)
    for life in range(B):
        for h in range(H):
            inputs = (z[life, :, h].tolist() for z in (q, k, v, gates))
            want = loop(*inputs, memory.centre[h].item(), start[life].tolist())
            got = y.unflatten(-1, (H, V))[life, :, h]
            torch.testing.assert_close(got, torch.tensor(want, dtype=torch.double), rtol=1e-12, atol=1e-12)


def test_at_birth_channels_are_scaled_up_and_down():
    torch.manual_seed(0)
    memory = PreconditionedDelta(64).double()
    x, no = torch.randn(1, 3000, 64).double(), torch.zeros(1, 3000, dtype=torch.bool)
    q, k, v, _ = memory.project(x, torch.zeros(1, *memory.project.window_shape).double(), no)
    write = memory.correction(x, q, k, v, memory.initial_state(1), no).k / k
    scale = write[0, -1000:].mean((0, 2))
    assert 1.1 < scale[0] < 1.5  # used for ten steps, by the first head
    assert 1 / 1.5 < scale[1] < 0.95  # a thousand


def test_the_scale_stays_within_its_bounds(bare):
    memory = bare(PreconditionedDelta(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))
    x, no = torch.ones(1, 3).double(), torch.tensor([False])
    for past, gate in ((1e12, 0.0), (0.0, -50.0)):  # much use, and hardly any
        memory.use_gates.bias.data[0] = gate
        state = memory.initial_state(1)
        state["A"][:] = past
        scale = memory.step(x, state, no)[1]["S"].item() / 0.5  # S = beta v g
        r = math.log(past / 2 + torch.tensor(gate).double().sigmoid().item() + 1e-6)
        assert 1 / 1.5 < scale < 1.5
        assert math.isclose(scale, 1.5 ** (-r / (1 + abs(r))), rel_tol=1e-5)  # unit()'s eps


def test_it_is_the_gated_delta_rule_where_its_scale_is_one(bare):
    memory = bare(PreconditionedDelta(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))
    gated = bare(GatedDelta(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))
    memory.use_gates.bias.data[:] = torch.tensor([0.0, 50.0])  # use fades at once: A = 1/2
    memory.centre.data[:] = math.log(0.5)  # r = 0
    x, no = torch.randn(2, 9, 3).double(), torch.zeros(2, 9, dtype=torch.bool)
    ys = [m(x, m.initial_state(2), no)[0] for m in (memory, gated)]
    torch.testing.assert_close(*ys, rtol=1e-5, atol=1e-5)  # 1e-6 inside the log, unit()'s eps
