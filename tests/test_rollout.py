"""The rollout search against its slow twin, and on junctions where the answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import rollout as slow
from tests.reference.rollout import Inner, Junction, Rules, Yield
from tests.rollout_plain import search_plain
from topis._core.rollout import RolloutSearch
from topis.control.protocol import AT_LEAST, AT_MOST, EXACT

PAD = 4
#: Costs that differ by less are equal for all that float32 can tell.
TIE = 1e-4


# ---- junctions into the arrays of the kernel ----


@dataclasses.dataclass
class Packed:
    """Some junctions as the kernel wants them: its tables, and what is known at a decision."""

    tables: dict[str, np.ndarray]
    inputs: dict[str, np.ndarray]
    horizon: int
    stream_ptr: np.ndarray

    def search(self, rules: Rules) -> RolloutSearch:
        return RolloutSearch(
            **self.tables,
            most_horizon_s=self.horizon,
            base_every_s=rules.base_every_s,
            ahead_share=rules.ahead_share,
            stop_s=rules.stop_s,
            worth_s=rules.worth_s,
        )


@dataclasses.dataclass
class Decision:
    """What the kernel says: per junction, and per stream and second."""

    choice: np.ndarray
    cost: np.ndarray
    keep_cost: np.ndarray
    planned_vps: np.ndarray
    wait_s: np.ndarray
    stage_cost: np.ndarray
    stage_bound: np.ndarray
    extend_s: np.ndarray
    next_stage: np.ndarray


def padded(count: int) -> int:
    return -(-max(count, 1) // PAD) * PAD


def pack(junctions: Sequence[Junction]) -> Packed:
    """Streams padded with others that have neither traffic nor green."""
    most_stages = max(j.stages for j in junctions)
    horizon = max(j.horizon for j in junctions)
    widths = [padded(j.streams) for j in junctions]
    wides = [padded(j.stages) for j in junctions]

    def starts(sizes: Sequence[int]) -> np.ndarray:
        return np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)

    def floats(parts: list[Any]) -> np.ndarray:
        flat = [np.asarray(part, np.float32).ravel() for part in parts]
        return np.concatenate([*flat, np.zeros(0, np.float32)])

    def ints(parts: Sequence[int]) -> np.ndarray:
        return np.array(parts, np.int32)

    def per_stream(name: str) -> np.ndarray:
        rows = [
            (getattr(j, name), width - j.streams)
            for j, width in zip(junctions, widths, strict=True)
        ]
        return floats([np.pad(values, (0, more)) for values, more in rows])

    def per_cell(name: str) -> np.ndarray:
        rows = [
            (getattr(j, name), width - j.streams)
            for j, width in zip(junctions, widths, strict=True)
        ]
        return floats([np.pad(values, ((0, 0), (0, more))) for values, more in rows])

    def square(name: str) -> np.ndarray:
        rows = [(getattr(j, name), most_stages - j.stages) for j in junctions]
        return np.concatenate([np.pad(v, ((0, 0), (0, more))) for v, more in rows]).astype(np.int32)

    worth = [
        np.pad(j.worth.T, ((0, width - j.streams), (0, wide - j.stages)))
        for j, width, wide in zip(junctions, widths, wides, strict=True)
    ]
    inner = [row for j in junctions for row in j.inner]
    by_stage = [rows for j in junctions for rows in (j.yields or [()] * j.stages)]
    turns = [turn for rows in by_stage for turn in rows]
    stream_ptr = starts(widths)
    arrivals = np.zeros((sum(j.streams for j in junctions) + 1, horizon + 3), np.float32)
    arrival_of = np.full(stream_ptr[-1], -1, np.int32)
    ahead_s = np.zeros((stream_ptr[-1], horizon), np.float32)
    row = 1
    for j, first in zip(junctions, stream_ptr, strict=False):
        for stream in range(j.streams):
            arrival_of[first + stream] = row
            arrivals[row, : j.horizon] = j.arrive[:, stream]
            # What comes past its horizon is none of a junction's business.
            arrivals[row, j.horizon :] = 7.0
            ahead_s[first + stream, : j.horizon] = j.ahead_s[:, stream]
            row += 1
    plan = np.full((len(junctions), horizon), -1, np.int16)
    for number, j in enumerate(junctions):
        plan[number, : j.horizon] = j.plan
    return Packed(
        tables={
            "stream_ptr": stream_ptr,
            "stage_ptr": starts([j.stages for j in junctions]),
            "rate_ptr": starts([w * j.stages for j, w in zip(junctions, widths, strict=True)])[:-1],
            "rate_of_ptr": starts([w * v for w, v in zip(widths, wides, strict=True)])[:-1],
            "wide": ints(wides),
            "min_green_s": ints([s for j in junctions for s in j.min_green_s]),
            "hold_s": square("hold_s"),
            "lost_s": square("lost_s"),
            "decay": floats([j.decay for j in junctions]),
            "horizon_s": ints([j.horizon for j in junctions]),
            "inner_ptr": starts([len(j.inner) for j in junctions]),
            # One entry more than needed: the kernel may take the address of the end.
            "inner_from": ints([*(row.source for row in inner), 0]),
            "inner_to": ints([*(row.to for row in inner), 0]),
            "inner_share": floats([[row.share for row in inner], 0]),
            "inner_room": floats([[row.room for row in inner], 0]),
            "yield_ptr": starts([len(rows) for rows in by_stage]),
            "yield_stream": ints([turn.stream for turn in turns]),
            "yield_share": floats([[turn.share for turn in turns]]),
            "foe_ptr": starts([len(turn.foes) for turn in turns]),
            "foe_stream": ints([foe for turn in turns for foe in turn.foes]),
        },
        inputs={
            "shown": ints([j.shown for j in junctions]),
            "green_s": ints([j.green_s for j in junctions]),
            "rate": per_cell("rate"),
            "rate_of": floats(worth),
            "pass_share": per_cell("passing"),
            "cap_vps": per_stream("cap"),
            "weight": per_stream("weight"),
            "queue_veh": per_stream("queue"),
            "arrival_of": arrival_of,
            "arrival_vps": arrivals,
            "steady_vps": np.zeros(len(arrival_of), np.float32),
            "open_share": per_stream("open"),
            "room_veh": per_stream("room"),
            "refill_vps": per_stream("refill"),
            "allowed": np.array([a for j in junctions for a in j.allowed], np.uint8),
            "plan": plan,
            "plan_weight": floats([j.plan_weight for j in junctions]),
            "ahead_s": ahead_s,
        },
        horizon=horizon,
        stream_ptr=stream_ptr,
    )


def decide(
    junctions: Sequence[Junction],
    rules: Rules | None = None,
    *,
    due: Sequence[int] | None = None,
    threads: int = 1,
    scratch_value: float = np.nan,
) -> Decision:
    """One call of the kernel on inputs it cannot write and memory that holds nonsense."""
    packed = pack(junctions)
    for array in (*packed.tables.values(), *packed.inputs.values()):
        array.flags.writeable = False
    kernel = packed.search(rules or Rules())
    count, stages = len(junctions), len(packed.inputs["allowed"])
    out = Decision(
        np.full(count, -9, np.int32),
        np.full(count, np.nan, np.float32),
        np.full(count, np.nan, np.float32),
        np.full((packed.stream_ptr[-1], packed.horizon), np.nan, np.float32),
        np.full((packed.stream_ptr[-1], packed.horizon), np.nan, np.float32),
        np.full(stages, -9, np.float32),
        np.full(stages, 9, np.uint8),
        np.full(count, -9, np.int32),
        np.full(count, -9, np.int32),
    )
    scratch = np.full((threads, kernel.scratch_size), scratch_value, np.float32)
    which = np.array(range(count) if due is None else due, np.int32)
    kernel.decide(
        which, **packed.inputs, scratch=scratch, threads=threads,
        choice=out.choice, cost=out.cost, keep_cost=out.keep_cost, planned_vps=out.planned_vps,
        wait_s=out.wait_s, stage_cost=out.stage_cost, stage_bound=out.stage_bound,
        extend_s=out.extend_s, next_stage=out.next_stage,
    )  # fmt: skip
    return out


def rows_of(told: np.ndarray, junctions: Sequence[Junction], number: int) -> np.ndarray:
    """One junction's part of what is told by stream and second, as [horizon, streams]."""
    first = sum(padded(j.streams) for j in junctions[:number])
    j = junctions[number]
    return told[first : first + j.streams, : j.horizon].T


