"""What the shipped plan and free choice would cost at measured flows, sub-area by sub-area.

A plan that people have tuned in the field is knowledge. Where stages are long for the sake of
crossings, free choice cannot run much faster than the plan does, and gives up its offsets; where
they are short it saves most of the delay. Both are appraised in the same currency, HCM delay
(HCM 6th ed., ch. 19): the plan with its greens, its cycle and the platoons its offsets carry;
free choice as the best cycle of each junction alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.control.coordination import BIN_S, coupled_groups, find_feeds, platoon_delay
from topis.control.service import (
    Service,
    intergreen_ms,
    permissive_rates,
    service_table,
    stage_order,
)
from topis.control.splits import DESIGN_FLOW_VPS, Splits
from topis.control.timing import Timing
from topis.model.network import NOT_MOTOR, Network
from topis.units import BASE_SAT_FLOW_VPS, MS_PER_S

#: Cycles that free choice is appraised at, and the step in which their green is handed out (s).
STEP_S = 2.0
CYCLES_S = np.arange(30.0, 186.0, 5.0)
#: Platoons that meet their green, or their red, change uniform delay within these bounds.
PROGRESSION = (0.3, 1.7)
#: Free choice saves more than the best cycle of its own shows where stages may be short, since
#: it ends and skips them at will, and nothing where crossings hold them: its cost is that of
#: the best cycle times ``FREE_BASE + FREE_PER_S * (mean of least green and change)``, and less
#: by ``FREE_QUIET`` times the share by which the plan's use stays below `BUSY`, at most down to
#: `FREE_LEAST`: in quiet traffic a plan makes people wait for nobody. Fitted to the networks of
#: docs/control.md on seeds 11 and 101 and, for quiet traffic, to Gangnam at 0.3 to 1.0 of its
#: demand; those are not reported.
FREE_BASE, FREE_PER_S = 0.3, 0.03
FREE_QUIET, FREE_LEAST, BUSY = 1.55, 0.3, 0.6


@dataclass(frozen=True)
class Appraisal:
    """Mean delay per vehicle and stop line (s) in each sub-area, float64[groups]."""

    plan_s: NDArray[np.float64]
    free_s: NDArray[np.float64]
    progression: NDArray[np.float64]


class PolicyAppraisal:
    """Appraises the active programs of a network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._feeds = find_feeds(network)
        self.group = coupled_groups(network, self._feeds)
        self.groups = int(self.group.max(initial=-1)) + 1
        orders = [stage_order(network, j) for j in range(network.junctions)]
        self._timing = Timing(network, orders)
        self._splits = Splits(self._timing)
        stages = np.maximum(np.diff(self._splits.ptr), 1)
        self._block_s = self._splits.least_cycle_s / stages
        program = network.junction_program
        self._cycle_s = network.program_cycle_ms[program] / MS_PER_S
        self._offset_s = network.program_offset_ms[program] / MS_PER_S
        self._plan_green_s, self._windows = self._read_plans()
        owner = np.full(network.lanes, -1, dtype=np.int64)
        signalised = network.conn_group >= 0
        owner[network.conn_from_lane[signalised]] = network.group_junction[
            network.conn_group[signalised]
        ]
        self._lanes = np.flatnonzero((owner >= 0) & (network.lane_use != NOT_MOTOR))
        self._owner = owner[self._lanes]
        self._green_of: dict[int, NDArray[np.float64]] = {}
        self._served: dict[int, NDArray[np.float64]] = {}

    def compare(self, flow_vps: NDArray[np.float32]) -> Appraisal:
        """Appraise both policies; ``flow_vps`` float32[lanes]: arrivals on each lane."""
        network = self._network
        table = service_table(network, permissive_rates(network, flow_vps))
        free_rate = self._free(flow_vps, table)
        effective_s = np.maximum(self._plan_green_s[table.stage] - 1.0, 0.0)
        green_s: NDArray[np.float64] = np.bincount(
            table.lane, table.rate * effective_s, minlength=network.lanes
        ).astype(np.float64)
        uniform, random = _hcm_delay(
            flow_vps[self._lanes], green_s[self._lanes], self._cycle_s[self._owner]
        )
        capacity = DESIGN_FLOW_VPS * green_s[self._lanes] / self._cycle_s[self._owner]
        use = np.minimum(flow_vps[self._lanes] / np.maximum(capacity, 1e-6), 1.0)
        own_flow = np.maximum(flow_vps[self._lanes], 1e-9)
        total = np.bincount(self._owner, own_flow, minlength=network.junctions)
        mean_use = np.bincount(self._owner, own_flow * use, minlength=network.junctions)
        quiet = 1.0 - np.clip(mean_use / np.maximum(total, 1e-9) / BUSY, 0.0, 1.0)
        free_rate *= FREE_BASE + FREE_PER_S * self._block_s
        free_rate *= np.maximum(1.0 - FREE_QUIET * quiet, FREE_LEAST)
        progress, mean_progress = self._progression(flow_vps)
        link = network.lane_link[self._lanes]
        plan_rate: NDArray[np.float64] = np.bincount(
            self._owner, uniform * progress[link] + random, minlength=network.junctions
        ).astype(np.float64)
        flow = np.bincount(self._owner, flow_vps[self._lanes], minlength=network.junctions)

        def per_vehicle(rate: NDArray[np.float64]) -> NDArray[np.float64]:
            total = np.bincount(self.group, flow, minlength=self.groups)
            return np.bincount(self.group, rate, minlength=self.groups) / np.maximum(total, 1e-9)

        return Appraisal(per_vehicle(plan_rate), per_vehicle(free_rate), mean_progress)

    def _free(self, flow_vps: NDArray[np.float32], service: Service) -> NDArray[np.float64]:
        """Delay of each junction alone at its best cycle (vehicle-seconds per second)."""
        tried = [
            self._splits.greens(np.full(self._network.junctions, c), flow_vps, service, STEP_S)[1]
            for c in CYCLES_S
        ]
        return np.asarray(np.min(tried, axis=0), dtype=np.float64)

    def _read_plans(self) -> tuple[NDArray[np.float64], list[NDArray[np.int32]]]:
        """(vehicle green of each stage a cycle, stage in each bin of each junction's cycle)."""
        network = self._network
        lost_s = intergreen_ms(network, vehicles_only=True) / MS_PER_S
        green_s, windows = np.zeros(network.stages), []
        for junction in range(network.junctions):
            program = int(network.junction_program[junction])
            steps = slice(*network.program_stage_ptr[program : program + 2])
            stage = network.program_stage[steps]
            following = np.roll(stage, -1) - network.junction_stage_ptr[junction]
            shown_s = network.program_split_ms[steps] / MS_PER_S - lost_s[stage, following]
            start_s = network.program_start_ms[steps] / MS_PER_S
            bins = max(1, round(float(self._cycle_s[junction]) / BIN_S))
            shown = np.full(bins, -1, dtype=np.int32)
            for k in range(len(stage)):
                begin, end = round(start_s[k] / BIN_S), round((start_s[k] + shown_s[k]) / BIN_S)
                shown[np.arange(begin, end) % bins] = stage[k]
                green_s[stage[k]] += shown_s[k]
            windows.append(shown)
        return green_s, windows

    def _progression(
        self, flow_vps: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(delay by the plan's offsets over that of random ones, of each link; mean by group)."""
        network, feeds = self._network, self._feeds
        planned, random = np.zeros(network.links), np.zeros(network.links)
        for k in range(len(feeds.move)):
            move, link = int(feeds.move[k]), int(feeds.link[k])
            up, down = int(network.move_junction[move]), int(network.link_junction[link])
            if self._cycle_s[up] != self._cycle_s[down]:
                continue
            conns = self._timing.conns_of(move)
            vps = float((flow_vps[network.conn_from_lane[conns]] * network.conn_share[conns]).sum())
            leaving = self._leaving(move, up, conns)
            if vps <= 0.0 or not leaving.any():
                continue
            bins = len(leaving)
            delay = platoon_delay(
                vps * bins * BIN_S * leaving / leaving.sum(),
                self._served_veh(link, down),
                feeds.travel_s[k] / BIN_S,
            )
            shift = round(float(self._offset_s[down] - self._offset_s[up]) / BIN_S) % bins
            planned[link] += delay[shift]
            random[link] += delay.mean()
        factor = np.where(
            random > 0, np.clip(planned / np.maximum(random, 1e-9), *PROGRESSION), 1.0
        )
        group_of = self.group[np.maximum(network.link_junction, 0)]
        told = (random > 0) & (network.link_junction >= 0)
        sums = [
            np.bincount(group_of[told], x[told], minlength=self.groups) for x in (planned, random)
        ]
        mean = np.where(sums[1] > 0, sums[0] / np.maximum(sums[1], 1e-9), 1.0)
        return factor, mean

    def _leaving(self, move: int, junction: int, conns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Share of a movement that is green in each bin of the plan; worked out once."""
        if move not in self._green_of:
            self._green_of[move] = self._timing.conn_green(junction, self._windows[junction], conns)
        return self._green_of[move]

    def _served_veh(self, link: int, junction: int) -> NDArray[np.float64]:
        """Vehicles that can leave a link in each bin of the plan; worked out once."""
        if link not in self._served:
            network = self._network
            lanes = np.arange(network.link_lane_ptr[link], network.link_lane_ptr[link + 1])
            ahead = np.arange(*network.lane_conn_ptr[[lanes[0], lanes[-1] + 1]])
            green = self._timing.conn_green(junction, self._windows[junction], ahead)
            self._served[link] = green * len(lanes) * BASE_SAT_FLOW_VPS * BIN_S
        return self._served[link]


def _hcm_delay(
    flow_vps: NDArray[np.floating], green_s: NDArray[np.float64], cycle_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(uniform, incremental) vehicle-seconds per second, HCM 6th ed. eq. 19-20, 19-26."""
    share = np.clip(np.maximum(green_s, 0.05) / cycle_s, 0.0, 1.0)
    capacity_vph = 3600.0 * DESIGN_FLOW_VPS * share
    x = 3600.0 * flow_vps / capacity_vph
    uniform_s = 0.5 * cycle_s * (1 - share) ** 2 / np.maximum(1 - np.minimum(1, x) * share, 1e-6)
    random_s = 225.0 * ((x - 1) + np.sqrt((x - 1) ** 2 + 16.0 * x / capacity_vph))
    return flow_vps * uniform_s, flow_vps * random_s
