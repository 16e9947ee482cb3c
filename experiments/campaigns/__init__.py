"""Campaigns of `lifelong chaos`: kill trainings, write to one run from two processes, damage files, mistype words."""
