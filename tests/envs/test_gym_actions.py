"""Actions of gymnasium's environments: recorded as executed, resumed, masked."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space

from lifelong.action_spaces import as_actions, from_zero, no_action, previous_entry, spread_rows
from lifelong.envs import GymStream, GymTask, StreamError, VectorStream, check_stream
from lifelong.envs.check import _same
from lifelong.envs.drifts.actions import ReversedActions, ShuffledActions, StickyActions
from lifelong.envs.single_env import Single
from lifelong.envs.unify_spaces import common_actions, own_action

SPACES: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=5),
    "multi-discrete": spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [-2, 7]]),
    "multi-binary": spaces.MultiBinary(3),
    "integers": spaces.Box(0, 5, (2,), np.int64),
    "unbounded": spaces.Box(0, np.inf, (2,), np.float32),
    "half floats": spaces.Box(-1, 1, (2,), np.float16),
    "booleans": spaces.Box(0, 1, (3,), np.bool_),
    "one float": spaces.Box(0, 1, (), np.float64),
    "tuple": spaces.Tuple([spaces.Discrete(3, start=1), spaces.Box(-1, 1, (2,), np.float32)]),
    "dict": spaces.Dict(a=spaces.MultiBinary(2), b=spaces.Dict(c=spaces.MultiDiscrete([3, 2], start=[1, 1]))),
    "numbered": spaces.Dict({0: spaces.Discrete(2), 1: spaces.Dict({3: spaces.Box(-1, 1, (2,), np.float32)})}),
}


class Machine(gymnasium.Env[Any, Any]):
    """Shows and pays a sum over all actions of the episode, then writes over the arrays that it was given."""

    def __init__(self, act: spaces.Space[Any], masks: str = "", first: bool = True) -> None:
        self.action_space, self.masks, self.first = act, masks, first
        box = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.observation_space = box
        if masks == "observation":
            n = int(getattr(act, "n", 0)) or int(getattr(act, "nvec", np.zeros(0)).sum())
            self.observation_space = spaces.Dict(sum=box, action_mask=spaces.MultiBinary(n))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.sum, self.count = 0.0, 0
        self._draw()
        return self._shown(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.count, self.did = self.count + 1, copy.deepcopy(action)
        for k, leaf in enumerate(leaves(action)):
            self.sum += self.count * float(np.sum(np.sin(leaf + k)))
        for leaf in leaves(action):
            if isinstance(leaf, np.ndarray):
                leaf[...] = 0
        self._draw()
        return self._shown(), self.sum, self.count == 7, False, self._info()

    def _draw(self) -> None:
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            self.mask = np.arange(space.n) % 2 == self.np_random.integers(2)
        elif isinstance(space, spaces.MultiDiscrete):
            self.mask = np.concatenate([np.arange(n) == self.np_random.integers(n) for n in space.nvec.reshape(-1)])

    def _shown(self) -> Any:
        total = np.array([self.sum])
        return {"sum": total, "action_mask": self.mask.astype(np.int8)} if self.masks == "observation" else total

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.mask.astype(np.int8)} if self.masks == "info" and self.count != 3 else {}


class Empty(Machine):
    """Leaves nothing legal in its third step."""

    def _info(self) -> dict[str, Any]:
        return {"action_mask": np.full(3, self.count != 3)}


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict | tuple):
        return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(part)]
    return [tree]


@pytest.fixture(autouse=True)
def machine() -> Iterator[None]:
    gymnasium.register("Machine-v0", Machine)
    gymnasium.register("Empty-v0", Empty)
    gymnasium.register("Parted-v0", Parted)
    yield
    del gymnasium.registry["Machine-v0"], gymnasium.registry["Empty-v0"], gymnasium.registry["Parted-v0"]


def stream_of(num_envs: int = 3, seed: int = 0, drifts: Any = (), boundary: Any = "none", **kwargs: Any) -> GymStream:
    task = GymTask("machine", env_id="Machine-v0", kwargs=kwargs, drifts=drifts)
    return GymStream(task, num_envs, seed=seed, boundary=boundary, life_episodes=3)


def rows_of(space: spaces.Space[Any], num_envs: int, seed: int) -> Any:
    return spread_rows(space, np.random.default_rng(seed).random((num_envs, no_action(space).size)))


def same(one: Any, other: Any) -> None:
    for left, right in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", SPACES)
def test_a_stream_over_any_actions_keeps_the_contract(name: str) -> None:
    def make(num_envs: int, *, seed: int = 0, **options: Any) -> GymStream:
        task = GymTask("machine", env_id="Machine-v0", kwargs={"act": SPACES[name]})
        return GymStream(task, num_envs, seed=seed, **({"life_episodes": 3} | options))

    check_stream(make, steps=48, deterministic=True)


@pytest.mark.parametrize("name", SPACES)
def test_what_is_recorded_is_what_was_executed_even_if_the_environment_writes_over_it(name: str) -> None:
    stream, again = stream_of(act=SPACES[name]), stream_of(act=SPACES[name], seed=9)
    space = stream.single_action_space
    assert space == from_zero(SPACES[name])
    obs, _ = stream.reset()
    assert stream.observation_space.contains(obs)
    for step in range(19):
        rows = rows_of(space, 3, step)
        given = as_actions(space, rows)
        obs, reward, *_ = stream.step(given)
        same(given, as_actions(space, rows))  # the caller's arrays stay
        assert stream.observation_space.contains(obs)
        assert np.count_nonzero(reward) >= 2
        if step % 7 not in (6,) and step < 20:
            same(obs["previous_action"], previous_entry(space, rows))
    again.reset()
    again.resume(stream.position())
    same(again.position(), stream.position())
    for step in range(20, 40):
        given = as_actions(space, rows_of(space, 3, step))
        same(again.step(given)[:4], stream.step(given)[:4])


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])  # noqa: S301
@pytest.mark.parametrize("name", SPACES)
def test_a_copy_goes_on_alike(name: str, twin_of: Any) -> None:
    stream = stream_of(act=SPACES[name], masks="info" if "discrete" in name else "")
    stream.reset()
    for step in range(60):
        if step in (10, 33):
            twin = twin_of(stream)
            assert twin.environment(0, 0) is not stream.environment(0, 0)
        given = as_actions(stream.single_action_space, rows_of(stream.single_action_space, 3, step))
        result = stream.step(given)
        if step >= 10:
            _same(f"step {step}", twin.step(given), result)
    _same("position", twin.position(), stream.position())


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", ["discrete", "multi-discrete", "dict"])
def test_masks_and_joint_actions_are_as_gymnasiums_own_vector_environment_has_them(
    name: str, mode: AutoresetMode
) -> None:
    ours = VectorStream(stream_of(1, act=SPACES[name], masks="observation" if name != "dict" else ""), mode)
    theirs = SyncVectorEnv(
        [lambda: Single(stream_of(1, act=SPACES[name], masks="observation" if name != "dict" else ""))],
        autoreset_mode=mode,
    )
    _same("reset", ours.reset(seed=5), theirs.reset(seed=5))
    for step in range(24):
        given = as_actions(ours.single_action_space, rows_of(ours.single_action_space, 1, step))
        *got, info = ours.step(given)
        *want, told = theirs.step(given)
        if mode is AutoresetMode.NEXT_STEP and "row" in told:
            assert info["row"].pop("step") >= told["row"].pop("step")  # counts steps without an action too
        _same(f"step {step}", (*got, info), (*want, told))
        over = want[2] | want[3]
        if mode is AutoresetMode.DISABLED and over.any():
            _same("reset", ours.reset(options={"reset_mask": over}), theirs.reset(options={"reset_mask": over}))


def test_masks_of_lives_that_are_reset_stand_in_their_rows() -> None:
    env = VectorStream(stream_of(3, act=SPACES["discrete"], masks="observation"), AutoresetMode.DISABLED)
    env.reset(seed=1)
    _, info = env.reset(options={"reset_mask": np.array([False, True, False])})
    masks = [env.stream.environment(slot, 0).unwrapped.mask for slot in range(3)]
    assert info["action_mask"].dtype == np.bool_
    assert info["action_mask"].tolist() == [[False] * 3, masks[1].tolist(), [False] * 3]
    assert info["_action_mask"].tolist() == [False, True, False]


def test_one_life_alone_takes_nested_actions() -> None:
    single = Single(stream_of(1, act=SPACES["dict"]))
    single.reset()
    single.action_space.seed(0)
    obs, *_ = single.step(single.action_space.sample())
    assert single.observation_space.contains(obs)


def test_a_crash_reports_the_actions_as_the_environment_took_them() -> None:
    stream = GymStream(GymTask("e", env_id="Empty-v0", kwargs={"act": spaces.Tuple([spaces.Discrete(3, start=1)])}), 1)
    stream.reset()
    stream.step((np.array([2]),))
    stream.step((np.array([0]),))
    with pytest.raises(
        StreamError,
        match=r"environment 'Empty-v0' broke .*action_mask must leave something to choose, but all is illegal",
    ) as caught:
        stream.step((np.array([1]),))
    assert caught.value.report["actions"] == [[3], [1], [2]]


@pytest.mark.parametrize("where", ["info", "observation"])
@pytest.mark.parametrize("name", ["discrete", "multi-discrete"])
def test_masks_of_all_lives_stand_in_info_and_are_resumed(where: str, name: str) -> None:
    stream, again = (stream_of(act=SPACES[name], masks=where, seed=seed) for seed in (0, 1))
    _, info = stream.reset()
    for step in range(11):
        assert info["action_mask"].shape == (3, {"discrete": 3, "multi-discrete": 14}[name])
        envs = [stream.environment(slot, 0).unwrapped for slot in range(3)]
        want = [env.mask if where == "observation" or env.count != 3 else np.ones_like(env.mask) for env in envs]
        np.testing.assert_array_equal(info["action_mask"], want)
        info = stream.step(rows_of(stream.single_action_space, 3, step))[4]
    again.reset()
    same(again.resume(stream.position())[1], {key: info[key] for key in again.observe()[1]})


class Parted(Machine):
    """Has texts, and the masks of its actions' entries as entries of its observation; the second move is always 1."""

    def __init__(self) -> None:
        super().__init__(spaces.Dict(a=spaces.Discrete(3), b=spaces.Discrete(2)))
        masks = spaces.Dict(a=spaces.MultiBinary(3), b=spaces.MultiBinary(2))
        self.observation_space = spaces.Dict(text=spaces.Text(20), action_mask=masks)

    def _shown(self) -> Any:
        legal = {"a": np.ones(3, np.int8), "b": np.array([0, 1], np.int8)}
        return {"text": f"step{self.count}", "action_mask": legal}


