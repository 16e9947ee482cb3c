import subprocess
import sys

import pytest
import torch

from lifelong import memory
from lifelong.memory import MEMORIES, NoMemory, make_memory


def test_an_unknown_name_suggests_the_nearest_and_lists_the_known():
    with pytest.raises(
        KeyError, match=r"no memory 'palimsa'; did you mean 'palimpsa'\?.*agalite, .*gated_delta, .*\.\.\., or package"
    ):
        make_memory("palimsa", 8)


def test_dashes_and_underscores_are_the_same():
    assert type(make_memory("gated-delta", 8)) is type(make_memory("gated_delta", 8))


def test_a_class_of_any_module_is_a_plug_in():
    assert isinstance(make_memory("lifelong.memory.controls.none:NoMemory", 8), NoMemory)


@pytest.mark.parametrize("target", ["lifelong.memory.controls.none:Nothing", "no_such_module:Memory"])
def test_a_plug_in_that_is_not_there_is_named(target):
    with pytest.raises(ImportError, match=f"cannot load memory '{target}'"):
        make_memory(target, 8)


def test_a_plug_in_that_is_no_memory_is_refused():
    with pytest.raises(TypeError, match=r"must be a class that extends lifelong.memory.Memory, got Identity"):
        make_memory("torch.nn:Identity", 8)


def test_options_reach_the_constructor():
    assert make_memory("window", 8, cache=5).cache == 5
    assert make_memory("palimpsa_scalar", 8).beta == "scalar"


def test_the_options_of_version_0_1_are_understood():
    old = make_memory("gated_delta", 8, heads=2, key_width=3, value_width=5, taps=4)
    new = make_memory("gated_delta", 8, num_heads=2, key_dim=3, value_dim=5, conv_size=4)
    assert old.shape == new.shape == (2, 5, 3)
    assert old.project.conv_size == new.project.conv_size == 4
    assert make_memory("metaplastic:gla", 8, heads=2).host.shape[0] == 2
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'heads'"):
        make_memory("gated_delta", 8, heads=2, num_heads=2)


def test_an_unknown_option_is_named_with_its_memory():
    with pytest.raises(TypeError, match="memory 'gru' got an unexpected keyword argument 'num_heads'; known: hidden"):
        make_memory("gru", 8, num_heads=2)


@pytest.mark.parametrize("name", ["window", "linear_attention", "gated_delta", "palimpsa"])
def test_heads_must_divide_the_width(name):
    with pytest.raises(ValueError, match="num_heads must divide width: width=10, num_heads=4"):
        make_memory(name, 10, num_heads=4)


@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_a_width_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match="width"):
        make_memory(name, 0)


@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_the_cost_of_a_step_is_known(name):
    made = make_memory(name, 8)
    leaves = made.initial_state(1).values(True, True)
    assert made.state_bytes == sum(leaf.numel() * leaf.element_size() for leaf in leaves)
    assert made.step_flops >= 2 * 8 * 8


def test_every_public_name_is_there():
    for name in memory.__all__:
        assert getattr(memory, name) is not None


def test_listing_the_memories_does_not_import_torch():
    code = "import sys, lifelong.memory as m; m.known_memories(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_a_memory_asked_for_by_name_takes_torchs_seed():
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(make_memory("palimpsa", 8).state_dict())
    torch.testing.assert_close(*made)
