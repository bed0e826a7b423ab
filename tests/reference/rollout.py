"""Twin of `topis._core.rollout`: every choice played from the first second, none cut short.

A `Junction` has as many streams as it has; nothing is padded, copied or stopped early.
What traffic does is kept in float32 as in the kernel, so that both decide alike in between;
where the kernel's literals make an expression double precision, `wide` says so here. Costs
are in double precision: they agree nearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

F = np.float32
F4 = NDArray[np.float32]

#: As in the kernel.
EXTEND_S = (0, 2, 4, 7, 10, 14, 19, 25)
#: "Keep" is played for so long before the base policy is asked.
KEEP_S = EXTEND_S[1]
GAP_S, SNEAKERS_VEH = F(2.5), F(1.0)
LEAST_FACTOR, OWN_BONUS, LEAST_ROOM = 0.05, F(1e-6), F(1.0)
#: Of who arrives: the part of its own passage that counts, and the wait past the horizon.
ONE_MORE_VEH, BEYOND_S = 0.5, 10.0


def wide(values: F4) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


@dataclass
class Rules:
    """What holds at all junctions."""

    base_every_s: int = 4
    ahead_share: float = 0.0
    stop_s: float = 3.0
    worth_s: float = 15.0


@dataclass
class Inner:
    """One stream discharges a share of its traffic into another."""

    source: int
    to: int
    share: np.float32
    room: np.float32


@dataclass
class Yield:
    """A share of a stream gives way to the streams ``foes``."""

    stream: int
    share: np.float32
    foes: Sequence[int]


@dataclass
class Junction:
    """One junction at the moment of a decision; tables are [stages, streams].

    ``worth`` is the rate of each stage as the base policy sees it. ``arrive``
    [horizon, streams]; ``ahead_s``, in the same form: the wait at the next signal of who
    leaves in each second. ``plan``: the stage planned for each second, -1 for none.
    """

    rate: F4
    worth: F4
    passing: F4
    cap: F4
    weight: F4
    queue: F4
    open: F4
    room: F4
    refill: F4
    arrive: F4
    ahead_s: F4
    hold_s: NDArray[np.int32]
    lost_s: NDArray[np.int32]
    min_green_s: Sequence[int]
    decay: np.float32
    shown: int
    green_s: int
    allowed: Sequence[bool]
    plan: Sequence[int]
    plan_weight: float = 0.0
    inner: Sequence[Inner] = ()
    yields: Sequence[Sequence[Yield]] = ()

    @property
    def stages(self) -> int:
        return len(self.rate)

    @property
    def streams(self) -> int:
        return len(self.cap)

    @property
    def horizon(self) -> int:
        return len(self.arrive)

    def planned(self, second: int) -> int:
        return self.plan[second] if self.plan_weight > 0 else -1


@dataclass(frozen=True)
class Option:
    """Go on for some seconds, then change to a stage, or (None) do as is done later on."""

    extend_s: int
    stage: int | None

    def first_move(self, junction: Junction) -> int:
        if self.stage is None or self.extend_s > 0:
            return junction.shown
        return self.stage


KEEP = Option(KEEP_S, None)


@dataclass
class Outcome:
    """Cost of an option, and what happens in each second, all [horizon, streams].

    ``gone``: what leaves; ``met``: the queue that stands; ``could``: what could leave.
    """

    option: Option
    cost: float
    gone: F4
    met: F4
    could: F4

    def wait_s(self, more_veh: float) -> NDArray[np.float64]:
        """How long who arrives waits till those it meets, it and ``more_veh`` could have left.

        Nobody leaves before one who came earlier.
        """
        need = wide(self.met) + ONE_MORE_VEH + more_veh
        horizon, streams = need.shape
        out = np.zeros(need.shape)
        for stream in range(streams):
            before = 0
            for t in range(horizon):
                through = np.cumsum(wide(self.could[t:, stream]))
                enough = np.flatnonzero(through >= need[t, stream])
                before = max(before, t + int(enough[0]) if len(enough) else horizon - 1)
                out[t, stream] = before - t if len(enough) else horizon - t + BEYOND_S
        return out


@dataclass
class Search:
    """All options of a junction, keeping the stage in front."""

    outcomes: list[Outcome]

    @property
    def best(self) -> Outcome:
        return min(self.outcomes, key=lambda outcome: outcome.cost)

    @property
    def keep(self) -> Outcome:
        return self.outcomes[0]

    def stage_cost(self, junction: Junction) -> list[float]:
        """Of each stage the least cost of what begins with it; inf where nothing does."""
        least = [float("inf")] * junction.stages
        for outcome in self.outcomes:
            stage = outcome.option.first_move(junction)
            least[stage] = min(least[stage], outcome.cost)
        return least

    def near_best(self, relative: float) -> list[Outcome]:
        """Those that cost the same as the best for all that float32 can tell."""
        most = self.best.cost * (1.0 + relative) + 1e-4
        return [outcome for outcome in self.outcomes if outcome.cost <= most]


def search(junction: Junction, rules: Rules) -> Search:
    options = [KEEP] + [
        Option(extend_s, stage)
        for extend_s in EXTEND_S
        for stage in range(junction.stages)
        if extend_s < junction.horizon and stage != junction.shown and junction.allowed[stage]
    ]
    soon = arrivals_soon(junction, rules)
    return Search([play(junction, rules, soon, option) for option in options])


def arrivals_soon(junction: Junction, rules: Rules) -> F4:
    """Arrivals within ``worth_s`` of each second; near the horizon as before it."""
    span, horizon = int(rules.worth_s), junction.horizon
    soon = np.zeros_like(junction.arrive)
    total = np.zeros(junction.streams, F)
    for t in reversed(range(horizon)):
        total = total + junction.arrive[t]
        if t + span < horizon:
            total = total - junction.arrive[t + span]
        soon[t] = total
    whole = max(horizon - span, 1)
    soon[whole:] = soon[whole - 1]
    return soon


def play(junction: Junction, rules: Rules, soon: F4, option: Option) -> Outcome:
    """To the horizon."""
    game = Game(junction, rules, soon)
    while game.second < junction.horizon:
        if game.second == option.extend_s and option.stage is not None:
            game.begin(option.stage)
        if game.second >= option.extend_s:
            game.go_on()
        game.note()
        game.pass_second()
    return Outcome(option, game.cost, *map(np.array, game.notes()))


@dataclass
class Game:
    """A junction while it is played out, one second after the other."""

    junction: Junction
    rules: Rules
    soon: F4
    second: int = 0
    cost: float = 0.0
    gone: list[F4] = field(default_factory=list)
    met: list[F4] = field(default_factory=list)
    could: list[F4] = field(default_factory=list)
    #: The stage a change leads to, and the seconds in which the old one still serves and in
    #: which only what both serve goes.
    coming: int | None = None
    hold_s: int = 0
    lost_s: int = 0

    def __post_init__(self) -> None:
        j = self.junction
        self.stage, self.green_s = j.shown, j.green_s
        self.queue, self.open, self.room = j.queue.copy(), j.open.copy(), j.room.copy()
        self.rate, self.passing = j.rate[j.shown].copy(), j.passing[j.shown].copy()

    # ---- lamps ----

    def begin(self, stage: int) -> None:
        self.coming = stage
        self.hold_s = int(self.junction.hold_s[self.stage, stage])
        self.lost_s = int(self.junction.lost_s[self.stage, stage])
        if self.hold_s == 0:
            self.end_green()

    def end_green(self) -> None:
        """Yellow: who waits inside for a gap gets out, and only what both stages serve goes."""
        assert self.coming is not None
        for turn in self.giving_way():
            inside = F(float(SNEAKERS_VEH) * (1.0 - float(self.open[turn.stream])))
            leaving = min(inside, self.queue[turn.stream], self.room[turn.stream])
            self.queue[turn.stream] = self.queue[turn.stream] - leaving
            self.room[turn.stream] = self.room[turn.stream] - leaving
        self.passing = self.junction.passing[self.stage].copy()
        self.rate = np.minimum(self.rate, self.junction.rate[self.coming])

    def arrive_at(self, stage: int) -> None:
        after, before = self.junction.passing[stage], self.junction.passing[self.stage]
        # Who stood blocked at the front is whom the next stage is likely to let go.
        others = np.maximum(after, (1.0 - wide(self.open)).astype(F))
        self.open = np.where(after != before, others, self.open)
        self.stage, self.coming, self.green_s = stage, None, 0
        self.rate, self.passing = self.junction.rate[stage].copy(), after.copy()

    def tick_lamps(self) -> None:
        if self.coming is None:
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

    def note(self) -> None:
        """What who arrives now would find."""
        self.met.append(self.queue.copy())
        ready = np.minimum(self.junction.cap * self.rate * self.open, self.room)
        self.could.append(np.minimum(ready, self.room_inside()))

    def notes(self) -> tuple[list[F4], list[F4], list[F4]]:
        return self.gone, self.met, self.could

    def giving_way(self) -> Sequence[Yield]:
        yields = self.junction.yields
        return yields[self.stage] if yields else ()

    def look_for_gaps(self) -> None:
        coming = self.junction.arrive[self.second]
        for turn in self.giving_way():
            busy = F(0)
            for foe in turn.foes:
                busy = busy + (self.queue[foe] + GAP_S * coming[foe])
            busy = min(busy, F(1))
            whole = self.junction.passing[self.stage, turn.stream]
            self.passing[turn.stream] = whole - turn.share * busy
            front = self.open[turn.stream]
            if busy < 1 and self.passing[turn.stream] > front:
                more = (1.0 - float(busy)) * float(whole - front)
                self.open[turn.stream] = float(front) + more

    def room_inside(self) -> F4:
        """What the inner streams of a joined junction still take of each that feeds them."""
        takes = np.full(self.junction.streams, np.inf, F)
        for inner in self.junction.inner:
            left = max(inner.room - self.queue[inner.to], F(0))
            takes[inner.source] = min(takes[inner.source], left)
        return takes

    def pass_second(self) -> None:
        j, t = self.junction, self.second
        if self.coming is None or self.hold_s > 0:
            self.look_for_gaps()
        takes = np.minimum(self.room, self.room_inside())
        here = self.queue + j.arrive[t]
        gone = np.minimum(np.minimum(here, j.cap * self.rate * self.open), takes)
        self.room = self.room - gone + j.refill
        blocked = wide(self.open) * (1.0 - wide(self.passing)) * wide(gone)
        self.open = (wide(self.open) - blocked).astype(F)
        self.queue = here - gone
        delay_s = wide(self.queue)
        delay_s = delay_s + self.rules.stop_s * wide(j.arrive[t]) * np.minimum(self.queue, F(1))
        delay_s = delay_s + self.rules.ahead_share * wide(gone) * j.ahead_s[t]
        fade = float(j.decay) ** t
        self.cost += fade * float((wide(j.weight) * delay_s).sum())
        for inner in j.inner:
            self.queue[inner.to] = self.queue[inner.to] + inner.share * gone[inner.source]
        planned = j.planned(t)
        if planned >= 0 and planned != (self.stage if self.coming is None else self.coming):
            self.cost += fade * j.plan_weight
        self.gone.append(gone)
        self.second += 1
        self.tick_lamps()

    # ---- what follows the choice ----

    def go_on(self) -> None:
        j = self.junction
        if self.coming is not None or self.green_s < j.min_green_s[self.stage]:
            return
        wanted = j.planned(self.second)
        if wanted < 0:
            chosen = self.green_s % self.rules.base_every_s == 0
            wanted = self.most_worth() if chosen else self.stage
        if wanted != self.stage:
            self.begin(wanted)

    def most_worth(self) -> int:
        """The stage that would let most go soon, a change at what it costs in time."""
        j, worth_s = self.junction, F(self.rules.worth_s)
        there = np.minimum(self.queue + self.soon[self.second], j.cap * worth_s) * j.weight
        there = np.where(self.room >= LEAST_ROOM, there, F(0))
        own, all_stages = OWN_BONUS, np.zeros(j.stages, F)
        # One stream after the other: stages that are equal must stay so to the last bit.
        for stream in range(j.streams):
            own = own + there[stream] * self.open[stream] * j.worth[self.stage, stream]
            all_stages = all_stages + there[stream] * j.worth[:, stream]
        best, most = self.stage, own
        for stage in range(j.stages):
            if stage == self.stage or not j.allowed[stage]:
                continue
            factor = F(1.0 - float(F(j.lost_s[self.stage, stage]) / worth_s))
            value = F(float(all_stages[stage]) * max(float(factor), LEAST_FACTOR))
            if value > most:
                best, most = stage, value
        return best
