"""Health of a living agent: what is reported, and that reporting changes nothing."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.agents import PPO, ActorCritic, Backbone, Encoder, Rollout, Segment
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.health import Health, memory_scalars, plasticity_scalars, replay
from lifelong.experiments.runs.tensorboard import LAYOUT
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.train import main as train
from lifelong.memory import Memory, make_memory

Tiny = Callable[..., TrainConfig]
CLIPPED = {"train/gradient_norm": 0.1}  # by nothing


class Noisy(Memory):
    """A memory that draws at every step."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.write = nn.Linear(width, width)

    def initial_state(self, batch: int) -> TensorDict:
        return TensorDict({"h": self.zeros(batch, self.width)}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        h = 0.9 * self.restart(state, start)["h"] + self.write(x) + torch.randn(())
        return h, TensorDict({"h": h}, [len(x)])


def lived(config: TrainConfig, segments: int = 2) -> tuple[ActorCritic, Segment, TensorDict]:
    """Return a new agent, its last segment, and its state after it."""
    config = config.resolved()
    env = make_env(config)
    agent = make_agent(config, env)
    rollout = Rollout(agent, env, config.carry)
    for _ in range(segments):
        segment = rollout.collect(8)
    return agent, segment, rollout.state


def measured(config: TrainConfig) -> tuple[Trainer, dict[str, Tensor]]:
    """Return a training that reports after every segment, and its last weights."""
    with Trainer(config.resolved(), False, Console(quiet=True), report_steps=1) as trainer:
        assert trainer.train()
    return trainer, {name: x.clone() for name, x in trainer.agent.state_dict().items()}


def tags(folder: Path) -> set[str]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return set(events.Tags()["scalars"])


@pytest.mark.parametrize("memory", ["gated_delta", "gru", "window"])
def test_training_is_the_same_without(memory: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, weights = measured(tiny(memory=memory, name="with"))
    random, state = torch.get_rng_state(), trainer.rollout.state
    monkeypatch.setattr(Health, "scalars", lambda *arguments: {})
    other, same = measured(tiny(memory=memory, name="without"))
    assert not any(tag.startswith("plasticity/") for tag in tags(other.folder))
    assert all(torch.equal(x, same[name]) for name, x in weights.items())
    assert torch.equal(random, torch.get_rng_state())
    assert (state == other.rollout.state).all()


def test_a_memory_that_draws_goes_on_with_the_same_numbers(tiny: Tiny) -> None:
    agent, segment, _ = lived(tiny())
    agent.backbone.memories[0] = Noisy(16)
    segment = Segment(segment.steps, agent.backbone.initial_state(4), {})
    torch.manual_seed(3)
    Health(PPO(agent), 100, always=True).scalars(segment, segment.state, CLIPPED, 1)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))


def test_agent_and_state_stay_as_they_are(tiny: Tiny) -> None:
    agent, segment, state = lived(tiny(memory="palimpsa"))
    for weight in agent.parameters():
        weight.grad = torch.full_like(weight, 3.0)
    random = torch.get_rng_state()
    weights = {name: x.clone() for name, x in agent.state_dict().items()}
    before, now = segment.state.clone(), state.clone()
    Health(PPO(agent), 100, always=True).scalars(segment, state, CLIPPED, 1)
    assert all(torch.equal(x, weights[name]) for name, x in agent.state_dict().items())
    assert all((weight.grad == 3.0).all() for weight in agent.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert (segment.state == before).all()
    assert (state == now).all()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in agent.modules())


def test_write_strength_is_that_of_living(tiny: Tiny) -> None:
    agent, segment, state = lived(tiny(), segments=1)
    with torch.no_grad():
        scalars = memory_scalars(state, replay(agent, segment))
        found, x = [], segment.state
        for t in range(8):
            _, after = agent.trunk(segment.steps["observation"][:, t], x, segment.steps["start"][:, t])
            change = (after["0", "S"] - x["0", "S"]).flatten(1).norm(dim=1)
            found.append(change / after["0", "S"].flatten(1).norm(dim=1))
            x = after
    assert scalars["memory/write_strength_0/S"] == pytest.approx(torch.stack(found[4:]).mean().item(), rel=1e-4)
    rank, stable = scalars["memory/effective_rank_0/S"], scalars["memory/stable_rank_0/S"]
    assert 1 < stable < rank < 8  # of 16 x 32 after 8 steps


def test_what_a_start_wipes_is_not_written(tiny: Tiny) -> None:
    agent, segment, _ = lived(tiny(), segments=1)
    with torch.no_grad():
        segment.steps["start"][0, 4:] = True
        others = Segment(segment.steps[1:], segment.state[1:], {})
        assert replay(agent, segment).writes == pytest.approx(replay(agent, others).writes)
        segment.steps["start"][:, 4:] = True
        assert math.isnan(replay(agent, segment).writes["0/S"])


@pytest.mark.parametrize(
    ("memory", "options", "names"),
    [
        ("none", (), []),
        ("gru", (), ["0/h"]),
        ("palimpsa", (), ["0/M", "0/J"]),
        ("hybrid", ("a=gated_delta", "b=window"), ["0/a/S", "0/b/k", "0/b/v"]),
        ("titans", (), ["0/frozen", "0/fast", "0/momentum"]),
    ],
)
def test_large_tensors_are_measured(memory: str, options: tuple[str, ...], names: list[str], tiny: Tiny) -> None:
    agent, segment, state = lived(tiny(memory=memory, memory_options=options))
    with torch.no_grad():
        scalars = memory_scalars(state, replay(agent, segment))
    matrices = [name for name in names if name[-1].isupper()]
    assert set(scalars) == {f"memory/{kind}_{name}" for kind in ("saturation", "write_strength") for name in names} | {
        f"memory/{kind}_{name}" for kind in ("effective_rank", "stable_rank") for name in matrices
    }
    assert all(x >= 0 for x in scalars.values())


