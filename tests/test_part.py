"""Parts of a network: what is cut out is as it was, and ends where it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topis.config import LAYOUTS
from topis.ingest.synth_city import make_city
from topis.model.feeds import find_lane_feeds
from topis.model.network import Network
from topis.model.part import adjacent, cut, with_neighbours
from topis.run.streets import link_owners


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("part")
    return make_city(folder, 0.003, 1, LAYOUTS["seoul"], None).network


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_junction_is_the_same_in_any_part(network: Network, data: st.DataObject) -> None:
    some = data.draw(st.sets(st.integers(0, network.junctions - 1), min_size=1))
    junctions = np.array(sorted(some), dtype=np.int32)
    part = cut(network, junctions)
    part.network.validate()
    assert part.junctions.tolist() == junctions.tolist()
    for new, old in enumerate(junctions.tolist()):
        assert part.network.junction_ids[new] == network.junction_ids[old]
        assert _signals(part.network, new) == _signals(network, old)
        assert _connections(part.network, new) == _connections(network, old)
    names = [network.stage_junction[s] for s in part.stages.tolist()]
    assert part.junctions[part.network.stage_junction].tolist() == names
    # Traffic between the part's own signals goes the same ways.
    own = set(part.network.junction_ids)
    inside = {feed for feed in _feeds(network) if feed[0] in own and feed[1] in own}
    assert _feeds(part.network) == inside


def _signals(network: Network, j: int) -> list[object]:
    groups = slice(*network.junction_group_ptr[j : j + 2])
    low = network.junction_group_ptr[j]
    heads = slice(*network.junction_head_ptr[j : j + 2])
    stages = range(*network.junction_stage_ptr[j : j + 2])
    program = network.junction_program[j]
    steps = slice(*network.program_stage_ptr[program : program + 2])
    conflicts = [
        (a - low, network.conflict_idx[k] - low, network.conflict_intergreen_ms[k])
        for a in range(groups.start, groups.stop)
        for k in range(*network.conflict_ptr[a : a + 2])
    ]
    return [
        network.group_kind[groups].tolist(),
        network.group_min_green_ms[groups].tolist(),
        (network.head_group[heads] - low).tolist(),
        [network.stage_codes(s).tolist() for s in stages],
        conflicts,
        network.program_ids[program],
        (network.program_stage[steps] - network.junction_stage_ptr[j]).tolist(),
        network.program_split_ms[steps].tolist(),
    ]


def _connections(network: Network, j: int) -> set[tuple[object, ...]]:
    own = np.flatnonzero(
        (network.conn_group >= 0) & (network.group_junction[network.conn_group] == j)
    )
    lanes = network.lane_ids
    low = network.junction_group_ptr[j]
    found = set()
    for k in own.tolist():
        foes = network.conn_yield_idx[slice(*network.conn_yield_ptr[k : k + 2])]
        found.add(
            (
                lanes[network.conn_from_lane[k]], lanes[network.conn_to_lane[k]],
                int(network.conn_group[k] - low), float(network.conn_share[k]),
                int(network.move_turn[network.conn_move[k]]),
                tuple(sorted(lanes[network.conn_from_lane[f]] for f in foes.tolist())),
            )
        )  # fmt: skip
    return found


def _feeds(network: Network) -> set[tuple[str, str, str, str, float, int]]:
    feeds = find_lane_feeds(network)
    lanes = network.approach_lanes
    junction = network.link_junction[network.lane_link[lanes]]
    source = np.repeat(np.arange(len(lanes)), np.diff(feeds.ptr))
    return {
        (
            network.junction_ids[junction[a]], network.junction_ids[junction[b]],
            network.lane_ids[lanes[a]], network.lane_ids[lanes[b]], float(share), int(travel_s),
        )
        for a, b, share, travel_s in zip(
            source, feeds.to, feeds.share, feeds.travel_s, strict=True
        )
    }  # fmt: skip


def test_all_of_it_is_the_network_itself(network: Network) -> None:
    assert cut(network, np.arange(network.junctions)).network.hash == network.hash


def test_neighbours_are_one_signal_away(network: Network) -> None:
    pairs = adjacent(network)
    one = np.array([network.junction_ids.index("C2")], np.int32)
    names = {network.junction_ids[j] for j in with_neighbours(network, pairs, one).tolist()}
    assert names == {"C2", "B2", "D2", "C1", "C3"}


def test_every_road_of_a_city_has_a_signal_it_belongs_to(network: Network) -> None:
    owners = link_owners(network)
    ends = network.link_junction >= 0
    assert (owners[ends] == network.link_junction[ends]).all()
    assert (owners >= 0).all()
