"""Reinforcement-learning agents with a memory for life."""
