"""Exact storage: caches read by softmax attention."""
