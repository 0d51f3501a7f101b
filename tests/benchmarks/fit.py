"""How cost grows with size: the exponent of a power law through the measured points."""

import math
from collections.abc import Mapping


def exponent(costs: Mapping[int, float]) -> float | None:
    """The k of cost = c * size^k, by least squares over the logarithms: 0 is flat, 1 proportional.

    `costs` are positive, by size.  None for fewer than two sizes.
    """
    if len(costs) < 2:
        return None
    points = [(math.log(size), math.log(cost)) for size, cost in costs.items()]
    middle_x, middle_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    rise = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return rise / sum((x - middle_x) ** 2 for x, _ in points)
