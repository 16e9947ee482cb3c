"""Horizons that a family's preset gives a memory."""

from dataclasses import replace

import pytest

from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.families import HORIZONS
from lifelong.experiments.runs.horizons import fits
from lifelong.memory.layer import fade_rates

GIVEN = ("horizons=[8,100000]",)


@pytest.mark.parametrize("memory", ["gated_delta", "gated-delta", "palimpsa", "mamba2", "kalman_delta", "hola"])
def test_horizons_fit_a_memory_whose_own_are_those_of_a_life(memory: str) -> None:
    assert fits(memory, 64, {})
    assert fits(memory, 32, {"num_heads": 2})


@pytest.mark.parametrize(
    ("memory", "width", "given"),
    [
        ("fox", 64, {}),  # its own begin at 10 steps
        ("gru", 64, {}),  # has none
        ("nothing", 64, {}),
        ("nothing.at.all:Memory", 64, {}),
        ("gated_delta", 32, {}),  # one head must remember for life
        ("gated_delta", 64, {"num_heads": 1}),
        ("gated_delta", 64, {"num_heads": "x"}),
        ("gated_delta", 64, {"horizons": [2, 3]}),
    ],
)
def test_horizons_fit_no_other(memory: str, width: int, given: dict[str, object]) -> None:
    assert not fits(memory, width, given)


def test_a_family_gives_its_horizons_and_what_is_said_wins() -> None:
    config = TrainConfig("gym:CartPole-v1", memory_options=("conv_size=4",)).resolved()
    assert config.memory_options == (*GIVEN, "conv_size=4")
    bias = make_agent(config, make_env(config)).backbone.memories[0].gates.bias
    assert bias[2:4].exp().log1p().tolist() == pytest.approx(fade_rates(2, HORIZONS).tolist(), rel=1e-4)
    assert fade_rates(2, HORIZONS).tolist() == pytest.approx([1 / 8, 1e-5])
    said = TrainConfig("gym:CartPole-v1", memory_options=("horizons=[5,6]",))
    assert said.resolved().memory_options == ("horizons=[5,6]",)


def test_streams_with_a_preset_of_their_own_keep_those_of_the_memory() -> None:
    assert TrainConfig("cued-recall").resolved().memory_options == ()


def test_a_config_that_was_saved_stays_as_it_is() -> None:
    config = TrainConfig("gym:CartPole-v1").resolved()
    assert config.resolved() == config
    before = replace(config, memory_options=(), preset=None)
    assert TrainConfig.from_json(before.to_json()).resolved().memory_options == ()
