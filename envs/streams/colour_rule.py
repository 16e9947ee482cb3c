"""ColourRule: a MiniGrid room in which one colour is rewarded, hidden and constant over episodes.

A room of MiniGrid has one ball of each of n colours, in random cells; the agent starts in a random cell and turns or
walks (left, right, forward). Walking into a ball is rewarded with 1 if it has the colour of the present rule, else with
0. The step limit is part of the task, so running out of time is an outcome like any other, with reward 0. The outcome
is observed in an extra last step, as in `SealedStream`, and not in the next episode. Balls and walls look the same
under every rule, so a policy without memory of earlier episodes gets 1/n at best; one with memory tries each colour
once.

The tasks of this stream are its rules. With the schedule `Redrawn(E)` the rule is drawn anew every E episodes; the best
policy then strikes out a colour with each failure, is right with probability (j + 1) / n in the j-th episode after the
draw until it is sure, and gets 1 - (n - 1) / (2 E) on average. `cross` of a row is that probability.

Observation of a task:

| entry | meaning |
| --- | --- |
| image | [7, 7, 3] object type, colour and state of each cell in view, as MiniGrid numbers them |
| direction | of the agent: 0 east, 1 south, 2 west, 3 north |
| touched | in the last step of an episode, the colour of the ball that was walked into; n for none |
| over | [1] 1 in the last step of an episode, after the reward; the action has no effect |
"""

from collections import deque
from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.core.constants import OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Ball, Wall
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from lifelong.envs.gym_stream import GymStream
from lifelong.envs.gym_task import GymTask
from lifelong.envs.schedules import Redrawn, Schedule
from lifelong.envs.seeds import python_integer
from lifelong.envs.stream import Boundary, References
from lifelong.envs.task import Retention

__all__ = ["COLOURS", "ColourRoom", "ColourRule"]

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
_LEFT, _RIGHT, _FORWARD = range(3)  # MiniGrid's first three actions
_STEPS = {0: (1, 0), 1: (0, 1), 2: (-1, 0), 3: (0, -1)}  # cells are (x, y), y grows southwards
_EMPTY = OBJECT_TO_IDX["empty"], 0, 0
_RANDOM = {2: 0.221, 3: 0.194, 4: 0.172, 5: 0.154, 6: 0.140}  # score of random actions in the default room, to 0.002


