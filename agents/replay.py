"""Replay of a segment by a policy that is learning: the memory once more, from the state before it."""

from collections.abc import Mapping

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents.actor_critic import ActorCritic

__all__ = ["entries", "legal", "replay"]


def replay(
    policy: ActorCritic,
    observation: Mapping[tuple[str, ...], Tensor] | TensorDict,
    start: Tensor,
    state: TensorDict,
    tbptt: int = 0,
) -> Tensor:
    """Replay a segment and return the hidden vectors [B, T, D].

    Args:
        policy: the policy that collected the segment, or a later version of it.
        observation: [B, T] entries by path.
        start: [B, T] bool, true where a step is the first of a life.
        state: [B] of the memory, before the first step.
        tbptt: steps after which the gradient through the carried memory is cut; 0 never.
    """
    length = start.shape[1]
    if not 0 < tbptt < length:
        return policy.trunk(observation, state, start)[0]
    pieces = []
    for t in range(0, length, tbptt):
        now = slice(t, t + tbptt)
        piece = {path: x[:, now] for path, x in observation.items()}
        hidden, state = policy.trunk(piece, state.detach(), start[:, now])
        pieces.append(hidden)
    return torch.cat(pieces, 1)


def entries(steps: TensorDict) -> dict[tuple[str, ...], Tensor]:
    """Return the entries of a segment's observations, [B, T, ...] each, by path."""
    tree = steps["observation"]
    return {path if isinstance(path, tuple) else (path,): x for path, x in tree.items(True, True)}


def legal(steps: TensorDict, masks: int) -> Tensor:
    """Return which choices were legal in a segment's steps, [B, T, masks]: all, where nothing was masked.

    Args:
        steps: [B, T] as in `Segment`.
        masks: choices of an action.
    """
    everything = torch.ones(*steps.shape, masks, dtype=torch.bool, device=steps["start"].device)
    mask: Tensor = steps.get("action_mask", everything)
    return mask
