"""The list of a city's sensors: which stretch of which lane each looks at, as a CSV for people.

::

    id,kind,junction,lane,serves,start_m,end_m,distance_m
    A-01-1,loop_advance,C7,E12_0,E12_0,151.3,151.3,0

``id`` is what the feeds call it; a camera has a row for each stretch of lane it sees, and its
feed calls it by its junction. ``serves`` is the approach lane told of (empty: all that the lane
leads to), ``start_m`` and ``end_m`` lie along ``lane``, whose end is ``distance_m`` before the
stop line.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from topis.errors import InputError
from topis.model.network import Network
from topis.model.observation import KIND_NAMES, SensorTable

COLUMNS = ("id", "kind", "junction", "lane", "serves", "start_m", "end_m", "distance_m")


def write_sensors(path: Path, network: Network, sensors: SensorTable) -> None:
    """Write the list; what is dead is left out."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for k in np.flatnonzero(sensors.alive).tolist():
            serves = int(sensors.serves[k])
            writer.writerow(
                [
                    sensors.ids[k],
                    KIND_NAMES[sensors.kind[k]],
                    network.junction_ids[sensors.junction[k]],
                    network.lane_ids[sensors.lane[k]],
                    network.lane_ids[serves] if serves >= 0 else "",
                    *(f"{float(values[k]):.2f}" for values in _metres(sensors)),
                ]
            )


def read_sensors(path: Path, network: Network) -> SensorTable:
    """Read a list for a network. Probes are not in it: their share is unknown, 0.

    Raises
    ------
    InputError
        Missing, not such a list, a lane or kind that is unknown, a place off the lane, or a name
        told twice.
    """
    lanes = {name: number for number, name in enumerate(network.lane_ids)}
    served = {**lanes, "": -1}
    kinds = {name: number for number, name in enumerate(KIND_NAMES)}
    junctions = {name: number for number, name in enumerate(network.junction_ids)}
    rows: list[tuple[str, int, int, int, int, float, float, float]] = []
    names: set[str] = set()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise InputError.at(path, f"no column {min(missing)!r}", "see docs/data.md")
            for record in reader:
                where = f"row {reader.line_num}"
                name = record["id"]
                if not name or name in names:
                    raise InputError.at(path, f"{where}: id {name!r} empty or twice", "name each")
                names.add(name)
                lane, kind, junction = record["lane"], record["kind"], record["junction"]
                serves = record["serves"] or ""
                for known, wanted, what in (
                    (lanes, lane, "lane"),
                    (kinds, kind, "kind"),
                    (junctions, junction, "junction"),
                    (served, serves, "lane served"),
                ):
                    if wanted not in known:
                        raise InputError.at(
                            path, f"{where}: unknown {what} {wanted!r}", "is it of this network?"
                        )
                if serves and not network.is_approach_lane[lanes[serves]]:
                    raise InputError.at(
                        path,
                        f"{where}: lane served {serves!r} has no signal",
                        "name the lane at the stop line, or none",
                    )
                start, end, distance = (_number(path, where, record, c) for c in COLUMNS[5:])
                length_m = float(network.lane_length_m[lanes[lane]])
                if not 0.0 <= start <= end <= length_m + 0.01 or distance < 0.0:
                    raise InputError.at(
                        path,
                        f"{where}: {start:g} to {end:g} m lie not on {lane!r}",
                        f"it is {length_m:.2f} m long",
                    )
                rows.append(
                    (
                        name, kinds[kind], junctions[junction], lanes[lane],
                        lanes[serves] if serves else -1, start, min(end, length_m), distance,
                    )
                )  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError.at(path, f"cannot be read ({error})", "hand over a CSV") from None
    columns = list(zip(*rows, strict=True)) if rows else [()] * 8
    return SensorTable(
        ids=tuple(columns[0]),
        kind=np.array(columns[1], dtype=np.uint8),
        junction=np.array(columns[2], dtype=np.int32),
        lane=np.array(columns[3], dtype=np.int32),
        serves=np.array(columns[4], dtype=np.int32),
        start_m=np.array(columns[5], dtype=np.float32),
        end_m=np.array(columns[6], dtype=np.float32),
        distance_m=np.array(columns[7], dtype=np.float32),
        alive=np.ones(len(rows), dtype=bool),
        probe_share=0.0,
        probe_period_s=1.0,
        research_only=False,
    )


def _metres(
    sensors: SensorTable,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], ...]:
    return sensors.start_m, sensors.end_m, sensors.distance_m


def _number(path: Path, where: str, record: dict[str, str], column: str) -> float:
    try:
        value = float(record[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError.at(
            path, f"{where}: {column} is {record[column]!r}", "give metres as a number"
        )
    return value
