"""The questions: train an agent, measure what it retains; and the `lifelong` command."""
