"""Films of an agent's episodes, by gymnasium's own RecordVideo.

    pip install 'lifelong-rl[examples]' && python docs/examples/record_video.py

Every stream draws pictures with `render_mode="rgb_array"`. The episodes are successive ones of one life: the
agent, here an untrained one, keeps its memory. `lifelong watch RUN` films a trained one beside its memory.
"""

import gymnasium
from gymnasium.wrappers import RecordVideo

import lifelong.envs  # noqa: F401  it registers the ids
from lifelong import Agent


def main(steps=200, folder="videos"):
    """Act, and write one film per episode."""
    env = gymnasium.make("lifelong/DarkRoom-v0", render_mode="rgb_array")
    env = RecordVideo(env, folder, episode_trigger=lambda episode: True, disable_logger=True)
    agent = Agent.for_spaces(env, memory="gated_delta", width=32, seed=0)
    obs, _ = env.reset(seed=0)
    state, reward, over = agent.initial_state(1), 0.0, True
    for _ in range(steps):
        action, state = agent.act(obs, state, reward=reward, episode_end=over)
        obs, reward, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
        if over:
            obs, _ = env.reset()
    env.close()


if __name__ == "__main__":
    main()
