"""Step a batch of grids by MiniGrid's rules, compiled.

A cell is one byte, `8 kind + colour`. Kinds and colours have MiniGrid's numbers, except that opaque kinds come last:
`kind >= WALL`. Two kinds of cell that look empty end an episode, one with success, one without.

A grid is a row of bytes with walls around: `MARGIN` rows above and below, and `MARGIN` cells between the rows, which
are the right margin of one and the left margin of the next. So the agent's view is 49 bytes at offsets that depend on
its direction alone. Occlusion follows a row of seven cells at a time from a table: from the light on a row and its
opaque cells to its visible cells and the light on the row behind.

Source: minigrid 3.2 (`MiniGridEnv.step`, `Grid.process_vis`, the environments' own `step`), rebuilt from its behaviour;
`tests/envs/rooms/test_parity.py` steps both side by side.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.jit import jit

__all__ = [
    "ENCODED",
    "ENDINGS",
    "MARGIN",
    "SIDE",
    "WORDS",
    "advance",
    "look",
    "steps_ahead",
    "views",
]

SIDE = 7  # cells of the view, across and ahead
MARGIN = SIDE - 1
WORDS = -(-SIDE * SIDE * 3 // 4)  # of 32 bits, lowest byte first, for the 147 numbers of a view

NOTHING = 0  # code of carrying nothing; no cell
MATCH, MISMATCH = 1, 2  # look empty
EMPTY = 8
FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA = 3, 4, 5, 6, 7, 8, 9  # kinds; a DOOR is open
WALL, CLOSED, LOCKED = 10, 11, 12  # opaque kinds
GREEN, GREY = 1, 5
OPAQUE = 8 * WALL

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
ENDINGS = {"goal": 0, "door": 1, "ball": 2, "match": 3}
_DOOR_ENDS, _BALL_ENDS, _MATCH_ENDS = 1, 2, 3


def _encoded() -> NDArray[np.uint8]:
    table = np.zeros((128, 3), np.uint8)
    shown = {kind: (kind, 0) for kind in (FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA)}
    shown |= {WALL: (2, 0), CLOSED: (DOOR, 1), LOCKED: (DOOR, 2)}
    for kind, (number, state) in shown.items():
        for colour in range(6):
            table[8 * kind + colour] = number, colour, state
    table[[EMPTY, MATCH, MISMATCH]] = 1, 0, 0
    return table


def _shining() -> NDArray[np.uint16]:
    """Return the occlusion table: from a row's light and opaque cells to its visible cells and the next row's light.

    The latter is 7 bits higher. Light spreads sideways from a lit transparent cell, first to the right and then to the
    left, and from each such cell to the row behind: straight, and diagonally in its direction.
    """
    table = np.zeros(1 << 2 * SIDE, np.uint16)
    for lit in range(1 << SIDE):
        for opaque in range(1 << SIDE):
            seen, behind = lit, 0
            for i in range(SIDE - 1):
                if seen >> i & 1 and not opaque >> i & 1:
                    seen |= 2 << i
                    behind |= 3 << i
            for i in range(SIDE - 1, 0, -1):
                if seen >> i & 1 and not opaque >> i & 1:
                    seen |= 1 << i - 1
                    behind |= 3 << i - 1
            table[lit << SIDE | opaque] = seen | behind << SIDE
    return table


ENCODED = _encoded()
_WORDS = ENCODED.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)  # a cell's numbers in one
_SHINE = _shining()
_ALL = (1 << SIDE) - 1


def steps_ahead(stride: int) -> NDArray[np.int64]:
    """Return [4] the offset of the cell ahead for each direction: east, south, west, north."""
    return np.array([1, stride, -1, -stride])


def views(stride: int) -> NDArray[np.int64]:
    """Return [4, 49] the offsets of the cells in view for each direction, far rows first, each from left to right.

    Args:
        stride: bytes from a cell to the one south of it.
    """
    ahead, right = steps_ahead(stride), np.roll(steps_ahead(stride), -1)
    far, aside = np.arange(SIDE)[::-1, None], np.arange(SIDE) - SIDE // 2
    return np.stack([(far * ahead[d] + aside * right[d]).ravel() for d in range(4)])


@jit
def _show(
    cells: Any, at: Any, direction: Any, carried: Any, b: int, clear: Any, view: Any, seen: Any, words: Any
) -> None:
    here = at[b]
    ahead = direction[b]
    lit: Any = _ALL if clear else 1 << SIDE // 2
    for j in range(SIDE - 1, -1, -1):
        if lit == 0:
            for i in range(SIDE):
                seen[SIDE * i + j] = 0
            continue
        opaque = 0
        for i in range(SIDE):
            code = cells[b, here + view[ahead, SIDE * j + i]]
            seen[SIDE * i + j] = _WORDS[code]
            opaque |= (1 if code >= OPAQUE else 0) << i
        if clear:
            continue
        shine = np.int64(_SHINE[lit << SIDE | opaque])
        hidden = ~shine & _ALL
        lit = shine >> SIDE
        if hidden:
            for i in range(SIDE):
                if hidden >> i & 1:
                    seen[SIDE * i + j] = 0
    held = carried[b]
    seen[SIDE * (SIDE // 2) + SIDE - 1] = _WORDS[held if held else EMPTY]  # the agent's own cell
    for k in range(SIDE * SIDE // 4):  # four cells are three words
        one, two, three, four = seen[4 * k], seen[4 * k + 1], seen[4 * k + 2], seen[4 * k + 3]
        words[b, 3 * k] = one | two << 24
        words[b, 3 * k + 1] = two >> 8 | three << 16
        words[b, 3 * k + 2] = three >> 16 | four << 8
    words[b, WORDS - 1] = seen[SIDE * SIDE - 1]


@jit
def look(slots: Any, cells: Any, at: Any, direction: Any, carried: Any, clear: Any, view: Any, words: Any) -> None:
    """Write the observations of some slots.

    Args:
        slots: [n] which.
        cells: [B, bytes] the grids.
        at: [B] the agents' cells.
        direction: [B] their directions.
        carried: [B] codes of what they carry.
        clear: [B] whether they see through walls.
        view: [4, 49] of `views`.
        words: [B, 37] written; their bytes are for each cell in view, columns first, its three numbers.
    """
    seen = np.empty(SIDE * SIDE, np.uint32)
    for n in range(slots.size):
        _show(cells, at, direction, carried, slots[n], clear[slots[n]], view, seen, words)


@jit
def advance(
    first: int, last: int, actions: Any, cells: Any, at: Any, direction: Any, carried: Any, steps: Any, ending: Any,
    limit: Any, clear: Any, ahead: Any, view: Any, reward: Any, terminated: Any, truncated: Any, words: Any,
) -> None:  # fmt: skip
    """Step the slots from `first` to before `last`, and write rewards, ends and observations.

    Args:
        first: slot.
        last: slot after the last.
        actions: [B] 0 to 6, MiniGrid's: left, right, forward, pick up, drop, toggle, done.
        cells: [B, bytes].
        at: [B].
        direction: [B].
        carried: [B].
        steps: [B] of this episode so far.
        ending: [B] of `ENDINGS`.
        limit: [B] steps an episode may have.
        clear: [B].
        ahead: [4] of `steps_ahead`.
        view: [4, 49].
        reward: [B], written.
        terminated: [B], written.
        truncated: [B], written; false where terminated.
        words: [B, 37], written.
    """
    seen = np.empty(SIDE * SIDE, np.uint32)
    for b in range(first, last):
        action = actions[b]
        front = at[b] + ahead[direction[b]]
        code = cells[b, front]
        kind = code >> 3
        won, over = False, False
        if action == LEFT:
            direction[b] = (direction[b] + 3) & 3
        elif action == RIGHT:
            direction[b] = (direction[b] + 1) & 3
        elif action == FORWARD:
            if kind <= DOOR or kind in (GOAL, LAVA):
                at[b] = front
            won = kind == GOAL or code == MATCH
            over = won or kind == LAVA or code == MISMATCH
        elif action == PICKUP:
            if KEY <= kind <= BOX and carried[b] == NOTHING and ending[b] != _MATCH_ENDS:
                carried[b] = code
                cells[b, front] = EMPTY
            won = over = ending[b] == _BALL_ENDS and carried[b] >> 3 == BALL
        elif action == DROP:
            if code == EMPTY and carried[b] != NOTHING:
                cells[b, front] = carried[b]
                carried[b] = NOTHING
        elif action == TOGGLE:
            colour = code & 7
            if kind == CLOSED or (kind == LOCKED and carried[b] == 8 * KEY + colour):
                cells[b, front] = 8 * DOOR + colour
                won = over = ending[b] == _DOOR_ENDS
            elif kind == DOOR:
                cells[b, front] = 8 * CLOSED + colour
        reward[b] = 1 - 0.9 * ((steps[b] + 1) / limit[b]) if won else 0.0
        terminated[b] = over
        truncated[b] = not over and steps[b] + 1 >= limit[b]
        _show(cells, at, direction, carried, b, clear[b], view, seen, words)
