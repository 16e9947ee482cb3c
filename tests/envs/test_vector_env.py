"""Streams by gymnasium's conventions: seeds, autoreset, `info`, flat observations, and the loops of other libraries."""

import re
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as wrappers
from numpy.typing import NDArray

from lifelong.envs import (
    STREAMS,
    Single,
    StreamError,
    TaskStream,
    VectorStream,
    make_single,
    make_stream,
    make_vector,
)
from lifelong.envs.extras import is_installed

IDS = [name for name, spec in gymnasium.registry.items() if name.startswith("lifelong/") and spec.vector_entry_point]
every_id = pytest.mark.parametrize("name", IDS)
every_mode = pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)


def skip_unless_installed(name: str) -> None:
    extra = STREAMS[gymnasium.spec(name).kwargs["name"]].extra
    if not is_installed(extra):
        pytest.skip(f"needs {extra}")


def same(got: Any, want: Any, where: str = "") -> None:
    """Check that two results are equal: keys, types, shapes, values, None."""
    assert type(got) is type(want), where
    if isinstance(want, dict):
        assert got.keys() == want.keys(), where
        for key, value in want.items():
            same(got[key], value, f"{where}/{key}")
    elif isinstance(want, tuple) or (isinstance(want, np.ndarray) and want.dtype == object):
        assert len(got) == len(want), where
        for place, (one, other) in enumerate(zip(got, want, strict=True)):
            same(one, other, f"{where}[{place}]")
    elif want is not None:
        one, other = np.asarray(got), np.asarray(want)
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert np.array_equal(one, other, equal_nan=other.dtype.kind == "f"), f"{where}: {got}, {want}"


@every_id
@every_mode
def test_one_life_is_what_gymnasiums_own_vector_environment_makes_of_it(name: str, mode: AutoresetMode) -> None:
    """Keys, masks and types of everything, `final_obs` and `final_info` included, for Dicts and flat observations."""
    skip_unless_installed(name)
    for flat in (False, True):
        ours = gymnasium.make_vec(name, num_envs=1, autoreset_mode=mode, flat=flat)
        theirs = SyncVectorEnv(
            [lambda flat=flat: make_single(**gymnasium.spec(name).kwargs, flat=flat)], autoreset_mode=mode
        )
        assert ours.observation_space == theirs.observation_space
        same(ours.reset(seed=5), theirs.reset(seed=5))
        ours.action_space.seed(0)
        for step in range(60):
            actions = ours.action_space.sample()
            *got, got_info = ours.step(actions)
            *want, info = theirs.step(actions)
            if mode is AutoresetMode.NEXT_STEP and "row" in info:
                assert got_info["row"].pop("step") >= info["row"].pop("step")  # counts steps without an action too
            same((*got, got_info), (*want, info), f"step {step} ")
            assert ours.observation_space.contains(got[0])
            over = want[2] | want[3]
            if mode is AutoresetMode.DISABLED and over.any():
                same(ours.reset(options={"reset_mask": over}), theirs.reset(options={"reset_mask": over}), "reset ")
        ours.close()
        theirs.close()


def played(env: Any, steps: int) -> list[dict[str, Any]]:
    env.action_space.seed(1)
    return [env.step(env.action_space.sample())[4] for _ in range(steps)]


def test_the_end_of_an_episode_is_told_in_gymnasiums_form() -> None:
    env = make_vector("doors", 3, doors=2, depth=1, max_steps=2, flat=False)
    env.reset(seed=0)
    ended = next(info for info in played(env, 30) if "final_obs" in info and not info["_final_obs"].all())
    there = ended["_final_obs"]
    assert there.any()
    assert ended["final_obs"].dtype == object
    for slot in range(3):
        if there[slot]:
            assert env.single_observation_space.contains(ended["final_obs"][slot])
            assert ended["final_obs"][slot]["observation"]["over"] == 1
        else:
            assert ended["final_obs"][slot] is None
    assert ended["_final_info"].tolist() == ended["final_info"]["_row"].tolist() == there.tolist()
    row = ended["final_info"]["row"]
    assert (row["length"] > 0).tolist() == row["_length"].tolist() == there.tolist()
    assert "row" not in ended


def test_an_episode_that_ends_by_itself_has_its_last_observation_too() -> None:
    env = make_vector("cued-recall", 2, cues=3)
    env.reset(seed=0)
    info = env.step(np.zeros(2, np.int64))[4]
    assert info["_final_obs"].all()


