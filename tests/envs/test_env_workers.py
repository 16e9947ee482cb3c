"""Environments in processes of their own: the same bits, and whatever ends such a process is an error of one line."""

import copy
import ctypes
import gc
import os
import pickle
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lifelong.envs import GymStream, GymTask, StreamError, gym_stream, make_stream
from lifelong.envs.fork import fork
from lifelong.envs.parse import parse_drifts
from lifelong.envs.worker import call_apart

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

EVEN = spaces.Dict(
    numbers=spaces.Box(-1.0, 1.0, (2,), np.float32),
    pair=spaces.Tuple((spaces.Discrete(3, start=5), spaces.MultiBinary(2))),
    text=spaces.Text(9),
    action_mask=spaces.MultiBinary(3),
)
BUFFER = np.zeros(2, np.float32)


class Private:
    """Of no use to anybody else: it cannot be pickled, and says so."""

    def __reduce__(self) -> Any:
        raise TypeError("never leaves its process")


class Own(spaces.Box):
    """A space of somebody's own."""


class World(gymnasium.Env[Any, Any]):
    """Draws from its seed, for seven steps; `fault` is called in the third step after action 2."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012  as gymnasium has it

    def __init__(
        self,
        fault: Callable[[], Any] = lambda: None,
        where: str = "step",
        observed: Any = EVEN,
        buffer: Any = None,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space, self.action_space = observed, spaces.Discrete(3)
        self.buffer = np.zeros(2, np.float32) if buffer is None else buffer
        self.fault, self.where, self.render_mode = fault, where, render_mode
        self._break("constructor")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        self._break("reset")
        return self._shown(), {"private": Private()}

    def step(self, action: Any) -> Any:
        self.count += 1
        if self.count == 3 and action == 2:
            self._break("step")
        over = self.count == 7
        said = {"success": np.array(True), "lifelong_answer": np.int8(4)} if over else {"success": Private()}
        return self._shown(), self.np_random.random(), over, False, said

    def render(self) -> Any:
        return np.full((4, 5, 3), self.count, np.uint8)

    def close(self) -> None:
        self._break("close")

    def _shown(self) -> Any:
        if self.observation_space is not EVEN:
            return self.np_random.random(2).astype(np.float32)
        self.buffer[:] = self.np_random.random(2)
        pair = (self.np_random.integers(5, 8), self.np_random.integers(2, size=2, dtype=np.int8))
        mask = np.array([1, 1, self.np_random.integers(2)], np.int8)
        return {"numbers": self.buffer, "pair": pair, "text": "straight"[self.count :], "action_mask": mask}

    def _break(self, where: str) -> None:
        if where == self.where:
            self.fault()


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    gymnasium.register("World-v0", World)
    before = children()
    yield
    gc.collect()
    del gymnasium.registry["World-v0"]
    assert children() == before, "each test ends what it has begun"


def children() -> list[int]:
    """Return the processes that are children of this one."""
    found = []
    for name in filter(str.isdigit, (path.name for path in Path("/proc").iterdir())):
        with suppress(OSError):
            if int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(name))
    return sorted(found)


def stream_of(env_workers: int, num_envs: int = 3, **kwargs: Any) -> GymStream:
    return GymStream(GymTask("abroad", env_id="World-v0", kwargs=kwargs), num_envs, env_workers=env_workers, seed=4)


def actions(stream: Any, steps: int) -> list[Any]:
    stream.action_space.seed(1)
    return [stream.action_space.sample() for _ in range(steps)]


def lived(stream: Any, steps: int = 40) -> list[Any]:
    """Return all that a stream has said in so many steps, and its position then; it is closed."""
    said = [stream.reset(), *(stream.step(action) for action in actions(stream, steps)), stream.position()]
    stream.close()
    return said


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


STREAMS: dict[str, Callable[..., Any]] = {
    "everything": lambda n: stream_of(n),
    "of a space of its own": lambda n: stream_of(n, observed=Own(-1.0, 1.0, (2,), np.float32)),
    "drifts": lambda n: make_stream(
        "gym:CartPole-v1", 3, drifts="plain/gravity:4+sticky_actions:0.5", schedule="cyclic:1", env_workers=n
    ),
    "drifts of the stream": lambda n: make_stream(
        "gym:CartPole-v1", 3, drifts="plain/reversed_actions", drift_schedule="cyclic:2", env_workers=n
    ),
    "MiniGrid": lambda n: make_stream("gym:MiniGrid-Fetch-5x5-N2-v0", 2, env_workers=n),
    "unified": lambda n: GymStream(
        [GymTask(name) for name in ("MountainCarContinuous-v0", "Pendulum-v1")], 3, unify=True, env_workers=n
    ),
    "a control": lambda n: make_stream("cartpole-sign", 3, env_workers=n),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_the_same_in_any_number_of_processes(name: str) -> None:
    here = lived(STREAMS[name](0))
    for env_workers in (1, 2):
        assert_same(lived(STREAMS[name](env_workers)), here)


def test_environments_may_write_over_what_others_have_shown() -> None:
    said = []
    for env_workers in (0, 1):
        stream = stream_of(env_workers, buffer=BUFFER)
        said.append([stream.reset(), *(stream.step(action) for action in actions(stream, 9))])
        stream.close()
    assert_same(*said)


ENDS = {
    "exit status 3": lambda: os._exit(3),
    "signal 6, Aborted": os.abort,
    "signal 9, Killed; was there no memory left?": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "signal 11, Segmentation fault": lambda: ctypes.string_at(0),
}


@pytest.mark.parametrize("how", ENDS)
def test_an_environment_that_ends_its_process_is_an_error_with_what_reproduces_it(how: str) -> None:
    stream = stream_of(2, fault=ENDS[how])
    stream.reset()
    for _ in range(9):
        stream.step(np.zeros(3, np.int64))
    with pytest.raises(StreamError) as caught:
        stream.step(np.array([0, 1, 2]))
    seed = int(stream.episode_seeds(np.array([2]))[0])
    where = f"life 2, step 9 of the life, episode seed {seed}"
    assert (
        str(caught.value) == f"environment 'World-v0' broke in task 'abroad', {where}: step() ended its process: {how}"
    )
    report = caught.value.report
    assert (report["entry"], report["seed"], report["actions"]) == ("step()", seed, [0, 0, 2])
    dumped = any(
        "Fatal Python error" in line and "in step" in "".join(report["traceback"]) for line in report["traceback"]
    )
    assert dumped == ("Aborted" in how or "Segmentation" in how)
    assert len(stream._far.pids) == 1, "the other lives on"  # type: ignore[union-attr]
    again, fresh = stream.reset(), stream_of(0).reset()
    assert_same(again, fresh)
    stream.close()


def test_the_first_life_that_ends_its_process_is_told_whatever_others_wait_for() -> None:
    stream = stream_of(1, fault=ENDS["exit status 3"])
    stream.reset()
    for _ in range(2):
        stream.step(np.zeros(3, np.int64))
    with pytest.raises(StreamError, match=r"life 1, step 2 .* exit status 3"):
        stream.step(np.array([0, 2, 2]))


def test_constructors_resets_and_ends_may_end_the_process_too() -> None:
    with pytest.raises(ValueError, match=r"^cannot make environment 'World-v0': it ended its process: exit status 3$"):
        stream_of(2, fault=ENDS["exit status 3"], where="constructor")
    stream = stream_of(2, fault=ENDS["exit status 3"], where="reset")
    with pytest.raises(StreamError, match=r"life 0, step 0 .* reset\(\) ended its process: exit status 3"):
        stream.reset()
    stream = stream_of(2, fault=ENDS["exit status 3"], where="close")
    stream.reset()
    with pytest.warns(RuntimeWarning, match=r"^close\(\) ended its process: exit status 3$"):
        stream.close()


def test_a_process_that_was_killed_between_two_steps_is_told() -> None:
    stream = stream_of(2)
    stream.reset()
    os.kill(stream._far.pids[1], signal.SIGKILL)  # type: ignore[union-attr]
    with pytest.raises(StreamError, match=r"life 1, step 0 .*: its process ended between two steps: signal 9, Killed"):
        stream.step(np.zeros(3, np.int64))


def test_an_episode_that_ends_its_process_when_it_is_taken_again_is_told_with_its_actions(tmp_path: Any) -> None:
    broken = tmp_path / "broken"
    fault = lambda: os._exit(3) if broken.exists() else None  # noqa: E731
    stream = stream_of(0, fault=fault)
    stream.reset()
    for action in ([0, 0, 0], [0, 1, 1], [0, 2, 0], [1, 1, 1]):
        stream.step(np.array(action))
    there = stream.position()
    broken.touch()
    with pytest.raises(StreamError, match="exit status 3") as caught:
        stream_of(2, fault=fault).resume(there)
    assert caught.value.report["actions"] == [0, 1, 2]


def raises(error: BaseException) -> Callable[[], Any]:
    def fault() -> Any:
        raise error

    return fault


ERRORS = [
    ValueError("odd"),
    KeyError("x"),
    SystemExit(3),
    RecursionError(),
    ImportError("lib", name="lib"),
    TypeError(),
]


@pytest.mark.parametrize(
    ("where", "error"),
    [("step", error) for error in ERRORS]
    + [(where, ERRORS[2]) for where in ("reset", "constructor")]
    + [
        pytest.param(where, error, marks=pytest.mark.slow)
        for where in ("reset", "constructor")
        for error in ERRORS
        if error is not ERRORS[2]
    ],
)
def test_what_an_environment_raises_comes_out_as_it_does_here(where: str, error: BaseException) -> None:
    said = []
    for env_workers in (0, 2):
        with pytest.raises((StreamError, ValueError)) as caught:
            lived(stream_of(env_workers, fault=raises(error), where=where))
        report = dict(getattr(caught.value, "report", {}))
        trace = "".join(report.pop("traceback", []))
        report.pop("kwargs", None)  # have the address of a function
        assert where == "constructor" or "in fault" in trace
        said.append((type(caught.value), str(caught.value), report))
        error.with_traceback(None)  # else it keeps the frames of this test, and streams in them
    assert said[0] == said[1]


def test_an_interruption_is_one_and_the_stream_can_begin_again() -> None:
    stream = stream_of(2, fault=raises(KeyboardInterrupt()), where="step")
    stream.reset()
    for _ in range(2):
        stream.step(np.zeros(3, np.int64))
    with pytest.raises(KeyboardInterrupt):
        stream.step(np.full(3, 2))
    stream.close()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    stream = stream_of(2, fault=lambda: time.sleep(0.3))
    stream.reset()
    for _ in range(2):
        stream.step(np.zeros(3, np.int64))
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            stream.step(np.full(3, 2))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert_same(stream.reset(), stream_of(0).reset())
    stream.close()


@pytest.mark.parametrize(("there", "here"), [(0, 2), (2, 0), (1, 3)])
def test_positions_are_of_any_number_of_processes(there: int, here: int) -> None:
    streams = [make_stream("gym:CartPole-v1", 3, env_workers=n, seed=2) for n in (there, here)]
    first, second = streams
    first.reset()
    steady = [np.full(3, step % 2) for step in range(150)]  # the poles stand for some forty steps
    for action in steady[:135]:
        first.step(action)
    assert first.position()["episode_length"].max() > 20
    second.resume(first.position())
    copied, unpickled = copy.deepcopy(second), pickle.loads(pickle.dumps(second))  # noqa: S301  our own
    streams += [copied, unpickled]
    for action in steady[135:]:
        first_said, *others = [stream.step(action) for stream in streams]
        for other in others:
            assert_same(other, first_said)
    copies = make_stream("gym:CartPole-v1", 2, env_workers=min(here, 2), seed=2)
    copies.reset()
    twins = make_stream("gym:CartPole-v1", 2, seed=2)
    twins.reset()
    assert_same(*(fork(stream, first.position(), np.array([0, 2]), 0) for stream in (copies, twins)))
    for stream in (*streams, copies, twins):
        stream.close()


def test_long_episodes_are_taken_again_in_several_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.envs.gym_stream._AHEAD", 3)
    first, second = (make_stream("gym:Pendulum-v1", 2, env_workers=2) for _ in range(2))
    first.reset()
    for action in actions(first, 11):
        first.step(action)
    second.resume(first.position())
    assert_same(*(stream.step(np.ones((2, 1), np.float32)) for stream in (first, second)))
    first.close()
    second.close()


class Walk(World):
    """A world that offers its state."""

    def get_state(self) -> Any:
        return {"count": self.count}

    def set_state(self, state: Any) -> None:
        self.count = state["count"]


def test_states_that_environments_offer_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym_stream, "EVERY", 2)
    gymnasium.register("Walk-v0", Walk)
    streams = [GymStream("Walk-v0", 3, env_workers=env_workers, seed=4) for env_workers in (0, 2, 2)]
    here, there, third = streams
    for stream in (here, there):
        stream.reset()
        for action in actions(stream, 6):
            stream.step(action)
    position = there.position()
    assert_same(position, here.position())
    assert [len(part) for part in (position["state_step"], position["actions"])] == [3, 6], (
        "four steps are in the states"
    )
    third.resume(position)
    said = [[stream.step(np.zeros(3, np.int64)) for _ in range(5)] for stream in streams]
    assert_same(said[0], said[1])
    assert_same(said[0], said[2])
    for stream in streams:
        stream.close()
    del gymnasium.registry["Walk-v0"]


class Last(Walk):
    """A world that cannot be brought back by its state: that ends its process."""

    def set_state(self, state: Any) -> None:
        os._exit(6)


def test_a_state_that_ends_the_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym_stream, "EVERY", 2)
    gymnasium.register("Last-v0", Last)
    stream = GymStream("Last-v0", 3, env_workers=2, seed=4)
    stream.reset()
    for _ in range(4):
        stream.step(np.zeros(3, np.int64))
    with pytest.raises(StreamError, match=r"life 0, step 4 .*: put_state\(\) ended its process: exit status 6"):
        stream.step(np.zeros(3, np.int64))
    stream.close()
    del gymnasium.registry["Last-v0"]


def test_a_drift_without_effect_and_an_unknown_environment_are_told_as_here() -> None:
    for tasks in (
        GymTask("Pendulum-v1", drifts=parse_drifts("gravity:1")),
        "NoSuch-v0",
        GymTask("CartPole-v1", kwargs={"x": 1}),
    ):
        said = []
        for env_workers in (0, 1):
            with pytest.raises(ValueError, match=r"effect|cannot make") as caught:
                GymStream(tasks, 2, env_workers=env_workers)
            said.append(str(caught.value))
        assert said[0] == said[1]


def test_processes_end_with_the_stream() -> None:
    before = children()
    stream = stream_of(2)
    assert len(children()) == len(before) + 1, "processes begin with the first environment in them"
    stream.reset()
    pids = stream._far.pids  # type: ignore[union-attr]
    assert sorted(children()) == sorted([*before, *pids])
    assert len(pids) == 2
    stream.close()
    stream.close()
    assert children() == before
    stream = stream_of(2)
    stream.reset()
    del stream
    gc.collect()
    assert children() == before


def test_processes_end_when_this_one_is_killed() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            stream = stream_of(2)
            stream.reset()
            os.write(writing, " ".join(map(str, stream._far.pids)).encode())  # type: ignore[union-attr]
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    os.waitpid(child, 0)
    pids = os.read(reading, 100).decode().split()
    assert len(pids) == 2
    until = time.monotonic() + 20
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.close(reading)


def is_running(pid: str) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_signals_are_answered_here_alone_but_children_of_environments_may_be_ended() -> None:
    stream = stream_of(1)
    stream.reset()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        os.kill(stream._far.pids[0], number)  # type: ignore[union-attr]
    stream.step(np.zeros(3, np.int64))
    stream.close()

    def ended() -> int:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b"!")
            time.sleep(10)
            os._exit(0)
        os.read(reading, 1)
        os.kill(child, signal.SIGTERM)
        return os.waitpid(child, 0)[1]

    assert call_apart(ended) == signal.SIGTERM


def test_an_environment_with_children_of_its_own_that_ends_is_noticed() -> None:
    def leave_a_child() -> None:
        if not os.fork():
            time.sleep(3)  # it holds what the process had open
        os._exit(3)

    stream = stream_of(1, fault=leave_a_child)
    stream.reset()
    for _ in range(2):
        stream.step(np.zeros(3, np.int64))
    with pytest.raises(StreamError, match="exit status 3"):
        stream.step(np.full(3, 2))


def test_an_environment_that_never_closes_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.envs.worker._PATIENCE", 0.1)
    stream = stream_of(1, fault=lambda: time.sleep(600), where="close")
    stream.reset()
    with pytest.warns(RuntimeWarning, match=r"^close\(\) ended its process: signal 9, Killed"):
        stream.close()


def test_warnings_come_out_here() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # here they are errors, in processes that begin here too
        stream = stream_of(2, fault=lambda: warnings.warn("careful", FutureWarning, stacklevel=1))
        stream.reset()
    for _ in range(2):
        stream.step(np.zeros(3, np.int64))
    with pytest.warns(FutureWarning, match="^careful$"):
        stream.step(np.full(3, 2))
    stream.close()


def test_pictures_come_from_there() -> None:
    stream = GymStream("World-v0", 2, env_workers=2, render_mode="rgb_array")
    assert stream.metadata["render_fps"] == 7
    stream.reset()
    stream.step(np.zeros(2, np.int64))
    pictures: Any = stream.render()
    assert [picture.shape for picture in pictures] == [(4, 5, 3)] * 2
    assert pictures[1].max() == 1
    stream.close()


def test_numbers_of_processes_that_cannot_be_are_told() -> None:
    for env_workers in (-1, 3):
        wanted = f"up to num_envs, a process for each life: env_workers={env_workers}, num_envs=2"
        with pytest.raises(ValueError, match=re.escape(wanted)):
            make_stream("gym:CartPole-v1", 2, env_workers=env_workers)
    for env_workers in (1.0, True):
        with pytest.raises(TypeError, match=f"env_workers must be an integer, got {env_workers}$"):
            make_stream("gym:CartPole-v1", 2, env_workers=env_workers)
    with pytest.raises(
        ValueError,
        match=r"^env_workers must be 0 for streams that are not made of gymnasium's environments, .*: env_workers=2$",
    ):
        make_stream("cued-recall", 4, env_workers=2)
    make_stream("cued-recall", 4, env_workers=0)
