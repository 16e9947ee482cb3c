"""Schedules that name tasks, count environment steps, or contain other schedules."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.envs import GymStream, GymTask, TaskStream, make_stream
from lifelong.envs.composed_schedules import (
    Held,
    InSteps,
    Order,
    Paired,
    bind_tasks,
    changes_together,
    counts_steps,
    find_task,
)
from lifelong.envs.parse import parse_integer, parse_schedule
from lifelong.envs.schedules import Block, Cyclic, Schedule, Sweep, Walk

NAMES = ["door", "key", "2", "three"]
ROOMS = "lavagaps5,empty-5x5,empty-6x6"


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("block:50000 steps", InSteps(Block(50_000))),
        (" cyclic:episodes=5e4  steps ", InSteps(Cyclic(50_000))),
        ("sweep:1_000 steps", InSteps(Sweep(1_000))),
        ("order:A,B,C,A every 500", Order(("A", "B", "C", "A"), 500)),
        ("order: A , 1,A", Order(("A", "1", "A"), 1)),
        ("order:A,B every 5e4 steps", InSteps(Order(("A", "B"), 50_000))),
        ("order:plain,gravity:4,plain every 2", Order(("plain", "gravity:4", "plain"), 2)),
        ("walk:1 every 1e2", Held(Walk(1.0), 100)),
        ("block:500 steps every 3", Held(InSteps(Block(500)), 3)),
    ],
)
def test_a_text_names_a_schedule(text: str, schedule: Schedule) -> None:
    assert parse_schedule(text) == schedule
    assert hash(parse_schedule(text)) == hash(schedule)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "hazard:0.1 steps",
            "only block, cyclic, sweep and order can be counted in steps, got RandomHazard",
        ),
        ("walk:1 every 5 steps", "only block, cyclic, sweep and order can be counted in steps, got Held"),
        ("block:5 steps steps", "only block, .*, got Block"),
        ("blok:5 steps", "no schedule 'blok'; did you mean 'block'.* known: block:episodes=N, "),
        ("block:2.5e0 steps", "episodes must be an integer, got '2.5e0'"),
        ("block:0 steps", "episodes must be positive: episodes=0"),
        ("order", "schedule 'order': write order:A,B,A every N, with names or numbers of tasks"),
        ("order:A,,B", "schedule 'order:A,,B': write order:A,B,A every N"),
        ("order:A every 0", "episodes must be positive: episodes=0"),
        ("order:A every day", "every must be followed by an integer, got 'day'"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_schedule(text)


@pytest.mark.parametrize(
    ("text", "number"), [("5", 5), (" -5", -5), ("2_000_000", 2_000_000), ("1e6", 1_000_000), ("2.5e+1", 25)]
)
def test_an_integer_may_have_an_exponent(text: str, number: int) -> None:
    assert parse_integer(text) == number


@pytest.mark.parametrize("text", ["", "1.5", "1e-3", "1.25e1", "1e", "five", "0x10", "inf"])
def test_what_is_no_integer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a whole number|invalid literal"):
        parse_integer(text)


def test_an_order_names_tasks_or_numbers_them_and_names_win() -> None:
    order = Order(("three", "0", 1, "2", "3", "door"), 7)
    assert order.bind(NAMES) == Order((3, 0, 1, 2, 3, 0), 7)
    assert order.bind(NAMES).bind(NAMES) == order.bind(NAMES)
    assert bind_tasks(Held(InSteps(order), 3), NAMES) == Held(InSteps(order.bind(NAMES)), 3)
    assert bind_tasks(Walk(0.5), NAMES) == Walk(0.5)
    assert find_task("2", ["1", "2"]) == 1


def test_an_unknown_task_is_answered_with_those_there_are() -> None:
    for wrong in ("kay", "4", "-1"):
        with pytest.raises(ValueError, match=f"no task '{wrong}'; .*known: door, key, 2, three$"):
            Order((wrong,)).bind(NAMES)
    with pytest.raises(ValueError, match=r"no task 'kay'; did you mean 'key'\?"):
        Order(("kay",)).bind(NAMES)
    with pytest.raises(ValueError, match=r"known: cue 0, .*cue 39 and 61 more$"):
        make_stream("cued-recall", cues=101, schedule="order:cue 0,cue")
    with pytest.raises(ValueError, match="an order must list at least one task"):
        Order(())


def test_an_order_is_lived_as_it_is_listed_and_its_last_task_stays() -> None:
    stream = make_stream(
        "rooms", 2, task="lavagaps5,empty-5x5,empty-6x6", max_steps=1, schedule="order:2,lavagaps5,2,1 every 2"
    )
    assert stream.schedule == Order((2, 0, 2, 1), 2)
    assert tasks_of(stream, 12).T.tolist() == [[2, 2, 0, 0, 2, 2, 1, 1, 1, 1, 1, 1]] * 2


def tasks_of(stream: TaskStream, steps: int) -> NDArray[np.int64]:
    """Return [steps, B] the tasks at each step."""
    _, info = stream.reset()
    tasks = []
    for _ in range(steps):
        tasks.append(info["task"])
        *_, info = stream.step(np.ones(stream.num_envs, np.int64))
    return np.array(tasks)


IN_STEPS = {
    "block:100 steps": lambda step: min(step // 100, 2),
    "cyclic:60 steps": lambda step: step // 60 % 3,
    "sweep:150 steps": lambda step: [0, 1, 2, 2, 1, 0][step // 50 % 6],
    "order:empty-6x6,0,2,1 every 80 steps": lambda step: [2, 0, 2, 1][min(step // 80, 3)],
}


@pytest.mark.parametrize("text", IN_STEPS)
def test_lives_change_task_at_once_when_the_steps_of_all_are_over(text: str) -> None:
    stream = make_stream("rooms", 5, task=ROOMS, max_steps=4, schedule=text, life_episodes=7)
    stream.reset()
    begun = set()
    for _ in range(120):
        actions = np.random.default_rng(stream.vector_steps).integers(0, 3, 5)
        *_, info = stream.step(actions)
        for slot in np.flatnonzero(info["episode_start"]):
            step = stream.vector_steps * 5
            assert info["task"][slot] == IN_STEPS[text](step)
            begun.add((slot, int(info["task"][slot])))
    assert len(begun) == 15  # whatever the age of a life, all have met all


def test_lives_that_count_episodes_change_task_each_in_its_own_time() -> None:
    tasks = [GymTask(f"{steps}", env_id="CartPole-v1", kwargs={"max_episode_steps": steps}) for steps in (60, 50)]
    spread = []
    for schedule in (Cyclic(4), InSteps(Cyclic(600))):
        stream = GymStream(tasks, 6, schedule=schedule)
        _, info = stream.reset()
        changes: list[list[int]] = [[] for _ in range(6)]
        for step in range(500):
            swaying = np.where(np.arange(6) < 3, step % 2, 0)  # the other three fall soon
            *_, info = stream.step(swaying)
            for slot in np.flatnonzero(info["task_start"]):
                changes[slot].append(step)
        third = [steps[2] for steps in changes]
        spread.append(max(third) - min(third))
    assert spread[1] < 60 < spread[0]  # steps between the first life and the last


COMBINED: dict[str, dict[str, Any]] = {
    "in steps": {"task": ROOMS, "schedule": "cyclic:30 steps"},
    "an order in steps": {"task": ROOMS, "schedule": "order:1,0,1,2 every 40 steps"},
    "an order of episodes": {"task": ROOMS, "schedule": "order:1,0,1,2 every 3"},
    "a held order in steps": {"task": ROOMS, "schedule": "cyclic:30 steps every 2"},
    "drifts in steps, tasks in episodes": {
        "task": ROOMS,
        "schedule": "cyclic:2",
        "drifts": "plain/reversed_actions",
        "drift_schedule": "cyclic:40 steps",
    },
    "orders of both": {
        "task": ROOMS,
        "schedule": "order:empty-5x5,lavagaps5,empty-5x5 every 2",
        "drifts": "plain/reversed_actions",
        "drift_schedule": "order:plain,reversed_actions,plain every 70 steps",
    },
    "an order of the drifts of one task": {
        "task": "lavagaps5",
        "drifts": "plain/reversed_actions",
        "schedule": "order:reversed_actions,plain,1 every 3",
    },
}


@pytest.mark.parametrize("name", COMBINED)
def test_a_stream_that_is_resumed_in_the_middle_goes_on_with_the_same_tasks(name: str) -> None:
    def made(seed: int) -> TaskStream:
        return make_stream("rooms", 3, max_steps=3, seed=seed, **COMBINED[name])

    whole, later = made(1), made(2)
    whole.reset()
    met: set[int] = set()
    for step in range(80):
        if step % 13 == 7:
            later = made(2)
            later.resume(whole.position())
        actions = np.random.default_rng(step).integers(0, 3, 3)
        *_, info = whole.step(actions)
        met |= {*info["task"].tolist()}
        if step >= 7:
            *_, again = later.step(actions)
            assert np.array_equal(again["task"], info["task"])
            assert np.array_equal(again["task_start"], info["task_start"])
    assert len(met) >= min(len(whole.tasks), 3)


def test_drifts_of_the_only_task_are_scheduled_by_name() -> None:
    stream = make_stream("rooms", 1, max_steps=1, **COMBINED["an order of the drifts of one task"])
    assert stream.schedule == Order((1, 0, 1), 3)
    assert tasks_of(stream, 10)[:, 0].tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 1, 1]
    gravity = make_stream("gym:CartPole-v1", drifts="plain/gravity:4", schedule="order:gravity:4,plain every 2")
    assert gravity.schedule == Order((1, 0), 2)
    wrong = {**COMBINED["an order of the drifts of one task"], "schedule": "order:plain,reversed"}
    with pytest.raises(ValueError, match=r"no task 'reversed'; did you mean 'reversed_actions'.*known: plain, rev"):
        make_stream("rooms", 1, **wrong)
    with pytest.raises(ValueError, match="no task 'plain'; known: lavagaps5"):
        make_stream("rooms", 1, task="lavagaps5", schedule="order:plain")
    paired = make_stream("rooms", 1, max_steps=3, **COMBINED["orders of both"])
    assert paired.schedule == Paired(Order((1, 0, 1), 2), InSteps(Order((0, 1, 0), 70)), 2)
    one = make_stream(
        "rooms",
        1,
        task="lavagaps5",
        schedule="order:lavagaps5",
        drifts="plain/reversed_actions",
        drift_schedule="cyclic:2",
    )
    assert one.schedule == Paired(Order((0,)), Cyclic(2), 2)


def test_a_schedule_says_whether_it_counts_steps_and_what_its_number_is() -> None:
    in_steps = InSteps(Cyclic(50))
    assert str(in_steps) == "Cyclic(steps=50), counted in environment steps of all lives together"
    for schedule in (
        in_steps,
        Held(in_steps, 2),
        Paired(Walk(1.0), in_steps, 2),
        Paired(Held(in_steps, 2), Walk(1.0), 2),
    ):
        assert counts_steps(schedule)
    for plain in (Cyclic(50), Held(Cyclic(1), 2), Paired(Walk(1.0), Cyclic(1), 2), Order(("a",))):
        assert not counts_steps(plain)


@pytest.mark.parametrize(
    ("schedule", "together"),
    [
        (InSteps(Block(500)), True),
        (Block(500), False),
        (Order((0,)), False),  # never
        (InSteps(Order((1, 1))), False),
        (Held(InSteps(Block(500)), 3), False),  # after episodes of each life
        (Paired(Order((0,)), InSteps(Cyclic(500)), 2), True),
        (Paired(InSteps(Cyclic(500)), InSteps(Cyclic(70)), 2), True),
        (Paired(Cyclic(5), InSteps(Cyclic(500)), 2), False),
        (Paired(Order((0,)), Order((1,)), 2), False),
    ],
)
def test_lives_change_together_by_steps_alone(schedule: Schedule, together: bool) -> None:
    assert changes_together(schedule) == together
