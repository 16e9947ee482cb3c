"""What several streams' reference policies are asked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.registry import reference_policies


@pytest.fixture
def assert_told_nothing() -> Callable[[Any, int, Callable[[], None]], None]:
    """Check that policies other than the oracle act alike, one step on, after hidden things were changed."""

    def check(stream: Any, action: int, change: Callable[[], None]) -> None:
        for name, make in reference_policies(stream).items():
            if name != "oracle":
                policy, twin = make(), make()
                seen, info = stream.reset()
                for one in (policy, twin):
                    one.act(seen, info["life_start"])
                seen, *_, info = stream.step(np.full(stream.num_envs, action))
                first = policy.act(seen, info["life_start"])
                change()
                assert np.array_equal(twin.act(seen, info["life_start"]), first)

    return check
