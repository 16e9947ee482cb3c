"""Registry of reference policies: from the class of a stream to the factory of its policies.

Streams do not import their reference policies. Both are imported lazily.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from lifelong.registry import Entry, known, load, table

if TYPE_CHECKING:
    from lifelong.envs.references.policies import Policy
    from lifelong.envs.stream import TaskStream

__all__ = ["REFERENCE_POLICIES", "known_reference_policies", "reference_policies"]

REFERENCE_POLICIES = table(
    "lifelong.envs.references",
    {
        "lifelong.envs.gym_stream.GymStream": Entry("minigrid:gym_policies", "of MiniGrid's and BabyAI's levels only"),
        "lifelong.envs.streams.colour_cubes.ColourCubes": Entry("colour_cubes:colour_cubes_policies", "a map of cubes"),
        "lifelong.envs.streams.colour_rule.ColourRule": Entry("questions:question_policies", "one question an episode"),
        "lifelong.envs.streams.cued_recall.CuedRecall": Entry("questions:question_policies", "one question an episode"),
        "lifelong.envs.streams.dark_room.DarkRoom": Entry("dark_room:dark_room_policies", "search for an unseen goal"),
        "lifelong.envs.streams.doors.Doors": Entry("doors:doors_policies", "elimination of doors"),
        "lifelong.envs.streams.early_choice.EarlyChoice": Entry("early_choice:early_choice_policies", "elimination"),
        "lifelong.envs.streams.endless_cues.EndlessCues": Entry("endless_cues:endless_cues_policies", "a list of cues"),
        "lifelong.envs.streams.endless_t_maze.EndlessTMaze": Entry(
            "endless_t_maze:endless_t_maze_policies", "the last signal remembered, or the first"
        ),
        "lifelong.envs.streams.foraging.Foraging": Entry("foraging:foraging_policies", "one thing after the other"),
        "lifelong.envs.streams.map_change.MapChange": Entry("map_change:map_change_policies", "exploration of maps"),
        "lifelong.envs.streams.meta_world.MetaWorld": Entry("meta_world:meta_world_policies", "Meta-World's scripts"),
        "lifelong.envs.streams.negative_controls.Control": Entry(
            "negative_controls:control_policies", "controllers worked out from the environment"
        ),
        "lifelong.envs.streams.reversal.Reversal": Entry("reversal:reversal_policies", "Bayes' filter"),
        "lifelong.envs.streams.t_maze.TMaze": Entry("t_maze:t_maze_policies", "one signal remembered"),
    },
)
"""By the stream's class, as `module.Class`; a subclass without an entry has the policies of its base."""


def known_reference_policies() -> dict[str, Entry]:
    """Return the built-in entries and those of installed plug-ins (entry-point group `lifelong.reference_policies`)."""
    return known(REFERENCE_POLICIES, "lifelong.reference_policies")


def reference_policies(stream: "TaskStream") -> "dict[str, Callable[[], Policy]]":
    """Return factories of a stream's reference policies, by name; empty if it has none.

    Of the roles in `certificate.ROLES` the first and the last are among them, if any.

    Args:
        stream: the stream; all policies but the oracle read its observations only.

    Raises:
        ImportError: if a plug-in cannot be loaded.
        ValueError: if the stream has a MiniGrid level that cannot be planned.
    """
    entries = known_reference_policies()
    for kind in type(stream).__mro__:
        if entry := entries.get(f"{kind.__module__}.{kind.__qualname__}"):
            policies: dict[str, Callable[[], Policy]] = load("reference policies", entry.target)(stream)
            return policies
    return {}
