"""Contributions of single writes to a reading."""

import pytest
import torch
from torch.nn.functional import normalize

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.posterior import posterior
from lifelong.kernels.writes import contributions, recorded

B, T, H, K, V = 2, 9, 2, 5, 3


def normal(*shape):
    return torch.randn(shape, dtype=torch.double)


def split(call):
    with recorded() as calls:
        y = call()[0]
    (writes,) = calls
    assert torch.equal(writes.reading, y[:, -1])
    return contributions(writes)


def test_a_number_worked_out_on_paper():
    """S = 8, twice halved and corrected by half of its error, towards 4, then 2."""

    def number(*values):
        return torch.tensor(values, dtype=torch.double).view(1, -1, 1, 1)

    half = torch.full((1, 2, 1), 0.5, dtype=torch.double)
    start = torch.zeros(1, 2, dtype=torch.bool)
    each, initial = split(
        lambda: fast_weight(
            number(1, 1), number(1, 1), number(4, 2), number(8), start, decay=half.log(), rate=half, backend="reference"
        )
    )
    assert each.flatten().tolist() == pytest.approx([4 / 2 * 1 / 2 * 1 / 2, 2 / 2])
    assert initial.item() == pytest.approx(8 * (1 / 2 * 1 / 2) ** 2)


@pytest.mark.parametrize("erase", ["none", "rate", "erase", "erase_key"])
@pytest.mark.parametrize("decay", ["none", "head", "channel"])
def test_a_contribution_is_what_is_read_if_nothing_else_was_written(decay, erase):
    k, start = normalize(normal(B, T, H, K), dim=-1), torch.rand(B, T) < 0.1
    q, v, state = normal(B, T, H, K), normal(B, T, H, V), normal(B, H, V, K)
    options = {"decay": {"none": None, "head": -normal(B, T, H).abs(), "channel": -normal(B, T, H, K).abs()}[decay]}
    if erase == "rate":
        options["rate"] = torch.rand(B, T, H).double()
    elif erase != "none":
        options |= {"erase": 0.5 * k + 0.1 * normal(B, T, H, K)}
        options |= {"erase_key": normal(B, T, H, K)} if erase == "erase_key" else {}
    each, initial = split(lambda: fast_weight(q, k, v, state, start, **options))
    torch.testing.assert_close(initial, fast_weight(q, k, 0 * v, state, start, **options)[0][:, -1])
    for t in range(T):
        alone = v * (torch.arange(T) == t)[None, :, None, None]
        torch.testing.assert_close(each[:, t], fast_weight(q, k, alone, 0 * state, start, **options)[0][:, -1])


def test_a_contribution_to_a_posterior_is_what_is_read_with_all_the_importance_and_no_other_evidence():
    q, k, w, b = normal(B, T, H, K), normal(B, T, H, K), normal(B, T, H, V), torch.rand(B, T, H, V).double()
    M, J, start = normal(B, H, V, K), torch.rand(B, H, V, K).double(), torch.rand(B, T) < 0.1
    options = {"prior": torch.ones(H).double(), "decay": -normal(B, T, H).abs()}
    each, initial = split(lambda: posterior(q, k, w, b, M, J, start, **options))
    torch.testing.assert_close(initial, posterior(q, k, 0 * w, b, M, J, start, **options)[0][:, -1])
    for t in range(T):
        alone = w * (torch.arange(T) == t)[None, :, None, None]
        torch.testing.assert_close(each[:, t], posterior(q, k, alone, b, 0 * M, J, start, **options)[0][:, -1])


def test_nothing_is_recorded_outside_and_blocks_may_be_nested():
    q, start = normal(1, 1, 1, 1), torch.zeros(1, 1, dtype=torch.bool)
    with recorded() as outer:
        with recorded() as inner:
            fast_weight(q, q, q, q, start)
        fast_weight(q, q, q, q, start)
    fast_weight(q, q, q, q, start)
    assert (len(outer), len(inner)) == (1, 1)
