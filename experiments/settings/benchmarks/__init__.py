"""Settings of each subject of `lifelong bench`."""
