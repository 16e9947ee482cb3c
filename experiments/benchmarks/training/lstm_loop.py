"""PPO with an LSTM, written out by hand: the loop that people copy, as a rival of our trainer.

It is the structure of CleanRL's `ppo_atari_lstm` with two dense layers in place of its convolutions: learning, too,
takes one step at a time, with the LSTM's state set to 0 where an episode begins. Nothing is taken from there.

Source of the structure: Huang et al. 2022, "CleanRL", JMLR 23 (274), arXiv 2111.08819.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from lifelong.agents.ppo_config import PPOConfig
from lifelong.experiments.benchmarks.training.worlds import FlatEnv

__all__ = ["LSTMLoop", "LSTMPolicy"]

State = tuple[Tensor, Tensor]


class LSTMPolicy(nn.Module):
    """Two dense layers, an LSTM, and linear heads for logits and value.

    Args:
        inputs: F, numbers of an observation.
        width: of the layers and of the LSTM.
        actions: A.
    """

    def __init__(self, inputs: int, width: int, actions: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.lstm = nn.LSTM(width, width)
        self.actor, self.critic = nn.Linear(width, actions), nn.Linear(width, 1)

    def initial_state(self, num_envs: int) -> State:
        """Return zeros [1, B, W], twice."""
        zeros = torch.zeros(1, num_envs, self.lstm.hidden_size)
        return zeros, zeros

    def forward(self, obs: Tensor, state: State, start: Tensor) -> tuple[Categorical, Tensor, State]:
        """Return the distribution over actions [T, B], values [T, B] and the next state.

        Args:
            obs: [T, B, F].
            state: before the first step.
            start: [T, B], 1 where an episode begins, else 0.
        """
        hidden, outputs = self.encoder(obs), []
        for t in range(len(obs)):
            keep = (1.0 - start[t])[None, :, None]
            y, state = self.lstm(hidden[t : t + 1], (keep * state[0], keep * state[1]))
            outputs.append(y)
        y = torch.cat(outputs)
        return Categorical(logits=self.actor(y)), self.critic(y)[..., 0], state


class LSTMLoop:
    """Trainer of an `LSTMPolicy`.

    Args:
        env: to act in.
        width: of the policy.
        steps: T, steps of each environment between two updates.
        config: of PPO; rewards are not normalised.
    """

    def __init__(self, env: FlatEnv, width: int, steps: int, config: PPOConfig) -> None:
        self.env, self.config = env, config
        self.policy = LSTMPolicy(env.size, width, env.actions)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config.lr, eps=1e-5, fused=True)
        B = env.num_envs
        self.obs = torch.zeros(steps, B, env.size)
        self.action = torch.zeros(steps, B, dtype=torch.int64)
        self.start, self.log_prob, self.reward, self.value = (torch.zeros(steps, B) for _ in range(4))
        self.now, self.begun = torch.from_numpy(env.reset()), torch.ones(B)
        self.state = self.first = self.policy.initial_state(B)

    @torch.no_grad()
    def collect(self) -> None:
        """Act for T steps."""
        self.first = self.state
        for t in range(len(self.obs)):
            self.obs[t], self.start[t] = self.now, self.begun
            distribution, value, self.state = self.policy(self.now[None], self.state, self.begun[None])
            action = distribution.sample()
            self.action[t], self.log_prob[t], self.value[t] = action[0], distribution.log_prob(action)[0], value[0]
            obs, reward, terminated, truncated, _ = self.env.step(action[0].numpy())
            self.reward[t] = torch.from_numpy(reward)
            self.now, self.begun = torch.from_numpy(obs), torch.from_numpy((terminated | truncated).astype(np.float32))

    def learn(self) -> None:
        """Learn from the steps: minibatches are subsets of the environments, with all their steps in order."""
        config = self.config
        advantage = self._advantages()
        target = advantage + self.value
        for _ in range(config.epochs):
            for some in torch.randperm(self.env.num_envs).tensor_split(config.minibatches):
                state = self.first[0][:, some], self.first[1][:, some]
                distribution, value, _ = self.policy(self.obs[:, some], state, self.start[:, some])
                ratio = (distribution.log_prob(self.action[:, some]) - self.log_prob[:, some]).exp()
                a = advantage[:, some]
                a = (a - a.mean()) / (a.std() + 1e-8)
                clipped = ratio.clamp(1 - config.clip_epsilon, 1 + config.clip_epsilon)
                loss = -torch.min(ratio * a, clipped * a).mean()
                loss = loss + config.value_coef * (value - target[:, some]).square().mean()
                loss = loss - config.entropy_coef * distribution.entropy().mean()
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
                self.optimizer.step()

    @torch.no_grad()
    def _advantages(self) -> Tensor:
        """Return A_t = δ_t + γ λ (1 - d_t) A_{t+1}, δ_t = r_t + γ (1 - d_t) V_{t+1} - V_t, as [T, B]."""
        following = self.policy(self.now[None], self.state, self.begun[None])[1][0]
        later, advantage, ended = torch.zeros_like(following), torch.zeros_like(self.value), self.begun
        for t in reversed(range(len(self.value))):
            go_on = self.config.gamma * (1.0 - ended)
            later = self.reward[t] + go_on * following - self.value[t] + self.config.gae_lambda * go_on * later
            advantage[t], following, ended = later, self.value[t], self.start[t]
        return advantage
