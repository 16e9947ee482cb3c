"""`lifelong bench training`: our trainer beside others' in the same environment."""
