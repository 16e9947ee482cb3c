"""What the trainer reports, at fixed steps."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.trainer import Trainer

OF_THE_CLOCK = ("time/", "charts/SPS")


def trained(config: TrainConfig, report_steps: int) -> Path:
    with Trainer(config.resolved(), False, Console(quiet=True), report_steps=report_steps) as trainer:
        assert trainer.train()
    return trainer.folder


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return step and value of every scalar by tag, but for those that depend on the clock."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith(OF_THE_CLOCK)]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def test_two_trainings_report_the_same_at_the_same_steps(tiny: Callable[..., TrainConfig]) -> None:
    once, again = (scalars(trained(tiny(name=name, steps=640), 64)) for name in ("once", "again"))
    assert {"charts/episodic_return", "losses/policy_loss", "retention/known", "memory/bytes"} <= once.keys()
    assert once == again


@pytest.mark.parametrize(("every", "steps"), [(64, [64, 128, 160]), (32, [32, 64, 96, 128, 160]), (50, [64, 128, 160])])
def test_reports_fall_at_the_end_of_the_segment_in_which_they_are_due_and_of_the_run(
    every: int, steps: list[int], tiny: Callable[..., TrainConfig]
) -> None:
    found = scalars(trained(tiny(), every))
    assert [step for step, _ in found["losses/value_loss"]] == steps


def test_a_training_in_which_no_episode_ends_is_reported_all_the_same(tiny: Callable[..., TrainConfig]) -> None:
    found = scalars(trained(tiny(stream="gym:Pendulum-v1", stream_options=()), 64))
    assert [step for step, _ in found["losses/value_loss"]] == [64, 128, 160]
    assert all(-17 < reward < 0 for _, reward in found["charts/reward_per_step"])  # as the environment pays
    assert "charts/episodic_return" not in found
