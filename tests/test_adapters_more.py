"""Recorded shapes of foreign files, one after another broken in every way we know."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from google.transit import gtfs_realtime_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import test_adapters as first
from tests.test_ingest import nothing_lost, stored
from topis.errors import InputError, OutputError
from topis.ingest.adapters.registry import adapter_for, adapters
from topis.ingest.adapters.spat import APPROACHES, MOVEMENTS, STATES
from topis.ingest.adapters.spreadsheet import SeoulSpreadsheet
from topis.ingest.adapters.utdf_out import write_utdf
from topis.ingest.dimensions import Dimensions
from topis.ingest.pipeline import SourceReport, ingest
from topis.ingest.rows import Parsed
from topis.model.schemas import FEEDS

Cells = list[list[Any]]
#: 2026-11-16T15:00Z, midnight in Seoul.
MIDNIGHT = "2026-11-16T15:00:00+00:00"
EIGHT_MS = 1_794_870_000_000


def take(tmp_path: Path, name: str, content: str | bytes) -> tuple[Path, SourceReport]:
    source = tmp_path / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    (report,) = ingest([source], tmp_path / "archive")
    nothing_lost([report])
    return tmp_path / "archive", report


def refused(archive: Path) -> list[dict[str, Any]]:
    (path,) = (archive / "quarantine").glob("*.parquet")
    return list(pq.read_table(path).to_pylist())


# ---- Seoul's monthly tables ----

SPEED_HEADER = [
    "일자", "요일", "도로명", "링크아이디", "시점명", "종점명", "방향", "거리", "차선수",
    "기능유형구분", "도심/외곽구분", "권역구분", *(f"~{h:02d}시" for h in range(1, 25)),
]  # fmt: skip
VOLUME_HEADER = [
    "일자", "요일", "지점명", "지점번호", "방향", "구분", *(f"{h}시" for h in range(24))
]  # fmt: skip


def speeds(day: object = 20261117, link: object = 1220003800, **cells: object) -> list[Any]:
    """A row; ``h8=...`` is what stands under ~08시."""
    ids = [
        day,
        "화",
        "세종대로",
        link,
        "서울역",
        "시청",
        "상행",
        812,
        4,
        "주간선",
        "도심",
        "도심권",
    ]
    return [*ids, *(cells.get(f"h{h}", 20 + h / 10) for h in range(1, 25))]


def volumes(day: object = 20261117, spot: object = "A-01", **cells: object) -> list[Any]:
    ids = [day, "화", "성산로", spot, "유입", "금화터널->독립문"]
    return [*ids, *(cells.get(f"h{h}", 100 + h) for h in range(24))]


def workbook(tables: dict[str, Cells]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, rows in tables.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def as_csv(rows: Cells) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def test_speeds_are_of_the_hour_that_ends_at_the_label(tmp_path: Path) -> None:
    rows = [SPEED_HEADER, speeds(h1=36, h24=None), [None] * 3, speeds(link="1220003801", h8=18.0)]
    content = workbook({"11월": rows, "설명": [["설명"]]})
    archive, report = take(tmp_path, "2026년 11월 서울시 차량통행속도.xlsx", content)
    assert (report.rows, report.quarantined) == (48, 0)
    table = stored(archive, "link_speed")
    assert set(table["period_s"].to_pylist()) == {3600}
    names = Dimensions(archive).names("links")
    by_key = {(names[r["link"]], r["time"].isoformat()): r for r in table.to_pylist()}
    assert by_key["1220003800", MIDNIGHT]["speed_cmps"] == 1000
    assert by_key["1220003800", "2026-11-17T14:00:00+00:00"]["speed_cmps"] is None
    assert by_key["1220003801", "2026-11-16T22:00:00+00:00"]["speed_cmps"] == 500


def test_volumes_are_of_the_hour_that_begins_at_the_label(tmp_path: Path) -> None:
    places = [["지점번호", "지점명", "위도", "경도"], ["A-01", "성산로", 37.56, 126.95]]
    content = workbook({"2026년 11월": [VOLUME_HEADER, volumes()], "수집지점 주소 및 좌표": places})
    archive, report = take(tmp_path, "11월 서울시 교통량 조사자료(2026).xlsx", content)
    assert (report.rows, report.quarantined) == (24, 0)
    table = stored(archive, "count").sort_by("time")
    assert table["vehicles"].to_pylist() == list(range(100, 124))
    assert table["time"].to_pylist()[0].isoformat() == MIDNIGHT
    assert table["time"].to_pylist()[-1].isoformat() == "2026-11-17T14:00:00+00:00"
    assert Dimensions(archive).names("sites") == {1: "A-01:금화터널->독립문"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("make", [speeds, volumes])
def test_a_table_is_the_same_as_csv_in_any_encoding(
    tmp_path: Path, encoding: str, make: Any
) -> None:
    header = SPEED_HEADER if make is speeds else VOLUME_HEADER
    feed = "link_speed" if make is speeds else "count"
    text = as_csv([header, make(), make("2026-11-18")])
    archive, report = take(tmp_path, "table.csv", text.encode(encoding))
    assert (report.rows, report.quarantined) == (48, 0)
    (tmp_path / "t.xlsx").write_bytes(workbook({"a": [header, make(), make("20261118")]}))
    ingest([tmp_path / "t.xlsx"], tmp_path / "other")
    assert stored(archive, feed).equals(stored(tmp_path / "other", feed))


SHEET_FAULTS: dict[str, tuple[list[Any], dict[str, int]]] = {
    "text": (speeds(h8="fast"), {"speed_cmps is not a number": 1}),
    "error value": (speeds(h8="#N/A"), {"speed_cmps is not a number": 1}),
    "nan": (speeds(h8="NaN"), {"speed_cmps is not finite": 1}),
    "negative": (speeds(h8=-1), {"speed_cmps is out of range": 1}),
    "too fast": (speeds(h8=300), {"speed_cmps is out of range": 1}),
    "no link": (speeds(link=None), {"link is missing": 24}),
    "no day": (speeds(day=None), {"time is missing": 24}),
    "no such day": (speeds(day=20261131), {"time cannot be read": 24}),
    "day as a serial number": (speeds(day=46343), {"time cannot be read": 24}),
    "old": (speeds(day=19700101), {"time is out of range": 24}),
    "one cell more": ([*speeds(), 5], {"wrong number of columns": 1}),
}


@pytest.mark.parametrize("fault", SHEET_FAULTS)
@pytest.mark.parametrize("suffix", ["xlsx", "csv"])
def test_a_bad_cell_costs_its_hour_only(tmp_path: Path, fault: str, suffix: str) -> None:
    row, reasons = SHEET_FAULTS[fault]
    rows = [SPEED_HEADER, speeds(day=20261101), row]
    content = workbook({"11월": rows}) if suffix == "xlsx" else as_csv(rows)
    archive, report = take(tmp_path, f"a.{suffix}", content)
    assert report.reasons == reasons
    one_hour = min(reasons).startswith("speed_cmps")
    assert report.rows == (24 + 23 if one_hour else 24)
    out = refused(archive)
    assert {r["row"] for r in out} == {3}
    assert {r["feed"] for r in out} == {"link_speed"}
    if one_hour:
        assert "~08시" in out[0]["raw"]
        assert "~07시" not in out[0]["raw"]


def test_days_of_excel_and_repeated_rows(tmp_path: Path) -> None:
    day = pa.scalar(1_794_700_800_000, pa.timestamp("ms")).as_py().replace(hour=0)
    rows = [["서울시 차량통행속도"], [], SPEED_HEADER, speeds(day=day), speeds(day=day)]
    archive, report = take(tmp_path, "a.xlsx", workbook({"x": rows}))
    assert (report.rows, report.duplicates, report.quarantined) == (24, 24, 0)
    assert min(stored(archive, "link_speed")["time"].to_pylist()).hour == 15


def test_a_volume_row_cut_short_is_refused(tmp_path: Path) -> None:
    text = as_csv([VOLUME_HEADER, volumes(h3=1e9), volumes(20261118)])
    archive, report = take(tmp_path, "a.csv", text[:-40])
    assert report.reasons == {"wrong number of columns": 1, "vehicles is out of range": 1}
    assert sorted(r["row"] for r in refused(archive)) == [2, 3]
    assert report.rows == 23


def sheet_errors() -> Iterator[tuple[str, bytes, str]]:
    whole = workbook({"a": [SPEED_HEADER, *(speeds(link=k) for k in range(500))]})
    yield "cut.xlsx", whole[: len(whole) // 2], "cannot be read"
    yield "damaged.xlsx", whole[:2000] + bytes(200) + whole[2200:], "cannot be read"
    yield "empty.xlsx", b"", "cannot be read"
    yield "html.xlsx", b"<html><body>Error</body></html>", "cannot be read"
    yield "no_rows.xlsx", workbook({"a": []}), "no table of speeds or volumes"
    yield "other.xlsx", workbook({"a": [["a", "b"], [1, 2]]}), "no table of speeds or volumes"
    no_link = [name for name in SPEED_HEADER if name != "링크아이디"]
    yield "no_link.xlsx", workbook({"a": [no_link]}), "no table of speeds or volumes"
    no_hour = [name for name in SPEED_HEADER if name != "~05시"]
    yield "no_hour.xlsx", workbook({"a": [no_hour]}), "no column '~05시'"
    no_kind = [name for name in VOLUME_HEADER if name != "구분"]
    yield "no_kind.csv", as_csv([no_kind]).encode("cp949"), "no column '구분'"
    yield "utf16.csv", as_csv([SPEED_HEADER]).encode("utf-16"), "no format claims"


@pytest.mark.parametrize(("name", "content", "words"), list(sheet_errors()))
def test_a_broken_table_has_a_clear_error(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        ingest([tmp_path / name], tmp_path / "archive")


# ---- GTFS-Realtime ----


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


# ---- SUMO ----

LOOPS = """<?xml version="1.0" encoding="UTF-8"?>
<!-- generated on 2026-11-17T08:00:00 by Eclipse SUMO sumo 1.28.0
<sumoConfiguration><output><fcd-output value="fcd.xml"/></output></sumoConfiguration>
-->
<detector xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
    <interval begin="25200.00" end="25260.00" id="d0" nVehContrib="9" flow="540.00" \
