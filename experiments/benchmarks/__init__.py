"""Speed measurements behind `lifelong bench`."""
