from typing import Any

import numpy as np
import pytest

from lifelong.envs import CuedRecall, make_stream
from lifelong.envs.fitted import Fitted, fit
from lifelong.envs.stream import TaskStream


def spaces(stream: TaskStream) -> tuple[object, object]:
    return stream.single_observation_space, stream.single_action_space


def test_a_stream_of_the_same_spaces_is_itself() -> None:
    agent, stream = make_stream("cued-recall", 2), make_stream("cued-recall", 3, cues=40)
    assert fit(stream, *spaces(agent)) is stream  # type: ignore[arg-type]


def test_a_smaller_stream_is_seen_in_the_agents_spaces_and_lives_as_it_would() -> None:
    agent = make_stream("cued-recall", 2, blanks=1)
    plain, stream = (make_stream("cued-recall", 4, size=5, answers=3, life_episodes=6, seed=8) for _ in range(2))
    fitted = fit(stream, *spaces(agent))  # type: ignore[arg-type]
    assert isinstance(fitted, Fitted)
    want, _ = plain.reset()
    obs, _ = fitted.reset()
    for step in range(20):
        assert fitted.observation_space.contains(obs)
        assert np.array_equal(obs["observation"]["cue"][:, :5], want["observation"]["cue"])
        assert not obs["observation"]["cue"][:, 5:].any()
        assert not obs["observation"]["go"].any()  # which this stream does not have
        assert np.array_equal(obs["observation"]["revealed"], want["observation"]["revealed"])
        assert (obs["previous_action"] == 4).all()  # none: both are sealed
        actions = np.arange(4) % 4 if step % 2 else np.zeros(4, np.int64)
        obs, reward, *_ = fitted.step(actions)
        want, wanted, *_ = plain.step(actions % 3)
        assert np.array_equal(reward, wanted)


def test_the_previous_action_is_the_one_the_agent_chose() -> None:
    agent = make_stream("cued-recall", 2, blanks=2)
    fitted = fit(make_stream("cued-recall", 2, answers=3, blanks=2), *spaces(agent))  # type: ignore[arg-type]
    fitted.reset()
    obs, *_ = fitted.step(np.array([3, 1]))
    assert obs["previous_action"].tolist() == [3, 1]


class Masked(CuedRecall):
    """Tells which answers are legal."""

    def _info(self) -> dict[str, Any]:
        return super()._info() | {"action_mask": np.arange(3) != self.life_step[:, None] % 3}


def test_a_mask_of_the_stream_is_one_of_the_agents_choices() -> None:
    agent = make_stream("cued-recall", 2)
    fitted = fit(Masked(2, answers=3), *spaces(agent))  # type: ignore[arg-type]
    _, info = fitted.reset()
    assert info["action_mask"].tolist() == [[False, True, True, False]] * 2  # choice 3 is the stream's 0
    info = fitted.step(np.array([1, 2]))[4]
    assert info["action_mask"].tolist() == [[True, False, True, True]] * 2


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cued-recall", {"answers": 6}, r"its actions do not fit those of the agent: Discrete\(6\), .* Discrete\(4\)"),
        ("cued-recall", {"size": 20}, r"its observations do not fit .*\(20,\).*the agent's: .*\(16,\)"),
        ("cued-recall", {"boundary": "flag"}, "its observations do not fit"),
        ("pendulum-sign", {}, "its actions do not fit"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_spaces(name: str, options: dict[str, object], said: str) -> None:
    agent, stream = make_stream("cued-recall", 2), make_stream(name, 2, **options)
    with pytest.raises(ValueError, match=said):
        fit(stream, *spaces(agent))  # type: ignore[arg-type]
