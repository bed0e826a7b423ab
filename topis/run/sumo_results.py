"""What the report needs to judge a SUMO run. Never shown to a controller.

The scenario's own outputs stay as they are: ours go to a folder of their own, and where
the scenario writes trip data itself, that file is read instead of asking for another.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import pandas as pd

from topis.clock import wait_s
from topis.errors import SumoError
from topis.model.network import Network
from topis.run.sumocfg import SumoConfig
from topis.units import MS_PER_S

#: Interval of the per-link figures (s).
LINK_INTERVAL_S = 60
#: How often the report's corridor is looked at (s).
CORRIDOR_PERIOD_S = 2
#: How long a SUMO in another process may take to complete its files (s).
WRITING_LIMIT_S = 30

VEHICLE_COLUMNS = (
    "vehicle",
    "depart_s",
    "depart_delay_s",
    "time_loss_s",
    "network_time_s",
    "waiting_s",
    "stops",
    "status",
    "vclass",
)


class ResultFiles:
    """Collects one run's outcome.

    ``corridor`` is a list of link indices to follow for the time-space diagram.
    ``thinned``: SUMO is told to leave out a share of the vehicles (``--scale`` below 1).
    """

    def __init__(
        self, config: SumoConfig, network: Network, work: Path, *, thinned: bool = False
    ) -> None:
        self.config = config
        self.network = network
        self.additional = work / "results.add.xml"
        self._thinned = thinned
        self.corridor: list[int] = []
        self.counts: Counter[str] = Counter()
        self._links_file = work / "links.xml"
        self._co2_file = work / "co2.xml"
        self._own_tripinfo = work / "tripinfo.xml"
        self._next_look_s = float("-inf")
        self._trajectory: list[tuple[float, str, float]] = []
        self._outside: dict[str, tuple[float, str]] = {}
        self._running: list[tuple[object, ...]] = []
        self._class_of_type: dict[str, str] = {}
        # An output prefix may name a folder, which SUMO would not make.
        (work / f"{config.options.get('output-prefix', '')}x").parent.mkdir(
            parents=True, exist_ok=True
        )
        self._write_additional()

    def options(self) -> list[str]:
        """SUMO options that make it write what we read."""
        if self.config.tripinfo is not None:
            return []
        return [
            "--tripinfo-output",
            str(self._own_tripinfo),
            "--tripinfo-output.write-unfinished",
            "true",
            "--device.tripinfo.probability",
            "1",
        ]

    def _write_additional(self) -> None:
        self.additional.write_text(
            "<additional>\n"
            f'  <edgeData id="topis.links" file={quoteattr(str(self._links_file))} '
            f'period="{LINK_INTERVAL_S}" excludeEmpty="true"/>\n'
            f'  <edgeData id="topis.co2" type="emissions" file={quoteattr(str(self._co2_file))} '
            f'period="{LINK_INTERVAL_S}" excludeEmpty="true"/>\n'
            "</additional>\n"
        )

    # ---- while running ----

    def after_start(self, api: ModuleType) -> None:
        """Note who wants to depart already."""
        self._begin_s = api.simulation.getTime()
        self._note_demand(api)

    def after_step(self, api: ModuleType) -> None:
        """Note who wants to depart, and count what goes wrong."""
        self._note_demand(api)
        simulation = api.simulation
        self.counts["teleports"] += simulation.getStartingTeleportNumber()
        self.counts["collisions"] += simulation.getCollidingVehiclesNumber()
        self.counts["emergency_stops"] += simulation.getEmergencyStoppingVehiclesNumber()

    def _note_demand(self, api: ModuleType) -> None:
        """Keep (departure wanted, class) of all who are loaded and not on the road.

        SUMO's trip file does not know those it gave up on (``max-depart-delay``).
        """
        now_s = api.simulation.getTime()
        departed = api.simulation.getDepartedIDList()
        for vehicle in set(api.simulation.getLoadedIDList()).difference(departed):
            try:
                depart_s = now_s - api.vehicle.getDepartDelay(vehicle)
                self._outside[vehicle] = depart_s, api.vehicle.getVehicleClass(vehicle)
            except Exception:
                # Gone in the step in which it was loaded: left out, or given up on.
                if not self._thinned:
                    self._outside[vehicle] = now_s, "unknown"
        for vehicle in departed:
            self._outside.pop(vehicle, None)

    def after_tick(self, api: ModuleType, now_ms: int) -> None:
        """Look at the corridor now and then."""
        now_s = now_ms / MS_PER_S
        if not self.corridor or now_s < self._next_look_s:
            return
        self._next_look_s = now_s + CORRIDOR_PERIOD_S
        base_m = 0.0
        for link in self.corridor:
            for vehicle in api.edge.getLastStepVehicleIDs(self.network.link_ids[link]):
                self._trajectory.append(
                    (now_s, vehicle, base_m + api.vehicle.getLanePosition(vehicle))
                )
            base_m += float(self.network.link_length_m[link])

    def before_close(self, api: ModuleType) -> None:
        """Note vehicle classes and, where SUMO's file may not say, who is still on the road."""
        types = api.vehicletype
        self._class_of_type = {t: types.getVehicleClass(t) for t in types.getIDList()}
        if self.config.tripinfo is None:
            return
        now_s = api.simulation.getTime()
        for vehicle in api.vehicle.getIDList():
            depart_delay_s = api.vehicle.getDepartDelay(vehicle)
            depart_s = api.vehicle.getDeparture(vehicle) - depart_delay_s
            self._running.append(
                (
                    vehicle,
                    depart_s,
                    depart_delay_s,
                    api.vehicle.getTimeLoss(vehicle),
                    now_s - depart_s,
                    _trip_value(api, vehicle, "waitingTime"),
                    int(_trip_value(api, vehicle, "waitingCount")),
                    "running",
                    api.vehicle.getVehicleClass(vehicle),
                )
            )

    # ---- afterwards ----

    def wait_until_written(self) -> None:
        """A SUMO in another process completes its files only after it has said goodbye."""
        for _ in range(WRITING_LIMIT_S * 10):
            if all(map(_is_whole, (self._trip_file(), *self._edge_files()))):
                return
            wait_s(0.1)

    def _trip_file(self) -> Path:
        return self.config.written(self.config.tripinfo or self._own_tripinfo)

    def _edge_files(self) -> tuple[Path, Path]:
        return self.config.written(self._links_file), self.config.written(self._co2_file)

    def vehicles(self, end_s: float) -> pd.DataFrame:
        """One row per demanded vehicle; see `topis.report.measures` for the columns.

        Raises
        ------
        SumoError
            SUMO's trip file cannot be read.
        """
        path = self._trip_file()
        rows: list[tuple[object, ...]] = []
        for trip in _elements(path, "tripinfo"):
            delay_s = float(trip["departDelay"])
            depart_s, arrival_s = float(trip["depart"]), float(trip["arrival"])
            if depart_s < 0:
                continue  # see `_outside`
            if arrival_s < 0:
                intended_s = depart_s - delay_s
                status, lost_s, total_s = "running", float(trip["timeLoss"]), end_s - intended_s
            else:
                intended_s = depart_s - delay_s
                status, lost_s = "arrived", float(trip["timeLoss"])
                total_s = float(trip["duration"]) + delay_s
            rows.append(
                (
                    trip["id"],
                    intended_s,
                    delay_s,
                    lost_s,
                    total_s,
                    float(trip["waitingTime"]),
                    int(trip["waitingCount"]),
                    status,
                    self._class_of(trip),
                )
            )
        # The scenario's own file may list the unfinished or not.
        told = {row[0] for row in rows}
        rows += [row for row in self._running if row[0] not in told]
        for vehicle, (wanted_s, vclass) in self._outside.items():
            # SUMO reads ahead; one that a passenger sets off has no time at all.
            if self._begin_s <= wanted_s < end_s:
                wait_s = end_s - wanted_s
                rows.append((vehicle, wanted_s, wait_s, 0.0, wait_s, 0.0, 0, "waiting", vclass))
        table = pd.DataFrame(rows, columns=list(VEHICLE_COLUMNS))
        return table.sort_values(["depart_s", "vehicle"], kind="stable").reset_index(drop=True)

    def _class_of(self, trip: dict[str, str]) -> str:
        # Types drawn from a distribution are written as "type@distribution".
        name = trip.get("vType", "")
        return self._class_of_type.get(name, self._class_of_type.get(name.split("@")[0], "unknown"))

    def links(self) -> pd.DataFrame:
        """Per link and interval: time lost, time standing, vehicles entered, CO2."""
        links_file, co2_file = self._edge_files()
        index = {name: i for i, name in enumerate(self.network.link_ids)}
        co2 = {
            (begin_s, edge["id"]): float(edge["CO2_abs"]) / 1000.0
            for begin_s, edge in _intervals(co2_file)
        }
        rows = []
        for begin_s, edge in _intervals(links_file):
            link = index.get(edge["id"])
            if link is None or "sampledSeconds" not in edge:
                continue
            rows.append(
                (
                    begin_s,
                    float(LINK_INTERVAL_S),
                    edge["id"],
                    int(self.network.link_junction[link]),
                    float(edge.get("timeLoss", 0)),
                    float(edge.get("waitingTime", 0)),
                    float(edge.get("entered", 0)) + float(edge.get("departed", 0)),
                    co2.get((begin_s, edge["id"]), 0.0),
                )
            )
        return pd.DataFrame(
            rows,
            columns=[
                "interval_begin_s",
                "interval_s",
                "link",
                "junction",
                "time_loss_s",
                "waiting_s",
                "vehicles",
                "co2_g",
            ],
        )

    def trajectories(self) -> pd.DataFrame:
        """Time, vehicle number and position along the corridor."""
        table = pd.DataFrame(self._trajectory, columns=["time_s", "vehicle", "position_m"])
        table["vehicle"] = pd.factorize(table["vehicle"])[0].astype(np.int32)
        return table


