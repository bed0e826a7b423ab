"""Turns that give way and find no gap: when they are held, and what waits for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import networks
from tests.stream_cases import giving_way, plain_junction, seen, sharing, stage_rows, worth_row
from topis.control.held import FLOWS, HELD_RATE, PROVEN_S, SERVES, HeldTurns
from topis.control.streams import (
    Rates,
    Streams,
    compile_streams,
    stream_rates,
    yielding,
)
from topis.control.waiting import Waiting
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState
from topis.units import MS_PER_S

#: Lane 1 gives way to lane 0 in the first stage, goes alone in the second, stands in the third.
TURN_STAGES = ("Gg", "rG", "Gr")
MEETING, ALONE, RED = range(3)
TURN = 1
WHOLE_M = 200.0
FULL_SHARE = 0.9


# ---- networks and states ----


def turning(*stages: str) -> Network:
    """One junction in which lane 1 gives way to every other lane."""
    network = networks.build([plain_junction(*stages)])
    return giving_way(network, {TURN: [k for k in range(len(stages[0])) if k != TURN]})


class Turns:
    """`HeldTurns` of a network, tick by tick, and what its rates should be."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.streams = compile_streams(network, 1.0)
        self.free = stream_rates(network, self.streams)
        self.turns = HeldTurns(network, self.streams, stream_rates(network, self.streams))
        stage, stream = yielding(network, self.streams)
        self.yields = set(zip(stage.tolist(), stream.tolist(), strict=True))

    def tick(
        self, stage: int, queue_veh: float = 5.0, flowing: float = 0.0, green_s: int = 10
    ) -> bool:
        """Whether the turn of a lone junction is held after a tick in which ``stage`` is shown."""
        state = seen(self.network, {TURN: queue_veh}, {TURN: flowing})
        return self.update(state, [stage], [green_s]) == {TURN}

    def update(
        self,
        state: TrafficState,
        local: list[int],
        green_s: list[int],
        changing: int | None = None,
    ) -> set[int]:
        """The streams that are held after a tick."""
        steady = np.ones(len(local), dtype=bool)
        if changing is not None:
            steady[changing] = False
        self.turns.update(state, np.array(local, np.int32), np.array(green_s, np.int32), steady)
        return set(np.flatnonzero(self.turns.held).tolist())

    def check_rates(self) -> None:
        """Cut where a stream that is held gives way, otherwise just as compiled."""
        held, network, streams = self.turns.held, self.network, self.streams
        np.testing.assert_array_equal(self.turns.rates.pass_share, self.free.pass_share)
        for stage in range(network.stages):
            first, last = streams.stream_ptr[network.stage_junction[stage] :][:2].tolist()
            cut = [(stage, k) in self.yields and bool(held[k]) for k in range(first, last)]
            factor = np.where(cut, np.float32(HELD_RATE), np.float32(1.0))
            for row in (rate_row, worth_row):
                now = row(network, streams, self.turns.rates, stage)
                free = row(network, streams, self.free, stage)
                np.testing.assert_array_equal(now, free * factor)


def rate_row(network: Network, streams: Streams, rates: Rates, stage: int) -> np.ndarray:
    return stage_rows(network, streams, rates, stage)[0]


# ---- turns that are held ----


def test_a_turn_that_finds_no_gap_is_held() -> None:
    turns = Turns(turning(*TURN_STAGES))
    assert turns.tick(MEETING)
    turns.check_rates()
    rate = rate_row(turns.network, turns.streams, turns.turns.rates, MEETING)
    assert rate[0] == 1.0
    assert 0.0 < rate[TURN] < SERVES


@pytest.mark.parametrize(
    ("stage", "queue_veh", "flowing"),
    [
        (ALONE, 5.0, 0.0),
        (RED, 5.0, 0.0),
        (MEETING, 0.9, 0.0),
        (MEETING, np.nan, 0.0),
        (MEETING, 5.0, FLOWS),
        (MEETING, 5.0, 1.0),
    ],
)
def test_a_turn_is_not_held_by_red_nor_without_a_queue_nor_while_it_flows(
    stage: int, queue_veh: float, flowing: float
) -> None:
    turns = Turns(turning(*TURN_STAGES))
    assert not turns.tick(stage, queue_veh, flowing, green_s=0)
    turns.check_rates()


@pytest.mark.parametrize(("queue_veh", "flowing"), [(1.0, 0.0), (5.0, FLOWS - 0.01)])
def test_a_turn_is_held_from_one_vehicle_on_that_hardly_flows(
    queue_veh: float, flowing: float
) -> None:
    assert Turns(turning(*TURN_STAGES)).tick(MEETING, queue_veh, flowing)