class ColourRoom(MiniGridEnv):
    """MiniGrid room in which the ball of one colour is rewarded.

    `gen_obs` slices the encoded grid instead of encoding a slice of the grid: the same output many times faster. The
    agent sees through walls, which is faster too and affects only the cells outside the room.

    Args:
        colours: n, balls in the room.
        rule: index of the rewarded colour.
        size: of the room, walls included.
        max_steps: steps until time runs out, without the last step, which shows the outcome.
        **kwargs: passed to `MiniGridEnv`.

    Raises:
        ValueError: on numbers that make no room.
    """

    def __init__(self, colours: int = 2, rule: int = 0, size: int = 6, max_steps: int = 24, **kwargs: Any) -> None:
        _refuse_unless_coloured(colours)
        if not 0 <= rule < colours:
            raise ValueError(f"rule must be one of the {colours} colours: rule={rule}")
        if size < 5:
            raise ValueError(f"size must be at least 5: size={size}")
        if max_steps < 1:
            raise ValueError(f"max_steps must be positive: max_steps={max_steps}")
        self.colours, self.rule = colours, rule
        self._outcome: dict[str, Any] = {}  # what `info` will say at the end of the episode, once that is certain
        mission = MissionSpace(mission_func=_mission)
        super().__init__(mission, grid_size=size, max_steps=max_steps, see_through_walls=True, **kwargs)
        self.action_space = spaces.Discrete(3)
        entries: Any = {"touched": spaces.Discrete(colours + 1), "over": spaces.Box(0.0, 1.0, (1,), np.float32)}
        self.observation_space = spaces.Dict({**self.observation_space.spaces, **entries})  # type: ignore[attr-defined]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; arguments as for `gymnasium.Env`."""
        self._outcome = {}
        return super().reset(seed=None if seed is None else python_integer(seed), options=options)

    def _gen_grid(self, width: int, height: int) -> None:
        top, area = (1, 1), (width - 2, height - 2)
        while True:
            self.grid = Grid(width, height)
            self.grid.wall_rect(0, 0, width, height)
            self.agent_pos = (-1, -1)
            balls: list[Any] = [Ball(colour) for colour in COLOURS[: self.colours]]  # type: ignore[no-untyped-call]
            for ball in balls:
                self.place_obj(ball, top, area)
            self.place_agent(top, area)  # type: ignore[no-untyped-call]
            if self.colours == 2 or all(self.way_to(rule) for rule in range(self.colours)):  # balls are transparent
                break
        margin = self.agent_view_size - 1
        self._cells = np.empty((width + 2 * margin, height + 2 * margin, 3), np.uint8)
        self._cells[:] = Wall().encode()
        self._cells[margin + 1 : -margin - 1, margin + 1 : -margin - 1] = _EMPTY
        for ball in balls:
            self._cells[margin + ball.cur_pos[0], margin + ball.cur_pos[1]] = ball.encode()

    def gen_obs(self) -> dict[str, Any]:
        """Return MiniGrid's observation, the square ahead of the agent rotated so that ahead is up, and the outcome."""
        side = self.agent_view_size
        left, top, _, _ = self.get_view_exts()  # type: ignore[no-untyped-call]
        left, top = left + side - 1, top + side - 1
        image = self._cells[left : left + side, top : top + side]
        if self.agent_dir == 0:
            image = image.transpose(1, 0, 2)[:, ::-1]
        elif self.agent_dir == 1:
            image = image[::-1, ::-1]
        elif self.agent_dir == 2:
            image = image.transpose(1, 0, 2)[::-1]
        image = image.copy()
        image[side // 2, side - 1] = _EMPTY  # the agent's own cell
        answer = self._outcome.get("lifelong_answer", -1)
        touched = np.int64(answer if answer >= 0 else self.colours)
        over = np.array([bool(self._outcome)], np.float32)
        return {"image": image, "direction": self.agent_dir, "mission": self.mission, "touched": touched, "over": over}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment; `lifelong_answer` in the last `info` is the index of the touched colour, or -1."""
        if self._outcome:
            return self.gen_obs(), 0.0, True, False, self._outcome
        ahead: Any = self.grid.get(*self.front_pos) if action == _FORWARD else None
        answer = COLOURS.index(ahead.color) if isinstance(ahead, Ball) else -1
        obs, _, _, late, _ = super().step(action)
        if answer < 0 and not late:
            return obs, 0.0, False, False, {}
        reward = float(answer == self.rule)
        self._outcome = {"lifelong_answer": answer, "success": reward}
        return self.gen_obs(), reward, False, False, {}

    def way_to(self, colour: int) -> list[int]:
        """Return the shortest path into a ball, as actions; empty if there is none."""
        x, y = (int(i) for i in self.agent_pos)
        start = (x, y, int(self.agent_dir))
        ways: dict[tuple[int, int, int], list[int]] = {start: []}
        open_ends = deque([start])
        while open_ends:
            here = x, y, direction = open_ends.popleft()
            dx, dy = _STEPS[direction]
            cell = self.grid.get(x + dx, y + dy)
            if isinstance(cell, Ball) and cell.color == COLOURS[colour]:
                return [*ways[here], _FORWARD]
            turns = ((x, y, (direction - 1) % 4), (x, y, (direction + 1) % 4))
            for action, there in zip((_LEFT, _RIGHT, _FORWARD), (*turns, (x + dx, y + dy, direction)), strict=True):
                if there not in ways and (action != _FORWARD or cell is None):
                    ways[there] = [*ways[here], action]
                    open_ends.append(there)
        return []


class ColourRule(GymStream):
    """Task stream of rooms in which one colour is rewarded.

    Args:
        num_envs: B, lives side by side.
        colours: n, balls in the room.
        size: of the room, walls included.
        max_steps: steps until time runs out, without the last step, which shows the outcome.
        schedule: order of the rules.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the observation tells of task changes; `task_id` reveals the rule.
        seed: of the lives.
        render_mode: `rgb_array` to get pictures from `render`, or None.

    Raises:
        ValueError: on numbers that make no stream.
    """

    sealed = True
    feedback = "reward"  # the entry reference policies learn from

    def __init__(
        self,
        num_envs: int = 1,
        *,
        colours: int = 2,
        size: int = 6,
        max_steps: int = 24,
        schedule: Schedule = Redrawn(20),  # noqa: B008  frozen
        life_episodes: int | None = 80,
        boundary: Boundary = "none",
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        _refuse_unless_coloured(colours)
        self.answers = colours
        self._chances = np.empty(0)  # scores of the best policy in the episodes after a draw
        if isinstance(schedule, Redrawn) and schedule.episodes >= colours:
            self._chances = np.minimum(np.arange(1, schedule.episodes + 1) / colours, 1.0)
        usual = size == 6 and max_steps == 24
        references = References(
            random=_RANDOM.get(colours, np.nan) if usual else np.nan,
            within=1 / colours,
            cross=float(self._chances.mean()) if self._chances.size else np.nan,
            oracle=1.0,
        )
        room = {"colours": colours, "size": size, "max_steps": max_steps}
        super().__init__(
            [
                GymTask(f"{colour} pays", references, env_id="lifelong/ColourRoom-v0", kwargs=room | {"rule": rule})
                for rule, colour in enumerate(COLOURS[:colours])
            ],
            num_envs,
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
            render_mode=render_mode,
        )

    @property
    def retention(self) -> Retention | None:
        """The memory index by lag."""
        return "index"

    def right_answers(self) -> NDArray[np.int64]:
        """Return [B] the rewarded colours."""
        return self.base_task.copy()

    def contexts(self) -> NDArray[np.int64]:
        """Return [B] the present question; here it is always the same."""
        return np.zeros_like(self.base_task)

    def toward(self, answers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the next actions [B] on shortest paths to these answers."""
        rooms: list[Any] = [self.environment(slot, task).unwrapped for slot, task in enumerate(self.base_task.tolist())]
        return np.array([room.way_to(answer)[0] for room, answer in zip(rooms, answers.tolist(), strict=True)])

    def _episode_info(self, slots: NDArray[np.int64]) -> dict[str, Any]:
        known = self._chances.size
        cross = self._chances[self.episode[slots] % known] if known else np.nan
        return super()._episode_info(slots) | {"cross": cross}


def _mission() -> str:
    return "walk into the ball of the right colour"


def _refuse_unless_coloured(colours: int) -> None:
    if not 2 <= colours <= len(COLOURS):
        raise ValueError(f"colours must be 2 to {len(COLOURS)}: colours={colours}")
