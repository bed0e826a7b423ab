"""What the offset of a link costs, by cyclic flow profiles.

As in TRANSYT (Robertson 1969, RRL LR 253): a queue leaves the stop line upstream at
saturation flow and what comes later as it comes, the platoon disperses on the way, and the
lanes downstream take it up each with its own green.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis._core.link_profiles import LinkProfiles, stage_bins
from topis.control.coordination import BIN_S, Feeds, LinkTables
from topis.control.timing import Timing
from topis.model.feeds import START_S
from topis.model.lamp import is_green
from topis.model.network import Network
from topis.units import BASE_SAT_FLOW_VPS

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
I4 = NDArray[np.int32]

#: A queue that outlasts its green waits the same whenever the platoon comes: what a link
#: tells of offsets counts in full up to this degree of saturation, fading over the next part.
TELLS_UP_TO = 0.90
FADES_OVER = 0.15
#: Robertson's dispersion: the first vehicles take this share of the mean travel time, and
#: the platoon spreads with the factor 1 / (1 + 0.35 * that time).
FIRST_SHARE = 0.8
SPREAD = 0.35
#: Rows of tables are padded to a multiple of this.
PAD_BINS = 16


def bins_of(cycle_s: F8) -> I4:
    """Bins of cycles, at least one, int32[junctions]."""
    return np.maximum(np.rint(cycle_s / BIN_S), 1).astype(np.int32)


class Profiles:
    """Delay of the links between signals for every difference of their offsets.

    ``area`` int[junctions]: junctions of an area share a cycle; only feeds within one count.
    ``up``, ``down`` int32[links]: the junctions at the ends of each link, in the order of feeds.
    """

    def __init__(
        self, timing: Timing, feeds: Feeds, area: NDArray[np.integer], threads: int = 1
    ) -> None:
        network = timing.network
        self._timing, self._threads = timing, threads
        self._local_stage = timing.stage - network.junction_stage_ptr[timing.junction]
        up, down = network.move_junction[feeds.move], network.link_junction[feeds.link]
        which = np.flatnonzero(area[up] == area[down])
        # Feeds of the same link and travel time are one way: their platoons go together.
        link = _in_order(up[which].astype(np.int64) * network.links + feeds.link[which])
        by_way = np.lexsort((which, feeds.travel_s[which], link))
        which, link = which[by_way], link[by_way]
        travel_s = feeds.travel_s[which]
        new_way = np.ones(len(which), dtype=bool)
        new_way[1:] = (np.diff(link) != 0) | (np.diff(travel_s) != 0.0)
        way_first = np.flatnonzero(new_way)
        link_first = np.searchsorted(link, np.arange(int(link.max(initial=-1)) + 1))
        self.up: I4 = up[which][link_first].astype(np.int32)
        self.down: I4 = down[which][link_first].astype(np.int32)
        links = len(link_first)
        first_bins = FIRST_SHARE * (travel_s[way_first] + START_S) / BIN_S
        way_link = link[way_first]
        self._kernel = LinkProfiles(
            link_way_ptr=np.searchsorted(way_link, np.arange(links + 1)).astype(np.int32),
            link_down=self.down,
            way_up=self.up[way_link],
            way_link=way_link.astype(np.int32),
            way_late_bins=first_bins,
            way_factor=(1.0 / (1.0 + SPREAD * first_bins)).astype(np.float32),
            feed_ptr=np.append(way_first, len(which)).astype(np.int32),
            **_feed_arrays(timing, feeds.move[which]),
            **_class_arrays(network, feeds.link[which][link_first], self.down),
            bin_s=BIN_S,
            tells_up_to=TELLS_UP_TO,
            fades_over=FADES_OVER,
        )

    def tables(self, bins: I4, green_s: F8, flow_vps: F4) -> LinkTables:
        """Delay of every link, vehicle-seconds a cycle for each difference of its offsets.

        ``bins`` int32[junctions]: of the cycle, alike within an area; ``green_s``
        float64[steps] with what is held; ``flow_vps`` float32[lanes].
        """
        timing = self._timing
        width = -(-int(bins.max(initial=1)) // PAD_BINS) * PAD_BINS
        shown = np.empty((len(bins), width), dtype=np.int16)
        stage_bins(
            timing.ptr, self._local_stage, timing.change_s, green_s, timing.held_s, BIN_S, bins,
            self._threads, shown,
        )  # fmt: skip
        delay = np.empty((len(self.up), width), dtype=np.float32)
        told = np.empty(len(self.up), dtype=np.uint8)
        scratch = np.empty((self._threads, LinkProfiles.scratch_size(width)), dtype=np.float32)
        self._kernel.delays(bins, shown, flow_vps, scratch, self._threads, delay, told)
        return LinkTables(self.up, self.down, bins, delay, told.astype(bool))


def _in_order(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the distinct keys in the order in which they first come."""
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    number: NDArray[np.int64] = rank[inverse.ravel()]
    return number


