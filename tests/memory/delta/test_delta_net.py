import pytest
import torch

from lifelong.memory import LMS, DeltaNet, check_memory

FIRST, BOTH = [1.0, 0.0], [1.0, 1.0]


def test_keys_of_sum_one_correct_by_their_length(bare):
    memory = bare(DeltaNet(5, num_heads=1, style="2021", key_dim=2, value_dim=1, conv_size=1))  # beta = 1/2
    x = torch.tensor([[[*BOTH, *BOTH, 8.0], [*FIRST, *FIRST, 9.0], [*BOTH, *BOTH, 8.0]]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # elu + 1 of (1, 1) is (2, 2), of (1, 0) is (2, 1): keys (1/2, 1/2) and (2/3, 1/3)
    # S = 4 (1/2, 1/2) = (2, 2), y = 2;  error 9 - 2 = 7, half of it 3.5: y = 2 + 3.5 (4/9 + 1/9) = 2 + 35/18
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 2 + 35 / 18, 2.0]).double())


def test_modern_without_a_look_at_the_input_is_lms(bare):
    x, start = torch.randn(2, 9, 9).double(), torch.rand(2, 9) < 0.2
    ys = []
    for make in (LMS, DeltaNet):
        memory = bare(make(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1))
        ys.append(memory(x, memory.initial_state(2), start)[0])
    torch.testing.assert_close(*ys)


def test_the_old_style_keeps_the_contract_and_another_is_refused():
    check_memory(DeltaNet(8, style="2021"))
    with pytest.raises(ValueError, match="style must be 'modern' or '2021', got 'old'"):
        DeltaNet(8, style="old")
