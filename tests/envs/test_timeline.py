"""Timelines agree with the stream's tasks."""

import numpy as np
import pytest

from lifelong.envs import make_stream
from lifelong.envs.composed_schedules import bind_tasks
from lifelong.envs.parse import parse_schedule
from lifelong.envs.schedules import Block
from lifelong.envs.timeline import show_timeline, step_timeline, timeline


@pytest.mark.parametrize("text", ["interleaved:zipf=1,gap=1", "spaced:8", "walk:0.5 every 3", "hazard:0.3", "novelty"])
def test_the_timeline_is_what_a_life_meets(text):
    stream = make_stream("cued-recall", 3, cues=6, blanks=0, schedule=text, life_episodes=None, seed=5)
    _, info = stream.reset()
    met = []
    for _ in range(60):  # an episode is one step
        met.append(info["task"])
        info = stream.step(np.zeros(3, np.int64))[-1]
    for life in range(3):
        line = timeline(parse_schedule(text), 6, 60, seed=5, life=life)
        np.testing.assert_array_equal(line, np.stack(met)[:, life])


def test_a_timeline_as_text():
    line = timeline(Block(4), 2, 8)
    assert line.tolist() == [0] * 4 + [1] * 4
    assert show_timeline(line, ["first", "b"], width=8) == (
        "first |████    |\n"
        "b     |    ████|\n"
        "       0 8 episodes\n"
    )  # fmt: skip
    half = show_timeline(np.array([0, 1, 0, 1]), ["a", "b"], width=2)
    assert half.splitlines()[:2] == ["a |▒▒|", "b |▒▒|"]
    assert "... and 3 tasks more" in show_timeline(np.arange(5), list("abcde"), rows=2)


@pytest.mark.parametrize(
    ("text", "points", "line", "steps"),
    [
        ("block:6 steps", 6, [0, 0, 1, 1, 2, 2], 18),
        ("cyclic:2 steps", 12, [0, 0, 1, 1, 2, 2] * 2, 12),
        ("sweep:9 steps", 6, [0, 1, 2, 2, 1, 0], 18),
        ("order:2,0,2 every 100 steps", 6, [2, 2, 0, 0, 2, 2], 300),
        ("block:1 steps", 200, [0, 1, 2], 3),
    ],
)
def test_a_schedule_in_steps_has_a_timeline_of_steps(text, points, line, steps):
    schedule = bind_tasks(parse_schedule(text), ["a", "b", "c"])
    found, length = step_timeline(schedule, 3, points)
    assert (found.tolist(), length) == (line, steps)
    assert show_timeline(found, list("abc"), span=f"{length} steps").splitlines()[-1].endswith(f"{steps} steps")


def test_a_timeline_in_steps_is_what_lives_meet():
    schedule = parse_schedule("order:1,0,2 every 24 steps")
    stream = make_stream("rooms", 3, task="empty-5x5,empty-6x6,lavagaps5", max_steps=1, schedule=schedule)
    line, steps = step_timeline(stream.schedule, 3, 24)
    _, info = stream.reset()
    for column in range(24):  # an episode is one step, three of all lives
        assert info["task"].tolist() == [line[column]] * 3
        *_, info = stream.step(np.zeros(3, np.int64))
    assert steps == 24 * 3


@pytest.mark.parametrize("text", ["cyclic:5 steps", "cyclic:5 steps every 2"])
def test_steps_are_no_episodes(text):
    with pytest.raises(ValueError, match="a timeline of episodes needs a schedule that counts episodes, got "):
        timeline(parse_schedule(text), 2, 10)
