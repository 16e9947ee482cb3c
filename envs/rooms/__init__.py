"""Rooms: MiniGrid's grid worlds, thousands of lives at once; see `stream`."""
