import torch

from lifelong.kernels.conjugate_gradients import conjugate_gradients, solve


def system():
    a = torch.randn(3, 7, 7).double()
    A, q = a @ a.mT + 0.5 * torch.eye(7).double(), torch.randn(3, 7).double()
    q[0] = 0.0
    return A, q


def test_they_end_after_as_many_iterations_as_channels_and_then_rest():
    A, q = system()
    want = torch.linalg.solve(A, q)
    for n in (14, 200):
        got = conjugate_gradients(lambda p: (A @ p[..., None])[..., 0], q, 0.5, n)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_the_gradient_is_that_of_the_exact_solution():
    A, q = (z.requires_grad_() for z in system())
    weight = torch.randn_like(q)
    got = torch.autograd.grad((weight * solve(lambda p: (A @ p[..., None])[..., 0], q, 0.5, 14)).sum(), [A, q])
    want = torch.autograd.grad((weight * torch.linalg.solve(A, q)).sum(), [A, q])
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)
