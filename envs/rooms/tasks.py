"""Tasks of Rooms, under MiniGrid's own names in lower case: level family, size and step limit.

Plain data, read when `lifelong.envs` registers its ids: no generator or compiler is imported here.
"""

from typing import Literal, NamedTuple

__all__ = ["TASKS", "Ending", "RoomsTask"]

Ending = Literal["goal", "door", "ball", "match"]
"""Rewarded events: stepping on the goal; opening a door; picking the ball up; walking to the object shown before."""


class RoomsTask(NamedTuple):
    """Task of Rooms."""

    title: str
    """MiniGrid's id without prefix and version."""
    family: str
    """Level generator; a key of `levels.FAMILIES`."""
    width: int
    """Cells from west to east, outer walls included."""
    height: int
    """Cells from north to south, outer walls included."""
    max_steps: int
    """Steps until an episode is truncated."""
    settings: tuple[int, int] = (0, 0)
    """Further settings of the family; see its function in `levels`."""
    ending: Ending = "goal"
    see_through_walls: bool = False
    version: int = 0
    """Of MiniGrid's id."""
    random: float = float("nan")
    """Mean return of uniform actions."""
    oracle: float = float("nan")
    """Mean return of `planner.plan`, which observes the whole level."""

    def cut_short(self, max_steps: int) -> "RoomsTask":
        """Return the task with another limit, and without reference scores, which hold for MiniGrid's limit only."""
        return self._replace(max_steps=max_steps, random=float("nan"), oracle=float("nan"))

    @property
    def minigrid_id(self) -> str:
        """MiniGrid's own environment of this task."""
        return f"MiniGrid-{self.title}-v{self.version}"


def _square(title: str, family: str, size: int, patience: int, a: int = 0, b: int = 0) -> RoomsTask:
    return RoomsTask(title, family, size, size, patience * size**2, (a, b))


def _empty(title: str, size: int, start: int) -> RoomsTask:
    return _square(title, "empty", size, 4, start)._replace(see_through_walls=True)


def _corridor(room: int, rows: int) -> RoomsTask:
    width, height = 3 * (room - 1) + 1, rows * (room - 1) + 1
    return RoomsTask(
        f"KeyCorridorS{room}R{rows}", "keycorridor", width, height, 30 * room**2, (room, rows), ending="ball"
    )


def _listed() -> list[RoomsTask]:
    return [
        *(_empty(f"Empty-{n}x{n}", n, 0) for n in (5, 6, 8, 16)),
        *(_empty(f"Empty-Random-{n}x{n}", n, 1) for n in (5, 6)),
        *(_square(f"DoorKey-{n}x{n}", "doorkey", n, 10) for n in (5, 6, 8, 16)),
        RoomsTask("FourRooms", "fourrooms", 19, 19, 100),
        RoomsTask("Unlock", "unlock", 11, 6, 288, ending="door"),
        RoomsTask("MultiRoom-N2-S4", "multiroom", 25, 25, 40, (2, 4)),
        RoomsTask("MultiRoom-N4-S5", "multiroom", 25, 25, 80, (4, 5), version=1),
        RoomsTask("MultiRoom-N6", "multiroom", 25, 25, 120, (6, 10)),
        *(_corridor(*sizes) for sizes in ((3, 1), (3, 2), (3, 3), (4, 3), (5, 3), (6, 3))),
        *(_square(f"LavaCrossingS{s}N{n}", "crossing", s, 4, n, 1) for s, n in ((9, 1), (9, 2), (9, 3), (11, 5))),
        *(_square(f"SimpleCrossingS{s}N{n}", "crossing", s, 4, n, 0) for s, n in ((9, 1), (9, 2), (9, 3), (11, 5))),
        *(
            RoomsTask(f"DistShift{n}", "distshift", 9, 7, 252, (row, 0), see_through_walls=True)
            for n, row in ((1, 2), (2, 5))
        ),
        *(_square(f"LavaGapS{n}", "lavagap", n, 4) for n in (5, 6, 7)),
        *(_square(f"MemoryS{n}", "memory", n, 5, 0)._replace(ending="match") for n in (7, 9, 11, 13)),
        *(_square(f"MemoryS{n}Random", "memory", n, 5, 1)._replace(ending="match") for n in (13, 17)),
    ]


_REFERENCES = {  # random and oracle, by `references.measure(name, 20_480)`
    "empty-5x5": (0.2021, 0.9550),
    "empty-6x6": (0.1392, 0.9563),
    "empty-8x8": (0.0865, 0.9613),
    "empty-16x16": (0.0386, 0.9763),
    "empty-random-5x5": (0.3157, 0.9685),
    "empty-random-6x6": (0.2634, 0.9719),
    "doorkey-5x5": (0.0332, 0.9645),
    "doorkey-6x6": (0.0172, 0.9693),
    "doorkey-8x8": (0.0095, 0.9764),
    "doorkey-16x16": (0.0023, 0.9881),
    "fourrooms": (0.0196, 0.8551),
    "unlock": (0.0232, 0.9705),
    "multiroom-n2-s4": (0.0083, 0.8425),
    "multiroom-n4-s5": (0.0000, 0.7705),
    "multiroom-n6": (0.0000, 0.6510),
    "keycorridors3r1": (0.0197, 0.9511),
    "keycorridors3r2": (0.0025, 0.9386),
    "keycorridors3r3": (0.0010, 0.9314),
    "keycorridors4r3": (0.0000, 0.9481),
    "keycorridors5r3": (0.0000, 0.9585),
    "keycorridors6r3": (0.0000, 0.9656),
    "lavacrossings9n1": (0.0046, 0.9605),
    "lavacrossings9n2": (0.0006, 0.9556),
    "lavacrossings9n3": (0.0003, 0.9543),
    "lavacrossings11n5": (0.0000, 0.9596),
    "simplecrossings9n1": (0.0198, 0.9605),
    "simplecrossings9n2": (0.0115, 0.9556),
    "simplecrossings9n3": (0.0104, 0.9543),
    "simplecrossings11n5": (0.0068, 0.9596),
    "distshift1": (0.0067, 0.9536),
    "distshift2": (0.0112, 0.9607),
    "lavagaps5": (0.0421, 0.9460),
    "lavagaps6": (0.0197, 0.9484),
    "lavagaps7": (0.0110, 0.9522),
    "memorys7": (0.1632, 0.9835),
    "memorys9": (0.1831, 0.9878),
    "memorys11": (0.1939, 0.9904),
    "memorys13": (0.1983, 0.9920),
    "memorys13random": (0.2369, 0.9936),
    "memorys17random": (0.2664, 0.9956),
}

TASKS: dict[str, RoomsTask] = {
    task.title.lower(): task._replace(random=scores[0], oracle=scores[1])
    for task in _listed()
    for scores in [_REFERENCES[task.title.lower()]]
}