def test_masks_of_entries_in_an_observation_with_texts() -> None:
    stream = GymStream("Parted-v0", 2)
    twin = copy.deepcopy(stream)
    obs, info = stream.reset(seed=0)
    assert stream.observation_space.contains(obs)
    assert info["action_mask"].tolist() == [[True, True, True, False, True]] * 2
    _same("reset", twin.reset(seed=0), (obs, info))


def test_masks_of_wrong_size_are_blamed_on_the_environment() -> None:
    stream = GymStream(GymTask("e", env_id="Empty-v0", kwargs={"act": spaces.Discrete(4)}), 1)
    with pytest.raises(StreamError, match=r"'Empty-v0' broke .*action_mask must have 4 numbers.*got \[3\] bool"):
        stream.reset()


def test_a_mask_over_a_box_is_ignored() -> None:
    stream = GymStream(GymTask("e", env_id="Empty-v0", kwargs={"act": spaces.Box(0, 1, (2,), np.float32)}), 1)
    _, info = stream.reset()
    for _ in range(5):
        assert "action_mask" not in info
        info = stream.step(np.zeros((1, 2), np.float32))[4]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("drift", [ReversedActions(), ShuffledActions(1)])
def test_masks_are_drifted_as_the_actions_are(drift: Any, whole: bool) -> None:
    for name in ("discrete", "multi-discrete") if isinstance(drift, ReversedActions) else ("discrete",):
        stream = stream_of(act=SPACES[name], masks="observation", drifts=() if whole else (drift,))
        if whole:
            stream.drift([("drifted", [drift])])
        _, info = stream.reset()
        for _ in range(12):
            mask = info["action_mask"]
            sizes = np.reshape(getattr(SPACES[name], "nvec", 3), -1)
            first = np.cumsum(sizes) - sizes
            rows = np.stack(
                [[np.flatnonzero(row[f : f + n])[0] for f, n in zip(first, sizes, strict=True)] for row in mask]
            )
            envs = [stream.environment(slot, 0).unwrapped for slot in range(3)]
            before = [env.mask for env in envs]
            info = stream.step(rows.reshape(stream.previous_action.shape))[4]
            for own, env in zip(before, envs, strict=True):
                chosen = np.reshape(env.did - SPACES[name].start, -1)  # type: ignore[attr-defined]
                assert own[first + chosen].all()


