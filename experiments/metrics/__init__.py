"""Metrics: pure functions of episode rows."""
