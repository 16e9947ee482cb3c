"""Measurements behind `lifelong bench`."""
