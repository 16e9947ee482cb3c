"""Rooms: MiniGrid's tasks, compiled and natively batched; millions of steps a second.

Observation, reward, termination and truncation of every step equal MiniGrid's to the bit
(`tests/envs/rooms/test_parity.py`). Levels are drawn from the episode's seed with MiniGrid's distribution, not with its
random numbers. All tasks share observation and action space, so any of them can follow each other in one life. Nothing
hidden outlives an episode: alone, a task is a control for memory across episodes; several make a sequence that slow
weights must not forget.

Observation of a task:

| entry | meaning |
| --- | --- |
| image | [7, 7, 3] object type, colour and state of each cell in view, as MiniGrid numbers them |
| direction | of the agent: 0 east, 1 south, 2 west, 3 north |
| mission | colour of the ball to be picked up, 6 where there is none; only if some task is a KeyCorridor |

Actions are MiniGrid's: turn left, turn right, walk, pick up, drop, toggle, do nothing. Reaching the end in step t of at
most T is worth 1 - 0.9 t / T; lava, and in Memory the wrong object, end the episode with 0.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rooms.grid import SIDE
from lifelong.envs.rooms.grids import Grids
from lifelong.envs.rooms.levels import COLOURS
from lifelong.envs.rooms.tasks import TASKS
from lifelong.envs.schedules import Cyclic, Schedule
from lifelong.envs.stream import Boundary, References, Task, TaskStream
from lifelong.registry import nearest

__all__ = ["Rooms"]

_ACTIONS = 7
_TILE = 32  # pixels along a cell's side
_STATE = ("cells", "at", "direction", "carried", "mission")  # of `Grids`: with the task, all that an episode is


class Rooms(TaskStream):
    """Task stream over MiniGrid's tasks, compiled.

    Args:
        num_envs: B, lives side by side.
        task: one name of `TASKS`, such as "doorkey-8x8", or several, as a list or with commas between.
        max_steps: steps until an episode is truncated, in all tasks; None for each task's own number.
        schedule: which task comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the observation tells of task changes.
        seed: of the lives.
        render_mode: `rgb_array` to get pictures from `render`, `human` to see one life in MiniGrid's window, or None.

    Raises:
        ValueError: on numbers that make no stream, if there is no such task, or if `render_mode` is `human` with
            several lives.
    """

    metadata = TaskStream.metadata | {"render_modes": ["rgb_array", "human"], "render_fps": 10}

    def __init__(
        self,
        num_envs: int = 1,
        *,
        task: str | Sequence[str] = "doorkey-8x8",
        max_steps: int | None = None,
        schedule: Schedule = Cyclic(1),  # noqa: B008  frozen
        life_episodes: int | None = None,
        boundary: Boundary = "none",
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be rgb_array, human or None, got {render_mode!r}")
        if render_mode == "human" and num_envs != 1:
            raise ValueError(f"a window shows one life: render_mode='human', num_envs={num_envs}")
        names = [name.strip() for name in task.split(",")] if isinstance(task, str) else list(task)
        if not names:
            raise ValueError("a stream needs at least one task")
        for name in names:
            if name not in TASKS:
                hint = nearest(name, TASKS)
                raise ValueError(f"no task {name!r}{hint} known: {', '.join(TASKS)}")
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"tasks are named once each, got {twice[0]!r} twice; the schedule says how often they come"
            )
        if max_steps is not None and max_steps < 1:
            raise ValueError(f"max_steps must be positive or None: max_steps={max_steps}")
        recipes = [TASKS[name] for name in names]
        if max_steps is not None:
            recipes = [recipe.cut_short(max_steps) for recipe in recipes]
        entries: dict[str, spaces.Space[Any]] = {
            "image": spaces.MultiDiscrete(np.tile([11, 6, 3], (SIDE, SIDE, 1)), np.uint8),
            "direction": spaces.Discrete(4),
        }
        self._missions = any(recipe.ending == "ball" for recipe in recipes)
        if self._missions:
            entries["mission"] = spaces.Discrete(COLOURS + 1)
        super().__init__(
            num_envs,
            tasks=[
                Task(name, References(random=recipe.random, oracle=recipe.oracle))
                for name, recipe in zip(names, recipes, strict=True)
            ],
            observation_space=spaces.Dict(entries),
            action_space=spaces.Discrete(_ACTIONS),
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.grids = Grids(num_envs, recipes)
        self.position_bounds = self.grids.bounds()
        self.render_mode = render_mode
        self._window: Any = None

    @property
    def unforkable(self) -> str:
        """Reason why lives cannot be copied; see `TaskStream`."""
        return "it is shown in a window, and a copy would be too" if self.render_mode == "human" else ""

    def reset(self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin new lives, and update the window if there is one; see `TaskStream`."""
        begun = super().reset(seed=seed, options=options)
        self._show()
        return begun

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step all lives, and update the window if there is one; see `TaskStream`."""
        result = super().step(actions)
        self._show()
        return result

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return a picture [height, width, 3] of each life, drawn by MiniGrid.

        None without a render mode or with `human`, which updates the window after every step.
        """
        if self.render_mode is None:
            return None
        if self.vector_steps < 0:
            raise gymnasium.error.ResetNeeded("render before the first reset")
        from lifelong.envs.minigrid.bridge import Window, draw, mission

        pictures = tuple(draw(self.grids.level(slot), self.grids.image[slot], _TILE) for slot in range(self.num_envs))
        if self.render_mode == "rgb_array":
            return pictures
        self._window = self._window or Window()
        recipe = self.grids.tasks[self.grids.task[0]]
        self._window.show(pictures[0], mission(recipe.minigrid_id, int(self.grids.mission[0])))
        return None

    def close_extras(self) -> None:
        """Close the window."""
        if getattr(self, "_window", None) is not None:  # `__del__` of a stream that was refused comes here too
            self._window.close()
            self._window = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: all but the window, which a copy opens anew."""
        return vars(self) | {"_window": None}

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()

    def _begin_episodes(self, slots: NDArray[np.int64]) -> None:
        self.grids.begin(slots, self.base_task[slots], self.episode_seeds(slots))

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        return self.grids.step(actions.astype(np.int64), self.episode_length)

    def _observe(self) -> dict[str, NDArray[Any]]:
        obs: dict[str, NDArray[Any]] = {
            "image": self.grids.image.copy(),
            "direction": self.grids.direction.copy(),
        }
        if self._missions:
            obs["mission"] = self.grids.mission.copy()
        return obs

    def _episode_info(self, slots: NDArray[np.int64]) -> dict[str, Any]:
        return {"success": self.base_return[slots] > 0, "answer": self.previous_action[slots]}

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the position of the stream, with the grids of the unfinished episodes."""
        return super().position() | {name: getattr(self.grids, name).copy() for name in _STATE}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        for name in _STATE:
            getattr(self.grids, name)[...] = position[name]
        self.grids.look(self._everyone)
