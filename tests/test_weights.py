"""What a vehicle in a queue counts for where its lane fills."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import networks
from tests.scenario_files import make_net
from tests.stream_cases import joined, pair_in_a_row, turned
from topis.control.streams import Streams, compile_streams, pocket_lanes
from topis.control.weights import POCKET_FROM, SPILL_FROM, QueueWeights
from topis.ingest.network_file import load_network
from topis.model.feeds import find_lane_feeds
from topis.model.network import BUS_ONLY, Network
from topis.units import JAM_SPACING_M

BUS_WEIGHT = 10.0


def queue_weights(network: Network, spill: float, pocket: float) -> tuple[Streams, QueueWeights]:
    streams = compile_streams(network, 1.0)
    feeds = find_lane_feeds(network)
    return streams, QueueWeights(network, streams, feeds, BUS_WEIGHT, spill, pocket)


#: Lanes of the small networks are 200 m.
FULL_VEH = 200.0 / JAM_SPACING_M


def weights(network: Network, fill: float, spill: float = 2.0) -> dict[tuple[str, int], float]:
    """Weight of each ("lane", number) and ("walk", group) with every lane filled so far."""
    streams, kept = queue_weights(network, spill, 0.0)
    queue_veh = (fill * network.lane_length_m / JAM_SPACING_M).astype(np.float32)
    never = np.zeros(len(streams), dtype=bool)
    found = kept.update(queue_veh, never, ~never)
    assert found.dtype == np.float32
    assert (found[(streams.lane < 0) & (streams.walk < 0)] == 0.0).all()
    kinds = {"lane": streams.lane, "walk": streams.walk}
    return {
        (kind, int(number[k])): float(found[k])
        for kind, number in kinds.items()
        for k in np.flatnonzero(number >= 0).tolist()
    }


@pytest.mark.parametrize(
    ("fill", "more"),
    [(0.0, 0.0), (0.5, 0.0), (SPILL_FROM, 0.0), (0.85, 0.25), (0.9, 0.5), (1.0, 1.0), (3.0, 1.0)],
)
@pytest.mark.parametrize("spill", [0.0, 2.0, 5.0])
def test_a_queue_that_fills_a_lane_fed_by_a_signal_weighs_more(
    fill: float, more: float, spill: float
) -> None:
    found = weights(pair_in_a_row(), fill, spill)
    assert found.pop(("lane", 3)) == pytest.approx(1.0 + spill * more, rel=1e-5)
    # The other lanes come from outside: nobody is held up behind them.
    assert len(found) == 5
    assert set(found.values()) == {1.0}


def test_a_queue_that_fills_a_pocket_weighs_more(tmp_path: Path) -> None:
    """Turn bays and the lanes beside them part from the lanes of the road before."""
    bays = make_net(tmp_path, "--turn-lanes", 1, "--turn-lanes.length", 70, columns=2, rows=2)
    network = load_network(bays).network
    pocket = pocket_lanes(network)
    assert pocket.any()
    # They are short, and the road before them has a lane less.
    assert (network.lane_length_m[pocket] < 80).all()
    lanes = np.diff(network.link_lane_ptr)
    before = network.move_from_link[np.isin(network.move_to_link, network.lane_link[pocket])]
    assert lanes[before].max() < lanes[network.lane_link[pocket]].max()
    (tmp_path / "plain").mkdir()
    assert not pocket_lanes(load_network(make_net(tmp_path / "plain")).network).any()
    streams, kept = queue_weights(network, 0.0, 4.0)
    never = np.zeros(len(streams), dtype=bool)
    room_veh = np.maximum(network.lane_length_m / JAM_SPACING_M, 1.0).astype(np.float32)
    lane = np.flatnonzero(streams.lane >= 0)
    in_pocket = pocket[streams.lane[lane]]
    for fill, more in ((0.0, 0.0), (POCKET_FROM, 0.0), ((1 + POCKET_FROM) / 2, 0.5), (1.5, 1.0)):
        found = kept.update(np.float32(fill) * room_veh, never, ~never)[lane]
        assert found[in_pocket] == pytest.approx(1.0 + 4.0 * more, rel=1e-5)
        assert (found[~in_pocket] == 1.0).all()
    # Full at red it weighs so much until it has emptied at green, then as it is; a lane without
    # green, and one that keeps to a plan, weigh what they hold.
    for fill, green, free, more in (
        (1.0, never, ~never, 4.0), (0.4, ~never, ~never, 4.0), (0.4, ~never, never, 0.0),
        (0.0, ~never, ~never, 0.0), (0.65, ~never, ~never, 2.0),
        (1.0, never, ~never, 4.0), (POCKET_FROM, never, ~never, 0.0),
    ):  # fmt: skip
        found = kept.update(np.float32(fill) * room_veh, green, free)[lane]
        assert found[in_pocket] == pytest.approx(1.0 + more, rel=1e-5)


@pytest.mark.parametrize(("bay_m", "more"), [(30, 0.0), (70, 4.0)])
def test_a_road_that_grows_wider_at_its_stop_line_has_no_pockets(
    tmp_path: Path, bay_m: int, more: float
) -> None:
    bays = make_net(tmp_path, "--turn-lanes", 1, "--turn-lanes.length", bay_m, columns=2, rows=2)
    network = load_network(bays).network
    streams, kept = queue_weights(network, 0.0, 4.0)
    full_veh = (network.lane_length_m / JAM_SPACING_M).astype(np.float32)
    never = np.zeros(len(streams), dtype=bool)
    lane = np.flatnonzero(streams.lane >= 0)
    short = pocket_lanes(network)[streams.lane[lane]]
    assert short.any()
    assert kept.update(full_veh, never, ~never)[lane][short] == pytest.approx(1.0 + more)


@given(fills=st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 2.0)))
@settings(max_examples=30, deadline=None)
def test_the_weight_never_falls_with_the_queue(fills: tuple[float, float]) -> None:
    less, more = (weights(pair_in_a_row(), fill)["lane", 3] for fill in sorted(fills))
    assert 1.0 <= less <= more <= 3.0


def test_crossings_and_padding_do_not_pass_for_the_first_lane() -> None:
    """They have no lane; lane 0 stands in for it, here one that is fed."""
    pair = networks.build([networks.crossroads(), networks.crossroads()])
    found = weights(turned(pair, {2: 0}), 1.0)
    assert found.pop(("lane", 0)) == pytest.approx(3.0)
    assert set(found.values()) == {1.0}


def test_a_full_lane_inside_a_junction_weighs_more_and_a_short_one_does_not() -> None:
    """Others lead to lane 2 alone; a lane of a few places is the end of a longer road."""
    assert weights(joined(), 1.0) == {("lane", 0): 1.0, ("lane", 1): 1.0, ("lane", 2): 3.0}
    assert set(weights(joined(inner_m=30.0), 1.0).values()) == {1.0}


def test_a_bus_lane_that_fills_weighs_more_than_a_bus_lane() -> None:
    network = pair_in_a_row()
    use = network.lane_use.copy()
    use[3] = BUS_ONLY
    network = dataclasses.replace(network, lane_use=use)
    bus = BUS_WEIGHT
    assert weights(network, 0.0)["lane", 3] == bus
    assert weights(network, 1.0)["lane", 3] == pytest.approx(3.0 * bus)
