"""Benchmark of the kernels: accuracy first, then speed beside other implementations."""
