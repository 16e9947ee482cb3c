import cmath
import math

import pytest
import torch

from lifelong.kernels.rotating_scan import rotating_scan


def looped(u, decay, turn, state, start):
    """Return the states by the recursion in complex numbers."""
    factor = torch.exp(torch.complex(decay, turn))
    h, ys = torch.view_as_complex(state), []
    for t in range(u.shape[1]):
        h = factor * h.masked_fill(start[:, t, None], 0.0) + torch.view_as_complex(u[:, t].contiguous())
        ys.append(torch.view_as_real(h))
    return torch.stack(ys, 1), ys[-1]


@pytest.mark.parametrize("T", [1, 2, 65])
@pytest.mark.parametrize("p_start", [0.0, 0.2, 1.0])
def test_it_is_the_complex_recursion_and_so_are_its_gradients(T, p_start):
    torch.manual_seed(0)
    u, state, start = torch.randn(3, T, 5, 2).double(), torch.randn(3, 5, 2).double(), torch.rand(3, T) < p_start
    inputs = [u, -torch.rand(5).double(), 7 * torch.randn(5).double(), state]
    weight = torch.randn(3, T, 5, 2).double()
    results = []
    for form in (rotating_scan, looped):
        given = [x.clone().requires_grad_() for x in inputs]
        y, end = form(*given, start)
        grads = torch.autograd.grad((weight * y).sum() + end.sin().sum(), given, materialize_grads=True)
        results.append([y, end, *grads])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_axes_of_the_state_may_share_a_decay_or_a_turn():
    u, never = torch.ones(1, 2, 2, 1, 2).double(), torch.zeros(1, 2, dtype=torch.bool)
    decay, turn = torch.tensor([0.0, -math.log(2)]).double(), torch.tensor([[0.0, math.pi / 2]]).double()
    _, h = rotating_scan(u, decay, turn, torch.zeros(1, 2, 2, 2).double(), never)
    want = [[1 + 1j, 1 + 1j], [1 + 1j, 1 + 1j]]
    for row, kept in enumerate((1.0, 0.5)):
        for column, angle in enumerate((0.0, math.pi / 2)):
            want[row][column] += kept * cmath.rect(1, angle) * (1 + 1j)
    torch.testing.assert_close(torch.view_as_complex(h[0].contiguous()), torch.tensor(want).to(torch.complex128))


def test_a_long_pass_keeps_its_phase_in_float32():
    u, never = torch.zeros(1, 4000, 1, 2), torch.zeros(1, 4000, dtype=torch.bool)
    turn = torch.tensor([2.9])
    _, h = rotating_scan(u, torch.zeros(1), turn, torch.tensor([[[1.0, 0.0]]]), never)
    angle = 4000 * turn.double()
    torch.testing.assert_close(
        h.flatten().double(), torch.stack([angle.cos(), angle.sin()]).flatten(), atol=1e-5, rtol=0
    )
