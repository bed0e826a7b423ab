"""Twin of `topis._core.cycle_split`: one junction at a time, from the formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_FLOW_RATIO, TINY_S, HALVINGS = 0.99, 1e-9, 60


@dataclass
class Step:
    """(lane, green it needs for each of its vehicles) rows, and the shortest green."""

    lanes: Sequence[tuple[int, np.float32]]
    least_s: float


@dataclass
class Junction:
    steps: Sequence[Step]
    lost_s: float
    low_s: float
    high_s: float


@dataclass
class Found:
    cycle_s: float
    green_s: list[float]
    saturation: float
    ratio: list[np.float32]


def cycle_and_split(junction: Junction, flow_vps: Sequence[np.float32], start_s: float) -> Found:
    steps = junction.steps
    ratio = [
        max((flow_vps[lane] * need for lane, need in step.lanes), default=np.float32(0))
        for step in steps
    ]
    total = sum(map(float, ratio))
    lost_s = junction.lost_s + start_s * len(steps)
    cycle_s = junction.high_s
    if total < MOST_FLOW_RATIO:
        cycle_s = (1.5 * lost_s + 5.0) / (1.0 - total)
    cycle_s = max(min(cycle_s, junction.high_s), junction.low_s)
    cycle_s = max(cycle_s, junction.lost_s + sum(step.least_s for step in steps))
    # Those given their least green, until all others have enough.
    held: list[int] = []
    while True:
        free = [k for k in range(len(steps)) if k not in held]
        left_s = cycle_s - lost_s - sum(steps[k].least_s - start_s for k in held)
        of_free = sum(float(ratio[k]) for k in free)
        share = left_s / of_free if of_free > 0.0 else 0.0
        more = [k for k in free if ratio[k] * share < steps[k].least_s - start_s]
        if not more:
            break
        held += more
    spare_s = 0.0 if share > 0.0 else left_s / len(steps)
    green_s = [
        (step.least_s if k in held else float(ratio[k]) * share + start_s) + spare_s
        for k, step in enumerate(steps)
    ]
    degrees = [
        float(y) * cycle_s / max(green - start_s, TINY_S)
        for y, green in zip(ratio, green_s, strict=True)
    ]
    return Found(cycle_s, green_s, max(degrees), ratio)


def share_out(
    wanted_s: Sequence[float], low_s: Sequence[float], high_s: Sequence[float], total_s: float
) -> list[float]:
    rows = list(zip(wanted_s, low_s, high_s, strict=True))

    def moved(by_s: float) -> list[float]:
        return [min(max(wanted + by_s, low), high) for wanted, low, high in rows]

    few = min(low - wanted for wanted, low, _ in rows)
    many = max(high - wanted for wanted, _, high in rows)
    for _ in range(HALVINGS):
        middle = (few + many) / 2.0
        if sum(moved(middle)) < total_s:
            few = middle
        else:
            many = middle
    return moved(many)
