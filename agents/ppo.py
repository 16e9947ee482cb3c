"""PPO on segments: every minibatch replays the memory from the state before the segment.

A minibatch is a subset of the lives with all their steps in order. Returns continue across episode ends wherever the
memory does, discounted there by `life_gamma`: what is learned in an episode for later ones is part of its value. The
losses and the advantage recursion are TorchRL's.
"""

import math
from collections.abc import Iterator

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.agent import Agent, policy_of
from lifelong.agents.entropy import against_uniform
from lifelong.agents.ppo_config import PPOConfig
from lifelong.agents.return_scale import ReturnScale
from lifelong.agents.rollout import Segment
from lifelong.memory.broken_mujoco import broken_mujoco_hidden

with broken_mujoco_hidden():
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value.functional import generalized_advantage_estimate

__all__ = ["PPO", "PPOConfig", "advantages", "divergence", "replay"]


def advantages(
    steps: TensorDict, gamma: float, life_gamma: float, gae_lambda: float, divisor: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Compute advantages and value targets of a segment's steps by GAE.

    Inside an episode the next value counts `gamma`; over an episode's end that the memory survives, `life_gamma`;
    where the memory ends, nothing follows; where an episode was truncated the value of its last observation follows
    and the trace stops.

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
    truncated = after["truncated"]
    crossing = after["episode_end"] & ~truncated
    rate = torch.where(crossing, life_gamma, gamma)
    advantage, target = generalized_advantage_estimate(
        gamma=rate,  # pyright: ignore[reportArgumentType]  typed as float, but a rate for each step is as good
        lmbda=gae_lambda,
        state_value=steps["state_value"],
        next_state_value=after["state_value"],
        reward=after["reward"] if divisor == 1.0 else after["reward"] / divisor,
        done=after["end"] | truncated,
        terminated=after["end"] & ~truncated,
    )
    return advantage, target


def replay(policy: ActorCritic, steps: TensorDict, state: TensorDict, tbptt: int = 0) -> Tensor:
    """Replay a segment and return the hidden vectors [B, T, D].

    Args:
        policy: the policy that collected the segment, or a later version of it.
        steps: [B, T] with `observation` and `start`.
        state: [B] of the memory, before the first step.
        tbptt: steps after which the gradient through the carried memory is cut; 0 never.
    """
    length = steps.shape[1]
    pieces = []
    for t in range(0, length, tbptt or length):
        piece = steps[:, t : t + (tbptt or length)]
        if t:
            state = state.detach()
        hidden, state = policy.trunk(piece["observation"], state, piece["start"])
        pieces.append(hidden)
    return torch.cat(pieces, 1)


def divergence(log_ratio: Tensor) -> Tensor:
    """Estimate the divergence KL(old || new) = E[r - 1 - log r], which is never negative.

    Args:
        log_ratio: log r = log(new / old) of the probabilities of actions that the old policy drew, any shape.

    Source: J. Schulman 2020, "Approximating KL divergence", http://joschu.net/blog/kl-approx.html.
    """
    return (log_ratio.expm1() - log_ratio).mean()


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
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.lr, eps=1e-5, fused=True)
        self.loss = ClipPPOLoss(
            policy.actor,
            policy.critic,
            clip_epsilon=config.clip_epsilon,
            entropy_bonus=config.entropy_coef > 0,
            entropy_coeff=config.entropy_coef,
            critic_coeff=config.value_coef,
            loss_critic_type="l2",
            functional=False,
        )

    @property
    def divisor(self) -> float:
        """What rewards are divided by before anything is learned from them."""
        return 1.0 if self.return_scale is None else self.return_scale.divisor

    def batch(self, steps: TensorDict) -> TensorDict:
        """Return what the losses read of a segment's steps [B, T], but for `hidden`; advantages are normalised."""
        config = self.config
        advantage, target = advantages(steps, config.gamma, config.life_gamma, config.gae_lambda, self.divisor)
        scale = advantage.std(correction=0).clamp_min(config.advantage_floor)
        return TensorDict(
            {
                "action": steps["action"],
                "action_log_prob": steps["action_log_prob"],
                "advantage": (advantage - advantage.mean()) / scale,
                "value_target": target,
                "state_value": steps["state_value"],
                **({"action_mask": steps["action_mask"]} if "action_mask" in steps else {}),
            },
            steps.batch_size,
        )

    def minibatches(self, num_envs: int) -> Iterator[Tensor]:
        """Yield the numbers of the lives of each minibatch, shuffled anew for every pass.

        Args:
            num_envs: B, lives of the segment.
        """
        for _ in range(self.config.epochs):
            order = torch.randperm(num_envs, generator=self.generator)
            yield from order.tensor_split(min(self.config.minibatches, num_envs))

    def learn(self, segment: Segment, lr_fraction: float = 1.0) -> dict[str, float]:
        """Update the policy on a segment.

        Args:
            segment: just collected by this policy.
            lr_fraction: factor of the learning rate and of the entropy bonus.

        Returns:
            Losses and diagnostics; `ratio_error` is max |ratio - 1| of the first minibatch, before any step,
            `value_scale` the root mean square of the value targets, `value_scale_raw` that times the divisor of
            rewards. Without an entropy bonus `entropy` is the mean of -log pi of the actions as they were drawn.

        Raises:
            FloatingPointError: if a reward, a loss or a gradient is not finite; the weights are as before that
                minibatch.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * lr_fraction
        steps = segment.steps
        if self.return_scale is not None:
            self.return_scale.update(steps)
        batch = self.batch(steps)
        replayed = steps.select("observation", "start")  # the entries a replay reads
        num_envs = steps.shape[0]
        report: dict[str, list[float]] = {}
        ratio_error, acting = 0.0, None
        bound = config.target_kl or math.inf
        for some in self.minibatches(num_envs):
            hidden = replay(self.policy, replayed[some], segment.state[some], config.tbptt)
            part = batch[some]
            part["hidden"] = hidden
            with torch.no_grad():
                now = self.policy.distribution(hidden, part.get("action_mask", None))
                log_ratio = now.log_prob(part["action"]) - part["action_log_prob"]
            if acting is None:  # no step was made: these weights acted
                acting, ratio_error = now, log_ratio.exp().sub(1).abs().max().item()
            kl = divergence(log_ratio)
            if kl.item() > bound:
                break
            losses = self.loss(part.flatten())
            critic = losses.get("loss_critic", torch.zeros(()))  # a weight of 0 leaves it out
            total = losses["loss_objective"] + critic + lr_fraction * losses.get("loss_entropy", 0.0)
            if not torch.isfinite(total):
                raise FloatingPointError(f"loss must be finite, got {total.item()}")
            self.optimizer.zero_grad()
            total.backward()
            norm = nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)
            if not torch.isfinite(norm):
                raise FloatingPointError(f"gradient must be finite, its norm is {norm.item()}")
            self.optimizer.step()
            diagnostics = {
                "policy_loss": losses["loss_objective"],
                "value_loss": critic,
                "entropy": losses.get("entropy", -part["action_log_prob"].mean()),
                "kl": kl,
                "clip_fraction": losses["clip_fraction"],
                "gradient_norm": norm,
            }
            for name, number in diagnostics.items():
                report.setdefault(name, []).append(float(number.detach()))
        self.policy.encoder.update(steps["observation"])  # only now: the replay must see what acting saw
        target = batch["value_target"]
        explained = 1 - (target - steps["state_value"]).var() / target.var().clamp_min(1e-8)
        means = {name: sum(numbers) / len(numbers) for name, numbers in report.items()}
        means |= {"ratio_error": ratio_error, "explained_variance": explained.item()}
        means |= {"value_scale": target.square().mean().sqrt().item()}
        assert acting is not None  # noqa: S101  there is at least one life
        means |= against_uniform(acting, means["entropy"])
        if self.return_scale is None:
            return means
        return means | {"return_scale": self.divisor, "value_scale_raw": means["value_scale"] * self.divisor}
