"""The few recurrences under all memories: pure functions on tensors, one folder each."""