def departures(decision: Decision, junctions: Sequence[Junction], number: int) -> np.ndarray:
    """Planned departures of one junction [horizon, streams]."""
    return rows_of(decision.planned_vps, junctions, number)


# ---- random junctions ----

SHARES = (0.0, 0.25, 0.5, 1.0)


@st.composite
def some_junction(draw: st.DrawFn) -> Junction:
    """Two to five streams, one to four stages; all that a junction may have, some of the time.

    The numbers come from a generator that hypothesis seeds: drawn one by one they would take
    longer than the search.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    streams, stages = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    # Some horizons end before the longest extension does.
    horizon = draw(st.sampled_from([20, 25, 30, 37]))
    return random_junction(
        rng,
        streams,
        stages,
        horizon,
        shared=draw(st.booleans()),
        blocked=draw(st.booleans()),
        turns=draw(st.booleans()),
        joined=draw(st.booleans()),
        plan_weight=draw(st.sampled_from([0.0, 0.0, 2.0])),
    )


def random_junction(
    rng: np.random.Generator,
    streams: int,
    stages: int,
    horizon: int,
    *,
    shared: bool = False,
    blocked: bool = False,
    turns: bool = False,
    joined: bool = False,
    plan_weight: float = 0.0,
) -> Junction:
    """``shared`` lanes, ``blocked`` exits, ``turns`` that give way, ``joined`` streams."""
    f = np.float32
    green = rng.random((stages, streams)) < 0.5
    passing = np.where(green, rng.choice(SHARES[2:], (stages, streams)) if shared else 1.0, 0.0)
    rate = np.where(green, rng.choice([0.7, 1.0], (stages, streams)), 0.0)
    shown = int(rng.integers(stages))
    lost_s = rng.integers(1, 6, (stages, stages))
    hold_s = np.where(rng.random((stages, stages)) < 0.3, rng.integers(0, 5, (stages, stages)), 0)
    plan = np.repeat(rng.integers(-1, stages, horizon), 6)[:horizon]
    arrive = np.where(rng.random((horizon, streams)) < 0.3, rng.random((horizon, streams)), 0)
    queue = np.where(rng.random(streams) < 0.7, rng.random(streams) * 12, 0)
    opened = passing[shown] if shared else np.ones(streams)
    room = rng.random(streams) * 8 if blocked else np.full(streams, 1e4)
    allowed = rng.random(stages) < 0.85
    giving_way: list[list[Yield]] = []
    for stage in range(stages):
        rows = []
        for stream in np.flatnonzero(green[stage]).tolist():
            foes = [foe for foe in np.flatnonzero(green[stage]).tolist() if foe != stream]
            if turns and foes and rng.random() < 0.4:
                share = f(rng.choice([0.5, 1.0]) * passing[stage, stream])
                rows.append(Yield(stream, share, foes[: int(rng.integers(1, 3))]))
        giving_way.append(rows)
    inner = []
    if joined:
        # A chain: the second half of the streams stands inside.
        for to in range(streams // 2 + 1, streams):
            source = int(rng.integers(streams // 2))
            inner.append(Inner(source, to, f(rng.choice([0.5, 0.25])), f(1 + 5 * rng.random())))
    return Junction(
        rate=rate.astype(f),
        worth=(rate * passing**2).astype(f),
        passing=passing.astype(f),
        cap=(0.4 + 0.3 * rng.random(streams)).astype(f),
        weight=rng.choice([1.0, 2.0, 0.5], streams).astype(f),
        queue=queue.astype(f),
        open=np.maximum(opened, 0.05).astype(f),
        room=room.astype(f),
        refill=(rng.random(streams) * 0.3 * blocked).astype(f),
        arrive=arrive.astype(f),
        ahead_s=(rng.random((horizon, streams)) * 40).astype(f),
        hold_s=hold_s.astype(np.int32),
        lost_s=lost_s.astype(np.int32),
        min_green_s=rng.integers(1, 10, stages).tolist(),
        decay=f(rng.choice([1.0, np.exp(-1 / 40)])),
        shown=shown,
        green_s=int(rng.integers(0, 30)),
        allowed=allowed.tolist(),
        plan=plan.tolist(),
        plan_weight=plan_weight,
        inner=inner,
        yields=giving_way,
    )


some_rules = st.builds(
    Rules,
    base_every_s=st.sampled_from([1, 4, 5]),
    ahead_share=st.sampled_from([0.0, 0.5]),
    stop_s=st.sampled_from([0.0, 3.0]),
    worth_s=st.sampled_from([5.0, 15.0, 60.0]),
)


@settings(max_examples=100, deadline=None)
@given(junctions=st.lists(some_junction(), min_size=1, max_size=3), rules=some_rules)
def test_rollout_equals_its_twin(junctions: list[Junction], rules: Rules) -> None:
    decision = decide(junctions, rules)
    for number, junction in enumerate(junctions):
        found = slow.search(junction, rules)
        assert decision.cost[number] == pytest.approx(found.best.cost, rel=1e-3, abs=1e-3)
        assert decision.keep_cost[number] == pytest.approx(found.keep.cost, rel=1e-3, abs=1e-3)
        equal = found.near_best(TIE)
        choice = int(decision.choice[number])
        assert choice in {outcome.option.first_move(junction) for outcome in equal}
        assert choice == junction.shown or junction.allowed[choice]
        planned = departures(decision, junctions, number)
        alike = [
            outcome
            for outcome in equal
            if outcome.option.first_move(junction) == choice
            and np.allclose(planned, outcome.gone, rtol=1e-3, atol=1e-3)
        ]
        assert alike
        # A wait jumps where what could leave is just enough: it lies between those of a little
        # less and a little more.
        wait_s = rows_of(decision.wait_s, junctions, number)
        assert any(
            (wait_s >= outcome.wait_s(-1e-3)).all() and (wait_s <= outcome.wait_s(1e-3)).all()
            for outcome in alike
        )


@settings(max_examples=100, deadline=None)
@given(junctions=st.lists(some_junction(), min_size=1, max_size=3), rules=some_rules)
def test_what_was_rejected_costs_what_its_twin_says(
    junctions: list[Junction], rules: Rules
) -> None:
    decision = decide(junctions, rules)
    first = 0
    for number, junction in enumerate(junctions):
        found = slow.search(junction, rules)
        costs, bounds = (
            told[first : first + junction.stages]
            for told in (decision.stage_cost, decision.stage_bound)
        )
        first += junction.stages
        for stage, true in enumerate(found.stage_cost(junction)):
            cost, error = costs[stage], 1e-3 * true + 1e-3
            if stage != junction.shown and not junction.allowed[stage]:
                assert np.isnan(cost)
            elif bounds[stage] == EXACT:
                assert cost == pytest.approx(true, abs=error)
            else:
                assert bounds[stage] == (AT_MOST if stage == junction.shown else AT_LEAST)
                low, high = (true, np.inf) if stage == junction.shown else (-np.inf, true)
                assert low - error <= cost <= high + error
        # What is chosen was played to its end, and nothing that is known costs less.
        choice = int(decision.choice[number])
        assert bounds[choice] == EXACT
        assert costs[choice] == decision.cost[number] == np.nanmin(costs)
        option = slow.Option(
            int(decision.extend_s[number]),
            None if decision.next_stage[number] < 0 else int(decision.next_stage[number]),
        )
        assert option in {outcome.option for outcome in found.near_best(TIE)}
        assert option.first_move(junction) == choice


@settings(max_examples=200, deadline=None)
@given(junctions=st.lists(some_junction(), min_size=1, max_size=3), rules=some_rules)
def test_nobody_is_planned_to_leave_who_is_not_there(
    junctions: list[Junction], rules: Rules
) -> None:
    """At no time have more left a stream than stood there and came, from outside or inside."""
    decision = decide(junctions, rules)
    for number, junction in enumerate(junctions):
        gone = departures(decision, junctions, number).astype(np.float64)
        assert (gone >= 0).all()
        came = junction.queue + np.cumsum(junction.arrive, axis=0, dtype=np.float64)
        within = np.zeros_like(came)
        for inner in junction.inner:
            # What crosses in a second is at the inner line in the next.
            within[1:, inner.to] += inner.share * np.cumsum(gone[:-1, inner.source])
        assert (np.cumsum(gone, axis=0) <= came + within + 1e-3).all()
        # Nor more than the road behind takes.
        got = junction.room + junction.refill * np.arange(junction.horizon)[:, None]
        assert (np.cumsum(gone, axis=0) <= got + 1e-3).all()
        assert (gone <= junction.cap + 1e-6).all()
        assert 0 <= decision.cost[number] <= decision.keep_cost[number]


def many(count: int, seed: int) -> list[Junction]:
    rng = np.random.default_rng(seed)
    return [
        random_junction(
            rng, int(rng.integers(1, 12)), int(rng.integers(1, 7)), int(rng.choice([30, 60, 90])),
            shared=True, blocked=k % 2 == 0, turns=True, joined=k % 3 == 0,
            plan_weight=float(k % 4 == 0),
        )
        for k in range(count)
    ]  # fmt: skip


def same(one: Decision, other: Decision) -> None:
    for field in dataclasses.fields(Decision):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_threads_and_old_memory_change_nothing() -> None:
    """To the last bit: a journal must replay on any machine."""
    junctions = many(60, seed=1)
    once = decide(junctions)
    same(once, decide(junctions, threads=2))
    same(once, decide(junctions, threads=2, scratch_value=1e6))
    backwards = decide(junctions, due=range(len(junctions))[::-1], threads=2)
    same(once, backwards)


def test_a_junction_decides_alone_and_only_when_due() -> None:
    junctions = many(8, seed=2)
    together = decide(junctions)
    some = decide(junctions, due=[1, 5])
    for number, junction in enumerate(junctions):
        if number in (1, 5):
            assert some.choice[number] == together.choice[number]
            assert some.cost[number] == together.cost[number]
            alone = decide([junction])
            assert alone.cost[0] == together.cost[number]
        else:
            assert some.choice[number] == -9
            assert np.isnan(departures(some, junctions, number)).all()


# ---- where the answer is known ----


def two_roads(*, queue: Sequence[float] = (0, 0), horizon: int = 60, **changes: Any) -> Junction:
    """Stage 0 serves stream 0, stage 1 serves stream 1; 0.5 veh/s, 5 s for a change."""
    f = np.float32
    whole = {
        "rate": np.eye(2, dtype=f),
        "worth": np.eye(2, dtype=f),
        "passing": np.eye(2, dtype=f),
        "cap": np.full(2, 0.5, f),
        "weight": np.ones(2, f),
        "queue": np.array(queue, f),
        "open": np.ones(2, f),
        "room": np.full(2, 1e4, f),
        "refill": np.zeros(2, f),
        "arrive": np.zeros((horizon, 2), f),
        "ahead_s": np.zeros((horizon, 2), f),
        "hold_s": np.zeros((2, 2), np.int32),
        "lost_s": np.array([[0, 5], [5, 0]], np.int32),
        "min_green_s": [5, 5],
        "decay": f(1.0),
        "shown": 0,
        "green_s": 20,
        "allowed": [True, True],
        "plan": [-1] * horizon,
    }
    return Junction(**(whole | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("shown", [0, 1])
def test_a_queue_at_red_with_nobody_else_is_served_at_once(shown: int) -> None:
    queue = (0, 6) if shown == 0 else (6, 0)
    junction = two_roads(queue=queue, shown=shown)
    decision = decide([junction])
    assert decision.choice[0] == 1 - shown
    planned = departures(decision, [junction], 0)[:, 1 - shown]
    # Six vehicles at 0.5 a second, after the five seconds of the change.
    np.testing.assert_allclose(planned, [0.0] * 5 + [0.5] * 12 + [0.0] * 43, atol=1e-6)
    # Each second costs what stands: 6 through the change, then less by a half.
    assert decision.cost[0] == pytest.approx(5 * 6 + sum(6 - 0.5 * k for k in range(1, 13)))
    assert decision.keep_cost[0] > decision.cost[0]


def test_an_empty_junction_keeps_its_stage_and_costs_nothing() -> None:
    decision = decide([two_roads()])
    assert decision.choice[0] == 0
    assert decision.cost[0] == decision.keep_cost[0] == 0.0
    assert not decision.planned_vps.any()


def test_a_discharging_queue_is_not_cut_off_for_a_shorter_one() -> None:
    assert decide([two_roads(queue=(8, 1))]).choice[0] == 0
    # A last vehicle is seen off, and then the longer queue's turn has come.
    ends = two_roads(queue=(1, 8))
    planned = departures(decide([ends]), [ends], 0)
    np.testing.assert_allclose(planned[:8, 0], [0.5, 0.5, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(planned[:8, 1], [0, 0, 0, 0, 0, 0, 0, 0.5])


def test_a_platoon_that_is_nearly_there_is_waited_for() -> None:
    """Changing now would stop eight vehicles for the sake of one."""
    junction = two_roads(queue=(0, 1))
    junction.arrive[3:19, 0] = 0.5
    assert decide([junction]).choice[0] == 0
    later = two_roads(queue=(0, 1))
    later.arrive[40:56, 0] = 0.5
    assert decide([later]).choice[0] == 1


def test_a_green_that_cannot_discharge_gets_no_credit() -> None:
    blocked = np.array([1e4, 0], np.float32)
    junction = two_roads(queue=(0, 20), room=blocked)
    decision = decide([junction])
    assert decision.choice[0] == 0
    assert not departures(decision, [junction], 0).any()
    # Nor is it held for a queue that cannot go while another could.
    full_ahead = two_roads(queue=(20, 2), room=np.array([0, 1e4], np.float32))
    assert decide([full_ahead]).choice[0] == 1
    # Where room comes back, it is worth what it lets through.
    refilled = two_roads(queue=(0, 20), room=blocked, refill=np.array([0, 0.4], np.float32))
    assert departures(decide([refilled]), [refilled], 0)[:, 1].sum() <= 0.4 * 60


def test_a_change_gets_no_credit_for_turns_that_find_the_exit_full() -> None:
    f = np.float32
    full = np.zeros(2, f)
    junction = dataclasses.replace(
        opposed(foes=0), open=np.array([0, 1], np.float32), room=full, allowed=[True, True]
    )
    junction = dataclasses.replace(
        junction, rate=np.array([[1, 1], [0, 1]], f), passing=np.array([[1, 1], [0, 1]], f)
    )
    decision = decide([junction])
    assert decision.choice[0] == 0
    assert decision.cost[0] == 60 * 5


def test_a_stage_that_is_not_allowed_is_not_chosen() -> None:
    junction = two_roads(queue=(0, 20), allowed=[True, False])
    decision = decide([junction])
    assert decision.choice[0] == 0
    assert decision.cost[0] == decision.keep_cost[0]
    # The stage that is shown may always go on.
    assert decide([two_roads(queue=(20, 0), allowed=[False, True])]).choice[0] in (0, 1)
    assert decide([two_roads(queue=(20, 0), allowed=[False, False])]).choice[0] == 0


def follow(
    junction: Junction, seconds: int, every_s: int, ask: Callable[[Junction, int], int]
) -> list[tuple[int, int]]:
    """Changes (second, stage) commanded where each first move is carried out by the lamps."""
    stage, since, coming, starts = junction.shown, -junction.green_s, -1, 0
    commands = []
    for second in range(seconds):
        if coming >= 0 and second >= starts:
            stage, since, coming = coming, second, -1
        green_s = second - since
        if coming >= 0 or green_s < junction.min_green_s[stage] or second % every_s:
            continue
        choice = ask(dataclasses.replace(junction, shown=stage, green_s=green_s), second)
        if choice != stage:
            coming, starts = choice, second + int(junction.lost_s[stage, choice])
            commands.append((second, choice))
    return commands


def test_a_plan_that_outweighs_everything_is_followed_exactly() -> None:
    """Traffic begs to differ all the time: it is on the road that has no green."""
    cycle = [0] * 24 + [1] * 16

    def ask(junction: Junction, second: int) -> int:
        wanted = [cycle[(second + t) % len(cycle)] for t in range(60)]
        against = (0, 15) if wanted[0] == 0 else (15, 0)
        now = dataclasses.replace(
            junction, plan=wanted, plan_weight=1e6, queue=np.array(against, np.float32)
        )
        return int(decide([now]).choice[0])

    commands = follow(two_roads(), 200, 2, ask)
    assert commands == [
        (40 * k + at, stage)
        for k in range(5)
        for at, stage in ((0, 0), (24, 1))
        if (k, at) > (0, 0)
    ]


def test_costs_off_the_plan_are_those_of_its_seconds() -> None:
    """Nobody there: keeping a stage for ten seconds too long costs ten times the weight."""
    plan = [0] * 20 + [1] * 40
    ahead = decide([two_roads(plan=plan, plan_weight=3.0)])
    assert ahead.cost[0] == ahead.keep_cost[0] == 0.0
    assert ahead.choice[0] == 0
    late = decide([two_roads(plan=[1] * 60, plan_weight=3.0)])
    assert late.choice[0] == 1
    assert late.cost[0] == 0.0
    # Kept for the two seconds to the next decision, then on the plan again.
    assert late.keep_cost[0] == pytest.approx(2 * 3.0)


def test_what_waits_at_the_next_signal_counts_when_it_leaves() -> None:
    """A queue is held back while the next signal is red, if that wait counts for more."""
    ahead = np.zeros((60, 2), np.float32)
    ahead[:30, 1] = 40.0
    junction = two_roads(queue=(4, 4), ahead_s=ahead)
    free = decide([two_roads(queue=(0, 4), ahead_s=ahead)], Rules(ahead_share=0.0))
    assert free.choice[0] == 1
    counted = decide([junction], Rules(ahead_share=1.0))
    assert counted.choice[0] == 0
    # All that leaves pays, each its own second's wait.
    one_way = two_roads(queue=(4, 0), ahead_s=np.full((60, 2), 10, np.float32), allowed=[1, 0])
    costs = [float(decide([one_way], Rules(ahead_share=a)).cost[0]) for a in (0.0, 0.5)]
    assert costs[1] - costs[0] == pytest.approx(4 * 0.5 * 10)


def test_waits_are_told_as_a_vehicle_would_meet_them() -> None:
    """Two at a red of five seconds: the next to come waits for the change and for both."""
    junction = two_roads(queue=(0, 2))
    wait_s = rows_of(decide([junction]).wait_s, [junction], 0)[:, 1]
    # Five seconds of change, four for the two, and it is half through in the fifth after.
    assert wait_s[0] == 9
    assert (wait_s[1:9] == 9 - np.arange(1, 9)).all()
    assert (wait_s[9:] == 0).all()
    # Who comes to a line that stays red waits past the horizon.
    stays = rows_of(decide([two_roads(allowed=[True, False])]).wait_s, [junction], 0)[:, 1]
    assert stays[0] >= 60


def opposed(*, foes: float, coming_vps: float = 0.0) -> Junction:
    """One stage: stream 0 turns against stream 1, which has priority."""
    junction = two_roads(
        queue=(5, foes),
        rate=np.ones((2, 2), np.float32),
        passing=np.ones((2, 2), np.float32),
        worth=np.ones((2, 2), np.float32),
        open=np.array([1, 1], np.float32),
        yields=[[Yield(0, np.float32(1.0), [1])], []],
        allowed=[True, False],
    )
    junction.arrive[:, 1] = coming_vps
    return junction


def test_a_turn_that_gives_way_waits_for_the_queue_against_it() -> None:
    def gone(junction: Junction) -> np.ndarray:
        return departures(decide([junction]), [junction], 0)[:, 0]

    free, behind = gone(opposed(foes=0)), gone(opposed(foes=10))
    assert free.sum() == pytest.approx(5.0, abs=1e-3)
    assert free[:10].sum() == pytest.approx(5.0, abs=1e-3)
    # The ten need twenty seconds; whoever turns before then was at the front when it began.
    assert behind[:15].sum() < 2.5
    assert behind.sum() == pytest.approx(5.0, abs=0.1)
    # Through a dense stream that never queues there is no gap.
    dense = gone(opposed(foes=0, coming_vps=0.45))
    assert dense.sum() < 0.75 * free.sum()


def test_an_inner_stop_line_takes_what_crosses_the_outer_one_and_no_more_than_fits() -> None:
    junction = two_roads(
        queue=(20, 0), inner=[Inner(0, 1, np.float32(1.0), np.float32(4.0))], allowed=[True, False]
    )
    planned = departures(decide([junction]), [junction], 0)
    # The inner line is at red: four fit before it.
    assert planned[:, 0].sum() == pytest.approx(4.0, abs=1e-3)
    assert planned[:, 1].sum() == 0.0
    both = decide([dataclasses.replace(junction, allowed=[True, True])])
    onward = departures(both, [junction], 0)
    assert onward[:, 1].sum() > 0.0
    assert onward[:, 1].sum() <= onward[:, 0].sum() + 1e-3


def test_an_outer_stop_line_is_free_again_when_the_inner_queue_has_gone() -> None:
    junction = two_roads(
        queue=(20, 4), shown=1, inner=[Inner(0, 1, np.float32(1.0), np.float32(4.0))]
    )
    planned = departures(decide([junction]), [junction], 0)
    # Eight seconds for the four inside, five for the change: then there is room for four.
    assert planned[:, 0].sum() >= 4.0 - 1e-3


def test_while_walkers_clear_the_traffic_beside_them_still_goes() -> None:
    junction = two_roads(queue=(3, 30), hold_s=np.array([[0, 6], [0, 0]], np.int32))
    decision = decide([junction])
    assert decision.choice[0] == 1
    planned = departures(decision, [junction], 0)
    np.testing.assert_allclose(planned[:6, 0], 0.5)
    assert not planned[6:11].any()
    np.testing.assert_allclose(planned[11:20, 1], 0.5)


# ---- the same in plain Python ----


@pytest.mark.parametrize("seed", range(12))
def test_plain_python_finds_what_the_twin_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    junction = random_junction(
        rng, int(rng.integers(2, 7)), int(rng.integers(2, 5)), int(rng.choice([20, 30, 45])),
        shared=seed % 2 == 0, blocked=seed % 3 == 0, turns=seed % 4 < 2, joined=seed % 5 < 2,
        plan_weight=2.0 * (seed % 6 == 5),
    )  # fmt: skip
    rules = Rules(ahead_share=0.5 * (seed % 2))
    found = slow.search(junction, rules)
    stage, cost = search_plain(junction, rules)
    assert cost == pytest.approx(found.best.cost, rel=1e-3)
    # Where only one first move is near the best, this is it.
    assert stage in {o.option.first_move(junction) for o in found.near_best(1e-3)}
