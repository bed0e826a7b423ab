"""One measured run in a process of its own: prints milliseconds per simulated second as JSON.

Usage: loop_child.py CONFIG bare|CONTROLLER WARMUP_S
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["LIBSUMO_AS_TRACI"] = "quiet"


def bare(config: str, warmup_s: float) -> dict[str, float]:
    """Nothing but SUMO's step."""
    import libsumo

    libsumo.start(
        ["sumo", "-c", config, "--seed", "1", "--no-step-log", "true", "--no-warnings", "true",
         "--duration-log.disable", "true"]
    )  # fmt: skip
    end_s = libsumo.simulation.getEndTime()
    step_s = 0.0
    while libsumo.simulation.getTime() < end_s:
        began = time.perf_counter()
        libsumo.simulationStep()
        if libsumo.simulation.getTime() > warmup_s:
            step_s += time.perf_counter() - began
    vehicles = libsumo.vehicle.getIDCount()
    return {"step_ms": 1000 * step_s / (end_s - warmup_s), "vehicles": vehicles}


def looped(config: str, controller: str, warmup_s: float) -> dict[str, float]:
    """The whole loop with city sensing and a journal; SUMO's own step is timed apart."""
    from topis.config import sensing_layout
    from topis.control.registry import make_controller
    from topis.estimation.estimator import Estimator
    from topis.ingest.network_file import load_network
    from topis.ingest.placement import place_sensors
    from topis.report.journal import JournalWriter
    from topis.run.loop import run_loop
    from topis.run.sumo import SumoRun
    from topis.run.sumocfg import read_sumocfg

    sumocfg = read_sumocfg(Path(config))
    network = load_network(sumocfg.net_file).network
    layout = sensing_layout("city")
    sensors = place_sensors(network, layout, 1)
    clock = {"step": 0.0, "all": 0.0, "last": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "sumo")
        work.mkdir()
        journal = JournalWriter(Path(folder), network, sensors)
        with SumoRun(
            sumocfg, network, sensors, seed=1, work=work,
            camera_missed_share=layout.camera_missed_share,
            probe_error_m=layout.probe_error_m,
        ) as run:  # fmt: skip
            plain_step = run.api.simulationStep

            class Api:
                """SUMO's module with a stopwatch around its step."""

                def __getattr__(self, name: str) -> object:
                    return getattr(run_api, name)

                def simulationStep(self) -> None:  # noqa: N802 - SUMO's name
                    began = time.perf_counter()
                    plain_step()
                    if run_api.simulation.getTime() > warmup_s:
                        clock["step"] += time.perf_counter() - began

            run_api = run.api
            run.api = Api()  # type: ignore[assignment]

            class Watch:
                def tick(self, time_ms: int) -> bool:
                    if time_ms == 1000 * warmup_s:
                        clock["last"] = time.perf_counter()
                    return True

            run_loop(
                network, run, Estimator(network, sensors), make_controller(controller, network),
                run, journal, Watch(),
            )  # fmt: skip
            clock["all"] = time.perf_counter() - clock["last"]
            seconds = run.now_s() - warmup_s
            vehicles = run.vehicles_now()
        journal.close()
    return {
        "step_ms": 1000 * clock["step"] / seconds,
        "ours_ms": 1000 * (clock["all"] - clock["step"]) / seconds,
        "vehicles": vehicles,
        "sensors": len(sensors),
        "junctions": network.junctions,
    }


if __name__ == "__main__":
    what, warmup = sys.argv[2], float(sys.argv[3])
    result = bare(sys.argv[1], warmup) if what == "bare" else looped(sys.argv[1], what, warmup)
    print(json.dumps(result))
