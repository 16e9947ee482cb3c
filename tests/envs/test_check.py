"""Every clause of `check_stream` can fail: one small broken stream for each."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lifelong.envs import References, StreamContractError, Task, TaskStream, check_stream, make_stream
from lifelong.envs.check import CLAUSES
from lifelong.envs.rng import Purpose, uniform
from lifelong.envs.schedules import Cyclic


class Guess(TaskStream):
    """Two tasks in turn; an episode of three steps with rewarded guesses."""

    scores = References(random=0.5, oracle=3.0)

    def __init__(self, num_envs: int = 1, *, seed: int = 0, boundary: Any = "none", life_episodes: int = 4) -> None:
        super().__init__(
            num_envs,
            tasks=[Task("one", self.scores), Task("other", self.scores)],
            observation_space=spaces.Box(-np.inf, np.inf, (1,), np.float32),
            action_space=spaces.Discrete(3),
            schedule=Cyclic(1),
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )

    def drawn(self) -> NDArray[np.float64]:
        return uniform(self.seed, Purpose.EPISODE, self.life, self.episode, self.episode_length)

    def _begin_episodes(self, slots: NDArray[np.int64]) -> None:
        pass

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        over = self.episode_length == 2
        return self.drawn() * actions, over & (self.task == 0), over & (self.task == 1)

    def _observe(self) -> Any:
        return self.drawn()[:, None].astype(np.float32)


class OfOtherSpaces(Guess):
    def __init__(self, num_envs: int = 1, **others: Any) -> None:
        super().__init__(num_envs, **others)
        self.action_space = batch_space(self.single_action_space, num_envs + 1)


class OutOfSpace(Guess):
    def _observe(self) -> Any:
        return super()._observe().astype(np.float64)


class Infinite(Guess):
    def _observe(self) -> Any:
        return np.where(self.episode_length == 2, np.inf, self.drawn())[:, None].astype(np.float32)


class WrongFlags(Guess):
    def step(self, actions: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(actions)
        return obs, reward, terminated, truncated, info | {"task_start": ~info["life_start"]}


class Telling(Guess):
    def reset(self, **options: Any) -> Any:
        obs, info = super().reset(**options)
        return (obs | {"task": self.task.copy()}, info) if self.boundary == "none" else (obs, info)


class Crowded(Guess):
    def _observe(self) -> Any:
        return super()._observe() + self.num_envs


class Unrepeatable(Guess):
    resets = 0

    def reset(self, **options: Any) -> Any:
        self.resets += 1
        return super().reset(**options)

    def _observe(self) -> Any:
        return super()._observe() + self.resets


class OfFewSeeds(Guess):
    def __init__(self, num_envs: int = 1, *, seed: int = 0, **others: Any) -> None:
        super().__init__(num_envs, seed=seed % 2**31, **others)


class NotResumed(Guess):
    def __init__(self, num_envs: int = 1, **others: Any) -> None:
        super().__init__(num_envs, **others)
        self.sum = np.zeros(num_envs)

    def _begin_episodes(self, slots: NDArray[np.int64]) -> None:
        self.sum[slots] = 0

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        self.sum += actions + 1
        return super()._step(actions)

    def _observe(self) -> Any:
        return self.sum[:, None].astype(np.float32) + super()._observe()


class ResumedAnyhow(Guess):
    def resume(self, position: dict[str, NDArray[Any]]) -> Any:
        return self.reset() if len(position["met"]) != self.num_envs else super().resume(position)


class Lenient(Guess):
    def step(self, actions: Any) -> Any:
        return super().step(np.clip(actions, 0, 2))


class Hasty(Guess):
    def step(self, actions: Any) -> Any:
        if self.vector_steps < 0:
            self.reset()
        return super().step(actions)


class Overwriting(Guess):
    def __init__(self, num_envs: int = 1, **others: Any) -> None:
        super().__init__(num_envs, **others)
        self.buffer = np.zeros((num_envs, 1), np.float32)

    def _observe(self) -> Any:
        self.buffer[:] = super()._observe()
        return self.buffer


class WithoutAColumn(Guess):
    def end(self, slots: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {name: column for name, column in super().end(slots).items() if name != "answer"}


class WrongVisits(Guess):
    def end(self, slots: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        columns = super().end(slots)
        return columns | {"visit": columns["visit"] + 1}


class WrongReturns(Guess):
    def end(self, slots: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        columns = super().end(slots)
        return columns | {"return": columns["return"] * 2 + 1}


class OfNoMeasure(Guess):
    retention = "lag"


class OfUnknownReferences(Guess):
    retention = "index"


class OfUnknownSuccess(Guess):
    retention = "recall"


class Wandering(Guess):
    """Something hidden changes from episode to episode, and only a whole position knows it."""

    def __init__(self, num_envs: int = 1, **others: Any) -> None:
        super().__init__(num_envs, **others)
        self.hidden = np.zeros(num_envs)

    def _begin_lives(self, slots: NDArray[np.int64]) -> None:
        self.hidden[slots] = 0

    def _begin_episodes(self, slots: NDArray[np.int64]) -> None:
        self.hidden[slots] += 1

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        reward, terminated, truncated = super()._step(actions)
        return reward + self.hidden, terminated, truncated

    def position(self) -> dict[str, NDArray[Any]]:
        return super().position() | {"hidden": self.hidden.copy()}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        self.hidden[:] = position["hidden"]


class Restored(Wandering):
    def _restore_lives(self, position: dict[str, NDArray[Any]], slots: NDArray[np.int64]) -> None:
        self.hidden[:] = position["hidden"][slots] - 1  # before the unfinished episodes


class DeclaredUnforkable(Wandering):
    unforkable = "what is hidden wanders"


class OfOneWorld(Guess):
    """All streams of this class play in one world; only copies that live beside each other show it."""

    world: ClassVar[dict[tuple[int, int], int]] = {}

    def _begin_episodes(self, slots: NDArray[np.int64]) -> None:
        for slot in slots:
            self.world[int(self.life[slot]), self.seed] = int(self.episode[slot])

    def position(self) -> dict[str, NDArray[Any]]:
        episodes = [self.world.get((int(life), self.seed), 0) for life in self.life]
        return super().position() | {"world": np.array(episodes)}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        for life, episode in zip(self.life, position["world"], strict=True):
            self.world[int(life), self.seed] = int(episode)


class UnlikeSingle(Guess):
    def step(self, actions: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(actions)
        return obs, reward, terminated, truncated, info | {"luck": np.zeros(self.num_envs)}


class SeenThroughAView(Guess):
    """What is shown is a view of what is written; in a copy it is an array of its own."""

    def __init__(self, num_envs: int = 1, **others: Any) -> None:
        super().__init__(num_envs, **others)
        self.written = np.zeros(num_envs)
        self.shown = self.written[:, None]

    def _observe(self) -> Any:
        self.written[:] = self.drawn()
        return self.shown.astype(np.float32)


class Restless(Guess):
    """Rewards depend on how often `_step` was called in the life, at rest too."""

    unforkable = "it counts its steps"

    def __init__(self, num_envs: int = 1, **others: Any) -> None:
        super().__init__(num_envs, **others)
        self.taken = np.zeros(num_envs, np.int64)

    def _begin_lives(self, slots: NDArray[np.int64]) -> None:
        self.taken[slots] = 0

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        self.taken += 1
        reward, terminated, truncated = super()._step(actions)
        return reward * (1 + self.taken % 2), terminated, truncated

    def position(self) -> dict[str, NDArray[Any]]:
        return super().position() | {"taken": self.taken.copy()}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        self.taken[:] = position["taken"]


class OutOfOrder(Guess):
    scores = References(random=0.5, oracle=0.1)


BROKEN: dict[str, Callable[..., Any]] = {
    "it is a task stream": lambda num_envs, **others: Guess(num_envs + 1, **others),
    "spaces are batches of those of one life": OfOtherSpaces,
    "spaces contain what comes out": OutOfSpace,
    "numbers are finite": Infinite,
    "flags agree": WrongFlags,
    "tasks are told only when asked for": Telling,
    "a life does not depend on its neighbours": Crowded,
    "a seed says everything": Unrepeatable,
    "another seed makes other lives": OfFewSeeds,
    "a stream goes on from its position": NotResumed,
    "a position of other sizes is refused": ResumedAnyhow,
    "an action that is none is refused": Lenient,
    "wrong calls are refused": Hasty,
    "what was given stays as it was": Overwriting,
    "rows have their columns": WithoutAColumn,
    "lags and visits are those of the sequence": WrongVisits,
    "rows add up": WrongReturns,
    "retention has its columns": OfNoMeasure,
    "copies live as the life would": Wandering,
    "one life alone is that among others": UnlikeSingle,
    "a copy goes on alike": SeenThroughAView,
    "lives rest while others step": Restless,
    "reference scores are in order": OutOfOrder,
}


def test_a_stream_that_keeps_its_promises_is_told_what_was_checked() -> None:
    checked = check_stream(Guess)
    assert checked.clauses == tuple(CLAUSES)
    assert (checked.lives, checked.episodes) == (16, 20)


@pytest.mark.parametrize("clause", BROKEN)
def test_a_broken_promise_is_named(clause: str) -> None:
    with pytest.raises(StreamContractError, match=f"^{clause}: ") as caught:
        check_stream(BROKEN[clause])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (OfNoMeasure, "retention must be one of recall, index, gain or None, got 'lag'"),
        (OfUnknownReferences, "with retention='index' within of a row must be known; of task 'one' it is NaN"),
        (OfUnknownSuccess, "with retention='recall' success of a row must be known; of task 'one' it is NaN"),
    ],
)
def test_what_retention_needs_is_named(stream: type[Guess], message: str) -> None:
    with pytest.raises(StreamContractError, match=f"^retention has its columns: {message}$"):
        check_stream(stream)


def test_a_copy_that_lives_otherwise_is_told() -> None:
    with pytest.raises(StreamContractError, match=r"reward and ends of a copy in step . differs in 0: expected "):
        check_stream(Wandering)
    assert check_stream(Restored).clauses == check_stream(DeclaredUnforkable).clauses == tuple(CLAUSES)


def test_copies_that_reach_the_stream_are_told() -> None:
    with pytest.raises(StreamContractError, match=r"position after its copies have lived task . differs in world"):
        check_stream(OfOneWorld)


def test_reference_policies_without_an_oracle_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.envs.check.reference_policies", lambda stream: {"random": None})
    with pytest.raises(
        StreamContractError, match=r"^reference policies can act: there must be .* 'oracle', got random"
    ):
        check_stream(Guess)


def test_every_clause_can_fail() -> None:
    assert {*BROKEN, "reference policies can act"} == {*CLAUSES}


def test_what_an_environment_raises_is_filed_under_its_clause() -> None:
    class Raising(Guess):
        def _observe(self) -> Any:
            raise OSError("no\nview")

    with pytest.raises(StreamContractError, match=r"^spaces contain what comes out: OSError: no view$"):
        check_stream(Raising)


def test_a_stream_in_which_nothing_is_drawn_says_so() -> None:
    checked = check_stream("rooms", task="empty-5x5", deterministic=True)
    assert checked.clauses == tuple(CLAUSES)
    with pytest.raises(StreamContractError, match=r"^another seed makes other lives: .* if nothing is drawn say so"):
        check_stream("rooms", task="empty-5x5")
    with pytest.raises(StreamContractError, match=r"^another seed makes other lives: nothing is drawn, but"):
        check_stream(Guess, deterministic=True)


def test_names_and_settings_are_those_of_make_stream() -> None:
    assert check_stream("reversal", life_episodes=5).lives > 2
    with pytest.raises(KeyError, match="did you mean 'reversal'"):
        check_stream("reversl")
    with pytest.raises(TypeError, match="contexts"):
        check_stream("reversal", context=2)
    with pytest.raises(ValueError, match="hazard=2"):
        check_stream("reversal", hazard=2)
    with pytest.raises(ValueError, match="steps must be at least 12: steps=3"):
        check_stream(make_stream, steps=3)
