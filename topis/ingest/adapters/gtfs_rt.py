"""GTFS-Realtime vehicle positions: one message a file.

What it says is the standard's: speeds in m/s, bearings in degrees, times in Unix seconds. Routes
that are no numbers cannot be told apart here and are all 0. Vehicles' names are left out of the
text of refused rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from google.transit import gtfs_realtime_pb2

from topis.errors import InputError
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.adapters.texts import Record, batches, heading
from topis.ingest.rows import Parsed, Reject

_MAPPING = """
    feed = "gps"
    [columns]
    vehicle = "vehicle"
    time = { column = "time", unit = "unix s" }
    lat_e7 = { column = "lat", unit = "deg" }
    lon_e7 = { column = "lon", unit = "deg" }
    speed_cmps = { column = "speed", unit = "m/s" }
    heading_cdeg = { column = "bearing", unit = "deg" }
    kind = { value = 1 }
    route = "route"
    """
_LARGEST_ROUTE = 2**32 - 1


class GtfsRealtime:
    """Entities with a vehicle position; others (trip updates, alerts) are refused."""

    name = "gtfs-rt"
    text = "GTFS-Realtime vehicle positions (.pb, .bin)"

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        if path.suffix.lower() != ".bin" or not path.is_file():
            return path.suffix.lower() == ".pb"
        with path.open("rb") as file:
            head = file.read(3)
        # A header (field 1) that begins with its version (field 1).
        return len(head) == 3 and head[0] == head[2] == 0x0A

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        try:
            message = gtfs_realtime_pb2.FeedMessage.FromString(path.read_bytes())
        except OSError as error:
            raise InputError.at(path, f"cannot be read ({error.strerror})", "check it") from None
        except DecodeError as error:
            raise InputError.at(
                path, f"no whole GTFS-Realtime message ({error})", "fetch it again, to its end"
            ) from None
        if not message.HasField("header"):
            raise InputError.at(
                path, "is empty or no GTFS-Realtime message", "fetch it again, in binary form"
            )
        yield from batches(Mapping.parse(_MAPPING, path), path, _records(message), _nameless)


def _records(message: Any) -> Iterator[Record | Reject]:
    for number, entity in enumerate(message.entity, 1):
        vehicle = entity.vehicle
        position = vehicle.position
        if not (position.HasField("latitude") and position.HasField("longitude")):
            kinds = [field.name for field, _ in entity.ListFields() if field.name != "id"]
            yield Reject(number, "no vehicle position", ", ".join(kinds), _nameless(entity))
            continue
        route = vehicle.trip.route_id
        values = {
            "vehicle": vehicle.vehicle.id or vehicle.vehicle.label,
            "time": str(vehicle.timestamp or message.header.timestamp or ""),
            "lat": str(position.latitude),
            "lon": str(position.longitude),
            "speed": str(position.speed) if position.HasField("speed") else "",
            "bearing": heading(str(position.bearing)) if position.HasField("bearing") else "",
            "route": route if _is_number(route) else "0",
        }
        yield Record(number, values, entity)


def _is_number(route: str) -> bool:
    return route.isascii() and route.isdigit() and int(route) <= _LARGEST_ROUTE


def _nameless(entity: Any) -> str:
    """The entity's text without the names of its vehicle."""
    shown = type(entity).FromString(entity.SerializePartialToString())
    shown.ClearField("id")
    if shown.HasField("vehicle"):
        shown.vehicle.ClearField("vehicle")
    return text_format.MessageToString(shown, as_one_line=True)