@pytest.mark.parametrize(
    ("stages", "held"),
    [
        (("Gg", "rG"), True),
        # Green without priority, but nobody comes to whom it would give way.
        (("Gg", "rg"), True),
        (("GgG", "GgG", "rGr"), True),
        (("GgGGG", "rGrrr"), True),
        # It gives way wherever it goes, or goes nowhere else.
        (("Gg",), False),
        (("Gg", "Gr"), False),
        (("GgG", "Ggr", "rgG"), False),
    ],
)
def test_a_turn_is_held_only_if_another_stage_would_serve_it(
    stages: tuple[str, ...], held: bool
) -> None:
    """In whatever order: the first stage may be its own as well as the last."""
    for order in (stages, stages[::-1]):
        turns = Turns(turning(*order))
        assert turns.tick(order.index(stages[0])) == held
        turns.check_rates()


@pytest.mark.parametrize(("share", "held"), [(0.3, False), (0.6, True)])
def test_a_stage_in_which_few_of_a_lane_may_go_is_no_help_to_it(share: float, held: bool) -> None:
    """The first connection of a shared lane gives way to lane 2 and has an arrow besides."""
    network = networks.build([plain_junction("grG", "Grr")])
    network = giving_way(sharing(network, share), {0: [2]})
    turns = Turns(network)
    state = seen(network, {0: 5.0}, {0: 0.0})
    assert turns.update(state, [0], [10]) == ({0} if held else set())


def test_the_rate_is_cut_in_every_stage_where_a_turn_gives_way_and_restored() -> None:
    turns = Turns(turning("GgG", "Ggr", "rGr"))
    assert turns.tick(0)
    turns.check_rates()
    rates = turns.turns.rates
    for row in (rate_row, worth_row):
        now, free = (
            np.array([row(turns.network, turns.streams, r, s)[TURN] for s in range(3)])
            for r in (rates, turns.free)
        )
        assert (free > 0.0).all()
        np.testing.assert_allclose(now / free, [HELD_RATE, HELD_RATE, 1.0])
    assert not turns.tick(2, green_s=PROVEN_S)
    np.testing.assert_array_equal(rates.rate, turns.free.rate)
    np.testing.assert_array_equal(rates.rate_of, turns.free.rate_of)


@pytest.mark.parametrize("stage", [MEETING, ALONE, RED])
@pytest.mark.parametrize("queue_veh", [0.0, 0.9, np.nan])
def test_a_turn_is_let_go_once_nobody_stands_there(stage: int, queue_veh: float) -> None:
    turns = Turns(turning(*TURN_STAGES))
    assert turns.tick(MEETING)
    assert not turns.tick(stage, queue_veh, green_s=0)
    turns.check_rates()


@pytest.mark.parametrize("flowing", [0.0, 1.0])
def test_a_turn_is_let_go_after_some_green_of_its_own_and_not_before(flowing: float) -> None:
    turns = Turns(turning(*TURN_STAGES))
    assert turns.tick(MEETING)
    for green_s in range(PROVEN_S):
        assert turns.tick(ALONE, flowing=flowing, green_s=green_s)
        turns.check_rates()
    assert not turns.tick(ALONE, flowing=flowing, green_s=PROVEN_S)
    turns.check_rates()
    # Back where it gives way, it is held again just if it still does not flow.
    assert turns.tick(MEETING, flowing=flowing, green_s=0) == (flowing < FLOWS)


@pytest.mark.parametrize("stage", [MEETING, RED])
def test_a_turn_stays_held_until_then_though_it_seems_to_flow(stage: int) -> None:
    """At red nothing shows that a lane is blocked: the estimate recovers by itself."""
    turns = Turns(turning(*TURN_STAGES))
    assert turns.tick(MEETING)
    for green_s in range(0, 120, 5):
        assert turns.tick(stage, flowing=1.0, green_s=green_s)
    turns.check_rates()


def test_a_green_elsewhere_lets_nobody_go() -> None:
    """Two junctions, of which each shows stages and counts seconds of its own."""
    network = networks.build([plain_junction("Gg", "rG"), plain_junction("Ggr", "rrG", "rGr")])
    network = giving_way(network, {1: [0], 3: [2]})
    turns = Turns(network)
    lanes = {int(turns.streams.lane[k]): k for k in range(len(turns.streams))}
    first, second = lanes[1], lanes[4]
    assert network.approach_lanes.tolist() == [0, 1, 3, 4, 5]
    state = seen(network, {1: 5.0, 4: 5.0}, {1: 0.0, 4: 0.0})
    assert turns.update(state, [0, 1], [10, 10]) == {first}
    assert turns.update(state, [0, 0], [10, 10]) == {first, second}
    turns.check_rates()
    assert turns.update(state, [1, 2], [PROVEN_S - 1, PROVEN_S]) == {first}
    turns.check_rates()
    assert turns.update(state, [1, 2], [PROVEN_S, 0]) == set()
    turns.check_rates()


