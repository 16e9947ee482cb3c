"""Shortest paths to the reward of a fully observed level: the oracle of Rooms.

Breadth-first search over (cell, direction, whether the door ahead was just opened, phase). The phases:

| phase | the agent | passes the locked door |
| --- | --- | --- |
| 0 | has no key | |
| 1 | has the key | |
| 2 | has the key and has unlocked the door | x |
| 3 | has put the key down, or there is no lock | x |

A ball can be picked up only with empty hands, so there the search goes through phase 2 first, and then on from every
place where the key can be put down, each with its cell blocked.

The search state does not hold which doors were opened before, so a door that is passed twice would be charged twice.
Therefore it is repeated for every set of doors assumed open from the start, whose opening is charged once, up to sets
so large that walking and opening them costs as much as the best path so far. Hence the path is the shortest.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lifelong.envs.jit import jit
from lifelong.envs.rooms.grids import Grids

__all__ = ["plan"]

EMPTY, MATCH = 8, 1
FLOOR, DOOR, KEY, BALL, GOAL, CLOSED, LOCKED = 3, 4, 5, 6, 8, 11, 12  # kinds, as in `grid`
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE = range(6)
GOAL_ENDS, DOOR_ENDS, BALL_ENDS, MATCH_ENDS = range(4)

# A state is ((cell * 4 + direction) * 2 + just opened) * 4 + phase.


@jit
def _follow(state: int, action: int, row: Any, ahead: Any, ending: int, blocked: int, key_is_there: bool) -> Any:
    """Return the next state and whether the end is reached; -1 if the action has no effect or ends in lava."""
    phase, opened = state & 3, state >> 2 & 1
    direction, cell = state >> 3 & 3, state >> 5
    front = cell + ahead[direction]
    code = np.int64(row[front])
    kind = code >> 3
    bare = state & ~4  # no door was just opened
    if action in (LEFT, RIGHT):
        turned = (direction + (3 if action == LEFT else 1)) & 3
        return (cell << 5) | (turned << 3) | phase, False
    if action == FORWARD:
        free = code in (EMPTY, MATCH) or kind in (FLOOR, DOOR, GOAL)
        free = free or (kind == CLOSED and opened == 1) or (kind == LOCKED and phase >= 2)
        free = free or (kind == KEY and key_is_there and phase >= 1)
        if not free or front == blocked:
            return -1, False
        return (front << 5) | (direction << 3) | phase, code == MATCH or kind == GOAL
    if action == TOGGLE:
        if kind == CLOSED and opened == 0:
            return state | 4, False
        if kind == LOCKED and phase == 1:
            return bare + 1, ending == DOOR_ENDS
        return -1, False
    if action == PICKUP and ending != MATCH_ENDS:
        if kind == KEY and key_is_there and phase == 0:
            return bare + 1, False
        if kind == BALL and phase == 3 and ending == BALL_ENDS:
            return bare, True
    return -1, False


@jit
def _search(
    starts: Any, costs: Any, count: int, row: Any, ahead: Any, ending: int, blocked: int, key_is_there: bool,
    cost: Any, parent: Any, by: Any, queue: Any,
) -> Any:  # fmt: skip
    """Search from `count` states with their costs, in order of cost; return the last state, -1 if there is no end.

    Args:
        starts: [n] states.
        costs: [n] in ascending order.
        count: how many of them count.
        row: [bytes] the grid.
        ahead: [4] offset of the cell ahead.
        ending: the kind of end.
        blocked: a cell not to be entered, or -1.
        key_is_there: whether the key stands in the grid.
        cost: [states], -1 everywhere; written.
        parent: [states], written.
        by: [states] the action into each state, written.
        queue: [states] written, states in the order they were reached.
    """
    head, tail, fed = 0, 0, 0
    while head < tail or fed < count:
        if fed < count and (head == tail or costs[fed] <= cost[queue[head]]):
            state = starts[fed]
            if cost[state] < 0:
                cost[state], parent[state] = costs[fed], -1
                queue[tail] = state
                tail += 1
            fed += 1
            continue
        state = queue[head]
        head += 1
        for action in (LEFT, RIGHT, FORWARD, PICKUP, TOGGLE):
            after, end = _follow(state, action, row, ahead, ending, blocked, key_is_there)
            if after < 0 or (cost[after] >= 0 and not end):
                continue
            if end:
                last = cost.size - 1  # the outermost corner, which cannot be entered
                cost[last], parent[last], by[last] = cost[state] + 1, state, action
                return last, tail
            cost[after], parent[after], by[after] = cost[state] + 1, state, action
            queue[tail] = after
            tail += 1
    return -1, tail


@jit
def _trace(last: int, parent: Any, by: Any) -> Any:
    """Return the actions to a state from its search's start, and that start."""
    count, state = 0, last
    while parent[state] >= 0:
        count, state = count + 1, parent[state]
    actions, first, state = np.empty(count, np.int64), state, last
    for i in range(count - 1, -1, -1):
        actions[i], state = by[state], parent[state]
    return actions, first


