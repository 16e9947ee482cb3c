"""Mature units of least use are recycled, so many in an update as are due."""

import math

import pytest
import torch
from torch import Tensor, nn

from lifelong.agents.continual_backprop import ContinualBackprop
from lifelong.agents.dormant_units import HiddenLayer
from lifelong.agents.regeneration import Regeneration


def made(rate: float, maturity: int, units: int = 4, parts: int = 1) -> tuple[nn.Sequential, ContinualBackprop]:
    """Return a network with a hidden layer, each unit of which leads to some parts of the next layer's inputs."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, units), nn.ReLU(), nn.Linear(units * parts, 2))
    layer = HiddenLayer(units, ("0.weight", "0.bias"), "2.weight", network[1])
    regeneration = Regeneration(dict(network.named_parameters()), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(network.parameters())
    return network, ContinualBackprop([layer], regeneration, optimizer, rate, maturity)


def chosen(method: ContinualBackprop, active: Tensor) -> list[int]:
    return method.choose([active])[0].tolist()


def test_utility_is_the_faded_mean_of_activity_times_outgoing_weight() -> None:
    network, method = made(rate=0.0, maturity=0, units=2)
    with torch.no_grad():
        network[2].weight[:] = torch.tensor([[1.0, 0.5], [-2.0, 0.0]])
    assert method.due()
    assert chosen(method, torch.tensor([2.0, 4.0])) == []
    # .01 · 2 · (1 + 2) = .06; .01 · 4 · .5 = .02
    torch.testing.assert_close(method.utility[0], torch.tensor([0.06, 0.02]))
    assert chosen(method, torch.tensor([0.0, 8.0])) == []
    # .99 · .06 = .0594; .99 · .02 + .01 · 8 · .5 = .0598
    torch.testing.assert_close(method.utility[0], torch.tensor([0.0594, 0.0598]))
    assert method.age[0].tolist() == [2, 2]


def test_a_unit_that_leads_to_several_inputs_counts_all_of_them() -> None:
    network, method = made(rate=0.0, maturity=0, units=2, parts=3)
    with torch.no_grad():
        network[2].weight[:] = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, -1.0, 0.0, 0.5, 0.0]])
    method.choose([torch.ones(2)])
    torch.testing.assert_close(method.utility[0], torch.tensor([0.03, 0.005]))


def test_the_least_useful_go_as_many_as_are_due() -> None:
    network, method = made(rate=0.35, maturity=0)
    with torch.no_grad():
        network[2].weight[:] = 1.0
    active = torch.tensor([3.0, 1.0, 2.0, 4.0])
    # c is .35 · 4 = 1.4, then .4 + 1.4 = 1.8, .8 + 1.4 = 2.2, .2 + 1.4 = 1.6
    assert [chosen(method, active) for _ in range(3)] == [[1], [1], [1, 2]]
    assert chosen(method, torch.tensor([3.0, 9.0, 1.0, 4.0])) == [2]  # corrected for its age unit 1 has 9, not .09
    assert method.owed[0] == pytest.approx(0.6)


def test_a_young_unit_is_left_in_peace() -> None:
    network, method = made(rate=1.0, maturity=2)
    with torch.no_grad():
        network[2].weight[:] = 1.0
    active = torch.arange(4.0)
    assert [sorted(chosen(method, active)) for _ in range(6)] == [[], [], [0, 1, 2, 3], [], [], [0, 1, 2, 3]]


def test_a_recycled_unit_begins_anew() -> None:
    network, method = made(rate=0.25, maturity=1)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    active = torch.tensor([5.0, 5.0, 0.0, 5.0])
    method.recycle([active])
    assert all(x.equal(before[name]) for name, x in network.state_dict().items())
    method.recycle([active])
    assert method.recycled == 1
    after = network.state_dict()
    assert not after["2.weight"][:, 2].any()
    assert torch.isin(after["0.weight"][2], before["0.weight"]).all()
    for name, x in before.items():
        others = [0, 1, 3]
        kept = (after[name][:, others], x[:, others]) if name == "2.weight" else (after[name], x)
        if name.startswith("0."):
            kept = after[name][others], x[others]
        assert kept[0].equal(kept[1])
    assert (method.utility[0][2], method.age[0][2]) == (0.0, 0)
    assert method.age[0][[0, 1, 3]].tolist() == [2, 2, 2]


def test_a_checkpoint_goes_on_with_the_same_units() -> None:
    _, method = made(rate=0.3, maturity=1)
    for k in range(3):
        method.choose([torch.rand(4, generator=torch.Generator().manual_seed(k))])
    kept = {name: x.clone() for name, x in method.state_dict().items()}
    saved, (_, other) = method.state_dict(), made(rate=0.3, maturity=1)
    other.load_state_dict(saved)
    later = [torch.rand(4, generator=torch.Generator().manual_seed(k)) for k in range(10, 16)]
    assert [chosen(method, x) for x in later] == [chosen(other, x) for x in later]
    assert all(x.equal(kept[name]) for name, x in saved.items())  # what was saved is not changed by going on
    assert all(x.equal(other.state_dict()[name]) for name, x in method.state_dict().items())
    for wrong, said in (
        ({}, "missing are age, owed, recycled"),
        ({**saved, "age": saved["age"] - 9}, "age must lie in 0 to"),
        ({**saved, "utility": saved["utility"] * math.nan}, "utility must be finite"),
    ):
        with pytest.raises(ValueError, match=said):
            other.load_state_dict(wrong)
