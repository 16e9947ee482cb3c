"""The schedule of mini-batches: every life's steps laid out in mini-batches of its own, the phase its slot.

Starts and phases may fall anywhere; the n-th mini-batches of all lives are done together. A slot without a step holds
zero. A pass of one step needs one slot only.

Shapes: B lives, T steps, N mini-batches, C slots of each.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lifelong.kernels.segments import life_start_steps, nowhere

__all__ = ["Schedule", "schedule"]

MiniBatch = Callable[[int, list[Tensor]], tuple[Tensor, list[Tensor]]]
"""From the number of a mini-batch and the state before it to its outputs [B, H, C, ...] and the state after it."""


class Schedule(NamedTuple):
    """Layout of the steps of a pass in mini-batches."""

    place: Tensor
    """[B, T] int64, mini-batch of the step times C plus its slot."""
    batches: int
    """N, the most mini-batches that any life has."""
    slots: int
    """C."""
    age: Tensor
    """[B, T] int64, steps since the life's start, plus the incoming phase, after each step."""
    phase: Tensor
    """[B, 1] int64, steps since the mini-batch began, after the last step."""
    there: Tensor
    """[B, N, C] bool, true where a slot holds a step."""
    fresh: Tensor
    """[B, N] bool, true where a life starts in the mini-batch: in its slot 0."""
    full: Tensor
    """[B, N] bool, true where the mini-batch is complete after the pass."""

    def lay_out(self, z: Tensor) -> Tensor:
        """Return [B, N, C, ...] of [B, T, ...], zero where there is no step."""
        return _lay_out(z, self.place, self.batches, self.slots)

    def lay_out_heads(self, z: Tensor) -> Tensor:
        """Return [B, N, H, C, ...] of [B, T, H, ...], zero where there is no step."""
        return self.lay_out(z).movedim(3, 2)

    def gather(self, z: Tensor) -> Tensor:
        """Return the steps [B, T, ...] of [B, N C, ...]."""
        return z[_lives(self.place), self.place]

    def completes(self, period: int) -> Tensor:
        """Return [B, N] bool, true where a mini-batch is the last of `period` steps; `period` is a multiple of C."""
        return self.full & (self.lay_out(self.age).amax(2) % period == 0)

    def run(self, mini_batch: MiniBatch, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Run the mini-batches one after another; where a life starts, the state is zero.

        Args:
            mini_batch: computes the n-th mini-batch of all lives.
            state: [B, ...] before the first step.

        Returns:
            y: [B, T, H, ...] outputs.
            state: [B, ...] after the last step.
        """
        after, ys = list(state), []
        for n in range(self.batches):
            fresh = self.fresh[:, n]
            if not nowhere(fresh):
                after = [z.masked_fill(fresh.view(-1, *[1] * (z.ndim - 1)), 0.0) for z in after]
            y, after = mini_batch(n, after)
            ys.append(y)
        return self.gather(torch.stack(ys, 1).movedim(2, 3).flatten(1, 2)), after


def schedule(phase: Tensor, start: Tensor, batch: int, *, whole: bool = False) -> Schedule:
    """Lay out the steps of every life in its own mini-batches.

    Args:
        phase: [B, 1] int64, steps since the mini-batch began, plus any multiple of C.
        start: [B, T] bool, true where a step is the first of a life.
        batch: steps of a mini-batch.
        whole: whether a pass of one step too has all slots of its mini-batch.
    """
    steps = torch.arange(start.shape[1], device=start.device)
    age = steps + 1 - life_start_steps(phase, start)
    at = (age - 1) % batch  # [B, T] its phase
    number = ((at == 0) & (steps > 0)).cumsum(1)
    place, count, phase = number * batch + at, int(number.max()) + 1, age[:, -1:] % batch
    short = start.shape[1] == 1 and not whole
    slots = 1 if short else batch
    place = torch.zeros_like(place) if short else place
    there = _lay_out(torch.ones_like(start), place, count, slots)
    full = phase == 0 if short else there[:, :, -1]
    return Schedule(place, count, slots, age, phase, there, _lay_out(start, place, count, slots)[:, :, 0], full)


def _lives(place: Tensor) -> Tensor:
    return torch.arange(place.shape[0], device=place.device)[:, None]


def _lay_out(z: Tensor, place: Tensor, count: int, slots: int) -> Tensor:
    table = z.new_zeros(z.shape[0], count * slots, *z.shape[2:]).index_put((_lives(place), place), z)
    cut: Tensor = table.unflatten(1, (count, slots))
    return cut
