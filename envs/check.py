"""Conformance test of task streams, as gymnasium's `check_env` is for environments.

    check_stream(MyStream)                 # anything that is called with num_envs and the keywords seed and boundary
    check_stream("reversal", contexts=3)   # or a name, as `make_stream` takes it

Every clause is one part of the contract of `TaskStream`. They run in the order of `CLAUSES`; the first violation raises
under the clause's name. Actions are random and depend only on the life and its step. Properties of many episodes are
checked as far as the steps go, so give short episodes and lives; the summary says how many were seen.

Shapes: B = `num_envs` lives.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lifelong.action_spaces import as_actions, is_nested, no_action, previous_entry, row_like, spread_rows
from lifelong.envs.fork import fork
from lifelong.envs.references.certificate import ROLES
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.registry import make_stream
from lifelong.envs.rng import Purpose, evaluation_seed, uniform
from lifelong.envs.single_env import Single
from lifelong.envs.stream import ROW, TaskStream
from lifelong.envs.task import Retention
from lifelong.envs.vector_env import VectorStream

__all__ = ["CLAUSES", "StreamCheck", "StreamContractError", "check_stream"]

_ALWAYS = {"observation", "previous_action", "previous_reward", "episode_start"}
_FLAGS = ("episode_start", "task_start", "life_start")
_MEASURED = 0.03  # tolerance of measured reference scores, as a share of oracle - random


class StreamContractError(AssertionError):
    """A stream breaks the contract of `TaskStream`; the message is one line that begins with the clause's name."""


class StreamCheck(NamedTuple):
    """Summary of a stream that keeps the contract."""

    clauses: tuple[str, ...]
    """Names of the clauses, in the order in which they were checked."""
    lives: int
    """Lives of which at least one episode ended, while lags were checked."""
    episodes: int
    """Episodes that ended in one life after another, while sums were checked."""


class Broken(Exception):  # noqa: N818  never leaves this file
    """Message of a violated clause, without its name."""


class Trial:
    """Inputs of every clause.

    Args:
        make: returns a new stream of `num_envs` lives; takes the keywords `seed` and `boundary`.
        steps: of the longest life that is compared.
        seed: of the lives.
        deterministic: whether the stream has no randomness.
    """

    def __init__(self, make: Callable[..., TaskStream], steps: int, seed: int, deterministic: bool) -> None:
        self.make, self.steps, self.seed, self.deterministic = make, steps, seed, deterministic
        self.lives = self.episodes = 0


def check_stream(
    stream: str | Callable[..., TaskStream],
    *,
    steps: int = 120,
    seed: int = 3,
    deterministic: bool = False,
    **options: Any,
) -> StreamCheck:
    """Check that a stream keeps the contract of `TaskStream`.

    Args:
        stream: name of a stream, or a class or function that is called with `num_envs` and the keywords `seed` and
            `boundary`, and returns a new stream.
        steps: of the longest life that is compared; at least 12.
        seed: of the lives.
        deterministic: whether the stream has no randomness, so that the lives of all seeds must be the same.
        **options: settings of the stream.

    Returns:
        The summary of the checks.

    Raises:
        StreamContractError: if a clause is violated.
        KeyError: if no stream has that name.
        TypeError: if the stream does not take the options.
        ValueError: if it does not take their values, or `steps` is below 12.
    """
    if steps < 12:
        raise ValueError(f"steps must be at least 12: steps={steps}")

    def make(num_envs: int, **others: Any) -> TaskStream:
        if isinstance(stream, str):
            return make_stream(stream, num_envs, **options, **others)
        return stream(num_envs, **options, **others)

    make(1).close()  # arguments that the constructor rejects violate no clause
    trial = Trial(make, steps, seed, deterministic)
    for name, clause in CLAUSES.items():
        try:
            clause(trial)
        except Broken as broken:
            raise StreamContractError(f"{name}: {broken}") from None
        except Exception as error:
            reason = " ".join(str(error).split())
            raise StreamContractError(f"{name}: {type(error).__name__}: {reason}") from error
    return StreamCheck(tuple(CLAUSES), trial.lives, trial.episodes)


