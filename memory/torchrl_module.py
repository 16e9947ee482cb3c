"""Memories as TorchRL modules: a drop-in for `torchrl.modules.LSTMModule` and `GRUModule`.

    remember = MemoryModule(memory, in_keys=["embed", "memory"], out_keys=["read", ("next", "memory")])
    policy = TensorDictSequential(encoder, remember, actor)
    env = TransformedEnv(GymEnv("CartPole-v1"), Compose(InitTracker(), remember.make_tensordict_primer()))

TorchRL keeps the state of every step in the tensordict: convenient for small states, heavy for large matrices.

One rule holds in both modes: **at `is_init` the state that the tensordict holds there counts**, whoever wrote it. The
primer writes the initial state at a reset, so an ordinary agent begins every episode anew; `CarryMemory` in its place
carries the state on, and makes a lifelong one. Collection and training compute the same in both cases; TorchRL's own
modules do so only while every state at `is_init` is zero. `GAE` counts on this rule: its stream of next observations
lacks the first of every episode, marks the second by `is_init`, and holds there the state after the first.

Shapes: [*] any batch shape, T steps, D width; the state is nested under one key, its leaves [*, ...] or [*, T, ...].
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from tensordict.utils import NestedKey, unravel_key
from torch import Tensor

from lifelong.kernels.backends import transformed
from lifelong.memory.broken_mujoco import broken_mujoco_hidden
from lifelong.memory.memory import Memory

with broken_mujoco_hidden():
    from torchrl.data import Composite, Unbounded
    from torchrl.envs import TensorDictPrimer
    from torchrl.modules import recurrent_mode

__all__ = ["MemoryModule"]


class MemoryModule(TensorDictModuleBase):
    """TorchRL module of a memory: reads input and state from a tensordict.

    By default, and under `set_recurrent_mode(False)`, a tensordict is one step of [*] lives. Under
    `set_recurrent_mode(True)`, which TorchRL's losses enter by themselves, it is T steps of [*] lives, shaped [*, T].
    The next state is then the one after the last step, shown at every column (a view, no copies): true of the last one.

    `torchrl.objectives.value.GAE` needs `deactivate_vmap=True` and `with set_recurrent_mode(True)` around it.

    Args:
        memory: any memory.
        in_keys: of x [*, D] and of the state; the attribute `in_keys` then names the state's leaves, and "is_init".
        out_keys: of y [*, D] and of the next state.
        in_key: of x alone; the state is "memory".
        out_key: of y alone; the next state is ("next", "memory").
        default_recurrent_mode: the mode where none is set.

    Raises:
        ValueError: if there are not two keys each, or the same is named twice.
    """

    def __init__(
        self,
        memory: Memory,
        in_keys: Sequence[NestedKey] | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        *,
        in_key: NestedKey | None = None,
        out_key: NestedKey | None = None,
        default_recurrent_mode: bool = False,
    ) -> None:
        super().__init__()
        for name, one, several in (("in_key", in_key, in_keys), ("out_key", out_key, out_keys)):
            if (one is None) == (several is None):
                raise ValueError(f"either {name} or {name}s must be given, got {one} and {several}")
        in_keys = [key for key in in_keys or [in_key or "", "memory"] if key != "is_init"]
        out_keys = out_keys or [out_key or "", ("next", "memory")]
        if len(in_keys) != 2 or len(out_keys) != 2:
            raise ValueError(f"in_keys and out_keys must name the value and the state, got {in_keys} and {out_keys}")
        self.memory, self.default_recurrent_mode = memory, default_recurrent_mode
        self.state_keys = unravel_key(in_keys[1]), unravel_key(out_keys[1])
        leaves = list(memory.initial_state(1).keys(include_nested=True, leaves_only=True))
        before, after = ([unravel_key((key, leaf)) for leaf in leaves] for key in self.state_keys)
        self.in_keys, self.out_keys = [in_keys[0], *before, "is_init"], [out_keys[0], *after]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write y and the next state into the tensordict, and return it.

        Args:
            tensordict: [*], or [*, T] in recurrent mode.

        Raises:
            KeyError: if it lacks the input, the state or "is_init"; says which transform of the environment is missing.
            ValueError: if it has no axis of steps, in recurrent mode.
        """
        sequence, shape = self.recurrent_mode, tensordict.batch_size
        if sequence and not shape:
            raise ValueError("in recurrent mode a tensordict must be [*, T], got batch_size []")
        there = tensordict.keys(include_nested=True)
        if missing := [key for key in self.in_keys if unravel_key(key) not in there]:
            raise KeyError(
                f"the tensordict lacks {missing[0]!r}{self._remedy(missing[0])}; it has {list(tensordict.keys())}"
            )
        flat = tensordict.select(*self.in_keys).reshape(-1, *shape[-1:] if sequence else ())
        x, state = flat[self.in_keys[0]], flat.get(self.state_keys[0], TensorDict({}, flat.batch_size))
        if sequence:
            y, state = self._run(x, state, flat["is_init"].flatten(1))
            state = state[:, None].expand(flat.batch_size)
        else:
            y, state = self.memory.step(x, state, x.new_zeros(x.shape[0], dtype=torch.bool))
        tensordict[self.out_keys[0]] = y.reshape(*shape, -1)
        tensordict[self.state_keys[1]] = state.reshape(shape)
        return tensordict

    @property
    def recurrent_mode(self) -> bool:
        """Whether a tensordict is a sequence of steps; chosen by `torchrl.modules.set_recurrent_mode`."""
        mode = recurrent_mode()
        return self.default_recurrent_mode if mode is None else mode

    @property
    def canonical_keys(self) -> list[NestedKey]:
        """Keys that are read and written; what `torchrl.modules.canonicalize_rnn_subset` makes contiguous."""
        return [*self.in_keys, *self.out_keys]

    def make_tensordict_primer(self) -> TensorDictPrimer:
        """Return the transform that declares the state to the environment and writes the initial one at resets.

        Raises:
            ValueError: if the next state is not stored under ("next", key of the state).
        """
        key, after = self.state_keys
        if after != unravel_key(("next", key)):
            raise ValueError(f"the next state must be under {unravel_key(('next', key))!r}, got {after!r}")
        with torch.no_grad():
            initial = self.memory.initial_state(1)[0]
        leaves = {unravel_key((key, name)): leaf for name, leaf in initial.items(True, True)}
        specs = {name: Unbounded(shape=leaf.shape, dtype=leaf.dtype) for name, leaf in leaves.items()}
        primer = TensorDictPrimer(Composite(specs), expand_specs=True)
        primer.default_value = {name: partial(_expanded, primer, name, leaf) for name, leaf in leaves.items()}
        return primer

    def _remedy(self, key: NestedKey) -> str:
        """Return what an environment lacks where the tensordict lacks a key."""
        if key == self.in_keys[0]:
            return ""
        transform = "InitTracker()" if key == "is_init" else "the primer: make_tensordict_primer() of this module"
        return (
            f", because the environment has no transform that writes it, {transform}; "
            "collectors append it with auto_register_policy_transforms=True"
        )

    def _run(self, x: Tensor, stored: TensorDictBase, is_init: Tensor) -> tuple[Tensor, TensorDictBase]:
        """Run T steps from the first stored state, and from the stored state at every later `is_init`."""
        state, start = stored[:, 0], is_init.clone()
        start[:, 0] = False
        if not transformed() and (stored[start] == self.memory.initial_state(1)).all():  # the usual case: one pass
            y, state = self.memory(x, state, start)
            return y, state
        ys, never = [], torch.zeros_like(start)
        for first, end in pairwise([0, *start.any(0).nonzero()[:, 0].tolist(), x.shape[1]]):
            state = stored[:, first].where(start[:, first], state)
            y, state = self.memory(x[:, first:end], state, never[:, first:end])
            ys.append(y)
        return torch.cat(ys, 1), state


def _expanded(primer: TensorDictPrimer, key: NestedKey, leaf: Tensor) -> Tensor:
    """Return the initial value of a leaf, for the primer's number of environments."""
    spec = primer.primers[key]  # pyright: ignore[reportOptionalSubscript]  it was made with primers
    return leaf.to(spec.device).expand(spec.shape).clone()
