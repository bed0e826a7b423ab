"""A published controller in plain Python, on made-up junctions: sumoITScontrol (Riehl, ETH).

Its junctions count vehicles through TraCI; here that is a look into a dict, so that no simulator is
timed with them. It does less than our kernels do: no room behind the stop line, no cost of a
change, no least green of its own for each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest


def _controllers(
    kind: str, vehicles: Sequence[Mapping[str, float]], served: Sequence[Sequence[list[str]]]
) -> list[Any]:
    """A controller for each junction, its lanes' counts by name; ``served``: lanes of stages."""
    package = "sumoITScontrol"
    module = pytest.importorskip(f"{package}.intersection")
    control = pytest.importorskip(f"{package}.control.intersection_management.{kind}")
    counts = {f"{j}/{lane}": n for j, lanes in enumerate(vehicles) for lane, n in lanes.items()}
    module.traci = SimpleNamespace(
        lanearea=SimpleNamespace(getLastStepVehicleNumber=counts.__getitem__),
        trafficlight=SimpleNamespace(setPhase=lambda *_: None),
    )
    params = {
        "measurement_period": 1, "cycle_duration": 120, "T_L": 4, "G_T_MIN": 6, "G_T_MAX": 60,
        "T_A": 1,
    }  # fmt: skip
    found = []
    for j, stages in enumerate(served):
        phases = list(range(0, 2 * len(stages), 2))
        sensors = {
            phase: [f"{j}/{lane}" for lane in lanes]
            for phase, lanes in zip(phases, stages, strict=True)
        }
        junction = module.Intersection(f"J{j}", phases, sensors=sensors)
        found.append(getattr(control, kind)(params, junction))
    return found


def decide_flexibly(
    vehicles: Sequence[Mapping[str, float]], served: Sequence[Sequence[list[str]]]
) -> Callable[[], None]:
    """Whether to keep the green at each junction: counts of all stages, the largest of them."""
    controllers = _controllers("MaxPressure_Flex", vehicles, served)

    def work() -> None:
        for controller in controllers:
            data = controller.measurement_data
            data["counter"], data["current_fsm_state"] = 0, "check_pressures"
            controller.execute_control(0)

    return work


def share_a_cycle(
    vehicles: Sequence[Mapping[str, float]], served: Sequence[Sequence[list[str]]]
) -> Callable[[], None]:
    """Greens of a given cycle in proportion to counts made before, within bounds."""
    controllers = _controllers("MaxPressure_Fix", vehicles, served)
    counted = [
        controller.intersection.get_queue_lengths_num_vehicles() for controller in controllers
    ]

    def work() -> None:
        for controller, pressures in zip(controllers, counted, strict=True):
            controller.measurement_data["pressures_hist"] = [pressures]
            controller._compute_schedule_from_pressures()

    return work
