"""The planner solves MiniGrid and BabyAI levels, and raises where it cannot."""

from typing import Any

import numpy as np
import pytest

from lifelong.envs import (
    GymStream,
    GymTask,
    RemappedColours,
    ReversedActions,
    ScaledRewards,
    ShuffledActions,
    StickyActions,
    make_stream,
)
from lifelong.envs.references.certificate import certify
from lifelong.envs.references.minigrid import Planner
from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.rooms.tasks import TASKS

pytest.importorskip("minigrid")


def solved(stream: GymStream, episodes: int) -> tuple[Planner, Any]:
    planner = reference_policies(stream)["oracle"]()
    assert isinstance(planner, Planner)
    return planner, play(stream, planner, episodes)["return"]


@pytest.mark.parametrize("level", ["GoToRedBallGrey", "GoToLocal", "PutNextLocal", "OpenDoor", "PickupLoc", "Pickup"])
def test_the_bot_solves_levels_of_baby_ai(level: str) -> None:
    planner, returns = solved(GymStream(f"BabyAI-{level}-v0", 2), 3)
    assert planner.given_up == 0
    assert returns.min() > 0.5


@pytest.mark.parametrize("name", ["doorkey-5x5", "keycorridors3r1", "memorys7", "unlock", "multiroom-n2-s4"])
def test_the_shortest_way_is_what_rooms_expects(name: str) -> None:
    task = TASKS[name]
    planner, returns = solved(GymStream(task.minigrid_id, 4), 10)
    assert planner.given_up == 0
    assert returns.min() > 0
    assert returns.mean() == pytest.approx(task.oracle, abs=3 * float(returns.std()) / 40**0.5)


def test_it_acts_through_exchanged_actions_and_other_looks() -> None:
    drifts = [(), [ReversedActions()], [ShuffledActions(1), ReversedActions()], [RemappedColours(1)]]
    tasks = [GymTask(str(i), env_id="BabyAI-GoToObj-v0", drifts=some) for i, some in enumerate(drifts)]
    stream = GymStream(tasks, 2, seed=5)
    rows = play(stream, reference_policies(stream)["oracle"](), 8)
    for number in range(4):
        assert rows["return"][rows["task"] == number].min() > 0.5


def test_it_goes_on_in_the_middle_of_an_episode() -> None:
    stream = GymStream("MiniGrid-DoorKey-5x5-v0", seed=2)
    stream.reset()
    for action in (0, 1, 1):
        stream.step(np.array([action]))
    planner = Planner(stream)
    info: dict[str, Any] = {}
    while "episodes" not in info:
        *_, info = stream.step(planner.act({}, np.zeros(1, np.bool_)))
    assert info["episodes"]["return"][0] > 0.8


def test_a_level_that_the_bot_cannot_solve_is_given_up_and_counted() -> None:
    task = GymTask("BabyAI-KeyInBox-v0", kwargs={"max_steps": 6})
    planner, returns = solved(GymStream(task, 2), 3)
    assert planner.given_up == 6, "each episode counts once"
    assert not returns.any()


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="no way through MiniGrid-Fetch-5x5-N2-v0 can be planned; known are BabyAI's"):
        reference_policies(GymStream("MiniGrid-Fetch-5x5-N2-v0"))
    for drift in (StickyActions(0.5), ScaledRewards(-1.0)):
        with pytest.raises(ValueError, match=rf"no way through 'x' can be planned with {type(drift).__name__}"):
            reference_policies(GymStream(GymTask("x", env_id="BabyAI-GoToObj-v0", drifts=[drift])))
    with pytest.raises(ValueError, match="'y' is not MiniGrid-Empty-5x5-v0 as it comes: width=7"):
        reference_policies(GymStream(GymTask("y", env_id="MiniGrid-Empty-5x5-v0", kwargs={"size": 7})))
    assert reference_policies(GymStream("CartPole-v1")) == {}


def test_such_streams_can_be_certified() -> None:
    stream = make_stream("gym:BabyAI-GoToObj-v0", 4)
    certificate = certify("gym:BabyAI-GoToObj-v0", stream, 2, {}, "0")
    assert certificate.scores["random"].mean < 0.5 < certificate.scores["oracle"].mean
    assert certificate.control is None
    assert certificate.scores["oracle"].given_up == 0
