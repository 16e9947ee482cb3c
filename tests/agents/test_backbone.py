import math

import pytest
import torch
from torch import nn

from lifelong.agents import Backbone
from lifelong.agents.backbone import ResidualGate
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


def test_a_gate_takes_a_share_of_the_candidate() -> None:
    gate = ResidualGate(1).double()
    for weight in gate.parameters():
        nn.init.zeros_(weight)
    nn.init.constant_(gate.bias, math.log(3))  # z = 1/4, and r = 1/2
    gate.input.weight.data[2], gate.candidate.weight.data[0] = 1.0, 1.0
    x = torch.tensor([[2.0], [2.0]]).double()
    y = torch.tensor([[math.log(3) - 1], [-5.0]]).double()
    # tanh(log 3 - 1 + 2 / 2) = 0.8: 3/4 of 2 + 1/4 of 0.8 = 1.7;  what is negative adds nothing: tanh 1 it is
    want = torch.tensor([[1.7], [1.5 + math.tanh(1) / 4]]).double()
    torch.testing.assert_close(gate(x, y), want)


def test_a_gated_stack_keeps_the_contract_of_a_memory() -> None:
    check_memory(Backbone([make_memory("gru", 8), make_memory("none", 8)], residual="gated"), steps=8, long_life=1000)


def test_a_gated_stack_whose_gates_are_shut_hands_its_input_through() -> None:
    torch.manual_seed(0)
    backbone = Backbone([make_memory("gru", 8)], residual="gated")
    x, start = torch.randn(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool)
    gates = [module for module in backbone.modules() if isinstance(module, ResidualGate)]
    assert len(gates) == 2  # the memory's and the MLP's
    assert all(gate.bias.eq(2.0).all() for gate in gates)
    for gate in gates:
        nn.init.constant_(gate.bias, 1e3)
    torch.testing.assert_close(backbone(x, backbone.initial_state(2), start)[0], backbone.norm(x))


def test_a_stack_that_sums_has_no_gates() -> None:
    assert not any("gate" in name for name in Backbone([make_memory("gru", 8)]).state_dict())


def test_a_residual_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="residual must be 'sum' or 'gated', got 'product'"):
        Backbone([make_memory("gru", 8)], residual="product")  # type: ignore[arg-type]
