"""Copies of lives have met what the lives have met, hide what they hide, and leave them as they are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.envs import GymStream, GymTask, TaskStream, make_stream
from lifelong.envs.fork import fork
from lifelong.envs.rng import Purpose, uniform
from lifelong.envs.schedules import Cyclic

CARTPOLES = [
    GymTask(name, env_id="CartPole-v1", kwargs={"max_episode_steps": steps})
    for name, steps in (("short", 6), ("long", 9))
]

STREAMS: dict[str, Callable[..., TaskStream]] = {
    "cued recall": lambda n, **o: make_stream("cued-recall", n, cues=5, **o),
    "cued recall, changing": lambda n, **o: make_stream("cued-recall", n, cues=5, change_at=9, life_episodes=50, **o),
    "cued recall, only rewards, blanks": lambda n, **o: make_stream(
        "cued-recall", n, cues=5, feedback="reward", blanks=2, life_episodes=None, **o
    ),
    "rooms": lambda n, **o: make_stream(
        "rooms", n, task="doorkey-5x5,lavagaps5,empty-5x5", max_steps=7, schedule="redrawn:2", **o
    ),
    "doors": lambda n, **o: make_stream("doors", n, doors=3, depth=1, colours=4, life_episodes=None, **o),
    "reversal": lambda n, **o: make_stream("reversal", n, contexts=3, hazard=0.4, schedule="hazard:0.6", **o),
    "dark room": lambda n, **o: make_stream("dark-room", n, size=3, max_steps=3, maps=3, schedule="cyclic:2", **o),
    "map change": lambda n, **o: make_stream(
        "map-change", n, size=5, max_steps=3, nearest=1, maps=3, schedule="redrawn:1", life_episodes=20, **o
    ),
    "early choice": lambda n, **o: make_stream("early-choice", n, delay=3, rule="life", contexts=3, noise=0.5, **o),
    "two CartPoles": lambda n, **o: GymStream(CARTPOLES, n, schedule=Cyclic(1), **o),
    "rooms, drifting": lambda n, **o: make_stream(
        "rooms", n, task="lavagaps5", max_steps=6, drifts="plain/reversed_actions", schedule="hazard:0.5", **o
    ),
    "cued recall, drifting": lambda n, **o: make_stream(
        "cued-recall", n, cues=3, drifts="plain/shuffled_actions", drift_schedule="redrawn:2", **o
    ),
}
every_stream = pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)


def actions(stream: TaskStream, seed: int = 0) -> NDArray[np.int64]:
    n: Any = getattr(stream.single_action_space, "n", 0)
    return (uniform(seed, Purpose.POLICY, stream.life, stream.life_step) * int(n)).astype(np.int64)


def lived(make: Callable[..., TaskStream], steps: int = 37, num_envs: int = 3) -> tuple[TaskStream, list[list[int]]]:
    """Return a stream in the middle of its lives, and the tasks of the finished episodes of each present life."""
    stream = make(num_envs, seed=4)
    stream.reset()
    met: list[list[int]] = [[] for _ in range(num_envs)]
    for _ in range(steps):
        task = stream.task.copy()
        *_, info = stream.step(actions(stream))
        for slot in np.flatnonzero(info["episode_start"]):
            met[slot] = [] if info["life_start"][slot] else [*met[slot], int(task[slot])]
    return stream, met


def next_rows(copies: TaskStream, seed: int = 1) -> dict[str, NDArray[Any]]:
    """Return the row of each copy's first episode, by slot."""
    first: list[dict[str, Any] | None] = [None] * copies.num_envs
    while None in first:
        *_, info = copies.step(actions(copies, seed))
        for n, life in enumerate(info["episodes"]["life"] if "episodes" in info else ()):
            slot = copies.life.tolist().index(life)
            first[slot] = first[slot] or {name: column[n] for name, column in info["episodes"].items()}
    return {name: np.array([row[name] for row in first if row]) for name in first[0] or {}}


def same(got: Any, want: Any) -> bool:
    if isinstance(want, dict):
        return got.keys() == want.keys() and all(same(got[name], value) for name, value in want.items())
    return bool(np.array_equal(got, want, equal_nan=np.asarray(want).dtype.kind == "f"))


