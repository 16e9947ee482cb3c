import pytest
import torch

from lifelong.memory import MixtureOfMemories


def routed(bare, active):
    """Return two memories of one fast weight each and the shared one; x is q, k_0, v_0, k_1, k_2, v_1, v_2."""
    memory = bare(MixtureOfMemories(7, num_heads=1, memories=2, active=active, key_dim=1, value_dim=1, conv_size=1))
    memory.router.weight.data[:, 2] = torch.tensor([10.0, -10.0])  # the first one where v_0 is above 0
    return memory


def lived(memory, *steps, start=None):
    x = torch.tensor([[[1.0, 1.0, v0, 1.0, 1.0, v1, v2] for v0, v1, v2 in steps]]).double()
    begins = torch.tensor([[step == start for step in range(len(steps))]])
    return memory(x, memory.initial_state(1), begins)


def test_a_step_is_written_to_one_memory_and_the_shared_one(bare):
    y, state = lived(routed(bare, 1), (4, 8, 100), (-4, 100, 6), (4, 8, 100))  # half is kept, half of the error written
    # shared 2, first 4;  shared 1 - 2.5 = -1.5, second 3;  shared -0.75 + 2.375, first 2 + 3
    torch.testing.assert_close(y.flatten(), torch.tensor([6.0, 1.5, 6.625]).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(state["S"].flatten(), torch.tensor([1.625, 5.0, 3.0]).double(), rtol=1e-5, atol=0)
    y, _ = lived(routed(bare, 1), (4, 8, 100), (-4, 100, 6), start=1)
    torch.testing.assert_close(y.flatten(), torch.tensor([6.0, -2.0 + 3.0]).double(), rtol=1e-5, atol=0)


def test_chosen_memories_are_read_by_their_share(bare):
    memory = routed(bare, 2)
    memory.router.weight.data[:, 2] = torch.tensor([0.25, -0.25])
    y, _ = lived(memory, (2, 8, 4))
    share = torch.tensor(1.0).double().sigmoid()  # of logits 1/2 and -1/2
    torch.testing.assert_close(y.flatten(), 1 + 4 * share[None] + 2 * (1 - share), rtol=1e-5, atol=0)


@pytest.mark.parametrize("active", [0, 5])
def test_more_than_all_memories_are_refused(active):
    with pytest.raises(ValueError, match=rf"active must be within 1 .. memories: active={active}, memories=4"):
        MixtureOfMemories(8, active=active)
