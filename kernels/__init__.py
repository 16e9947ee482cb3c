"""Recurrences behind all memories: pure functions on tensors, one folder each."""