occupancy="6.00" speed="12.50" harmonicMeanSpeed="12.00" length="5.00" nVehEntered="9"/>
    <interval begin="25260.00" end="25320.00" id="d0" nVehContrib="0" flow="0.00" \
occupancy="0.00" speed="-1.00" harmonicMeanSpeed="-1.00" length="-1.00" nVehEntered="0"/>
{}</detector>
"""
INTERVAL = (
    '<interval begin="{begin}" end="{end}" id="{id}" nVehContrib="{count}" flow="1.00" '
    'occupancy="1.00" speed="{speed}"/>\n'
)
FCD = """<?xml version="1.0" encoding="UTF-8"?>
<!-- generated by Eclipse SUMO
<sumoConfiguration><output><fcd-output value="fcd.xml"/>{geo}</output></sumoConfiguration>
-->
<fcd-export>
    <timestep time="28800.00"/>
    <timestep time="28800.50">
        <vehicle id="b.0" x="{x}" y="{y}" angle="360.00" type="bus" speed="13.89" pos="4.40" \
lane="e1_0" slope="0.00"/>
        <person id="p" x="{x}" y="{y}" angle="0.00" speed="1.0" pos="1.0" edge="e1"/>
    </timestep>
{more}</fcd-export>
"""
GEO = '<fcd-output.geo value="true"/>'


def fcd(*, geo: str = GEO, x: str = "127.027600", y: str = "37.497900", more: str = "") -> str:
    return FCD.format(geo=geo, x=x, y=y, more=more)


def test_sumo_loops(tmp_path: Path) -> None:
    archive, report = take(tmp_path, "e1_20261117.xml", LOOPS.format(""))
    assert (report.rows, report.quarantined) == (2, 0)
    one, two = stored(archive, "count").to_pylist()
    assert (one["vehicles"], one["speed_cmps"], one["period_s"]) == (9, 1250, 60)
    assert one["time"].isoformat() == "2026-11-16T22:00:00+00:00"
    assert (one["lane"], one["vehicle_class"]) == (0, 0)
    assert (two["vehicles"], two["speed_cmps"]) == (0, None)
    assert Dimensions(archive).names("sites") == {1: "d0"}


LOOP_FAULTS: dict[str, tuple[dict[str, str], str]] = {
    "no begin": ({"begin": ""}, "time cannot be read"),
    "clock time": ({"begin": "07:00:00", "end": "07:01:00"}, "time cannot be read"),
    "endless": ({"begin": "inf"}, "time cannot be read"),
    "far off": ({"begin": "1e30", "end": "1e31"}, "period_s is out of range"),
    "no time at all": ({"end": "25320"}, "period_s is out of range"),
    "backwards": ({"end": "25260"}, "period_s is out of range"),
    "no name": ({"id": " "}, "site is missing"),
    "half a vehicle": ({"count": "x"}, "vehicles is not a number"),
    "fewer than none": ({"count": "-1"}, "vehicles is out of range"),
    "nan": ({"speed": "nan"}, "speed_cmps is not finite"),
    "too fast": ({"speed": "71"}, "speed_cmps is out of range"),
    "backing": ({"speed": "-2.00"}, "speed_cmps is out of range"),
}


@pytest.mark.parametrize("fault", LOOP_FAULTS)
def test_a_bad_interval_is_refused(tmp_path: Path, fault: str) -> None:
    given, reason = LOOP_FAULTS[fault]
    good = {"begin": "25320", "end": "25380", "id": "d0", "count": "3", "speed": "5"}
    archive, report = take(
        tmp_path, "e1_20261117.xml", LOOPS.format(INTERVAL.format(**{**good, **given}))
    )
    assert (report.rows, report.quarantined) == (2, 1)
    (row,) = refused(archive)
    # A time so far off has a period so long.
    assert row["reason"] == reason or fault == "far off"
    assert row["row"] == 3


def test_an_interval_without_an_attribute_and_one_twice(tmp_path: Path) -> None:
    bare = '<interval begin="25320" end="25380" id="d0" speed="3"/>'
    same = INTERVAL.format(begin="25200", end="25260", id="d0", count="9", speed="12.5")
    archive, report = take(tmp_path, "e1_20261117.xml", LOOPS.format(bare + same))
    assert report.reasons == {"an attribute is missing": 1}
    assert report.duplicates == 1
    assert refused(archive)[0]["detail"] == "nVehContrib"


@pytest.mark.parametrize("geo", [GEO, ""])
def test_sumo_positions(tmp_path: Path, geo: str) -> None:
    more = """<timestep time="28801.00">
    <vehicle id="t" x="127.02" y="37.49" angle="77.59" type="taxi" speed="0" lane="e1_0"/>
    <vehicle id="c" x="127.02" y="37.49" angle="77.59" type="pkw" speed="0" lane="e1_0"/>
    </timestep>"""
    archive, report = take(tmp_path, "fcd_20261117.xml", fcd(geo=geo, more=more))
    assert (report.rows, report.quarantined) == (3, 0)
    table = stored(archive, "gps").sort_by([("time", "ascending"), ("kind", "ascending")])
    bus, taxi, car = table.to_pylist()
    assert bus["time"].isoformat() == "2026-11-16T23:00:00.500000+00:00"
    assert (bus["lat_e7"], bus["lon_e7"]) == (374_979_000, 1_270_276_000)
    assert (bus["speed_cmps"], bus["heading_cdeg"], bus["route"]) == (1389, 0, 0)
    assert (bus["kind"], taxi["kind"], car["kind"]) == (1, 2, 3)
    assert car["heading_cdeg"] == 7759


def test_bad_positions_are_refused(tmp_path: Path) -> None:
    row = '<vehicle id="{}" x="{}" y="{}" angle="{}" type="pkw" speed="{}"/>'
    rows = [
        row.format("a", "nan", "37.5", "0", "1"),
        row.format("b", "127", "91", "0", "1"),
        row.format("c", "127", "", "0", "1"),
        row.format("", "127", "37", "0", "1"),
        row.format("e", "127", "37", "361", "1"),
        row.format("f", "127", "37", "0", "fast"),
        '<vehicle id="g" angle="0" type="pkw" speed="0"/>',
    ]
    late = '<timestep time="soon">' + row.format("a", "127", "37", "0", "1") + "</timestep>"
    more = f'<timestep time="28802.00">{"".join(rows)}</timestep>{late}'
    _, report = take(tmp_path, "fcd_20261117.xml", fcd(more=more))
    assert report.rows == 1
    assert report.reasons == {
        "lon_e7 is not finite": 1,
        "lat_e7 is out of range": 1,
        "lat_e7 is missing": 2,
        "vehicle is missing": 1,
        "heading_cdeg is out of range": 1,
        "speed_cmps is not a number": 1,
        "time cannot be read": 1,
    }


SUMO_ERRORS = {
    "metres_20261117.xml": (fcd(geo="", x="1012.40", y="388.10"), "--fcd-output.geo"),
    "near_20261117.xml": (fcd(geo="", x="100.40", y="37.10"), "--fcd-output.geo"),
    "fcd.xml": (fcd(), "fcd_20261117.xml"),
    "e1_2026-11-17.xml": (LOOPS.format(""), "end the file's name in the day"),
    "e1_20261331.xml": (LOOPS.format(""), "end the file's name in the day"),
    "cut_20261117.xml": (fcd()[:-20], "when the run is over"),
    "e2_20261117.xml": (
        '<detector><interval begin="0" end="60" id="e2" sampledSeconds="0" speed="1"/></detector>',
        "output of an E1 loop",
    ),
    "empty_20261117.xml": ("", "no format claims"),
    "net_20261117.xml": ("<net><!-- <detector> --></net>", "no format claims"),
}


@pytest.mark.parametrize("name", SUMO_ERRORS)
def test_sumo_output_that_cannot_be_read_has_a_clear_error(tmp_path: Path, name: str) -> None:
    content, words = SUMO_ERRORS[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        ingest([tmp_path / name], tmp_path / "archive")
    assert (
        not stored(tmp_path / "archive", "gps").num_rows if (tmp_path / "archive").is_dir() else 1
    )


# ---- T-Data SPaT ----


def spat(**fields: Any) -> dict[str, Any]:
    """A message as the fusion service answers, most fields null."""
    empty = {
        f"{a}{m}sg{what}": None
        for a in APPROACHES
        for m in MOVEMENTS
        for what in ("RmdrCs", "StatNm")
    }
    told = {"dataId": "SPAT-1", "trsmUtcTime": EIGHT_MS + 725, "itstId": "1850", "eqmnId": "CIB1"}
    return {**told, **empty, **fields}


def test_spat_signals(tmp_path: Path) -> None:
    message = spat(
        ntStsgRmdrCs=185.0, ntStsgStatNm="protected-Movement-Allowed",
        etLtsgRmdrCs="62", etLtsgStatNm="stop-And-Remain",
        nwBcsgRmdrCs=36001, nwBcsgStatNm="dark",
        wtPdsgRmdrCs=0, swUtsgStatNm="permissive-clearance",
    )  # fmt: skip
    archive, report = take(tmp_path, "spat.json", json.dumps([message]))
    assert (report.rows, report.quarantined) == (5, 0)
    rows = {r["signal"]: r for r in stored(archive, "spat").to_pylist()}
    found = {s: (r["state"], r["remaining_ds"]) for s, r in rows.items()}
    assert found == {
        0: (6, 185),
        8 * 2 + 1: (3, 62),
        8 * 6 + 2: (0, 0),
        8 * 5 + 3: (7, None),
        8 * 7 + 5: (1, None),
    }
    assert rows[0]["time"].isoformat() == "2026-11-16T23:00:00.725000+00:00"
    assert Dimensions(archive).names("controllers") == {1: "1850"}


def test_each_signal_has_a_number_of_its_own(tmp_path: Path) -> None:
    names = [f"{a}{m}sg" for a in APPROACHES for m in MOVEMENTS]
    told = {f"{n}RmdrCs": i for i, n in enumerate(names)}
    states = {f"{n}StatNm": STATES[i % 10].upper() for i, n in enumerate(names)}
    archive, report = take(tmp_path, "s.json", json.dumps({"items": [spat(**told, **states)]}))
    assert report.rows == 48
    for row in stored(archive, "spat").to_pylist():
        approach, movement = divmod(row["signal"], 8)
        place = names.index(f"{APPROACHES[approach]}{MOVEMENTS[movement]}sg")
        assert (row["remaining_ds"], row["state"]) == (place, place % 10)


GREEN = {"ntStsgRmdrCs": 10, "ntStsgStatNm": "protected-Movement-Allowed"}
SPAT_FAULTS: dict[str, tuple[Any, str]] = {
    "unknown state": (spat(**{**GREEN, "ntStsgStatNm": "green"}), "state is unknown"),
    "state as a number": (spat(**{**GREEN, "ntStsgStatNm": 6}), "state is unknown"),
    "beyond the sentinels": (
        spat(**{**GREEN, "ntStsgRmdrCs": 36002}),
        "remaining_ds is out of range",
    ),
    "negative": (spat(**{**GREEN, "ntStsgRmdrCs": -1}), "remaining_ds is out of range"),
    "text": (spat(**{**GREEN, "ntStsgRmdrCs": "10s"}), "remaining_ds is not a number"),
    "nan": (spat(**{**GREEN, "ntStsgRmdrCs": math.nan}), "remaining_ds is not finite"),
    "list": (spat(**{**GREEN, "ntStsgRmdrCs": [10]}), "remaining_ds is not a number"),
    "no time": (spat(**GREEN, trsmUtcTime=None), "time is missing"),
    "written time": (spat(**GREEN, trsmUtcTime="2026-11-17 08:00"), "time cannot be read"),
    "time in s": (spat(**GREEN, trsmUtcTime=EIGHT_MS // 1000), "time is out of range"),
    "no junction": (spat(**GREEN, itstId=None), "controller is missing"),
    "all null": (spat(), "no signal in the message"),
    "no object": ("SPAT", "not a JSON object"),
}


@pytest.mark.parametrize("fault", SPAT_FAULTS)
def test_a_bad_message_is_refused(tmp_path: Path, fault: str) -> None:
    bad, reason = SPAT_FAULTS[fault]
    good = spat(**GREEN)
    later = {**good, "trsmUtcTime": EIGHT_MS}
    archive, report = take(tmp_path, "s.json", json.dumps([good, later, bad, good]))
    assert (report.rows, report.duplicates) == (2, 1)
    assert report.reasons == {reason: 1}
    assert refused(archive)[0]["row"] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps([spat(**GREEN)])[:-5], "is it whole"),
        ("", "is it whole"),
        ('{"itstId": 1, "trsmUtcTime": 5}', "no list of messages"),
        ('"itstId"', "no list of messages"),
    ],
)
def test_a_broken_answer_has_a_clear_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match=words):
        ingest([tmp_path / "s.json"], tmp_path / "archive", form="spat")


# ---- Synchro UTDF ----

UTDF = """[Network]
Network Settings
RECORDNAME,DATA
UTDFVERSION,8
[Timeplans]
Timing Plan Settings
RECORDNAME,INTID,DATA
Control Type,7,3
Cycle Length,7,90.0
Offset,7,12.5
Referenced To,7,0
[Phases]
Phasing Data
RECORDNAME,INTID,D1,D2,D3,D4,D5,D6,D7,D8
BRP,7,112,111,121,122,211,212,221,222
MinGreen,7,5,10,,8,,,,
MaxGreen,7,20.5,35,,24,,0,,
Yellow,7,3.5,3,,3,,0.0,,
AllRed,7,1,1,,0,,0,,
"""


def test_utdf_phases_in_the_order_of_their_barriers(tmp_path: Path) -> None:
    archive, report = take(tmp_path, "plan_20261117.csv", UTDF)
    assert (report.rows, report.quarantined) == (3, 0)
    table = stored(archive, "plan")
    # D2 leads D1: its place in the ring comes first.
    assert table["split_ms"].to_pylist() == [39_000, 25_000, 27_000]
    assert table["stage"].to_pylist() == [0, 1, 2]
    assert set(table["cycle_ms"].to_pylist()) == {90_000}
    assert set(table["offset_ms"].to_pylist()) == {12_500}
    assert set(table["plan"].to_pylist()) == {1}
    assert table["time"].to_pylist()[0].isoformat() == MIDNIGHT
    assert Dimensions(archive).names("controllers") == {1: "7"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[Timeplans]", "[Timing Plans]"),
        ("[Network]", '"[Network]",,,'),
        ("\n", "\r\n"),
        ("BRP,7,112,111,121,122,211,212,221,222\n", ""),
        ("[Network]", "\ufeff[Network]"),
    ],
)
def test_utdf_as_others_write_it(tmp_path: Path, old: str, new: str) -> None:
    _, report = take(tmp_path, "plan_20261117.csv", UTDF.replace(old, new))
    assert (report.rows, report.quarantined) == (3, 0)


OFFSET = "Offset,7,12.5\n"
#: What is replaced by what, why rows are refused, how many are left.
UTDF_FAULTS: dict[str, tuple[str, str, dict[str, int], int]] = {
    "text": ("20.5,35", "long,35", {"split_ms is not a number": 1}, 2),
    "nan": ("20.5,35", "nan,35", {"split_ms is not finite": 1}, 2),
    "too long": ("20.5,35", "2000,35", {"split_ms is out of range": 1}, 2),
    "negative": ("20.5,35", "-20,35", {"split_ms is out of range": 1}, 2),
    "blank green": ("20.5,35", ",35", {"split_ms is missing": 1}, 2),
    "no all-red": ("AllRed,7,1,1,,0,,0,,\n", "", {"split_ms is missing": 3}, 0),
    "no cycle": ("Cycle Length,7,90.0\n", "", {"cycle_ms is missing": 3}, 0),
    "short cycle": ("90.0", "0", {"cycle_ms is out of range": 3}, 0),
    "no offset": (OFFSET, "", {"offset_ms is missing": 3}, 0),
    "bad BRP": ("112,111", "1,111", {"BRP cannot be read": 1}, 2),
    "no phases": (UTDF[UTDF.index("MaxGreen") :], "", {"controller without phases": 1}, 0),
    "twice": (OFFSET, OFFSET * 2, {"record comes twice": 1}, 3),
    "no INTID": (OFFSET, f"{OFFSET}Offset,,3\n", {"controller is missing": 1}, 3),
    "one cell more": (OFFSET, f"{OFFSET}Offset,7,1,4\n", {"wrong number of columns": 1}, 3),
    "bad plan": (OFFSET, f"{OFFSET}TOPIS Plan,7,x\n", {"plan is not a number": 3}, 0),
    "bad time": (OFFSET, f"{OFFSET}TOPIS Time,7,x\n", {"time cannot be read": 3}, 0),
}


@pytest.mark.parametrize("fault", UTDF_FAULTS)
def test_a_bad_record_is_refused(tmp_path: Path, fault: str) -> None:
    old, new, reasons, rows = UTDF_FAULTS[fault]
    assert old in UTDF
    archive, report = take(tmp_path, "plan_20261117.csv", UTDF.replace(old, new))
    assert (report.reasons, report.rows) == (reasons, rows)
    assert {r["feed"] for r in refused(archive)} == {"plan"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("plan.csv", UTDF, "end the file's name in the day"),
        ("p_20261117.csv", UTDF[: UTDF.index("[Phases]")], r"no section \[Phases\]"),
        ("p_20261117.csv", UTDF[: UTDF.index("RECORDNAME,INTID,D1")], r"no section \[Phases\]"),
        ("p_20261117.csv", UTDF.replace("INTID,DATA", "INTID,VALUE"), "has no DATA"),
        ("p_20261117.csv", UTDF.replace("INTID,D1", "NODE,D1"), "has no INTID"),
        ("p_20261117.csv", "", "no section"),
    ],
)
def test_broken_utdf_has_a_clear_error(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        ingest([tmp_path / name], tmp_path / "archive", form="utdf")


def plan_rows(rows: list[tuple[int, int, int, int, int, list[int]]]) -> pa.Table:
    """Canonical plans of (controller, plan, time, cycle, offset, splits)."""
    feed = FEEDS["plan"]
    values = [
        (c, plan, stage, time, cycle, offset, split, 0)
        for c, plan, time, cycle, offset, splits in rows
        for stage, split in enumerate(splits)
    ]
    columns = [pa.array(list(column), pa.int64()) for column in zip(*values, strict=True)]
    return pa.table(
        {n: c.cast(feed.column(n).type) for n, c in zip(feed.schema.names, columns, strict=True)},
        schema=feed.schema,
    )


one_plan = st.tuples(
    st.integers(0, 65_535),
    st.integers(EIGHT_MS, EIGHT_MS + 10**9),
    st.integers(10_000, 600_000),
    st.integers(0, 600_000),
    st.lists(st.integers(1000, 600_000), min_size=1, max_size=20),
)


@settings(max_examples=25, deadline=None)
@given(plans=st.lists(one_plan, min_size=1, max_size=4))
def test_plans_written_are_read_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, plans: list[tuple[int, int, int, int, list[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("utdf")
    table = plan_rows([(key, *plan) for key, plan in enumerate(plans, 1)])
    names = {key: str(1000 + key) for key in range(1, len(plans) + 1)}
    write_utdf(folder / "plans.csv", table, names)
    assert adapter_for(folder / "plans.csv").name == "utdf"
    (report,) = ingest([folder / "plans.csv"], folder / "archive")
    nothing_lost([report])
    assert report.quarantined == 0
    order = [("controller", "ascending"), ("stage", "ascending")]
    again = stored(folder / "archive", "plan").sort_by(order)
    assert again.equals(table.replace_schema_metadata())
    assert Dimensions(folder / "archive").names("controllers") == names


def test_plans_that_utdf_cannot_tell_are_refused(tmp_path: Path) -> None:
    plan = (3, EIGHT_MS, 90_000, 0, [40_000, 50_000])
    whole = plan_rows([(1, *plan)])
    out = tmp_path / "p.csv"
    with pytest.raises(InputError, match="no INTID"):
        write_utdf(out, whole, {1: "강남역"})
    with pytest.raises(InputError, match="two plans"):
        write_utdf(out, plan_rows([(1, *plan), (1, 4, *plan[1:])]), {})
    with pytest.raises(InputError, match="stage is missing"):
        write_utdf(out, whole.filter(pc.equal(whole["stage"], 1)), {})
    assert not out.exists()
    with pytest.raises(OutputError, match="cannot be written"):
        write_utdf(tmp_path / "no" / "p.csv", whole, {})
    write_utdf(out, whole, {}, yellow_ms=4000, all_red_ms=2000)
    assert "MaxGreen,1,34,44," in out.read_text()


# ---- which adapter reads what ----


def every_fixture() -> list[tuple[str, str | bytes, str]]:
    message = feed_message()
    add(message, "a")
    binary = message.SerializeToString()
    return [
        ("TrafficInfo_20261117083000.xml", first.SPEEDS, "seoul"),
        ("vol.json", json.dumps(first.COUNTS), "seoul"),
        ("acc.xml", first.INCIDENTS, "seoul"),
        ("bus.xml", first.BUSES, "seoul"),
        ("hires.csv", first.EVENTS, "indiana"),
        ("a.parquet", b"PAR1", "canonical"),
        ("speed.xlsx", workbook({"a": [SPEED_HEADER, speeds()]}), "spreadsheet"),
        ("speed.csv", as_csv([SPEED_HEADER, speeds()]).encode("cp949"), "spreadsheet"),
        ("volume.csv", as_csv([VOLUME_HEADER, volumes()]), "spreadsheet"),
        ("v.pb", binary, "gtfs-rt"),
        ("v.bin", binary, "gtfs-rt"),
        ("e1_20261117.xml", LOOPS.format(""), "sumo"),
        ("fcd_20261117.xml", fcd(), "sumo"),
        ("s.json", json.dumps([spat(**GREEN)]), "spat"),
        ("s2.json", json.dumps({"items": [spat(**GREEN)]}), "spat"),
        ("p_20261117.csv", UTDF, "utdf"),
        ("other.csv", "a,b\n1,2\n", ""),
        ("other.bin", b"\x00\x01\x02", ""),
        ("other.json", "[]", ""),
        ("other.xml", "<net/>", ""),
        ("empty.csv", "", ""),
    ]


@pytest.mark.parametrize(
    ("name", "content", "wanted"), every_fixture(), ids=[f[0] for f in every_fixture()]
)
def test_each_file_is_claimed_by_its_adapter_only(
    tmp_path: Path, name: str, content: str | bytes, wanted: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert [a.name for a in adapters() if a.claims(path)] == ([wanted] if wanted else [])
    if wanted:
        assert adapter_for(path).name == wanted
    # A name alone is no content, and never an error.
    assert not any(a.claims(tmp_path / f"gone{s}") for a in adapters() for s in (".csv", ".bin"))


def test_big_tables_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topis.ingest.adapters.texts.BATCH_ROWS", 100)
    (tmp_path / "a.csv").write_text(as_csv([SPEED_HEADER, *(speeds(link=k) for k in range(1, 11))]))
    parts: list[Parsed] = list(SeoulSpreadsheet().read(tmp_path / "a.csv"))
    assert [len(p.rows.row) for p in parts if p.rows] == [100, 100, 40]
    assert json.loads(parts[2].rows.raw(39) if parts[2].rows else "")["~24시"] == "22.4"
