"""PPO on segments: every minibatch replays the memory from the state before the segment.

A minibatch is a subset of the lives with all their steps in order. Returns continue across episode ends wherever the
memory does, discounted there by `life_gamma`: what is learned in an episode for later ones is part of its value. The
advantage recursion is TorchRL's. A minibatch is tensors in plain dicts: TensorDicts cost as much as the arithmetic of a
small one.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Distribution

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.agent import Agent, policy_of
from lifelong.agents.clear import Clear
from lifelong.agents.consolidation import Consolidation
from lifelong.agents.continual_backprop import ContinualBackprop
from lifelong.agents.discounts import discounts
from lifelong.agents.dormant_units import hidden_layers, unit_activities
from lifelong.agents.entropy import against_uniform
from lifelong.agents.image import pick_lives
from lifelong.agents.muon import Muon, hidden_matrices
from lifelong.agents.packnet import PackNet
from lifelong.agents.ppo_config import PPOConfig
from lifelong.agents.ppo_loss import Losses, clipped_losses
from lifelong.agents.recycling import Recycling
from lifelong.agents.redo import Redo
from lifelong.agents.regeneration import Regeneration
from lifelong.agents.replay import entries, replay
from lifelong.agents.return_scale import ReturnScale
from lifelong.agents.rollout import Segment
from lifelong.agents.task_changes import TaskChanges, told_changes
from lifelong.agents.vtrace import following, vtrace_advantages
from lifelong.kernels.bf16 import BF16Products, has_bf16
from lifelong.memory.broken_mujoco import broken_mujoco_hidden

with broken_mujoco_hidden():
    from torchrl.objectives.value.functional import generalized_advantage_estimate

__all__ = ["PPO", "Given", "Minibatch", "PPOConfig", "advantages", "divergence"]


def advantages(
    steps: TensorDict, gamma: float, life_gamma: float, gae_lambda: float, divisor: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Compute advantages and value targets of a segment's steps by GAE; what counts how much says `discounts`.

    Args:
        steps: [B, T] as in `Segment`.
        gamma: of the next step.
        life_gamma: of the next episode.
        gae_lambda: GAE's lambda.
        divisor: of rewards; the values are of rewards so divided.

    Returns:
        advantage: [B, T, 1].
        target: [B, T, 1].
    """
    after = steps["next"]
    rate, done, terminated = discounts(after, gamma, life_gamma)
    advantage, target = generalized_advantage_estimate(
        gamma=rate,
        lmbda=gae_lambda,
        state_value=steps["state_value"],
        next_state_value=after["state_value"],
        reward=after["reward"] if divisor == 1.0 else after["reward"] / divisor,
        done=done,
        terminated=terminated,
    )
    return advantage, target


def divergence(log_ratio: Tensor) -> Tensor:
    """Estimate the divergence KL(old || new) = E[r - 1 - log r], which is never negative.

    Args:
        log_ratio: log r = log(new / old) of the probabilities of actions that the old policy drew, any shape.

    Source: J. Schulman 2020, "Approximating KL divergence", http://joschu.net/blog/kl-approx.html.
    """
    return (log_ratio.expm1() - log_ratio).mean()


class Given(NamedTuple):
    """What a segment's minibatches are taken from.

    Args:
        batch: [B, T] of `PPO.batch`.
        observation: [B, T] of `entries`.
        state: [B] of the memory, before the first step.
        lr_fraction: factor of the learning rate and of the entropy bonus.
    """

    batch: dict[str, Tensor]
    observation: dict[tuple[str, ...], Tensor]
    state: TensorDict
    lr_fraction: float


