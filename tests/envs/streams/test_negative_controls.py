from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from lifelong.envs import STREAMS, make_stream
from lifelong.envs.extras import is_installed
from lifelong.envs.references.certificate import load
from lifelong.envs.references.negative_controls import Identifying, control_policies
from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.schedules import Cyclic
from lifelong.envs.streams.negative_controls import (
    Control,
    cartpole_length,
    cartpole_physics,
    cartpole_sign,
    inverted_pendulum_gear,
    pendulum_sign,
    reacher_sign,
)

CONTROLS = [
    "cartpole-sign",
    "cartpole-length",
    "cartpole-physics",
    "pendulum-sign",
    "inverted-pendulum-gear",
    "reacher-sign",
]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings where it stands


def by_task(stream: Control, policy: str) -> list[float]:
    """Return the mean return of each task's episodes, one of each per life."""
    rows = play(stream, reference_policies(stream)[policy](), len(stream.tasks))
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


def test_a_cart_is_pushed_the_right_way_whatever_its_gear() -> None:
    pytest.importorskip("mujoco")
    stream = inverted_pendulum_gear(2, schedule=Cyclic(1))
    assert by_task(stream, "oracle") == [1000] * 3
    assert by_task(stream, "within") == [1000] * 3, "one step tells the gear"
    for gear in ("plain", "gear x 0.4"):
        plain, weak, wrong = by_task(stream, f"only {gear}")
        assert (plain, weak) == (1000, 1000)
        assert wrong < 15
    plain, weak, turned = by_task(stream, "only reversed")
    assert max(plain, weak) < 25
    assert turned == 1000


def test_an_arm_goes_to_its_target_whatever_its_joints_do() -> None:
    pytest.importorskip("mujoco")
    stream = reacher_sign(10, schedule=Cyclic(1))
    oracle, within, random = (by_task(stream, name) for name in ("oracle", "within", "random"))
    assert min(oracle) > -5.1, "what a regulator by the Jacobian is known to get"
    assert within[0] == oracle[0]
    assert within == pytest.approx(oracle, abs=2.5), "only its first torques may have been the wrong ones"
    assert max(random) < -35
    for number, fixed in enumerate(("plain", "reversed", "swapped")):
        got = by_task(stream, f"only {fixed}")
        assert got[number] == oracle[number]
        assert max(got[:number] + got[number + 1 :]) < -45, "worse than doing nothing, and than random torques"


def test_random_torques_of_two_joints_are_drawn_apart() -> None:
    pytest.importorskip("mujoco")
    stream = reacher_sign(2)
    policy = reference_policies(stream)["random"]()
    seen, info = stream.reset()
    drawn = np.stack([policy.act(seen, info["life_start"]) for _ in range(200)])
    assert np.abs(drawn).max() <= 1
    assert np.abs(np.corrcoef(drawn.reshape(200, 4).T) - np.eye(4)).max() < 0.3  # of 200 numbers, 4 standard errors


def test_the_task_is_found_in_one_step() -> None:
    # CartPole's push changes the speed by about .2 in a step, to one side or the other: squared, far more than 1e-6.
    stream = cartpole_sign(2, schedule=Cyclic(1))
    policy = control_policies(stream)["cross"]()
    assert isinstance(policy, Identifying)
    seen, info = stream.reset()
    stream.task[:] = [0, 1]
    stream._begin_episodes(np.arange(2))
    seen = stream._observation()
    seen, _, _, _, info = stream.step(policy.act(seen, info["life_start"]))
    policy.act(seen, info["life_start"])
    assert policy.guess.tolist() == [0, 1]
    assert policy.error[0, 0] < 1e-12 < 0.1 < policy.error[0, 1]
    assert policy.error[1, 1] < 1e-12 < 0.1 < policy.error[1, 0]


@pytest.mark.parametrize("name", CONTROLS)
def test_they_are_certified_as_controls(name: str) -> None:
    certificate = load(name)[0]
    assert certificate.control
    assert certificate.conflict == name.endswith(("sign", "gear"))
    if not is_installed(STREAMS[name].extra):
        return
    tasks = {task.name for task in make_stream(name).tasks}
    assert all(set(score.tasks or ()) == tasks for score in certificate.scores.values())


@pytest.mark.parametrize("name", ["inverted-pendulum-gear", "reacher-sign", "gym:Ant-v5"])
def test_without_mujoco_it_is_said_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled("MuJoCo is not installed")

    monkeypatch.setattr("gymnasium.make", missing)
    monkeypatch.setattr("lifelong.envs.extras.is_installed", lambda extra: False)
    with pytest.raises(ValueError, match=r"-v5': MuJoCo is not .*pip install 'lifelong-rl\[mujoco\]'"):
        make_stream(name)


def test_settings_reach_the_stream() -> None:
    settings: dict[str, Any] = {"schedule": "hazard:0.5", "life_episodes": 7, "boundary": "flag", "seed": 5}
    stream = make_stream("cartpole-sign", 2, **settings)
    assert (stream.life_episodes, stream.boundary, stream.seed) == (7, "flag", 5)
    with pytest.raises(TypeError, match="speed"):
        make_stream("cartpole-sign", speed=3)
