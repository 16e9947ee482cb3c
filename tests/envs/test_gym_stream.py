from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lifelong.envs import GymStream, GymTask, References, StreamError
from lifelong.envs.schedules import Cyclic


class Room(gymnasium.Env[Any, Any]):
    """Counts its steps; does what `fault` says in the third."""

    closed: list["Room"] = []  # noqa: RUF012

    def __init__(
        self,
        look: spaces.Space[Any] = spaces.Box(-9.0, 9.0, (2,), np.float32),  # noqa: B008
        act: spaces.Space[Any] = spaces.Discrete(3),  # noqa: B008
        fault: str = "",
    ) -> None:
        self.observation_space, self.action_space, self.fault = look, act, fault
        self.resets, self.did = 0, []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.resets, self.count = self.resets + 1, 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        self.did.append(action)
        seen, reward, third = self.observation_space.sample(), float(action), self.count == 3
        if third and self.fault == "observation":
            seen[1] = np.inf
        if third and self.fault == "crash":
            raise ZeroDivisionError("the cup fell")
        reward = np.nan if third and self.fault == "reward" else reward
        reward = self.resets if self.fault == "memory" else reward
        end = third and self.fault == "both"
        return seen, reward, end or self.count == 4, end, {"is_success": self.count == 4}

    def close(self) -> None:
        self.closed.append(self)


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    gymnasium.register("Room-v0", Room)
    Room.closed.clear()
    yield
    del gymnasium.registry["Room-v0"]


def stream_of(num_envs: int = 2, **kwargs: Any) -> GymStream:
    return GymStream(GymTask("room", env_id="Room-v0", kwargs=kwargs), num_envs)


@pytest.mark.parametrize("fault", ["reward", "observation"])
def test_numbers_that_are_not_finite_are_blamed_on_task_life_and_step(fault: str) -> None:
    stream = stream_of(fault=fault)
    stream.reset()
    stream.step([0, 1])
    stream.step([0, 1])
    value = {"reward": "nan", "observation": "inf"}[fault]
    where = f"'Room-v0' broke in task 'room', life 0, step 2 of the life, .*: {fault} must be finite: {value}"
    with pytest.raises(StreamError, match=where) as caught:
        stream.step([0, 1])
    assert caught.value.report["actions"] == [0, 0, 0]


