"""What controllers say of their own answers, and the file that keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import networks
from tests.stream_cases import pair_in_a_row, plain_junction
from tests.test_cosmos import traffic
from topis.control.actuated import Actuated
from topis.control.adaptive import Adaptive, AdaptiveSettings
from topis.control.max_pressure import MaxPressure, MaxPressureSettings
from topis.control.protocol import Explains, Reasons, Why
from topis.control.registry import controller_names, make_controller
from topis.model.network import Network
from topis.model.state import SignalState
from topis.run.advising import ReasonLog


@st.composite
def some_answers(draw: st.DrawFn) -> list[tuple[np.ndarray, np.ndarray, Reasons]]:
    """(shown, wanted, reasons) of some ticks at three junctions of 2, 1 and 3 stages."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ticks = []
    for _ in range(draw(st.integers(0, 8))):
        value = np.where(rng.random(6) < 0.3, np.nan, rng.random(6)).astype(np.float32)
        reasons = Reasons(
            rng.integers(0, 3, 3).astype(np.uint8), rng.random(3) < 0.5,
            rng.integers(-1, 6, 3).astype(np.int32), rng.integers(0, 9, 3).astype(np.int32),
            value, rng.integers(0, 3, 6).astype(np.uint8),
        )  # fmt: skip
        ticks.append((rng.integers(-1, 2, 3), rng.integers(0, 2, 3), reasons))
    return ticks


def rows_by_hand(
    network: Network, answers: list[tuple[np.ndarray, np.ndarray, Reasons]]
) -> Iterator[dict[str, Any]]:
    last: dict[int, tuple[int, ...]] = {}
    for tick, (shown, wanted, reasons) in enumerate(answers):
        for j in range(network.junctions):
            answer = (int(shown[j]), int(wanted[j]), int(reasons.why[j]))
            weighed = bool(reasons.weighed[j])
            if not weighed and last.get(j) == answer:
                continue
            last[j] = answer
            low, high = network.junction_stage_ptr[j : j + 2].tolist()
            stages = [s for s in range(low, high) if weighed and not np.isnan(reasons.value[s])]
            yield {
                "time_ms": 1000 * tick,
                "junction": j,
                **dict(zip(("shown", "wanted", "why"), answer, strict=True)),
                "next_stage": int(reasons.next_stage[j]) if weighed else -1,
                "extend_s": int(reasons.extend_s[j]) if weighed else -1,
                "stage": stages,
                "value": [float(reasons.value[s]) for s in stages],
                "bound": [int(reasons.bound[s]) for s in stages],
            }