@every_stream
def test_a_life_goes_on_as_if_it_had_no_copies(make: Callable[..., TaskStream]) -> None:
    stream, _ = lived(make)
    twin, _ = lived(make)
    copies = make(2, seed=9)
    copies.reset()
    before, shown = stream.position(), stream.observe()
    for task in range(len(stream.tasks)):
        for skip in (0, 2):
            fork(copies, stream.position(), np.array([2, 0]), task, skip=skip)
            for _ in range(5):
                copies.step(actions(copies, 1))
            assert same(stream.position(), before)
            assert all(same(got, want) for got, want in zip(stream.observe(), shown, strict=True))
    for _ in range(12):
        got, want = stream.step(actions(stream)), twin.step(actions(twin))
        assert all(same(one, other) for one, other in zip(got, want, strict=True))
    assert same(stream.position(), twin.position())


@every_stream
def test_a_copy_meets_the_task_it_is_asked_for_after_what_its_life_has_met(make: Callable[..., TaskStream]) -> None:
    stream, met = lived(make)
    assert sum(map(len, met)) > 6
    copies, slots = make(3, seed=9), np.array([1, 0, 2])
    copies.reset()
    for task in range(len(stream.tasks)):
        for skip in (0, 3):
            _, info = fork(copies, stream.position(), slots, task, skip=skip)
            assert info["task"].tolist() == [task] * 3
            assert info["episode_start"].all()
            rows = next_rows(copies)
            for n, slot in enumerate(slots):
                tasks = met[slot]
                last = max((i for i, other in enumerate(tasks) if other == task), default=-1)
                assert rows["life"][n] == stream.life[slot]
                assert rows["task"][n] == task
                assert rows["episode"][n] == len(tasks) + skip
                assert rows["meetings"][n] == tasks.count(task)
                assert rows["lag_episodes"][n] == (len(tasks) - last if last >= 0 else -1)
                assert rows["load"][n] == (len({*tasks[last + 1 :]}) if last >= 0 else -1)


@every_stream
def test_copies_of_one_life_are_asked_for_tasks_of_their_own(make: Callable[..., TaskStream]) -> None:
    stream, met = lived(make)
    copies, slots, tasks = make(4, seed=9), np.array([1, 0, 1, 2]), np.array([1, 0, 0, 1])
    copies.reset()
    _, info = fork(copies, stream.position(), slots, tasks)
    assert info["task"].tolist() == tasks.tolist()
    assert copies.life.tolist() == stream.life[slots].tolist()
    assert copies.meetings[np.arange(4), tasks].tolist() == [
        met[slot].count(task) for slot, task in zip(slots, tasks.tolist(), strict=True)
    ]
    for _ in range(60):
        *_, info = copies.step(actions(copies, 1))
        assert np.array_equal(info["task"], tasks)


@every_stream
def test_a_copy_goes_on_with_its_task_for_ever(make: Callable[..., TaskStream]) -> None:
    stream, _ = lived(make)
    copies = make(2, seed=9)
    copies.reset()
    fork(copies, stream.position(), np.array([0, 1]), 1)
    lives, episode = copies.life.copy(), copies.episode.copy()
    for _ in range(60):
        *_, info = copies.step(actions(copies, 1))
        assert (info["task"] == 1).all()
    assert (copies.episode - episode > 3).all()
    assert np.array_equal(copies.life, lives)  # nor does a life end in it


@pytest.mark.parametrize("feedback", ["reveal", "reward"])
def test_the_answers_of_a_life_are_right_in_its_copies(feedback: str) -> None:
    stream, _ = lived(lambda n, **o: make_stream("cued-recall", n, cues=6, answers=5, feedback=feedback, **o), 40)
    answers = stream._right.copy()  # type: ignore[attr-defined]
    copies = make_stream("cued-recall", 2, cues=6, answers=5, feedback=feedback, seed=9)
    copies.reset()
    for task in range(6):
        fork(copies, stream.position(), np.array([2, 0]), task)
        successes: list[float] = []
        while len(successes) < 4:
            *_, info = copies.step(answers[[2, 0], task])
            successes += info["episodes"]["success"].tolist() if "episodes" in info else []
        assert successes == [1.0] * len(successes)