def test_a_crash_says_where_and_can_be_made_again() -> None:
    stream = stream_of(fault="crash")
    stream.reset()
    stream.step([0, 1])
    stream.step([0, 1])
    seed = stream.episode_seeds(np.array([0]))[0]
    where = (
        f"'Room-v0' broke in task 'room', life 0, step 2 of the life, episode seed {seed}: step.. raised "
        "ZeroDivisionError: the cup fell"
    )
    with pytest.raises(StreamError, match=where) as caught:
        stream.step([0, 1])
    report = caught.value.report
    assert (report["env_id"], report["seed"], report["kwargs"]) == ("Room-v0", seed, {"fault": "'crash'"})
    env = Room(fault="crash")
    env.reset(seed=report["seed"])
    *before, last = report["actions"]
    for action in before:
        env.step(action)
    with pytest.raises(ZeroDivisionError):
        env.step(last)


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (spaces.Sequence(spaces.Discrete(2)), "Sequence.* are not supported: its length varies; pad it to a Box"),
        (spaces.Graph(spaces.Discrete(2), None), "Graph.* not supported: its number of nodes varies; give nodes"),
        (spaces.OneOf([spaces.Discrete(2)]), "OneOf.* not supported: its parts take turns; give a Dict"),
        (spaces.Discrete(10**10), "Discrete.* not supported: it has 10,000,000,000 categories, and at most 16,777,216"),
        (spaces.MultiDiscrete([60_000] * 300), "MultiD.*: its 300 places have 18,000,000 categories together"),
        (spaces.Box(0, 1, (3, 0)), r"Box.* not supported: it is empty, of shape \[3, 0\]; leave it out"),
        (spaces.MultiDiscrete([]), r"MultiDiscrete.* not supported: it is empty, of shape \[0\]"),
        (spaces.Dict(), r"Dict\(\) are not supported: it has no entries; leave it out"),
        (spaces.Tuple([]), r"Tuple\(\) are not supported: it has no entries"),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Dict(c=spaces.Dict())), r"Dict\(\) of 'b/c' are not supported"),
        (spaces.Tuple([spaces.Discrete(2), spaces.Sequence(spaces.Discrete(2))]), "Seq.*of '1' are not supported"),
        (
            spaces.Dict({1: spaces.Discrete(2), "1": spaces.Discrete(2)}),
            "Dict.*: its keys 1 and '1' have the same name",
        ),
    ],
)
def test_observations_no_agent_can_read_are_refused_with_the_remedy(look: spaces.Space[Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Room-v0: observations {message}"):
        stream_of(look=look)


@pytest.mark.parametrize(
    ("act", "named"),
    [
        (spaces.Text(5), r"Text\(.*\)"),
        (spaces.Sequence(spaces.Discrete(2)), r"Sequence\(.*\)"),
        (spaces.Graph(spaces.Discrete(2), None), r"Graph\(.*\)"),
        (spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]), r"OneOf\(.*\)"),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Tuple([spaces.Text(5)])), r"Text\(.*\) of entry 'b/0'"),
    ],
)
def test_actions_no_agent_can_do_are_refused(act: spaces.Space[Any], named: str) -> None:
    remedy = "wrap the environment in gymnasium.wrappers.TransformAction"
    with pytest.raises(ValueError, match=f"Room-v0: actions {named} are not supported; supported are .*: {remedy}"):
        stream_of(act=act)


def test_actions_without_a_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Room-v0: actions .* of entry 'a' hold no number"):
        stream_of(act=spaces.Dict(a=spaces.Box(0, 1, (0,))))
    with pytest.raises(ValueError, match=r"Room-v0: actions .* have no entries"):
        stream_of(act=spaces.Dict())


def test_actions_whose_keys_are_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Dict\(.*\): its keys 1 and '1' have the same name; rename one"):
        stream_of(act=spaces.Dict({1: spaces.Discrete(2), "1": spaces.Discrete(2)}))


def test_numbered_entries_of_observations_are_named_by_their_numbers() -> None:
    class Numbered(gymnasium.Env[Any, Any]):
        observation_space = spaces.Dict({7: spaces.Discrete(3, start=1), 8: spaces.Dict({0: spaces.Box(0, 1, (2,))})})
        action_space = spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            return {7: 2, 8: {0: np.array([0.25, 0.5], np.float32)}}, {}

    gymnasium.register("Numbered-v0", Numbered)
    try:
        stream = GymStream(GymTask("numbered", env_id="Numbered-v0"), 1)
        obs = stream.reset()[0]["observation"]
    finally:
        del gymnasium.registry["Numbered-v0"]
    assert obs["7"].tolist() == [1]
    assert obs["8"]["0"].tolist() == [[0.25, 0.5]]


def test_tasks_of_one_stream_share_their_spaces() -> None:
    with pytest.raises(ValueError, match=r"CartPole-v1 has observations Box.*4.* and Acrobot-v1 has .*Box.*6"):
        GymStream(["CartPole-v1", "Acrobot-v1"])
    with pytest.raises(ValueError, match=r"Room-v0 has actions Discrete\(3\) and Room-v0 has actions Discrete\(4\)"):
        GymStream(["Room-v0", GymTask("big", env_id="Room-v0", kwargs={"act": spaces.Discrete(4)})])
    with pytest.raises(ValueError, match="at least one"):
        GymStream([])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("CartPool-v1", "'CartPool-v1'.*CartPole"),
        ("no_such_module:X-v0", "no_such_module"),
        (GymTask("x", env_id="CartPole-v1", kwargs={"wheels": 3}), "CartPole-v1.*wheels"),
    ],
)
def test_what_gymnasium_cannot_make_is_named(task: str | GymTask, message: str) -> None:
    with pytest.raises(ValueError, match=f"cannot make environment .*{message}"):
        GymStream(task)


