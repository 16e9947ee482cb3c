"""PPO in one file, as CleanRL writes it, on a stream of lifelong, with any of its memories.

    python docs/examples/cleanrl_ppo.py

The memory's state is a variable of the loop. It is not reset where an episode ends: `start` is true where a life does.
"""

import gymnasium
import torch
from torch import nn
from torch.distributions import Categorical

import lifelong.envs  # noqa: F401  it registers the ids
from lifelong import make_memory

B, T, WIDTH = 32, 50, 64  # lives side by side, steps in a segment
GAMMA, GAE_LAMBDA, CLIP, EPOCHS, MINIBATCHES = 0.9, 0.9, 0.2, 4, 4


class Agent(nn.Module):
    """Encoder, memory, policy and value."""

    def __init__(self, inputs, actions, memory):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        self.memory = make_memory(memory, WIDTH)
        self.actor = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, actions))
        self.critic = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))

    def forward(self, obs, state, start):
        """Return the policy, the value and the next state, for one step [B, ...] or for T of them [B, T, ...]."""
        x = self.encoder(obs)
        y, state = (self.memory if obs.ndim == 3 else self.memory.step)(x, state, start)
        features = torch.cat([x, y], -1)
        return Categorical(logits=self.actor(features)), self.critic(features)[..., 0], state


def main(steps=80_000, memory="gated_delta"):
    """Train, print the share of right answers of every tenth, and return that of every segment."""
    torch.manual_seed(0)
    envs = gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=B, cues=4, life_episodes=50, flat=True)
    agent = Agent(envs.single_observation_space.shape[0], envs.single_action_space.n, memory)
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-3, eps=1e-5)
    shapes = {"obs": envs.single_observation_space.shape, "action": (), "logprob": (), "reward": (), "done": ()}
    seg = {name: torch.zeros(B, T, *shape) for name, shape in (shapes | {"value": (), "start": ()}).items()}
    obs, info = envs.reset(seed=0)
    state = agent.memory.initial_state(B)
    rights = []
    for _ in range(steps // (B * T)):
        first_state = state
        for t in range(T):
            x, start = torch.as_tensor(obs), torch.as_tensor(info["life_start"])
            with torch.no_grad():
                policy, value, state = agent(x, state, start)
                action = policy.sample()
            obs, reward, terminated, truncated, info = envs.step(action.numpy())
            row = {"obs": x, "action": action, "logprob": policy.log_prob(action), "value": value, "start": start}
            row |= {"reward": torch.as_tensor(reward), "done": torch.as_tensor(terminated | truncated)}
            for name, entry in row.items():
                seg[name][:, t] = entry
        with torch.no_grad():  # the state after this call is thrown away: the observation is met again
            _, value, _ = agent(torch.as_tensor(obs), state, torch.as_tensor(info["life_start"]))
        values, later = torch.cat([seg["value"], value[:, None]], 1), torch.zeros(B)
        advantage = torch.zeros(B, T)
        for t in reversed(range(T)):
            go_on = 1 - seg["done"][:, t]
            error = seg["reward"][:, t] + GAMMA * go_on * values[:, t + 1] - values[:, t]
            advantage[:, t] = later = error + GAMMA * GAE_LAMBDA * go_on * later
        returns = advantage + seg["value"]
        for _ in range(EPOCHS):
            for lives in torch.randperm(B).chunk(
                MINIBATCHES
            ):  # whole sequences, from the state before their first step
                policy, value, _ = agent(seg["obs"][lives], first_state[lives], seg["start"][lives].bool())
                ratio = (policy.log_prob(seg["action"][lives]) - seg["logprob"][lives]).exp()
                adv = advantage[lives]
                adv = (adv - adv.mean()) / (adv.std() + 1e-8)
                policy_loss = -torch.min(adv * ratio, adv * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
                value_loss = (value - returns[lives]).square().mean()
                optimizer.zero_grad()
                (policy_loss + 0.5 * value_loss - 0.01 * policy.entropy().mean()).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        rights.append(seg["reward"].mean().item())
        if len(rights) % max(1, steps // (B * T) // 10) == 0:
            print(
                f"step {len(rights) * B * T}: {rights[-1]:.2f} of the answers are right; chance is 0.25, 0.94 is best"
            )
    envs.close()
    return rights


if __name__ == "__main__":
    main()
