from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.endless_cues import LastCues
from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.schedules import Cyclic
from lifelong.envs.streams.endless_cues import EndlessCues
from lifelong.experiments.runs.summary import retention_of


def test_a_life_worked_out() -> None:
    # Lags 1, 2, 1, 2: episodes 0 to 3 ask for cues 0 (there is none before), 0 (so young), 1 and 1.
    stream = EndlessCues(1, longest=2, answers=3, schedule=Cyclic(1), life_episodes=None)
    seen, _ = stream.reset()
    cues, answers, rows = [], [], []
    for episode, asked in enumerate((0, 0, 1, 1)):
        assert (seen["previous_action"], seen["previous_reward"], seen["observation"]["go"]) == (3, 0, 0)
        cues.append(seen["observation"]["cue"][0])
        answers.append(int(seen["observation"]["taught"][0]))
        seen, reward, terminated, _, _ = stream.step([answers[-1]])
        assert (reward, terminated, seen["observation"]["taught"], seen["observation"]["go"]) == (0, False, 3, 1)
        assert np.array_equal(seen["observation"]["cue"][0], cues[asked])
        given = answers[asked] if episode < 3 else (answers[asked] + 1) % 3
        seen, reward, terminated, _, info = stream.step([given])
        assert (reward, terminated) == (episode < 3, True)
        rows.append({name: column[0] for name, column in info["episodes"].items()})
        assert (rows[-1]["answer"], rows[-1]["success"], rows[-1]["length"]) == (given, episode < 3, 2)
    told = [[int(row[name]) for row in rows] for name in ("lag_episodes", "lag_steps", "meetings", "load", "lag_tasks")]
    assert told == [[-1, 1, 1, 2], [-1, 0, 0, 2], [0, 1, 1, 1], [-1, 1, 1, 2], [-1, 0, 0, 1]]
    assert [round(float(row["within"]), 3) for row in rows] == [1, 0.333, 0.333, 0.333]


def test_lags_in_steps_are_those_that_were_lived() -> None:
    stream = EndlessCues(1, longest=8, life_episodes=None)
    seen, _ = stream.reset()
    taught_by: dict[bytes, int] = {}
    begun = 0
    for _ in range(60):
        begun = int(stream.life_step[0])
        cue = seen["observation"]["cue"].tobytes()
        seen, *_ = stream.step([0])
        asked = seen["observation"]["cue"].tobytes()
        before = taught_by.get(asked)
        taught_by[cue] = begun + 2  # the end of the episode
        seen, *_, info = stream.step([0])
        assert info["episodes"]["lag_steps"] == (-1 if before is None else begun - before)


def test_references_are_what_their_policies_get() -> None:
    stream = EndlessCues(50, longest=8, answers=4, life_episodes=60)
    scores = {name: play(stream, make(), 60) for name, make in reference_policies(stream).items()}
    for name in ("cross", "oracle"):
        assert (scores[name]["return"] == 1).all()
    assert scores["random"]["return"].mean() == pytest.approx(0.25, abs=0.032)  # 3,000 guesses: 4 standard errors
    rows = scores["within"]
    assert (rows["return"][rows["lag_episodes"] < 0] == 1).all()
    assert rows["return"][rows["lag_episodes"] > 0].mean() == pytest.approx(0.25, abs=0.032)
    assert rows["within"].mean() == pytest.approx((1 + 59 / 4) / 60)


def test_the_last_cues_are_kept_up_to_their_number() -> None:
    stream = EndlessCues(100, longest=32, life_episodes=80)
    curve = retention_of(play(stream, LastCues(stream, number=9), 80), stream)
    assert curve.measure == "recall"
    assert curve.rho[:4] == (
        1,
        1,
        1,
        pytest.approx(0.7, abs=0.35),
    )  # lags of 8 are kept, 9 to 15 of young lives are not
    assert np.array(curve.rho[4:6]) == pytest.approx([0, 0], abs=0.1)


def test_a_million_cues_take_no_space() -> None:
    stream = EndlessCues(2, longest=2**19, life_episodes=None)
    stream.reset()
    sizes = [array.nbytes for array in stream.position().values()]
    position = stream.position() | {"episode": np.array([10**6, 10**6 + 1])}
    del position["observation_checksum"]  # of another episode
    seen, _ = stream.resume(position)
    told = seen["observation"]["taught"].copy()
    stream.step([0, 0])
    assert stream._lag(np.arange(2)).tolist() == stream.lags[stream.task].tolist()
    assert stream.step(stream.right_answers())[1].tolist() == [1, 1]
    assert sum(array.nbytes for array in stream.position().values()) == sum(sizes)
    fresh = EndlessCues(2, longest=2**19, life_episodes=None)
    fresh.reset()
    assert np.array_equal(fresh.resume(position)[0]["observation"]["taught"], told)


def test_cues_and_answers_are_drawn_evenly_and_apart() -> None:
    stream = EndlessCues(4000, size=2)
    drawn = []
    seen, _ = stream.reset()
    for _ in range(2):
        drawn.append(np.c_[seen["observation"]["cue"], seen["observation"]["taught"]])
        stream.step(np.zeros(4000, np.int64))
        seen, *_ = stream.step(np.zeros(4000, np.int64))
    numbers = np.concatenate(drawn, 1)
    assert np.abs(np.corrcoef(numbers.T) - np.eye(6)).max() < 0.06
    assert numbers.mean(0) == pytest.approx([0, 0, 1.5] * 2, abs=0.08)
    assert numbers.std(0) == pytest.approx([1, 1, 1.25**0.5] * 2, abs=0.06)


@pytest.mark.parametrize("wrong", [{"longest": 0}, {"longest": 12}, {"answers": 1}, {"size": 0}])
def test_numbers_that_make_no_stream_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        EndlessCues(**wrong)
