"""Small networks, states and looks into tables, for the tests of what works on streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tests import networks
from topis.control.streams import Rates, Streams
from topis.model.network import Network
from topis.model.state import HORIZON_S, TrafficState
from topis.units import MS_PER_S


def turned(network: Network, goes_to: Mapping[int, int]) -> Network:
    """The network with some connections (by number) led to other lanes."""
    to_lane = network.conn_to_lane.copy()
    to_link = network.move_to_link.copy()
    for conn, lane in goes_to.items():
        to_lane[conn] = lane
        to_link[network.conn_move[conn]] = network.lane_link[lane]
    return dataclasses.replace(network, conn_to_lane=to_lane, move_to_link=to_link)


def giving_way(network: Network, foes: Mapping[int, list[int]]) -> Network:
    """The network in which some connections give way to others."""
    rows = [foes.get(conn, []) for conn in range(len(network.conn_to_lane))]
    return dataclasses.replace(
        network,
        conn_yield_ptr=np.cumsum([0] + [len(row) for row in rows]).astype(np.int32),
        conn_yield_idx=np.array([foe for row in rows for foe in row], np.int32),
    )


def plain_junction(*stages: str) -> networks.Junction:
    """As many vehicle groups as the stages have letters; none conflict."""
    return networks.Junction(
        groups=[networks.Group() for _ in stages[0]], intergreen_ms={}, stages=stages
    )


def pair_in_a_row() -> Network:
    """Two crossroads: lane 0 of the first leads to lane 0 of the second (lane 3 of all)."""
    return turned(networks.build([networks.crossroads(), networks.crossroads()]), {0: 3})


def joined(inner_m: float = 60.0) -> Network:
    """Groups 0 and 1 come from outside; lane 0 leads to the inner lane 2, lane 1 out."""
    network = turned(networks.build([plain_junction("GrG", "rGG", "GrG")]), {0: 2})
    link_m, lane_m = network.link_length_m.copy(), network.lane_length_m.copy()
    link_m[network.lane_link[2]] = lane_m[2] = inner_m
    return dataclasses.replace(network, link_length_m=link_m, lane_length_m=lane_m)


def sharing(network: Network, share: float) -> Network:
    """The network with connections 0 and 1 both from lane 0; ``share`` of it takes the first."""
    from_lane, shares = network.conn_from_lane.copy(), network.conn_share.copy()
    from_link = network.move_from_link.copy()
    from_lane[1], from_link[1] = from_lane[0], from_link[0]
    shares[:2] = share, 1.0 - share
    lanes, links = np.arange(network.lanes + 1), np.arange(network.links + 1)
    return dataclasses.replace(
        network,
        conn_from_lane=from_lane,
        conn_share=shares,
        lane_conn_ptr=np.searchsorted(from_lane, lanes).astype(np.int32),
        move_from_link=from_link,
        link_move_ptr=np.searchsorted(from_link, links).astype(np.int32),
    )


def state_with(network: Network, vehicles_veh: float, out_vps: float) -> TrafficState:
    approaches = len(network.approach_lanes)
    lanes = np.full(network.lanes, np.nan, np.float32)
    vehicles, out = lanes.copy(), lanes.copy()
    vehicles[network.approach_lanes] = vehicles_veh
    out[network.approach_lanes] = out_vps
    return TrafficState(
        time_ms=0,
        queue_veh=vehicles,
        vehicles_veh=vehicles,
        view_veh=lanes,
        gap_s=lanes,
        flow_vps=lanes,
        arrival_vps=np.zeros((approaches, HORIZON_S), np.float32),
        fed_scale=np.ones(approaches, np.float32),
        seen_s=np.zeros(approaches, np.float32),
        flowing=np.ones(network.lanes, np.float32),
        out_vps=out,
        confidence=lanes,
    )


def stage_rows(
    network: Network, streams: Streams, rates: Rates, stage: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rate, passing share) of a stage for the streams of its junction."""
    j = network.stage_junction[stage]
    width = streams.stream_ptr[j + 1] - streams.stream_ptr[j]
    first = streams.rate_ptr[j] + (stage - network.junction_stage_ptr[j]) * width
    return rates.rate[first : first + width], rates.pass_share[first : first + width]


def worth_row(network: Network, streams: Streams, rates: Rates, stage: int) -> np.ndarray:
    j = network.stage_junction[stage]
    width = streams.stream_ptr[j + 1] - streams.stream_ptr[j]
    first, wide = streams.rate_of_ptr[j], streams.wide[j]
    block = rates.rate_of[first : first + width * wide].reshape(width, wide)
    # Padded stages are worth nothing.
    assert not block[:, network.junction_stage_ptr[j + 1] - network.junction_stage_ptr[j] :].any()
    return block[:, stage - network.junction_stage_ptr[j]]


def seen(
    network: Network, queue_veh: Mapping[int, float], flowing: Mapping[int, float], time_s: int = 0
) -> TrafficState:
    """Queues and what flows, by lane; elsewhere nobody stands and all flows."""
    state = state_with(network, 0.0, 0.0)
    queue, flows = np.zeros(network.lanes, np.float32), np.ones(network.lanes, np.float32)
    for lane, veh in queue_veh.items():
        queue[lane] = veh
    for lane, value in flowing.items():
        flows[lane] = value
    return dataclasses.replace(
        state, time_ms=time_s * MS_PER_S, queue_veh=queue, vehicles_veh=queue, flowing=flows
    )
