"""What an environment hands over passes a gate: whatever is wrong is named, with the seed and actions that show it."""

import copy
import json
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lifelong.envs import GymStream, GymTask, StreamError, VectorStream
from lifelong.envs.entries import entry_check
from lifelong.envs.gate import end_of_episode
from lifelong.envs.gym_stream import make_task
from lifelong.envs.parse import parse_drifts

F3 = spaces.Box(-1.0, 1.0, (3,), np.float32)
F8 = spaces.Box(-np.inf, np.inf, (2,), np.float64)
U2 = spaces.Box(0, 255, (2,), np.uint8)
TEXT = spaces.Text(9)
D4 = spaces.Discrete(4)
D4_FROM_5 = spaces.Discrete(4, start=5)
M23 = spaces.MultiDiscrete([2, 3])
B2 = spaces.MultiBinary(2)
AB = spaces.Dict(a=F3, b=spaces.Discrete(2))
PAIR = spaces.Tuple((F3, spaces.Discrete(2)))
ZEROS = np.zeros(3, np.float32)


class Foreign(gymnasium.Env[Any, Any]):
    """Hands over samples of its space; in step `when`, counted from the reset, what `fault` makes of them."""

    def __init__(
        self,
        space: Any = F3,
        fault: Callable[[tuple[Any, ...]], Any] = lambda result: result,
        when: int = 2,
        build: Callable[[], Any] = lambda: None,
        close: Callable[[], Any] = lambda: None,
        act: Any = spaces.Discrete(2),  # noqa: B008
        picture: Callable[[], Any] = lambda: np.zeros((4, 5, 3), np.uint8),
        render_mode: str | None = None,
    ) -> None:
        build()
        self.observation_space, self.action_space = space, act
        self.picture = picture
        self.fault, self.when, self._close, self.render_mode = fault, when, close, render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.count = 0
        pair = self.observation_space.sample(), {}
        return self.fault(pair) if self.when == 0 else pair

    def step(self, action: Any) -> Any:
        self.count += 1
        result = self.observation_space.sample(), 0.5, self.count == 4, False, {}
        return self.fault(result) if self.count == self.when else result

    def render(self) -> Any:
        return self.picture()

    def close(self) -> None:
        self._close()


@pytest.fixture(autouse=True)
def foreign() -> Iterator[None]:
    gymnasium.register("Foreign-v0", Foreign)
    yield
    del gymnasium.registry["Foreign-v0"]


def stream_of(num_envs: int = 1, **kwargs: Any) -> GymStream:
    return GymStream(GymTask("abroad", env_id="Foreign-v0", kwargs=kwargs), num_envs)


def at(place: int, value: Any) -> Callable[[tuple[Any, ...]], Any]:
    """Return a fault: another value at one place of the result."""
    return lambda result: (*result[:place], value, *result[place + 1 :])


def says(value: Any) -> Callable[[tuple[Any, ...]], Any]:
    """Return a fault: an episode that ends with something in `info`."""
    return lambda result: (*result[:2], True, False, value)


def raises(error: BaseException) -> Callable[..., Any]:
    def fault(*_: Any) -> Any:
        raise error

    return fault


class Fatal(BaseException):
    """As the panics of other languages' bindings are."""


