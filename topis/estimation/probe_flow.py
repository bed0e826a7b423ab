"""Flow on lanes that no sensor sees, from the probes that drive there.

Every report stands for a piece of road driven since the last. Of all vehicles on a stretch of
road, flow is distance driven over length and time (Edie 1963, 2nd Int. Symp. on the Theory of
Traffic Flow); of probes it is that times the share of vehicles that are probes. The share comes
from the lanes where sensors count vehicles as well, and with it whatever the sum is out by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.model.network import Network
from topis.model.observation import ProbeReports

#: Reports this far before the stop line count (m).
WATCHED_M = 200.0
#: Time in which what was seen is forgotten: a peak comes and goes in less than an hour.
FORGET_S = 1800.0
#: What was taken for granted before counts as much as so many probes seen; the share of probes
#: that is installed, as so many more.
PRIOR_PROBES, PRIOR_SHARE_PROBES = 2.0, 5.0
#: A flow taken too low starves a lane, one too high costs a few seconds: so much is added, in
#: standard deviations.
CAUTION_SD = 0.5
#: A flow is vouched for when probes have watched for as long as all vehicles would in this (s).
VOUCHED_S = 60.0
_LEAST_VPS = 1e-4


@dataclass(frozen=True)
class Stretches:
    """The road before each approach lane, up to the signal before or `WATCHED_M`.

    A report on lane *l* beyond ``from_m[l]`` tells of the approach lanes (numbers)
    ``to[ptr[l]:ptr[l + 1]]``, to equal parts ``part``; ``length_m`` [approach lanes].
    """

    ptr: NDArray[np.int64]
    to: NDArray[np.int64]
    part: NDArray[np.float64]
    from_m: NDArray[np.float32]
    length_m: NDArray[np.float64]


def find_stretches(network: Network) -> Stretches:
    """Walk upstream from every approach lane, over nodes without signals."""
    into = np.argsort(network.conn_to_lane, kind="stable")
    before = network.conn_from_lane[into]
    ptr = np.searchsorted(network.conn_to_lane[into], np.arange(network.lanes + 1))
    lanes: list[int] = []
    numbers: list[int] = []
    from_m = np.full(network.lanes, np.inf, dtype=np.float32)
    length_m = np.zeros(len(network.approach_lanes))
    for number, approach in enumerate(network.approach_lanes.tolist()):
        front, seen = [approach], {approach}
        while front and length_m[number] < WATCHED_M:
            longest_m = float(network.lane_length_m[front].max())
            taken_m = min(longest_m, WATCHED_M - length_m[number])
            length_m[number] += taken_m
            for lane in front:
                from_m[lane] = min(from_m[lane], network.lane_length_m[lane] - taken_m)
            lanes += front
            numbers += [number] * len(front)
            upstream = {int(x) for lane in front for x in before[ptr[lane] : ptr[lane + 1]]}
            front = sorted(x for x in upstream - seen if not network.is_approach_lane[x])
            seen.update(front)
    order = np.argsort(lanes, kind="stable")
    count = np.bincount(np.array(lanes, dtype=np.int64), minlength=network.lanes)
    return Stretches(
        ptr=np.concatenate(([0], np.cumsum(count))),
        to=np.array(numbers, dtype=np.int64)[order],
        part=np.repeat(1.0 / np.maximum(count, 1), count),
        from_m=from_m,
        length_m=np.maximum(length_m, 1.0),
    )


class ProbeFlow:
    """Flow of every approach lane by probes.

    Parameters
    ----------
    counted
        bool[approach lanes]: whether sensors tell the lane's flow.
    assumed_vps
        float[approach lanes]: what to believe before any probe was seen.
    share, period_s
        Share of vehicles that are probes as far as is known, and the time between two reports
        of one.
    """

    def __init__(
        self,
        network: Network,
        counted: NDArray[np.bool_],
        assumed_vps: NDArray[np.float32],
        share: float,
        period_s: float,
    ) -> None:
        self._stretches = find_stretches(network)
        self._counted = counted
        self._assumed_vps = assumed_vps.astype(np.float64)
        self._likely_vps = self._assumed_vps.copy()
        self._share = share
        self._period_s = period_s
        self._probes = np.zeros(len(counted))
        # Where sensors count, of whoever counted at the time: probes, all vehicles.
        self._counted_probes = self._counted_veh = 0.0
        self._watched_s = 0.0

    def assume(self, flow_vps: NDArray[np.float64]) -> None:
        """The likely flow of the lanes that are not counted, until probes say otherwise (veh/s).

        What to be prepared for stays as it was: a lane that is served by too low a flow starves.
        """
        self._likely_vps = np.where(self._counted, self._likely_vps, flow_vps)

    def assume_of(self, which: NDArray[np.intp], flow_vps: NDArray[np.float64]) -> None:
        """Both likely and to be prepared for, of some lanes: they were counted before."""
        self._assumed_vps[which] = self._likely_vps[which] = flow_vps

    def count(self, counted: NDArray[np.bool_]) -> None:
        """Sensors tell the flow of these lanes from now on."""
        self._counted = counted

    def update(self, reports: ProbeReports, flow_vps: NDArray[np.float32], dt_s: float) -> None:
        """Take in one tick's reports; ``flow_vps`` [approach lanes], used where counted."""
        keep = float(np.exp(-dt_s / FORGET_S))
        self._probes *= keep
        self._counted_probes *= keep
        self._counted_veh *= keep
        self._counted_veh += dt_s * float(flow_vps[self._counted].sum())
        self._watched_s = keep * self._watched_s + dt_s
        if not len(reports.lane):
            return
        road = self._stretches
        near = reports.offset_m >= road.from_m[reports.lane]
        lane = reports.lane[near]
        driven_m = reports.speed_mps[near].astype(np.float64) * self._period_s
        count = road.ptr[lane + 1] - road.ptr[lane]
        first = np.repeat(road.ptr[lane] - np.cumsum(count) + count, count)
        cell = first + np.arange(int(count.sum()))
        told = np.repeat(driven_m, count) * road.part[cell] / road.length_m[road.to[cell]]
        of_lane = np.bincount(road.to[cell], told, minlength=len(self._probes))
        self._probes += of_lane
        self._counted_probes += float(of_lane[self._counted].sum())

    def estimate(self) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
        """Flow to be prepared for, likely flow (veh/s), and whether probes vouch for them.

        Both [approach lanes], right where not counted.
        The flow of a lane is Gamma distributed: before, around what is assumed, scaled so that
        all unseen lanes together agree with their probes; after, by the lane's own probes.
        """
        if self._share <= 0.0:
            return self._assumed_vps, self._likely_vps, False
        unseen = ~self._counted
        share = (self._counted_probes + PRIOR_SHARE_PROBES) / (
            self._counted_veh + PRIOR_SHARE_PROBES / self._share
        )
        watched_s = share * self._watched_s
        shape = PRIOR_PROBES + self._probes

        def per_s(assumed_vps: NDArray[np.float64]) -> NDArray[np.float64]:
            scale = (self._probes[unseen].sum() + PRIOR_PROBES) / (
                assumed_vps[unseen].sum() * watched_s + PRIOR_PROBES
            )
            return np.asarray(
                PRIOR_PROBES / np.maximum(assumed_vps * scale, _LEAST_VPS) + watched_s
            )

        cautious = (shape + CAUTION_SD * np.sqrt(shape)) / per_s(self._assumed_vps)
        vouched = bool(watched_s >= VOUCHED_S)
        return cautious, shape / per_s(self._likely_vps), vouched
