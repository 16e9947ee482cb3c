import torch

from lifelong.memory import GatedDelta

FIRST, SECOND, BOTH = [2.0, 0.0], [0.0, 3.0], [1.0, 1.0]  # keys and queries, brought to length 1


def test_half_is_kept_and_half_of_the_error_is_corrected(bare):
    memory = bare(GatedDelta(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))  # gates of 0: alpha = beta = 1/2
    steps = [(FIRST, FIRST, 4.0), (FIRST, FIRST, 4.0), (BOTH, SECOND, 2.0), (FIRST, FIRST, 6.0)]
    x = torch.tensor([[[*q, *k, v] for q, k, v in steps]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, False, True]]))
    # S: (2, 0);  (1, 0) + (4 - 1) / 2 = (2.5, 0);  (1.25, 0) + (0, 1);  a new life: (3, 0)
    want = torch.tensor([2.0, 2.5, 2.25 / 2**0.5, 3.0]).double()
    torch.testing.assert_close(y.flatten(), want, rtol=1e-5, atol=0)  # unit()'s eps
    torch.testing.assert_close(state["S"].flatten(), torch.tensor([3.0, 0.0]).double(), rtol=1e-5, atol=0)


def test_an_untouched_write_fades_to_one_e_th_in_the_horizon_of_its_head():
    memory = GatedDelta(8, num_heads=2, horizons=(10.0, 1000.0))
    kept = torch.exp(-torch.nn.functional.softplus(memory.gates.bias[2:].detach()))
    torch.testing.assert_close(kept ** torch.tensor([10.0, 1000.0]), torch.full((2,), 1 / torch.e), rtol=1e-3, atol=0)
