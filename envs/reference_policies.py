"""Scripted policies that a stream's reference scores are held to.

They play streams whose episodes ask one question each (`QuestionStream`: CuedRecall, ColourRule), know how to give an
answer, and differ in what they know of the right one. A policy is a function of the stream and of what its lives have
learnt so far, and returns the next actions [B].

| policy | knows |
| --- | --- |
| random_policy | nothing, not even how to answer: uniform actions |
| within_episode_policy | how to answer; forgets at every episode's end, so it sticks to the first answer |
| cross_episode_policy | all that its life has shown: it never gives an answer that was wrong before |
| oracle_policy | what is hidden |
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.draws import Purpose, integers
from lifelong.envs.stream import ROW

__all__ = [
    "Knowledge",
    "Policy",
    "QuestionStream",
    "cross_episode_policy",
    "oracle_policy",
    "play",
    "random_policy",
    "within_episode_policy",
]

Ints = NDArray[np.int64]


class QuestionStream(Protocol):
    """A stream whose episodes ask one question each; the fields are those of `TaskStream`, CuedRecall, ColourRule."""

    num_envs: int
    tasks: tuple[Any, ...]
    single_action_space: Any
    seed: int
    life: Ints
    life_step: Ints
    answers: int
    feedback: str

    def reset(self) -> tuple[Any, Any]: ...  # noqa: D102
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]: ...  # noqa: D102
    def right_answers(self) -> Ints: ...  # noqa: D102
    def contexts(self) -> Ints: ...  # noqa: D102
    def toward(self, answers: Ints) -> Ints: ...  # noqa: D102


class Knowledge:
    """What lives have learnt of their questions: the answers that are ruled out, [B, questions, answers].

    When nothing is left the rule must have changed; then only the last failure counts.

    Args:
        stream: whose questions.
    """

    def __init__(self, stream: QuestionStream) -> None:
        self.wrong = np.zeros((stream.num_envs, len(stream.tasks), stream.answers), np.bool_)

    def learn(self, slots: Ints, questions: Ints, answers: Ints, success: NDArray[Any]) -> None:
        """Take in the ends of episodes; an answer of -1 was none and says nothing."""
        for slot, question, answer, right in zip(slots, questions, answers, success > 0, strict=True):
            wrong = self.wrong[slot, question]
            if right:
                wrong[:] = np.arange(wrong.size) != answer
            elif answer >= 0:
                wrong[answer] = True
                if wrong.all():
                    wrong[:] = np.arange(wrong.size) == answer

    def forget(self, slots: NDArray[Any]) -> None:
        """Begin new lives."""
        self.wrong[slots] = False


Policy = Callable[[QuestionStream, Knowledge], Ints]


def random_policy(stream: QuestionStream, knowledge: Knowledge) -> Ints:
    """Return uniform actions."""
    actions = int(stream.single_action_space.n)
    return integers(actions, stream.seed, Purpose.POLICY, stream.life, stream.life_step)


def within_episode_policy(stream: QuestionStream, knowledge: Knowledge) -> Ints:
    """Return actions toward the first answer; to a policy that forgets, all answers are alike."""
    return stream.toward(np.zeros(stream.num_envs, np.int64))


def cross_episode_policy(stream: QuestionStream, knowledge: Knowledge) -> Ints:
    """Return actions toward the first answer that is not ruled out."""
    return stream.toward(knowledge.wrong[np.arange(stream.num_envs), stream.contexts()].argmin(1))


def oracle_policy(stream: QuestionStream, knowledge: Knowledge) -> Ints:
    """Return actions toward the right answer."""
    return stream.toward(stream.right_answers())


def play(stream: QuestionStream, policy: Policy, episodes: int) -> dict[str, NDArray[Any]]:
    """Reset a stream, let a policy live in it, and return the rows of the first `episodes` episodes of every slot.

    Args:
        stream: where.
        policy: who.
        episodes: of each of the B slots.
    """
    stream.reset()
    knowledge = Knowledge(stream)
    ended = np.zeros(stream.num_envs, np.int64)
    rows: list[dict[str, NDArray[Any]]] = []
    while (ended < episodes).any():
        questions, right = stream.contexts(), stream.right_answers()
        _, _, terminated, truncated, info = stream.step(policy(stream, knowledge))
        if "episodes" not in info:
            continue
        slots, row = np.flatnonzero(terminated | truncated), info["episodes"]
        if stream.feedback == "reveal":
            knowledge.learn(slots, questions[slots], right[slots], np.ones(slots.size))
        else:
            knowledge.learn(slots, questions[slots], row["answer"].astype(np.int64), row["success"])
        knowledge.forget(info["life_start"])
        rows.append({name: column[ended[slots] < episodes] for name, column in row.items()})
        ended[slots] += 1
    return {name: np.concatenate([row[name] for row in rows]) for name in ROW}