@pytest.mark.parametrize(
    ("look", "shown"),
    [
        (spaces.Discrete(3, start=5), spaces.Discrete(3)),
        (spaces.MultiDiscrete([2, 3], start=[-4, 7]), spaces.MultiDiscrete([2, 3])),
        (spaces.MultiBinary([2, 2]), spaces.MultiBinary([2, 2])),
        (spaces.Box(0, 255, (20, 20, 3), np.uint8), spaces.Box(0, 255, (20, 20, 3), np.uint8)),
        (spaces.Box(-1, 1, (), np.float64), spaces.Box(-1, 1, (), np.float64)),
        (
            spaces.Dict(b=spaces.Dict(c=spaces.Discrete(2, start=1)), a=spaces.Box(0, 1, (2,))),
            spaces.Dict(b=spaces.Dict(c=spaces.Discrete(2)), a=spaces.Box(0, 1, (2,))),
        ),
        (
            spaces.Tuple([spaces.Discrete(2), spaces.Tuple([spaces.MultiBinary(3)])]),
            spaces.Dict({"0": spaces.Discrete(2), "1": spaces.Dict({"0": spaces.MultiBinary(3)})}),
        ),
    ],
)
def test_observations_are_counted_from_zero_and_named(look: spaces.Space[Any], shown: spaces.Space[Any]) -> None:
    stream = stream_of(look=look)
    assert stream.single_observation_space["observation"] == shown
    seen, _ = stream.reset()
    for _ in range(8):
        assert stream.observation_space.contains(seen)
        seen, *_ = stream.step([0, 1])


def test_entries_that_hold_no_number_are_left_out_beside_others() -> None:
    empty = spaces.Box(-1, 1, (0,))
    stream = stream_of(
        look=spaces.Dict(a=spaces.Box(0, 1, (2,)), b=empty, c=spaces.Dict(d=empty, e=spaces.Discrete(2)))
    )
    shown = stream.single_observation_space["observation"]
    assert shown == spaces.Dict(a=spaces.Box(0, 1, (2,)), c=spaces.Dict(e=spaces.Discrete(2)))
    seen, _ = stream.reset()
    assert stream.observation_space.contains(seen)
    with pytest.raises(ValueError, match=r"Box.* of 'b' are not supported: it is empty"):
        stream_of(look=spaces.Dict(b=empty))


def test_actions_are_counted_from_zero() -> None:
    stream = stream_of(act=spaces.Discrete(3, start=4))
    assert stream.single_action_space == spaces.Discrete(3)
    stream.reset()
    _, reward, *_ = stream.step(np.array([0, 2]))
    assert reward.tolist() == [4, 6]


def test_rows_take_success_from_the_environment() -> None:
    stream = stream_of()
    stream.reset()
    for _ in range(3):
        stream.step([2, 1])
    rows = stream.step([0, 1])[4]["episodes"]
    assert rows["success"].tolist() == [1, 1]
    assert rows["answer"].tolist() == [0, 1]
    assert np.isnan(rows["cross"]).all()
    swing = GymStream(GymTask("swing", env_id="Pendulum-v1", kwargs={"max_episode_steps": 1}))
    swing.reset()
    rows = swing.step([[0.5]])[4]["episodes"]
    assert rows["answer"] == -1
    assert np.isnan(rows["success"])


def test_references_are_those_given() -> None:
    stream = GymStream(GymTask("room", References(random=1.0, within=2.0, cross=3.0, oracle=5.0), env_id="Room-v0"))
    stream.reset()
    for _ in range(3):
        stream.step([2])
    rows = stream.step([1])[4]["episodes"]
    assert (rows["return"], rows["normalised"], rows["within"], rows["cross"]) == (7, 1.5, 2, 3)


