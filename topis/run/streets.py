"""Streets with what is installed there, as a run needs them; whole, or a part; kept in a folder."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.network_file import refuse_osm
from topis.ingest.road_map import LinkEnds, RoadMap, network_and_map
from topis.ingest.sensor_file import read_sensors
from topis.model.network import I4, Network
from topis.model.observation import SensorTable
from topis.model.part import Part, cut
from topis.report.journal import load_network_file, load_sensors, save_network, save_sensors

#: Name of an `OwnPart` in the folder of its streets.
PART = "part.npz"


@dataclass(frozen=True)
class Streets:
    """A network, how its links end, and its sensors."""

    network: Network
    ends: LinkEnds
    sensors: SensorTable

    @classmethod
    def read(cls, network_file: Path, sensor_file: Path) -> Streets:
        """From a SUMO network and a list of sensors.

        Raises
        ------
        InputError, NetworkError
            One cannot be read, or there are no signals.
        """
        return cls.read_with_map(network_file, sensor_file)[0]

    @classmethod
    def read_with_map(cls, network_file: Path, sensor_file: Path) -> tuple[Streets, RoadMap]:
        """As `read`, with the map."""
        refuse_osm(network_file)
        network, road_map = network_and_map(network_file)
        if not len(network.approach_lanes):
            raise InputError.at(network_file, "has no signals", "name a network with signals")
        sensors = read_sensors(sensor_file, network)
        return cls(network, LinkEnds.of(road_map), sensors), road_map

    def save(self, folder: Path) -> None:
        """Into an existing folder."""
        save_network(folder / "network.npz", self.network)
        save_sensors(folder / "sensors.parquet", self.sensors)
        np.savez_compressed(folder / "ends.npz", **vars(self.ends))

    @classmethod
    def load(cls, folder: Path) -> Streets:
        """What `save` wrote.

        Raises
        ------
        InputError
            It is not there, or damaged.
        """
        ends = load_arrays(folder / "ends.npz")
        return cls(
            load_network_file(folder / "network.npz"),
            LinkEnds(ends["end_m"], ends["direction"]),
            load_sensors(folder / "sensors.parquet"),
        )


@dataclass(frozen=True)
class OwnPart:
    """A part of the streets, and what of it is its own; the rest lies around that.

    ``junctions``, ``links``, ``lanes``, ``stages``, ``sensors``: int32, numbers in the whole by
    number in the part; ``own_junction`` bool[junctions], ``own_lane`` bool[lanes] and
    ``own_sensor`` bool[sensors], of the part.
    """

    junctions: I4
    links: I4
    lanes: I4
    stages: I4
    sensors: I4
    own_junction: NDArray[np.bool_]
    own_lane: NDArray[np.bool_]
    own_sensor: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """As one file."""
        np.savez_compressed(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> OwnPart:
        """What `save` wrote.

        Raises
        ------
        InputError
            It is not there, or damaged.
        """
        found = load_arrays(path)
        return cls(**{field.name: found[field.name] for field in fields(cls)})


def part_of(
    streets: Streets, around: I4, own: I4, link_owner: NDArray[np.int32]
) -> tuple[Streets, OwnPart]:
    """Streets around some junctions, some of which are the part's own.

    ``around``, ``own`` int32: junctions of the whole, ascending, the second among the first;
    ``link_owner`` int32[links]: junction that each link belongs to, from `link_owners`.
    """
    network, sensors = streets.network, streets.sensors
    if len(around) == network.junctions:
        part = Part(
            network,
            *(
                np.arange(count, dtype=np.int32)
                for count in (network.junctions, network.links, network.lanes, network.stages)
            ),
        )
    else:
        part = cut(network, around)
    new_lane = np.full(network.lanes + 1, -1, np.int32)
    new_lane[part.lanes] = np.arange(len(part.lanes))
    new_junction = np.full(network.junctions + 1, -1, np.int32)
    new_junction[part.junctions] = np.arange(len(part.junctions))
    inside = (new_lane[sensors.lane] >= 0) & (new_junction[sensors.junction] >= 0)
    inside &= (sensors.serves < 0) | (new_lane[sensors.serves] >= 0)
    which = np.flatnonzero(inside).astype(np.int32)
    own_mask = np.zeros(network.junctions + 1, dtype=bool)
    own_mask[own] = True
    own_lane = own_mask[link_owner][network.lane_link[part.lanes]]
    if len(own) == network.junctions:
        own_lane[:] = True
    found = Streets(
        part.network, streets.ends.take(part.links), _taken(sensors, which, new_lane, new_junction)
    )
    return found, OwnPart(
        part.junctions, part.links, part.lanes, part.stages, which,
        own_mask[part.junctions], own_lane, own_mask[sensors.junction[which]],
    )  # fmt: skip


def link_owners(network: Network) -> NDArray[np.int32]:
    """The signal each link belongs to: the next one down the road, else the last one up, else -1.

    Roads are followed as far as it takes; of several signals the lowest number.
    """
    owner = np.full(network.links, -1, dtype=np.int32)
    ends = network.link_junction >= 0
    owner[ends] = network.link_junction[ends]
    through = network.move_junction
    inner = through >= 0
    owner[network.move_from_link[inner]] = through[inner]
    free = ~inner
    from_link, to_link = network.move_from_link[free], network.move_to_link[free]
    _spread(owner, from_link, to_link)
    last = np.full(network.links, -1, dtype=np.int32)
    last[network.move_to_link[inner]] = through[inner]
    last[owner >= 0] = owner[owner >= 0]
    _spread(last, to_link, from_link)
    return np.where(owner >= 0, owner, last)


def _spread(owner: NDArray[np.int32], link: NDArray[np.int32], source: NDArray[np.int32]) -> None:
    """Links without an owner take that of the links they lead to, again and again."""
    none = np.iinfo(np.int32).max
    while True:
        best = np.full(len(owner), none, dtype=np.int32)
        known = owner[source] >= 0
        np.minimum.at(best, link[known], owner[source[known]])
        found = (owner < 0) & (best < none)
        if not found.any():
            return
        owner[found] = best[found]


def _taken(
    sensors: SensorTable, which: I4, new_lane: NDArray[np.int32], new_junction: NDArray[np.int32]
) -> SensorTable:
    return replace(
        sensors,
        ids=tuple(sensors.ids[k] for k in which.tolist()),
        kind=sensors.kind[which],
        lane=new_lane[sensors.lane[which]],
        serves=new_lane[sensors.serves[which]],
        junction=new_junction[sensors.junction[which]],
        start_m=sensors.start_m[which],
        end_m=sensors.end_m[which],
        distance_m=sensors.distance_m[which],
        alive=sensors.alive[which],
    )


def load_arrays(path: Path) -> dict[str, Any]:
    """Arrays of a work folder's file, by name.

    Raises
    ------
    InputError
        It is not there, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError.at(path, f"cannot be read ({error})", "start over") from None