def _feed_arrays(timing: Timing, moves: I4) -> dict[str, Any]:
    """What each feed (a movement) discharges in each stage, and whose traffic it is."""
    network = timing.network
    conns, conn_ptr = _joined([timing.conns_of(move) for move in moves.tolist()])
    share = network.conn_share[conns]
    feed = np.repeat(np.arange(len(moves)), np.diff(conn_ptr))
    carried = np.bincount(feed, share, minlength=len(moves)).astype(np.float64)
    veh_ptr, veh = _served_veh(
        network,
        network.move_junction[moves],
        feed,
        network.conn_group[conns],
        BASE_SAT_FLOW_VPS * carried,
    )
    return {
        "feed_veh_ptr": veh_ptr,
        "feed_veh": veh,
        "conn_ptr": conn_ptr,
        "conn_lane": network.conn_from_lane[conns],
        "conn_share": share,
    }


def _class_arrays(network: Network, links: I4, junction: I4) -> dict[str, Any]:
    """Lanes of each link by their lights: those with the same ones are a class."""
    classes: list[list[int]] = []
    count = []
    for link in links.tolist():
        lanes: dict[tuple[int, ...], list[int]] = {}
        for lane in range(*network.link_lane_ptr[[link, link + 1]].tolist()):
            groups = np.unique(network.conn_group[slice(*network.lane_conn_ptr[[lane, lane + 1]])])
            if (groups >= 0).any():
                lanes.setdefault(tuple(groups.tolist()), []).append(lane)
        classes += lanes.values()
        count.append(len(lanes))
    class_lane, lane_ptr = _joined([np.array(lanes, dtype=np.intp) for lanes in classes])
    # All lanes of a class have the lights of its first.
    of_first = [np.arange(*network.lane_conn_ptr[[k[0], k[0] + 1]]) for k in classes]
    conns, conn_ptr = _joined(of_first)
    veh_ptr, veh = _served_veh(
        network,
        np.repeat(junction, count),
        np.repeat(np.arange(len(classes)), np.diff(conn_ptr)),
        network.conn_group[conns],
        BASE_SAT_FLOW_VPS * np.diff(lane_ptr),
    )
    return {
        "class_ptr": np.cumsum([0, *count]).astype(np.int32),
        "class_lane_ptr": lane_ptr,
        "class_lane": class_lane.astype(np.int32),
        "class_veh_ptr": veh_ptr,
        "class_veh": veh,
    }


def _served_veh(
    network: Network, junction: I4, item: NDArray[np.intp], group: I4, most_vps: F8
) -> tuple[I4, F4]:
    """(starts, vehicles per bin) of some items: while changing, then in each local stage.

    ``junction`` int32[items]; ``item`` and ``group`` [pairs]: the lights of each item, -1 for
    none; of ``most_vps`` float64[items] the share goes that is green.
    """
    lit = group >= 0
    item, group = item[lit], group[lit]
    stages = np.diff(network.junction_stage_ptr)[junction]
    ptr = np.append(0, np.cumsum(1 + stages))
    local = np.concatenate([np.zeros(0, np.intp), *map(np.arange, stages[item])])
    pair = np.repeat(np.arange(len(item)), stages[item])
    at = junction[item[pair]]
    stage = network.junction_stage_ptr[at] + local
    code = network.stage_code_ptr[stage] + group[pair] - network.junction_group_ptr[at]
    green = is_green(network.stage_code[code])
    share = np.bincount(ptr[item[pair]] + 1 + local, green, minlength=int(ptr[-1]))
    lights = np.maximum(np.bincount(item, minlength=len(junction)), 1)
    veh = share * np.repeat(most_vps * BIN_S / lights, 1 + stages)
    return ptr[:-1].astype(np.int32), veh.astype(np.float32)


def _joined(parts: list[NDArray[np.intp]]) -> tuple[NDArray[np.intp], I4]:
    """Arrays one after the other, and where each starts."""
    values = np.concatenate([np.zeros(0, np.intp), *parts])
    return values, np.cumsum([0, *map(len, parts)]).astype(np.int32)