# The clauses.


def it_is_a_task_stream(trial: Trial) -> None:
    """Check that the stream is a `TaskStream` of `num_envs` lives with same-step autoreset."""
    for num_envs in (1, 3):
        stream = trial.make(num_envs)
        if not isinstance(stream, TaskStream):
            raise Broken(f"it must be a lifelong.envs.TaskStream, got {type(stream).__name__}")
        if stream.num_envs != num_envs:
            raise Broken(f"num_envs must be {num_envs}, as asked for, got {stream.num_envs}")
    if stream.metadata["autoreset_mode"] is not AutoresetMode.SAME_STEP:
        raise Broken(f"autoreset_mode must be SAME_STEP, got {stream.metadata['autoreset_mode']}")


def spaces_are_batches_of_those_of_one_life(trial: Trial) -> None:
    """Check that the batched spaces are B copies of those of one life."""
    stream = trial.make(3)
    for what in ("action_space", "observation_space"):
        got, want = getattr(stream, what), batch_space(getattr(stream, f"single_{what}"), 3)
        if got != want:
            raise Broken(f"{what} must be {want}, got {got}")


def spaces_contain_what_comes_out(trial: Trial) -> None:
    """Check that observations, `final_obs` included, are in their space and arrays are [B] of their types."""
    stream = trial.make(3, boundary="task_id")
    obs, info = stream.reset()
    all_obs = [obs]
    for _ in range(trial.steps):
        obs, reward, terminated, truncated, info = stream.step(_actions(stream))
        all_obs.append(obs)
        ends = {"reward": reward, "terminated": terminated, "truncated": truncated}
        for name, value in (ends | {name: info[name] for name in _FLAGS}).items():
            kind = np.float64 if name == "reward" else np.bool_
            if value.shape != (3,) or value.dtype != kind:
                raise Broken(f"{name} must be {np.dtype(kind)} [3], got {value.dtype} {list(value.shape)}")
        if ("final_obs" in info) != truncated.any():
            raise Broken(f"info must have final_obs where episodes were truncated: {truncated=}, info has {[*info]}")
        all_obs += [info["final_obs"]] if "final_obs" in info else []
    for obs in all_obs:
        if not stream.observation_space.contains(obs):
            raise Broken(f"an observation is not in {stream.observation_space}: {_outside(stream, obs)}")
    stream.close()
    stream.close()


def numbers_are_finite(trial: Trial) -> None:
    """Check that observations and rewards are finite."""
    stream = trial.make(3)
    obs, reward = stream.reset()[0], np.zeros(3)
    for step in range(trial.steps):
        for name, leaf in (_flat(obs) | {"reward": reward}).items():
            if not np.isfinite(leaf).all():
                raise Broken(f"{name} must be finite, got {leaf[~np.isfinite(leaf)][0]} in step {step}")
        obs, reward, *_ = stream.step(_actions(stream))


