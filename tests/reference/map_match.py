"""Twin of `topis._core.map_match`: every segment of the map is looked at for every point.

There is no grid, ways are looked up in a dict, and nothing that might be of use is skipped. Kept
in float32 as in the kernel, so that both agree to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

F = np.float32
BEAM, MOST_CANDIDATES, SPEED_TELLS_MS = 4, 24, 2000
NEVER, NONE = F(-1e30), F(0)


@dataclass
class Place:
    """Where a vehicle may be; ``back``: number of the place it comes from."""

    link: int
    offset_m: np.float32
    distance_m: np.float32
    score: np.float32
    back: int = -1


@dataclass
class Vehicle:
    """What is known of it: its last point, and its places at its last step."""

    time_ms: int = 0
    speed_mps: np.float32 = NONE
    x_m: np.float32 = NONE
    y_m: np.float32 = NONE
    moved_m: np.float32 = NONE
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class Point:
    """One report."""

    x_m: np.float32
    y_m: np.float32
    speed_mps: np.float32
    heading_deg: np.float32
    time_ms: int


class MapMatch:
    """Takes the kernel's arrays and settings."""

    def __init__(self, **arrays: Any) -> None:
        self.arrays = arrays
        self.ways = {
            (link, int(arrays["reach_link"][k])): F(arrays["reach_m"][k])
            for link in range(len(arrays["length_m"]))
            for k in range(arrays["reach_ptr"][link], arrays["reach_ptr"][link + 1])
        }
        self.segments = {
            int(segment): (*arrays["cell_line"][:, k], arrays["segment_offset_m"][segment])
            for k, segment in enumerate(arrays["cell_segment"])
        }
        self.vehicles: dict[int, Vehicle] = {}

    def setting(self, name: str) -> np.float32:
        return F(self.arrays[name])

    def match(self, vehicle: int, point: Point) -> tuple[int, Any, Any, Any]:
        """(link, offset, distance, confidence)."""
        known = self.vehicles.setdefault(vehicle, Vehicle())
        if known.places and point.time_ms < known.time_ms:
            known = Vehicle()
        return answer(self.step(known, point)[0], 0)

    def match_trace(self, points: list[Point]) -> list[tuple[int, Any, Any, Any]]:
        vehicle, last = Vehicle(), -1
        history: list[tuple[list[Place], int]] = []
        for number, point in enumerate(points):
            places, steps = self.step(vehicle, point)
            history.append((places, last if places and places[0].back >= 0 else -1))
            if steps:
                last = number
        return look_back(history)

    def step(self, vehicle: Vehicle, point: Point) -> tuple[list[Place], bool]:
        """Places of a point, best first, and whether the vehicle took a step."""
        if vehicle.places and point.time_ms - vehicle.time_ms > self.arrays["forget_ms"]:
            vehicle.places = []
        places = self.near(point)
        if not places:
            return [], False
        if vehicle.places:
            vehicle.moved_m = self.movement(vehicle, point)
            slack = F(1) / (self.setting("slack_m") + self.setting("slack_share") * vehicle.moved_m)
            for place in places:
                self.come_from(vehicle, slack, place)
        places.sort(key=lambda place: -place.score)
        best = places[0].score
        for place in places:
            place.score = place.score - best
        jump = self.setting("jump")
        places = [place for place in places[:BEAM] if place.score > -jump]
        vehicle.time_ms, vehicle.speed_mps = point.time_ms, point.speed_mps
        if vehicle.places and vehicle.moved_m < self.setting("step_m"):
            return places, False
        vehicle.places, vehicle.moved_m = places, F(0)
        vehicle.x_m, vehicle.y_m = point.x_m, point.y_m
        return places, True

    def movement(self, vehicle: Vehicle, point: Point) -> np.float32:
        east, north = point.x_m - vehicle.x_m, point.y_m - vehicle.y_m
        straight = np.sqrt(east * east + north * north)
        speeds = (point.speed_mps, vehicle.speed_mps)
        if np.isnan(speeds).any():
            return straight
        since_ms = point.time_ms - vehicle.time_ms
        if since_ms <= SPEED_TELLS_MS:
            return vehicle.moved_m + F(0.0005) * (speeds[0] + speeds[1]) * F(since_ms)
        if max(speeds) < self.setting("moving_mps") and straight < self.setting("still_m"):
            return vehicle.moved_m
        return straight

    def near(self, point: Point) -> list[Place]:
        """The likeliest place of each link near a point, by position and heading alone."""
        jump, found, best = self.setting("jump"), list[Place](), NEVER
        moves = point.speed_mps > self.setting("moving_mps") and not np.isnan(point.heading_deg)
        for segment, link in enumerate(self.arrays["segment_link"]):
            x, y, unit_x, unit_y, length, offset = self.segments[segment]
            east, north = point.x_m - x, point.y_m - y
            along = east * unit_x + north * unit_y
            along = max(F(0), min(along, length))
            east, north = east - along * unit_x, north - along * unit_y
            d2 = east * east + north * north
            if d2 > F(self.arrays["radius_m"] * self.arrays["radius_m"]):
                continue
            score = F(0)
            if moves:
                head = self.arrays["unit"][int(point.heading_deg + F(0.5))]
                cosine = head[0] * unit_x + head[1] * unit_y
                score = self.setting("heading_weight") * (cosine - F(1))
            score = score - self.setting("half_precision") * d2
            if point.speed_mps < self.setting("moving_mps") and along <= 0:
                score = score - self.setting("waiting")
            if score < best - jump:
                continue
            best = max(best, score)
            place = Place(int(link), offset + along, np.sqrt(d2), score)
            same = [k for k, other in enumerate(found) if other.link == link]
            if not same and len(found) < MOST_CANDIDATES:
                found.append(place)
                continue
            worst = same[0] if same else min(range(len(found)), key=lambda k: found[k].score)
            if score > found[worst].score:
                found[worst] = place
        return [place for place in found if place.score >= best - jump]

    def come_from(self, vehicle: Vehicle, slack: np.float32, to: Place) -> None:
        """Add the best step to a place."""
        jump, moved, best = self.setting("jump"), vehicle.moved_m, NEVER
        for number, place in enumerate(vehicle.places):
            step = -jump
            if place.link == to.link:
                step = -abs(to.offset_m - place.offset_m - moved) * slack
            else:
                length = F(self.arrays["length_m"][place.link])
                more = length - place.offset_m + to.offset_m - moved
                known = self.ways.get((place.link, to.link))
                if known is not None:
                    step = -abs(more + known) * slack
                else:
                    step = -max(more + self.setting("most_m"), F(0)) * slack
            total = place.score + max(step, -jump)
            if total > best:
                best, to.back = total, number
        to.score = to.score + best


def answer(places: list[Place], number: int) -> tuple[int, Any, Any, Any]:
    if not places:
        return -1, F(0), F(0), F(0)
    parts = []
    for place in places:
        part = max(F(1) + place.score * F(0.03125), F(0))
        for _ in range(5):
            part = part * part
        parts.append(part)
    total = F(0)
    for part in parts:
        total = total + part
    place = places[number]
    return place.link, place.offset_m, place.distance_m, parts[number] / total


def look_back(history: list[tuple[list[Place], int]]) -> list[tuple[int, Any, Any, Any]]:
    """Answers for a whole trace, from its end."""
    out: list[tuple[int, Any, Any, Any]] = []
    step, came, after = -1, -1, -1
    for number in reversed(range(len(history))):
        places, last = history[number]
        chosen = 0
        if places and (step < 0 or number == step):
            chosen = 0 if step < 0 else came
            came, step, after = places[chosen].back, last, places[chosen].link
        elif places:
            either = {after, history[step][0][came].link}
            fit = [k for k, p in enumerate(places) if p.back == came and p.link in either]
            chosen = fit[0] if fit else 0
        out.append(answer(places, chosen))
    return out[::-1]
