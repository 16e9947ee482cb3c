"""CLEAR: learn from kept experience beside new, and stay close to what was done and expected then.

    ρ_t = min(1, π(a_t) / μ(a_t))
    v_t = V_t + δ_t + γ_t ρ_t (v_{t+1} - V_{t+1}),    δ_t = ρ_t (r_t + γ_t V_{t+1} - V_t)        V-trace
    A_t = ρ_t (r_t + γ_t v_{t+1} - V_t)
    L   = -E[A log π] + c_V E[(V - v)²] - c_H E[entropy of π]  +  c E[log μ - log π] + c / 2 E[(V - V_μ)²]

μ is the policy that acted and V_μ what its value function said. The last two terms, policy cloning and value cloning,
are of kept experience only; E[log μ - log π] is an estimate of KL(μ || π) by the actions that were taken, where the
paper sums over all, so that any action space will do. New experience is learned from as ever (PPO, in place of V-trace
there), and beside every minibatch from as many kept pieces: a segment of a life with the memory before it. They are a
uniform sample of all so far. CLEAR is not told when a task changes.

Source: Rolnick et al. 2019, "Experience replay for continual learning", arXiv 1811.11682; c = .01, c / 2 = .005 there.
V-trace: Espeholt et al. 2018, "IMPALA", arXiv 1802.01561.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import create_empty_array
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional

from lifelong.action_spaces import choice_sizes
from lifelong.agents.action_heads import entropy_of
from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.discounts import discounts
from lifelong.agents.encoder import as_tensors
from lifelong.agents.leaves import leaves_of
from lifelong.agents.ppo_config import PPOConfig
from lifelong.agents.replay import entries, legal, replay
from lifelong.agents.reservoir import Reservoir
from lifelong.agents.rollout import Segment
from lifelong.agents.saved_tensors import check_saved, check_saved_categories
from lifelong.agents.vtrace import following
from lifelong.memory.broken_mujoco import broken_mujoco_hidden
from lifelong.memory.state_paths import by_path, nested, paths_of

with broken_mujoco_hidden():
    from torchrl.objectives.value.functional import vtrace_advantage_estimate

__all__ = ["Clear", "KeptLosses"]


class KeptLosses(NamedTuple):
    """Losses of kept experience, means over its steps.

    Args:
        policy: -E[A log π], A divided by its standard deviation.
        value: E[(V - v)²].
        entropy: of π, in nats.
        policy_cloning: E[log μ - log π].
        value_cloning: E[(V - V_μ)²].
        ratio: E[ρ], no gradient: 1 where the policy still does what it did.
    """

    policy: Tensor
    value: Tensor
    entropy: Tensor
    policy_cloning: Tensor
    value_cloning: Tensor
    ratio: Tensor


class Clear:
    """Learn from a uniform sample of all segments so far.

    Args:
        policy: that learns.
        config: its hyperparameters, with `clear`, how many segments of a life are kept.
        generator: of what is kept and drawn; None for torch's own.
    """

    def __init__(self, policy: ActorCritic, config: PPOConfig, generator: torch.Generator | None = None) -> None:
        self.policy, self.config = policy, config
        self.kept = Reservoir(config.clear, generator)
        self._blank = self._piece_of_nothing()
        self._paths = paths_of(self._blank)

    def keep(self, segment: Segment, divisor: float) -> None:
        """Offer the lives of a segment to the sample.

        Args:
            segment: just learned from.
            divisor: of rewards, in units of which the segment's values are.
        """
        self.kept.add(by_path(self._pieces(segment.steps, segment.state, divisor)))

    def _pieces(self, steps: TensorDict, state: TensorDict, divisor: float) -> TensorDict:
        """Return what is kept of B lives, [B]: values in units of rewards, and a mask where actions may have one."""
        names = ("observation", "start", "action", "action_log_prob")
        after = {name: steps["next", name] for name in ("reward", "end", "episode_end", "truncated")}
        piece = {name: steps[name] for name in names} | {"next": after}
        piece |= {"value": steps["state_value"] * divisor, "next_value": steps["next", "state_value"] * divisor}
        if masks := self.policy.head.masks.size:
            piece["action_mask"] = legal(steps, masks)
        return TensorDict({"steps": piece, "state": state}, steps.shape[:1])

    @torch.no_grad()
    def _piece_of_nothing(self) -> TensorDict:
        """Return a piece of one step [1, 1] of zeros, and first categories, for names, shapes and dtypes."""
        space, device = self.policy.encoder.space, next(self.policy.parameters()).device
        observation = as_tensors(create_empty_array(space, 1, fn=np.zeros), (1,), device)
        for path, leaf in leaves_of(space):
            if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete):
                observation[path] += torch.as_tensor(leaf.start, device=device)
        state = self.policy.backbone.initial_state(1)
        step, _ = self.policy.act(observation, state, deterministic=True)
        never, nothing = torch.zeros(1, dtype=torch.bool, device=device), step["state_value"]
        flags = dict.fromkeys(("end", "episode_end", "truncated"), never[:, None])
        after = {"reward": nothing, "state_value": nothing} | flags
        step = TensorDict({**step, "observation": observation, "start": never, "next": after}, [1])
        return self._pieces(step.unsqueeze(1), state, 1.0)

    def bytes_of(self, length: int) -> int:
        """Return the bytes of a piece of `length` steps."""
        return sum(x.nbytes * (length if name.startswith("steps/") else 1) for name, x in by_path(self._blank).items())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the kept pieces by name, and `seen`, how many there were."""
        return self.kept.pieces | {"seen": torch.tensor(self.kept.seen)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it is of other names, dtypes or shapes, not finite, or of no observation or action of these
                spaces.
        """
        seen = state.get("seen", torch.tensor(0))
        check_saved({"seen": seen}, {"seen": torch.tensor(0)}, {"seen": (0, 2**62)})
        pieces = {name: x for name, x in state.items() if name != "seen"}
        kept = Reservoir(self.config.clear, self.kept.generator)
        kept.seen = int(seen)
        if kept.seen:
            start = pieces.get("steps/start", torch.zeros(0, 0))
            length = start.shape[1] if start.ndim == 2 else 0
            steps, blank = len(kept), by_path(self._blank)
            wanted = {
                name: x.expand(steps, *([length] if name.startswith("steps/") else x.shape[1:2]), *x.shape[2:])
                for name, x in blank.items()
            }
            of_memory = self.policy.backbone.state_bounds
            check_saved(pieces, wanted, {f"state/{name}": bounds for name, bounds in of_memory.items()})
            self._check_categories(pieces)
            kept.pieces = {name: x.to(blank[name].device, copy=True) for name, x in pieces.items()}
        elif pieces:
            raise ValueError(f"nothing was seen, but there is {next(iter(pieces))}")
        self.kept = kept

    def _check_categories(self, pieces: Mapping[str, Tensor]) -> None:
        """Validate observations that choose a row of a table, and actions that choose a logit."""
        check_saved_categories(pieces, self.policy.encoder.space, "steps/observation/")
        sizes = torch.from_numpy(choice_sizes(self.policy.head.space))
        chosen = pieces["steps/action"].cpu()
        chosen = chosen[..., None] if self.policy.head.simple else chosen[..., : len(sizes)]
        if len(sizes) and bool(((chosen < 0) | (chosen >= sizes)).any()):
            raise ValueError(
                f"steps/action must choose among {sizes.tolist()}, got {[int(x) for x in chosen.aminmax()]}"
            )

    def loss(self, count: int, divisor: float, lr_fraction: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the loss L of pieces that are drawn from those that are kept, and E[ρ].

        Args:
            count: how many; there must be some that are kept.
            divisor: of rewards now.
            lr_fraction: factor of the entropy bonus.
        """
        config, losses = self.config, self.losses(self.kept.draw(count), divisor)
        total = losses.policy + config.value_coef * losses.value - lr_fraction * config.entropy_coef * losses.entropy
        return total + config.cloning * (losses.policy_cloning + losses.value_cloning / 2), losses.ratio

    def losses(self, pieces: Mapping[str, Tensor], divisor: float) -> KeptLosses:
        """Replay pieces and return their losses.

        Args:
            pieces: [n, ...] each, by name, as they are kept.
            divisor: of rewards now.
        """
        config = self.config
        lives = len(pieces["steps/start"])
        tree, state = nested(pieces, self._paths, lives), self.policy.backbone.initial_state(lives)
        for path, x in tree.get("state", TensorDict()).items(True, True):
            state.set(path, x)  # layers without any have their place too
        steps, after = tree["steps"], tree["steps", "next"]
        hidden = replay(self.policy, entries(steps), steps["start"], state, config.tbptt)
        distribution = self.policy.distribution(hidden, steps.get("action_mask"))
        log_pi, log_mu = distribution.log_prob(steps["action"]), steps["action_log_prob"]
        value = self.policy.value(hidden)
        was, then = steps["value"] / divisor, steps["next_value"] / divisor
        with torch.no_grad():
            now = value[..., None]
            follows = following(now, then, after["truncated"])
            rate, done, terminated = discounts(after, config.gamma, config.life_gamma)
            advantage, target = vtrace_advantage_estimate(
                gamma=rate,
                log_pi=log_pi[..., None],
                log_mu=log_mu[..., None],
                state_value=now,
                next_state_value=follows,
                reward=after["reward"] / divisor,
                done=done,
                terminated=terminated,
            )
            scale = advantage.std(correction=0).clamp_min(config.advantage_floor)
        return KeptLosses(
            policy=-(advantage[..., 0] / scale * log_pi).mean(),
            value=functional.mse_loss(value, target[..., 0]),
            entropy=entropy_of(distribution).mean() if config.entropy_coef else log_pi.new_zeros(()),
            policy_cloning=(log_mu - log_pi).mean(),
            value_cloning=functional.mse_loss(value, was[..., 0]),
            ratio=(log_pi - log_mu).detach().exp().clamp_max(1).mean(),
        )
