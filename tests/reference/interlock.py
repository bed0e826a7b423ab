"""Twin of `topis._core.interlock`: one small object per lamp and junction, plain loops.

Greens end as late as their clearance allows, all new greens of a stage start together,
and they start at the first tick at which every conflicting group *has been* clear for its
intergreen: what counts is when a green did end, not when it was planned to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RED, YELLOW, PERMISSIVE, PRIORITY = 0, 1, 2, 3
KEEP, LOCAL = -1, -2
ACCEPTED, UNKNOWN_STAGE, CONFLICTING_STAGE, MIN_GREEN, CHANGING, MAX_RED = range(6)


class Lamp:
    """One signal group: what it is (from the network) and what it shows."""

    def __init__(self, arrays: Mapping[str, Sequence[int]], number: int) -> None:
        self.number = number
        self.min_green = arrays["group_min_green_ms"][number]
        self.yellow_time = arrays["group_yellow_ms"][number]
        self.max_red = arrays["group_max_red_ms"][number]
        self.serving_stage = arrays["group_serving_stage"][number]
        pairs = range(arrays["conflict_ptr"][number], arrays["conflict_ptr"][number + 1])
        self.clearance = {arrays["conflict_idx"][k]: arrays["conflict_ms"][k] for k in pairs}
        self.code = arrays["group_code"][number]
        self.since = arrays["group_since_ms"][number]
        self.green_end = arrays["green_end_ms"][number]
        self.ends_at = arrays["end_ms"][number]

    @property
    def green(self) -> bool:
        return self.code in (PERMISSIVE, PRIORITY)

    @property
    def yellow(self) -> bool:
        return self.code == YELLOW

    def show(self, code: int, now: int) -> None:
        was_green, was_yellow = self.green, self.yellow
        self.code = code
        if was_green and not self.green:
            self.green_end = now
        if was_green != self.green or was_yellow != self.yellow:
            self.since = now

    @property
    def yellow_over(self) -> int:
        """When the yellow shown now may become red."""
        return self.since + self.yellow_time


class Crossroads:
    """One junction."""

    def __init__(self, arrays: Mapping[str, Sequence[int]], number: int) -> None:
        groups = range(*arrays["junction_group_ptr"][number : number + 2])
        stages = range(*arrays["junction_stage_ptr"][number : number + 2])
        self.lamps = {g: Lamp(arrays, g) for g in groups}
        self.stages = {}
        for s in stages:
            codes = arrays["stage_code"][slice(*arrays["stage_code_ptr"][s : s + 2])]
            self.stages[s] = dict(zip(groups, codes, strict=True))
        self.safe = {s: arrays["stage_safe"][s] for s in stages}
        self.stage_minimum = {s: arrays["stage_min_green_ms"][s] for s in stages}
        self.stage = arrays["stage"][number]
        self.coming = arrays["coming"][number]
        self.since = arrays["since_ms"][number]
        self.starts_at = arrays["start_ms"][number]

    def green_in(self, stage: int, group: int) -> bool:
        return self.stages[stage][group] in (PERMISSIVE, PRIORITY)

    def ending(self, target: int) -> list[Lamp]:
        return [x for x in self.lamps.values() if x.green and not self.green_in(target, x.number)]

    def starting(self, target: int) -> list[Lamp]:
        return [x for x in self.lamps.values() if not x.green and self.green_in(target, x.number)]

    def step(self, now: int, wanted: int) -> int:
        if wanted == LOCAL:
            return ACCEPTED
        reason = self.decide(wanted, now)
        self.carry_on(now)
        return reason

    def decide(self, wanted: int, now: int) -> int:
        if self.coming >= 0:
            return CHANGING if wanted >= 0 and wanted != self.coming else ACCEPTED
        reason = ACCEPTED
        overdue = self.overdue(now)
        if overdue is not None and wanted != overdue:
            wanted, reason = overdue, MAX_RED
        if wanted in (KEEP, self.stage):
            return reason
        if wanted not in self.stages:
            return UNKNOWN_STAGE
        if not self.safe[wanted]:
            return CONFLICTING_STAGE
        if not self.may_end(wanted, now):
            return reason or MIN_GREEN
        self.begin(wanted, now)
        return reason

    def overdue(self, now: int) -> int | None:
        late = {}
        for lamp in self.lamps.values():
            if not lamp.green and lamp.serving_stage >= 0:
                over = now - lamp.green_end - lamp.max_red
                if over >= 0:
                    late[lamp.number] = over
        if not late:
            return None
        most = max(late.values())
        first = min(number for number, over in late.items() if over == most)
        return self.lamps[first].serving_stage

    def may_end(self, target: int, now: int) -> bool:
        if self.stage >= 0 and now - self.since < self.stage_minimum[self.stage]:
            return False
        return all(now - lamp.since >= lamp.min_green for lamp in self.ending(target))

    def begin(self, target: int, now: int) -> None:
        """The change takes as long as the slowest clearance; every green ends so late that its
        own clearance is over just then.
        """
        starting, need = self.starting(target), {}
        start = now
        for lamp in self.ending(target):
            clearances = [lamp.clearance.get(s.number, 0) for s in starting]
            need[lamp.number] = max([lamp.yellow_time, *clearances])
            start = max(start, now + need[lamp.number])
        for lamp in self.lamps.values():
            if lamp.yellow:
                start = max(start, lamp.yellow_over)
            if not lamp.green:
                for other in starting:
                    if other.number in lamp.clearance and other is not lamp:
                        start = max(start, lamp.green_end + lamp.clearance[other.number])
        for number, time in need.items():
            self.lamps[number].ends_at = start - time
        self.coming, self.starts_at = target, start

    def clear(self, target: int, now: int) -> bool:
        """Whether every yellow and every clearance into the target stage is over."""
        for lamp in self.lamps.values():
            if lamp.yellow and now < lamp.yellow_over:
                return False
            if lamp.green:
                continue
            for other in self.starting(target):
                if now < lamp.green_end + lamp.clearance.get(other.number, 0):
                    return False
        return not self.ending(target)

    def carry_on(self, now: int) -> None:
        target = self.coming
        just_red = set()
        for lamp in self.lamps.values():
            if target >= 0 and lamp in self.ending(target) and now >= lamp.ends_at:
                lamp.show(YELLOW if lamp.yellow_time > 0 else RED, now)
            if lamp.yellow and now >= lamp.yellow_over:
                lamp.show(RED, now)
                just_red.add(lamp.number)
        if target < 0 or now < self.starts_at:
            return
        # Yellow taken over from local control must not be seen to turn green.
        if any(self.green_in(target, number) for number in just_red):
            return
        if self.clear(target, now):
            for lamp in self.lamps.values():
                lamp.show(self.stages[target][lamp.number], now)
            self.stage, self.since, self.coming = target, now, -1


class Interlock:
    """Takes the kernel's arrays (copies them) and steps all junctions."""

    def __init__(self, **arrays: Any) -> None:
        plain = {name: [int(v) for v in values] for name, values in arrays.items()}
        self.junctions = [Crossroads(plain, j) for j in range(len(plain["stage"]))]

    def step(self, now_ms: int, request: Sequence[int]) -> list[int]:
        """The reason of each junction's refusal, 0 where nothing was refused."""
        return [
            junction.step(now_ms, int(wanted))
            for junction, wanted in zip(self.junctions, request, strict=True)
        ]

    def take(self, number: int, code: int, now_ms: int) -> None:
        """Somebody else (local control) has set the lamp of a group."""
        for junction in self.junctions:
            if number in junction.lamps:
                junction.lamps[number].show(code, now_ms)

    def state(self) -> dict[str, list[int]]:
        """What the kernel keeps in its INOUT arrays."""
        lamps = [lamp for junction in self.junctions for lamp in junction.lamps.values()]
        return {
            "group_code": [lamp.code for lamp in lamps],
            "group_since_ms": [lamp.since for lamp in lamps],
            "green_end_ms": [lamp.green_end for lamp in lamps],
            "end_ms": [lamp.ends_at for lamp in lamps],
            "stage": [junction.stage for junction in self.junctions],
            "coming": [junction.coming for junction in self.junctions],
            "since_ms": [junction.since for junction in self.junctions],
            "start_ms": [junction.starts_at for junction in self.junctions],
        }