def test_units_that_put_out_nothing_are_dormant(tiny: Tiny) -> None:
    agent, segment, _ = lived(tiny())
    with torch.no_grad():
        assert plasticity_scalars(agent, replay(agent, segment))["plasticity/dormant_share"] == 0
        for parameter in agent.encoder.mlp.factors.parameters():
            parameter[:4] = 0  # of 16 in the encoder and 16 in the backbone
        assert plasticity_scalars(agent, replay(agent, segment))["plasticity/dormant_share"] == 4 / 32


def test_channels_of_pixels_are_units() -> None:
    space = spaces.Box(0, 255, (16, 16, 3), np.uint8)
    agent = ActorCritic(Encoder(space, 8), Backbone([make_memory("gru", 8)]), spaces.Discrete(2))
    pixels = torch.randint(0, 256, (2, 5, 16, 16, 3), dtype=torch.uint8)
    steps = TensorDict({"observation": TensorDict({"observation": pixels}, [2, 5])}, [2, 5])
    steps["start"] = torch.zeros(2, 5, dtype=torch.bool)
    segment = Segment(steps, agent.backbone.initial_state(2), {})
    with torch.no_grad():
        image = agent.encoder.images[0]
        image.conv[0].bias[:] = image.conv[2].bias[:] = 10  # no channel is silent by chance
        image.linear.weight[:] = 0  # nothing behind them changes
        awake = plasticity_scalars(agent, replay(agent, segment))["plasticity/dormant_share"]
        image.conv[0].bias[:4] = -10
        silent = plasticity_scalars(agent, replay(agent, segment))["plasticity/dormant_share"]
    assert silent - awake == 4 / (16 + 32 + 8 + 8)


def test_every_panel_shows_something(tiny: Tiny) -> None:
    trainer, _ = measured(tiny(l2_init=1e-3))
    written = tags(trainer.folder)
    for category in ("Memory", "Learning", "Plasticity"):
        for title, (_, patterns) in LAYOUT[category].items():
            assert all(any(re.match(pattern, tag) for tag in written) for pattern in patterns), title


def test_reports_beyond_a_hundredth_of_the_time_have_norms_only(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, segment, state = lived(tiny())
    clock = iter([0.0, 5.0, 5.25, 10.0, 49.0, 50.0, 50.25])
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    health = Health(PPO(agent), 100)
    found = [health.scalars(segment, state, CLIPPED, step) for step in (1, 2, 3, 4)]  # 0.25 s each: the next after 50 s
    assert [scalars.get("time/health_seconds") for scalars in found] == [0.25, None, None, 0.25]
    assert all("memory/norm_0/S" in scalars for scalars in found)


def state_of(size: float) -> TensorDict:
    return TensorDict({"0": TensorDict({"S": torch.full((2, 1, 2, 2), size)}, [2])}, [2])


def said(sizes: dict[int, float], agent: ActorCritic, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what is out of bounds after reports at these steps of 100 with states of these sizes."""
    health = Health(PPO(agent), 100)
    monkeypatch.setattr(health, "_spent", 1e9)  # norms only
    for step, size in sizes.items():
        health.scalars(segment, state_of(size), CLIPPED, step)
    return health.out_of_bounds()


def test_a_state_that_grew_is_said(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, segment, _ = lived(tiny(), segments=1)
    grown = said({20: 1.0, 40: 3.0, 50: 1.0, 75: 20.0, 100: 31.0}, agent, segment, monkeypatch)
    assert grown == (
        "out of bounds: the norm of the memory's state 0/S is 62, more than 10 times its greatest of the first half of "
        "the run, 6"
    )
    for sizes in (
        {20: 1.0, 40: 3.0, 50: 1.0, 75: 99.0, 100: 29.0},  # grown by less in the end
        {25: 3.0, 50: 1.0, 100: 99.0},  # too few to compare with
        {20: 0.0, 40: 0.0, 50: 0.0, 100: 1.0},  # written in the second half only
        {},
    ):
        assert not said(sizes, agent, segment, monkeypatch)


@pytest.mark.parametrize(("tau", "recycles"), [(0.0, False), (0.9, True)])
def test_a_method_that_does_nothing_is_said(
    tau: float, recycles: bool, tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(redo_every=2, redo_tau=tau), Console(width=300))
    said = "ReDo recycled no unit: the least active has 0." in capsys.readouterr().out
    assert said is not recycles


def test_the_end_of_a_training_says_what_is_out_of_bounds(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(name="well"), Console(width=300))
    assert "out of bounds" not in capsys.readouterr().out
    dormant: dict[str, Any] = {"plasticity/dormant_share": 0.625}
    monkeypatch.setattr("lifelong.experiments.runs.health.plasticity_scalars", lambda *arguments: dormant)
    train(tiny(name="unwell"), Console(width=300))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("out of bounds")]
    assert line == (
        "out of bounds: 62 % of the policy's hidden units are dormant (at most 0.025 of their layer's mean activity)"
    )
