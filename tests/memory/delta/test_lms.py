import torch

from lifelong.memory import LMS, GatedDelta

KEY = [2.0, 0.0]


def test_the_same_share_of_the_error_is_corrected_at_every_step(bare):
    memory = bare(LMS(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))  # beta = 1/2
    x = torch.tensor([[[*KEY, *KEY, v] for v in (4.0, 4.0, 8.0, 6.0)]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, False, True]]))
    # 0 + 4 / 2;  2 + (4 - 2) / 2;  3 + (8 - 3) / 2;  a new life: 6 / 2
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 3.0, 5.5, 3.0]).double(), rtol=1e-5, atol=0)


def test_a_normalised_rate_stores_the_value_at_the_key_as_long_as_it_is(bare):
    memory = bare(LMS(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1, normalised=True))
    x = torch.tensor([[[*KEY, *KEY, 4.0], [*KEY, *KEY, 4.0]]]).double()
    y, state = memory(x, memory.initial_state(1), torch.zeros(1, 2, dtype=torch.bool))
    # rate 1/2 / 4; S: 4 * 2 / 8 = 1, read at 2: 2;  1 + (4 - 2) * 2 / 8 = 1.5, read at 2: 3
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 3.0]).double(), rtol=1e-5, atol=0)  # EPS
    torch.testing.assert_close(state["S"].flatten(), torch.tensor([1.5, 0.0]).double(), rtol=1e-5, atol=0)


def test_it_is_the_gated_delta_rule_with_its_gates_fixed(bare):
    x, start = torch.randn(2, 9, 9).double(), torch.rand(2, 9) < 0.2
    lms = bare(LMS(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1))
    gated = bare(GatedDelta(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1))
    gated.gates.bias.data[1] = -50.0  # keeps everything
    torch.testing.assert_close(lms(x, lms.initial_state(2), start)[0], gated(x, gated.initial_state(2), start)[0])
