"""What SUMO writes: counts of its induction loops (E1), positions of its vehicles (FCD).

Its seconds count from midnight in Seoul of the day in which the file's name ends
(``e1_20261117.xml``). Read as a stream: files of any size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from topis.errors import InputError
from topis.ingest.adapters.crs import detect_crs
from topis.ingest.adapters.elements import elements, head_of, root_of
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.adapters.texts import NUMBER, Record, as_json, batches, heading, named_day_ms
from topis.ingest.rows import Parsed, Reject

_LOOPS = """
    feed = "count"
    [columns]
    site = "id"
    lane = { value = 0 }
    vehicle_class = { value = 0 }
    time = { column = "_time", unit = "unix ms" }
    period_s = "_period"
    vehicles = "nVehContrib"
    speed_cmps = { column = "_speed", unit = "m/s" }
    """
_POSITIONS = """
    feed = "gps"
    [columns]
    vehicle = "id"
    time = { column = "_time", unit = "unix ms" }
    lat_e7 = { column = "y", unit = "deg" }
    lon_e7 = { column = "x", unit = "deg" }
    speed_cmps = { column = "speed", unit = "m/s" }
    heading_cdeg = { column = "_heading", unit = "deg" }
    kind = "_kind"
    route = { value = 0 }
    """
#: Types of vehicles are the user's own; these names say what they are.
_KINDS = {"bus": "1", "taxi": "2", "DEFAULT_TAXITYPE": "2"}
#: SUMO writes its options above the data.
_GEO = re.compile(rb'<fcd-output\.geo value="(true|1|yes|on|x|t)"', re.IGNORECASE)


class SumoOutput:
    """E1 and FCD output, told apart by the root element."""

    name = "sumo"
    text = "SUMO induction loops (E1) and positions (FCD with --fcd-output.geo) (.xml)"

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        is_xml = path.suffix.lower() == ".xml" and path.is_file()
        return is_xml and root_of(head_of(path)) in ("detector", "fcd-export")

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        head = head_of(path)
        root = root_of(head)
        if root == "detector":
            mapping, found = _LOOPS, _loops(path, named_day_ms(path))
        elif root == "fcd-export":
            geo = _GEO.search(head) is not None
            mapping, found = _POSITIONS, _positions(path, named_day_ms(path), geo)
        else:
            raise InputError.at(
                path, "neither <detector> nor <fcd-export>", "hand over E1 or FCD output, whole"
            )
        yield from batches(Mapping.parse(mapping, path), path, found)


def _loops(path: Path, origin_ms: int) -> Iterator[Record | Reject]:
    number = 0
    for tag, given in elements(path):
        if tag != "interval":
            continue
        number += 1
        lacking = {"begin", "end", "id", "nVehContrib", "speed"} - given.keys()
        if lacking and number == 1:
            raise InputError.at(
                path, f"its intervals have no {min(lacking)}", "hand over output of an E1 loop"
            )
        begin, end = _number(given.get("begin", "")), _number(given.get("end", ""))
        if lacking:
            yield Reject(number, "an attribute is missing", min(lacking), as_json(given))
        elif begin is None or end is None:
            detail = f"{given['begin']} to {given['end']}"
            yield Reject(number, "time cannot be read", detail, as_json(given))
        else:
            made = {
                "_time": str(origin_ms + begin * 1000),
                "_period": str(end - begin),
                # No vehicle, no speed.
                "_speed": "" if _number(given["speed"]) == -1 else given["speed"],
            }
            yield Record(number, {**given, **made}, given)


def _positions(path: Path, origin_ms: int, geo: bool) -> Iterator[Record | Reject]:
    number, time, moment = 0, "", None
    for tag, given in elements(path):
        if tag == "timestep":
            time = given.get("time", "")
            moment = _number(time)
        if tag != "vehicle":
            continue
        number += 1
        if number == 1 and not geo and not _in_degrees(given):
            raise InputError.at(
                path,
                "its places are no longitudes and latitudes",
                "write it with --fcd-output.geo, of a network with a projection",
            )
        if moment is None:
            yield Reject(number, "time cannot be read", time, as_json(given))
            continue
        made = {
            "_time": str(origin_ms + moment * 1000),
            "_heading": heading(given.get("angle", "")),
            "_kind": _KINDS.get(given.get("type", ""), "3"),
        }
        yield Record(number, {**given, **made}, {"time": time, **given})


def _number(text: str) -> float | None:
    return float(text) if NUMBER.fullmatch(text) else None


def _in_degrees(given: dict[str, str]) -> bool:
    """Whether a place without a word of its system is one of the capital region in degrees."""
    try:
        return detect_crs(float(given["x"]), float(given["y"])) == "EPSG:4326"
    except (KeyError, ValueError, InputError):
        return False