def test_arms_that_have_swapped_in_a_life_have_swapped_in_its_copies() -> None:
    """Those of a running episode, which begins again in the copy, swap once."""
    options: dict[str, Any] = {"contexts": 4, "hazard": 0.5, "reward_probability": 1.0, "schedule": "interleaved"}
    stream: Any = lived(lambda n, **o: make_stream("reversal", n, **options, **o), steps=61, num_envs=16)[0]
    copies: Any = make_stream("reversal", 16, **options, seed=9)
    copies.reset()
    lives, contexts = np.arange(16), np.arange(4)
    drawn = uniform(4, Purpose.RULE, stream.life[:, None], contexts, stream.meetings)
    swaps = (stream.meetings > 0) & (drawn < 0.5)  # as the context comes the next time
    for task in range(4):
        fork(copies, stream.position(), lives, task)
        expected = stream.good.copy()
        expected[lives, stream.task] ^= swaps[lives, stream.task]
        expected[:, task] ^= swaps[:, task]
        assert np.array_equal(copies.good, expected)
        assert copies.step(expected[:, task])[1].tolist() == [1.0] * 16
    copies.reset(seed=4)
    assert (copies.good != stream.good).sum() > 10


@pytest.mark.parametrize("name", ["rooms", "map change", "doors"])
def test_skipped_episodes_are_other_episodes_of_the_same_lag(name: str) -> None:
    stream, _ = lived(STREAMS[name], num_envs=8)
    copies = STREAMS[name](8, seed=9)
    copies.reset()
    shown, rows = [], []
    for skip in (0, 1, 2, 1):
        obs, _ = fork(copies, stream.position(), np.arange(8), 0, skip=skip)
        shown.append({key: leaf.copy() for key, leaf in obs["observation"].items()})
        rows.append(next_rows(copies))
    assert same(shown[1], shown[3])
    assert not same(shown[0], shown[1])
    assert not same(shown[1], shown[2])
    for name in ("lag_steps", "lag_episodes", "lag_tasks", "meetings", "load", "visit"):
        assert np.array_equal(rows[0][name], rows[1][name])


def test_what_cannot_be_copied_is_refused() -> None:
    stream, _ = lived(STREAMS["rooms"])
    there = stream.position()
    with pytest.raises(ValueError, match="a slot for each copy: num_envs=3, 2 copies"):
        fork(STREAMS["rooms"](3), there, np.array([0, 1]), 0)
    with pytest.raises(ValueError, match="position has 3 tasks, the stream has 2"):
        fork(STREAMS["two CartPoles"](2), there, np.array([0, 1]), 0)
    for task in (-1, 3):
        with pytest.raises(ValueError, match=f"task must lie in 0 to 2: task={task}"):
            fork(STREAMS["rooms"](2), there, np.array([0, 1]), task)
    window = make_stream("rooms", 1, task="empty-5x5", render_mode="human")
    with pytest.raises(ValueError, match="lives of this stream cannot be copied: it is shown in a window"):
        fork(window, there, np.array([0]), 0)


@every_stream
def test_a_position_of_some_lives_goes_on_as_these_lives_do(make):
    stream, _ = lived(make, num_envs=5)
    slots = [3, 0, 4]
    alone = make(3, seed=4)
    shown, told = alone.resume(alone.position_of(stream.position(), slots))
    whole = stream.observe()
    steps = 0
    while steps < 60 and (stream.life[slots] == alone.life).all():  # until one ends, and the slots begin others
        steps += 1
        assert same(shown, {name: of_slots(value, slots) for name, value in whole[0].items()})
        assert all(
            np.array_equal(told[name], whole[1][name][slots]) for name in ("episode_start", "life_start", "task")
        )
        shown, reward, *_, told = alone.step(actions(alone))
        obs, rewards, *_, info = stream.step(actions(stream))
        assert np.array_equal(reward, rewards[slots])
        whole = obs, info
    assert steps > 5


def of_slots(value: Any, slots: list[int]) -> Any:
    return {name: of_slots(part, slots) for name, part in value.items()} if isinstance(value, dict) else value[slots]


def test_slots_of_a_position_are_lives_and_differ():
    stream = make_stream("cued-recall", 3)
    stream.reset()
    for slots, said in (([], "at least one of the 3 lives"), ([3], "0 to 2, got 3"), ([1, 1], "got 1 twice")):
        with pytest.raises(ValueError, match=said):
            stream.position_of(stream.position(), slots)
