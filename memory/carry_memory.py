"""CarryMemory: a TorchRL transform that carries the state of memories over resets of an environment.

    env = TransformedEnv(GymEnv("CartPole-v1"), Compose(InitTracker(), CarryMemory(policy)))

TorchRL's primers write the initial state at every reset: an agent begins each episode anew. `CarryMemory` takes their
place: the state after the last step goes on until a life ends, and `is_init` is true only where a life begins. So
`MemoryModule`, `LSTMModule` and `GRUModule` learn in one pass over the ends of episodes, gradients included, and a
slice of a replay buffer begins with the state that its first step had.

`GAE(shifted=True)` computes the values of that pass; a truncated episode's last observation is then read too, which
acting did not. With `InitTracker("episode_start")` beside the other one, this is exact for `MemoryModule`:

    with torch.no_grad(), set_recurrent_mode(True):
        advantage = GAE(..., deactivate_vmap=True)(data.copy().set("is_init", data["episode_start"]))["advantage"]
"""

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torchrl.data import Composite
from torchrl.envs import InitTracker, TensorDictPrimer
from torchrl.modules.utils import get_primers_from_module

__all__ = ["CarryMemory"]


class CarryMemory(TensorDictPrimer):  # type: ignore[misc]  # torchrl ships no types
    """Transform that carries the state of a policy's memories over resets of the environment.

    Put it after `InitTracker()`, in place of the policy's primers; around a batched environment, or in each worker.
    Without an option a life begins with `env.reset()`, and goes on over the resets that collectors and
    `env.rollout(..., break_when_any_done=False)` make at the ends of episodes. The state is no buffer: it is neither in
    `state_dict()` nor overwritten when weights are sent to workers. No gradient flows through it while acting.

    Args:
        policy: module with memories: `MemoryModule`, `LSTMModule`, `GRUModule`, or any with
            `make_tensordict_primer`.
        life_start: entry [*] or [*, 1] of bool that the environment writes at resets, true where the episode is the
            first of a life. It alone decides, at `env.reset()` too, but for the first. None: there is none.
        life_end: entry [*] or [*, 1] of bool that the environment writes at steps, true at the last step of the last
            episode of a life. None: there is none.

    Raises:
        ValueError: if the policy has no memory, or both entries are named.
    """

    def __init__(
        self, policy: nn.Module, *, life_start: NestedKey | None = None, life_end: NestedKey | None = None
    ) -> None:
        if life_start is not None and life_end is not None:
            raise ValueError(f"name life_start or life_end, not both: {life_start=}, {life_end=}")
        found = get_primers_from_module(policy, warn=False)
        primers = [part for part in found.modules() if isinstance(part, TensorDictPrimer)] if found else []
        if not primers:
            raise ValueError(f"policy must have a module with make_tensordict_primer(), got {type(policy).__name__}")
        specs: Any = Composite()
        initial = TensorDict()
        for primer in primers:
            specs.update(primer.primers)
            initial.update(primer(TensorDict()))
        super().__init__(specs, expand_specs=True)
        self.life_start, self.life_end = life_start, life_end
        self._initial = initial
        self._state: TensorDictBase | None = None  # [*] after the last step, or as the last reset wrote it
        self._over: Tensor | None = None  # [*] whether the last step ended a life; only with `life_end`

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Raise: it needs an environment.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("CarryMemory is a transform of environments only")

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        """Keep the state after the step, and whether the life ended."""
        next_tensordict = super()._step(tensordict, next_tensordict)
        self._state = next_tensordict.select(*self._initial.keys(True, True)).detach()
        if self.life_end is not None:
            self._over = _flag(next_tensordict, self.life_end)
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        """Write the state that goes on, the initial one where a life begins, and mark that by `is_init`."""
        self._check_order(tensordict_reset)
        reset = _flag(tensordict_reset, "is_init")  # `InitTracker` has marked what is reset
        if self._state is None or (self.life_start is None and tensordict.get(self.reset_key, None) is None):
            begins = reset
        elif self.life_start is not None:
            begins = reset & _flag(tensordict_reset, self.life_start)
        else:
            begins = reset & self._over if self._over is not None else torch.zeros_like(reset)
        initial = self._initial.to(reset.device).expand(reset.shape)
        self._state = initial.where(begins, initial if self._state is None else self._state)
        self._over = None if self._over is None else self._over & ~reset
        tensordict_reset.update(self._state)
        return tensordict_reset.set("is_init", begins.view_as(tensordict_reset["is_init"]))

    def _reset_on_native_autoreset(
        self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase
    ) -> TensorDictBase:
        """Raise: TorchRL then marks every episode's start by `is_init`, after all transforms."""
        raise NotImplementedError("CarryMemory needs an environment that TorchRL resets: native_autoreset=False")

    def _check_order(self, tensordict_reset: TensorDictBase) -> None:
        """Raise unless an `InitTracker` has written "is_init", and none will after this transform."""
        env: Any = self.container
        transforms = [part for part in env.transform.modules() if not len(list(part.children()))]
        later = transforms[transforms.index(self) + 1 :]
        if "is_init" not in tensordict_reset or any(
            isinstance(t, InitTracker) and t.init_key == "is_init" for t in later
        ):
            raise ValueError(
                "InitTracker() must come before CarryMemory, as in Compose(InitTracker(), CarryMemory(policy)), "
                f"got {[type(t).__name__ for t in transforms]}"
            )


def _flag(tensordict: TensorDictBase, key: NestedKey) -> Tensor:
    """Return an entry [*] or [*, 1] of bool as [*].

    Raises:
        KeyError: if there is none.
        ValueError: on another type or shape.
    """
    flag: Tensor | None = tensordict.get(key, None)
    if flag is None:
        raise KeyError(f"the environment must write {key!r}, it has {list(tensordict.keys(True, True))}")
    if flag.dtype != torch.bool or flag.numel() != tensordict.numel():
        raise ValueError(f"{key!r} must be bool {list(tensordict.shape)}, got {flag.dtype} {list(flag.shape)}")
    return flag.reshape(tensordict.shape)
