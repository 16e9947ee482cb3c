"""Memories that add outer products, with or without decay, and elementwise state spaces."""
