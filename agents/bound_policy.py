"""A policy's steps bound to fixed tensors, for acting on the CPU.

With few lives a step is a few hundred small operations, and most of its time goes into calling modules and making
TensorDicts. Here all of that is done once for a segment: a step writes the observation into the arrays that the first
layer reads, and runs a list of calls. Weights are those of the moment in which it is bound.

`ActorCritic.act` is the reference: the same operations on the same numbers, but for the order of sums inside products.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents.action_heads import masked
from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.backbone import Backbone
from lifelong.agents.encoder import Encoder, narrow
from lifelong.kernels.backends import compiled

__all__ = ["BoundPolicy", "fits", "record_masks"]

Path = tuple[str, ...]


def fits(policy: ActorCritic) -> bool:
    """Return whether a policy can be bound: plain, of float32 on the CPU, with compiled loops and no hooks."""
    plain = type(policy) is ActorCritic and type(policy.encoder) is Encoder and type(policy.backbone) is Backbone
    if not plain or policy.packing is not None or vars(policy).keys() & {"trunk", "outputs", "act", "draw"}:
        return False
    if any(module._forward_hooks or module._forward_pre_hooks for module in policy.modules()):
        return False
    weights = list(policy.parameters())
    return all(weight.device.type == "cpu" for weight in weights) and compiled(*weights)


class BoundPolicy:
    """One segment of a policy's steps, and the record of observations and actions.

    Args:
        policy: that `fits`; its weights must not change meanwhile.
        state: [B] memory before the first step; it may be written over.
        length: T, steps of the segment.
        deterministic: take the mode of the distribution instead of a sample.
    """

    def __init__(self, policy: ActorCritic, state: TensorDict, length: int, *, deterministic: bool = False) -> None:
        B, D = state.batch_size[0], policy.backbone.width
        self.policy, self.length, self.deterministic = policy, length, deterministic
        self._t, self._record, self._masks = 0, dict[str, Tensor](), list[Tensor | None]()
        self._start, self._anew = torch.zeros(B, dtype=torch.bool), torch.zeros(B, dtype=torch.bool)
        self._starts = torch.zeros(B, length, dtype=torch.bool)
        x, hidden = torch.zeros(B, D), torch.zeros(B, D)
        seen = dict[Path, Tensor]()
        self._seen = seen
        """[B, ...] entries of the present observation, where the encoder itself reads them."""
        bound = policy.encoder.bind(x)
        self._entries = {} if bound is None else bound[0]
        # nothing in here refers to the whole: its record goes with the last reference, not with the next collection
        self._encode = (lambda: x.copy_(policy.encoder(seen))) if bound is None else bound[1]
        self._after, self._layers = policy.backbone.bind_layers(x, hidden, state, self._start, self._anew)
        self._one_choice = isinstance(policy.head.space, spaces.Discrete)
        bias, weight = (torch.cat([getattr(z, n).detach() for z in policy.output_maps]) for n in ("bias", "weight"))
        self._outputs = torch.zeros(B, len(bias))
        self._hidden, self._of_heads = hidden, torch.zeros(B, weight.shape[1]) if policy.tasks else hidden
        self._heads = partial(torch.addmm, bias, self._of_heads, weight.T, out=self._outputs)

    @property
    def state(self) -> TensorDict:
        """Memory [B] after the last step; the next one may write over it."""
        return TensorDict(dict(self._after), [len(self._start)])

    @torch.no_grad()
    def act(self, observation: Any, start: Tensor, mask: Tensor | None = None) -> Tensor:
        """Take one step and return the actions as they are drawn, [B] or [B, A].

        Args:
            observation: [B] as `reset` or `step` of a vector environment returned it.
            start: [B] bool, true where the step is the first of a life.
            mask: [B, n] bool, which choices are legal; None: all.
        """
        t = self._t
        if not t:
            self._begin(observation)
        for path, keys, record, entry in self._places:
            node = observation
            for key in keys:
                node = node[key]
            array = np.asarray(node)
            record[:, t] = array
            if entry is not None:
                entry[...] = array.reshape(entry.shape)
            elif not self._entries:
                self._seen[path] = torch.from_numpy(narrow(array))
        begins = start.numpy()
        self._start.numpy()[:] = begins
        self._starts.numpy()[:, t] = begins
        if self._episode_start is not None:
            np.logical_or(begins, self._episode_start[:, t, 0] > 0, out=self._anew.numpy())
        self._encode()
        self._layers()
        if self.policy.tasks:
            self._of_heads.copy_(self.policy.of_task(self._hidden, self._observations["task",][:, t]))
        self._heads()
        action, log_prob = self._draw(mask)
        if not t:
            self._record["action"] = action.new_empty(len(action), self.length, *action.shape[1:])
            self._record["action_log_prob"] = log_prob.new_empty(len(action), self.length)
            self._record["state_value"] = self._outputs.new_empty(len(action), self.length, 1)
        self._record["action"][:, t], self._record["action_log_prob"][:, t] = action, log_prob
        self._record["state_value"][:, t, 0] = self._outputs[:, -1]
        self._masks.append(mask)
        self._t = t + 1
        return action

    def _begin(self, observation: Any) -> None:
        """Make room for the entries of this segment's observations."""
        self._observations: dict[Path, Tensor] = {}
        self._places = []
        for path, keys, array in _leaves(observation):
            shape = (len(array), self.length, *array.shape[1:])
            record = np.empty(shape, narrow(_as_declared(array, self.policy.encoder.space, keys)).dtype)
            self._observations[path] = torch.from_numpy(record)
            self._places.append((path, keys, record, self._entries.get(path)))
        working = self.policy.backbone.working
        self._episode_start = self._observations["episode_start",].numpy() if working else None

    def _draw(self, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return actions and their log-probabilities."""
        outputs, policy = self._outputs[:, :-1], self.policy
        if not self._one_choice:
            return policy.drawn(policy.parameters_of(outputs), mask, deterministic=self.deterministic)
        logits = outputs if mask is None else masked(outputs, mask)
        logits = logits - logits.logsumexp(-1, True)
        p = logits.softmax(-1)
        # the largest p / exponential draw: what torch.multinomial does, from the same random numbers
        action = (p if self.deterministic else p / torch.empty_like(p).exponential_()).argmax(-1)
        return action, logits.gather(-1, action[:, None])[:, 0]

    def steps(self) -> TensorDict:
        """Return the record [B, T]: observations, starts, what was drawn, values, and masks if there were any."""
        B, T = self._starts.shape
        steps = TensorDict({**self._record, "start": self._starts}, [B, T])
        steps["observation"] = TensorDict({}, [B, T])
        for path, record in self._observations.items():
            steps["observation", *path] = record
        record_masks(steps, self._masks)
        return steps


def record_masks(steps: TensorDict, masks: list[Tensor | None]) -> None:
    """Write the action masks of all steps into their record; nothing where there were none.

    Args:
        steps: [B, T].
        masks: [B, n] bool of each step; None where everything was legal.
    """
    given = next((mask for mask in masks if mask is not None), None)
    if given is not None:
        everything = torch.ones_like(given)
        steps["action_mask"] = torch.stack([everything if mask is None else mask for mask in masks], 1)


def _as_declared(array: NDArray[Any], space: Any, keys: tuple[Any, ...]) -> NDArray[Any]:
    """Return an entry of an observation as its space has it: whole numbers of a space of floats are floats too.

    Args:
        array: [B, ...] of the entry.
        space: of the observation.
        keys: that lead to the entry.
    """
    for key in keys:
        space = space[key]
    floats = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)
    return array.astype(space.dtype) if floats and array.dtype.kind in "iub" else array


def _leaves(tree: Any, path: Path = (), keys: tuple[Any, ...] = ()) -> Iterator[tuple[Path, tuple[Any, ...], Any]]:
    """Yield path, keys and array of every entry of an observation; one that is no dict or tuple is `observation`."""
    if isinstance(tree, dict | tuple):
        for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(inner, (*path, str(key)), (*keys, key))
    else:
        yield path or ("observation",), keys, np.asarray(tree)
