"""What every stream promises: as every registered id makes it, and with settings that end lives in few steps."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
import scipy.stats
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lifelong.envs import (
    ROW,
    STREAMS as NAMED,
    Actuators,
    ColourRule,
    CuedRecall,
    DarkRoom,
    DelayedActions,
    DelayedRewards,
    Doors,
    Gravity,
    GymStream,
    GymTask,
    MapChange,
    Mass,
    NoisyObservations,
    Reversal,
    ReversedActions,
    Rooms,
    ShuffledObservations,
    Single,
    StickyActions,
    TaskStream,
    make_single,
    make_stream,
)
from lifelong.envs.extras import is_installed
from lifelong.envs.rng import Purpose, uniform
from lifelong.envs.schedules import Block, Cyclic, Interleaved, RandomHazard, Redrawn, Walk
from lifelong.envs.streams.sealed import SealedStream

CARTPOLE = GymTask("short", env_id="CartPole-v1", kwargs={"max_episode_steps": 9})
CARTPOLE_TOO = GymTask("shorter", env_id="CartPole-v1", kwargs={"max_episode_steps": 6})
PENDULUM = GymTask("swing", env_id="Pendulum-v1", kwargs={"max_episode_steps": 7})
CARTPOLE_DRIFTED = replace(
    CARTPOLE, name="drifted", drifts=[Gravity(3.0), StickyActions(), DelayedRewards(2), ShuffledObservations()]
)
PENDULUM_DRIFTED = replace(
    PENDULUM, name="drifted", drifts=[Mass(2.0), DelayedActions(1), NoisyObservations(), ReversedActions()]
)
DOORKEY = GymTask("door", env_id="MiniGrid-DoorKey-5x5-v0", kwargs={"max_steps": 8})

REACHER = GymTask("reach", env_id="Reacher-v5", kwargs={"max_episode_steps": 7})
REACHER_DRIFTED = replace(REACHER, name="drifted", drifts=[Actuators(-1.0, 1), Mass(2.0), ReversedActions()])


def reachers(n: int, **options: Any) -> GymStream:
    pytest.importorskip("mujoco")
    return GymStream([REACHER, REACHER_DRIFTED], n, schedule=RandomHazard(0.5), life_episodes=3, **options)


STREAMS: dict[str, Callable[..., TaskStream]] = {
    "cued recall": lambda n, **o: CuedRecall(n, cues=5, life_episodes=14, **o),
    "cued recall, blanks": lambda n, **o: CuedRecall(
        n, cues=4, blanks=2, feedback="reward", schedule=RandomHazard(0.3), life_episodes=None, **o
    ),
    "colour rule": lambda n, **o: ColourRule(n, max_steps=6, schedule=Redrawn(3), life_episodes=7, **o),
    "reversal": lambda n, **o: Reversal(n, contexts=3, hazard=0.3, life_episodes=9, **o),
    "reversal, endless": lambda n, **o: Reversal(n, life_episodes=None, **o),
    "dark room": lambda n, **o: DarkRoom(n, size=3, max_steps=3, maps=3, schedule=Block(2), life_episodes=5, **o),
    "map change": lambda n, **o: MapChange(n, size=5, max_steps=3, nearest=1, maps=3, life_episodes=5, **o),
    "doors": lambda n, **o: Doors(n, doors=2, depth=1, colours=3, life_episodes=6, **o),
    "rooms": lambda n, **o: Rooms(n, task="lavagaps5", max_steps=8, life_episodes=6, **o),
    "rooms, several": lambda n, **o: Rooms(
        n,
        task=["distshift1", "keycorridors3r1", "lavacrossings9n3", "multiroom-n2-s4"],
        max_steps=7,
        schedule=Redrawn(2),
        life_episodes=5,
        **o,
    ),
    "rooms, drifting": lambda n, **o: make_stream(
        "rooms",
        n,
        task="lavagaps5",
        max_steps=8,
        life_episodes=6,
        drifts="plain/reversed_actions+sticky_actions/rotated_observations+delayed_actions:2+delayed_rewards:2",
        schedule="hazard:0.5",
        **o,
    ),
    "cued recall, drifting": lambda n, **o: make_stream(
        "cued-recall",
        n,
        cues=4,
        feedback="reward",
        blanks=1,
        life_episodes=9,
        drifts="noisy_observations:0.3,cue+scaled_rewards:-1/plain/shuffled_actions",
        drift_schedule="redrawn:2",
        **o,
    ),
    "reversal, drifting": lambda n, **o: make_stream(
        "reversal", n, contexts=2, hazard=0.3, drifts="plain/reversed_actions", drift_schedule="hazard:0.4", **o
    ),
    "CartPole, drifting with its stream": lambda n, **o: make_stream(
        "cartpole-sign", n, drifts="plain/noisy_observations/delayed_rewards", drift_schedule="interleaved", **o
    ),
    "CartPole": lambda n, **o: GymStream(CARTPOLE, n, **o),
    "two CartPoles": lambda n, **o: GymStream(
        [CARTPOLE, CARTPOLE_TOO], n, schedule=Interleaved(), life_episodes=4, **o
    ),
    "Pendulum": lambda n, **o: GymStream(PENDULUM, n, schedule=Cyclic(2), life_episodes=3, **o),
    "DoorKey": lambda n, **o: GymStream(DOORKEY, n, **o),
    "drifting CartPole": lambda n, **o: GymStream(
        [CARTPOLE, CARTPOLE_DRIFTED], n, schedule=RandomHazard(0.5), life_episodes=5, **o
    ),
    "drifting Pendulum": lambda n, **o: GymStream([PENDULUM, PENDULUM_DRIFTED], n, schedule=Walk(0.5), **o),
    "drifting Reacher": reachers,
}
every_stream = pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)

IDS = [name for name, spec in gymnasium.registry.items() if name.startswith("lifelong/") and spec.vector_entry_point]
REGISTERED: dict[str, Callable[..., TaskStream]] = {name: lambda n, name=name, **o: made(name, n, **o) for name in IDS}
every_id = pytest.mark.parametrize("name", IDS)
every_stream_and_id = pytest.mark.parametrize("make", (STREAMS | REGISTERED).values(), ids=[*STREAMS, *REGISTERED])


def skip_unless_installed(name: str) -> None:
    stream = gymnasium.spec(name).kwargs.get("name")
    if stream and not is_installed(NAMED[stream].extra):
        pytest.skip(f"needs {NAMED[stream].extra}")


def made(name: str, num_envs: int, **options: Any) -> TaskStream:
    skip_unless_installed(name)
    stream = gymnasium.make_vec(name, num_envs=num_envs, **options).unwrapped
    assert isinstance(stream, TaskStream)
    return stream


def flat(tree: Any, name: str = "") -> dict[str, Any]:
    tree = dict(enumerate(tree)) if isinstance(tree, tuple) else tree
    if isinstance(tree, dict):
        return {k: v for key, inner in tree.items() for k, v in flat(inner, f"{name}/{key}").items()}
    return {name: np.asarray(tree)}


def copied(tree: Any) -> dict[str, Any]:
    return {name: leaf.copy() for name, leaf in flat(tree).items()}


def same(one: Any, other: Any) -> bool:
    one, other = flat(one), flat(other)
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)


def act(stream: TaskStream) -> Any:
    """Return actions that depend on nothing but the life and its step."""
    space = stream.single_action_space
    if isinstance(space, spaces.Discrete):
        return (uniform(7, Purpose.POLICY, stream.life, stream.life_step) * space.n).astype(np.int64)
    entries = np.arange(np.prod(space.shape)).reshape(space.shape)
    shape = stream.num_envs, *[1] * entries.ndim
    drawn = uniform(7, Purpose.POLICY, stream.life.reshape(shape), stream.life_step.reshape(shape), entries)
    return (space.low + (space.high - space.low) * drawn).astype(space.dtype)


def lives(stream: TaskStream, steps: int) -> dict[int, list[list[bytes]]]:
    """Return all that happens in each life, step by step."""
    happened: dict[int, list[list[bytes]]] = defaultdict(list)
    seen, info = stream.reset()
    for _ in range(steps):
        before = stream.life.copy()
        for slot, life in enumerate(before):
            happened[life].append([leaf[slot].tobytes() for leaf in (*flat(seen).values(), info["task"])])
        seen, *ends, info = stream.step(act(stream))
        for slot, life in enumerate(before):
            happened[life].append([end[slot].tobytes() for end in ends])
    return happened


def rows_of(stream: TaskStream, steps: int) -> list[dict[str, Any]]:
    stream.reset()
    told = [stream.step(act(stream))[4].get("episodes") for _ in range(steps)]
    return [dict(zip(row, values, strict=True)) for row in told if row for values in zip(*row.values(), strict=True)]


def test_every_stream_that_has_a_name_has_an_id() -> None:
    named = {spec.kwargs["name"] for spec in (gymnasium.spec(name) for name in IDS)}
    assert named == set(NAMED)


@every_id
def test_spaces_are_batches_of_those_of_one_life(name: str) -> None:
    stream = made(name, 3)
    assert stream.num_envs == 3
    assert stream.action_space == batch_space(stream.single_action_space, 3)
    assert stream.observation_space == batch_space(stream.single_observation_space, 3)
    assert stream.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


@every_stream_and_id
def test_spaces_contain_what_comes_out(make: Callable[..., TaskStream]) -> None:
    stream = make(3, boundary="task_id")
    seen, info = stream.reset()
    shown = [seen]
    for _ in range(120):
        seen, reward, terminated, truncated, info = stream.step(act(stream))
        shown.append(seen)
        assert (reward.shape, terminated.shape, truncated.shape) == ((3,), (3,), (3,))
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, np.bool_, np.bool_)
        assert {(info[of].shape, info[of].dtype) for of in ("episode_start", "task_start", "life_start")} == {
            ((3,), np.dtype(np.bool_))
        }
        assert np.array_equal(info["episode_start"], terminated | truncated)  # the next one begins in the same step
        assert ("final_obs" in info) == truncated.any()
        shown += [info["final_obs"]] if "final_obs" in info else []
    for seen in shown:
        assert stream.observation_space.contains(seen), seen
    stream.close()
    stream.close()


@every_stream_and_id
def test_a_life_is_the_same_whatever_runs_beside_it(make: Callable[..., TaskStream]) -> None:
    alone = lives(make(1, seed=3), 90)
    for num_envs, steps in ((3, 40), (8, 20)):
        among, compared = lives(make(num_envs, seed=3), steps), 0
        for life in alone.keys() & among.keys():
            length = min(len(alone[life]), len(among[life]))
            assert alone[life][:length] == among[life][:length]
            compared += length
        assert compared >= min(steps, 80)


@every_id
def test_two_streams_of_one_seed_are_one(name: str) -> None:
    assert lives(made(name, 2, seed=3), 30) == lives(made(name, 2, seed=3), 30)


@every_id
def test_an_action_that_is_none_is_refused_before_anything_happens(name: str) -> None:
    stream = made(name, 2)
    stream.reset()
    stream.step(act(stream))
    space, before = stream.single_action_space, stream.position()
    wrong: list[tuple[Any, str]]
    if isinstance(space, spaces.Discrete):
        wrong = [
            ([0, space.n], f"actions must be 0 to {space.n - 1}, got 0 to {space.n}"),
            ([-1, 0], f"actions must be 0 to {space.n - 1}, got -1 to 0"),
            ([0.0, 1.0], "actions must be integers, got float64"),
        ]
    else:
        wrong = [([[0.0], [np.nan]], "actions must be finite, got nan")]
    for actions, message in [*wrong, (np.zeros((3, *space.shape), space.dtype), r"actions must be \[2")]:
        with pytest.raises(ValueError, match=message):
            stream.step(actions)
    assert same(stream.position(), before)


@pytest.mark.filterwarnings("ignore:.*Box observation space m.*infinity", "ignore:.*symmetric and normalized")
@pytest.mark.parametrize("name", [*IDS, "lifelong/ColourRoom-v0"])
def test_one_life_is_an_environment_like_any_other(name: str) -> None:
    skip_unless_installed(name)
    env = gymnasium.make(name)
    check_env(env.unwrapped, skip_render_check=True)  # see test_rooms.py
    env.close()
    env.close()


@every_stream
def test_one_life_alone_is_that_among_others(make: Callable[..., TaskStream]) -> None:
    """But for the last step of an episode, where it shows how that ended and `step` shows how the next begins."""
    single, stream = Single(make(1, seed=3)), make(1, seed=3)
    seen, info = single.reset()
    shown, said = stream.reset()
    for _ in range(60):
        for name, leaf in flat(shown).items():
            assert np.array_equal(flat(seen)[name], leaf[0])
        assert info == {name: value[0] for name, value in said.items()}
        actions = act(stream)
        seen, *ends, info = single.step(actions[0])
        shown, *stream_ends, said = stream.step(actions)
        assert ends == [end[0] for end in stream_ends]
        rows = said.pop("episodes", None)
        final = said.pop("final_obs", None)
        if rows is None:
            continue
        assert same(info["row"], {name: column[0] for name, column in rows.items()})
        assert final is None or all(np.array_equal(flat(seen)[name], leaf[0]) for name, leaf in flat(final).items())
        with pytest.raises(gymnasium.error.ResetNeeded, match="after the end of an episode"):
            single.step(actions[0])
        seen, info = single.reset()


def test_one_life_goes_on_over_resets_and_gives_up_what_is_not_over() -> None:
    single = make_single("reversal", contexts=2, schedule="cyclic:1", life_episodes=3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        single.step(0)
    told = []
    for _ in range(5):  # none of them is lived to its end
        _, info = single.reset()
        told.append((info["task"], info["life_start"]))
        single.step(1)
    assert told == [(0, True), (1, False), (0, False), (0, True), (1, False)]
    single.reset(seed=1)
    single.step(1)
    *_, info = single.step(1)
    assert (info["row"]["episode"], info["row"]["lag_episodes"]) == (0, -1)
    with pytest.raises(ValueError, match=r"no options of reset, got {'level': 1}"):
        single.reset(options={"level": 1})
    with pytest.raises(ValueError, match="num_envs=2"):
        Single(make_stream("reversal", 2))


# ---- what is hidden says nothing of what is shown, and the other way round -------------------------------------------


Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def of_cued_recall(stream: Any, seen: Any) -> Pairs:
    return stream.right_answers(), (seen["cue"][:, :3] > 0) @ np.array([1, 2, 4])


def of_reversal(stream: Any, seen: Any) -> Pairs:
    good = stream.good_arms().copy()
    reward = stream.step(np.zeros(stream.num_envs, np.int64))[1]
    return good, (reward == (good == 0)).astype(np.int64)  # whether the arm did what it mostly does


def of_dark_room(stream: Any, seen: Any) -> Pairs:
    goals = stream._goals @ np.array([1, stream.size])  # nothing is laid out; of two maps
    return goals[:, 0], goals[:, 1] // 20


def of_map_change(stream: Any, seen: Any) -> Pairs:
    goals = (stream.cells() == 2).reshape(stream.num_envs, -1).argmax(1)
    return goals, (stream.cells()[:, stream.size // 2, 1 : stream.size // 2] != 1).argmax(1)  # an opening to the north


def of_doors(stream: Any, seen: Any) -> Pairs:
    return stream.right_doors(), seen["place"][:, 0]


def of_colour_rule(stream: Any, seen: Any) -> Pairs:
    return stream.task.copy(), seen["direction"]


PAIRS = {
    "cued-recall": of_cued_recall,
    "reversal": of_reversal,
    "dark-room": of_dark_room,
    "map-change": of_map_change,
    "doors": of_doors,
    "colour-rule": of_colour_rule,
}


def chance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return how probable it is that numbers that do not depend on each other look as if they did as much."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    assert min(table.shape) > 1
    return float(scipy.stats.chi2_contingency(table).pvalue)


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_hidden_does_not_depend_on_what_is_laid_out(name: str) -> None:
    """Over the lives of a seed, and over the first lives of seeds."""
    many, one = make_stream(name, 200 if name == "colour-rule" else 5_000), make_stream(name, 1)
    of_lives = PAIRS[name](many, many.reset()[0]["observation"])
    drawn = [PAIRS[name](one, one.reset(seed=seed)[0]["observation"]) for seed in range(400)]
    of_seeds = tuple(np.concatenate(part) for part in zip(*drawn, strict=True))
    for hidden, laid_out in (of_lives, of_seeds):
        assert chance(hidden % 7, laid_out) > 1e-3
        assert chance(hidden % 7, np.where(hidden % 7 % 2, laid_out, 0)) < 1e-3  # what depends is found
        counts = np.bincount(hidden)
        assert scipy.stats.chisquare(counts[counts > 0]).pvalue > 1e-3


@every_stream
def test_same_seed_same_lives_and_other_seed_other_lives(make: Callable[..., TaskStream]) -> None:
    stream = make(2, seed=3)
    first, again = lives(stream, 30), lives(stream, 30)
    assert first == again
    assert first != lives(make(2, seed=4), 30)


@every_stream
def test_reset_takes_a_seed(make: Callable[..., TaskStream]) -> None:
    stream = make(2, seed=3)
    assert same(stream.reset(seed=8), make(2, seed=8).reset())
    with pytest.raises(TypeError, match="one seed"):
        stream.reset(seed=[1, 2])


@every_stream
@pytest.mark.parametrize("steps", [0, 1, 5, 23, 38])
def test_a_stream_goes_on_from_its_position(make: Callable[..., TaskStream], steps: int) -> None:
    stream, later = make(3, seed=5), make(3, seed=6)
    there = stream.reset()
    for _ in range(steps):
        seen, *_, info = stream.step(act(stream))
        there = seen, {name: info[name] for name in ("episode_start", "task_start", "life_start", "task")}
    assert same(later.resume(stream.position()), there)
    for _ in range(25):
        assert same(later.step(act(later)), stream.step(act(stream)))
    assert same(stream.position(), later.position())


@every_stream
def test_a_position_of_other_sizes_is_refused(make: Callable[..., TaskStream]) -> None:
    stream = make(3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        stream.position()
    stream.reset()
    with pytest.raises(ValueError, match=r"3 lives.*num_envs=2"):
        make(2).resume(stream.position())
    with pytest.raises(ValueError, match="tasks"):
        CuedRecall(3, cues=9).resume(stream.position())


@every_stream
def test_what_was_given_stays_as_it_was(make: Callable[..., TaskStream]) -> None:
    stream = make(2)
    stream.reset()
    for _ in range(20):
        given = stream.step(act(stream))
        kept = copied(given)
        stream.step(act(stream))
        assert same(flat(given), kept)


@every_stream
def test_rows_have_their_columns(make: Callable[..., TaskStream]) -> None:
    stream = make(3)
    stream.reset()
    for _ in range(40):
        _, _, terminated, truncated, info = stream.step(act(stream))
        assert not (terminated & truncated).any()
        assert ("episodes" in info) == (terminated | truncated).any()
        if "episodes" in info:
            assert {name: column.dtype for name, column in info["episodes"].items()} == {
                name: np.dtype(kind) for name, kind in ROW.items()
            }
            assert {column.shape for column in info["episodes"].values()} == {((terminated | truncated).sum(),)}


@every_stream
def test_lags_and_visits_are_those_of_the_sequence(make: Callable[..., TaskStream]) -> None:
    stream = make(2, seed=1)
    of_life: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows_of(stream, 90):
        of_life[row["life"]].append(row)
    assert len(of_life) >= 2
    for rows in of_life.values():
        tasks = [row["task"] for row in rows]
        starts = np.cumsum([0] + [row["length"] for row in rows])
        turns = np.cumsum([0] + [a != b for a, b in pairwise(tasks)])
        for i, (task, row) in enumerate(zip(tasks, rows, strict=True)):
            met = [j for j in range(i) if tasks[j] == task]
            assert row["episode"] == i
            assert row["visit"] == len({turns[j] for j in met} - {turns[i]})
            assert row["index_in_visit"] == sum(turns[j] == turns[i] for j in range(i))
            if not met:
                assert row["lag_episodes"] == row["lag_steps"] == row["lag_tasks"] == -1
            else:
                assert row["lag_episodes"] == i - met[-1]
                assert row["lag_steps"] == starts[i] - starts[met[-1] + 1]
                assert row["lag_tasks"] == max(turns[i] - turns[met[-1]] - 1, 0)


@every_stream
def test_rows_add_up(make: Callable[..., TaskStream]) -> None:
    stream = make(1)
    stream.reset()
    gained, steps, episodes = 0.0, 0, 0
    for step in range(1, 60):
        _, reward, terminated, truncated, info = stream.step(act(stream))
        gained, steps = gained + reward[0], steps + 1
        if terminated[0] or truncated[0]:
            row = {name: column[0] for name, column in info["episodes"].items()}
            assert (row["step"], row["length"]) == (step, steps)
            assert row["return"] == pytest.approx(gained, rel=1e-6)
            gained, steps, episodes = 0.0, 0, episodes + 1
    assert episodes > 1


@every_stream
def test_flags_agree(make: Callable[..., TaskStream]) -> None:
    stream = make(3, boundary="flag")
    seen, info = stream.reset()
    assert info["life_start"].all()
    task, episode = info["task"], np.zeros(3, np.int64)
    for _ in range(50):
        assert not (info["life_start"] & ~info["task_start"]).any()
        assert not (info["task_start"] & ~info["episode_start"]).any()
        assert np.array_equal(seen["episode_start"][:, 0], info["episode_start"])
        assert np.array_equal(seen["task_start"][:, 0], info["task_start"])
        actions = act(stream)
        seen, reward, terminated, truncated, info = stream.step(actions)
        assert np.array_equal(info["episode_start"], terminated | truncated)
        assert np.array_equal(info["task_start"], info["life_start"] | (info["task"] != task))
        fresh = info["episode_start"] if isinstance(stream, SealedStream) else info["life_start"]
        assert np.array_equal(seen["previous_reward"][:, 0], np.where(fresh, 0, reward).astype(np.float32))
        assert np.array_equal(seen["previous_action"][~fresh], actions[~fresh])
        assert (seen["previous_action"][fresh] == getattr(stream.single_action_space, "n", 0)).all()
        task, episode = info["task"], np.where(info["life_start"], 0, episode + (terminated | truncated))
        assert stream.life_episodes is None or (episode < stream.life_episodes).all()


@every_stream
def test_wrong_calls_are_refused(make: Callable[..., TaskStream]) -> None:
    stream = make(3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        stream.step(np.zeros(3, np.int64))
    stream.reset()
    with pytest.raises(ValueError, match=r"actions must be \[3.*got \[2\]"):
        stream.step(np.zeros(2, np.int64))
    for wrong in ({"boundary": "loud"}, {"life_episodes": 0}):
        with pytest.raises((ValueError, TypeError)):
            make(3, **wrong)
    with pytest.raises(ValueError, match="num_envs=0"):
        make(0)


@every_stream
def test_tasks_are_told_only_when_asked_for(make: Callable[..., TaskStream]) -> None:
    always = {"observation", "previous_action", "previous_reward", "episode_start"}
    assert make(1).reset()[0].keys() == always
    assert make(1, boundary="flag").reset()[0].keys() == always | {"task_start"}
    stream = make(2, boundary="task_id")
    seen, info = stream.reset()
    assert seen.keys() == always | {"task"}
    assert np.array_equal(seen["task"], info["task"])