def test_an_end_both_ways_is_a_termination() -> None:
    stream = stream_of(fault="both")
    stream.reset()
    stream.step([0, 0])
    stream.step([0, 0])
    _, _, terminated, truncated, info = stream.step([0, 0])
    assert terminated.all()
    assert not truncated.any()
    assert "final_obs" not in info


def test_a_truncated_episode_shows_its_last_observation() -> None:
    stream = GymStream(GymTask("short", env_id="CartPole-v1", kwargs={"max_episode_steps": 3}))
    alone = gymnasium.make("CartPole-v1")
    stream.reset()
    expected, _ = alone.reset(seed=int(stream.episode_seeds(np.array([0]))[0]))
    for _ in range(3):
        seen, _, _, truncated, info = stream.step([1])
        expected, *_ = alone.step(1)
    assert truncated[0]
    assert np.array_equal(info["final_obs"]["observation"][0], expected)
    assert not np.array_equal(seen["observation"][0], expected)
    assert info["final_obs"]["episode_start"] == 0
    assert seen["episode_start"] == 1


def test_minigrid_shows_categories_and_no_text_that_never_varies() -> None:
    stream = GymStream(["MiniGrid-DoorKey-5x5-v0", "MiniGrid-Empty-5x5-v0"], 2, schedule=Cyclic(1))
    shown = stream.single_observation_space["observation"]
    assert set(shown) == {"image", "direction"}
    assert shown["image"].nvec.shape == (7, 7, 3)
    assert shown["image"].nvec[0, 0].tolist() == [11, 6, 3]
    assert stream.reset()[0]["observation"]["image"].dtype == np.uint8


def test_an_environment_that_keeps_something_over_resets_cannot_be_resumed() -> None:
    stream, later = stream_of(fault="memory"), stream_of(fault="memory")
    stream.reset()
    for _ in range(5):
        stream.step([1, 1])
    with pytest.raises(StreamError, match=r"of task 'room', slot 0, .* 1 actions it has the return 1.0, was 2.0: it"):
        later.resume(stream.position())


def test_environments_are_made_when_first_met_and_all_closed() -> None:
    stream = GymStream([GymTask(name, env_id="Room-v0") for name in "ab"], 3, schedule=Cyclic(1))
    stream.reset()
    made = 2 + 2  # both tasks of the first life, to see their spaces, and the first task of the others
    stream.close()
    stream.close()
    assert len(Room.closed) == made


def test_a_refused_stream_is_closed_in_peace() -> None:
    with pytest.raises(ValueError, match="life_episodes"):
        GymStream("CartPole-v1", life_episodes=0)


def test_a_task_says_from_which_return_on_it_is_a_success_and_wins_over_the_environment() -> None:
    stream = GymStream(
        [GymTask(f"from {least}", env_id="Room-v0", success_return=least) for least in (6.0, 5.0, None)], 2
    )
    stream.reset()
    for _ in range(12):  # three episodes of four steps
        *_, info = stream.step([1, 2])
        if "episodes" in info:
            rows = info["episodes"]
            wanted = {0: [0, 1], 1: [0, 1], 2: [1, 1]}[int(rows["task"][0])]  # returns of 4 and 8
            assert rows["success"].tolist() == wanted
    with pytest.raises(ValueError, match="success_return must be finite: success_return=inf"):
        GymTask("x", success_return=float("inf"))


def test_an_environment_that_can_be_made_so_often_only_is_blamed_as_one_that_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, first = [], Room.__init__

    def rare(self: Room, *given: Any) -> None:
        made.append(self)
        if len(made) > 2:
            raise RuntimeError("no more robots")
        first(self, *given)

    monkeypatch.setattr(Room, "__init__", rare)
    with pytest.raises(StreamError, match=r"'Room-v0' broke in task 'room', life 2, .* RuntimeError: no more robots"):
        stream_of(3).reset()
