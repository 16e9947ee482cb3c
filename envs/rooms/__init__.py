"""Rooms: MiniGrid's environments, compiled, thousands of lives at once; see `stream`."""
