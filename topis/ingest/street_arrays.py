"""A network as the arrays of `topis._core.street_queues`, and what changes as traffic flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.model.network import NOT_MOTOR, Network
from topis.units import JAM_SPACING_M

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
F8 = NDArray[np.float64]
_LONG_AGO_S = -1e9


@dataclass(frozen=True)
class QueueState:
    """Memory of `StreetQueues`: of lanes, links and connections, and of whoever is under way.

    ``behind`` to ``arrive_s`` have a place for each vehicle that fits on the streets; the first of
    ``unused`` are those that are free.
    """

    head: I4
    tail: I4
    coming: I4
    entered: I4
    arrived: I4
    gone: I4
    link_count: I4
    free_s: F8
    last_enter_s: F8
    last_arrive_s: F8
    last_leave_s: F8
    conn_last_s: F8
    behind: I4
    conn: I4
    ahead: I4
    sequence: I4
    unused: I4
    number: I8
    hops: I8
    enter_s: F8
    arrive_s: F8

    @classmethod
    def empty(cls, network: Network, storage: I4) -> QueueState:
        """Nobody is there; ``storage`` int32[links]: how many vehicles fit on each."""
        lanes, places = network.lanes, int(storage.sum())
        made: dict[str, Any] = {
            "link_count": np.zeros(network.links, np.int32),
            "conn_last_s": np.full(len(network.conn_to_lane), _LONG_AGO_S),
            "unused": np.arange(places, dtype=np.int32),
        }
        for name in ("head", "tail", "coming"):
            made[name] = np.full(lanes, -1, np.int32)
        for name in ("entered", "arrived", "gone"):
            made[name] = np.zeros(lanes, np.int32)
        for name in ("free_s", "last_enter_s", "last_arrive_s", "last_leave_s"):
            made[name] = np.full(lanes, _LONG_AGO_S)
        for name in ("behind", "conn", "ahead", "sequence"):
            made[name] = np.zeros(places, np.int32)
        for name in ("number", "hops"):
            made[name] = np.zeros(places, np.int64)
        for name in ("enter_s", "arrive_s"):
            made[name] = np.zeros(places)
        return cls(**made)

    def under_way(self, free_places: int) -> NDArray[np.bool_]:
        """Places that are taken, bool[places]."""
        taken = np.ones(len(self.unused), dtype=bool)
        taken[self.unused[:free_places]] = False
        return taken


def street_arrays(network: Network, chance: F8, storage: I4) -> dict[str, Any]:
    """What the kernel is told of the streets, but for signals and drivers.

    ``chance`` float64[connections]: of who comes onto a link, the share that leaves by each.
    """
    first_conn = network.lane_conn_ptr[network.link_lane_ptr].astype(np.int32)
    total = np.concatenate(([0.0], np.cumsum(chance)))
    below = total[1:] - total[first_conn[network.lane_link[network.conn_from_lane]]]
    speed_mps = np.maximum(network.link_speed_mps[network.lane_link], 1.0)
    return {
        "link_conn_ptr": first_conn,
        "lane_conn_ptr": network.lane_conn_ptr,
        "link_storage": storage,
        "lane_link": network.lane_link,
        "conn_from_lane": network.conn_from_lane,
        "conn_to_lane": network.conn_to_lane,
        "conn_group": network.conn_group,
        "conn_below": below,
        "lane_free_s": (network.lane_length_m / speed_mps).astype(np.float64),
        "yield_ptr": network.conn_yield_ptr,
        "yield_idx": network.conn_yield_idx,
    }


def storage_veh(network: Network) -> I4:
    """Vehicles that fit on each link, int32[links]."""
    room = np.where(network.lane_use != NOT_MOTOR, network.lane_length_m / JAM_SPACING_M, 0.0)
    storage = np.bincount(network.lane_link, np.maximum(room, 1.0), minlength=network.links)
    return np.maximum(storage, 1).astype(np.int32)


def passage_arrays(room: int) -> dict[str, NDArray[Any]]:
    """Room for so many passages, by the names of `StreetQueues.run`'s outputs."""
    kinds = {
        "lane": np.int32, "conn": np.int32, "ahead": np.int32, "number": np.int64,
        "enter_s": np.float64, "arrive_s": np.float64, "depart_s": np.float64,
    }  # fmt: skip
    return {f"out_{name}": np.zeros(room, kind) for name, kind in kinds.items()}
