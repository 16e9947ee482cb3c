"""Stable-Baselines3 and sb3-contrib on a stream of lifelong, made by gymnasium.

    pip install 'lifelong-rl[examples]' && python docs/examples/stable_baselines.py

A signal at the start of a corridor says which arm at its end pays. PPO has no memory: 0.5 is the best it can reach.
RecurrentPPO has an LSTM, which it empties where an episode ends: it can keep the signal, but nothing over episodes.
"""

from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import lifelong.envs  # noqa: F401  it registers the ids


def main(steps=60_000):
    """Train both, print their mean returns, and return them."""
    returns = {}
    for learner, policy in ((PPO, "MlpPolicy"), (RecurrentPPO, "MlpLstmPolicy")):
        env = make_vec_env("lifelong/TMaze-v0", n_envs=8, seed=0, env_kwargs={"corridor": 4, "flat": True})
        model = learner(policy, env, n_steps=128, batch_size=256, learning_rate=1e-3, ent_coef=0.01, seed=0)
        model.learn(steps)
        returns[learner.__name__], _ = evaluate_policy(model, env, n_eval_episodes=100)
        print(f"{learner.__name__}: mean return {returns[learner.__name__]:.2f} of 1")
        env.close()
    return returns


if __name__ == "__main__":
    main()
