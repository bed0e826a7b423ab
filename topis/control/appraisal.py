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

from topis._core.split import split_greens
from topis.control.coordination import BIN_S, coupled_groups, find_feeds, platoon_delay
from topis.control.service import (
    changes_s,
    intergreen_ms,
    least_green_s,
    permissive_rates,
    service_table,
    stage_order,
)
from topis.model.lamp import is_green
from topis.model.network import NOT_MOTOR, Network
from topis.units import BASE_SAT_FLOW_VPS, MS_PER_S

#: Lanes are taken to discharge 90 % of the saturation flow, the usual design value.
SATURATION_VPS = 0.9 * BASE_SAT_FLOW_VPS
CYCLES_S = np.arange(30.0, 186.0, 5.0)
#: Platoons that meet their green, or their red, change uniform delay within these bounds.
PROGRESSION = (0.3, 1.7)
#: Free choice saves more than the best cycle of its own shows where stages may be short, since
#: it ends and skips them at will, and nothing where crossings hold them: its cost is that of
#: the best cycle times ``FREE_BASE + FREE_PER_S * (mean of least green and change)``, and less
#: by up to ``FREE_QUIET`` where the plan is not even used to `BUSY`. Fitted to the networks of
#: docs/control.md, at demands that are not reported.
FREE_BASE, FREE_PER_S = 0.3, 0.03
FREE_QUIET, BUSY = 0.3, 0.6


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
        self._orders = [stage_order(network, j) for j in range(network.junctions)]
        change_s = intergreen_ms(network) / MS_PER_S
        lost_s = intergreen_ms(network, vehicles_only=True) / MS_PER_S
        held_s = np.zeros(network.stages)
        self._lost_s = np.zeros(network.junctions)
        for junction, order in enumerate(self._orders):
            lost = changes_s(network, lost_s, order)
            self._lost_s[junction] = lost.sum()
            held_s[np.roll(order, 1)] = changes_s(network, change_s, order) - lost
        self._min_s = least_green_s(network) + held_s
        self._used = np.sort(np.concatenate([np.zeros(0, np.int32), *self._orders]))
        self._used_ptr = np.searchsorted(self._used, network.junction_stage_ptr).astype(np.int32)
        least_cycle_s = self._lost_s + np.add.reduceat(self._min_s[self._used], self._used_ptr[:-1])
        self._block_s = least_cycle_s / np.maximum(np.diff(self._used_ptr), 1)
        program = network.junction_program
        self._cycle_s = network.program_cycle_ms[program] / MS_PER_S
        self._offset_s = network.program_offset_ms[program] / MS_PER_S
        self._plan_green_s, self._windows = self._read_plans(lost_s)
        moves = np.arange(len(network.move_turn) + 1)
        self._by_move = np.argsort(network.conn_move, kind="stable")
        self._move_ptr = np.searchsorted(network.conn_move[self._by_move], moves)
        owner = np.full(network.lanes, -1, dtype=np.int64)
        signalised = network.conn_group >= 0
        owner[network.conn_from_lane[signalised]] = network.group_junction[
            network.conn_group[signalised]
        ]
        self._lanes = np.flatnonzero((owner >= 0) & (network.lane_use != NOT_MOTOR))
        self._owner = owner[self._lanes]

    def compare(self, flow_vps: NDArray[np.float32]) -> Appraisal:
        """Appraise both policies; ``flow_vps`` float32[lanes]: arrivals on each lane."""
        network = self._network
        rates = permissive_rates(network, flow_vps)
        table = service_table(network, rates)
        free_rate = self._free(flow_vps, table.stage, table.lane, table.rate)
        effective_s = np.maximum(self._plan_green_s[table.stage] - 1.0, 0.0)
        green_s: NDArray[np.float64] = np.bincount(
            table.lane, table.rate * effective_s, minlength=network.lanes
        ).astype(np.float64)
        uniform, random = _hcm_delay(
            flow_vps[self._lanes], green_s[self._lanes], self._cycle_s[self._owner]
        )
        capacity = SATURATION_VPS * green_s[self._lanes] / self._cycle_s[self._owner]
        use = np.minimum(flow_vps[self._lanes] / np.maximum(capacity, 1e-6), 1.0)
        own_flow = np.maximum(flow_vps[self._lanes], 1e-9)
        total = np.bincount(self._owner, own_flow, minlength=network.junctions)
        mean_use = np.bincount(self._owner, own_flow * use, minlength=network.junctions)
        quiet = 1.0 - np.clip(mean_use / np.maximum(total, 1e-9) / BUSY, 0.0, 1.0)
        free_rate *= (FREE_BASE + FREE_PER_S * self._block_s) * (1.0 - FREE_QUIET * quiet)
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

    def _free(
        self,
        flow_vps: NDArray[np.float32],
        stage: NDArray[np.int32],
        lane: NDArray[np.int32],
        rate: NDArray[np.float32],
    ) -> NDArray[np.float64]:
        """Delay of each junction alone at its best cycle (vehicle-seconds per second)."""
        network = self._network
        keep = np.isin(stage, self._used)
        row = np.searchsorted(self._used, stage[keep])
        ptr = np.searchsorted(row, np.arange(len(self._used) + 1)).astype(np.int32)
        sat = np.full(network.lanes, SATURATION_VPS, dtype=np.float32)
        best = np.full(network.junctions, np.inf)
        for cycle_s in CYCLES_S:
            delay = np.zeros(network.junctions)
            split_greens(
                self._used_ptr,
                np.full(network.junctions, cycle_s),
                self._lost_s,
                self._min_s[self._used],
                ptr,
                lane[keep],
                rate[keep],
                flow_vps,
                sat,
                2.0,
                np.zeros(network.lanes),
                np.zeros(len(self._used)),
                delay,
            )
            best = np.minimum(best, delay)
        return best

    def _read_plans(
        self, lost_s: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], list[NDArray[np.int32]]]:
        """(vehicle green of each stage a cycle, stage in each bin of each junction's cycle)."""
        network = self._network
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
            conns = self._by_move[self._move_ptr[move] : self._move_ptr[move + 1]]
            vps = float((flow_vps[network.conn_from_lane[conns]] * network.conn_share[conns]).sum())
            leaving = self._green_share(up, conns)
            if vps <= 0.0 or not leaving.any():
                continue
            bins = len(leaving)
            lanes = np.arange(network.link_lane_ptr[link], network.link_lane_ptr[link + 1])
            ahead = np.arange(*network.lane_conn_ptr[[lanes[0], lanes[-1] + 1]])
            served = self._green_share(down, ahead[network.conn_group[ahead] >= 0]) * len(lanes)
            delay = platoon_delay(
                vps * bins * BIN_S * leaving / leaving.sum(),
                served * BASE_SAT_FLOW_VPS * BIN_S,
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

    def _green_share(self, junction: int, conns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Share of the connections that is green in each bin of the junction's cycle."""
        network, shown = self._network, self._windows[junction]
        groups = network.conn_group[conns] - network.junction_group_ptr[junction]
        share = np.zeros(len(shown))
        for stage in np.unique(shown[shown >= 0]):
            green = is_green(network.stage_codes(int(stage)))[groups]
            share[shown == stage] = green.mean() if len(green) else 0.0
        return share


def _hcm_delay(
    flow_vps: NDArray[np.floating], green_s: NDArray[np.float64], cycle_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(uniform, incremental) vehicle-seconds per second, HCM 6th ed. eq. 19-20, 19-26."""
    share = np.clip(np.maximum(green_s, 0.05) / cycle_s, 0.0, 1.0)
    capacity_vph = 3600.0 * SATURATION_VPS * share
    x = 3600.0 * flow_vps / capacity_vph
    uniform_s = 0.5 * cycle_s * (1 - share) ** 2 / np.maximum(1 - np.minimum(1, x) * share, 1e-6)
    random_s = 225.0 * ((x - 1) + np.sqrt((x - 1) ** 2 + 16.0 * x / capacity_vph))
    return flow_vps * uniform_s, flow_vps * random_s