class Unshown:
    """An object that neither numpy nor a message can read."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no array")

    def __repr__(self) -> str:
        raise KeyError("no text")


OBSERVATIONS = [
    (F3, np.float32(0.5), r"observation must have the shape \[3\], got \[\]: np.float32\(0.5\)"),
    (F3, 0.5, r"observation must have the shape \[3\], got \[\]: 0.5"),
    (F3, np.zeros(1, np.float32), r"observation must have the shape \[3\], got \[1\]"),
    (F3, np.zeros((1, 3), np.float32), r"observation must have the shape \[3\], got \[1, 3\]"),
    (F3, [0.0, [1.0]], r"observation must be numbers of the shape \[3\], got \[0.0, \[1.0\]\] \(list of 2\)"),
    (F3, ["0", "0", "0"], r"observation must be numbers of the shape \[3\], got \['0', '0', '0'\]"),
    (F3, Unshown(), r"observation must be numbers of the shape \[3\], got what cannot be shown \(Unshown\)"),
    (F3, None, r"observation must be numbers of the shape \[3\], got None"),
    (F3, np.zeros(3, np.complex64), r"observation must be numbers of the shape \[3\]"),
    (F3, np.array([0, np.nan, 0], np.float32), "observation must be finite: nan"),
    (F3, np.array([0, 0, -np.inf]), "observation must be finite: -inf"),
    (F8, np.array([0, 1e300]), r"observation must be at most 3.403e\+38, which float32 holds: 1e\+300"),
    (F3, np.ma.array(ZEROS, mask=[0, 1, 1]), "observation must hold no masked values, got 2 of 3; numpy.ma.filled"),
    (AB, {"a": ZEROS, "b": np.ma.masked}, "observation 'b' must hold no masked values, got 1 of 1"),
    (U2, np.array([3.0, 300.7]), r"observation must be whole numbers that uint8 holds, got 300.7 of float64 at \[1\]"),
    (U2, np.array([-1, 3]), r"observation must be whole numbers that uint8 holds, got -1 of int64 at \[0\]"),
    (U2, np.array([256, 3]), r"observation must be whole numbers that uint8 holds, got 256 of int64 at \[0\]"),
    (U2, np.array([np.nan, 3]), r"observation must be whole numbers that uint8 holds, got nan of float64 at \[0\]"),
    (U2, np.array([np.inf, 3]), r"observation must be whole numbers that uint8 holds, got inf of float64 at \[0\]"),
    (D4, 4, r"observation must be a whole number from 0 to 3, got 4 \(int\)"),
    (D4, np.int64(-1), r"observation must be a whole number from 0 to 3, got np.int64\(-1\)"),
    (D4, 1.5, "observation must be a whole number from 0 to 3, got 1.5"),
    (D4, np.inf, "observation must be a whole number from 0 to 3, got inf"),
    (D4, np.array([1]), r"observation must have the shape \[\], got \[1\]"),
    (D4, "1", r"observation must be numbers of the shape \[\], got '1' \(str\)"),
    (D4_FROM_5, 1, "observation must be a whole number from 5 to 8, got 1"),
    (M23, np.array([1, 3]), r"observation must be 0 to 2 at \[1\], got 3"),
    (M23, np.array([-1, 2]), r"observation must be 0 to 1 at \[0\], got -1"),
    (M23, np.array([1]), r"observation must have the shape \[2\], got \[1\]"),
    (M23, np.array([0.5, 1]), "observation must be whole numbers that int64 holds, got 0.5"),
    (B2, np.array([0, 2], np.int8), r"observation must be 0 to 1 at \[1\], got 2"),
    (AB, {"a": ZEROS}, r"observation must have the keys \['a', 'b'\], got \['a'\]"),
    (AB, {"a": ZEROS, "b": 1, "c": 1}, r"observation must have the keys \['a', 'b'\], got \['a', 'b', 'c'\]"),
    (AB, {"a": ZEROS[:1], "b": 1}, r"observation 'a' must have the shape \[3\], got \[1\]"),
    (AB, {"a": ZEROS, "b": 2}, "observation 'b' must be a whole number from 0 to 1, got 2"),
    (AB, {"a": ZEROS + np.inf, "b": 1}, "observation 'a' must be finite: inf"),
    (AB, ZEROS, r"observation must be a dict with the keys \['a', 'b'\], got array"),
    (PAIR, (ZEROS,), "observation must be a tuple of 2 entries, got"),
    (PAIR, 3, r"observation must be a tuple of 2 entries, got 3 \(int\)"),
    (TEXT, b"go", r"observation must be a string, got b'go' \(bytes\)"),
    (TEXT, None, "observation must be a string, got None"),
    (TEXT, np.array("go"), "observation must be a string, got array"),
    (spaces.Dict(a=TEXT), {"a": 3}, "observation 'a' must be a string, got 3"),
    (PAIR, (ZEROS, 2), "observation '1' must be a whole number from 0 to 1, got 2"),
]

RESULTS = [
    (0, lambda result: result[0], r"reset\(\) must return the pair \(observation, info\), got array"),
    (0, lambda result: list(result), r"reset\(\) must return the pair \(observation, info\), got \[.*list of 2"),
    (0, lambda result: None, r"reset\(\) must return the pair .*, got None"),
    (0, at(1, None), r"info of reset\(\) must be a dict, got None"),
    (0, at(0, ZEROS + 5), "observation must lie within the bounds of its space, -1 to 1 at .0., got 5"),
    (1, at(0, ZEROS - 5), "observation must lie within the bounds of its space, -1 to 1 at .0., got -5"),
    (0, raises(OSError("no disk")), r"reset\(\) raised OSError: no disk"),
    (2, raises(SystemExit(1)), r"step\(\) raised SystemExit: 1"),
    (2, raises(Fatal("index out of bounds")), r"step\(\) raised Fatal: index out of bounds"),
    (2, lambda result: (*result[:3], {}), r"step\(\) must return the tuple .*four, gymnasium's return five"),
    (2, lambda result: list(result), r"step\(\) must return the tuple .*list of 5"),
    (2, lambda result: result[0], r"step\(\) must return the tuple"),
    (2, at(1, np.zeros(1)), r"reward must be a number, got array\(\[0.\]\) \(ndarray of float64, shape \[1\]\)"),
    (2, at(1, [1.0]), r"reward must be a number, got \[1.0\] \(list of 1\)"),
    (2, at(1, "1"), r"reward must be a number, got '1' \(str\)"),
    (2, at(1, None), "reward must be a number, got None"),
    (2, at(1, 1j), "reward must be a number, got 1j"),
    (2, at(1, np.ma.masked), "reward must be a number, got masked"),
    (2, at(1, float("nan")), "reward must be finite: nan"),
    (2, at(1, np.float32("inf")), "reward must be finite: inf"),
    (2, at(1, -1e39), r"reward must be at most 3.403e\+38, which float32 holds: -1e\+39"),
    (2, at(1, 10**400), "reward must be finite: inf"),
    (2, at(2, None), "terminated must be true or false, or the integers 0 or 1, got None"),
    (2, at(2, np.array([False])), "terminated must be true or false, .*shape .1."),
    (2, at(2, "False"), "terminated must be true or false, .*'False'"),
    (2, at(2, np.ma.array(1, mask=True)), "terminated must be true or false, .*masked_array"),
    (2, at(3, 2), "truncated must be true or false, .*got 2"),
    (2, at(3, 1.0), "truncated must be true or false, .*got 1.0"),
    (2, at(4, None), "info must be a dict, got None"),
    (2, says({"success": "yes"}), r"info\['success'\] must be true, false or a number from 0 to 1, got 'yes'"),
    (2, says({"success": np.zeros(2)}), r"info\['success'\] must be .*success_return does not read it"),
    (2, says({"is_success": 7}), r"info\['is_success'\] must be true, false or a number from 0 to 1, got 7"),
    (2, says({"lifelong_answer": "blue"}), r"info\['lifelong_answer'\] must be an integer of 32 bits, got 'blue'"),
    (2, says({"lifelong_answer": 0.5}), r"info\['lifelong_answer'\] must be an integer of 32 bits, got 0.5"),
    (2, says({"lifelong_answer": 2**31}), r"info\['lifelong_answer'\] must be an integer of 32 bits, got 2147483648"),
]


def refused(stream: GymStream, message: str, when: int) -> StreamError:
    """Return the error of a stream that breaks in the second life's episode, in its reset or a later step."""
    where = f"environment 'Foreign-v0' broke in task 'abroad', life 0, step {max(when - 1, 0)} of the life, "
    with pytest.raises(StreamError, match=f"{where}episode seed [0-9]+: {message}") as caught:  # noqa: PT012
        stream.reset(seed=4)
        for _ in range(3):
            stream.step([1, 0][: stream.num_envs])
    assert caught.value.report["seed"] == stream.episode_seeds(np.array([0]))[0]
    assert caught.value.report["actions"] == [1] * when
    return caught.value


