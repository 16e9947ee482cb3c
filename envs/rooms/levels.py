"""Level generators: MiniGrid's families, each level a pure function of its seed.

Each family is a loop of its own over the slots in which levels begin, so that only what is played is compiled.

The numbers are those of `lifelong.envs.rng.bits(seed, Purpose.LEVEL, i)` for i = 0, 1, ..., so a level is not the one
MiniGrid makes of the same seed, but has the same distribution; `tests/envs/rooms/test_levels.py` compares the two.
The encoding and layout of cells is that of `grid`.

Source: minigrid 3.2, `_gen_grid` of its environments.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lifelong.envs.jit import jit

__all__ = ["FAMILIES", "Levels", "draws"]

MARGIN = 6
EMPTY, MATCH, MISMATCH = 8, 1, 2
DOOR, KEY, BALL, GOAL, LAVA, WALL, CLOSED, LOCKED = 4, 5, 6, 8, 9, 10, 11, 12
RED, GREEN, YELLOW, GREY, COLOURS = 0, 1, 4, 5, 6
_GOAL, _LAVA, _WALL = 8 * GOAL + GREEN, 8 * LAVA + RED, 8 * WALL + GREY
NOWHERE = -1

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_LEVEL = np.uint64(7)  # Purpose.LEVEL

# A grid `g` is (row of bytes, bytes from a cell to the one south of it); `source` [2] is the random state.


@jit
def _mix(z: Any) -> Any:
    z = (z ^ (z >> _30)) * _M1
    z = (z ^ (z >> _27)) * _M2
    return z ^ (z >> _31)


@jit
def _seed(source: Any, seed: Any) -> None:
    source[0] = _mix((_mix(np.uint64(seed) + _GOLDEN) ^ _LEVEL) + _GOLDEN)
    source[1] = 0


@jit
def _draw(source: Any, low: int, high: int) -> Any:
    """Return an integer in [low, high)."""
    z = _mix((source[0] ^ source[1]) + _GOLDEN)
    source[1] += np.uint64(1)
    return low + np.int64(np.float64(z >> _11) * 2.0**-53 * (high - low))


@jit
def draws(seed: int, high: int, count: int) -> Any:
    """Return the first random integers in [0, high) of a level with this seed."""
    source, drawn = np.empty(2, np.uint64), np.empty(count, np.int64)
    _seed(source, seed)
    for i in range(count):
        drawn[i] = _draw(source, 0, high)
    return drawn


@jit
def _cell(g: Any, x: int, y: int) -> Any:
    return (MARGIN + y) * g[1] + MARGIN + x


@jit
def _put(g: Any, x: int, y: int, code: int) -> None:
    g[0][(MARGIN + y) * g[1] + MARGIN + x] = code


@jit
def _fill(g: Any, x: int, y: int, width: int, height: int, code: int) -> None:
    for j in range(y, y + height):
        for i in range(x, x + width):
            _put(g, i, j, code)


@jit
def _walls(g: Any, x: int, y: int, width: int, height: int) -> None:
    """Draw the four walls of a room, without its inside."""
    _fill(g, x, y, width, 1, _WALL)
    _fill(g, x, y + height - 1, width, 1, _WALL)
    _fill(g, x, y, 1, height, _WALL)
    _fill(g, x + width - 1, y, 1, height, _WALL)


@jit
def _free(g: Any, source: Any, x: int, y: int, width: int, height: int, agent: int) -> Any:
    """Return a uniformly random empty cell of a rectangle, without the agent."""
    while True:
        cell = _cell(g, _draw(source, x, x + width), _draw(source, y, y + height))
        if g[0][cell] == EMPTY and cell != agent:
            return cell


@jit
def _room(g: Any, width: int, height: int) -> None:
    _fill(g, 1, 1, width - 2, height - 2, EMPTY)


@jit
def _empty(g: Any, source: Any, width: int, height: int, anywhere: int) -> Any:
    _room(g, width, height)
    _put(g, width - 2, height - 2, _GOAL)
    if anywhere:
        return _free(g, source, 0, 0, width, height, NOWHERE), _draw(source, 0, 4)
    return _cell(g, 1, 1), 0


@jit
def _doorkey(g: Any, source: Any, width: int, height: int) -> Any:
    _room(g, width, height)
    _put(g, width - 2, height - 2, _GOAL)
    wall = _draw(source, 2, width - 2)
    _fill(g, wall, 0, 1, height, _WALL)
    at, direction = _free(g, source, 0, 0, wall, height, NOWHERE), _draw(source, 0, 4)
    _put(g, wall, _draw(source, 1, height - 2), 8 * LOCKED + YELLOW)
    g[0][_free(g, source, 0, 0, wall, height, at)] = 8 * KEY + YELLOW
    return at, direction


@jit
def _fourrooms(g: Any, source: Any, width: int, height: int) -> Any:
    _room(g, width, height)
    half_x, half_y = width // 2, height // 2
    _fill(g, half_x, 0, 1, height, _WALL)
    _fill(g, 0, half_y, width, 1, _WALL)
    for half in range(2):
        _put(g, half_x, _draw(source, half * half_y + 1, (half + 1) * half_y), EMPTY)
        _put(g, _draw(source, half * half_x + 1, (half + 1) * half_x), half_y, EMPTY)
    at, direction = _free(g, source, 0, 0, width, height, NOWHERE), _draw(source, 0, 4)
    g[0][_free(g, source, 0, 0, width, height, at)] = _GOAL
    return at, direction


@jit
def _agent_in_room(g: Any, source: Any, x: int, y: int, room: int) -> Any:
    """Return a random cell of a square room and a direction with only a wall or an empty cell ahead."""
    while True:
        at, direction = _free(g, source, x, y, room, room, NOWHERE), _draw(source, 0, 4)
        front = at + (1, g[1], -1, -g[1])[direction]
        if g[0][front] == EMPTY or g[0][front] == _WALL:
            return at, direction


@jit
def _unlock(g: Any, source: Any, width: int, height: int) -> Any:
    room = height
    _room(g, width, height)
    _fill(g, room - 1, 0, 1, height, _WALL)
    door, colour = _draw(source, 1, room - 1), _draw(source, 0, COLOURS)
    _put(g, room - 1, door, 8 * LOCKED + colour)
    g[0][_free(g, source, 0, 0, room, room, NOWHERE)] = 8 * KEY + colour
    return _agent_in_room(g, source, 0, 0, room)


@jit
def _place_rooms(source: Any, width: int, height: int, count: int, largest: int, rooms: Any) -> bool:
    """Draw a chain of rooms, [count, 6]: x, y, width, height, entry x, entry y; and whether all found place.

    From each room one of eight attempts must lead to the next; the next one's size and place are drawn at each attempt.
    """
    door_x, door_y = _draw(source, 0, width - 2), _draw(source, 0, width - 2)
    wall = entry = 2  # 0 to 3: east, south, west, north
    placed, attempts = 0, 0
    while True:
        w, h = _draw(source, 4, largest + 1), _draw(source, 4, largest + 1)
        if placed == 0:
            x, y = door_x, door_y
        elif wall % 2 == 0:
            x = door_x - w + 1 if wall == 0 else door_x
            y = _draw(source, door_y - h + 2, door_y)
        else:
            x = _draw(source, door_x - w + 2, door_x)
            y = door_y - h + 1 if wall == 1 else door_y
        fits = x >= 0 and y >= 0 and x + w <= width and y + h < height
        for r in range(placed - 1):
            apart = x + w < rooms[r, 0] or rooms[r, 0] + rooms[r, 2] <= x
            apart = apart or y + h < rooms[r, 1] or rooms[r, 1] + rooms[r, 3] <= y
            fits = fits and apart
        if fits:
            rooms[placed, 0], rooms[placed, 1], rooms[placed, 2], rooms[placed, 3] = x, y, w, h
            rooms[placed, 4], rooms[placed, 5] = door_x, door_y
            entry = wall
            placed, attempts = placed + 1, 0
        if placed == count:
            return True
        if placed == 0 or attempts == 8:
            return False
        attempts += 1
        way_out = (entry + _draw(source, 1, 4)) % 4
        x, y, w, h = rooms[placed - 1, 0], rooms[placed - 1, 1], rooms[placed - 1, 2], rooms[placed - 1, 3]
        if way_out % 2 == 0:
            door_x, door_y = (x + w - 1 if way_out == 0 else x), y + _draw(source, 1, h - 1)
        else:
            door_x, door_y = x + _draw(source, 1, w - 1), (y + h - 1 if way_out == 1 else y)
        wall = (way_out + 2) % 4


@jit
def _multiroom(g: Any, source: Any, width: int, height: int, count: int, largest: int) -> Any:
    rooms = np.empty((count, 6), np.int64)
    while not _place_rooms(source, width, height, count, largest, rooms):
        pass
    _fill(g, 0, 0, width, height, EMPTY)
    colour = _draw(source, 0, COLOURS)
    for r in range(count):
        _walls(g, rooms[r, 0], rooms[r, 1], rooms[r, 2], rooms[r, 3])
        if r > 0:
            _put(g, rooms[r, 4], rooms[r, 5], 8 * CLOSED + colour)
            colour = (colour + _draw(source, 1, COLOURS)) % COLOURS
    at = _free(g, source, rooms[0, 0], rooms[0, 1], rooms[0, 2], rooms[0, 3], NOWHERE)
    direction = _draw(source, 0, 4)
    r = count - 1
    g[0][_free(g, source, rooms[r, 0], rooms[r, 1], rooms[r, 2], rooms[r, 3], at)] = _GOAL
    return at, direction


@jit
def _keycorridor(g: Any, source: Any, width: int, height: int, room: int, rows: int) -> Any:
    """Draw three columns of rooms; those of the middle one are a hall. Return the ball's colour as well."""
    step = room - 1
    for row in range(rows):
        for column in range(3):
            _fill(g, column * step + 1, row * step + 1, room - 2, room - 2, EMPTY)
    for row in range(1, rows):
        _fill(g, step + 1, row * step, room - 2, 1, EMPTY)
    east = np.empty((rows, 2), np.int64)  # where a door to the room east of it can be: y, for the first two columns
    south = np.empty((rows, 3), np.int64)
    for row in range(rows):
        for column in range(3):
            if column < 2:
                east[row, column] = _draw(source, row * step + 1, (row + 1) * step)
            south[row, column] = _draw(source, column * step + 1, (column + 1) * step)
    locked, colour = _draw(source, 0, rows), _draw(source, 0, COLOURS)
    _put(g, 2 * step, east[locked, 1], 8 * LOCKED + colour)
    ball = _draw(source, 0, COLOURS)
    g[0][_free(g, source, 2 * step, locked * step, room, room, NOWHERE)] = 8 * BALL + ball
    g[0][_free(g, source, 0, _draw(source, 0, rows) * step, room, room, NOWHERE)] = 8 * KEY + colour
    at, direction = _agent_in_room(g, source, step, rows // 2 * step, room)
    _connect(g, source, room, rows, locked, east, south)
    return at, direction, ball


@jit
def _connect(g: Any, source: Any, room: int, rows: int, locked: int, east: Any, south: Any) -> None:
    """Add doors at random, but none to the locked room, until all rooms can be reached."""
    step = room - 1
    joined = np.arange(3 * rows)  # rooms with equal numbers are connected; a room is 3 row + column
    for row in range(rows):
        joined[3 * row + 1] = 1
    joined[3 * locked + 2] = 1
    apart = 2 * rows - 1
    closed = 3 * locked + 2
    doors = np.zeros((3 * rows, 4), np.bool_)
    while apart:
        column, row, side = _draw(source, 0, 3), _draw(source, 0, rows), _draw(source, 0, 4)
        here = 3 * row + column
        if (side == 0 and column == 2) or (side == 1 and row == rows - 1):
            continue
        if (side == 2 and column == 0) or (side == 3 and row == 0):
            continue
        there = here + (1, 3, -1, -3)[side]
        in_hall = column == 1 and side % 2 == 1
        if in_hall or doors[here, side] or here == closed or there == closed:
            continue
        doors[here, side] = doors[there, (side + 2) % 4] = True
        colour = _draw(source, 0, COLOURS)
        west_or_north = min(here, there)
        r, c = west_or_north // 3, west_or_north % 3
        if side % 2 == 0:
            _put(g, (c + 1) * step, east[r, c], 8 * CLOSED + colour)
        else:
            _put(g, south[r, c], (r + 1) * step, 8 * CLOSED + colour)
        old, new = joined[here], joined[there]
        if old != new:
            apart -= 1
            for i in range(3 * rows):
                if joined[i] == old:
                    joined[i] = new


@jit
def _shuffle(source: Any, items: Any) -> None:
    for i in range(items.size - 1, 0, -1):
        j = _draw(source, 0, i + 1)
        items[i], items[j] = items[j], items[i]


@jit
def _crossing(g: Any, source: Any, width: int, height: int, crossings: int, lava: int) -> Any:
    """Draw rivers of lava, or walls, from side to side, with one way through them to the goal."""
    _room(g, width, height)
    _put(g, width - 2, height - 2, _GOAL)
    each = (width - 3) // 2
    rivers = np.arange(2 * each)  # first the vertical ones
    _shuffle(source, rivers)
    chosen = np.sort(rivers[:crossings])
    vertical = 0
    obstacle = _LAVA if lava else _WALL
    edges_x, edges_y = np.zeros(crossings + 2, np.int64), np.zeros(crossings + 2, np.int64)
    for n in range(crossings):
        if chosen[n] < each:
            vertical += 1
            edges_x[vertical] = 2 + 2 * chosen[n]
            _fill(g, edges_x[vertical], 1, 1, height - 2, obstacle)
        else:
            edges_y[n + 1 - vertical] = 2 + 2 * (chosen[n] - each)
            _fill(g, 1, edges_y[n + 1 - vertical], width - 2, 1, obstacle)
    edges_x[vertical + 1], edges_y[crossings - vertical + 1] = width - 1, height - 1
    path = np.zeros(crossings, np.int64)
    path[:vertical] = 1  # across a vertical river
    _shuffle(source, path)
    i, j = 0, 0
    for n in range(crossings):
        if path[n]:
            _put(g, edges_x[i + 1], _draw(source, edges_y[j] + 1, edges_y[j + 1]), EMPTY)
            i += 1
        else:
            _put(g, _draw(source, edges_x[i] + 1, edges_x[i + 1]), edges_y[j + 1], EMPTY)
            j += 1
    return _cell(g, 1, 1), 0


@jit
def _distshift(g: Any, width: int, height: int, strip: int) -> Any:
    _room(g, width, height)
    _put(g, width - 2, 1, _GOAL)
    _fill(g, 3, 1, width - 6, 1, _LAVA)
    _fill(g, 3, strip, width - 6, 1, _LAVA)
    return _cell(g, 1, 1), 0


@jit
def _lavagap(g: Any, source: Any, width: int, height: int) -> Any:
    _room(g, width, height)
    _put(g, width - 2, height - 2, _GOAL)
    gap = _draw(source, 2, width - 2)
    _fill(g, gap, 1, 1, height - 2, _LAVA)
    _put(g, gap, _draw(source, 1, height - 1), EMPTY)
    return _cell(g, 1, 1), 0


@jit
def _memory(g: Any, source: Any, width: int, height: int, random_length: int) -> Any:
    _room(g, width, height)
    middle = height // 2
    end = _draw(source, 4, width - 2) if random_length else width - 3
    _fill(g, 1, middle - 2, 4, 1, _WALL)
    _fill(g, 1, middle + 2, 4, 1, _WALL)
    _fill(g, 4, middle - 1, max(end - 4, 1), 1, _WALL)
    _fill(g, 4, middle + 1, max(end - 4, 1), 1, _WALL)
    _fill(g, end, 0, 1, height, _WALL)
    _put(g, end, middle, EMPTY)
    _fill(g, end + 2, 0, 1, height, _WALL)
    at = _cell(g, _draw(source, 1, end + 1), middle)
    shown, north = (KEY, BALL)[_draw(source, 0, 2)], (KEY, BALL)[_draw(source, 0, 2)]
    _put(g, 1, middle - 1, 8 * shown + GREEN)
    _put(g, end + 1, middle - 2, 8 * north + GREEN)
    _put(g, end + 1, middle + 2, 8 * (KEY + BALL - north) + GREEN)
    _put(g, end + 1, middle - 1, MATCH if shown == north else MISMATCH)
    _put(g, end + 1, middle + 1, MISMATCH if shown == north else MATCH)
    return at, 0


Levels = tuple[Any, ...]
"""Slots in which levels begin, and the arrays of all slots.

| | | |
| --- | --- | --- |
| slots | [n] | |
| seeds | [n] | non-negative, of the levels |
| recipes | [n, 4] | width, height and the two settings of the family |
| stride | | bytes from a cell to the one south of it, in all grids |
| cells | [B, bytes] | the grids, written |
| at, direction | [B] | the agents' cells and directions, written |
| carried | [B] | codes of what they carry, written |
| mission | [B] | colour of the ball to be picked up, or `COLOURS`; written |
"""


@jit
def _fresh(levels: Levels, n: int) -> Any:
    """Return slot, grid full of walls, random state, width, height and settings of the n-th level."""
    slots, seeds, recipes, stride, cells, _, _, carried, mission = levels
    b, source = slots[n], np.empty(2, np.uint64)
    cells[b, :] = _WALL
    carried[b], mission[b] = 0, COLOURS
    _seed(source, seeds[n])
    return b, (cells[b], stride), source, recipes[n, 0], recipes[n, 1], recipes[n, 2], recipes[n, 3]


@jit
def _begin_empty(levels: Levels) -> None:
    at, direction = levels[5], levels[6]
    for n in range(levels[0].size):
        b, g, source, width, height, p, _ = _fresh(levels, n)
        at[b], direction[b] = _empty(g, source, width, height, p)


@jit
def _begin_doorkey(levels: Levels) -> None:
    at, direction = levels[5], levels[6]
    for n in range(levels[0].size):
        b, g, source, width, height, _, _ = _fresh(levels, n)
        at[b], direction[b] = _doorkey(g, source, width, height)


@jit
def _begin_fourrooms(levels: Levels) -> None:
    at, direction = levels[5], levels[6]
    for n in range(levels[0].size):
        b, g, source, width, height, _, _ = _fresh(levels, n)
        at[b], direction[b] = _fourrooms(g, source, width, height)


@jit
def _begin_unlock(levels: Levels) -> None:
    at, direction = levels[5], levels[6]
    for n in range(levels[0].size):
        b, g, source, width, height, _, _ = _fresh(levels, n)
        at[b], direction[b] = _unlock(g, source, width, height)


@jit
def _begin_multiroom(levels: Levels) -> None:
    at, direction = levels[5], levels[6]
    for n in range(levels[0].size):
        b, g, source, width, height, p, q = _fresh(levels, n)
        at[b], direction[b] = _multiroom(g, source, width, height, p, q)


@jit
def _begin_keycorridor(levels: Levels) -> None:
    at, direction, mission = levels[5], levels[6], levels[8]
    for n in range(levels[0].size):
        b, g, source, width, height, p, q = _fresh(levels, n)
        at[b], direction[b], mission[b] = _keycorridor(g, source, width, height, p, q)


@jit
def _begin_crossing(levels: Levels) -> None:
    at, direction = levels[5], levels[6]
    for n in range(levels[0].size):
        b, g, source, width, height, p, q = _fresh(levels, n)
        at[b], direction[b] = _crossing(g, source, width, height, p, q)


@jit
def _begin_distshift(levels: Levels) -> None:
    at, direction = levels[5], levels[6]
    for n in range(levels[0].size):
        b, g, _, width, height, p, _ = _fresh(levels, n)
        at[b], direction[b] = _distshift(g, width, height, p)


@jit
def _begin_lavagap(levels: Levels) -> None:
    at, direction = levels[5], levels[6]
    for n in range(levels[0].size):
        b, g, source, width, height, _, _ = _fresh(levels, n)
        at[b], direction[b] = _lavagap(g, source, width, height)


@jit
def _begin_memory(levels: Levels) -> None:
    at, direction = levels[5], levels[6]
    for n in range(levels[0].size):
        b, g, source, width, height, p, _ = _fresh(levels, n)
        at[b], direction[b] = _memory(g, source, width, height, p)


FAMILIES: dict[str, Callable[[Levels], None]] = {
    "empty": _begin_empty,
    "doorkey": _begin_doorkey,
    "fourrooms": _begin_fourrooms,
    "unlock": _begin_unlock,
    "multiroom": _begin_multiroom,
    "keycorridor": _begin_keycorridor,
    "crossing": _begin_crossing,
    "distshift": _begin_distshift,
    "lavagap": _begin_lavagap,
    "memory": _begin_memory,
}
"""Loops that begin levels of a family, by its name."""
