"""What a vector environment hands over is checked before it is read as steps of lives."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from lifelong.agents import Agent, HistoryWrapper, Rollout

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
OBS = np.zeros((2, 3), np.float32)
ENDS = np.zeros(2, np.bool_)
GOOD_STEP: tuple[Any, ...] = (OBS, np.zeros(2), ENDS, ENDS, {})
MANY = spaces.Dict(a=spaces.Discrete(3, start=1), b=BOX)
TEXT = spaces.Text(9)
PAIR = spaces.Tuple((BOX, spaces.MultiDiscrete([2, 3])))


class Batch(VectorEnv[Any, Any, Any]):
    """Vector environment of two slots that returns what it is given."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, space: Any, reset: Any, step: Any) -> None:
        self.num_envs, self.single_observation_space, self.single_action_space = 2, space, spaces.Discrete(2)
        self.observation_space = batch_space(space, 2)
        self.action_space = batch_space(self.single_action_space, 2)
        self.results = reset, step

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self.results[0]

    def step(self, actions: Any) -> Any:
        return self.results[1]


def step_with(place: int, value: Any) -> tuple[Any, ...]:
    return (*GOOD_STEP[:place], value, *GOOD_STEP[place + 1 :])


@pytest.mark.parametrize(
    ("space", "reset", "step", "message"),
    [
        (BOX, OBS, GOOD_STEP, r"reset\(\) must return a tuple of 2 values, got ndarray"),
        (BOX, (OBS, None), GOOD_STEP, r"info of reset\(\) must be a dict, got NoneType"),
        (BOX, (OBS[:, :1], {}), GOOD_STEP, r"observation must have the shape \[2, 3\], got \[2, 1\]"),
        (BOX, (OBS[0], {}), GOOD_STEP, r"observation must have the shape \[2, 3\], got \[3\]"),
        (BOX, (np.full((2, 3), "x"), {}), GOOD_STEP, r"observation must be numbers, got <U1"),
        (BOX, ([[0, 1], [0]], {}), GOOD_STEP, "observation must be numbers that numpy reads"),
        (MANY, ({"b": OBS}, {}), GOOD_STEP, r"observation must be a dict with the keys \['a', 'b'\], got \['b'\]"),
        (MANY, ({"a": np.array([1, 0]), "b": OBS}, {}), GOOD_STEP, r"observation 'a' must be of Discrete.*, got 0"),
        (MANY, ({"a": np.array([1.0, 2.0]), "b": OBS}, {}), GOOD_STEP, r"observation 'a' must be of .*, got float64"),
        (PAIR, ((OBS,), {}), GOOD_STEP, "observation must be a tuple of 2 entries, got tuple of "),
        (PAIR, ((OBS, np.array([[0, 3], [0, 0]])), {}), GOOD_STEP, r"observation '1' must be of MultiDisc.*, got 3"),
        (TEXT, (("go",), {}), GOOD_STEP, "observation must be 2 strings, got 1"),
        (TEXT, ("go", {}), GOOD_STEP, "observation must be 2 strings, got str"),
        (TEXT, (("go", b"on"), {}), GOOD_STEP, "observation must be strings, got bytes in slot 1"),
        (BOX, (OBS, {}), GOOD_STEP[:4], r"step\(\) must return a tuple of 5 values, got 4 values"),
        (BOX, (OBS, {}), step_with(0, OBS * np.nan), "observation must be finite and at most .*: nan"),
        (
            BOX,
            (OBS, {}),
            step_with(0, np.full((2, 3), 1e39)),
            r"observation must be finite and at most 3.403e\+38: 1e\+39",
        ),
        (BOX, (np.ma.array(OBS, mask=OBS == 0), {}), GOOD_STEP, "observation must hold no masked values, got 6 of 6"),
        (BOX, (OBS, {}), step_with(1, np.ma.array([0.0, 1.0], mask=[0, 1])), "reward must hold no masked values"),
        (BOX, (OBS, {}), step_with(2, np.ma.array([0, 1], mask=[0, 1])), "terminated must hold no masked values"),
        (BOX, (OBS, {}), step_with(1, np.zeros((2, 1))), r"reward must have the shape \[2\], got \[2, 1\]"),
        (BOX, (OBS, {}), step_with(1, np.array([0.0, np.nan])), r"reward must be finite .* got nan in slot 1"),
        (BOX, (OBS, {}), step_with(1, np.array([1e39, 0.0])), r"reward must be finite .*, got 1e\+39 in slot 0"),
        (BOX, (OBS, {}), step_with(2, np.zeros(2)), "terminated must be true or false, got float64"),
        (BOX, (OBS, {}), step_with(3, np.array([0, 2])), "truncated must be true or false, got int64"),
        (BOX, (OBS, {}), step_with(3, False), r"truncated must have the shape \[2\], got \[\]"),
        (BOX, (OBS, {}), step_with(4, []), "info must be a dict, got list"),
    ],
)
def test_a_broken_vector_environment_is_refused_by_name(space: Any, reset: Any, step: Any, message: str) -> None:
    env = HistoryWrapper(Batch(space, reset, step))
    with pytest.raises(ValueError, match=f"environment Batch: {message}"):  # noqa: PT012  either may be the first
        env.reset()
        env.step(np.zeros(2, np.int64))


def test_integers_count_as_flags() -> None:
    env = HistoryWrapper(Batch(BOX, (OBS, {}), step_with(2, np.array([0, 1]))))
    env.reset()
    _, _, terminated, truncated, info = env.step(np.zeros(2, np.int64))
    assert terminated.tolist() == [False, True]
    assert not truncated.any()
    assert info["episodes"]["life"].tolist() == [1]


@pytest.mark.parametrize("many", [tuple, list, np.array])
def test_texts_are_strings_and_hashed(many: Any) -> None:
    texts, later = many(["go", "on"]), many(["on", "stop"])
    step = later, np.zeros(2), ENDS, np.array([True, False]), {"final_obs": many(["go", "stop"])}
    env = HistoryWrapper(Batch(TEXT, (texts, {}), step))
    first = env.reset()[0]["observation"]
    assert first.shape == (2, 18)
    second, *_, info = env.step(np.zeros(2, np.int64))
    assert (second["observation"][0] == first[1]).all()
    assert (info["final_obs"]["observation"][0] == first[0]).all()


@pytest.mark.parametrize("reset", [OBS, (OBS, None), (OBS[:, :1], {})])
def test_a_rollout_checks_the_first_observation(reset: Any) -> None:
    env = Batch(BOX, reset, GOOD_STEP)
    with pytest.raises(ValueError, match=r"environment Batch: (reset|info|observation)"):
        Rollout(Agent.for_spaces(env, width=8), env)
