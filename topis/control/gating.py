"""Gating: a region that is overloaded lets in what it can carry, and no more.

A region's throughput rises with the vehicles in it up to a critical number and falls beyond
(its fundamental diagram, Geroliminis & Daganzo 2008, Transp. Res. B 42). The number is kept there
by a proportional-integral regulator of the inflow (Keyvan-Ekbatani et al. 2012, Transp. Res. B 46,
eq. 10), which the roads into it share by their traffic. A road that is gated holds its traffic as
one does whose way on is full. No road is held whose own queue is about to spill back: the jam
would only move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.control.coordination import MOST_LINKS_BETWEEN
from topis.control.streams import ENDLESS_VEH
from topis.model.corridor import link_ahead
from topis.model.network import BUS_ONLY, Network
from topis.model.state import TrafficState, zero_if_unknown
from topis.units import JAM_SPACING_M, MS_PER_S, S_PER_H, to_ms

F8 = NDArray[np.float64]
#: Signals of a region, at most: about a district of Seoul, small enough to be full all over.
MOST_SIGNALS = 180
#: Regions of fewer signals have no diagram worth the name.
LEAST_SIGNALS = 30
PERIOD_S = 60.0
#: Regulator's gains: of the change of the number of vehicles, and of its distance from the
#: critical one, per period (Keyvan-Ekbatani et al. 2012 use 20 and 5 veh/h each vehicle).
GAIN_P_VPS, GAIN_I_VPS = 20.0 / S_PER_H, 5.0 / S_PER_H
#: Gates close above this share of the critical number, and open below the other.
CLOSE, OPEN = 1.0, 0.85
#: Until the diagram's top has been seen: share of the room at which a region is critical.
PRIOR_FILL = 0.30
#: The diagram is kept in so many classes of fill, up to this one; a class counts once it has been
#: seen for so many periods, and older throughput fades by this each time.
CLASSES, MOST_FILL = 20, 0.6
LEAST_SEEN, FADE = 3, 0.8
#: Throughput must have fallen by this from its best for the top to be taken as known.
FALLEN = 0.9
#: Each gate lets at least this share of its traffic in, and is open if its road is this full.
LEAST_INFLOW, FULL_QUEUE = 0.3, 0.7


@dataclass(frozen=True)
class RegionState:
    """Arrays [regions]: vehicles, the critical number, throughput, inflow let in, gated or not."""

    vehicles_veh: F8
    critical_veh: F8
    through_vps: F8
    inflow_vps: F8
    gated: NDArray[np.bool_]


def regions(network: Network, most: int = MOST_SIGNALS) -> NDArray[np.int32]:
    """Compact parts of the city of ``most`` signals or fewer, int32[junctions]: by halving it."""
    region = np.zeros(network.junctions, dtype=np.int32)
    todo, made = [np.arange(network.junctions)], 0
    while todo:
        members = todo.pop()
        if len(members) <= most:
            region[members], made = made, made + 1
            continue
        xy_m = network.junction_xy_m[members]
        axis = int(np.argmax(np.ptp(xy_m, axis=0)))
        order = np.lexsort((members, xy_m[:, axis]))
        half = len(members) // 2
        todo += [np.sort(members[order[half:]]), np.sort(members[order[:half]])]
    return region


class Gating:
    """Regulates the inflow of each region; ``region`` int32[junctions]."""

    def __init__(self, network: Network, region: NDArray[np.int32] | None = None) -> None:
        self._network = network
        self.region = regions(network) if region is None else region
        self.count = int(self.region.max(initial=-1)) + 1
        lanes = network.approach_lanes
        self._lanes = lanes
        self._of_lane = self.region[network.link_junction[network.lane_link[lanes]]]
        storage = network.lane_length_m[lanes] / JAM_SPACING_M
        self._storage_veh = np.maximum(storage, 1.0).astype(np.float64)
        room = np.bincount(self._of_lane, self._storage_veh, minlength=self.count)
        self._room_veh: F8 = np.maximum(room, 1.0).astype(np.float64)
        signals = np.bincount(self.region, minlength=self.count)
        self._able = signals >= LEAST_SIGNALS if self.count > 1 else np.zeros(self.count, bool)
        self._gate_lane, self._gate_into, self._gate_share = _gates(network, self.region)
        self._best: F8 = np.zeros((self.count, CLASSES))
        self._seen = np.zeros((self.count, CLASSES), dtype=np.int64)
        self._through: F8 = np.zeros(self.count)
        self._last_veh: F8 = np.zeros(self.count)
        self._inflow: F8 = np.full(self.count, np.inf)
        self._gated = np.zeros(self.count, dtype=bool)
        self._next_ms: int | None = None
        self._last_ms: int | None = None
        self._limit_vps: F8 = np.full(network.lanes, ENDLESS_VEH)
        self._credit_veh: F8 = np.full(network.lanes, ENDLESS_VEH)
        self.notes: list[tuple[int, str]] = []

    @property
    def state(self) -> RegionState:
        """As the regulator has it."""
        return RegionState(
            self._last_veh, self._critical(), self._through, self._inflow, self._gated
        )

    def update(self, state: TrafficState) -> None:
        """Take in a tick; once a minute regulate."""
        out = zero_if_unknown(state.out_vps)[self._lanes]
        through: F8 = np.bincount(self._of_lane, out, minlength=self.count).astype(np.float64)
        dt_s = 0.0 if self._last_ms is None else (state.time_ms - self._last_ms) / MS_PER_S
        self._last_ms = state.time_ms
        self._through += min(dt_s / PERIOD_S, 1.0) * (through - self._through)
        if self._gated.any():
            self._spend(state, dt_s)
        if self._next_ms is None:
            self._next_ms = state.time_ms + to_ms(PERIOD_S)
        elif state.time_ms >= self._next_ms:
            self._next_ms = state.time_ms + to_ms(PERIOD_S)
            self._regulate(state)

    def hold(self, room: F8, refill: F8) -> tuple[F8, F8]:
        """The room behind stop lines, and its refill (float64[lanes]), with gates in them."""
        if not self._gated.any():
            return room, refill
        return np.minimum(room, self._credit_veh), np.minimum(refill, self._limit_vps)

    # ---- the regulator ----

    def _critical(self) -> F8:
        """Vehicles at the top of each region's diagram, float64[regions]."""
        best = np.where(self._seen >= LEAST_SEEN, self._best, -1.0)
        top = best.argmax(axis=1)
        highest = np.take_along_axis(best, top[:, None], axis=1)[:, 0]
        after = np.where(np.arange(CLASSES)[None, :] > top[:, None], best, -1.0)
        fallen = ((after >= 0.0) & (after < FALLEN * highest[:, None])).any(axis=1)
        fill = np.where(fallen, (top + 1) * MOST_FILL / CLASSES, PRIOR_FILL)
        return np.asarray(fill * self._room_veh, dtype=np.float64)

    def _regulate(self, state: TrafficState) -> None:
        vehicles = np.minimum(zero_if_unknown(state.vehicles_veh)[self._lanes], self._storage_veh)
        number: F8 = np.bincount(self._of_lane, vehicles, minlength=self.count).astype(np.float64)
        if not self._seen.any():
            # Who was there before the first count has not come in the last minute.
            self._last_veh = number
        step = np.clip(number / self._room_veh / MOST_FILL * CLASSES, 0, CLASSES - 1)
        at = np.arange(self.count), step.astype(np.int64)
        seen = self._seen[at] > 0
        kept = FADE * self._best[at] + (1.0 - FADE) * self._through
        self._best[at] = np.where(seen, kept, self._through)
        self._seen[at] += 1
        critical = self._critical()
        closes = self._able & (number > CLOSE * critical)
        opens = number < OPEN * critical
        gated = (self._gated | closes) & ~opens & self._able
        # Gates that close begin at what wants to come in now.
        comes = self._comes_in(state)
        begins = np.where(self._gated & np.isfinite(self._inflow), self._inflow, comes)
        inflow = begins - GAIN_P_VPS * (number - self._last_veh) + GAIN_I_VPS * (critical - number)
        # Beyond what comes the regulator must not wind itself up.
        self._inflow = np.where(gated, np.clip(inflow, LEAST_INFLOW * comes, comes), np.inf)
        for region in np.flatnonzero(gated != self._gated).tolist():
            what = "gated" if gated[region] else "open again"
            text = (
                f"region {region}: {what} at {number[region]:.0f} vehicles, critical "
                f"{critical[region]:.0f}, throughput {S_PER_H * self._through[region]:.0f} veh/h"
            )
            self.notes.append((state.time_ms, text))
        self._gated, self._last_veh = gated, number
        self._share_out(state)

    def _comes_in(self, state: TrafficState) -> F8:
        """Traffic of the gates of each region (veh/s), float64[regions]."""
        flow = zero_if_unknown(state.flow_vps)[self._gate_lane] * self._gate_share
        return np.asarray(np.bincount(self._gate_into, flow, minlength=self.count))

    def _share_out(self, state: TrafficState) -> None:
        """Each gate's limit: by its traffic, but where its own queue is about to spill back."""
        network, lane, into = self._network, self._gate_lane, self._gate_into
        self._limit_vps = np.full(network.lanes, ENDLESS_VEH)
        closed = self._gated[into]
        flow = zero_if_unknown(state.flow_vps)[lane].astype(np.float64)
        wanted = np.maximum(self._comes_in(state), 1e-6)
        share = np.clip(self._inflow / wanted, LEAST_INFLOW, 1.0)
        room = np.maximum(network.lane_length_m[lane] / JAM_SPACING_M, 1.0)
        full = zero_if_unknown(state.queue_veh)[lane] > FULL_QUEUE * room
        closed &= ~full & (share[into] < 1.0) & (network.lane_use[lane] != BUS_ONLY)
        limit = np.maximum(flow * share[into], 1e-3)
        np.minimum.at(self._limit_vps, lane[closed], limit[closed])
        newly = (self._limit_vps < ENDLESS_VEH) & (self._credit_veh >= ENDLESS_VEH)
        self._credit_veh = np.where(newly, 1.0, self._credit_veh)
        self._credit_veh[self._limit_vps >= ENDLESS_VEH] = ENDLESS_VEH

    def _spend(self, state: TrafficState, dt_s: float) -> None:
        """What each gate may still let in grows by its limit and falls by who leaves."""
        on = np.flatnonzero(self._limit_vps < ENDLESS_VEH)
        left = zero_if_unknown(state.out_vps)[on]
        more = dt_s * (self._limit_vps[on] - left)
        # A minute's worth is kept at most, so that a quiet time does not become a rush.
        most = np.maximum(PERIOD_S * self._limit_vps[on], 2.0)
        self._credit_veh[on] = np.clip(self._credit_veh[on] + more, 0.0, most)


def _gates(
    network: Network, region: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], F8]:
    """(approach lanes that lead into another region, that region, share of their traffic)."""
    ahead = link_ahead(network)
    conn = np.flatnonzero(network.conn_group >= 0)
    lane = network.conn_from_lane[conn]
    link = network.lane_link[network.conn_to_lane[conn]].astype(np.int64)
    for _ in range(MOST_LINKS_BETWEEN):
        onward = (network.link_junction[link] < 0) & (ahead[link] >= 0)
        following = np.where(onward, ahead[link], link)
        if np.array_equal(following, link):
            break
        link = following
    down = network.link_junction[link]
    own = region[network.link_junction[network.lane_link[lane]]]
    into = np.where(down >= 0, region[np.maximum(down, 0)], own)
    crosses = (into != own) & (network.link_junction[network.lane_link[lane]] >= 0)
    key = lane[crosses].astype(np.int64) * (int(region.max(initial=0)) + 1) + into[crosses]
    pairs, which = np.unique(key, return_inverse=True)
    share: F8 = np.bincount(which, network.conn_share[conn[crosses]], minlength=len(pairs)).astype(
        np.float64
    )
    count = int(region.max(initial=0)) + 1
    return pairs // count, pairs % count, share
