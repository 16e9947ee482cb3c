import torch

from lifelong.memory import LinearAttention


def test_the_reading_is_the_mean_of_the_values_weighted_by_key_and_query(bare):
    memory = bare(LinearAttention(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))
    # phi adds 1 to what is positive: queries (1, 2), keys (1, 2) and (2, 1)
    x = torch.tensor([[[0.0, 1.0, 0.0, 1.0, 3.0], [0.0, 1.0, 1.0, 0.0, 6.0], [0.0, 1.0, 0.0, 1.0, 9.0]]]).double()
    y, _ = memory(x, memory.initial_state(1).double(), torch.tensor([[False, False, True]]))
    # weights 1 + 4 = 5 and 2 + 2 = 4:  3;  (5 * 3 + 4 * 6) / 9 = 13 / 3;  a new life: 9
    torch.testing.assert_close(y.flatten(), torch.tensor([3.0, 13 / 3, 9.0]).double(), rtol=1e-5, atol=0)  # eps


def test_taylor_features_weigh_by_the_exponential_to_second_order(bare):
    memory = bare(LinearAttention(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1, feature_map="taylor"))
    x = torch.tensor([[[2.0, 1.0, 3.0], [2.0, 0.0, 9.0]]]).double()
    y, _ = memory(x, memory.initial_state(1).double(), torch.tensor([[False, False]]))
    # a = 2 weighs 1 + 2 + 2 = 5, a = 0 weighs 1:  3;  (5 * 3 + 9) / 6 = 4
    torch.testing.assert_close(y.flatten(), torch.tensor([3.0, 4.0]).double(), rtol=1e-5, atol=0)  # eps