def test_drifts_of_choices_side_by_side() -> None:
    for drift in (ReversedActions(), StickyActions(0.5)):
        stream_of(act=SPACES["multi-binary"], drifts=(drift,)).reset()
    with pytest.raises(ValueError, match="actions must not be a Dict or Tuple"):
        stream_of(act=SPACES["dict"], drifts=(StickyActions(0.5),))
    with pytest.raises(ValueError, match="actions must be Discrete or Box, got MultiBinary"):
        stream_of(act=SPACES["multi-binary"], drifts=(ShuffledActions(1),))


def test_actions_of_other_sizes_are_unified_with_their_masks() -> None:
    acts = [spaces.MultiDiscrete([2, 3]), spaces.Discrete(4, start=1)]
    tasks = [GymTask(f"m{k}", env_id="Machine-v0", kwargs={"act": act, "masks": "info"}) for k, act in enumerate(acts)]
    stream = GymStream(tasks, 2, unify=True, seed=3)
    assert stream.single_action_space == spaces.MultiDiscrete([4, 3])
    assert batch_space(stream.single_observation_space, 2).contains(stream.reset()[0])
    info, seen = stream.observe()[1], set()
    for step in range(30):
        for slot in range(2):
            env = stream.environment(slot, int(stream.task[slot])).unwrapped
            if env.count == 3:
                continue
            seen.add(int(stream.task[slot]))
            first = np.resize(env.mask[:2], 4) if stream.task[slot] == 0 else env.mask
            second = env.mask[2:] if stream.task[slot] == 0 else np.ones(3, np.bool_)
            np.testing.assert_array_equal(info["action_mask"][slot], np.concatenate([first, second]))
        info = stream.step(rows_of(stream.single_action_space, 2, step))[4]
    assert seen == {0, 1}


def test_integers_share_the_common_interval_evenly() -> None:
    own = spaces.Box(0, 5, (1,), np.int64)
    common = common_actions([own, spaces.Box(-1, 1, (2,), np.float32)])
    played = [int(own_action(common, own, np.array([x, 0.0], np.float32))[0]) for x in np.linspace(-1, 1, 601)]
    assert np.bincount(played, minlength=6) == pytest.approx([100] * 6, abs=1)
