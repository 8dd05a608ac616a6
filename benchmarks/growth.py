"""The growth of a cost."""

from __future__ import annotations

import math
from collections.abc import Mapping

LIMIT = 1.1


def exponent(costs: Mapping[float, float]) -> float:
    """The exponent of the power of a size that fits its costs best: least squares on logarithms."""
    points = [(math.log(size), math.log(max(cost, 1e-3))) for size, cost in costs.items()]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
        (x - mean_x) ** 2 for x, _ in points)
