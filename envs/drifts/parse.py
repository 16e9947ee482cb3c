"""Parse drifts by name, so that a changing environment is one line of text.

    make_stream("gym:CartPole-v1", drifts="plain/gravity:4/reversed_actions+sticky_actions:0.1", schedule="cyclic:20")

makes three tasks of CartPole: as it is, with four times its gravity, and with both of the last two drifts.
"""

from collections.abc import Sequence

from lifelong.envs.drifts.actions import DelayedActions, ReversedActions, ShuffledActions, StickyActions
from lifelong.envs.drifts.base import Drift
from lifelong.envs.drifts.observations import (
    NoisyObservations,
    RemappedColours,
    RotatedObservations,
    ShuffledObservations,
    SwappedObjects,
)
from lifelong.envs.drifts.physics import Actuators, Damping, Friction, Gravity, Length, Mass
from lifelong.envs.drifts.rewards import DelayedRewards, ScaledRewards
from lifelong.envs.parse import from_text

__all__ = ["DRIFTS", "kinds_of", "parse_drifts"]

PLAIN = "plain"

DRIFTS: dict[str, type[Drift]] = {
    "reversed_actions": ReversedActions,
    "shuffled_actions": ShuffledActions,
    "delayed_actions": DelayedActions,
    "sticky_actions": StickyActions,
    "shuffled_observations": ShuffledObservations,
    "rotated_observations": RotatedObservations,
    "noisy_observations": NoisyObservations,
    "remapped_colours": RemappedColours,
    "swapped_objects": SwappedObjects,
    "scaled_rewards": ScaledRewards,
    "delayed_rewards": DelayedRewards,
    "gravity": Gravity,
    "mass": Mass,
    "length": Length,
    "friction": Friction,
    "damping": Damping,
    "actuators": Actuators,
}


def parse_drifts(text: str) -> tuple[Drift, ...]:
    """Return the drifts that a text names: `gravity:2`, `mass:2+sticky_actions`, or none for `plain`.

    Args:
        text: keys of `DRIFTS`, each with its strength as `from_text` reads it, the first next to the environment.

    Raises:
        ValueError: if there is no such drift, or it does not take these numbers.
    """
    if text.strip() == PLAIN:
        return ()
    return tuple(from_text(part, DRIFTS, "drift") for part in text.split("+"))


def kinds_of(texts: str | Sequence[str]) -> list[tuple[str, tuple[Drift, ...]]]:
    """Return for each text its name and the drifts that it names.

    Args:
        texts: as `parse_drifts` takes them, or all in one with strokes between.

    Raises:
        ValueError: as `parse_drifts`, or if a text comes twice.
    """
    listed = texts.split("/") if isinstance(texts, str) else texts
    kinds = [(text.strip(), parse_drifts(text)) for text in listed]
    names = [name for name, _ in kinds]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"kinds of drift are named once each, got {twice[0]!r} twice")
    return kinds
