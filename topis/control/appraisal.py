"""What the shipped plan and free choice would cost at measured flows, sub-area by sub-area.

A plan that people have tuned in the field is knowledge. Where stages are long for the sake of
crossings, free choice cannot run much faster than the plan does, and gives up its offsets; where
they are short it saves most of the delay. Both are appraised in the same currency, HCM delay
(HCM 6th ed., ch. 19): the plan with its greens, its cycle and the platoons its offsets carry;
free choice as the best cycle of each junction alone.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.control.coordination import BIN_S, coupled_groups, find_feeds
from topis.control.progression import Progression
from topis.control.service import (
    intergreen_ms,
    permissive_rates,
    service_table,
    stage_order,
)
from topis.control.splits import DESIGN_FLOW_VPS, Splits
from topis.control.timing import Timing
from topis.model.network import NOT_MOTOR, Network
from topis.units import MS_PER_S

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
    """Appraises the active programs of a network.

    ``group`` int32[junctions]: the sub-areas appraised, all that are coupled unless set otherwise.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        feeds = find_feeds(network)
        self.group = coupled_groups(network, feeds)
        orders = [stage_order(network, j) for j in range(network.junctions)]
        self._timing = Timing(network, orders)
        self._splits = Splits(self._timing)
        stages = np.maximum(np.diff(self._splits.ptr), 1)
        self._block_s = self._splits.least_cycle_s / stages
        program = network.junction_program
        self._cycle_s = network.program_cycle_ms[program] / MS_PER_S
        self._plan_green_s, windows = self._read_plans()
        offset_s = network.program_offset_ms[program] / MS_PER_S
        self._links = Progression(self._timing, feeds, windows, self._cycle_s, offset_s)
        owner = np.full(network.lanes, -1, dtype=np.int64)
        signalised = network.conn_group >= 0
        owner[network.conn_from_lane[signalised]] = network.group_junction[
            network.conn_group[signalised]
        ]
        self._lanes = np.flatnonzero((owner >= 0) & (network.lane_use != NOT_MOTOR))
        self._owner = owner[self._lanes]

    @property
    def groups(self) -> int:
        """How many sub-areas there are."""
        return int(self.group.max(initial=-1)) + 1

    def compare(self, flow_vps: NDArray[np.float32]) -> Appraisal:
        """Appraise both policies; ``flow_vps`` float32[lanes]: arrivals on each lane."""
        work = self.pieces(flow_vps)
        while True:
            try:
                next(work)
            except StopIteration as done:
                appraisal: Appraisal = done.value
                return appraisal

    def pieces(self, flow_vps: NDArray[np.float32]) -> Generator[None, None, Appraisal]:
        """`compare` in pieces of work, so that no tick of a city has to do all of it."""
        network = self._network
        table = service_table(network, permissive_rates(network, flow_vps))
        yield
        free_rate: NDArray[np.float64] = np.full(network.junctions, np.inf)
        for cycle_s in CYCLES_S:
            tried_s = np.full(network.junctions, cycle_s)
            greens = self._splits.greens(tried_s, flow_vps, table, STEP_S)
            free_rate = np.minimum(free_rate, greens[1])
            yield
        effective_s = np.maximum(self._plan_green_s[table.stage] - 1.0, 0.0)
        green_s: NDArray[np.float64] = np.bincount(
            table.lane, table.rate * effective_s, minlength=network.lanes
        ).astype(np.float64)
        uniform, random = hcm_delay(
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
        planned, chance = np.zeros(network.links), np.zeros(network.links)
        yield from self._links.rates(flow_vps, (planned, chance))
        progress, mean_progress = self._progression(planned, chance)
        link = network.lane_link[self._lanes]
        plan_rate: NDArray[np.float64] = np.bincount(
            self._owner, uniform * progress[link] + random, minlength=network.junctions
        ).astype(np.float64)
        flow = np.bincount(self._owner, flow_vps[self._lanes], minlength=network.junctions)

        def per_vehicle(rate: NDArray[np.float64]) -> NDArray[np.float64]:
            total = np.bincount(self.group, flow, minlength=self.groups)
            return np.bincount(self.group, rate, minlength=self.groups) / np.maximum(total, 1e-9)

        return Appraisal(per_vehicle(plan_rate), per_vehicle(free_rate), mean_progress)

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
        self, planned: NDArray[np.float64], random: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(delay by the plan's offsets over that of random ones, of each link; mean by group)."""
        network = self._network
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


def hcm_delay(
    flow_vps: NDArray[np.floating], green_s: NDArray[np.float64], cycle_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(uniform, incremental) vehicle-seconds per second, HCM 6th ed. eq. 19-20, 19-26."""
    share = np.clip(np.maximum(green_s, 0.05) / cycle_s, 0.0, 1.0)
    capacity_vph = 3600.0 * DESIGN_FLOW_VPS * share
    x = 3600.0 * flow_vps / capacity_vph
    uniform_s = 0.5 * cycle_s * (1 - share) ** 2 / np.maximum(1 - np.minimum(1, x) * share, 1e-6)
    random_s = 225.0 * ((x - 1) + np.sqrt((x - 1) ** 2 + 16.0 * x / capacity_vph))
    return flow_vps * uniform_s, flow_vps * random_s
