"""Measuring the kernels: whether they are right first, then how fast, beside whoever else is there."""
