"""Reference policies of streams whose episodes ask one question each: CuedRecall, ColourRule.

They know how to give an answer (`QuestionStream`), and differ in their knowledge of the right one. Each is a function
of the stream and of the answers ruled out so far, and returns the next actions [B]; `QuestionPolicy` updates those from
observations.

| policy | knows |
| --- | --- |
| random_policy | nothing, not even how to answer: uniform actions |
| within_episode_policy | how to answer; no memory across episodes, so it guesses |
| first_observation_policy | the same, and what an episode's first observation shows of the previous episode |
| cross_episode_policy | all earlier outcomes of its life: it never repeats a wrong answer |
| oracle_policy | the hidden answers |
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references import policies as policy
from lifelong.envs.references.policies import Policy
from lifelong.envs.rng import Purpose, integers, uniform

__all__ = [
    "Choice",
    "Knowledge",
    "QuestionPolicy",
    "QuestionStream",
    "cross_episode_policy",
    "first_observation_policy",
    "oracle_policy",
    "play",
    "question_policies",
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
    episode: Ints
    answers: int

    def reset(self) -> tuple[Any, Any]: ...  # noqa: D102
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]: ...  # noqa: D102
    def right_answers(self) -> Ints: ...  # noqa: D102
    def contexts(self) -> Ints: ...  # noqa: D102
    def toward(self, answers: Ints) -> Ints: ...  # noqa: D102


class Knowledge:
    """Answers that each life has ruled out, [B, questions, answers].

    When no answer is left the rule must have changed; then only the last failure counts.

    Args:
        stream: the stream of the questions.
    """

    def __init__(self, stream: QuestionStream) -> None:
        self.wrong = np.zeros((stream.num_envs, len(stream.tasks), stream.answers), np.bool_)

    def learn(self, slots: Ints, questions: Ints, answers: Ints, success: NDArray[Any]) -> None:
        """Update at the ends of episodes; an answer of -1 is none and carries no information."""
        this = np.arange(self.wrong.shape[-1]) == answers[:, None]
        wrong = self.wrong[slots, questions] | this
        wrong = np.where(wrong.all(1, keepdims=True), this, wrong)
        self.wrong[slots, questions] = np.where((success > 0)[:, None], ~this, wrong)

    def forget(self, slots: NDArray[Any]) -> None:
        """Clear the state of these slots."""
        self.wrong[slots] = False


Choice = Callable[[QuestionStream, Knowledge], Ints]


def random_policy(stream: QuestionStream, knowledge: Knowledge) -> Ints:
    """Return uniform actions."""
    actions = int(stream.single_action_space.n)
    return integers(actions, stream.seed, Purpose.POLICY, stream.life, stream.life_step)


def within_episode_policy(stream: QuestionStream, knowledge: Knowledge) -> Ints:
    """Return actions toward an answer drawn for the episode."""
    return stream.toward(integers(stream.answers, stream.seed, Purpose.POLICY, stream.life, stream.episode, 0))


def first_observation_policy(stream: QuestionStream, knowledge: Knowledge) -> Ints:
    """Return actions toward a random answer, drawn per episode, among those not ruled out."""
    drawn = uniform(
        stream.seed, Purpose.POLICY, stream.life[:, None], stream.episode[:, None], np.arange(stream.answers)
    )
    open_ = ~knowledge.wrong[np.arange(stream.num_envs), stream.contexts()]
    return stream.toward(np.where(open_, drawn, -1.0).argmax(1))


def cross_episode_policy(stream: QuestionStream, knowledge: Knowledge) -> Ints:
    """Return actions toward the first answer that is not ruled out."""
    return stream.toward(knowledge.wrong[np.arange(stream.num_envs), stream.contexts()].argmin(1))


def oracle_policy(stream: QuestionStream, knowledge: Knowledge) -> Ints:
    """Return actions toward the right answer."""
    return stream.toward(stream.right_answers())


class QuestionPolicy:
    """Policy that acts on observations, except that the stream gives the question and the path to an answer.

    Args:
        stream: the stream of the questions.
        choose: one of the functions above.
        wiped: whether the state is cleared at every episode's end, except what the next one's first observation shows
            of it; that is taken to be about the same question.
    """

    def __init__(self, stream: QuestionStream, choose: Choice, *, wiped: bool = False) -> None:
        self.stream, self.choose, self.wiped = stream, choose, wiped
        self.knowledge = Knowledge(stream)
        self.questions = np.zeros(stream.num_envs, np.int64)

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the next actions."""
        observation, began = obs["observation"], np.flatnonzero((obs["episode_start"][:, 0] > 0) & ~life_start)
        slots = np.flatnonzero(observation["over"][:, 0]) if "over" in observation else began
        rewarded = obs["previous_reward"][slots, 0] > 0
        if "revealed" in observation:
            answers, right = observation["revealed"][slots], np.ones(slots.size, np.bool_)
        elif "touched" in observation:
            answers = np.where(observation["touched"] < self.stream.answers, observation["touched"], -1)[slots]
            right = rewarded
        else:
            answers, right = obs["previous_action"][slots], rewarded
        if self.wiped:
            self.knowledge.forget(began)
            self.questions = self.stream.contexts()
        self.knowledge.learn(slots, self.questions[slots], answers, right)
        self.knowledge.forget(life_start)
        self.questions = self.stream.contexts()
        return self.choose(self.stream, self.knowledge)


def question_policies(stream: QuestionStream) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    choices = {
        "random": random_policy,
        "within": within_episode_policy,
        "cross": cross_episode_policy,
        "oracle": oracle_policy,
    }
    policies: dict[str, Callable[[], Policy]] = {
        name: partial(QuestionPolicy, stream, choice) for name, choice in choices.items()
    }
    return policies | {"first observation": partial(QuestionPolicy, stream, first_observation_policy, wiped=True)}


def play(stream: QuestionStream, choose: Choice, episodes: int) -> dict[str, NDArray[Any]]:
    """Run a policy in a stream from its reset, and return the rows of the first `episodes` episodes of every slot.

    Args:
        stream: the stream.
        choose: one of the functions above.
        episodes: of each of the B slots.
    """
    return policy.play(stream, QuestionPolicy(stream, choose), episodes)