@jit
def _way(row: Any, start: int, ahead: Any, ending: int, key_is_there: bool) -> Any:
    """Return the actions from a state to the end; none if there is no path."""
    size = 32 * row.size
    cost, parent = np.full(size, -1, np.int64), np.empty(size, np.int64)
    by, queue = np.empty(size, np.int8), np.empty(size, np.int64)
    starts, zero = np.array([start]), np.zeros(1, np.int64)
    last, reached = _search(starts, zero, 1, row, ahead, ending, -1, key_is_there, cost, parent, by, queue)
    if last >= 0:
        return _trace(last, parent, by)[0]
    best = np.empty(0, np.int64)
    if ending != BALL_ENDS:
        return best
    cost_2, parent_2 = np.empty(size, np.int64), np.empty(size, np.int64)
    by_2, queue_2 = np.empty(size, np.int8), np.empty(size, np.int64)
    starts, costs = np.empty(reached, np.int64), np.empty(reached, np.int64)
    tried = np.zeros(row.size, np.bool_)
    shortest = size
    for i in range(reached):  # every cell where the key can be put down
        state = queue[i]
        place = (state >> 5) + ahead[state >> 3 & 3]
        if state & 3 != 2 or tried[place] or cost[state] + 2 > shortest:
            continue
        tried[place] = True
        if row[place] != EMPTY and not (row[place] >> 3 == KEY and key_is_there):
            continue
        count = 0
        for k in range(i, reached):
            there = queue[k]
            if there & 3 == 2 and (there >> 5) + ahead[there >> 3 & 3] == place:
                starts[count], costs[count] = (there & ~4) + 1, cost[there] + 1
                count += 1
        cost_2[:] = -1
        last, _ = _search(
            starts, costs, count, row, ahead, ending, place, key_is_there, cost_2, parent_2, by_2, queue_2
        )
        if last >= 0 and cost_2[last] < shortest:
            shortest = cost_2[last]
            after, first = _trace(last, parent_2, by_2)
            before = _trace(_dropped_from(first, cost, cost_2[first] - 1), parent, by)[0]
            best = np.concatenate((before, np.array([DROP]), after))
    return best


@jit
def _dropped_from(state: int, cost: Any, wanted: Any) -> int:
    """Return the state of phase 2 from which one of phase 3 was reached by putting the key down."""
    held = state - 1
    return held if cost[held] == wanted else held | 4


@jit
def _open_when_passed(actions: Any, row: Any, start: int, ahead: Any) -> Any:
    """Return a path with the openings of closed, not locked doors inserted at their first passage."""
    opened = np.zeros(row.size, np.bool_)
    direction, cell = start >> 3 & 3, start >> 5
    kept, count = np.empty(2 * actions.size, np.int64), 0
    for action in actions:
        front = cell + ahead[direction]
        closed = row[front] >> 3 == CLOSED
        if action == TOGGLE and closed:
            continue
        if action in (LEFT, RIGHT):
            direction = (direction + (3 if action == LEFT else 1)) & 3
        elif action == FORWARD:
            if closed and not opened[front]:
                kept[count] = TOGGLE
                count += 1
                opened[front] = True
            cell = front
        kept[count] = action
        count += 1
    return kept[:count]


def plan(grids: Grids, slot: int) -> Any:
    """Return the actions to the end of an episode from its present state; none if there is no path.

    Args:
        grids: the environments.
        slot: of the environment.
    """
    row, ending = grids.cells[slot], int(grids.ending[slot])
    kinds = row >> 3
    locked, keys = bool((kinds == LOCKED).any()), bool((kinds == KEY).any())
    has_key = grids.carried[slot] >> 3 == KEY
    phase = (1 if locked else 2) if has_key else (0 if locked else 3)
    start = int(grids.at[slot]) << 5 | int(grids.direction[slot]) << 3 | phase

    def way(doors: Sequence[int]) -> Any:
        seen = row.copy()
        seen[list(doors)] -= 8 * (CLOSED - DOOR)
        return _way(seen, start, grids.ahead, ending, keys and phase == 0)

    best = _open_when_passed(way(()), row, start, grids.ahead)
    closed = np.flatnonzero(kinds == CLOSED).tolist()
    if ending != BALL_ENDS or not closed:  # no door is passed twice
        return best
    walked = way(closed).size
    for count in range(1, len(closed) + 1):
        if walked + count >= best.size:
            break
        for doors in combinations(closed, count):
            other = _open_when_passed(way(doors), row, start, grids.ahead)
            best = other if other.size < best.size else best
    return best