@every_mode
def test_lives_of_several_are_those_of_the_stream_itself(mode: AutoresetMode) -> None:
    """Rows of the first episodes of every life, whatever follows an end; actions are a function of the observation."""

    def act(obs: Any) -> NDArray[np.int64]:
        place = obs["observation"]["place"]
        return (3 * place[:, 0] + place[:, 1] + obs["previous_action"]) % 4

    def rows(env: Any) -> dict[tuple[int, int], tuple[Any, ...]]:
        found = {}
        obs, _ = env.reset(seed=3)
        for _ in range(120):
            obs, _, terminated, truncated, info = env.step(act(obs))
            over = terminated | truncated
            table = info.get("episodes") or {
                key: column[over]
                for key, column in info.get("final_info", info).get("row", {}).items()
                if not key.startswith("_")
            }
            for row in zip(*table.values(), strict=True):
                named = dict(zip(table, row, strict=True))
                found[named["life"], named["episode"]] = tuple(v for k, v in named.items() if k != "step" and v == v)
            if mode is AutoresetMode.DISABLED and over.any() and isinstance(env, VectorStream):
                obs, _ = env.reset(options={"reset_mask": over})
        return found

    settings: dict[str, Any] = {"doors": 3, "depth": 2, "colours": 3, "life_episodes": 4}
    own, others = (
        rows(make_stream("doors", 3, **settings)),
        rows(make_vector("doors", 3, autoreset_mode=mode, **settings)),
    )
    common = own.keys() & others.keys()
    assert len(common) > 20
    assert {key: own[key] for key in common} == {key: others[key] for key in common}


# ---- seeds -----------------------------------------------------------------------------------------------------------


def of_cues(env: Any) -> NDArray[Any]:
    return np.asarray(env.reset()[0]["observation"]["cue"])


def test_copies_that_were_given_no_seed_live_different_lives() -> None:
    copies = SyncVectorEnv([lambda: gymnasium.make("lifelong/CuedRecall-v0")] * 3)
    cues = of_cues(copies)
    assert not np.allclose(cues[0], cues[1])
    assert not np.allclose(cues[1], cues[2])
    made: Callable[[], Any]
    for made in (
        lambda: gymnasium.make("lifelong/CuedRecall-v0"),
        lambda: gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=2),
    ):
        assert not np.allclose(of_cues(made()), of_cues(made()))


def test_a_seed_of_the_constructor_counts_at_the_first_reset() -> None:
    one = gymnasium.make("lifelong/CuedRecall-v0", seed=7)
    same(of_cues(one), make_single("cued-recall").reset(seed=7)[0]["observation"]["cue"])
    several = gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=2, seed=7)
    same(of_cues(several), make_vector("cued-recall", 2).reset(seed=7)[0]["observation"]["cue"])
    own = Single(make_stream("cued-recall", seed=7))
    same(of_cues(own), make_single("cued-recall").reset(seed=7)[0]["observation"]["cue"])


@every_mode
def test_a_later_reset_goes_on_with_the_lives(mode: AutoresetMode) -> None:
    one, other = (make_vector("cued-recall", 2, blanks=2, autoreset_mode=mode) for _ in range(2))
    first, info = one.reset(seed=4)
    assert info["life_start"].all()
    other.reset(seed=4)
    for env in (one, other):
        env.step(np.zeros(2, np.int64))
    second = one.reset()
    same(second, other.reset())
    assert not second[1]["life_start"].any()
    assert second[1]["episode_start"].all()
    assert one.stream.episode.tolist() == [1, 1]
    assert not np.allclose(second[0]["observation"]["cue"], first["observation"]["cue"])
    assert one.stream.np_random_seed == 4
    same(one.reset(seed=4)[0], first)


def test_a_reset_keeps_what_the_last_step_has_begun() -> None:
    """As TorchRL asks for it where all episodes ended at once; a second reset begins the next."""
    env = make_vector("cued-recall", 2)
    env.reset(seed=4)
    obs = env.step(np.zeros(2, np.int64))[0]
    same(env.reset()[0], obs)
    assert env.stream.episode.tolist() == [1, 1]
    env.reset()
    assert env.stream.episode.tolist() == [2, 2]


def test_a_later_reset_of_one_life_goes_on_with_the_life() -> None:
    single = make_single("cued-recall", cues=1, schedule="cyclic:1")
    cue = of_cues(single)
    single.step(0)
    same(of_cues(single), cue)  # its only cue
    assert not np.allclose(single.reset(seed=single.stream.seed + 1)[0]["observation"]["cue"], cue)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.uint64])