@settings(max_examples=60, deadline=None)
@given(answers=some_answers())
def test_reasons_are_read_as_they_were_given(
    answers: list[tuple[np.ndarray, np.ndarray, Reasons]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    network = networks.build(
        [plain_junction("Gr", "rG"), plain_junction("G"), plain_junction("Grr", "rGr", "rrG")]
    )
    path = tmp_path_factory.mktemp("log") / "reasons.parquet"
    log = ReasonLog(path, network)
    for tick, (shown, wanted, reasons) in enumerate(answers):
        log.add(1000 * tick, shown.astype(np.int32), wanted.astype(np.int32), reasons)
    log.close()
    assert pq.read_table(path).to_pylist() == list(rows_by_hand(network, answers))


def showing(network: Network, *, stage: int, green_s: int, now_s: int) -> SignalState:
    """Junctions that have shown a stage of theirs for a while; -1: between stages."""
    first = network.junction_stage_ptr[:-1]
    return SignalState(
        stage=(first + stage if stage >= 0 else np.full_like(first, -1)),
        coming=(np.full_like(first, -1) if stage >= 0 else first.copy()),
        since_ms=np.full(network.junctions, 1000 * (now_s - green_s), np.int64),
        group_code=np.zeros(network.groups, np.uint8),
        group_since_ms=np.zeros(network.groups, np.int64),
    )


def test_every_controller_is_known_to_explain_or_not() -> None:
    network = networks.build([plain_junction("Gr", "rG")])
    explain = {n for n in controller_names() if isinstance(make_controller(n, network), Explains)}
    assert explain == {"adaptive", "city", "max-pressure", "actuated"}


@pytest.mark.parametrize(
    ("expected", "stage", "green_s", "confidence", "free"),
    [
        (Why.LEAST_COST, 0, 40, 1.0, 1.0),
        (Why.AROUND_PLAN, 0, 40, 1.0, 0.0),
        (Why.MIN_GREEN, 0, 1, 1.0, 1.0),
        (Why.CHANGING, -1, 40, 1.0, 1.0),
        (Why.BY_GAPS, 0, 40, 0.1, 1.0),
    ],
)
def test_adaptive_says_what_decided(
    expected: Why, stage: int, green_s: int, confidence: float, free: float
) -> None:
    network = networks.build([plain_junction("GGrr", "rrGG")])
    adaptive = Adaptive(network, AdaptiveSettings(free=free))
    state = traffic(network, 100_000, 0.1, 3.0)
    state.confidence[:] = confidence
    adaptive.decide(state, showing(network, stage=stage, green_s=green_s, now_s=100))
    reasons = adaptive.reasons()
    assert Why(int(reasons.why[0])) == expected
    assert reasons.weighed[0] == (expected in (Why.LEAST_COST, Why.AROUND_PLAN))


@pytest.mark.parametrize(("confidence", "known"), [(1.0, True), (0.1, False)])
def test_who_goes_by_gaps_tells_its_neighbours_no_plan(confidence: float, known: bool) -> None:
    """What waits at the first of two junctions is news to the second only if it is seen."""
    network = pair_in_a_row()
    costs = []
    for queue_veh in (2.0, 12.0):
        adaptive = Adaptive(network, AdaptiveSettings(free=1.0))
        for second in range(4):
            state = traffic(network, 1000 * second, 0.1, 3.0)
            state.confidence[:3] = confidence
            state.queue_veh[0] = queue_veh
            state.vehicles_veh[:] = state.queue_veh
            signals = showing(network, stage=0, green_s=40, now_s=second)
            # Who comes from the first finds red at the second.
            signals.stage[1] += 1
            adaptive.decide(state, signals)
        reasons = adaptive.reasons()
        assert reasons.weighed.tolist() == [known, True]
        costs.append(reasons.value[network.stage_junction == 1].tolist())
    assert all(cost > 0.0 for cost in costs[0])
    assert (costs[0] != costs[1]) == known


def test_who_goes_by_gaps_means_nothing_it_meant_before() -> None:
    network = networks.build([plain_junction("GGrr", "rrGG")])
    adaptive = Adaptive(network, AdaptiveSettings(free=1.0))
    following = []
    for second, confidence in enumerate((1.0, 0.1)):
        state = traffic(network, 1000 * second, 0.1, 3.0)
        state.vehicles_veh[:] = state.queue_veh
        state.confidence[:] = confidence
        adaptive.decide(state, showing(network, stage=0, green_s=40, now_s=second))
        following.append(int(adaptive.reasons().next_stage[0]))
    assert following[0] >= 0
    assert following[1] == -1


def test_the_longest_wait_is_named_as_the_reason() -> None:
    network = networks.build([plain_junction("GGrr", "rrGG")])
    lanes = network.approach_lanes
    adaptive, pressure = Adaptive(network, AdaptiveSettings(free=1.0)), MaxPressure(network)
    for second in range(0, 200, 5):
        # At red one vehicle a lane, against long queues that have green.
        state = traffic(network, 1000 * second, 0.1)
        state.queue_veh[lanes] = state.vehicles_veh[lanes] = [30, 30, 1, 1]
        signals = showing(network, stage=0, green_s=second + 60, now_s=second)
        adaptive.decide(state, signals)
        late = second > AdaptiveSettings().max_wait_s
        assert adaptive.reasons().why[0] == (Why.OVERDUE if late else Why.LEAST_COST)
        stage = pressure.decide(state, signals).stage[0]
        late = second > MaxPressureSettings().max_wait_s
        assert pressure.reasons().why[0] == (Why.OVERDUE_FIRST if late else Why.PRESSURE)
        assert stage == late


def test_actuated_says_gap_and_max_and_that_nobody_waits() -> None:
    network = networks.build([plain_junction("GGrr", "rrGG")])
    lanes = network.approach_lanes

    def asked(gap_s: float, waiting: float, green_s: int) -> Why:
        actuated = Actuated(network)
        state = traffic(network, 200_000, 0.1)
        state.gap_s[lanes] = gap_s
        state.vehicles_veh[lanes[2:]] = waiting
        actuated.decide(state, showing(network, stage=0, green_s=green_s, now_s=200))
        return Why(int(actuated.reasons().why[0]))

    assert asked(1.0, 2.0, 20) == Why.EXTENDED
    assert asked(1.0, 2.0, 150) == Why.MAX_GREEN
    assert asked(9.0, 2.0, 20) == Why.GAP
    assert asked(9.0, 0.0, 20) == Why.NO_CALL
    assert asked(9.0, 2.0, 1) == Why.MIN_GREEN