@pytest.mark.parametrize("when", [0, 1, 3])
@pytest.mark.parametrize(("space", "obs", "message"), OBSERVATIONS)
def test_observations_that_are_not_of_the_space_are_named(
    space: spaces.Space[Any], obs: Any, message: str, when: int
) -> None:
    refused(stream_of(2, space=space, fault=at(0, obs), when=when), message, when)


@pytest.mark.parametrize(("when", "fault", "message"), RESULTS)
def test_results_that_are_none_are_named(when: int, fault: Callable[[Any], Any], message: str) -> None:
    error = refused(stream_of(2, fault=fault, when=when), message, when)
    assert error.report["entry"] == message.partition(" ")[0].replace("\\", "") or " of " in message


@pytest.mark.parametrize(
    ("space", "obs", "kept"),
    [
        (F3, np.zeros(3), [0.0, 0.0, 0.0]),
        (F3, [0, 1, 0], [0.0, 1.0, 0.0]),
        (F3, np.array([0, 1, 1]), [0.0, 1.0, 1.0]),
        (F3, np.array([True, False, True]), [1.0, 0.0, 1.0]),
        (U2, np.array([7, 255]), [7, 255]),
        (U2, np.array([7.0, 255.0]), [7, 255]),
        (spaces.Box(0, 1, (2,), np.bool_), np.array([1, 0]), [True, False]),
        (D4, np.array(3), 3),
        (D4, np.uint8(3), 3),
        (D4, 3.0, 3),
        (spaces.Discrete(2), np.True_, 1),
        (D4_FROM_5, 8, 3),
        (M23, [1, 2], [1, 2]),
        (M23, np.array([1.0, 2.0], np.float32), [1, 2]),
        (spaces.MultiDiscrete([255], np.uint8), np.array([254], np.uint8), [254]),
        (B2, np.array([True, False]), [1, 0]),
    ],
)
def test_values_that_survive_the_conversion_pass(space: spaces.Space[Any], obs: Any, kept: Any) -> None:
    stream = stream_of(space=space, fault=at(0, obs), when=2)
    stream.reset()
    stream.step([0])
    assert stream.step([0])[0]["observation"][0].tolist() == kept