def flags_agree(trial: Trial) -> None:
    """Check start flags, previous action and previous reward in obs and info; a life starts a task and an episode."""
    stream = trial.make(3, boundary="flag")
    obs, info = stream.reset()
    if not info["life_start"].all():
        raise Broken("life_start must be true after reset")
    task, episode, space = info["task"], np.zeros(3, np.int64), stream.single_action_space
    for _ in range(trial.steps // 2):
        if (info["life_start"] & ~info["task_start"]).any() or (info["task_start"] & ~info["episode_start"]).any():
            raise Broken("life_start must imply task_start, and task_start episode_start")
        for name in ("episode_start", "task_start"):
            _equal(f"{name} of the observation", obs[name][:, 0], info[name])
        rows = _drawn(stream)
        obs, reward, terminated, truncated, info = stream.step(as_actions(space, rows))
        _equal("episode_start of info", info["episode_start"], terminated | truncated)
        _equal("task_start of info", info["task_start"], info["life_start"] | (info["task"] != task))
        fresh = info["episode_start"] if stream.sealed else info["life_start"]
        _equal("previous_reward", obs["previous_reward"][:, 0], np.where(fresh, 0, reward).astype(np.float32))
        previous, want = _flat(obs["previous_action"]), _flat(previous_entry(space, rows))
        nothing = _flat(previous_entry(space, no_action(space)[None]))
        for name, got in previous.items():
            _equal("/".join(filter(None, ("previous_action", name))), got[~fresh], want[name][~fresh])
            if not (got[fresh] == nothing[name]).all():
                raise Broken(f"previous_action must be {nothing[name][0]} where a life starts, got {got[fresh]}")
        task, episode = info["task"], np.where(info["life_start"], 0, episode + (terminated | truncated))
        if stream.life_episodes is not None and (episode >= stream.life_episodes).any():
            raise Broken(f"a life must end after {stream.life_episodes} episodes, one has {episode.max() + 1}")


def tasks_are_told_only_when_asked_for(trial: Trial) -> None:
    """Check that the observation has the entries that `boundary` adds, and no others."""
    for boundary, more in (("none", set()), ("flag", {"task_start"}), ("task_id", {"task"})):
        obs, info = trial.make(2, boundary=boundary).reset()
        if obs.keys() != _ALWAYS | more:
            raise Broken(f"with boundary={boundary!r} entries must be {sorted(_ALWAYS | more)}, got {sorted(obs)}")
    _equal("task of the observation", obs["task"], info["task"])


def a_life_does_not_depend_on_its_neighbours(trial: Trial) -> None:
    """Check that a life is a pure function of seed, number and actions, whatever `num_envs`."""
    alone = _lives(trial.make(1, seed=trial.seed), trial.steps * 3 // 4)
    for num_envs, steps in ((3, trial.steps // 3), (8, trial.steps // 6)):
        among, compared = _lives(trial.make(num_envs, seed=trial.seed), steps), 0
        for life in alone.keys() & among.keys():
            length = min(len(alone[life]), len(among[life]))
            compared += length
            if alone[life][:length] != among[life][:length]:
                raise Broken(f"life {life} is another one among num_envs={num_envs} than alone")
        if compared < min(steps, 80):
            raise Broken(f"num_envs={num_envs} has none of the lives of one alone: {sorted(among)}, {sorted(alone)}")


def a_seed_says_everything(trial: Trial) -> None:
    """Check that a seed, in the constructor or `reset`, reproduces its lives in the same stream and in another."""
    steps, seed = trial.steps // 4, trial.seed
    stream = trial.make(2, seed=seed)
    first = _lives(stream, steps)
    if _lives(stream, steps) != first:
        raise Broken("reset does not begin the same lives anew")
    if _lives(trial.make(2, seed=seed), steps) != first:
        raise Broken(f"two streams of seed={seed} differ")
    _same("what reset(seed=...) returns", stream.reset(seed=seed + 5), trial.make(2, seed=seed + 5).reset())
    _refused("reset with one seed for each life", lambda: stream.reset(seed=[1, 2]), TypeError, "one seed")


def another_seed_makes_other_lives(trial: Trial) -> None:
    """Check that lives of another seed differ unless deterministic, and so do evaluation lives of the same seed."""
    steps, seed = trial.steps // 4, trial.seed
    first = _lives(trial.make(2, seed=seed), steps)
    for other, what in ((seed + 1, "another seed"), (evaluation_seed(seed), "evaluation")):
        same = _lives(trial.make(2, seed=other), steps) == first
        if same and not trial.deterministic:
            raise Broken(f"lives of {what} are the same: seed={other} and seed={seed}; if nothing is drawn say so")
        if not same and trial.deterministic:
            raise Broken(f"nothing is drawn, but lives of {what} are others: seed={other} and seed={seed}")


def a_stream_goes_on_from_its_position(trial: Trial) -> None:
    """Check that a stream resumed from its position continues identically."""
    for steps in (step for step in (0, 1, 5, 23, 38) if step < trial.steps):
        stream, later = trial.make(3, seed=trial.seed), trial.make(3, seed=trial.seed + 1)
        there = stream.reset()
        for _ in range(steps):
            obs, *_, info = stream.step(_actions(stream))
            there = obs, {name: info[name] for name in (*_FLAGS, "task")}
        _same(f"what resume returns after {steps} steps", later.resume(stream.position()), there)
        for step in range(trial.steps // 4):
            got, want = later.step(_actions(later)), stream.step(_actions(stream))
            _same(f"step {step} of a stream resumed after {steps} steps", got, want)
        _same(f"the position of a stream resumed after {steps} steps", later.position(), stream.position())


def a_position_of_other_sizes_is_refused(trial: Trial) -> None:
    """Check that a position needs a reset, and fits only the same numbers of lives and tasks."""
    stream = trial.make(3)
    _refused("position before the first reset", stream.position, gymnasium.error.ResetNeeded)
    stream.reset()
    there = stream.position()
    _refused("resume of 3 lives in 2", lambda: trial.make(2).resume(there), ValueError, r"3 lives.*num_envs=2")
    more = there | {"met": np.pad(there["met"], ((0, 0), (0, 1)))}
    _refused("resume with a task too many", lambda: trial.make(3).resume(more), ValueError, "tasks")


def an_action_that_is_none_is_refused(trial: Trial) -> None:
    """Check that an invalid action raises ValueError and changes nothing."""
    stream = trial.make(2)
    stream.reset()
    stream.step(_actions(stream))
    space, before = stream.single_action_space, stream.position()
    wrong: list[Any] = [as_actions(space, row_like(space, 3))]
    if isinstance(space, spaces.Discrete):
        wrong += [[0, space.n], [-1, 0], [0.0, 1.0]]
    elif not is_nested(space):
        wrong += [np.full((2, *(space.shape or ())), np.nan)]
    for actions in wrong:
        _refused(f"step({actions})", partial(stream.step, actions), ValueError, "actions.* must be")
        _same(f"the position after step({actions})", stream.position(), before)


def wrong_calls_are_refused(trial: Trial) -> None:
    """Check that a step before the first reset, and invalid settings, raise errors."""
    stream = trial.make(3)
    nothing = as_actions(stream.single_action_space, row_like(stream.single_action_space, 3))
    _refused("step before the first reset", lambda: stream.step(nothing), gymnasium.error.ResetNeeded)
    _refused("num_envs=0", lambda: trial.make(0), ValueError, "num_envs=0")
    settings: list[dict[str, Any]] = [{"boundary": "loud"}, {"life_episodes": 0}]
    for wrong in settings:
        _refused(f"{wrong}", partial(trial.make, 3, **wrong), (ValueError, TypeError))


def what_was_given_stays_as_it_was(trial: Trial) -> None:
    """Check that a step does not write to arrays that an earlier one returned."""
    stream = trial.make(2)
    stream.reset()
    for _ in range(trial.steps // 6):
        given = stream.step(_actions(stream))
        kept = {name: leaf.copy() for name, leaf in _flat(given).items()}
        stream.step(_actions(stream))
        _same("what a step returned, after the next,", given, kept)


def rows_have_their_columns(trial: Trial) -> None:
    """Check that `info["episodes"]` has the columns of `ROW`, with one row for each episode that ended."""
    stream = trial.make(3)
    stream.reset()
    wanted = {name: np.dtype(kind) for name, kind in ROW.items()}
    for _ in range(trial.steps // 3):
        _, _, terminated, truncated, info = stream.step(_actions(stream))
        ended = terminated | truncated
        if (terminated & truncated).any():
            raise Broken("an episode must not be terminated and truncated at once")
        if ("episodes" in info) != ended.any():
            raise Broken(f"info must have episodes where some ended: {ended=}, info has {[*info]}")
        if "episodes" not in info:
            continue
        if (got := {name: column.dtype for name, column in info["episodes"].items()}) != wanted:
            raise Broken(f"columns must be {wanted}, got {got}")
        for name, column in info["episodes"].items():
            if column.shape != (ended.sum(),):
                raise Broken(f"column {name!r} must have a row for each of {ended.sum()} episodes, got {column.shape}")


def lags_and_visits_are_those_of_the_sequence(trial: Trial) -> None:
    """Check episode, visit, index in visit and lags of all rows against the life's sequence of tasks.

    Lags are not checked where they are not the task's, see `TaskStream.own_lags`.
    """
    stream = trial.make(2, seed=trial.seed)
    rows_of: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(stream, trial.steps * 3 // 4):
        rows_of[int(row["life"])].append(row)
    for life, rows in rows_of.items():
        tasks = [row["task"] for row in rows]
        starts = np.cumsum([0] + [row["length"] for row in rows])
        turns = np.cumsum([0] + [a != b for a, b in pairwise(tasks)])
        for i, (task, row) in enumerate(zip(tasks, rows, strict=True)):
            met = [j for j in range(i) if tasks[j] == task]
            want = {
                "episode": i,
                "visit": len({turns[j] for j in met} - {turns[i]}),
                "index_in_visit": sum(turns[j] == turns[i] for j in range(i)),
                "lag_episodes": i - met[-1] if met else -1,
                "lag_steps": starts[i] - starts[met[-1] + 1] if met else -1,
                "lag_tasks": max(turns[i] - turns[met[-1]] - 1, 0) if met else -1,
            }
            for name, value in want.items():
                if row[name] != value and not (stream.own_lags and name.startswith("lag_")):
                    raise Broken(f"{name} of episode {i} of life {life} must be {value}, got {row[name]}")
    trial.lives = len(rows_of)


def rows_add_up(trial: Trial) -> None:
    """Check step, length and return of all rows against the steps since the previous row."""
    stream = trial.make(1)
    stream.reset()
    gained, steps = 0.0, 0
    for step in range(1, trial.steps // 2 + 1):
        _, reward, terminated, truncated, info = stream.step(_actions(stream))
        gained, steps = gained + reward[0], steps + 1
        if terminated[0] or truncated[0]:
            row = {name: column[0] for name, column in info["episodes"].items()}
            if (row["step"], row["length"]) != (step, steps):
                raise Broken(f"step and length must be {step} and {steps}, got {row['step']} and {row['length']}")
            if not np.isclose(row["return"], gained, rtol=1e-6, atol=1e-12):
                raise Broken(f"return must be the sum of rewards, {gained}, got {row['return']}")
            gained, steps, trial.episodes = 0.0, 0, trial.episodes + 1


def retention_has_its_columns(trial: Trial) -> None:
    """Check that `retention` is a known measure and rows have what it needs: `within` and `cross`, or `success`.

    Once hidden answers have changed in a life, `within` and `cross` may be unknown.
    """
    stream = trial.make(2, seed=trial.seed)
    measure = stream.retention
    if measure not in (None, *get_args(Retention)):
        raise Broken(f"retention must be one of {', '.join(get_args(Retention))} or None, got {measure!r}")
    needed = {"index": ("within", "cross"), "recall": ("success",)}.get(measure or "", ())
    unknown = [stream.drifting and np.isnan(task.references.oracle) for task in stream.tasks]  # a task with drifts
    for row in _rows(stream, trial.steps // 2):
        told = not unknown[row["task"]] and (row["since_change"] < 0 or measure != "index")
        if missing := [name for name in needed if np.isnan(row[name]) and told]:
            task = stream.tasks[row["task"]].name
            raise Broken(f"with retention={measure!r} {missing[0]} of a row must be known; of task {task!r} it is NaN")


def copies_live_as_the_life_would(trial: Trial) -> None:
    """Check that `fork` begins the task that is asked for, and leaves the stream as it is.

    A copy that is asked for the task of an episode that has just begun lives that episode.
    """
    stream, copies, copy = (trial.make(n, seed=trial.seed + (n < 3), boundary="flag") for n in (3, 2, 1))
    obs, info = stream.reset()
    copies.reset()
    copy.reset()
    slots, slot, following = np.array([2, 1]), np.array([1]), False
    if stream.unforkable:
        there = stream.position()
        _refused("fork", lambda: fork(copies, there, slots, 0), ValueError, re.escape(stream.unforkable))
        return
    for step in range(trial.steps // 2):
        if step % 4 == 0:
            there, task = stream.position(), step // 4 % len(stream.tasks)
            _, told = fork(copies, there, slots, task, skip=step % 3)
            _equal(f"task of copies that are asked for task {task}", told["task"], np.full(2, task))
            copies.step(_actions(copies))
            _same(f"the position after its copies have lived task {task}", stream.position(), there)
        if info["episode_start"][1]:
            shown, told = fork(copy, stream.position(), slot, int(info["task"][1]))
            life_shown = {name: leaf[slot] for name, leaf in _flat(obs).items()}
            _same(f"the observation of a copy of a new episode in step {step}", shown, life_shown)
            _same(f"info of a copy of a new episode in step {step}", told, {k: info[k][slot] for k in told})
            following = True
        rows, life, space = _drawn(stream), stream.life[1], stream.single_action_space
        obs, *ends, info = stream.step(as_actions(space, rows))
        if not following:
            continue
        _, *own_ends, own_info = copy.step(as_actions(space, rows[slot]))
        _same(f"reward and ends of a copy in step {step}", tuple(own_ends), tuple(end[slot] for end in ends))
        following = not info["episode_start"][1]
        if not following:
            mine = info["episodes"]["life"] == life
            row = {name: column[mine] for name, column in info["episodes"].items() if name != "step"}
            _same(f"the row of a copy in step {step}", {name: own_info["episodes"][name] for name in row}, row)


def one_life_alone_is_that_among_others(trial: Trial) -> None:
    """Check that `Single` has the same life, except an episode's last observation, which is the terminal one."""
    single, stream = Single(trial.make(1, seed=trial.seed)), trial.make(1, seed=trial.seed)
    one_obs, one_info = single.reset()
    obs, info = stream.reset()
    for step in range(trial.steps // 2):
        _same(f"the observation of Single in step {step}", one_obs, {n: leaf[0] for n, leaf in _flat(obs).items()})
        _same(f"info of Single in step {step}", one_info, {name: value[0] for name, value in info.items()})
        drawn, space = _drawn(stream), stream.single_action_space
        one_obs, *one_ends, one_info = single.step(as_actions(space, drawn[0]))
        obs, *ends, info = stream.step(as_actions(space, drawn))
        if one_ends != [end[0] for end in ends]:
            raise Broken(f"reward and ends of Single in step {step} must be {[end[0] for end in ends]}, got {one_ends}")
        rows, final = info.pop("episodes", None), info.pop("final_obs", None)
        if rows is None:
            continue
        _same("the row of Single", one_info["row"], {name: column[0] for name, column in rows.items()})
        if final is not None:
            _same("the last observation of Single", one_obs, {n: leaf[0] for n, leaf in _flat(final).items()})
        _refused(
            "step of Single after the end",
            partial(single.step, as_actions(space, drawn[0])),
            gymnasium.error.ResetNeeded,
            "after the end",
        )
        one_obs, one_info = single.reset()


def a_copy_goes_on_alike(trial: Trial) -> None:
    """Check that `copy.deepcopy` of a stream, in the middle of its episodes, lives on as the stream itself does."""
    stream = trial.make(3)
    stream.reset()
    for _ in range(trial.steps // 8):
        stream.step(_actions(stream))
    twin = deepcopy(stream)
    for step in range(trial.steps // 4):
        actions = _actions(stream)
        _same(f"step {step} of a copy", twin.step(actions), stream.step(actions))


def lives_rest_while_others_step(trial: Trial) -> None:
    """Check that lives are the same with `NEXT_STEP`, where one whose episode ended rests while the others step."""
    steps = trial.steps // 4
    lives = _lives(trial.make(3), steps)
    for life, happened in _lives(VectorStream(trial.make(3), AutoresetMode.NEXT_STEP), steps).items():
        length = min(len(happened), len(lives[life]))
        if happened[:length] != lives[life][:length]:
            raise Broken(f"life {life} is another one where it rests while others step")


def reference_scores_are_in_order(trial: Trial) -> None:
    """Check random <= within <= cross <= oracle for each task, as far as they are known; none is infinite."""
    for task in trial.make(1).tasks:
        scores = {role: getattr(task.references, role) for role in ROLES}
        known = {role: score for role, score in scores.items() if not np.isnan(score)}
        if infinite := [role for role, score in known.items() if np.isinf(score)]:
            raise Broken(f"{infinite[0]} of task {task.name!r} must be finite or NaN, got {known[infinite[0]]}")
        slack = _MEASURED * abs(scores["oracle"] - scores["random"])
        for (lower, low), (upper, high) in pairwise(known.items()):
            if low > high + (0.0 if np.isnan(slack) else slack):
                raise Broken(f"{lower} of task {task.name!r} must not be above {upper}: {low}, {high}")


def reference_policies_can_act(trial: Trial) -> None:
    """Check that reference policies, if any, include random and oracle, and act within the action space."""
    stream = trial.make(2, seed=trial.seed)
    try:
        policies = reference_policies(stream)
    except ValueError:  # there is none for these levels
        return
    if missing := [role for role in (ROLES[0], ROLES[-1]) if policies and role not in policies]:
        raise Broken(f"there must be a reference policy {missing[0]!r}, got {', '.join(policies)}")
    for name, make in policies.items():
        policy, (obs, info) = make(), stream.reset()
        for _ in range(3):
            actions = policy.act(obs, info["life_start"])
            if not stream.action_space.contains(actions):
                raise Broken(f"actions of {name!r} must be in {stream.action_space}, got {actions!r}")
            obs, *_, info = stream.step(actions)


CLAUSES: Final[dict[str, Callable[[Trial], None]]] = {
    clause.__name__.replace("_", " "): clause
    for clause in (
        it_is_a_task_stream,
        spaces_are_batches_of_those_of_one_life,
        spaces_contain_what_comes_out,
        numbers_are_finite,
        flags_agree,
        tasks_are_told_only_when_asked_for,
        a_life_does_not_depend_on_its_neighbours,
        a_seed_says_everything,
        another_seed_makes_other_lives,
        a_stream_goes_on_from_its_position,
        a_position_of_other_sizes_is_refused,
        an_action_that_is_none_is_refused,
        wrong_calls_are_refused,
        what_was_given_stays_as_it_was,
        rows_have_their_columns,
        lags_and_visits_are_those_of_the_sequence,
        rows_add_up,
        retention_has_its_columns,
        copies_live_as_the_life_would,
        one_life_alone_is_that_among_others,
        a_copy_goes_on_alike,
        lives_rest_while_others_step,
        reference_scores_are_in_order,
        reference_policies_can_act,
    )
}
"""All clauses, in the order in which they are checked."""


# Helpers of the clauses.


def _actions(stream: TaskStream) -> Any:
    """Return random actions as a function of the life and its step."""
    return as_actions(stream.single_action_space, _drawn(stream))


def _drawn(stream: TaskStream) -> NDArray[Any]:
    """Return the rows of random actions; see `lifelong.action_spaces`."""
    space: Any = stream.single_action_space
    if isinstance(space, spaces.Discrete):
        return (uniform(7, Purpose.POLICY, stream.life, stream.life_step) * int(space.n)).astype(np.int64)
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f" or not space.is_bounded("both"):
        numbers = np.arange(no_action(space).size)
        life, life_step = stream.life[:, None], stream.life_step[:, None]
        return spread_rows(space, uniform(7, Purpose.POLICY, life, life_step, numbers))
    entries = np.arange(np.prod(space.shape)).reshape(space.shape)
    shape = stream.num_envs, *[1] * entries.ndim
    drawn = uniform(7, Purpose.POLICY, stream.life.reshape(shape), stream.life_step.reshape(shape), entries)
    forces: NDArray[Any] = (space.low + (space.high - space.low) * drawn).astype(space.dtype)
    return forces


def _lives(env: TaskStream | VectorStream, steps: int) -> dict[int, list[list[bytes]]]:
    """Return the transitions of each life, step by step."""
    happened: dict[int, list[list[bytes]]] = defaultdict(list)
    stream = env.stream if isinstance(env, VectorStream) else env
    waits = env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    obs, info = env.reset()
    resting = np.zeros(stream.num_envs, np.bool_)
    for _ in range(steps):
        before = [(slot, int(life)) for slot, life in enumerate(stream.life) if not resting[slot]]
        for slot, life in before:
            happened[life].append([leaf[slot].tobytes() for leaf in (*_flat(obs).values(), info["task"])])
        obs, *ends, info = env.step(_actions(stream))
        for slot, life in before:
            happened[life].append([end[slot].tobytes() for end in ends])
        resting = (ends[1] | ends[2]) & waits
    return happened


def _rows(stream: TaskStream, steps: int) -> list[dict[str, Any]]:
    stream.reset()
    tables = [stream.step(_actions(stream))[4].get("episodes") for _ in range(steps)]
    return [dict(zip(row, values, strict=True)) for row in tables if row for values in zip(*row.values(), strict=True)]


def _flat(tree: Any, name: str = "") -> dict[str, NDArray[Any]]:
    """Return the arrays of nested dicts, tuples and arrays of objects, by their path."""
    objects = isinstance(tree, np.ndarray) and tree.dtype == object
    tree = dict(enumerate(tree)) if isinstance(tree, tuple) or objects else tree
    if isinstance(tree, dict):
        return {k: v for key, inner in tree.items() for k, v in _flat(inner, f"{name}/{key}".lstrip("/")).items()}
    return {name: np.asarray(tree)}


def _same(what: str, got: Any, want: Any) -> None:
    got, want = _flat(got), _flat(want)
    if got.keys() != want.keys():
        raise Broken(f"{what} must have {sorted(want)}, got {sorted(got)}")
    for name, value in want.items():
        if not np.array_equal(got[name], value, equal_nan=value.dtype.kind == "f"):
            raise Broken(f"{what} differs in {name}: expected {_short(value)}, got {_short(got[name])}")


def _equal(what: str, got: NDArray[Any], want: NDArray[Any]) -> None:
    if not np.array_equal(got, want):
        raise Broken(f"{what} must be {_short(want)}, got {_short(got)}")


def _refused(
    what: str, call: Callable[[], Any], errors: type[Exception] | tuple[type[Exception], ...], message: str = ""
) -> None:
    """Check that a call raises one of the errors, with a message that matches."""
    names = " or ".join(kind.__name__ for kind in (errors if isinstance(errors, tuple) else (errors,)))
    try:
        call()
    except errors as error:
        if not re.search(message, str(error)):
            raise Broken(f"{what} must say {message!r}, says {str(error)!r}") from None
    else:
        raise Broken(f"{what} must raise {names}, and does not")


def _outside(stream: TaskStream, obs: dict[str, Any]) -> str:
    """Return the entries of an observation that are not in their spaces."""
    entries: Any = stream.observation_space
    out: Iterable[str] = (name for name, space in entries.items() if name not in obs or not space.contains(obs[name]))
    return ", ".join(f"{name}={_short(np.asarray(obs.get(name)))}" for name in out) or f"it has {sorted(obs)}"


def _short(value: NDArray[Any]) -> str:
    """Return an array in one line."""
    return " ".join(np.array2string(value, threshold=8, precision=4).split())