def _trip_value(api: ModuleType, vehicle: str, name: str) -> float:
    return float(api.vehicle.getParameter(vehicle, f"device.tripinfo.{name}"))


def _is_whole(path: Path) -> bool:
    try:
        with _open(path) as stream:
            for _, element in ElementTree.iterparse(stream):
                element.clear()
    except (OSError, EOFError, ElementTree.ParseError):
        return False
    return True


def _elements(path: Path, tag: str) -> Iterator[dict[str, str]]:
    try:
        with _open(path) as stream:
            for _, element in ElementTree.iterparse(stream):
                if element.tag == tag:
                    yield dict(element.attrib)
                    element.clear()
    except (OSError, EOFError, ElementTree.ParseError) as error:
        raise SumoError(
            f"{path}: trip data cannot be read ({error}); let the scenario write tripinfo as XML"
        ) from None


def _intervals(path: Path) -> Iterator[tuple[float, dict[str, str]]]:
    """(begin, attributes) of every edge of every interval."""
    begin_s = 0.0
    try:
        with path.open("rb") as stream:
            for event, element in ElementTree.iterparse(stream, events=("start", "end")):
                if event == "start" and element.tag == "interval":
                    begin_s = float(element.attrib["begin"])
                elif event == "end" and element.tag == "edge":
                    yield begin_s, dict(element.attrib)
                    element.clear()
    except (OSError, ElementTree.ParseError) as error:
        raise SumoError(
            f"{path.name}: SUMO's figures per link cannot be read ({error}); run it again"
        ) from None


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as probe:
        compressed = probe.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]
