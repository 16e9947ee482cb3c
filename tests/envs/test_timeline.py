"""Timelines agree with the stream's tasks."""

import numpy as np
import pytest

from lifelong.envs import make_stream
from lifelong.envs.parse import parse_schedule
from lifelong.envs.schedules import Block
from lifelong.envs.timeline import show_timeline, timeline


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
