"""MiniGrid's environments: fast observations, missions as numbers, and the way from `rooms` to them."""
