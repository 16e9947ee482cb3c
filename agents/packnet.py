"""PackNet: when a task ends, give it a share of the weights, train those alone once more, and never change them again.

At the boundary after a task that is learned for the first time, from the steps of it in the segment in which the
boundary begins and in the one before:

    1  p_t = π(· | s_t), v_t = v(s_t)             of all the weights
    2  the task is given its share of the free weights, the largest; the other free ones become 0    (`packing.py`)
    3  its weights alone are trained, in passes over those steps:    -log π(a_t | s_t) + c (v(s_t) - v_t)²,  a_t ~ p_t

The mean of -log π is the divergence KL(p || π) but for a constant: what was learned is copied into fewer weights, for
the environment of the task is gone by then. Adam begins anew after that.

In later tasks gradients of weights that were given are 0. A task that was learned is played by its own weights
whenever it comes again, and nothing is learned in it. It needs to be told which task it is.

Source: Mallya and Lazebnik 2018, arXiv 1711.05769: there a task's weights are trained once more on its data, by its
loss. Equal shares of the weights: Wołczyk et al. 2021, "Continual World", arXiv 2105.10919.
"""

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium.vector.utils import create_empty_array
from torch import Tensor, nn

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.encoder import as_tensors
from lifelong.agents.leaves import leaves_of
from lifelong.agents.ppo_config import PPOConfig
from lifelong.agents.replay import entries, legal
from lifelong.agents.rollout import Segment
from lifelong.agents.saved_tensors import check_saved, check_saved_categories

__all__ = ["PackNet"]

_MASK = "mask/"
"""Name of the masks of actions; no entry's ends so."""


class PackNet:
    """Gives tasks their weights, and keeps them from later ones.

    Args:
        policy: that learns; with `packing`.
        config: its hyperparameters, with `packnet`, passes over a task's last steps.
        generator: shuffles steps; None for torch's own.

    Raises:
        ValueError: if the policy's weights are not shared among tasks.
    """

    def __init__(self, policy: ActorCritic, config: PPOConfig, generator: torch.Generator | None = None) -> None:
        if policy.packing is None:
            raise ValueError(
                f"packnet={config.packnet} needs a policy that shares its weights among tasks: "
                "Agent.for_spaces(..., heads='task', packed=True)"
            )
        self.policy, self.packing, self.config, self.generator = policy, policy.packing, config, generator
        self.parameters = dict(policy.named_parameters())
        self._paths = {"/".join(path): path for path, _ in leaves_of(policy.encoder.space)}
        self.last: dict[str, Tensor] = {}
        """[N, ...] observations of the segment that was learned from last, by path, and masks of actions if any."""

    def keep(self, segment: Segment) -> None:
        """Keep a segment's observations until the next.

        Args:
            segment: just learned from.
        """
        self.last = self._observed(segment)

    def fix_gradients(self, rank: int = -1) -> None:
        """Set the gradients of all that a task must not change to 0.

        Args:
            rank: of the task in the order of learning; -1 if it is not learned yet.
        """
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                parameter.grad.mul_(self.packing.may_learn(name, parameter, rank))

    def close(self, segment: Segment, ending: Tensor) -> bool:
        """Give the task that ends its weights, and train them once more.

        Args:
            segment: in which it ends, just learned from.
            ending: [B, T] which steps are of it; at least one.

        Returns:
            Whether it was learned for the first time, and weights have changed.
        """
        here = self._observed(segment)
        task = int(here["task"][ending.flatten()][0])
        if self.packing.rank[task] >= 0:
            return False
        parts = [part for part in (self.last, here) if part]
        steps = {name: torch.cat([part[name][part["task"] == task] for part in parts]) for name in here}
        with torch.no_grad():
            arguments, value, _ = self.policy.outputs(self._seen(steps))
        rank = self.packing.give(task, self.parameters)
        optimizer = torch.optim.Adam(self.parameters.values(), lr=self.config.lr, eps=1e-5, fused=True)
        for _ in range(self.config.packnet):
            order = torch.randperm(len(value), generator=self.generator).to(value.device)
            for some in order.tensor_split(min(self.config.minibatches, len(value))):
                part = {name: x[some] for name, x in steps.items()}
                action, _ = self.policy.drawn({name: x[some] for name, x in arguments.items()}, part.get(_MASK))
                hidden, _ = self.policy.trunk(self._seen(part))
                cloned = -self.policy.distribution(hidden, part.get(_MASK)).log_prob(action).mean()
                loss = cloned + self.config.value_coef * (self.policy.value(hidden) - value[some]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                self.fix_gradients(rank)
                nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)
                optimizer.step()
        return True

    def _seen(self, steps: Mapping[str, Tensor]) -> dict[tuple[str, ...], Tensor]:
        return {path: steps[name] for name, path in self._paths.items()}

    def _observed(self, segment: Segment) -> dict[str, Tensor]:
        """Return observations of all steps, [B T, ...], and a mask where actions may have one."""
        observation = entries(segment.steps)
        seen = {name: observation[path].flatten(0, 1) for name, path in self._paths.items()}
        if masks := self.policy.head.masks.size:
            seen[_MASK] = legal(segment.steps, masks).flatten(0, 1)
        return seen

    def state_dict(self) -> dict[str, Tensor]:
        """Return the observations of the last segment; they are replaced, not written over."""
        return dict(self.last)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it is of other names, dtypes or shapes, not finite, or of no observation of this space.
        """
        if not state:
            self.last = {}
            return
        space, device = self.policy.encoder.space, next(iter(self.parameters.values())).device
        nothing = as_tensors(create_empty_array(space, 1, fn=np.zeros), (1,))
        blank = {name: nothing[path] for name, path in self._paths.items()}
        if masks := self.policy.head.masks.size:
            blank[_MASK] = torch.ones(1, masks, dtype=torch.bool)
        steps = len(next(iter(state.values())))
        check_saved(state, {name: x.expand(steps, *x.shape[1:]) for name, x in blank.items()})
        check_saved_categories(state, space)
        self.last = {name: x.to(device, copy=True) for name, x in state.items()}
