"""Studies: a file of arms, seeds, tests and hypotheses, its trials, and what they say."""
