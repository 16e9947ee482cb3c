import pytest
import torch

from lifelong.agents import Backbone
from lifelong.memory import check_memory, make_memory


def test_a_stack_keeps_the_contract_of_a_memory() -> None:
    check_memory(Backbone([make_memory("gated_delta", 8), make_memory("gru", 8)]), steps=8, long_life=1000)


def test_a_stack_of_one_without_state_keeps_it_too() -> None:
    check_memory(Backbone([make_memory("none", 8)]), steps=8, long_life=1000)


def test_its_state_is_that_of_its_layers() -> None:
    layers = [make_memory("gated_delta", 8), make_memory("gru", 8)]
    assert Backbone(layers).state_bytes == sum(layer.state_bytes for layer in layers)


def test_every_layer_changes_what_comes_out() -> None:
    torch.manual_seed(0)
    backbone = Backbone([make_memory("gru", 8), make_memory("gru", 8)])
    x, start = torch.randn(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool)
    before, _ = backbone(x, backbone.initial_state(2), start)
    for layer in backbone.memories:
        with torch.no_grad():
            next(layer.parameters()).add_(1.0)
        after, _ = backbone(x, backbone.initial_state(2), start)
        assert (after - before).abs().max() > 1e-4
        before = after


def test_widths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"one width, got \[8, 16\]"):
        Backbone([make_memory("gru", 8), make_memory("gru", 16)])


def test_there_must_be_a_memory() -> None:
    with pytest.raises(ValueError, match="one width"):
        Backbone([])
