"""An update that is not finite is refused, and training goes on; after several in a row it stops."""

import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from lifelong import cli
from lifelong.agents import PPO, Rollout, load_checkpoint
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import TrainingError
from lifelong.experiments.runs.open_run import LAST
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]
LARGE = float("inf")


def not_finite_at(steps: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gradients be infinite in the second minibatch of the updates at these steps, after a step was made."""
    clip, learn, at = nn.utils.clip_grad_norm_, PPO.learn, [0, 0]

    def learned(self: PPO, *given: Any) -> dict[str, float]:
        at[0], at[1] = at[0] + 32, 0
        return learn(self, *given)

    def clipped(parameters: Any, most: float) -> Tensor:
        at[1] += 1
        return torch.tensor(LARGE) if at[0] in steps and at[1] == 2 else clip(parameters, most)

    monkeypatch.setattr(PPO, "learn", learned)
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", clipped)


def scalars(folder: Path, tag: str) -> dict[int, float]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


def everything(trainer: Trainer) -> dict[str, Tensor]:
    """Return a copy of weights, moments, normalisers and scale of returns."""
    learner = trainer.learner
    state = {f"policy {name}": x.clone() for name, x in learner.policy.state_dict().items()}
    for number, entries in learner.optimizer.state_dict()["state"].items():
        state |= {f"moment {number} {name}": x.clone() for name, x in entries.items()}
    assert learner.return_scale is not None
    return state | {f"scale {name}": x.clone() for name, x in learner.return_scale.state_dict().items()}


def test_weights_moments_and_normalisers_stay_as_before_the_update(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(stream="gym:CartPole-v1", stream_options=(), normalize_reward="on").resolved()
    output, before, after = StringIO(), list[dict[str, Tensor]](), list[dict[str, Tensor]]()
    refuse = Trainer._refuse

    def refused(self: Trainer, *given: Any) -> None:
        changed = everything(self)
        assert any(not changed[name].equal(x) for name, x in before[-1].items() if name.startswith("policy"))
        refuse(self, *given)
        after.append(everything(self))

    collect = Rollout.collect

    def collected(self: Rollout, length: int) -> Any:
        before.append(everything(trainer))
        return collect(self, length)

    not_finite_at({64, 128}, monkeypatch)
    monkeypatch.setattr(Trainer, "_refuse", refused)
    monkeypatch.setattr(Rollout, "collect", collected)
    with Trainer(config, False, Console(file=output, width=300), report_steps=32) as trainer:
        assert trainer.train()
    assert len(after) == 2
    for was, now in ((before[1], after[0]), (before[3], after[1])):
        assert was.keys() == now.keys()
        assert all(x.equal(now[name]) for name, x in was.items())
    said = re.findall(r"the update of step (\d+) was refused: (.*); weights stay as before it", output.getvalue())
    assert said == [(step, "gradient must be finite, its norm is inf") for step in ("64", "128")]
    assert scalars(config.run, "train/refused_updates") == {64: 1.0, 128: 2.0}
    assert load_checkpoint(config.run / LAST)[1]["refused"] == [0, 2]


def test_several_in_a_row_stop_the_training_and_name_what_helps(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny()
    monkeypatch.setattr("lifelong.experiments.settings.train.parse", lambda kind, *given: kind(**vars(config)))
    not_finite_at({64, 96, 128}, monkeypatch)
    assert cli.main(["train"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(f"its checkpoint is of step 96; go on with: lifelong train --resume {config.run}")
    assert len(line) <= 300
    parts, facts = load_checkpoint(config.run / LAST)
    assert (facts["steps"], facts["refused"]) == (96, [2, 2])
    assert all(x.isfinite().all() for tensors in parts.values() for x in tensors.values() if x.is_floating_point())


@pytest.mark.parametrize("stream", ["cued-recall", "gym:Pendulum-v1"])
def test_a_memory_that_is_not_finite_stops_it_at_once_and_is_named(
    stream: str, tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect = Rollout.collect

    def collected(self: Rollout, length: int) -> Any:
        segment = collect(self, length)
        if self.steps == 96:
            self.state["0", "S"][2] = LARGE
        return segment

    monkeypatch.setattr(Rollout, "collect", collected)
    said = r"update of step 96 was refused: memory must be finite, 0/S is not, in slot 2 of life \d+; a new run with "
    with pytest.raises(TrainingError, match=said + r"a lower --lr .*; its checkpoint is of step 64; go on with"):
        main(tiny(stream=stream, stream_options=() if ":" in stream else tiny().stream_options))


def test_refusals_are_counted_over_the_end_of_a_process(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, halves = tiny(name="whole"), tiny(name="halves")
    with monkeypatch.context() as patch:
        not_finite_at({64, 96, 160}, patch)
        main(whole)
    with monkeypatch.context() as patch:
        not_finite_at({64, 96}, patch)
        main(replace(halves, steps=96))
    with monkeypatch.context() as patch:
        not_finite_at({64}, patch)  # of those that are left
        main(TrainConfig(resume=halves.run, steps=160))
    found = [load_checkpoint(config.run / LAST) for config in (whole, halves)]
    assert found[0][1]["refused"] == found[1][1]["refused"] == [1, 3]


def test_large_settings_that_cannot_be_meant_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        ("--lr inf", "lr must be finite: lr=inf"),
        ("--clip inf", "clip_epsilon must be finite: clip_epsilon=inf"),
        ("--entropy-coef inf", "entropy_coef must be finite: entropy_coef=inf"),
        ("--final-lr-fraction nan", "final_lr_fraction must lie in [0, 1]: final_lr_fraction=nan"),
        ("--gamma -0.5", "gamma must lie in [0, 1]: gamma=-0.5"),
        ("--life-gamma nan", "life_gamma must lie in [0, 1]: life_gamma=nan"),
    ):
        assert cli.main(["train", *words.split()]) == 2
        assert capsys.readouterr().err.startswith(f"lifelong: {said}")
