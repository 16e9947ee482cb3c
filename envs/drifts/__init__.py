"""Drifts: changes of an environment that make it another task, as data; undone before the next episode."""
