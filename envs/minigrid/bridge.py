"""Convert between MiniGrid's objects and the bytes of `rooms`: levels, pictures and missions."""

from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, DIR_TO_VEC, IDX_TO_COLOR
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import WorldObj
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from lifelong.envs.rooms.grid import ENCODED, MATCH, MISMATCH, SIDE
from lifelong.envs.rooms.grids import Level
from lifelong.envs.rooms.levels import COLOURS

__all__ = ["Window", "draw", "from_minigrid", "mission"]

_CODES = {tuple(numbers): code for code, numbers in enumerate(ENCODED.tolist()) if code > MISMATCH and any(numbers)}


def from_minigrid(env: Any) -> Level:
    """Return the present state of a MiniGrid environment as a `Level`.

    Args:
        env: an environment of a family of `rooms`, after its `reset`.

    Raises:
        ValueError: if it holds an object that `rooms` does not have.
    """
    base: MiniGridEnv = env.unwrapped
    cells = np.array([[_code(base.grid.get(x, y)) for x in range(base.width)] for y in range(base.height)], np.uint8)
    for name, code in (("success_pos", MATCH), ("failure_pos", MISMATCH)):
        if hasattr(base, name):
            x, y = getattr(base, name)
            cells[y, x] = code
    pays = getattr(base, "obj", None)
    mission = COLOURS if pays is None else COLOR_TO_IDX[pays.color]
    x, y = (int(i) for i in base.agent_pos)
    held: WorldObj | None = base.carrying
    carried = 0 if held is None else _code(held)
    return Level(cells, x, y, int(base.agent_dir), carried, mission)


def _code(thing: WorldObj | None) -> int:
    numbers = (1, 0, 0) if thing is None else tuple(int(i) for i in thing.encode())
    if numbers not in _CODES or getattr(thing, "contains", None) is not None:
        raise ValueError(f"a level is made of MiniGrid's own things, and boxes are empty, got {thing}")
    return _CODES[numbers]


def draw(level: Level, image: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
    """Return a picture [height, width, 3] of a level, rendered by MiniGrid, with the agent's view highlighted.

    Args:
        level: the level.
        image: [7, 7, 3] the agent's observation there.
        tile: pixels along a cell's side.
    """
    height, width = level.cells.shape
    picture, lit = Grid(width, height), np.zeros((width, height), np.bool_)
    for y in range(height):
        for x in range(width):
            picture.set(x, y, WorldObj.decode(*ENCODED[level.cells[y, x]].tolist()))
    (ahead_x, ahead_y), (right_x, right_y) = DIR_TO_VEC[level.direction], DIR_TO_VEC[(level.direction + 1) % 4]
    for across, down in np.argwhere(image[..., 0] > 0):
        far, aside = SIDE - 1 - down, across - SIDE // 2
        x, y = level.x + far * ahead_x + aside * right_x, level.y + far * ahead_y + aside * right_y
        if 0 <= x < width and 0 <= y < height:
            lit[x, y] = True
    return picture.render(tile, (level.x, level.y), level.direction, lit)


@lru_cache
def mission(minigrid_id: str, colour: int) -> str:
    """Return MiniGrid's mission text.

    Args:
        minigrid_id: of the task.
        colour: of the ball to be picked up, or 6.
    """
    base: Any = gymnasium.make(minigrid_id, disable_env_checker=True).unwrapped
    base.reset(seed=0)  # some missions are only known then
    text = base.mission
    if colour < COLOURS:
        text = base.observation_space["mission"].mission_func(IDX_TO_COLOR[colour], "ball")
    base.close()
    return str(text)


class Window(MiniGridEnv):
    """MiniGrid's window, showing pictures of `rooms`."""

    def __init__(self) -> None:
        nothing = MissionSpace(mission_func=lambda: "")
        super().__init__(nothing, grid_size=SIDE, render_mode="human")
        self.picture = np.zeros((1, 1, 3), np.uint8)

    def show(self, picture: NDArray[np.uint8], text: str) -> None:
        """Show a picture [height, width, 3] and the mission."""
        self.picture, self.mission = picture, text
        self.render()  # type: ignore[no-untyped-call]

    def get_frame(self, *_: Any, **__: Any) -> NDArray[np.uint8]:
        """Return the picture to be shown."""
        return self.picture

    def _gen_grid(self, width: int, height: int) -> None:
        raise NotImplementedError("a window has no levels of its own")
