"""Which lane leads to which, at every node."""

from __future__ import annotations

from topis.ingest.city.roads import LEFT, RIGHT, STRAIGHT, Roads, acute


def connect(roads: Roads) -> None:
    """Fill in the links of all approaches to all exits."""
    for _, arms in sorted(roads.arms.items()):
        for arm in arms:
            exits = {}
            for other in arms:
                turn = roads.turn.get((arm.inward, other.outward))
                if turn is not None:
                    exits[turn] = other.outward
            _lanes(roads, arm.inward, exits, not acute(arms))


def _lanes(roads: Roads, edge: int, exits: dict[str, int], bus_on: bool) -> None:
    """Lanes of one approach to the lanes of its exits; ``bus_on``: so does the bus lane."""
    a, add = roads.edges[edge], roads.links.append
    on, right, left = (exits.get(turn) for turn in (STRAIGHT, RIGHT, LEFT))
    if on is not None:
        b = roads.edges[on]
        room = b.general + b.bay
        # Never two lanes into one: who stands in a lane that ends changes before.
        for lane in range(min(a.general, b.general)):
            add((edge, on, lane, lane))
        if room > a.general:
            add((edge, on, a.general - 1, a.general))
        if a.bus and b.bus and bus_on:
            add((edge, on, a.bus_lane, b.bus_lane))
    if right is not None:
        add((edge, right, 0, 0))
    if left is None:
        if on is None and right is not None:
            for lane in range(1, min(a.general, roads.edges[right].general)):
                add((edge, right, lane, lane))
        return
    b = roads.edges[left]
    lane, target = a.general - 1 + a.bay, b.general - 1
    add((edge, left, lane, target))
    if on is None:
        # A stem: what is not for the right turn turns left too, as far as there are lanes.
        for other in range(lane - 1, -1, -1):
            target -= 1
            if other == 0 and right is not None:
                break
            if target >= 0:
                add((edge, left, other, target))
