"""Copies and pickles of streams: a world that goes on as the original does."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from lifelong.envs import STREAMS, StreamError, make_single, make_stream, make_vector
from lifelong.envs.check import _same
from lifelong.envs.extras import is_installed

IDS = [
    name
    for name, spec in gymnasium.registry.items()
    if name.startswith("lifelong/") and spec.kwargs.get("name") in (None, *STREAMS) and "MetaWorld-v0" not in name
]


def pickled(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))  # noqa: S301  our own


every_way = pytest.mark.parametrize("twin_of", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])


def live(env: Any, twin_of: Callable[[Any], Any], *, steps: int = 200) -> None:
    """Compare random steps of an environment in the middle of an episode and of its copy."""
    env.reset(seed=3)
    env.action_space.seed(0)
    for _ in range(37):
        if any(env.step(env.action_space.sample())[2:4]):
            env.reset()
    twin = twin_of(env)
    for step in range(steps):
        action = env.action_space.sample()
        want = env.step(action)
        _same(f"step {step}", twin.step(action), want)
        if want[2] or want[3]:
            if step % 3 == 0:
                twin = twin_of(env)  # after the end, before the next episode
            _same(f"reset after step {step}", twin.reset(), env.reset())


@every_way
@pytest.mark.parametrize("name", IDS)
def test_a_copy_of_an_environment_goes_on_alike(name: str, twin_of: Callable[[Any], Any]) -> None:
    made = gymnasium.spec(name).kwargs.get("name")
    if made and not is_installed(STREAMS[made].extra):
        pytest.skip(f"needs {STREAMS[made].extra}")
    seeded = made or name.endswith("ColourRoom-v0")  # others draw their later episodes from a generator of their own
    live(gymnasium.make(name), twin_of, steps=200 if seeded else 20)


STREAMS_WITH_DRIFTS: dict[str, Callable[[], Any]] = {
    "rooms": lambda: make_stream(
        "rooms",
        3,
        task="lavagaps5",
        max_steps=8,
        drifts="plain/reversed_actions+sticky_actions/rotated_observations+delayed_actions:2+delayed_rewards:2"
        "/shuffled_observations",
        schedule="hazard:0.5",
    ),
    "cued-recall": lambda: make_stream(
        "cued-recall",
        3,
        cues=4,
        drifts="noisy_observations:0.3,cue+scaled_rewards:-1/plain/shuffled_actions",
        drift_schedule="redrawn:2",
    ),
    "CartPole": lambda: make_stream("gym:CartPole-v1", 3, drifts="gravity:3+sticky_actions/noisy_observations/plain"),
    "tasks of other spaces": lambda: make_stream(
        "gym:", 3, tasks=["CartPole-v1", "Acrobot-v1"], unify=True, schedule="cyclic:1"
    ),
    "a hazard": lambda: make_stream("reversal", 3, life_episodes=None, life_hazard=0.2),
}


@every_way
@pytest.mark.parametrize("make", STREAMS_WITH_DRIFTS.values(), ids=STREAMS_WITH_DRIFTS)
def test_a_copy_of_a_stream_with_drifts_goes_on_alike(make: Callable[[], Any], twin_of: Callable[[Any], Any]) -> None:
    stream = make()
    stream.reset(seed=3)
    stream.action_space.seed(0)
    for _ in range(37):
        stream.step(stream.action_space.sample())
    twin = twin_of(stream)
    for step in range(200):
        actions = stream.action_space.sample()
        _same(f"step {step}", twin.step(actions), stream.step(actions))
    _same("the position", twin.position(), stream.position())


@every_way
@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", ["cartpole-sign", "rooms", "cued-recall"])
def test_a_copy_of_a_vector_environment_goes_on_alike(
    name: str, mode: AutoresetMode, twin_of: Callable[[Any], Any]
) -> None:
    """Also where it is copied after an episode's end and before the next begins."""
    env: Any = make_vector(name, 3, autoreset_mode=mode, **({"max_steps": 7} if name == "rooms" else {}))
    env.reset(seed=3)
    env.action_space.seed(0)
    twin = twin_of(env)
    for step in range(100):
        actions = env.action_space.sample()
        result = env.step(actions)
        _same(f"step {step}", twin.step(actions), result)
        over = result[2] | result[3]
        if over.any():
            twin = twin_of(env)
        if over.any() and mode is AutoresetMode.DISABLED:
            options = {"reset_mask": over}
            _same(f"reset after step {step}", twin.reset(options=options), env.reset(options=options))


@every_way
def test_a_copy_before_the_first_reset_begins_anew(twin_of: Callable[[Any], Any]) -> None:
    env = make_single("cartpole-sign")
    twin = twin_of(env)
    _same("reset", twin.reset(seed=4), env.reset(seed=4))


def test_a_copy_leaves_the_original_alone() -> None:
    env, alone = (make_stream("rooms", 2, task="doorkey-5x5") for _ in range(2))
    env.reset(seed=1)
    alone.reset(seed=1)
    twin = copy.deepcopy(env)
    for _ in range(20):
        twin.step(np.array([2, 1]))
    _same("the position", env.position(), alone.position())


def test_an_environment_that_does_not_repeat_itself_cannot_be_copied() -> None:
    stream = make_stream("gym:CartPole-v1")
    stream.reset(seed=0)
    stream.step(np.array([0]))
    stream._taken.begin(0)  # type: ignore[attr-defined]
    with pytest.raises(StreamError, match="resumed by its seed and 0 actions it has the return"):
        copy.deepcopy(stream)
