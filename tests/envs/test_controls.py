from typing import Any

import numpy as np
import pytest

from lifelong.envs import make_stream
from lifelong.envs.certificate import load
from lifelong.envs.controls import Control, cartpole_length, cartpole_physics, cartpole_sign, pendulum_sign
from lifelong.envs.controls_policies import Identifying, control_policies
from lifelong.envs.policy import play
from lifelong.envs.schedule import Cyclic


def by_task(stream: Control, policy: str) -> list[float]:
    """Return the mean return of each task's episodes, one of each per life."""
    rows = play(stream, stream.policies()[policy](), len(stream.tasks))
    return [float(rows["return"][rows["task"] == number].mean()) for number in range(len(stream.tasks))]


def test_what_balances_one_sign_throws_the_other_over() -> None:
    stream = cartpole_sign(3, schedule=Cyclic(1))
    plain, other = by_task(stream, "only plain")
    assert plain == 500
    assert other < 12
    assert by_task(stream, "only reversed")[0] < 12
    assert by_task(stream, "oracle") == [500, 500]
    assert by_task(stream, "within") == [500, 500], "two steps tell the sign"


def test_one_regulator_balances_poles_of_all_lengths() -> None:
    stream = cartpole_length(2, schedule=Cyclic(1))
    plain, short, long, longest = by_task(stream, "only plain")
    assert plain == short == 500
    assert max(long, longest) < 60
    assert by_task(stream, "only steady") == [500] * 4
    assert by_task(stream, "oracle") == [500] * 4
    assert by_task(stream, "within") == [500] * 4


def test_one_policy_balances_whatever_the_physics() -> None:
    stream = cartpole_physics(1, schedule=Cyclic(1))
    assert by_task(stream, "only plain") == [500] * 7
    assert by_task(stream, "within") == [500] * 7


def test_a_pendulum_is_swung_up_and_held() -> None:
    stream = pendulum_sign(20, schedule=Cyclic(1))
    oracle, within, wrong = (by_task(stream, name) for name in ("oracle", "within", "only plain"))
    assert min(oracle) > -200
    assert wrong[0] == oracle[0]
    assert wrong[1] < -1200, "worse than random torques"
    assert within == pytest.approx(oracle, abs=20), "only its first torque may have been the wrong one"


def test_the_task_is_found_in_one_step() -> None:
    # CartPole's push changes the speed by about .2 in a step, to one side or the other: squared, far more than 1e-6.
    stream = cartpole_sign(2, schedule=Cyclic(1))
    policy = control_policies(stream)["cross"]()
    assert isinstance(policy, Identifying)
    seen, info = stream.reset()
    stream.task[:] = [0, 1]
    stream._begin(np.arange(2))
    seen = stream._look()
    seen, _, _, _, info = stream.step(policy.act(seen, info["life_start"]))
    policy.act(seen, info["life_start"])
    assert policy.guess.tolist() == [0, 1]
    assert policy.error[0, 0] < 1e-12 < 0.1 < policy.error[0, 1]
    assert policy.error[1, 1] < 1e-12 < 0.1 < policy.error[1, 0]


@pytest.mark.parametrize("name", ["cartpole-sign", "cartpole-length", "cartpole-physics", "pendulum-sign"])
def test_they_are_certified_as_controls(name: str) -> None:
    certificate = load(name)[0]
    assert certificate.control
    assert certificate.conflict == name.endswith("sign")
    tasks = {task.name for task in make_stream(name).tasks}
    assert all(set(score.tasks or ()) == tasks for score in certificate.scores.values())


def test_settings_reach_the_stream() -> None:
    settings: dict[str, Any] = {"schedule": "hazard:0.5", "life_episodes": 7, "boundary": "flag", "seed": 5}
    stream = make_stream("cartpole-sign", 2, **settings)
    assert (stream.life_episodes, stream.boundary, stream.seed) == (7, "flag", 5)
    with pytest.raises(TypeError, match="speed"):
        make_stream("cartpole-sign", speed=3)