def test_seeds_are_integers_of_numpy_too(kind: type[np.integer[Any]]) -> None:
    for make in (make_single, make_vector, make_stream):
        same(make("cued-recall").reset(seed=kind(9)), make("cued-recall").reset(seed=9))
        same(make("cued-recall", seed=kind(9)).reset(), make("cued-recall").reset(seed=9))
    stream = make_stream("cued-recall")
    stream.reset(seed=np.uint64(2**64 - 1))  # an evaluation life
    assert type(stream.seed) is int
    with pytest.raises(TypeError, match=r"seed must be an integer, got 1\.5"):
        stream.reset(seed=1.5)
    with pytest.raises(ValueError, match="seed must be 0 to"):
        stream.reset(seed=np.int64(-1))


SETTINGS: dict[str, dict[str, Any]] = {
    "cued-recall": {"cues": 5, "answers": 3, "size": 4, "blanks": 1, "life_episodes": 9, "change_at": 4},
    "colour-rule": {"colours": 3, "size": 7, "max_steps": 9, "life_episodes": 5},
    "reversal": {"hazard": 0.25, "reward_probability": 0.75, "contexts": 2, "life_episodes": 9},
    "dark-room": {"size": 5, "max_steps": 6, "maps": 2, "life_episodes": 5},
    "map-change": {"size": 7, "max_steps": 6, "nearest": 2, "maps": 2, "life_episodes": 5},
    "doors": {"doors": 3, "colours": 4, "depth": 2, "max_steps": 6, "life_episodes": 5},
    "cartpole-sign": {"life_episodes": 3},
    "rooms": {"max_steps": 5, "life_episodes": 4},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_numbers_of_numpy_too(name: str) -> None:
    plain = SETTINGS[name]
    of_numpy = {key: np.int64(value) if isinstance(value, int) else np.float32(value) for key, value in plain.items()}
    streams = [make_stream(name, 3, **plain), make_stream(name, np.int64(3), **of_numpy)]
    results = [stream.reset(seed=1) for stream in streams]
    for _ in range(60):
        same(results[1], results[0])
        actions = streams[0].action_space.sample()
        results = [stream.step(actions) for stream in streams]
    assert repr(streams[0].observation_space) == repr(streams[1].observation_space)


# ---- autoreset -------------------------------------------------------------------------------------------------------


def test_a_step_after_the_end_is_refused_where_nothing_resets() -> None:
    env = make_vector("cued-recall", 2, autoreset_mode="DISABLED")
    actions = np.zeros(2, np.int64)
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset_mask before the first reset"):
        env.reset(options={"reset_mask": np.ones(2, np.bool_)})
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(actions)
    env.reset(seed=0)
    env.step(actions)
    with pytest.raises(gymnasium.error.ResetNeeded, match=re.escape("slots [0, 1], and autoreset_mode is DISABLED")):
        env.step(actions)
    obs, info = env.reset(options={"reset_mask": np.array([True, False])})
    assert obs["episode_start"][:, 0].tolist() == [1, 0]
    assert info["_episode_start"].tolist() == [True, False]
    with pytest.raises(gymnasium.error.ResetNeeded, match=re.escape("slots [1]")):
        env.step(actions)
    env.reset(options={"reset_mask": np.array([False, True])})
    env.step(actions)


def test_an_episode_that_is_given_up_is_counted() -> None:
    env = make_vector("cued-recall", 2, blanks=3, autoreset_mode="DISABLED")
    env.reset(seed=0)
    env.step(np.zeros(2, np.int64))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.stream.episode.tolist() == [1, 0]
    assert env.stream.episode_length.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("options", "seed", "error", "message"),
    [
        ({"reset_mask": [True, True]}, None, TypeError, "must be an array of bool, got list"),
        ({"reset_mask": np.ones(2)}, None, TypeError, "must be an array of bool, got float64"),
        ({"reset_mask": np.ones(3, np.bool_)}, None, ValueError, r"must be \[2\] and true somewhere, got \["),
        ({"reset_mask": np.zeros(2, np.bool_)}, None, ValueError, "true somewhere"),
        ({"reset_mask": np.ones(2, np.bool_)}, 3, ValueError, "none beside reset_mask: seed=3"),
        ({"level": 1}, None, ValueError, r"no options of reset, got {'level': 1}"),
        ({"level": 1, "reset_mask": np.ones(2, np.bool_)}, None, ValueError, "no options of reset"),
    ],
)
def test_wrong_options_of_reset_are_named(options: Any, seed: int | None, error: type[Exception], message: str) -> None:
    env = make_vector("cued-recall", 2)
    env.reset(seed=0)
    with pytest.raises(error, match=message):
        env.reset(options=options, seed=seed)


