"""A foreign task that breaks in between what is learned and what is asked."""

import numpy as np
import pytest

from lifelong.envs import make_stream
from lifelong.envs.parse import parse_schedule
from lifelong.envs.references.policies import play
from lifelong.envs.references.questions import QuestionPolicy, cross_episode_policy
from lifelong.envs.shocks import Shocks
from lifelong.envs.timeline import timeline


def test_shocks_grow_and_begin_anew() -> None:
    line = timeline(Shocks(3, 4), tasks=5, episodes=2 * (3 * 3 + 7) + 4)
    shocked = "".join("#" if task == 4 else "." for task in line)
    assert shocked == "...#...##...####" * 2 + "...#"


def test_other_tasks_are_drawn_evenly() -> None:
    line = timeline(Shocks(8, 1), tasks=3, episodes=9000)
    assert np.bincount(line) / 9000 == pytest.approx([4 / 9, 4 / 9, 1 / 9], abs=0.02)


def test_one_task_alone_goes_on() -> None:
    assert not timeline(Shocks(2), tasks=1, episodes=30).any()


def test_noise_breaks_into_any_stream() -> None:
    settings = {"cues": 2, "drifts": "plain/noisy_observations:9,cue", "drift_schedule": "shocks:4,8"}
    stream = make_stream("cued-recall", 40, life_episodes=62, schedule="interleaved", **settings)
    rows = play(stream, QuestionPolicy(stream, cross_episode_policy), 62)  # type: ignore[arg-type]
    lived = rows["task"][rows["life"] == 0][np.argsort(rows["episode"][rows["life"] == 0])] >= 2
    assert "".join("#" if noise else "." for noise in lived) == "....#....##....####....########" * 2
    plain = (rows["task"] < 2) & (rows["lag_episodes"] > 0)
    assert set((rows["episode"][plain & (rows["lag_episodes"] > 8)] % 31).tolist()) >= {0}, (
        "asked across the longest shock"
    )


def test_it_is_written_as_text() -> None:
    assert parse_schedule("shocks:16,64") == Shocks(16, 64)
    assert parse_schedule("shocks:every=5") == Shocks(5, 16)


@pytest.mark.parametrize(
    ("text", "wrong"), [("shocks:0", "every=0"), ("shocks:4,0", "longest=0"), ("shocks:4,6", "longest=6")]
)
def test_wrong_numbers_are_refused(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_schedule(text)
