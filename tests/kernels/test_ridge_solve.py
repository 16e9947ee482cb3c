import pytest
import torch
from torch.nn import functional

from lifelong.kernels.ridge_solve import ridge_solve

FIXED = {"least": 0.25, "iterations": 12}


def draw(T, B=2, H=2, K=4, start=None):
    k, before = torch.randn(B, T, H, K), torch.randn(B, H, K, K)
    return {
        "q": torch.randn(B, T, H, K),
        "k": k,
        "write": torch.rand(B, T, H, 1) * k,
        "decay": -torch.rand(B, T, H),
        "state": before @ before.mT,
        "start": torch.rand(B, T) < 0.2 if start is None else start,
        "ridge": 0.25 + torch.rand(H, K),
    }


@pytest.mark.parametrize("T", [1, 2, 3, 17, 64])
def test_every_form_says_what_the_plain_loop_says_with_all_gradients(agree, T):
    agree("ridge_solve", draw(T), fixed=FIXED)


def test_lives_may_start_anywhere(agree, starts):
    agree("ridge_solve", draw(9, start=starts(2, 9)), fixed=FIXED)


def test_single_precision_is_as_good_as_it_can_be(agree):
    agree("ridge_solve", draw(33), torch.float32, fixed=FIXED)


@pytest.mark.parametrize("T", [1, 5])
def test_the_system_is_solved(T):
    inputs = {name: x.double() if x.is_floating_point() else x for name, x in draw(T).items()}
    inputs["start"][:] = False
    r, S = ridge_solve(**inputs, **FIXED), inputs["state"]
    for t in range(T):
        S = (
            inputs["decay"][:, t, :, None, None].exp() * S
            + inputs["write"][:, t, ..., None] * inputs["k"][:, t, :, None]
        )
        A = S + torch.diag_embed(inputs["ridge"])
        torch.testing.assert_close((A @ r[:, t, ..., None])[..., 0], inputs["q"][:, t])


@pytest.mark.parametrize("iterations", [30, 60])
@pytest.mark.parametrize("lived", [10, 1_000, 10_000])
@torch.no_grad()
def test_where_the_compiled_loop_stops_nothing_is_left_to_gain(forms, lived, iterations):
    k = functional.normalize(torch.randn(8, lived, 16), dim=-1) * torch.linspace(0.05, 1, 16)
    S, q = torch.einsum("btk,btj->bkj", k, k)[:, None], functional.normalize(torch.randn(8, 1, 1, 16), dim=-1)
    none = {name: torch.zeros(8, 1, 1, 16) for name in ("k", "write")} | {"decay": torch.zeros(8, 1, 1)}
    given = {"q": q, **none, "state": S, "start": torch.zeros(8, 1).bool(), "ridge": torch.full((1, 16), 0.25)}
    exact = torch.linalg.solve(S.double() + 0.25 * torch.eye(16), q[:, 0, ..., None].double())[..., 0]
    of = {name: form(**given, least=0.25, iterations=iterations)[:, 0] for name, form in forms("ridge_solve").items()}
    apart = {name: ((r - exact).norm() / exact.norm()).item() for name, r in of.items()}
    assert apart["cpu"] <= 1.5 * apart["reference"] + 1e-7


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"ridge must be \[2, 4\], got \[2, 3\]"):
        ridge_solve(**draw(2) | {"ridge": torch.ones(2, 3)}, **FIXED)