@pytest.mark.parametrize(
    ("place", "value", "kept"),
    [
        (1, 2, 2.0),
        (1, True, 1.0),
        (1, np.float32(0.25), 0.25),
        (1, np.int64(3), 3.0),
        (1, np.array(0.5), 0.5),
        (2, np.True_, True),
        (2, 1, True),
        (2, np.array(1), True),
        (3, 0, False),
        (3, np.False_, False),
    ],
)
def test_rewards_and_flags_of_numpy_pass(place: int, value: Any, kept: Any) -> None:
    stream = stream_of(fault=at(place, value), when=2)
    stream.reset()
    stream.step([0])
    assert stream.step([0])[place][0] == kept


def test_bounds_of_boxes_are_checked_at_first_and_never_after_a_resumption() -> None:
    outside = {"fault": at(0, ZEROS + 5), "when": 2}
    stream, later = stream_of(**outside), stream_of(**outside | {"when": 1})
    stream.reset()
    for _ in range(3):
        seen = stream.step([0])[0]["observation"]
    position = stream.position()
    assert (np.abs(seen) <= 1).all()
    later.resume(position)  # its first step is outside, as any but the first may be
    with pytest.warns(UserWarning, match="not within the observation space"):  # says gymnasium; rounding is no fault
        stream_of(fault=at(0, np.float32([1 + 1e-7, 0, -1])), when=0).reset()


def test_bounds_of_boxes_are_not_checked_again_in_a_copy() -> None:
    stream = stream_of(fault=at(0, ZEROS + 5), when=2)  # outside in every second step of an episode
    stream.reset()
    for _ in range(6):
        stream.step([0])
    twin = copy.deepcopy(stream)
    assert max(np.abs(twin.step([0])[0]["observation"]).max() for _ in range(4)) > 1
    fresh = copy.deepcopy(stream_of(fault=at(0, ZEROS + 5), when=1))
    fresh.reset()
    with pytest.raises(StreamError, match="must lie within the bounds of its space"):
        fresh.step([0])


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)
def test_a_vector_environment_of_lives_tells_what_broke(mode: AutoresetMode) -> None:
    env = VectorStream(stream_of(2, fault=at(1, np.nan), when=3), mode)
    env.reset()
    for _ in range(2):
        env.step([1, 0])
    with pytest.raises(StreamError, match="reward must be finite: nan") as caught:
        env.step([1, 0])
    assert (caught.value.report["entry"], caught.value.report["actions"]) == ("reward", [1, 1, 1])


