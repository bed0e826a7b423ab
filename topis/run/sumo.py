"""SUMO behind the loop's ports. The only file that imports libsumo or traci.

`SumoRun` is at once the source (sensors) and the actuator (signals). It reads nothing of
the simulation that a sensor of the layout would not report; what the report needs to
judge a run is collected apart, in `topis.run.sumo_results`, and never handed to a decision.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError, SumoError
from topis.model.lamp import codes_from_letters, letters_from_codes
from topis.model.network import Network
from topis.model.observation import Observation, SensorTable
from topis.run.ports import LocalLamps
from topis.run.sumo_meso import STRETCH_M, MesoReader
from topis.run.sumo_results import ResultFiles
from topis.run.sumo_sensors import MicroReader, ProbeReader, SensorReader, write_detectors
from topis.run.sumocfg import SumoConfig
from topis.units import MS_PER_S, to_ms

#: Sensors report, and decisions fall, once a second, or at the whole steps nearest to it.
TICK_S = 1.0
#: A SUMO that has just been started is asked again after a second, so many times.
CONNECT_TRIES = 3


def load_api(*, gui: bool, port: int | None) -> ModuleType:
    """libsumo, or traci where a window or a remote server is asked for.

    Raises
    ------
    SumoError
        SUMO's Python libraries are not installed.
    """
    try:
        if gui or port is not None:
            import traci

            return traci  # type: ignore[no-any-return]
        # Its banner about other Arrow versions is settled by our pin.
        os.environ.setdefault("LIBSUMO_AS_TRACI", "quiet")
        import libsumo

        return libsumo  # type: ignore[no-any-return]
    except ImportError as error:
        raise SumoError(
            f"SUMO is not installed ({error}); install the extra: pip install 'topis[sumo]'"
        ) from None


class SumoRun:
    """One SUMO simulation as source and actuator. Use as a context manager.

    Parameters
    ----------
    config, network, sensors
        The scenario, its compiled network, and where the sensors are.
    demand_scale
        Share of the scenario's vehicles to let in (1.3: every third one twice); None: as the
        scenario says.
    seed
        SUMO's seed; also draws what cameras miss and who is a probe.
    meso
        Run SUMO's mesoscopic model, whatever the scenario says.
    work
        Folder for our additional file and SUMO's results; emptied by the caller.
    """

    def __init__(
        self,
        config: SumoConfig,
        network: Network,
        sensors: SensorTable,
        *,
        seed: int,
        demand_scale: float | None = None,
        work: Path,
        gui: bool = False,
        port: int | None = None,
        camera_missed_share: float = 0.0,
        probe_error_m: float = 0.0,
        meso: bool = False,
    ) -> None:
        self.config = config
        self.network = network
        self.sensors = sensors
        self.seed = seed
        self.demand_scale = demand_scale
        self.meso = meso or config.meso
        self.gui = gui
        self.port = port
        scale = config.options.get("scale", "1") if demand_scale is None else demand_scale
        self.results = ResultFiles(config, network, work, thinned=float(scale) < 1.0)
        self._detectors = work / "detectors.add.xml"
        self._missed = camera_missed_share
        self._probe_error_m = probe_error_m
        self._first = True
        self._heads = [
            slice(int(a), int(b))
            for a, b in zip(network.junction_head_ptr, network.junction_head_ptr[1:], strict=False)
        ]
        self._head_of_group = _first_heads(network)
        self._shown = [""] * network.junctions
        self._program = [""] * network.junctions
        self._driven = [False] * network.junctions

    # ---- life ----

    def __enter__(self) -> SumoRun:
        self.api = load_api(gui=self.gui, port=self.port)
        if not self.meso:
            write_detectors(self._detectors, self.network, self.sensors)
        options = self._options()
        try:
            if self.port is not None:
                self._connect(self.port)
                self.api.load(options)
            else:
                self.api.start([_binary(self.gui), *options])
        except SumoError:
            raise
        except Exception as error:
            self._close()
            raise self._start_error(error) from None
        self.begin_ms = to_ms(self.api.simulation.getTime())
        end_s = self.api.simulation.getEndTime()
        self.end_ms = to_ms(end_s) if end_s >= 0 else None
        step_ms = to_ms(self.api.simulation.getDeltaT())
        self._steps_per_tick = max(1, round(TICK_S * MS_PER_S / step_ms))
        tick_ms = self._steps_per_tick * step_ms
        self._check_lights()
        self.results.after_start(self.api)
        self._eyes = self._reader(tick_ms)
        return self

    def _reader(self, tick_ms: int) -> MesoReader | MicroReader:
        if self.meso:
            return MesoReader(
                self.api,
                self.network,
                self.sensors,
                seed=self.seed,
                missed_share=self._missed,
                error_m=self._probe_error_m,
                stretch_m=float(self.config.options.get("meso-edgelength", STRETCH_M)),
            )
        return MicroReader(
            SensorReader(
                self.api,
                self.sensors,
                seed=self.seed,
                missed_share=self._missed,
                subscribe=self.api.__name__ == "traci",
            ),
            ProbeReader(
                self.api,
                self.network,
                share=self.sensors.probe_share,
                seed=self.seed,
                period_ticks=max(1, round(self.sensors.probe_period_s * MS_PER_S / tick_ms)),
                error_m=self._probe_error_m,
            ),
        )

    def __exit__(self, kind: object, *_: object) -> None:
        self._close()
        if self.port is not None and kind is None:
            self.results.wait_until_written()

    def _close(self) -> None:
        try:
            self.api.close()
        except Exception:  # closing what is closed already is no news
            return

    def _connect(self, port: int) -> None:
        try:
            self.api.init(port=port, numRetries=CONNECT_TRIES)
        except Exception as error:
            raise SumoError(
                f"--port {port}: no SUMO listens there ({' '.join(str(error).split())}); first "
                f"run: sumo -c {self.config.path.name} --remote-port {port}"
            ) from None

    def _options(self) -> list[str]:
        detectors = [] if self.meso else [self._detectors]
        additional = [*self.config.additional_files, *detectors, self.results.additional]
        options = [
            "--configuration-file",
            str(self.config.path),
            "--seed",
            str(self.seed),
            *([] if self.demand_scale is None else ["--scale", str(self.demand_scale)]),
            "--random",
            "false",
            "--additional-files",
            ",".join(str(p) for p in additional),
            "--no-step-log",
            "true",
            "--duration-log.disable",
            "true",
            "--no-warnings",
            "true",
            *(["--mesosim", "true", "--meso-junction-control", "true"] if self.meso else []),
            *self.results.options(),
        ]
        return [*options, "--start", "true", "--quit-on-end", "true"] if self.gui else options

    def _start_error(self, error: Exception) -> Exception:
        reason = " ".join(str(error).split()) or type(error).__name__
        return SumoError(
            f"{self.config.path.name}: SUMO did not start: {reason}; correct the scenario until "
            f"sumo -c {self.config.path.name} runs"
        )

    def _check_lights(self) -> None:
        known = set(self.api.trafficlight.getIDList())
        for junction in self.network.junction_ids:
            if junction not in known:
                raise InputError(
                    f"{self.config.net_file.name}: signal {junction!r} is not in the simulation; "
                    "does the configuration use this network?"
                )
        self._program = [
            self.api.trafficlight.getProgram(junction) for junction in self.network.junction_ids
        ]

    # ---- source ----

    def next(self) -> Observation | None:
        """Let a tick pass and read the sensors; the first one is read before time passes."""
        if not self._first:
            try:
                for _ in range(self._steps_per_tick):
                    if self._over():
                        return None
                    self.api.simulationStep()
                    self._eyes.after_step()
                    self.results.after_step(self.api)
            except Exception as error:
                raise SumoError(
                    f"{self.config.path.name}: SUMO stopped early: {' '.join(str(error).split())}"
                ) from None
        self._first = False
        now_ms = to_ms(self.api.simulation.getTime())
        self.results.after_tick(self.api, now_ms)
        return Observation(now_ms, *self._eyes.read())

    def _over(self) -> bool:
        if self.end_ms is not None:
            return bool(to_ms(self.api.simulation.getTime()) >= self.end_ms)
        return bool(self.api.simulation.getMinExpectedNumber() <= 0)

    # ---- actuator ----

    def changed_lamps(self, local: NDArray[np.bool_]) -> LocalLamps:
        """See `topis.run.ports.Actuator`."""
        get = self.api.trafficlight.getRedYellowGreenState
        changed = []
        for junction in np.flatnonzero(local).tolist():
            state = get(self.network.junction_ids[junction])
            if state != self._shown[junction]:
                self._shown[junction] = state
                codes = codes_from_letters(state)
                changed.append((junction, codes[self._head_of_group[junction]]))
        return changed

    def show(self, junction: int, group_code: NDArray[np.uint8]) -> None:
        """See `topis.run.ports.Actuator`."""
        first_group = self.network.junction_group_ptr[junction]
        state = letters_from_codes(
            group_code[self.network.head_group[self._heads[junction]] - first_group]
        )
        # Set even when the lamps already look so: it stops SUMO's own program from going on.
        if state != self._shown[junction] or not self._driven[junction]:
            self.api.trafficlight.setRedYellowGreenState(self.network.junction_ids[junction], state)
            self._shown[junction] = state
            self._driven[junction] = True

    # ---- for people ----

    def now_s(self) -> float:
        """Simulated time."""
        return float(self.api.simulation.getTime())

    def vehicles_now(self) -> int:
        """Vehicles on the road, for a progress bar."""
        return int(self.api.vehicle.getIDCount())


def _first_heads(network: Network) -> list[NDArray[np.intp]]:
    """For each junction, one head of each of its groups (all heads of a group agree)."""
    heads = []
    for junction in range(network.junctions):
        first, last = network.junction_head_ptr[junction : junction + 2]
        _, where = np.unique(network.head_group[first:last], return_index=True)
        heads.append(where)
    return heads


def _binary(gui: bool) -> str:
    import sumolib

    name = "sumo-gui" if gui else "sumo"
    try:
        return str(sumolib.checkBinary(name))
    except SystemExit:
        raise SumoError(f"{name} not found; install the extra: pip install 'topis[sumo]'") from None