def test_modes_are_named_as_gymnasium_does() -> None:
    for mode in (AutoresetMode.NEXT_STEP, "NEXT_STEP", "next_step", "NextStep"):
        env = make_vector("cued-recall", 2, autoreset_mode=mode)
        assert env.autoreset_mode is env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    with pytest.raises(ValueError, match="autoreset_mode must be one of NEXT_STEP, SAME_STEP, DISABLED, got 'never'"):
        make_vector("cued-recall", 2, autoreset_mode="never")


def test_the_stream_is_in_it() -> None:
    env = gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=2, cues=5)
    assert isinstance(env, VectorStream)
    assert isinstance(env.unwrapped, TaskStream)
    assert len(env.stream.tasks) == 5
    assert env.spec is not None


def test_a_broken_environment_is_told_in_every_mode() -> None:
    env = make_vector("cartpole-sign", 2, autoreset_mode="NEXT_STEP")
    env.reset(seed=0)
    env.stream._steps[1] = lambda move: 1 / 0
    with pytest.raises(StreamError, match="ZeroDivisionError"):
        env.step(np.zeros(2, np.int64))


# ---- other libraries -------------------------------------------------------------------------------------------------


def test_gymnasiums_vector_wrappers_fit() -> None:
    for mode in ("NEXT_STEP", "DISABLED"):
        env = make_vector("doors", 3, autoreset_mode=mode)
        flattened = wrappers.FlattenObservation(env)
        obs, _ = flattened.reset(seed=0)
        theirs = np.asarray(obs, np.float32)
        same(make_vector("doors", 3, flat=True).reset(seed=0)[0], theirs)
    env = wrappers.NormalizeObservation(make_vector("doors", 3, autoreset_mode="NEXT_STEP", flat=True))
    env.reset(seed=0)
    assert np.isfinite(env.step(np.zeros(3, np.int64))[0]).all()
    for mode in AutoresetMode:
        listed = wrappers.DictInfoToList(make_vector("cued-recall", 3, autoreset_mode=mode))
        assert listed.reset(seed=0)[1][2]["life_start"]
        infos = listed.step(np.zeros(3, np.int64))[4]
        last = [info["final_info"] if mode is AutoresetMode.SAME_STEP else info for info in infos]
        assert [info["row"]["length"] for info in last] == [1, 1, 1]
    env = wrappers.RecordEpisodeStatistics(make_vector("reversal", 3, autoreset_mode="NEXT_STEP"))
    env.reset(seed=0)
    assert max(info["episode"]["l"].max() for info in played(env, 6) if "episode" in info) == 2


def test_a_loop_of_cleanrl_runs() -> None:
    """Storage of [T, B, ...], `next_done`, and the statistics of finished episodes, as in its `ppo.py`."""
    env = wrappers.RecordEpisodeStatistics(
        gymnasium.make_vec("lifelong/Reversal-v0", num_envs=4, autoreset_mode=AutoresetMode.NEXT_STEP, flat=True)
    )
    assert env.single_observation_space.shape is not None
    obs = np.zeros((32, 4, *env.single_observation_space.shape), np.float32)
    actions = np.zeros((32, 4, *(env.single_action_space.shape or ())), np.int64)
    rewards, dones = np.zeros((32, 4)), np.zeros((32, 4))
    next_obs, _ = env.reset(seed=1)
    next_done, lengths = np.zeros(4), []
    for step in range(32):
        obs[step], dones[step] = next_obs, next_done
        actions[step] = obs[step].argmax(-1) % 2
        next_obs, rewards[step], terminated, truncated, infos = env.step(actions[step])
        next_done = np.logical_or(terminated, truncated)
        lengths += [infos["episode"]["l"][slot] for slot in np.flatnonzero(infos.get("_episode", np.zeros(4)))]
    assert set(lengths) == {2}
    assert (rewards[dones == 1] == 0).all()  # steps that only reset
    assert rewards.sum() > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_stable_baselines_learn() -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    make_vec_env = pytest.importorskip("stable_baselines3.common.env_util").make_vec_env
    env = make_vec_env("lifelong/Reversal-v0", n_envs=4, env_kwargs={"flat": True})
    sb3.PPO("MlpPolicy", env, n_steps=16, batch_size=32).learn(128)