def test_an_environment_that_breaks_while_it_is_copied_is_named() -> None:
    stream = stream_of()
    stream.reset()
    stream.step([1])
    seed = int(stream.episode_seeds(np.array([0]))[0])
    object.__setattr__(stream._recipes[0], "kwargs", {"fault": at(0, 0.5), "when": 1})
    with pytest.raises(StreamError, match="observation must have the shape") as caught:
        copy.deepcopy(stream)
    assert (caught.value.report["seed"], caught.value.report["actions"]) == (seed, [1])


def test_an_environment_that_breaks_while_it_is_resumed_is_named() -> None:
    stream, later = stream_of(), stream_of(fault=at(0, 0.5), when=2)
    stream.reset()
    for _ in range(3):
        stream.step([1])
    with pytest.raises(StreamError, match=r"'Foreign-v0' broke in task 'abroad', .*: observation must have the") as got:
        later.resume(stream.position())
    assert got.value.report["actions"] == [1, 1]


@pytest.mark.parametrize(
    ("info", "row"),
    [
        ({"answer": 7}, (np.nan, 1)),
        ({"answer": "blue", "success": None}, (np.nan, 1)),
        ({"lifelong_answer": np.int8(-3), "success": np.True_}, (1.0, -3)),
        ({"is_success": np.array(0.5)}, (0.5, 1)),
        ({"success": False, "is_success": True}, (0.0, 1)),
    ],
)
def test_only_our_own_key_is_the_answer(info: dict[str, Any], row: tuple[float, int]) -> None:
    stream = stream_of(fault=says(info), when=2)
    stream.reset()
    stream.step([0])
    rows = stream.step([1])[4]["episodes"]
    assert np.array_equal([rows["success"][0], rows["answer"][0]], row, equal_nan=True)


def test_a_task_with_success_return_does_not_read_what_info_says() -> None:
    with pytest.raises(Exception, match="must be true, false"):
        end_of_episode({"success": "yes"})
    task = GymTask("x", env_id="Foreign-v0", kwargs={"fault": says({"success": "yes"}), "when": 1}, success_return=0.5)
    stream = GymStream(task)
    stream.reset()
    assert stream.step([1])[4]["episodes"]["success"] == 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"build": raises(RuntimeError("no licence"))}, "RuntimeError: no licence"),
        ({"build": raises(SystemExit(3))}, "SystemExit: 3"),
        ({"build": raises(Fatal("no device"))}, "Fatal: no device"),
        ({"build": raises(ImportError("no module named physics"))}, "ImportError: no module named physics"),
        ({"build": raises(KeyError("size"))}, "KeyError: 'size'"),
        ({"space": (3,)}, r"observation_space must be a space of gymnasium, got \(3,\) \(tuple of 1\)"),
        ({"space": None}, "observation_space must be a space of gymnasium, got None"),
        ({"act": 4}, r"action_space must be a space of gymnasium, got 4 \(int\)"),
    ],
)
def test_constructors_that_raise_and_spaces_that_are_none_are_refused_by_id(
    kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"cannot make environment 'Foreign-v0': {message}"):
        stream_of(**kwargs)


def test_vector_environments_and_vectors_of_rewards_are_refused_at_construction() -> None:
    def paid(**_: Any) -> Any:
        env: Any = Foreign()
        env.reward_space = spaces.Box(0, 1, (2,))
        return env

    def batched(**_: Any) -> Any:
        env: Any = Foreign()
        env.num_envs = 8
        return env

    for made, message in (
        (lambda: SyncVectorEnv([Foreign]), "SyncVectorEnv"),
        (paid, r"rewards must be numbers, got Box.*\(2,\)"),
        (batched, "single environment, got num_envs=8"),
        (lambda: None, "NoneType"),
    ):
        gymnasium.register("Odd-v0", made)
        with pytest.raises(ValueError, match=f"cannot make environment 'Odd-v0': .*{message}"):
            GymStream("Odd-v0")
        del gymnasium.registry["Odd-v0"]


