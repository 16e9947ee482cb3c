"""Memories made of several."""
