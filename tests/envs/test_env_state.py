"""Long episodes are brought back by the state that their environment offers, and by the actions since."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lifelong.envs import GymStream, StreamError, gym_stream
from lifelong.envs.entries import ContractError
from lifelong.envs.env_state import offers_state, put_state, take_state
from lifelong.envs.gym_stream import make_task
from lifelong.envs.gym_task import GymTask


class Walk(gymnasium.Env[Any, Any]):
    """A walk of two numbers by its own random ones; `fault` says how its state falls short."""

    def __init__(self, fault: str = "", limit: int = 0) -> None:
        self.observation_space, self.action_space = spaces.Box(-np.inf, np.inf, (2,), np.float64), spaces.Discrete(3)
        self.fault, self.limit = fault, limit

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.count = np.zeros(2), 0
        return self.place.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        if self.count == self.limit:
            raise ZeroDivisionError("the end")
        self.place = 0.99 * self.place + (action - 1) * self.np_random.normal(size=2)
        return self.place.copy(), float(self.place.sum()), False, False, {}

    def get_state(self) -> Any:
        if self.fault == "raises":
            raise NotImplementedError("not yet")
        return {
            "place": 0 * self.place if self.fault == "forgets" else self.place.copy(),
            "count": self.count,
            "more": (object() if self.fault == "odd" else None, [b"bytes", np.float32(0.5), True, "text", 2**200]),
        }

    def set_state(self, state: Any) -> None:
        if self.fault == "refuses":
            raise KeyError("place")
        assert state["more"] == (None, [b"bytes", np.float32(0.5), True, "text", 2**200])
        assert type(state["more"][1][1]) is np.float32
        self.place, self.count = state["place"].copy(), state["count"]


class Remembering(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrapper of which nobody knows what it keeps."""


@pytest.fixture(autouse=True)
def walk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gym_stream, "EVERY", 10)
    gymnasium.register("Walk-v0", Walk, max_episode_steps=93)
    gymnasium.register("Wrapped-v0", lambda: Remembering(Walk()))
    yield
    del gymnasium.registry["Walk-v0"], gymnasium.registry["Wrapped-v0"]


def stream_of(num_envs: int = 2, **kwargs: Any) -> GymStream:
    return GymStream(GymTask("Walk-v0", kwargs=kwargs), num_envs)


def lived(stream: GymStream, steps: int) -> GymStream:
    stream.reset(seed=3)
    go_on(stream, steps)
    return stream


def go_on(stream: GymStream, steps: int) -> list[Any]:
    """Step by actions that depend on the life's step alone; return what came."""
    return [
        (obs["observation"].tolist(), reward.tolist(), cut.tolist())
        for _ in range(steps)
        for obs, reward, _, cut, _ in [stream.step((7 * stream.life_step + stream.life) % 3)]
    ]


@pytest.mark.parametrize("steps", [5, 15, 20, 25, 92, 97, 130])
def test_a_resumed_stream_goes_on_alike_by_few_actions(steps: int) -> None:
    stream = lived(stream_of(), steps)
    position = stream.position()
    in_episode = steps % 93
    kept = in_episode > 20 or (steps > 93 and in_episode > 10)  # the first two states try each other out
    assert ("states" in position) == kept
    assert len(position["actions"]) == 2 * ((in_episode - 1) % 10 + 1 if kept else in_episode)
    resumed, copied = stream_of(), copy.deepcopy(stream)
    resumed.resume(position)
    first = go_on(stream, 200)
    assert go_on(resumed, 200) == first
    assert go_on(copied, 200) == first
    ends = [steps + n for n, (*_, cut) in enumerate(first, 1) if any(cut)]
    assert ends == [end for end in range(93, steps + 201, 93) if end > steps]  # the limit counts the steps before it
    alone = stream_of(1)
    alone.resume(alone.position_of(position, [1]))
    assert [obs for (obs,), *_ in go_on(alone, 50)] == [obs[1] for obs, *_ in first[:50]]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("forgets", "it does not bring the episode back"),
        ("raises", "NotImplementedError: not yet"),
        ("odd", "TypeError: a object cannot be kept"),
        ("refuses", "ContractError: set_state() raised KeyError: 'place'"),
    ],
)
def test_a_state_that_falls_short_is_told_once_and_the_episode_is_replayed(fault: str, said: str) -> None:
    stream = stream_of(fault=fault)
    with pytest.warns(RuntimeWarning, match=f"'Walk-v0': its get_state is not used, {re.escape(said)}") as told:
        lived(stream, 45)
    assert len(told) == 1
    position = stream.position()
    assert "states" not in position
    assert len(position["actions"]) == 90
    resumed = stream_of(fault=fault)
    resumed.resume(position)
    assert go_on(resumed, 5) == go_on(stream, 5)


def test_under_other_wrappers_and_drifts_no_state_is_taken() -> None:
    assert offers_state(make_task(GymTask("Walk-v0")))
    assert not offers_state(make_task(GymTask("Wrapped-v0")))
    assert not offers_state(make_task(GymTask("Pendulum-v1")))
    assert "states" not in lived(GymStream("Wrapped-v0"), 45).position()


def test_a_broken_episode_is_reported_with_the_state_that_its_actions_go_on_from() -> None:
    with pytest.raises(StreamError, match="ZeroDivisionError: the end") as error:
        lived(stream_of(limit=33), 40)
    report = error.value.report
    assert report["state_step"] == 30
    assert len(report["actions"]) == 3
    assert report["state"]


def test_bytes_that_are_no_state_are_refused() -> None:
    env = make_task(GymTask("Walk-v0"))
    env.reset(seed=0)
    state = take_state(env)
    for wrong in (b"", b"[]", b"[1]", state[:-5], b'[{"pickle":"x"},{}]', b'[{"array":["|O",[1],""]},1]', b"[" * 10**5):
        with pytest.raises(ValueError, match="the state of an environment cannot be read"):
            put_state(env, wrong, 3)
    with pytest.raises(ContractError, match="set_state"):
        put_state(env, b"[3,4]", 3)
    with pytest.raises(ValueError, match="offers no state"):
        put_state(make_task(GymTask("Pendulum-v1")), state, 3)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("state_step", lambda x: x + 100),
        ("state_step", lambda x: x - 100),
        ("state_step", lambda x: x.astype(np.float64)),
        ("state_step", lambda x: x - 1),
        ("state_bytes", lambda x: x + 1),
        ("state_bytes", lambda x: x[:1]),
        ("state_return", lambda x: x * np.nan),
        ("states", lambda x: x[:-1]),
        ("states", lambda x: x.astype(np.int64)),
        ("states", lambda x: 0 * x),
        ("actions", lambda x: x[:-1]),
    ],
)
def test_positions_that_do_not_fit_are_refused(name: str, change: Any) -> None:
    position = lived(stream_of(), 45).position()
    with pytest.raises(ValueError, match=r"position has|cannot be read"):
        stream_of().resume(position | {name: change(position[name])})


def test_a_changed_return_or_state_is_noticed() -> None:
    position = lived(stream_of(), 45).position()
    with pytest.raises(StreamError, match="its state after 40 steps and 5 actions it has the return"):
        stream_of().resume(position | {"state_return": position["state_return"] + 1})