def test_an_environment_of_another_shape_than_the_first_is_named() -> None:
    made = iter([F3, F3, spaces.Box(-1, 1, (4,))])
    gymnasium.register("Odd-v0", lambda: Foreign(next(made)))
    with pytest.raises(StreamError, match=r"life 2, .* the same observations, got Box.*4.* after Box.*3") as caught:
        GymStream("Odd-v0", 3).reset()
    del gymnasium.registry["Odd-v0"]
    assert caught.value.report["env_id"] == "Odd-v0"


def test_every_environment_is_closed_and_one_that_raises_then_is_a_warning() -> None:
    closed: list[int] = []

    def fails() -> None:
        closed.append(1)
        raise SystemExit("the window was gone")

    stream = stream_of(3, close=fails)
    stream.reset()
    with pytest.warns(RuntimeWarning, match=r"environment 'Foreign-v0': close\(\) raised SystemExit: the window"):
        stream.close()
    assert len(closed) == 3


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (raises(RuntimeError("no screen")), r"render\(\) raised RuntimeError: no screen"),
        (lambda: None, r"render\(\) must return uint8 \[height, width, 3\], got None"),
        (lambda: np.zeros((4, 5)), r"render\(\) must return uint8 .*ndarray of float64, shape \[4, 5\]"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_named(
    picture: Callable[[], Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Foreign, "metadata", {"render_modes": ["rgb_array"]})
    task = GymTask("abroad", env_id="Foreign-v0", kwargs={"picture": picture})
    stream = GymStream(task, render_mode="rgb_array")
    stream.reset()
    with pytest.raises(StreamError, match=f"'Foreign-v0' broke in task 'abroad', life 0, .*{message}"):
        stream.render()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])  # noqa: S301  its own
def test_a_copy_of_a_stream_goes_on_alike_behind_gates_of_its_own(copied: Callable[[Any], Any]) -> None:
    stream = GymStream("CartPole-v1", 2)
    stream.reset()
    twin = copied(stream)
    for _ in range(30):
        ours, theirs = (one.step([0, 1])[0]["observation"] for one in (stream, twin))
        assert np.array_equal(ours, theirs)
    twin.environment(0, 0).unwrapped.state = np.full(4, np.nan)
    with pytest.raises(StreamError, match="observation must be finite: nan"):
        twin.step([0, 1])
    stream.step([0, 1])


JOINT = spaces.Dict(
    arm=spaces.Box(-1.0, 1.0, (2,), np.float32),
    keys=spaces.Tuple((spaces.Discrete(3, start=5), spaces.MultiBinary(2))),
)


def spoils(action: Any) -> None:
    """Write over every array of an action."""
    for part in action.values() if isinstance(action, dict) else action if isinstance(action, tuple) else ():
        spoils(part)
    if isinstance(action, np.ndarray):
        action[...] = 1


