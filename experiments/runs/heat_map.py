"""Heat maps with the numbers in their cells."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["heat_map"]


def heat_map(
    axes: Any, values: NDArray[np.float64], low: float, high: float, *, label: str = "", numbers: bool = True
) -> None:
    """Draw values as colours, the first row on top, with a colour bar; NaN stays white.

    Args:
        axes: matplotlib's.
        values: [rows, columns].
        low: value of the darkest colour.
        high: of the lightest.
        label: of the colour bar.
        numbers: whether each value stands in its cell.
    """
    image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=low, vmax=high)
    for row, column in np.ndindex(values.shape) if numbers else ():
        value = float(values[row, column])
        if not math.isnan(value):
            colour = "w" if value < low + 0.6 * (high - low) else "k"
            axes.annotate(f"{value:.2f}", (column, row), ha="center", va="center", color=colour, fontsize=8)
    axes.figure.colorbar(image, label=label)
