"""Names of other libraries' agents in the comparison."""

__all__ = ["OTHERS"]

OTHERS = {
    "sb3-ppo": "Stable-Baselines3's PPO with RL Zoo's settings",
    "sb3-recurrent-ppo": "sb3-contrib's RecurrentPPO (LSTM) with RL Zoo's settings",
    "sb3-ppo/ours": "Stable-Baselines3's PPO with the settings of our agents",
    "sb3-recurrent-ppo/ours": "sb3-contrib's RecurrentPPO (LSTM) with the settings of our agents",
}
"""Other libraries' agents by name."""
