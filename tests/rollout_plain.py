"""The search of `topis._core.rollout` in plain Python, for what the kernel saves over it.

Only a yardstick for benchmarks: lists and floats, no NumPy once it plays. The twin of record
is `tests.reference.rollout`, which says why things are done as they are; here the same is
done in double precision throughout, so costs agree nearly and close calls may differ. As
there, every option is played to the horizon; what happens on the way is not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, inf

from tests.reference.rollout import (
    EXTEND_S,
    GAP_S,
    KEEP,
    LEAST_FACTOR,
    LEAST_ROOM,
    OWN_BONUS,
    SNEAKERS_VEH,
    Junction,
    Option,
    Rules,
)

Row = list[float]
Table = list[Row]

GAP, SNEAKERS = float(GAP_S), float(SNEAKERS_VEH)
BONUS, ROOM = float(OWN_BONUS), float(LEAST_ROOM)


def search_plain(junction: Junction, rules: Rules) -> tuple[int, float]:
    """The stage of the first move, and the least cost; the first of equal options wins."""
    lists = Lists.of(junction, rules)
    best, least = KEEP, play(lists, KEEP)
    for extend_s in EXTEND_S:
        if extend_s >= lists.horizon:
            break
        for stage in range(lists.stages):
            if stage == lists.shown or not lists.allowed[stage]:
                continue
            option = Option(extend_s, stage)
            cost = play(lists, option)
            if cost < least:
                best, least = option, cost
    return best.first_move(junction), least


@dataclass(frozen=True, slots=True)
class Lists:
    """A `Junction` and the `Rules` as lists and floats, and what is the same for all options.

    ``soon`` [horizon, streams]: who arrives within ``worth_s``; ``fade``: the weight of each
    second; ``factor`` [stages, stages]: what the time of a change leaves of its worth.
    """

    stages: int
    streams: int
    horizon: int
    rate: Table
    worth: Table
    passing: Table
    cap: Row
    weight: Row
    queue: Row
    open: Row
    room: Row
    refill: Row
    arrive: Table
    ahead_s: Table
    soon: Table
    fade: Row
    factor: Table
    hold_s: list[list[int]]
    lost_s: list[list[int]]
    min_green_s: list[int]
    shown: int
    green_s: int
    allowed: list[bool]
    plan: list[int]
    plan_weight: float
    #: (source, to, share, room)
    inner: list[tuple[int, int, float, float]]
    #: By stage: (stream, share, foes)
    yields: list[list[tuple[int, float, list[int]]]]
    base_every_s: int
    ahead_share: float
    stop_s: float
    worth_s: float

    @classmethod
    def of(cls, j: Junction, rules: Rules) -> Lists:
        arrive: Table = j.arrive.tolist()
        lost_s: list[list[int]] = j.lost_s.tolist()
        return cls(
            stages=j.stages,
            streams=j.streams,
            horizon=j.horizon,
            rate=j.rate.tolist(),
            worth=j.worth.tolist(),
            passing=j.passing.tolist(),
            cap=j.cap.tolist(),
            weight=j.weight.tolist(),
            queue=j.queue.tolist(),
            open=j.open.tolist(),
            room=j.room.tolist(),
            refill=j.refill.tolist(),
            arrive=arrive,
            ahead_s=j.ahead_s.tolist(),
            soon=arrivals_soon(arrive, int(rules.worth_s)),
            fade=[float(j.decay) ** t for t in range(j.horizon)],
            factor=[[max(1 - s / rules.worth_s, LEAST_FACTOR) for s in row] for row in lost_s],
            hold_s=j.hold_s.tolist(),
            lost_s=lost_s,
            min_green_s=list(j.min_green_s),
            shown=j.shown,
            green_s=j.green_s,
            allowed=list(j.allowed),
            plan=[j.planned(t) for t in range(j.horizon)],
            plan_weight=j.plan_weight,
            inner=[(row.source, row.to, float(row.share), float(row.room)) for row in j.inner],
            yields=[
                [(turn.stream, float(turn.share), list(turn.foes)) for turn in rows]
                for rows in (j.yields or [()] * j.stages)
            ],
            base_every_s=rules.base_every_s,
            ahead_share=rules.ahead_share,
            stop_s=rules.stop_s,
            worth_s=rules.worth_s,
        )


def arrivals_soon(arrive: Table, span: int) -> Table:
    """Arrivals in the ``span`` seconds from each; near the horizon as before it."""
    whole = max(len(arrive) - span, 1)
    soon = [[*map(fsum, zip(*arrive[t : t + span], strict=True))] for t in range(whole)]
    return soon + [soon[-1]] * (len(arrive) - whole)


def play(lists: Lists, option: Option) -> float:
    """The cost of an option at the horizon."""
    game = Game(lists)
    for second in range(lists.horizon):
        if second == option.extend_s and option.stage is not None:
            game.begin(option.stage)
        if second >= option.extend_s:
            game.go_on(second)
        game.pass_second(second)
    return game.cost


class Game:
    """A junction while it is played out, one second after the other."""

    __slots__ = (
        "coming", "cost", "green_s", "hold_s", "lists", "lost_s", "open", "passing", "queue",
        "rate", "room", "stage",
    )  # fmt: skip

    def __init__(self, lists: Lists) -> None:
        self.lists = lists
        self.cost = 0.0
        self.stage, self.green_s = lists.shown, lists.green_s
        #: The stage a change leads to, -1 for none.
        self.coming, self.hold_s, self.lost_s = -1, 0, 0
        self.queue, self.open, self.room = lists.queue[:], lists.open[:], lists.room[:]
        self.rate, self.passing = lists.rate[self.stage], lists.passing[self.stage][:]

    # ---- lamps ----

    def begin(self, stage: int) -> None:
        self.coming = stage
        self.hold_s = self.lists.hold_s[self.stage][stage]
        self.lost_s = self.lists.lost_s[self.stage][stage]
        if self.hold_s == 0:
            self.end_green()

    def end_green(self) -> None:
        """Yellow: who waits inside for a gap gets out, and only what both stages serve goes."""
        lists = self.lists
        for stream, _, _ in lists.yields[self.stage]:
            inside = SNEAKERS * (1.0 - self.open[stream])
            leaving = min(inside, self.queue[stream], self.room[stream])
            self.queue[stream] -= leaving
            self.room[stream] -= leaving
        self.passing = lists.passing[self.stage][:]
        self.rate = [min(pair) for pair in zip(self.rate, lists.rate[self.coming], strict=True)]

    def arrive_at(self, stage: int) -> None:
        before, after = self.lists.passing[self.stage], self.lists.passing[stage]
        for stream in range(self.lists.streams):
            if after[stream] != before[stream]:
                self.open[stream] = max(after[stream], 1.0 - self.open[stream])
        self.stage, self.coming, self.green_s = stage, -1, 0
        self.rate, self.passing = self.lists.rate[stage], after[:]

    def tick_lamps(self) -> None:
        if self.coming < 0:
            self.green_s += 1
            return
        if self.hold_s > 0:
            self.hold_s -= 1
            if self.hold_s == 0:
                self.end_green()
        elif self.lost_s > 0:
            self.lost_s -= 1
        if self.hold_s == 0 and self.lost_s == 0:
            self.arrive_at(self.coming)

    # ---- traffic ----

    def look_for_gaps(self, second: int) -> None:
        arrive, whole = self.lists.arrive[second], self.lists.passing[self.stage]
        for stream, share, foes in self.lists.yields[self.stage]:
            busy = 0.0
            for foe in foes:
                busy += self.queue[foe] + GAP * arrive[foe]
            busy = min(busy, 1.0)
            self.passing[stream] = whole[stream] - share * busy
            front = self.open[stream]
            if busy < 1.0 and self.passing[stream] > front:
                self.open[stream] = front + (1.0 - busy) * (whole[stream] - front)

    def room_inside(self) -> Row:
        """What the inner streams of a joined junction still take of each that feeds them."""
        takes = [inf] * self.lists.streams
        for source, to, _, room in self.lists.inner:
            takes[source] = min(takes[source], max(room - self.queue[to], 0.0))
        return takes

    def pass_second(self, second: int) -> None:
        if self.coming < 0 or self.hold_s > 0:
            self.look_for_gaps(second)
        lists, fade = self.lists, self.lists.fade[second]
        takes = self.room_inside()
        gone, delay_s = self.discharge(second, takes)
        self.cost += fade * delay_s
        for source, to, share, _ in lists.inner:
            self.queue[to] += share * gone[source]
        planned = lists.plan[second]
        if planned >= 0 and planned != (self.stage if self.coming < 0 else self.coming):
            self.cost += fade * lists.plan_weight
        self.tick_lamps()

    def discharge(self, second: int, takes: Row) -> tuple[Row, float]:
        """All streams for a second: what leaves of each, and what the second costs."""
        lists, queue, opened, room = self.lists, self.queue, self.open, self.room
        cap, weight, refill, rate, passing = (
            lists.cap, lists.weight, lists.refill, self.rate, self.passing,
        )  # fmt: skip
        arrive, ahead_s = lists.arrive[second], lists.ahead_s[second]
        stop_s, ahead_share = lists.stop_s, lists.ahead_share
        all_gone, cost = [0.0] * lists.streams, 0.0
        for i in range(lists.streams):
            come, front = arrive[i], opened[i]
            here = queue[i] + come
            gone = min(here, cap[i] * rate[i] * front, room[i], takes[i])
            left = here - gone
            room[i] += refill[i] - gone
            opened[i] = front - front * (1.0 - passing[i]) * gone
            queue[i] = left
            stopped = come * (left if left < 1.0 else 1.0)
            cost += weight[i] * (left + stop_s * stopped + ahead_share * gone * ahead_s[i])
            all_gone[i] = gone
        return all_gone, cost

    # ---- what follows the choice ----

    def go_on(self, second: int) -> None:
        lists = self.lists
        if self.coming >= 0 or self.green_s < lists.min_green_s[self.stage]:
            return
        wanted = lists.plan[second]
        if wanted < 0:
            chosen = self.green_s % lists.base_every_s == 0
            wanted = self.most_worth(second) if chosen else self.stage
        if wanted != self.stage:
            self.begin(wanted)

    def most_worth(self, second: int) -> int:
        """The stage that would let most go soon, a change at what it costs in time."""
        lists = self.lists
        there = self.there(second)
        own = BONUS
        for value, front, worth in zip(there, self.open, lists.worth[self.stage], strict=True):
            own += value * front * worth
        best, most = self.stage, own
        for stage in range(lists.stages):
            if stage == self.stage or not lists.allowed[stage]:
                continue
            total = 0.0
            for value, worth in zip(there, lists.worth[stage], strict=True):
                total += value * worth
            total *= lists.factor[self.stage][stage]
            if total > most:
                best, most = stage, total
        return best

    def there(self, second: int) -> Row:
        """Who could go soon, weighted; nobody where the exit is full."""
        lists, soon, worth_s = self.lists, self.lists.soon[second], self.lists.worth_s
        return [
            min(self.queue[i] + soon[i], lists.cap[i] * worth_s) * lists.weight[i]
            if self.room[i] >= ROOM
            else 0.0
            for i in range(lists.streams)
        ]
