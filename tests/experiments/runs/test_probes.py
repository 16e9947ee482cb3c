"""Agents of known truth are asked at chosen lags: what comes out is that truth, and the living agent never notices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents import ActorCritic, Backbone, Encoder, Rollout
from lifelong.envs import TaskStream, make_stream
from lifelong.experiments.runs import probes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import live_frozen
from lifelong.experiments.runs.probes import ask_at_lags, check_lags, length_of_life, refusal
from lifelong.experiments.runs.summary import retention_of
from lifelong.memory import Memory

CUES, ANSWERS, SIZE = 32, 4, 4


class Pairs(Memory):
    """Holds the last `slots` pairs of a cue and its answer, and the cue whose answer is yet to come."""

    def __init__(self, slots: int) -> None:
        super().__init__(8)
        self.slots = slots

    def initial_state(self, batch: int) -> TensorDict:
        state = {"cues": self.zeros(batch, self.slots, SIZE), "answers": self.zeros(batch, self.slots) - 1}
        return TensorDict(state | {"last": self.zeros(batch, SIZE)}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        return x, self.restart(state, start).clone()


class Rememberer(ActorCritic):
    """Stores what is revealed with probability `stored`, first in first out; answers what it holds, else any."""

    def __init__(self, env: TaskStream, slots: int, stored: float = 1.0) -> None:
        space = env.single_observation_space
        super().__init__(Encoder(space, 8), Backbone([Pairs(slots)]), env.single_action_space)
        self.stored = stored

    def act(
        self,
        observation: TensorDict,
        state: TensorDict | None = None,
        start: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[TensorDict, TensorDict]:
        policy_out, after = super().act(observation, state, start, mask=mask, deterministic=deterministic)
        leaves = {name[-1]: tensor for name, tensor in after.items(True, True)}
        cues, answers, last = leaves["cues"], leaves["answers"], leaves["last"]
        cue, revealed = observation["observation", "cue"], observation["observation", "revealed"].long()
        write = (revealed < ANSWERS) & (torch.rand(len(cue)) < self.stored)
        for kept, new in ((cues, last), (answers, revealed.float())):
            pushed = torch.cat([new[:, None], kept[:, :-1]], 1)
            kept.copy_(torch.where(write.view(-1, *[1] * (kept.ndim - 1)), pushed, kept))
        last.copy_(cue)
        found = (cues == cue[:, None]).all(-1) & (answers >= 0)
        known = answers.gather(1, found.int().argmax(1, keepdim=True))[:, 0].long()
        policy_out["action"] = torch.where(found.any(1), known, torch.randint(ANSWERS, known.shape))
        return policy_out, after


def stream(lives: int, cues: int = CUES, meetings: int = 1, **changes: Any) -> TaskStream:
    settings = {"answers": ANSWERS, "size": SIZE, "schedule": f"once:meetings={meetings}", "seed": 3}
    return make_stream("cued-recall", lives, cues=cues, life_episodes=None, **settings | changes)


def asked(
    lives: int, slots: int, lags: tuple[int, ...], *, stored: float = 1.0, meetings: int = 1, cues: int = CUES
) -> tuple[Any, Any]:
    env, copies = stream(lives, cues, meetings), stream(lives, cues, meetings)
    episodes = length_of_life(env, lags, meetings)
    policy = Rememberer(env, slots, stored)
    return ask_at_lags(policy, env, copies, lags, episodes=episodes, meetings=meetings), env


@pytest.mark.parametrize("slots", [7, 8, 20])
def test_a_cache_is_right_up_to_its_size_exactly_and_not_beyond(slots: int) -> None:
    lags = (2, 4, 7, 8, 9, 16, 20, 21, 32, 64)
    rows, env = asked(16, slots, lags)
    curve = retention_of(rows, env, exact=True)
    assert curve.lags == lags
    for lag, rho in zip(curve.lags, curve.rho, strict=True):
        assert rho == (1.0 if lag <= slots else pytest.approx(0.0, abs=0.12)), lag  # 250 rows and more each
    assert curve.half_life.high < 64  # forgetting is seen, though a cliff has no half-life


@pytest.mark.parametrize(("meetings", "truth"), [(1, 0.5), (2, 0.75)])
def test_a_store_of_every_second_meeting_is_flat_over_lag_at_equal_practice(meetings: int, truth: float) -> None:
    rows, env = asked(48, 4 * CUES, (2, 4, 8, 16, 32, 128), stored=0.5, meetings=meetings)
    assert set(rows["meetings"].tolist()) == {meetings}
    curve = retention_of(rows, env, exact=True)
    for low, rho, high in zip(curve.low, curve.rho, curve.high, strict=True):
        assert rho == pytest.approx(truth, abs=0.1)
        assert low - 0.06 < truth < high + 0.06
    assert curve.half_life.high == np.inf  # no forgetting is not ruled out


def test_questions_have_their_lag_and_load_and_are_balanced_over_tasks() -> None:
    lags = (2, 8, 32, 100)
    rows, _ = asked(64, 4, lags)
    assert set(rows["lag_episodes"].tolist()) == set(lags)
    for lag in lags:
        mine = rows["lag_episodes"] == lag
        assert mine.sum() >= 64 * 4
        asked_for = np.bincount(rows["task"][mine], minlength=CUES)
        assert asked_for[: CUES // 2].min() >= 0.75 * asked_for[: CUES // 2].max()
        assert not asked_for[CUES // 2 :].any()  # the distractors
        assert rows["load"][mine].max() <= min(lag - 1, CUES - 1)
        if lag <= 8:  # later distractors that came again stand between
            assert rows["load"][mine].mean() == pytest.approx(lag - 1, abs=1)
    question = np.stack([rows[name] for name in ("life", "episode", "task")])
    assert np.unique(question, axis=1).shape[1] == question.shape[1]


def everything(rollout: Rollout) -> dict[str, Any]:
    return {
        **{f"weight {name}": tensor.clone() for name, tensor in rollout.policy.state_dict().items()},
        **{f"memory {name}": tensor.clone() for name, tensor in rollout.state.items(True, True)},
        **{f"observation {name}": tensor.clone() for name, tensor in rollout.observation.items(True, True)},
        **{f"position {name}": torch.as_tensor(array) for name, array in rollout.env.position().items()},  # type: ignore[attr-defined]
        "start": rollout.start.clone(),
        "torch": torch.get_rng_state(),
    }


@pytest.mark.parametrize("blanks", [0, 2])
def test_the_living_agent_and_its_stream_are_bit_identical_before_and_after(
    blanks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, copies, twin = (stream(5, blanks=blanks) for _ in range(3))
    rollouts: list[Rollout] = []
    compared = 0
    ask, collect = probes._ask, Rollout.collect

    def noted(self: Rollout, length: int) -> Any:
        rollouts.append(self)
        return collect(self, length)

    def checked(*given: Any) -> Any:
        nonlocal compared
        living = rollouts[0]
        before = everything(living)
        rows = ask(*given)
        after = everything(living) | {"torch": before["torch"]}  # the copies' own source, restored by the caller
        changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
        assert changed == []
        compared += 1
        return rows

    monkeypatch.setattr(Rollout, "collect", noted)
    monkeypatch.setattr(probes, "_ask", checked)
    policy = Rememberer(env, 8)
    state = torch.get_rng_state()
    ask_at_lags(policy, env, copies, (2, 8), episodes=20, seed=4)
    assert compared > 10
    assert torch.equal(torch.get_rng_state(), state)
    steps = int(env.life_step.max())
    lived = env.position()
    live_frozen(policy, twin, steps, seed=4)  # without a question
    for name, column in twin.position().items():
        np.testing.assert_array_equal(column, lived[name], strict=True)


def test_asking_works_where_only_rewards_tell_and_lives_are_out_of_step() -> None:
    env, copies = (
        make_stream("doors", 6, doors=3, depth=2, colours=8, life_episodes=None, schedule="once") for _ in range(2)
    )
    policy = ActorCritic(Encoder(env.single_observation_space, 8), Backbone([Pairs(2)]), env.single_action_space)
    lags = check_lags(env, (), 1)
    assert lags == (1, 2, 4, 8)
    rows = ask_at_lags(policy, env, copies, lags, episodes=length_of_life(env, lags, 1))
    assert set(rows["lag_episodes"].tolist()) == set(lags)
    assert len({*rows["life"].tolist()}) == 6


REFUSED: list[tuple[Callable[[], TaskStream], str]] = [
    (lambda: make_stream("rooms", 2, task="empty-5x5"), "one task"),
    (lambda: make_stream("rooms", 2, task="empty-5x5,lavagaps5"), "learned over visits"),
    (lambda: make_stream("cued-recall", 2, cues=3), "at least 4 tasks to have others in between, it has 3"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_streams_that_cannot_be_asked_say_why(make: Callable[[], TaskStream], reason: str) -> None:
    assert reason in refusal(make())


def test_lags_are_powers_of_two_up_to_a_life_that_meets_every_task() -> None:
    env = stream(2, cues=20)
    assert refusal(env) == ""
    assert check_lags(env, (), 1) == (2, 4, 8, 16)
    assert check_lags(env, (), 2) == (2, 4, 8, 16, 32)
    assert check_lags(env, (9, 3, 9), 1) == (3, 9)
    with pytest.raises(UserError, match="lags must be at least 2, got 1: at lag 1 the answer that the last episode"):
        check_lags(env, (1, 4), 1)
