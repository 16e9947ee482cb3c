"""Batched drifts agree with those of single environments, and are undone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong.envs import CuedRecall, Gravity, GymStream, Rooms, TaskStream, make_stream
from lifelong.envs.composed_schedules import Paired
from lifelong.envs.parse import kinds_of
from lifelong.envs.rng import Purpose, bits, normal, uniform
from lifelong.envs.schedules import Cyclic, Interleaved
from lifelong.envs.timeline import timeline

KINDS = (
    "plain/reversed_actions+sticky_actions/noisy_observations+shuffled_observations/delayed_actions:2+delayed_rewards"
)


def chosen(stream: TaskStream) -> Any:
    """Return actions as a function of life, episode and step."""
    n = int(stream.single_action_space.n)  # type: ignore[attr-defined]
    return (uniform(7, Purpose.POLICY, stream.life, stream.episode, stream.episode_length) * n).astype(np.int64)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other, equal_nan=True)


def episodes(stream: TaskStream, steps: int) -> dict[tuple[int, int], list[Any]]:
    """Return kind, observations and rewards of every episode."""
    told: dict[tuple[int, int], list[Any]] = {}
    seen, _ = stream.reset()
    for _ in range(steps):
        there = list(zip(stream.life.tolist(), stream.episode.tolist(), stream.task.tolist(), strict=True))
        image = seen["observation"]["image"]
        seen, reward, *_ = stream.step(chosen(stream))
        for slot, (life, episode, kind) in enumerate(there):
            told.setdefault((life, episode), [kind]).append((image[slot].tobytes(), reward[slot]))
    return told


@pytest.mark.parametrize("num_envs", [1, 5])
def test_a_stream_drifts_as_its_environments_would(num_envs: int) -> None:
    """The same drifts of the same environment: around every one of them, and around all lives at once."""
    inside = make_stream("gym:CartPole-v1", num_envs, drifts=KINDS, schedule="cyclic:1", seed=3)
    around = GymStream("CartPole-v1", num_envs, schedule=Cyclic(1), seed=3)
    around.drift(kinds_of(KINDS))
    assert [task.name for task in inside.tasks] == [task.name for task in around.tasks]
    assert same(inside.reset(), around.reset())
    for _ in range(150):
        actions = chosen(inside)
        one, other = inside.step(actions), around.step(actions)
        assert same(one, other)
    assert inside.meetings.min() > 0


def test_drifts_are_undone_before_the_next_episode() -> None:
    settings: dict[str, Any] = {"task": "lavagaps5", "max_steps": 9, "seed": 5}
    plain = episodes(make_stream("rooms", 3, **settings), 150)
    kinds = "plain/reversed_actions+delayed_actions/rotated_observations+sticky_actions:0.5/scaled_rewards:3"
    drifting = episodes(make_stream("rooms", 3, drifts=kinds, schedule="cyclic:1", **settings), 150)
    met = [0] * 4
    for place, (kind, *told) in drifting.items():
        _, *wanted = plain.get(place, [0])
        shared = min(len(told), len(wanted))
        if kind == 0:
            assert told[:shared] == wanted[:shared]
        elif kind in (1, 2):
            met[kind] += told[:shared] != wanted[:shared]
        else:
            assert [image for image, _ in told[:shared]] == [image for image, _ in wanted[:shared]]
            assert [paid for _, paid in told[:shared]] == [3 * paid for _, paid in wanted[:shared]]
        met[kind] += kind in (0, 3)
    assert min(met) > 5


def test_a_stream_of_plain_tasks_alone_is_what_it_was() -> None:
    one, other = (CuedRecall(4, cues=3, life_episodes=5, seed=2) for _ in range(2))
    other.drift([("plain", ())], Cyclic(1))
    assert same(one.reset(), other.reset())
    for _ in range(30):
        assert same(one.step(chosen(one)), other.step(chosen(other)))


def test_reversed_answers_and_rewards_by_hand() -> None:
    """Four answers: what is chosen as 0 is given as 3; and what is right costs 1."""
    stream = CuedRecall(3, cues=2, life_episodes=None, sealed=False)
    stream.drift(kinds_of("plain/reversed_actions/scaled_rewards"), Cyclic(1))
    seen, info = stream.reset()
    assert [task.name for task in stream.tasks] == [
        f"cue {cue}, {kind}" for kind in ("plain", "reversed_actions", "scaled_rewards") for cue in range(2)
    ]
    for episode in range(6):
        kind, right = episode % 3, stream.right_answers()
        assert (info["task"] // 2 == kind).all()
        actions = 3 - right if kind == 1 else right
        seen, reward, terminated, _, info = stream.step(actions)
        rows = info["episodes"]
        assert terminated.all()
        assert (reward == (-1 if kind == 2 else 1)).all()
        assert (seen["previous_reward"][:, 0] == reward).all()
        assert (seen["previous_action"] == actions).all()
        assert (rows["success"] == 1).all()
        assert (np.isnan(rows["within"]) == (kind > 0)).all()
        assert (np.isnan(rows["cross"]) == (kind > 0)).all()
        assert (np.isnan(rows["normalised"]) == (kind > 0)).all()


def test_cues_and_kinds_have_schedules_of_their_own() -> None:
    stream = make_stream("cued-recall", 2, cues=3, drifts="plain/shuffled_actions", drift_schedule="cyclic:5")
    assert stream.schedule == Paired(Interleaved(gap=1), Cyclic(5), 2)
    line = timeline(stream.schedule, 6, 40, seed=1)
    assert (line // 3 == np.arange(40) // 5 % 2).all()
    assert (np.diff(line % 3) != 0).all()  # no cue twice in a row, whatever its kind
    alone = timeline(Interleaved(gap=1), 3, 40, seed=1)
    assert (line % 3 == alone).all()
    line = timeline(Paired(Cyclic(1), Cyclic(2), 3), 6, 12)
    assert line.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]


def test_what_a_life_knows_of_a_cue_counts_whatever_its_kind() -> None:
    stream = CuedRecall(1, cues=1, life_episodes=None)
    stream.drift(kinds_of("plain/reversed_actions"), Cyclic(1))
    seen, _ = stream.reset()
    right = stream.right_answers()[0]
    for _ in range(4):
        assert stream.right_answers()[0] == right
        seen, *_ = stream.step([0])
        assert seen["observation"]["revealed"][0] == right
    assert stream.meetings_of(np.array([0]))[0] == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rooms", {"drifts": "gravity:2"}, r"Gravity\(factor=2.0\) edits an environment of gymnasium; write gym:<id>"),
        (
            "rooms",
            {"drifts": "noisy_observations"},
            "NoisyObservations.*does not fit this stream: only numbers of floa",
        ),
        ("reversal", {"drifts": "remapped_colours"}, "it does not show MiniGrid's cells"),
        (
            "rooms",
            {"drifts": "rotated_observations:360"},
            "degrees=360.0.* has no effect on this stream: 512 steps of 1",
        ),
        ("rooms", {"drifts": "reversed_actions+reversed_actions"}, "together has no effect on this stream"),
        ("dark-room", {"drifts": "scaled_rewards"}, "a stream of 4 tasks needs a drift_schedule.*is Block"),
        ("rooms", {"drift_schedule": "cyclic:3"}, "there are none: drift_schedule=Cyclic"),
        ("rooms", {"drifts": "reversed"}, "no drift 'reversed'"),
        ("rooms", {"drifts": []}, "at least one kind of task"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_stream(name, **options)


def test_drifts_are_given_once_and_before_the_first_reset() -> None:
    stream = Rooms(task="empty-5x5")
    stream.drift(kinds_of("reversed_actions"))
    with pytest.raises(ValueError, match="once, before its first reset"):
        stream.drift(kinds_of("reversed_actions"))
    begun = Rooms(task="empty-5x5")
    begun.reset()
    with pytest.raises(ValueError, match="once, before its first reset"):
        begun.drift(kinds_of("reversed_actions"))
    with pytest.raises(ValueError, match="edits an environment"):
        Rooms(task="empty-5x5").drift([("heavy", [Gravity(2.0)])])


def test_a_position_with_drifts_is_for_a_stream_with_drifts() -> None:
    plain, drifting = CuedRecall(2, cues=4), CuedRecall(2, cues=2)
    drifting.drift(kinds_of("plain/reversed_actions"), Cyclic(1))
    for one, other, message in (
        (plain, drifting, "with no drifts"),
        (drifting, plain, "with drifts, the stream has no"),
    ):
        one.reset()
        with pytest.raises(ValueError, match=message):
            other.resume(one.position())


def test_a_file_may_say_how_a_named_stream_drifts(tmp_path: Path) -> None:
    path = tmp_path / "world.toml"
    path.write_text(
        'stream = "rooms"\nschedule = "cyclic:2"\n[options]\ntask = "doorkey-5x5"\n'
        'drifts = "plain/remapped_colours+reversed_actions"\n'
    )
    stream = make_stream(str(path), 2)
    assert [task.name for task in stream.tasks] == ["plain", "remapped_colours+reversed_actions"]
    assert stream.schedule == Cyclic(2)


def test_many_seeds_draw_what_each_of_them_draws() -> None:
    seeds = np.array([0, 1, 2**31 - 1, 2**63 + 5], np.uint64)
    for of in (bits, uniform, normal):
        alone = [of(int(seed), Purpose.DRIFT, [3, 4]) for seed in seeds]
        assert np.array_equal(of(seeds[:, None], Purpose.DRIFT, [3, 4]), alone)


def test_a_kind_of_drift_is_named_once() -> None:
    with pytest.raises(ValueError, match="kinds of drift are named once each, got 'plain' twice"):
        kinds_of("plain/reversed_actions/plain")
