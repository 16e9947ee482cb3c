"""A method that must be told when the task changes is refused where it is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.plan import plan_arms
from lifelong.experiments.studies.study_file import read_study_file
from lifelong.experiments.train import main

Tiny = Callable[..., TrainConfig]
ROOMS: dict[str, Any] = {
    "stream": "rooms",
    "stream_options": ("task=empty-5x5,lavagaps5", "max_steps=4"),
    "schedule": "block:96 steps",
    "life_episodes": 0,
    "boundary": "flag",
    "ewc": 10.0,
}
TOGETHER = (
    "ewc needs changes of task that all lives have in common, such as those of schedule block:50000 steps, or one "
    "life: ewc=10, num_envs=4, schedule="
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"boundary": "none"},
            "ewc needs to be told when the task changes, which boundary flag or task_id does: ewc=10, boundary=none",
        ),
        (
            {"stream_options": ("task=empty-5x5",), "schedule": None},
            "ewc needs a stream of several tasks: ewc=10, the stream has empty-5x5 alone",
        ),
        (
            {"boundary": "none", "ewc": 0.0, "reset_at_boundary": "on"},
            "reset_at_boundary needs to be told when the task changes, which boundary flag or task_id does: "
            "reset_at_boundary=on, boundary=none",
        ),
        (
            {"ewc": 0.0, "heads": "task"},
            "heads=task needs to be told the task, which boundary=task_id does, got boundary=flag",
        ),
        (
            {"ewc": 0.0, "packnet": 5},
            "packnet needs a head for each task, which heads=task gives: packnet=5, heads=one",
        ),
        ({"schedule": "block:20"}, f"{TOGETHER}Block(episodes=20)"),
        (
            {"schedule": "cyclic:31 steps", "segment": 8},
            "ewc answers one change of task in an update, of num_envs * segment = 32 steps: a task must stay for as "
            "many, got 31: ewc=10, schedule=Cyclic(steps=31), counted in environment steps of all lives together",
        ),
        ({"only_task": "lavagaps5"}, f"{TOGETHER}Order(tasks=(1,), episodes=1)"),
    ],
)
def test_what_is_needed_and_what_was_given_is_said(changes: dict[str, Any], said: str, tiny: Tiny) -> None:
    config = tiny(**ROOMS | changes)
    with pytest.raises(UserError) as error:
        main(config)
    assert str(error.value) == said
    assert not config.run.exists()


@pytest.mark.parametrize("changes", [{}, {"boundary": "task_id"}, {"num_envs": 1, "schedule": "cyclic:3", "steps": 64}])
def test_who_is_told_learns(changes: dict[str, Any], tiny: Tiny) -> None:
    assert main(tiny(**ROOMS | changes)).finished


STUDY = """
question = "Does it keep what it learned?"
stream = "rooms"
seeds = "0..2"
arms = ["none", {name = "ewc", ewc = 10.0}]

[train]
memory = "none"
schedule = "block:96 steps"
life_episodes = 0
steps = 192
num_envs = 4
segment = 8
task = "empty-5x5,lavagaps5"

[[test]]
name = "whole"
by = "training"
"""


def test_a_study_says_it_before_anything_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    with pytest.raises(UserError, match=r"study\.toml:5: arm 'ewc': ewc needs to be told when the task changes"):
        plan_arms(read_study_file(path))
    path.write_text(STUDY.replace("life_episodes", 'boundary = "flag"\nlife_episodes'))
    assert len(plan_arms(read_study_file(path))) == 2
