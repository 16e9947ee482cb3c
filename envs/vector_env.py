"""VectorStream: a stream as a `gymnasium.vector.VectorEnv` of the kind that other libraries' loops expect.

    envs = gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=8, autoreset_mode=AutoresetMode.NEXT_STEP, flat=True)
    obs, info = envs.reset(seed=3)

It is what gymnasium's `SyncVectorEnv` would be over one `Single` for each life, at the speed of the stream: the same
keys of `info`, each with its mask `_key` [B], and the same three ways to go on after an episode's end:

| autoreset_mode | after an episode's end |
| --- | --- |
| SAME_STEP | the observation is the next episode's first; `info` has `final_obs` and `final_info` of the last |
| NEXT_STEP | the next step takes no action there: its reward is 0, its observation the next episode's first |
| DISABLED | `reset(options={"reset_mask": mask})` begins the next episodes where `mask` [B] is true |

The row of an episode that ended (see `ROW`) is `row` in the `info` of its last step: in `final_info` with SAME_STEP.
Its `step` counts the steps of NEXT_STEP without an action too.
`reset` with a seed begins new lives, and so does the first without one, which draws it; later ones begin the next
episodes of the same lives, as those of `Single` do. `TaskStream.step`, which our own loops use, tells the same with
less work; `stream` is it.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorWrapper
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray

from lifelong.envs.drawing import draw
from lifelong.envs.flat import Flat
from lifelong.envs.seeds import SEEDS
from lifelong.envs.stream import TaskStream

__all__ = ["VectorStream"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class VectorStream(VectorWrapper):
    """Vector environment of a stream's lives, by gymnasium's conventions.

    Args:
        stream: of B lives.
        autoreset_mode: what follows an episode's end; gymnasium's `AutoresetMode`, or its name.
        flat: whether an observation is one vector of float32; see `Flat`.
        render_mode: as the stream has it; or `rgb_array`, then pictures are drawn for a stream that draws none.
        seeded: whether the first `reset` without a seed takes that of the stream; else it draws one.

    Raises:
        ValueError: on a mode that is none.
    """

    def __init__(
        self,
        stream: TaskStream,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        *,
        flat: bool = False,
        render_mode: str | None = None,
        seeded: bool = True,
    ) -> None:
        super().__init__(stream)
        self.stream = stream
        self.autoreset_mode = _mode(autoreset_mode)
        modes = list(dict.fromkeys(["rgb_array", *stream.metadata["render_modes"]]))
        if render_mode not in (None, *modes):
            raise ValueError(f"render_mode must be {', '.join(modes)} or None, got {render_mode!r}")
        own = {"autoreset_mode": self.autoreset_mode, "render_modes": modes}
        self.metadata = {"render_fps": 5} | stream.metadata | own
        self._flat = Flat(stream.single_observation_space) if flat else None
        if self._flat is not None:
            self.single_observation_space = self._flat.space
            self.observation_space = batch_space(self._flat.space, stream.num_envs)
        self._render_mode, self._seeded = render_mode or stream.render_mode, seeded
        self._over = np.zeros(stream.num_envs, np.bool_)  # episodes that ended, and the next did not begin
        self._fresh = self._over.copy()  # episodes that the last step began

    @property
    def render_mode(self) -> str | None:  # type: ignore[override]  # gymnasium's own is a property too
        """How `render` draws."""
        return self._render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episodes, in all slots or some; unfinished ones are abandoned, but counted.

        An episode that the last step has begun is kept: some libraries reset all once more when all ended at once.

        Args:
            seed: of the lives, which begin anew with it; None continues them, and draws one at the first time.
            options: `reset_mask` [B] bool, the slots in which the next episodes begin; no others.

        Returns:
            The observations, of all slots, and `info`, of those that were reset.

        Raises:
            TypeError: if the mask is not an array of bool.
            ValueError: if it has another shape, or is true nowhere; if there is a seed beside it; on other options.
            ResetNeeded: if some are reset before all.
        """
        others = dict(options or {})
        mask = others.pop("reset_mask", None)
        if mask is not None and not others:
            return self._begin_next(self._checked(mask, seed))
        first = self.stream.vector_steps < 0
        if seed is None and not first and not options:
            return self._begin_next(np.ones(self.num_envs, np.bool_))
        if seed is None and first:
            seed = self.stream.seed if self._seeded else int(self.stream.np_random.integers(SEEDS))
        obs, info = self.stream.reset(seed=seed, options=options)
        self._over[:] = self._fresh[:] = False
        return self._shown(obs), _masked(info, np.ones(self.num_envs, np.bool_))

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], Bools, Bools, dict[str, Any]]:
        """Step all environments.

        Args:
            actions: [B, ...] one action for each; with NEXT_STEP those after an episode's end are ignored.

        Returns:
            Observations, rewards [B], terminated [B], truncated [B] and `info`.

        Raises:
            ValueError: if the actions are not of the action space; the stream is then unchanged.
            ResetNeeded: before the first `reset`; with DISABLED where an episode has ended and no other begun.
        """
        over = np.flatnonzero(self._over)
        if over.size and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gymnasium.error.ResetNeeded(
                f"step after the end of the episodes in slots {over.tolist()}, and autoreset_mode is DISABLED: "
                "reset(options={'reset_mask': mask}) begins the next"
            )
        reward, terminated, truncated, ended = self.stream.advance_others(actions, over)
        self._over[:] = self._fresh[:] = False
        extra: dict[str, Any] = {}
        if ended.size:
            mask = np.zeros(self.num_envs, np.bool_)
            mask[ended] = True
            extra = self._end(ended, mask)
        obs, info = self.stream.observe()
        if self.render_mode == "human":
            self.stream.render()
        return self._shown(obs), reward, terminated, truncated, _masked(info, np.ones(self.num_envs, np.bool_)) | extra

    def render(self) -> tuple[Any, ...] | None:
        """Return a picture [height, width, 3] of each life; None without a render mode or where there is a window."""
        if self.stream.render_mode is not None or self.render_mode is None:
            return self.stream.render() if self.render_mode is not None else None
        if self.stream.vector_steps < 0:
            raise gymnasium.error.ResetNeeded("render before the first reset")
        obs, space = self.stream.observe()[0], self.stream.single_observation_space
        return tuple(draw(space, part) for part in iterate(self.stream.observation_space, obs))

    def _end(self, ended: Ints, mask: Bools) -> dict[str, Any]:
        """Count episodes that ended; return what `info` tells of them, and begin the next ones with SAME_STEP."""
        obs, info = self.stream.observe()
        columns = self.stream.end(ended)
        rows = {name: np.zeros(self.num_envs, column.dtype) for name, column in columns.items()}
        for name, column in columns.items():
            rows[name][ended] = column
        row = {"row": _masked(rows, mask), "_row": mask}
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            self._over[ended] = True
            return row
        self.stream.renew(ended)
        self._fresh[ended] = True
        final = np.full(self.num_envs, None, object)
        space = self.stream.observation_space if self._flat is None else self.observation_space
        for slot, part in zip(ended.tolist(), iterate(space, self._shown(_taken(obs, ended))), strict=True):
            final[slot] = part
        return {"final_obs": final, "_final_obs": mask, "final_info": _masked(info, mask) | row, "_final_info": mask}

    def _begin_next(self, mask: Bools) -> tuple[Any, dict[str, Any]]:
        """Begin the next episodes where the mask is true."""
        unfinished, slots = np.flatnonzero(mask & ~self._over & ~self._fresh), np.flatnonzero(mask & ~self._fresh)
        if unfinished.size:
            self.stream.give_up(unfinished)
        if slots.size:
            self.stream.renew(slots)
        self._over[mask] = self._fresh[mask] = False
        obs, info = self.stream.observe()
        if self.render_mode == "human":
            self.stream.render()
        return self._shown(obs), _masked(info, mask)

    def _checked(self, mask: Any, seed: int | None) -> Bools:
        """Return the mask, if it is valid."""
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            got = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
            raise TypeError(f"reset_mask must be an array of bool, got {got}")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(f"reset_mask must be [{self.num_envs}] and true somewhere, got {mask}")
        if seed is not None:
            raise ValueError(f"a stream has one seed for all its lives, so none beside reset_mask: seed={seed}")
        if self.stream.vector_steps < 0:
            raise gymnasium.error.ResetNeeded("reset with reset_mask before the first reset")
        return mask

    def _shown(self, obs: Any) -> Any:
        return obs if self._flat is None else self._flat(obs)


def _mode(mode: AutoresetMode | str) -> AutoresetMode:
    for known in AutoresetMode:
        if mode in (known, known.name, known.name.lower(), known.value):
            return known
    raise ValueError(f"autoreset_mode must be one of {', '.join(known.name for known in AutoresetMode)}, got {mode!r}")


def _masked(info: dict[str, NDArray[Any]], mask: Bools) -> dict[str, Any]:
    """Return an info with a mask for each key, and zeros where it is false."""
    values = info if mask.all() else {name: _where(mask, value) for name, value in info.items()}
    return values | {f"_{name}": mask.copy() for name in info}


def _where(mask: Bools, values: NDArray[Any]) -> NDArray[Any]:
    """Return values [B, ...] with zeros where the mask [B] is false."""
    kept = np.zeros_like(values)
    kept[mask] = values[mask]
    return kept


def _taken(obs: Any, slots: Ints) -> Any:
    """Return some rows of a batch of observations."""
    return {key: _taken(part, slots) for key, part in obs.items()} if isinstance(obs, dict) else obs[slots]
