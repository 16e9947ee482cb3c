"""Verbs of the `lifelong` command, one file each: train an agent, measure retention, and so on."""
