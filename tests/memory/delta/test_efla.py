import math

import torch

from lifelong.memory import EFLA, DeltaNet


def written(bare, memory, *steps):
    """Return the readings of a bare memory; a step is q, k and v."""
    memory = bare(memory)
    x = torch.tensor([[*steps]]).double()
    return memory(x, memory.initial_state(1), torch.zeros(x.shape[:2], dtype=torch.bool))[0].flatten()


def test_the_error_shrinks_by_an_exponential_of_the_keys_length(bare):
    # beta = 1/2, |k|^2 = 2 log 2: half of the error remains.  4 -> 2;  then halfway from 2 to 4: 3, read at k / |k|
    length = math.sqrt(2 * math.log(2))
    y = written(bare, EFLA(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1), *[[1.0, length, 4.0]] * 2)
    torch.testing.assert_close(y * length, torch.tensor([2.0, 3.0]).double(), rtol=1e-5, atol=0)  # unit()'s eps


def test_no_key_is_too_long(bare):
    y = written(bare, EFLA(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1), *[[1.0, 1e3, 4.0]] * 3)
    torch.testing.assert_close(y * 1e3, torch.full((3,), 4.0).double(), rtol=1e-5, atol=0)


def test_short_keys_are_written_as_by_the_delta_rule_and_nothing_by_none(bare):
    small = 1e-4
    y = written(bare, EFLA(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1), [1.0, small, 4.0], [1.0, 0.0, 9.0])
    torch.testing.assert_close(y, torch.full((2,), 0.5 * 4.0 * small).double(), rtol=1e-5, atol=0)


def test_it_differs_from_the_delta_rule_at_unit_keys_by_its_rate_alone(bare):
    y = written(bare, EFLA(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1), [1.0, 1.0, 4.0])
    euler = written(bare, DeltaNet(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1), [1.0, 1.0, 4.0])
    torch.testing.assert_close(y / euler, torch.tensor([2 * (1 - math.exp(-0.5))]).double(), rtol=1e-5, atol=0)
