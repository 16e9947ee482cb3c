"""The range of seeds."""

__all__ = ["SEEDS"]

SEEDS = 2**63
"""Seeds that a user can give: 0 to 2^63 - 1. The 64th bit is the split: 0 for training, 1 for evaluation."""
