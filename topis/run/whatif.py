"""What would have been under another controller: the traffic that was measured, in a queue model.

The slice tells who came (`topis.estimation.demand`) and what was shown. A queue model is fitted
until it has the queues that were measured under those lamps (plan A); then the same vehicles meet
another controller (plan B), which sees the model through the same sensors, estimator and guard as
a street. Each of some draws has other vehicles and other drivers, both plans the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.control.registry import check_controller, make_controller
from topis.errors import InputError
from topis.estimation.demand import Demand, fit_demand
from topis.ingest.synth_traffic import conn_chances
from topis.model.network import Network
from topis.report.whatif_result import BLOCK_S, Drives, WhatIf, judge
from topis.run.evidence import Evidence, watch
from topis.run.factual import Factual
from topis.run.street_drive import Driven, draw_entries, drive_factual, drive_plan
from topis.run.street_model import Behaviour, Entries, Waits
from topis.units import BASE_SAT_FLOW_VPS, MS_PER_S

F8 = NDArray[np.float64]
#: Draws that an answer rests on.
SEEDS = 5
#: Rounds in which headways are fitted to measured queues, how far each goes (power of the ratio),
#: queues that are too short to tell (veh s), and the headways believed of a lane (s).
FIT_ROUNDS, FIT_STEP, FIT_LEAST_VEH_S, FIT_HEADWAY_S = 6, 0.3, 300.0, (1.5, 8.0)
STARTUP_S, GAP_S = 1.0, 4.0
#: Spread of the draws: headways (log), what the fit did to them (share), start-up and gap (s),
#: all traffic (log), turn shares (log).
HEADWAY_SD, FIT_SPREAD, STARTUP_SPREAD_S, GAP_SPREAD_S = 0.04, 0.2, 0.7, 0.7
DEMAND_SD, TURN_SD = 0.03, 0.05


@dataclass(frozen=True)
class _Case:
    """A slice made ready."""

    network: Network
    factual: Factual
    evidence: Evidence
    demand: Demand
    headway_s: F8
    begin_s: int

    @property
    def blocks(self) -> int:
        """Whole blocks of the slice proper, after its warm-up."""
        return (self.evidence.begin_s + self.evidence.seconds - self.begin_s) // BLOCK_S

    def by_block(self, lanes: NDArray[np.floating]) -> F8:
        """[seconds, approach lanes] as sums, float64[blocks, junctions + 1]."""
        network = self.network
        junction = network.link_junction[network.lane_link[network.approach_lanes]]
        first = self.begin_s - self.evidence.begin_s
        of_block = lanes[first : first + self.blocks * BLOCK_S].reshape(
            self.blocks, BLOCK_S, len(junction)
        )
        return np.stack(
            [
                np.bincount(junction + 1, row, minlength=network.junctions + 1)
                for row in of_block.sum(axis=1, dtype=np.float64)
            ]
        )

    def delay_by_block(self, waits: Waits) -> F8:
        """Time waited, float64[blocks, junctions + 1] veh s; column 0: away from signals."""
        size = self.network.junctions + 1
        edges_s = self.begin_s + BLOCK_S * np.arange(self.blocks + 1)
        waited = [
            np.bincount(
                waits.junction + 1,
                np.clip(edge, waits.from_s, waits.until_s) - waits.from_s,
                minlength=size,
            )
            for edge in edges_s
        ]
        return np.diff(np.array(waited), axis=0)


def whatif(
    factual: Factual,
    controller: str,
    settings: Mapping[str, float] | None = None,
    seeds: int = SEEDS,
    begin_ms: int | None = None,
    end_ms: int | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> WhatIf:
    """Delay under a controller instead of what was shown, with how sure that is.

    The same slice, controller and number of ``seeds`` give the same answer. ``begin_ms`` and
    ``end_ms``: the part of what ``factual`` tells that is asked about, all of it by default; a
    quarter of an hour before it, where told, warms the queues. ``progress`` is told the share
    done.

    Raises
    ------
    InputError
        Controller or settings are unknown, or the slice does not tell enough.
    """
    check_controller(controller, settings)
    if seeds < 2:
        raise InputError(f"{seeds} draws give no interval; take at least 2")
    case = _prepare(factual, begin_ms, end_ms)
    progress(0.2)
    drives = []
    for seed in range(seeds):
        drives.append(_drive(case, controller, settings, seed))
        progress(0.2 + 0.8 * (seed + 1) / seeds)
    measured = case.by_block(case.evidence.queue_veh)
    return judge(
        controller=controller,
        settings=dict(settings or {}),
        begin_ms=case.begin_s * MS_PER_S,
        junction_ids=case.network.junction_ids,
        measured_queue_veh_s=measured,
        drives=drives,
        demand_misfit=case.demand.misfit,
        counted_share=case.demand.counted_share,
    )


def _prepare(factual: Factual, begin_ms: int | None, end_ms: int | None) -> _Case:
    network = factual.network
    evidence = watch(factual, begin_ms, end_ms)
    demand = fit_demand(
        network,
        conn_chances(network),
        evidence.arrived_veh,
        evidence.place,
        evidence.begin_s * MS_PER_S,
    )
    begin_s = evidence.begin_s if begin_ms is None else begin_ms // MS_PER_S
    base = np.full(network.lanes, 1.0 / BASE_SAT_FLOW_VPS)
    headway_s = _fit_headways(factual, evidence, demand, base)
    return _Case(network, factual, evidence, demand, headway_s, begin_s)


def _fit_headways(factual: Factual, evidence: Evidence, demand: Demand, base_s: F8) -> F8:
    """Headways of lanes under which the model has the queues that were measured.

    They stand for all that holds a lane up, of the gaps that a turn finds as well.
    """
    network = factual.network
    lanes = network.approach_lanes
    measured = evidence.queue_veh.sum(axis=0, dtype=np.float64)
    entries = draw_entries(network, demand, evidence.begin_s, np.random.default_rng(0))
    headway_s, best_s, least = base_s.copy(), base_s, np.inf
    for _ in range(FIT_ROUNDS):
        drive = _as_it_was(
            factual, evidence, demand, entries, Behaviour(headway_s, STARTUP_S, GAP_S)
        )
        queued = drive.queue_veh.sum(axis=0, dtype=np.float64)
        off = float(np.abs(queued - measured).sum())
        if off < least:
            best_s, least = headway_s, off
        ratio = (measured + FIT_LEAST_VEH_S) / (queued + FIT_LEAST_VEH_S)
        headway_s = headway_s.copy()
        headway_s[lanes] = np.clip(headway_s[lanes] * ratio**FIT_STEP, *FIT_HEADWAY_S)
    return best_s


def _as_it_was(
    factual: Factual, evidence: Evidence, demand: Demand, entries: Entries, behaviour: Behaviour
) -> Driven:
    """Plan A: the lamps that were shown, or by the controller that chose them.

    Lamps that answered vehicles on the street would come at the wrong moment for the model's.
    """
    network, sensors = factual.network, factual.sensors
    if factual.controller is None:
        return drive_factual(network, sensors, evidence, demand, entries, behaviour)
    controller = make_controller(factual.controller, network, factual.settings)
    return drive_plan(network, sensors, evidence, demand, entries, behaviour, controller)


def _drive(case: _Case, controller: str, settings: Mapping[str, float] | None, seed: int) -> Drives:
    """Both plans with the vehicles and drivers of one draw."""
    rng = np.random.default_rng([seed, 0x3F])
    network, sensors, evidence = case.network, case.factual.sensors, case.evidence
    base = 1.0 / BASE_SAT_FLOW_VPS
    fitted = (case.headway_s / base) ** (1.0 + FIT_SPREAD * rng.uniform(-1.0, 1.0))
    behaviour = Behaviour(
        base * fitted * np.exp(HEADWAY_SD * rng.standard_normal()),
        STARTUP_S + STARTUP_SPREAD_S * rng.uniform(-1.0, 1.0),
        GAP_S + GAP_SPREAD_S * rng.uniform(-1.0, 1.0),
    )
    demand = _vary(network, case.demand, rng)
    entries = draw_entries(network, demand, evidence.begin_s, rng)
    a = _as_it_was(case.factual, evidence, demand, entries, behaviour)
    b = drive_plan(
        network, sensors, evidence, demand, entries, behaviour,
        make_controller(controller, network, settings),
    )  # fmt: skip
    came = entries.at_s >= case.begin_s
    return Drives(
        vehicles=int(came.sum()),
        delay_a_veh_s=case.delay_by_block(a.waits),
        delay_b_veh_s=case.delay_by_block(b.waits),
        queue_a_veh_s=case.by_block(a.queue_veh),
        queue_b_veh_s=case.by_block(b.queue_veh),
    )


def _vary(network: Network, demand: Demand, rng: np.random.Generator) -> Demand:
    """Traffic and turns as they may have been as well."""
    scale = np.exp(DEMAND_SD * rng.standard_normal())
    chance = demand.chance * np.exp(TURN_SD * rng.standard_normal(len(demand.chance)))
    link = network.lane_link[network.conn_from_lane]
    total = np.bincount(link, chance, minlength=network.links)
    return Demand(
        demand.begin_ms, demand.bin_s, scale * demand.entry_veh,
        chance / np.where(total > 0.0, total, 1.0)[link], demand.misfit, demand.counted_share,
    )  # fmt: skip