def test_an_arrow_for_a_few_of_a_lane_does_not_release_it() -> None:
    """Stage 1 lets a tenth of the shared lane go: its front may not be of them."""
    network = networks.build([plain_junction("grG", "rGr", "Grr")])
    turns = Turns(giving_way(sharing(network, 0.9), {0: [2]}))
    state = seen(network, {0: 5.0}, {0: 0.0})
    assert turns.update(state, [0], [10]) == {0}
    assert turns.update(state, [1], [PROVEN_S]) == {0}


def test_a_green_that_is_ending_proves_nothing() -> None:
    network = networks.build([plain_junction("grG", "Grr")])
    turns = Turns(giving_way(network, {0: [2]}))
    state = seen(network, {0: 5.0}, {0: 0.0})
    assert turns.update(state, [0], [10]) == {0}
    assert turns.update(state, [1], [PROVEN_S], changing=0) == {0}
    assert turns.update(state, [1], [PROVEN_S]) == set()


# ---- turns of any network ----


@st.composite
def any_network(draw: st.DrawFn) -> Network:
    """Up to three junctions whose connections give way to all or some others of their own.

    Few stage tables drawn at random have a turn with a stage of its own: some are given one.
    """
    helped = st.permutations(TURN_STAGES).map(lambda stages: plain_junction(*stages))
    junctions = st.lists(st.one_of(helped, networks.junctions()), min_size=1, max_size=3)
    network = networks.build(draw(junctions))
    junction_of = network.group_junction[network.conn_group]
    foes = {}
    for conn in range(len(network.conn_to_lane)):
        others = np.flatnonzero(junction_of == junction_of[conn])
        others = others[others != conn]
        if len(others):
            some = st.lists(st.sampled_from(others.tolist()), unique=True)
            foes[conn] = draw(st.one_of(st.just(others.tolist()), some))
    return giving_way(network, foes)


def any_tick(
    data: st.DataObject, network: Network, flowing: list[float]
) -> tuple[TrafficState, list[int], list[int]]:
    """A state, and the stage that each junction shows and for how long.

    Every other time a queue stands on all lanes and flows least of what it may.
    """
    lanes = range(network.lanes)
    queue_veh, flows = dict.fromkeys(lanes, 7.0), dict.fromkeys(lanes, flowing[0])
    if data.draw(st.booleans()):
        queues = st.sampled_from([7.0, 1.0, 0.9, 0.0, np.nan])
        queue_veh = {lane: data.draw(queues) for lane in lanes}
        flows = {lane: data.draw(st.sampled_from(flowing)) for lane in lanes}
    stages = np.diff(network.junction_stage_ptr).tolist()
    local = [data.draw(st.integers(0, count - 1)) for count in stages]
    green_s = [data.draw(st.integers(0, 2 * PROVEN_S)) for _ in stages]
    return seen(network, queue_veh, flows), local, green_s


@settings(max_examples=80, deadline=None)
@given(data=st.data(), network=any_network())
def test_turns_held_in_any_network_are_those_told_by_the_rules(
    data: st.DataObject, network: Network
) -> None:
    turns = Turns(network)
    streams, yields = turns.streams, turns.yields
    low = network.junction_stage_ptr[:-1].tolist()
    serves = {
        (stage, k)
        for stage in range(network.stages)
        for k in range(len(streams))
        if streams.junction[k] == network.stage_junction[stage]
        and rate_row(network, streams, turns.free, stage)[
            k - streams.stream_ptr[network.stage_junction[stage]]
        ]
        > 0.0
    }
    own = {k for _, k in serves - yields}
    held: set[int] = set()
    for _ in range(data.draw(st.integers(2, 8))):
        state, local, green_s = any_tick(data, network, [0.0, 0.29, 0.3, 1.0])
        for k in np.flatnonzero(streams.lane >= 0).tolist():
            lane, junction = streams.lane[k], streams.junction[k]
            now = (low[junction] + local[junction], k)
            if not state.queue_veh[lane] >= 1.0:
                held.discard(k)
            elif now in yields and k in own and state.flowing[lane] < np.float32(FLOWS):
                held.add(k)
            elif now in serves - yields and green_s[junction] >= PROVEN_S:
                held.discard(k)
        assert turns.update(state, local, green_s) == held
        turns.check_rates()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), network=any_network())