class Minibatch(NamedTuple):
    """Losses and diagnostics of a minibatch.

    Args:
        total: the loss.
        means: of the policy's loss, the value's weighted one, the entropy, and the share of clipped ratios.
        kl: divergence from the policy that acted.
        ratio_error: max |ratio - 1|.
        distribution: over the actions, of some of the lives.
    """

    total: Tensor
    means: Tensor
    kl: float
    ratio_error: float
    distribution: Distribution

    def diagnostics(self, gradient_norm: float) -> dict[str, float]:
        """Return what is reported of a minibatch whose gradient had this norm."""
        policy_loss, value_loss, entropy, clip_fraction = self.means.tolist()
        return {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "kl": self.kl,
            "clip_fraction": clip_fraction,
            "gradient_norm": gradient_norm,
        }


class PPO:
    """PPO learner of one policy.

    Args:
        policy: agent or actor-critic whose slow weights are trained.
        config: hyperparameters; None for the defaults.
        generator: shuffles the lives; None for torch's own.
    """

    def __init__(
        self,
        policy: ActorCritic | Agent,
        config: PPOConfig | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        policy, config = policy_of(policy), config or PPOConfig()
        self.policy, self.config, self.generator = policy, config, generator
        self.return_scale = ReturnScale(config.gamma, config.life_gamma) if config.normalize_reward == "on" else None
        self.parameters = list(policy.parameters())
        self.regeneration: Regeneration | None = None
        resets = config.reset_at_boundary == "on"
        if config.l2_init or config.shrink_perturb or config.redo_every or config.continual_backprop or resets:
            named = dict(policy.named_parameters())
            self.regeneration = Regeneration(named, config.l2_init, config.shrink_perturb, generator)
        self.clear = Clear(policy, config, generator) if config.clear else None
        self.optimizer: torch.optim.Optimizer = (
            Muon(self.parameters, hidden_matrices(policy), config.lr)
            if config.optimizer == "muon"
            else torch.optim.Adam(self.parameters, lr=config.lr, eps=1e-5, fused=True)
        )
        self.recycling = self._recycling()
        self.consolidation: Consolidation | None = None
        self.task_changes = TaskChanges() if config.needs_task_changes else None
        if config.ewc:
            self.consolidation = Consolidation(dict(policy.named_parameters()), config.ewc, config.ewc_decay)
        self.packnet = PackNet(policy, config, generator) if config.packnet else None
        self._waits: tuple[Segment, Tensor] | None = None  # a task's end that PackNet has not answered
        device = self.parameters[0].device
        self._bf16 = config.precision == "bf16" and has_bf16(device)
        if config.precision == "bf16" and not self._bf16:
            warnings.warn(f"{device} has no instructions for bf16: products are float32", stacklevel=2)

    def _recycling(self) -> Recycling | None:
        """Return the method that recycles hidden units; None without one."""
        config = self.config
        if self.regeneration is None:
            return None
        layers = hidden_layers(self.policy)
        if config.redo_every:
            return Redo(layers, self.regeneration, self.optimizer, config.redo_every, config.redo_tau)
        if config.continual_backprop:
            rate = config.continual_backprop
            return ContinualBackprop(layers, self.regeneration, self.optimizer, rate, config.maturity)
        return None

    def close(self) -> None:
        """End what was begun for learning: nothing here."""

    @property
    def divisor(self) -> float:
        """What rewards are divided by before anything is learned from them."""
        return 1.0 if self.return_scale is None else self.return_scale.divisor

    def batch(self, steps: TensorDict) -> dict[str, Tensor]:
        """Return what the losses read of a segment's steps, [B, T, ...] each; advantages are normalised."""
        config = self.config
        advantage, target = advantages(steps, config.gamma, config.life_gamma, config.gae_lambda, self.divisor)
        scale = advantage.std(correction=0).clamp_min(config.advantage_floor)
        names = ("action", "action_log_prob", "action_mask", "start")
        read = {name: steps[name] for name in names if name in steps}
        if config.vtrace == "on":
            read |= self._for_vtrace(steps["next"])
        return read | {"advantage": ((advantage - advantage.mean()) / scale)[..., 0], "value_target": target[..., 0]}

    def _for_vtrace(self, after: TensorDict) -> dict[str, Tensor]:
        """Return what advantages are found from anew, [B, T] each."""
        rate, done, terminated = discounts(after, self.config.gamma, self.config.life_gamma)
        reward, then = after["reward"] / self.divisor, after["state_value"]
        read = {"reward": reward, "rate": rate, "done": done, "terminated": terminated, "next_value": then}
        return {name: x[..., 0] for name, x in (read | {"truncated": after["truncated"]}).items()}

    @torch.no_grad()
    def _by_vtrace(self, batch: Mapping[str, Tensor], log_ratio: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return advantages, normalised, and value targets [B, T] of some lives, by policy and values of now."""
        follows = following(value, batch["next_value"], batch["truncated"])
        reward, rate, done, terminated = (batch[name] for name in ("reward", "rate", "done", "terminated"))
        gae_lambda = self.config.gae_lambda
        advantage = vtrace_advantages(log_ratio, value, follows, reward, rate, done, terminated, gae_lambda)
        scale = advantage.std(correction=0).clamp_min(self.config.advantage_floor)
        return (advantage - advantage.mean()) / scale, value + advantage

    def losses(
        self, batch: Mapping[str, Tensor], observation: Mapping[tuple[str, ...], Tensor], state: TensorDict
    ) -> tuple[Losses, Tensor, Distribution]:
        """Replay some lives of a segment and return their losses.

        Args:
            batch: [B, T] of `batch`.
            observation: [B, T] of `entries`.
            state: [B] of the memory, before the first step.

        Returns:
            losses: means over all steps.
            log_ratio: [B, T] log of the policy's ratio to the one that acted; no gradient.
            distribution: over the actions, [B, T].
        """
        config = self.config
        hidden = replay(self.policy, observation, batch["start"], state, config.tbptt)
        distribution = self.policy.distribution(hidden, batch.get("action_mask"))
        log_ratio = distribution.log_prob(batch["action"]) - batch["action_log_prob"]
        value, entropy = self.policy.value(hidden), config.entropy_coef > 0
        advantage, target = batch["advantage"], batch["value_target"]
        if config.vtrace == "on":
            advantage, target = self._by_vtrace(batch, log_ratio, value)
        losses = clipped_losses(
            distribution,
            log_ratio,
            advantage,
            value,
            target,
            config.clip_epsilon,
            entropy=entropy,
        )
        return losses, log_ratio.detach(), distribution

    def minibatches(self, num_envs: int) -> Iterator[Tensor]:
        """Yield the numbers of the lives of each minibatch, shuffled anew for every pass.

        Args:
            num_envs: B, lives of the segment.
        """
        for _ in range(self.config.epochs):
            order = torch.randperm(num_envs, generator=self.generator)
            yield from order.tensor_split(min(self.config.minibatches, num_envs))

    def gradients(self, given: Given, some: Tensor, weight: float = 1.0, bound: float = math.inf) -> Minibatch:
        """Replay a minibatch and leave the gradients of its loss in the parameters' `grad`.

        Args:
            given: of the segment.
            some: numbers of the minibatch's lives.
            weight: factor of the loss, where these lives are a part of a minibatch.
            bound: of `kl`, above which nothing is to be learned, and there may be no gradients.
        """
        config, lr_fraction = self.config, given.lr_fraction
        part = {name: x[some] for name, x in given.batch.items()}
        with self._products():
            losses, log_ratio, now = self.losses(part, self._seen(given, some), given.state[some])
        ratio_error, kl = log_ratio.exp().sub(1).abs().max().item(), divergence(log_ratio).item()
        entropy = losses.entropy if config.entropy_coef else -part["action_log_prob"].mean()
        means = torch.stack([losses.policy, config.value_coef * losses.value, entropy, losses.clip_fraction]).detach()
        total = losses.policy + config.value_coef * losses.value
        if config.entropy_coef:
            total = total - lr_fraction * config.entropy_coef * losses.entropy
        if not kl > bound:
            self.optimizer.zero_grad()
            (total if weight == 1.0 else total * weight).backward()
        return Minibatch(total.detach(), means, kl, ratio_error, now)

    def _add_gradients_of_kept(self, count: int, lr_fraction: float) -> float:
        """Add the gradients of some kept experience to those of a minibatch, and return the mean of its ratios."""
        assert self.clear is not None  # noqa: S101  the caller's business
        with self._products():
            loss, ratio = self.clear.loss(count, self.divisor, lr_fraction)
        loss.backward()
        return ratio.item()

    def _products(self) -> AbstractContextManager[Any]:
        """Return the precision of matrix products while learning, as a context."""
        return BF16Products() if self._bf16 else nullcontext()

    @torch.no_grad()
    def activities(self, given: Given) -> list[Tensor]:
        """Return the activity [N] of the units of each hidden layer in a segment, replayed by the weights of now.

        Args:
            given: of the segment.
        """
        lives, start = len(given.state), given.batch["start"]
        with unit_activities(self.policy) as found:
            for some in torch.arange(lives).tensor_split(min(self.config.minibatches, lives)):
                replay(self.policy, self._seen(given, some), start[some], given.state[some])
        return found

    def fisher(self, given: Given, chosen: Tensor) -> dict[str, Tensor]:
        """Estimate E[(∂ log π(a) / ∂θ)²] for each parameter, by name; see `consolidation.py`.

        Args:
            given: of a segment that these weights collected.
            chosen: [B, T] the steps that count, at least one.
        """
        found = {name: torch.zeros_like(x) for name, x in self.policy.named_parameters()}
        masks = given.batch.get("action_mask")
        for life in chosen.any(1).nonzero().cpu():
            hidden = replay(
                self.policy, self._seen(given, life), given.batch["start"][life], given.state[life], self.config.tbptt
            )
            distribution = self.policy.distribution(hidden, None if masks is None else masks[life])
            score = distribution.log_prob(given.batch["action"][life])[chosen[life]].sum()
            gradients = torch.autograd.grad(score, self.parameters, materialize_grads=True)
            for total, gradient in zip(found.values(), gradients, strict=True):
                total.addcmul_(gradient, gradient)
        return {name: total / chosen.sum() for name, total in found.items()}

    def _observe_changes(self, segment: Segment, given: Given) -> Tensor | None:
        """Look for a boundary; where one begins, consolidate the weights, which acted in this segment.

        Returns:
            [B, T] which steps are of the task that ends; None if no boundary begins.
        """
        if self.task_changes is None:
            return None
        method = self.config.needs_task_changes.partition("=")[0]
        ending = self.task_changes.observe(told_changes(segment, method))
        if ending is not None and self.consolidation is not None:
            self.consolidation.consolidate(self.fisher(given, ending))
        return ending

    def _pack(self, segment: Segment, ending: Tensor | None) -> None:
        """Give a task that ends its weights, and keep what the next one may need."""
        if self.packnet is None:
            return
        if ending is not None and self.packnet.close(segment, ending):
            self.optimizer.state.clear()
        self.packnet.keep(segment)
        self._waits = None

    def _pack_what_waits(self) -> None:
        """Give a task its weights that ended in a segment whose update was refused."""
        if self.packnet is not None and self._waits is not None:
            if self.packnet.close(*self._waits):
                self.optimizer.state.clear()
            self._waits = None

    def _begin_anew(self) -> None:
        """Set weights and moments back, if a boundary has begun and that is asked for."""
        if self.task_changes is None or self.regeneration is None or self.config.reset_at_boundary == "off":
            return
        if self.task_changes.due():
            self.regeneration.reset()
            self.optimizer.state.clear()

    def _seen(self, given: Given, some: Tensor) -> Any:
        """Return the observations of some lives of a segment, by path."""
        images = self.policy.encoder.image_paths
        return {p: pick_lives(x, some) if p in images else x[some] for p, x in given.observation.items()}

    def learn(self, segment: Segment, lr_fraction: float = 1.0) -> dict[str, float]:
        """Update the policy on a segment.

        Args:
            segment: just collected by this policy.
            lr_fraction: factor of the learning rate and of the entropy bonus.

        Returns:
            Losses and diagnostics; `ratio_error` is max |ratio - 1| of the first minibatch, before any step,
            `value_scale` the root mean square of the value targets, `value_scale_raw` that times the divisor of
            rewards, `kept_ratio` the mean of min(1, ratio) of kept experience. Without an entropy bonus `entropy` is
            the mean of -log pi of the actions as they were drawn.
            `recycled_units`, `packed_tasks` and `boundaries` count all since learning began.

        Raises:
            ValueError: if a method needs to be told when the task changes, and is not.
            FloatingPointError: if a reward, a loss or a gradient is not finite; the weights are as before that
                minibatch. Or if weights are not finite after the last.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * lr_fraction
        steps = segment.steps
        if self.return_scale is not None:
            self.return_scale.update(steps)
        batch, observation = self.batch(steps), entries(steps)
        report: dict[str, list[float]] = {}
        ratio_error, acting = 0.0, None
        bound = config.target_kl or math.inf
        given = Given(batch, observation, segment.state, lr_fraction)
        self._pack_what_waits()
        ending = self._observe_changes(segment, given)
        if self.packnet is not None and ending is not None:
            self._waits = segment, ending
        for some in self.minibatches(steps.shape[0]):
            found = self.gradients(given, some, bound=bound)
            if acting is None:  # no step was made: these weights acted
                acting, ratio_error = found.distribution, found.ratio_error
            if found.kl > bound:
                if not report:  # nothing is learned: the losses are those of the weights as they are
                    report = {name: [number] for name, number in found.diagnostics(0.0).items()}
                break
            if self.clear is not None and len(self.clear.kept):
                report.setdefault("kept_ratio", []).append(self._add_gradients_of_kept(len(some), lr_fraction))
            if self.regeneration is not None:
                self.regeneration.add_gradients()
            if self.consolidation is not None:
                self.consolidation.add_gradients()
            if self.packnet is not None:
                self.packnet.fix_gradients()
            norm = nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)
            loss, length = torch.stack([found.total, norm]).tolist()
            if not math.isfinite(loss):
                raise FloatingPointError(f"loss must be finite, got {loss}")
            if not math.isfinite(length):
                raise FloatingPointError(f"gradient must be finite, its norm is {length}")
            self.optimizer.step()
            for name, number in found.diagnostics(length).items():
                report.setdefault(name, []).append(number)
        if self.regeneration is not None:
            self.regeneration.mix()
        if not math.isfinite(nn.utils.get_total_norm(self.parameters).item()):
            raise FloatingPointError("weights must be finite, they are not after this update")
        if self.clear is not None:
            self.clear.keep(segment, self.divisor)
        if self.recycling is not None and self.recycling.due():
            self.recycling.recycle(self.activities(given))
        self._begin_anew()
        self._pack(segment, ending)
        self.policy.encoder.update(steps["observation"])  # only now: the replay must see what acting saw
        target = batch["value_target"]
        explained = 1 - (target - steps["state_value"][..., 0]).var() / target.var().clamp_min(1e-8)
        means = {name: sum(numbers) / len(numbers) for name, numbers in report.items()}
        means |= {"ratio_error": ratio_error, "explained_variance": explained.item()}
        means |= {"value_scale": target.square().mean().sqrt().item()}
        assert acting is not None  # noqa: S101  there is at least one life
        means |= against_uniform(acting, means["entropy"])
        if self.recycling is not None:
            means["recycled_units"] = float(self.recycling.recycled)
        if self.consolidation is not None:
            means["ewc_penalty"] = self.consolidation.penalty()
        if self.packnet is not None:
            means["packed_tasks"] = float(self.packnet.packing.learned)
        if self.task_changes is not None:
            means["boundaries"] = float(self.task_changes.boundaries)
        if self.return_scale is None:
            return means
        return means | {"return_scale": self.divisor, "value_scale_raw": means["value_scale"] * self.divisor}
