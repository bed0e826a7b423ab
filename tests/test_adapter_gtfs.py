"""GTFS-Realtime vehicle positions, and messages that are broken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from google.transit import gtfs_realtime_pb2

from tests.adapter_cases import EIGHT_MS, refused, take
from tests.test_ingest import stored
from topis.errors import InputError
from topis.ingest.pipeline import ingest


def feed_message(*, timestamp: int = EIGHT_MS // 1000) -> Any:
    message = gtfs_realtime_pb2.FeedMessage()
    message.header.gtfs_realtime_version = "2.0"
    message.header.timestamp = timestamp
    return message


def add(message: Any, vehicle: str, **told: Any) -> Any:
    entity = message.entity.add()
    entity.id = f"e{len(message.entity)}"
    entity.vehicle.vehicle.id = vehicle
    for name, value in {"latitude": 37.5, "longitude": 127.25, **told}.items():
        if name == "route":
            entity.vehicle.trip.route_id = value
        elif name == "timestamp":
            entity.vehicle.timestamp = value
        else:
            setattr(entity.vehicle.position, name, value)
    return entity


def test_gtfs_positions(tmp_path: Path) -> None:
    message = feed_message()
    add(message, "a", speed=10.5, bearing=90, route="100100118", timestamp=EIGHT_MS // 1000 - 7)
    add(message, "b", bearing=360, route="N13")
    add(message, "c", bearing=359.999, route="99999999999")
    archive, report = take(tmp_path, "vehicles.pb", message.SerializeToString())
    assert (report.rows, report.quarantined) == (3, 0)
    rows = sorted(stored(archive, "gps").to_pylist(), key=lambda r: (r["time"], -r["route"]))
    assert [r["time"].isoformat() for r in rows[:2]] == [
        "2026-11-16T22:59:53+00:00",
        "2026-11-16T23:00:00+00:00",
    ]
    a = rows[0]
    assert (a["lat_e7"], a["lon_e7"]) == (375_000_000, 1_272_500_000)
    assert (a["speed_cmps"], a["heading_cdeg"]) == (1050, 9000)
    assert (a["kind"], a["route"]) == (1, 100_100_118)
    assert [r["route"] for r in rows[1:]] == [0, 0]
    assert [r["heading_cdeg"] for r in rows[1:]] == [0, 0]
    assert [r["speed_cmps"] for r in rows[1:]] == [None, None]


GTFS_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no latitude": ({"latitude": None}, "no vehicle position"),
    "nan": ({"latitude": math.nan}, "lat_e7 is not finite"),
    "infinite": ({"longitude": -math.inf}, "lon_e7 is not finite"),
    "off the globe": ({"latitude": 91.0}, "lat_e7 is out of range"),
    "nan speed": ({"speed": math.nan}, "speed_cmps is not finite"),
    "km/h for m/s": ({"speed": 80.0}, "speed_cmps is out of range"),
    "bearing below nought": ({"bearing": -1.0}, "heading_cdeg is out of range"),
    "ms for s": ({"timestamp": EIGHT_MS}, "time is out of range"),
    "endless time": ({"timestamp": 2**64 - 1}, "time "),
}


@pytest.mark.parametrize("fault", GTFS_FAULTS)
def test_a_bad_entity_is_refused(tmp_path: Path, fault: str) -> None:
    told, reason = GTFS_FAULTS[fault]
    message = feed_message()
    add(message, "good")
    bad = add(message, "seoul70sa1234", **{k: v for k, v in told.items() if v is not None})
    for name in [k for k, v in told.items() if v is None]:
        bad.vehicle.position.ClearField(name)
    archive, report = take(tmp_path, "v.bin", message.SerializePartialToString())
    assert report.rows == report.quarantined == 1
    (row,) = refused(archive)
    assert row["reason"].startswith(reason)
    assert row["row"] == 2
    # A refused row does not give its vehicle away.
    assert "seoul70" not in row["raw"]


def test_entities_without_a_vehicle_or_a_time_are_refused(tmp_path: Path) -> None:
    message = feed_message(timestamp=0)
    add(message, "no time")
    add(message, "", timestamp=EIGHT_MS // 1000)
    add(message, "a", timestamp=EIGHT_MS // 1000)
    add(message, "a", timestamp=EIGHT_MS // 1000)
    update = message.entity.add()
    update.id = "u"
    update.trip_update.trip.trip_id = "t"
    _, report = take(tmp_path, "v.pb", message.SerializeToString())
    assert report.reasons == {
        "time is missing": 1,
        "vehicle is missing": 1,
        "no vehicle position": 1,
    }
    assert (report.rows, report.duplicates) == (1, 1)


@pytest.mark.parametrize("form", ["cut", "empty", "text", "other"])
def test_a_broken_message_has_a_clear_error(tmp_path: Path, form: str) -> None:
    message = feed_message()
    add(message, "a")
    content = {
        "cut": message.SerializeToString()[:-4],
        "empty": b"",
        "text": b'{"header": {"gtfsRealtimeVersion": "2.0"}}',
        "other": message.entity[0].SerializeToString(),
    }[form]
    (tmp_path / "v.pb").write_bytes(content)
    with pytest.raises(InputError, match="fetch it again"):
        ingest([tmp_path / "v.pb"], tmp_path / "archive")