def test_while_all_lanes_flow_nothing_is_held(data: st.DataObject, network: Network) -> None:
    turns = Turns(network)
    for _ in range(3):
        tick = any_tick(data, network, [FLOWS, 0.6, 1.0])
        assert turns.update(*tick) == set()
        np.testing.assert_array_equal(turns.turns.rates.rate, turns.free.rate)
        np.testing.assert_array_equal(turns.turns.rates.rate_of, turns.free.rate_of)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), junctions=st.lists(networks.junctions(), min_size=1, max_size=3))
def test_where_nobody_gives_way_nothing_is_held(
    data: st.DataObject, junctions: list[networks.Junction]
) -> None:
    network = networks.build(junctions)
    turns = Turns(network)
    assert not turns.yields
    for _ in range(3):
        assert turns.update(*any_tick(data, network, [0.0])) == set()
        turns.check_rates()


# ---- who waits while held ----

LIMIT_S = 30


class Junction:
    """`Waiting` at a lone junction, second by second."""

    def __init__(self, *stages: str) -> None:
        self.network = turning(*stages)
        self.turns = Turns(self.network)
        self.waiting = Waiting(
            self.network, self.turns.streams, self.turns.turns, LIMIT_S, 10.0 * LIMIT_S
        )
        self.time_s = 0

    def show(
        self, stage: int, seconds: int, flowing: float = 0.0, coming: int = -1
    ) -> list[list[int]]:
        """The stages allowed after each second in which ``stage`` is shown."""
        allowed = []
        codes = self.network.stage_codes(stage)
        since = np.full(len(codes), self.time_s * MS_PER_S, np.int64)
        signals = SignalState(
            stage=np.array([stage], np.int32),
            coming=np.array([coming], np.int32),
            since_ms=since[:1],
            group_code=codes,
            group_since_ms=since,
        )
        for green_s in range(seconds):
            state = seen(self.network, {TURN: 3.0}, {TURN: flowing}, self.time_s)
            self.turns.update(state, [stage], [green_s])
            self.waiting.update(state, signals, np.array([stage], np.int32))
            allowed.append(self.waiting.allowed().tolist())
            self.time_s += 1
        return allowed


def test_a_turn_that_is_held_waits_though_it_has_green() -> None:
    """The first second starts the clock; one that goes beyond the limit is overdue."""
    allowed = Junction(*TURN_STAGES).show(MEETING, LIMIT_S + 5)
    assert allowed[: LIMIT_S + 1] == [[1, 1, 1]] * (LIMIT_S + 1)
    assert allowed[LIMIT_S + 1 :] == [[0, 1, 0]] * 4


def test_it_goes_on_waiting_at_red_and_through_the_change_until_it_is_served() -> None:
    junction = Junction(*TURN_STAGES)
    shown = [
        *junction.show(MEETING, 10),
        *junction.show(RED, 15, flowing=1.0),
        *junction.show(MEETING, 10, flowing=1.0, coming=ALONE),
    ]
    assert shown[: LIMIT_S + 1] == [[1, 1, 1]] * (LIMIT_S + 1)
    assert shown[LIMIT_S + 1 :] == [[0, 1, 0]] * 4
    assert junction.show(ALONE, 2, coming=MEETING) == [[0, 1, 0]] * 2
    # Served at last: the clock starts anew, and it is no longer held.
    assert junction.show(ALONE, PROVEN_S + 1) == [[1, 1, 1]] * (PROVEN_S + 1)
    assert not junction.turns.turns.held.any()
    assert junction.show(MEETING, 3 * LIMIT_S, flowing=1.0) == [[1, 1, 1]] * (3 * LIMIT_S)


def test_a_turn_that_flows_is_served_where_it_gives_way() -> None:
    shown = Junction(*TURN_STAGES).show(MEETING, 3 * LIMIT_S, flowing=FLOWS)
    assert shown == [[1, 1, 1]] * (3 * LIMIT_S)


@pytest.mark.parametrize("stage", [0, 1])
def test_a_turn_that_no_stage_would_help_is_never_overdue(stage: int) -> None:
    """What blocks it is not the signal: to serve it would only hold up others."""
    assert Junction("Gg", "Gr").show(stage, 3 * LIMIT_S) == [[1, 1]] * (3 * LIMIT_S)


def test_a_turn_that_is_blocked_at_red_is_no_turn_that_is_held() -> None:
    junction = Junction(*TURN_STAGES)
    assert junction.show(RED, 3 * LIMIT_S) == [[1, 1, 1]] * (3 * LIMIT_S)
    # But one that flows there is overdue in its time, and either green would do.
    assert junction.show(RED, LIMIT_S + 2, flowing=1.0)[-1] == [1, 1, 0]
