"""One simulation run from start to run folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from topis.clock import stopwatch_s
from topis.config import SensingLayout
from topis.control.registry import make_controller
from topis.errors import OutputError
from topis.estimation.estimator import Estimator
from topis.ingest.network_file import load_network
from topis.ingest.placement import place_sensors
from topis.model.corridor import find_corridor
from topis.model.network import Network
from topis.model.observation import SensorTable
from topis.report.journal import JournalWriter
from topis.run.loop import LoopTimes, run_loop
from topis.run.outages import Outage, SilencedSource, read_outages
from topis.run.sumo import SumoRun
from topis.run.sumocfg import SumoConfig, read_sumocfg
from topis.units import MS_PER_S


@dataclass(frozen=True)
class RunSpec:
    """What to run. ``folder`` is the run folder to be made."""

    scenario: str
    config_file: Path
    controller: str
    seed: int
    layout: SensingLayout
    folder: Path
    corridor: tuple[str, ...] = ()
    gui: bool = False
    port: int | None = None
    demand_scale: float | None = None
    meso: bool = False
    outage: Path | None = None
    settings: dict[str, float] = field(default_factory=dict)


#: Told of progress: simulated time now, begin, end (None: open), vehicles, as one call.
Progress = Callable[[float, float, float | None, int], bool]


class _ProgressClock:
    """Passes time on to the progress display, about ten times a second at most."""

    def __init__(self, run: SumoRun, progress: Progress) -> None:
        self._run = run
        self._progress = progress
        self._last_s = -1.0

    def tick(self, time_ms: int) -> bool:
        now_s = stopwatch_s()
        if now_s - self._last_s < 0.1:
            return True
        self._last_s = now_s
        end_ms = self._run.end_ms
        return self._progress(
            time_ms / MS_PER_S,
            self._run.begin_ms / MS_PER_S,
            None if end_ms is None else end_ms / MS_PER_S,
            self._run.vehicles_now(),
        )


def draft_folder(spec: RunSpec) -> Path:
    """Where a run is written until it is complete.

    Absolute: SUMO looks for what an additional file names from that file's own folder.
    """
    return spec.folder.absolute().with_name(f".{spec.folder.name}.partial")


def simulate(spec: RunSpec, progress: Progress) -> Path:
    """Run one simulation; the run folder appears only when it is complete.

    Must be called in a process of its own: SUMO's library keeps state between runs.

    Raises
    ------
    InputError, NetworkError
        The scenario is bad.
    SumoError
        SUMO did not start or stopped early.
    OutputError
        The run folder cannot be written.
    """
    began_s = stopwatch_s()
    config = read_sumocfg(spec.config_file)
    network = load_network(config.net_file, config.additional_files).network
    sensors = place_sensors(network, spec.layout, spec.seed)
    outages = read_outages(spec.outage, network, sensors, spec.seed) if spec.outage else ()
    draft = draft_folder(spec)
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        work = draft / "sumo"
        work.mkdir()
    except OSError as error:
        raise OutputError(f"{spec.folder.parent}: cannot be written ({error.strerror})") from None
    try:
        _run_into(draft, work, spec, config, network, sensors, outages, progress, began_s)
        shutil.rmtree(work)
        shutil.rmtree(spec.folder, ignore_errors=True)
        draft.rename(spec.folder)
    except OSError as error:
        raise OutputError(
            f"{spec.folder}: cannot be written ({error}); make room or choose another --out"
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return spec.folder


def _run_into(
    folder: Path,
    work: Path,
    spec: RunSpec,
    config: SumoConfig,
    network: Network,
    sensors: SensorTable,
    outages: tuple[Outage, ...],
    progress: Progress,
    began_s: float,
) -> None:
    corridor = find_corridor(network, spec.corridor)
    controller = make_controller(spec.controller, network, spec.settings)
    estimator = Estimator(network, sensors)
    journal = JournalWriter(folder, network, sensors)
    try:
        with SumoRun(
            config,
            network,
            sensors,
            seed=spec.seed,
            work=work,
            gui=spec.gui,
            port=spec.port,
            demand_scale=spec.demand_scale,
            meso=spec.meso,
            camera_missed_share=spec.layout.camera_missed_share,
            probe_error_m=spec.layout.probe_error_m,
        ) as run:
            run.results.corridor = corridor.links if corridor else []
            source = SilencedSource(run, outages) if outages else run
            times = run_loop(
                network, source, estimator, controller, run, journal, _ProgressClock(run, progress)
            )
            end_s = run.now_s()
            run.results.before_close(run.api)
    finally:
        journal.close()
    _write(folder / "vehicles.parquet", run.results.vehicles(end_s))
    _write(folder / "links.parquet", run.results.links())
    _write(folder / "trajectories.parquet", run.results.trajectories())
    _write_json(
        folder / "counts.json",
        {
            **{
                k: int(run.results.counts[k])
                for k in ("teleports", "collisions", "emergency_stops")
            },
            "refusals": dict(sorted(journal.refusals.items())),
        },
    )
    notes = getattr(controller, "notes", [])
    _write_json(
        folder / "notes.json",
        {"notes": [{"time_s": time_ms / MS_PER_S, "text": text} for time_ms, text in notes]},
    )
    _write_json(folder / "timings.json", _timings(times, stopwatch_s() - began_s))
    _write_json(
        folder / "manifest.json",
        {
            "controller": spec.controller,
            "settings": spec.settings,
            "seed": spec.seed,
            "demand_scale": spec.demand_scale,
            "meso": run.meso,
            "sensing": spec.layout.name,
            "sensors": sensors.describe(),
            "outages": [outage.facts() for outage in outages],
            "scenario": spec.scenario,
            "begin_s": run.begin_ms / MS_PER_S,
            "end_s": end_s,
            "step_s": config.step_s,
            "network_hash": network.hash,
            "ended": "interrupted" if times.interrupted else "complete",
            "research_only": sensors.research_only,
            "version": version("topis"),
            "junctions": [
                {"id": name, "x_m": float(x), "y_m": float(y)}
                for name, (x, y) in zip(network.junction_ids, network.junction_xy_m, strict=True)
            ],
            "corridor": corridor.facts(network) if corridor else None,
        },
    )


def _timings(times: LoopTimes, wall_s: float) -> dict[str, float]:
    return {
        "wall_s": wall_s,
        "sumo_s": times.observe_s,
        "loop_s": times.engine_s,
        "estimate_s": times.estimate_s,
        "decide_s": times.decide_s,
        "guard_s": times.guard_s,
        "act_s": times.act_s,
        "record_s": times.record_s,
        "ticks": times.ticks,
    }


def _write(path: Path, table: pd.DataFrame) -> None:
    table.to_parquet(path, index=False)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True, default=float) + "\n")
