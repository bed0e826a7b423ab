"""Twin of `topis._core.street_queues`: a vehicle is an object, a lane a list of them.

The arrays of the vehicles under way (``head``, ``behind``, ``number`` ...) are the kernel's own
affair; here only their room counts. ``entered``, ``arrived``, ``gone`` and ``link_count`` are kept
for whoever looks at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PERMISSIVE = 2
NOBODY = -1
_MASK = 2**64 - 1


def draw(number: int, hop: int) -> float:
    """SplitMix64 (Steele et al. 2014) of the two, in [0, 1)."""
    z = (number * 0x9E3779B97F4A7C15 + hop * 0xD1B54A32D192ED03) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    z ^= z >> 31
    return (z >> 11) / 2**53


@dataclass
class Vehicle:
    """Who is on a lane, which way it goes on, and what it met there."""

    number: int
    hops: int = 0
    conn: int = NOBODY
    enter_s: float = 0.0
    arrive_s: float = 0.0
    sequence: int = 0
    #: How many stood before it when it came to the queue; None: it has not yet.
    ahead: int | None = None


class StreetQueues:
    """Lanes of vehicles; a second at a time."""

    def __init__(self, **given: Any) -> None:
        for name, value in given.items():
            setattr(self, name, value.tolist() if hasattr(value, "tolist") else value)
        self.entered, self.arrived, self.gone, self.link_count = (
            given[name] for name in ("entered", "arrived", "gone", "link_count")
        )
        self.lanes: list[list[Vehicle]] = [[] for _ in self.lane_link]
        self.free_places = len(self.unused)

    def __getattr__(self, name: str) -> Any:
        """Only for the type checker: all names were given."""
        raise AttributeError(name)

    def run(
        self,
        begin_s: int,
        seconds: int,
        entry_ptr: Sequence[int],
        entry_next: Any,
        entry_lane: Sequence[int],
        entry_s: Sequence[float],
        entry_number: Sequence[int],
        out_lane: Any,
        out_conn: Any,
        out_ahead: Any,
        out_number: Any,
        out_enter_s: Any,
        out_arrive_s: Any,
        out_depart_s: Any,
    ) -> int:
        """Some seconds; returns the number of passages written."""
        made = 0
        for t in range(begin_s, begin_s + seconds):
            for source in range(len(entry_next)):
                while entry_next[source] < entry_ptr[source + 1]:
                    k = int(entry_next[source])
                    if entry_s[k] >= t + 1 or self.is_full(self.lane_link[entry_lane[k]]):
                        break
                    self.put(
                        Vehicle(int(entry_number[k])),
                        int(entry_lane[k]),
                        max(float(entry_s[k]), float(t)),
                    )
                    entry_next[source] += 1
            for lane, queue in enumerate(self.lanes):
                while queue:
                    self.reach_queue(lane, t)
                    who = queue[0]
                    found = self.may_leave(lane, who, t)
                    if found is None:
                        break
                    depart_s, way = found
                    if made == len(out_lane):
                        raise MemoryError("more passages than there is room for")
                    out_lane[made] = lane
                    out_conn[made] = way
                    out_ahead[made] = who.ahead
                    out_number[made] = who.number
                    out_enter_s[made] = who.enter_s
                    out_arrive_s[made] = who.arrive_s
                    out_depart_s[made] = depart_s
                    made += 1
                    self.go_on(lane, way, depart_s)
        return made

    def is_full(self, link: int) -> bool:
        """Whether nobody more finds room there."""
        return bool(self.link_count[link] >= self.link_storage[link]) or (
            sum(len(lane) for lane in self.lanes) >= self.free_places
        )

    def shows(self, group: int, t: int) -> int:
        """Lamp code of a group at a second."""
        codes = self.code[self.code_ptr[group] : self.code_ptr[group + 1]]
        return int(codes[(t - self.offset_s[group]) % len(codes)])

    def put(self, who: Vehicle, lane: int, at_s: float, stays: bool = False) -> None:
        """Onto a lane of the link that leads where the vehicle will go; in its own if it stays."""
        link = self.lane_link[lane]
        who.hops += 1
        ways = range(self.link_conn_ptr[link], self.link_conn_ptr[link + 1])
        own = range(self.lane_conn_ptr[lane], self.lane_conn_ptr[lane + 1])
        low, high = 0.0, 1.0
        if stays and own:
            low_own = self.conn_below[own[0] - 1] if own[0] > ways[0] else 0.0
            if self.conn_below[own[-1]] > low_own:
                ways, low, high = own, low_own, self.conn_below[own[-1]]
        who.conn = NOBODY
        # No way on, or none that anyone takes: out of the network.
        if ways and self.conn_below[self.link_conn_ptr[link + 1] - 1] > 0.0:
            luck = low + (high - low) * draw(who.number, who.hops)
            drawn = next((k for k in ways if luck < self.conn_below[k]), ways[-1])
            # Of the lanes that lead there, the emptiest; the one drawn where it is as empty.
            same = [
                k
                for k in ways
                if self.conn_move[k] == self.conn_move[drawn]
                and self.conn_below[k] > (self.conn_below[k - 1] if k > ways[0] else low)
            ]
            who.conn = min([drawn, *same], key=lambda k: len(self.lanes[self.conn_from_lane[k]]))
            lane = self.conn_from_lane[who.conn]
        apart_s = self.headway_s[lane] / 2.0
        who.enter_s = max(at_s, self.last_enter_s[lane] + apart_s)
        self.last_enter_s[lane] = who.enter_s
        who.arrive_s = max(
            who.enter_s + self.lane_free_s[lane] * (1.0 + self.slowest * draw(who.number, 0)),
            self.last_arrive_s[lane] + apart_s,
        )
        self.last_arrive_s[lane] = who.arrive_s
        who.sequence = int(self.entered[lane])
        who.ahead = None
        self.entered[lane] += 1
        self.link_count[link] += 1
        self.lanes[lane].append(who)

    def reach_queue(self, lane: int, t: int) -> None:
        """Who comes to the queue by the end of the second counts who stands before it."""
        for place, who in enumerate(self.lanes[lane]):
            if who.ahead is None and who.arrive_s < t + 1:
                who.ahead = place
                self.arrived[lane] = who.sequence + 1

    def may_leave(self, lane: int, who: Vehicle, t: int) -> tuple[float, int] | None:
        """When the first of a lane leaves it and by which way, if it does so in this second."""
        way, at_s, gives_way = who.conn, who.arrive_s, False
        if way != NOBODY:
            group = self.conn_group[way]
            if group < 0:
                gives_way = True
            else:
                code, before = self.shows(group, t), self.shows(group, t - 1)
                waited = at_s < t
                if code < PERMISSIVE and not (before == PERMISSIVE and waited):
                    return None
                gives_way = code == PERMISSIVE
                if code >= PERMISSIVE > before and waited:
                    self.free_s[lane] = max(self.free_s[lane], t + self.startup_s)
        at_s = max(at_s, self.free_s[lane], float(t))
        if at_s >= t + 1:
            return None
        if way != NOBODY:
            impatient = min(at_s - who.arrive_s, at_s - self.last_leave_s[lane]) >= self.patience_s
            rivals = self.yield_idx[self.yield_ptr[way] : self.yield_ptr[way + 1]]
            no_gap = any(self.conn_last_s[k] > at_s - self.gap_s for k in rivals)
            if gives_way and no_gap and not impatient:
                return None
            to_link = self.lane_link[self.conn_to_lane[way]]
            if self.link_count[to_link] >= self.link_storage[to_link]:
                if not impatient:
                    return None
                way = NOBODY
        return float(at_s), way

    def go_on(self, lane: int, way: int, depart_s: float) -> None:
        """The first of a lane leaves it, onto that way or off the streets."""
        who = self.lanes[lane].pop(0)
        self.free_s[lane] = depart_s + self.headway_s[lane]
        self.last_leave_s[lane] = depart_s
        self.gone[lane] += 1
        self.link_count[self.lane_link[lane]] -= 1
        if way != NOBODY:
            self.conn_last_s[way] = depart_s
            crossing_s = self.crossing_s if self.conn_group[way] >= 0 else 0.0
            same_road = self.conn_group[way] < 0
            self.put(who, self.conn_to_lane[way], depart_s + crossing_s, same_road)