@pytest.mark.parametrize(
    ("act", "given", "told"),
    [
        (
            JOINT,
            {"arm": np.array([[0.5, -0.25]]), "keys": (np.array([2]), np.array([[1, 0]]))},
            {"arm": [0.5, -0.25], "keys": [7, [1, 0]]},
        ),
        (spaces.MultiDiscrete([4, 3], start=[2, 0]), np.array([[3, 2]]), [5, 2]),
        (spaces.Box(-1.0, 1.0, (2,), np.float32), np.array([[0.5, -0.25]]), [0.5, -0.25]),
    ],
)
def test_the_actions_of_a_report_are_those_that_were_given_though_an_environment_writes_to_them(
    act: Any, given: Any, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_of(act=act, fault=at(1, np.nan), when=3)
    step = Foreign.step

    def spoilt(self: Foreign, action: Any) -> Any:
        assert act.contains(action)
        spoils(action)
        return step(self, action)

    monkeypatch.setattr(Foreign, "step", spoilt)
    stream.reset(seed=4)
    for _ in range(2):
        stream.step(given)
    with pytest.raises(StreamError, match=r"step 2 of the life, .*: reward must be finite: nan") as caught:
        stream.step(given)
    report = caught.value.report
    assert (report["entry"], report["seed"]) == ("reward", stream.episode_seeds(np.array([0]))[0])
    assert report["actions"] == [told] * 3
    json.dumps(report)


@pytest.mark.parametrize("masked", [{"action_mask": [1, 0, 1]}, {"action_mask": "both"}, {"action_mask": [0, 0]}])
@pytest.mark.parametrize("unify", [False, True])
def test_a_mask_that_is_none_of_the_actions_is_an_entry_of_the_report(masked: dict[str, Any], unify: bool) -> None:
    task = GymTask("abroad", env_id="Foreign-v0", kwargs={"fault": says(masked), "when": 1})
    other = GymTask("wide", env_id="Foreign-v0", kwargs={"act": spaces.Discrete(3)})
    stream = GymStream([task, other] if unify else task, unify=unify)
    stream.reset()
    with pytest.raises(StreamError, match=r"'abroad', .*: action_mask (must|setting)") as caught:
        stream.step([1])
    assert caught.value.report["entry"] == "action_mask"
    assert caught.value.report["actions"] == [1]


def test_an_interrupt_is_no_fault_of_an_environment() -> None:
    stream = stream_of(fault=raises(KeyboardInterrupt()), when=1)
    stream.reset()
    with pytest.raises(KeyboardInterrupt):
        stream.step([0])


def test_drifts_are_compared_behind_the_gate() -> None:
    task = GymTask(
        "x", env_id="Foreign-v0", kwargs={"fault": at(0, ZEROS[:1])}, drifts=parse_drifts("reversed_actions")
    )
    with pytest.raises(ValueError, match=r"environment 'Foreign-v0': observation must have the shape \[3\], got \[1\]"):
        GymStream(task)


def test_tasks_with_common_spaces_are_checked_by_their_own() -> None:
    tasks = [
        GymTask("wide", env_id="Foreign-v0", kwargs={"space": spaces.Discrete(9)}),
        GymTask("abroad", env_id="Foreign-v0", kwargs={"space": D4, "fault": at(0, 6), "when": 1}),
    ]
    stream = GymStream(tasks, unify=True)
    stream.reset()
    with pytest.raises(StreamError, match=r"'abroad', .* must be a whole number from 0 to 3, got 6"):  # noqa: PT012
        for _ in range(5):
            stream.step([0])


def test_gymnasiums_passive_checker_sees_the_first_reset_and_step_once() -> None:
    stream = stream_of(2, space=D4, fault=at(0, np.uint8(1)), when=1)
    stream.reset()
    with pytest.warns(UserWarning, match="environment 'Foreign-v0': The obs returned by the `step.*int") as said:
        stream.step([0, 0])
    assert len([w for w in said if "should be an int" in str(w.message)]) == 1  # of two lives
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(6):
            stream.step([0, 0])


def test_environments_of_minigrid_are_checked_by_their_categories() -> None:
    stream = GymStream("MiniGrid-Empty-5x5-v0")
    stream.reset()
    room: Any = stream.environment(0, 0).unwrapped
    gen = room.gen_obs

    def strange() -> Any:
        obs = gen()
        obs["image"] = obs["image"].copy()
        obs["image"][2, 3, 0] = 200
        return obs

    room.gen_obs = strange
    with pytest.raises(StreamError, match=r"observation 'image' must be 0 to 10 at \[2, 3, 0\], got 200"):
        stream.step([0])


def test_an_observation_is_handed_on_as_it_is() -> None:
    task = GymTask("x", env_id="Foreign-v0", kwargs={"fault": at(0, double := np.zeros(3)), "when": 0})
    env = make_task(task, first=False)
    assert env.reset(seed=1)[0] is double
    assert env.observation_space is F3
    entry_check(spaces.Graph(F3, None))(5)  # what no agent can read is refused with its space, not here
