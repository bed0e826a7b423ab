"""GTFS timetables, written here, and timetables that are broken."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.adapter_cases import refused, take
from tests.test_ingest import nothing_lost, stored
from topis.errors import InputError
from topis.ingest.dimensions import Dimensions
from topis.ingest.pipeline import SourceReport, ingest

TUESDAY = "seoul_20261117.zip"
TABLES = {
    "agency": "agency_id,agency_name,agency_url,agency_timezone\n1,Bus,http://b,Asia/Seoul\n",
    "stops": """\
stop_id,stop_name,stop_lat,stop_lon
A,Gangnam,37.4979,127.0276
B,"Yeoksam, exit 3",37.5006,127.0364
C,Seolleung,37.5045,127.0490
""",
    "routes": "route_id,route_short_name,route_type\n100100118,146,3\nN13,N13,3\n",
    "trips": """\
route_id,service_id,trip_id,direction_id,block_id,shape_id
100100118,WEEK,t1,0,b1,s1
100100118,WEEK,t2,1,b1,
N13,NIGHT,n1,,,
100100118,SUNDAY,u1,0,,
""",
    "stop_times": """\
trip_id,arrival_time,departure_time,stop_id,stop_sequence,shape_dist_traveled
t1,08:00:00,08:00:30,A,1,0
t1,08:04:00,08:04:20,B,2,0.9
t1,8:10:00,8:10:00,C,5,2.2
t2,08:15:00,08:15:00,C,1,
t2,,,B,2,
t2,08:25:00,,A,3,
n1,23:59:00,23:59:30,A,0,
n1,24:10:00,24:10:10,B,1,
n1,25:30:00,25:30:00,C,2,
u1,09:00:00,09:00:00,A,1,
""",
    "calendar": """\
service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date
WEEK,1,1,1,1,1,0,0,20260101,20261231
NIGHT,1,1,1,1,1,1,1,20260101,20261231
SUNDAY,0,0,0,0,0,0,1,20260101,20261231
""",
    "shapes": """\
shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence,shape_dist_traveled
s1,37.5045,127.0490,10,2.2
s1,37.4979,127.0276,1,0
s1,37.5006,127.0364,2,0.9
""",
}


def zipped(tables: Mapping[str, str | bytes], folder: str = "") -> bytes:
    """A timetable as a zip file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tables.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}{name}.txt"), content)
    return packed.getvalue()


def rows_of(archive: Path) -> list[dict[str, Any]]:
    """All rows with their names, in order of trip and sequence."""
    names = Dimensions(archive)
    rows = stored(archive, "stop_time").to_pylist()
    for row in rows:
        for column in ("route", "stop", "trip", "block"):
            row[column] = names.names(f"{column}s").get(row[column])
    return sorted(rows, key=lambda row: (row["trip"], row["sequence"]))


def changed(table: str, old: str, new: str) -> dict[str, str]:
    assert old in TABLES[table]
    return {**TABLES, table: TABLES[table].replace(old, new)}


def test_a_timetable_of_a_day(tmp_path: Path) -> None:
    archive, report = take(tmp_path, TUESDAY, zipped(TABLES))
    assert (report.rows, report.quarantined, report.late) == (9, 0, 0)
    rows = rows_of(archive)
    assert [(r["trip"], r["stop"], r["sequence"]) for r in rows] == [
        ("n1", "A", 0), ("n1", "B", 1), ("n1", "C", 2),
        ("t1", "A", 1), ("t1", "B", 2), ("t1", "C", 5),
        ("t2", "C", 1), ("t2", "B", 2), ("t2", "A", 3),
    ]  # fmt: skip
    first = rows[3]
    assert first["time"].isoformat() == "2026-11-16T23:00:00+00:00"
    assert first["departure"].isoformat() == "2026-11-16T23:00:30+00:00"
    assert (first["route"], first["direction"], first["block"]) == ("100100118", 0, "b1")
    assert (first["lat_e7"], first["lon_e7"]) == (374_979_000, 1_270_276_000)
    assert {r["service_day"] for r in rows} == {20261117}
    # Past midnight it is still that day's service.
    assert rows[2]["time"].isoformat() == "2026-11-17T16:30:00+00:00"
    assert (rows[0]["direction"], rows[0]["block"]) == (None, None)


def test_times_left_out_are_put_in_between(tmp_path: Path) -> None:
    archive, _ = take(tmp_path, TUESDAY, zipped(TABLES))
    between, last = (row for row in rows_of(archive) if row["trip"] == "t2" and row["sequence"] > 1)
    assert between["time"].isoformat() == "2026-11-16T23:20:00+00:00"
    assert (between["timed"], last["timed"]) == (0, 1)
    # Where one of both is told, it is both.
    assert last["time"] == last["departure"]


def test_by_the_way_where_the_timetable_measures_it(tmp_path: Path) -> None:
    tables = changed("stop_times", "t1,08:04:00,08:04:20,B,2,0.9", "t1,,,B,2,1.1")
    archive, report = take(tmp_path, TUESDAY, zipped(tables))
    assert report.quarantined == 0
    rows = [row for row in rows_of(archive) if row["trip"] == "t1"]
    # Half the way in half the time, from departure to arrival.
    assert rows[1]["time"].isoformat() == "2026-11-16T23:05:15+00:00"
    along_m = [row["along_dm"] / 10 for row in rows]
    assert along_m[0] == 0
    # 834 m to the second point, 1194 m on to the third; 0.2 of 1.3 of them.
    assert along_m[1] == pytest.approx(833 + 1193 * 0.2 / 1.3, abs=5)
    assert along_m[2] == pytest.approx(833 + 1193, abs=5)
    assert all(r["along_dm"] is None for r in rows_of(archive) if r["trip"] != "t1")


@pytest.mark.parametrize(
    ("day", "dates", "trips"),
    [
        ("20261117", "WEEK,20261117,2", {"n1"}),
        ("20261117", "SUNDAY,20261117,1", {"t1", "t2", "n1", "u1"}),
        ("20261117", "WEEK,20261118,2", {"t1", "t2", "n1"}),
        ("20261122", "WEEK,20261117,2", {"n1", "u1"}),
        ("20261121", "WEEK,20261117,2", {"n1"}),
        ("20261231", "WEEK,20261117,2", {"t1", "t2", "n1"}),
    ],
)
def test_calendar_and_exceptions(tmp_path: Path, day: str, dates: str, trips: set[str]) -> None:
    tables = {**TABLES, "calendar_dates": f"service_id,date,exception_type\n{dates}\n"}
    archive, report = take(tmp_path, f"seoul_{day}.zip", zipped(tables))
    assert report.quarantined == 0
    assert {row["trip"] for row in rows_of(archive)} == trips


def test_exceptions_alone_are_a_calendar(tmp_path: Path) -> None:
    tables = {name: text for name, text in TABLES.items() if name != "calendar"}
    tables["calendar_dates"] = (
        "service_id,date,exception_type\nWEEK,20261117,1\nNIGHT,20261118,1\nSUNDAY,20261117,2\n"
    )
    archive, _ = take(tmp_path, TUESDAY, zipped(tables))
    assert {row["trip"] for row in rows_of(archive)} == {"t1", "t2"}


def test_clocks_that_are_put_back_do_not_move_the_day(tmp_path: Path) -> None:
    """GTFS counts from twelve hours before noon: on such a day that is not midnight."""
    tables = changed("agency", "Asia/Seoul", "America/New_York")
    archive, _ = take(
        tmp_path,
        "ny_20261101.zip",
        zipped(
            {
                **tables,
                "calendar": TABLES["calendar"].replace("WEEK,1,1,1,1,1,0,0", "WEEK,1,1,1,1,1,0,1"),
            }
        ),
    )
    first = next(row for row in rows_of(archive) if row["trip"] == "t1")
    assert first["time"].isoformat() == "2026-11-01T13:00:00+00:00"


def test_the_same_rows_however_the_tables_are_ordered(tmp_path: Path) -> None:
    """And in a folder of the zip file, with marks and line ends of another system."""
    take(tmp_path, TUESDAY, zipped(TABLES))
    mixed = {}
    for name, text in TABLES.items():
        head, *lines = text.splitlines()
        mixed[name] = ("\ufeff" + "\r\n".join([head, *reversed(lines)]) + "\r\n").encode()
    (tmp_path / "b").mkdir()
    archive, report = take(tmp_path / "b", TUESDAY, zipped(mixed, "export/"))
    assert (report.rows, report.late, report.unordered) == (9, 0, 0)
    assert [{**r, "row": None} for r in rows_of(archive)] == [
        {**r, "row": None} for r in rows_of(tmp_path / "archive")
    ]


ROW_FAULTS = {
    "unknown trip": ("stop_times", "t1,08:04:00", "t9,08:04:00", {"trip is unknown": 1}),
    "unknown stop": ("stop_times", "08:04:20,B", "08:04:20,Z", {"stop is unknown": 1}),
    "no stop": ("stop_times", "08:04:20,B", "08:04:20,", {"stop is unknown": 1}),
    "sequence": ("stop_times", "B,2,0.9", "B,two,0.9", {"sequence is not a number": 1}),
    "huge sequence": ("stop_times", "B,2,0.9", "B,70000,0.9", {"sequence is out of range": 1}),
    "below nought": ("stop_times", "B,2,0.9", "B,-2,0.9", {"sequence is not a number": 1}),
    "twice": ("stop_times", "B,2,0.9", "B,1,0.9", {"sequence is told twice": 1}),
    "no time": ("stop_times", "t1,08:04:00", "t1,soon", {"time cannot be read": 1}),
    "minutes": ("stop_times", "t1,08:04:00", "t1,08:64:00", {"time cannot be read": 1}),
    "weeks": ("stop_times", "t1,08:04:00", "t1,200:04:00", {"time cannot be read": 1}),
    "other digits": ("stop_times", "t1,08:04:00", "t1,０8:04:00", {"time cannot be read": 1}),
    "departs first": (
        "stop_times", "08:04:00,08:04:20", "08:04:00,08:03:00", {"departs before it arrives": 1}
    ),
    "goes back": (
        "stop_times", "08:04:00,08:04:20", "07:04:00,07:04:20",
        {"time goes back along the trip": 1},
    ),
    "first left out": ("stop_times", "08:15:00,08:15:00", ",", {"time is missing": 2}),
    "short row": ("stop_times", "B,2,0.9", "B", {"wrong number of columns": 1}),
    "no place": ("stops", "37.5006,127.0364", ",127.0364", {"lat_e7 is missing": 3}),
    "off the globe": ("stops", "37.5006,", "95.0,", {"lat_e7 is out of range": 3}),
    "no number": ("stops", "37.5006,", "north,", {"lat_e7 is not a number": 3}),
    "nan": ("stops", "37.5006,", "nan,", {"lat_e7 is not finite": 3}),
    "stop twice": ("stops", "C,Seol", "B,Seol", {"stop is missing or told twice": 1,
                                                "stop is unknown": 3, "time is missing": 1}),
    "direction": ("trips", "t1,0,", "t1,7,", {"direction is out of range": 3}),
    "unknown route": ("trips", "N13,NIGHT", "N14,NIGHT",
                      {"route is unknown": 1, "trip is unknown": 3}),
    "unknown service": ("trips", "N13,NIGHT", "N13,NACHT",
                        {"service is unknown": 1, "trip is unknown": 3}),
    "trip twice": ("trips", "WEEK,t2,1", "WEEK,t1,1",
                   {"trip is missing or told twice": 1, "trip is unknown": 3}),
    "bad day": ("calendar", "NIGHT,1,1,1,1,1,1,1,20260101", "NIGHT,1,1,1,1,1,1,1,20260230",
                {"calendar cannot be read": 1, "service is unknown": 1, "trip is unknown": 3}),
    "bad flag": ("calendar", "NIGHT,1,1", "NIGHT,1,2",
                 {"calendar cannot be read": 1, "service is unknown": 1, "trip is unknown": 3}),
    "bad shape": ("shapes", "37.5006", "inf", {"point of a shape is not finite": 1}),
}  # fmt: skip


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_a_bad_row_is_refused_with_the_right_reason(tmp_path: Path, fault: str) -> None:
    table, old, new, reasons = ROW_FAULTS[fault]
    archive, report = take(tmp_path, TUESDAY, zipped(changed(table, old, new)))
    assert dict(report.reasons) == reasons
    assert report.rows >= 5
    told = refused(archive)
    assert all(row["row"] >= 2 for row in told)
    assert any(f"{table}.txt: " in row["raw"] for row in told) or table in ("stops", "trips")
    assert all(row["raw"].split(".txt")[0] in TABLES for row in told)


def test_trips_without_stops_are_no_rows(tmp_path: Path) -> None:
    tables = {**TABLES, "stop_times": TABLES["stop_times"].splitlines()[0] + "\n"}
    _, report = take(tmp_path, TUESDAY, zipped(tables))
    assert report.read == 0


def test_trips_by_headway_are_refused(tmp_path: Path) -> None:
    tables = {
        **TABLES,
        "frequencies": "trip_id,start_time,end_time,headway_secs\nt1,06:00:00,09:00:00,600\n",
    }
    archive, report = take(tmp_path, TUESDAY, zipped(tables))
    assert report.reasons == {"trip by headway, without times": 1}
    assert {row["trip"] for row in rows_of(archive)} == {"t2", "n1"}


def without(table: str) -> dict[str, str]:
    return {name: text for name, text in TABLES.items() if name != table}


BROKEN = {
    "no day": ("seoul.zip", TABLES, "no day"),
    "no such day": ("seoul_20261317.zip", TABLES, "no day"),
    "before the calendar": ("seoul_20251117.zip", TABLES, "no trip runs on 20251117"),
    "no stops": (TUESDAY, without("stops"), "no table stops.txt"),
    "no calendar": (TUESDAY, without("calendar"), "no table calendar.txt"),
    "no agency": (TUESDAY, without("agency"), "no table agency.txt"),
    "no zone": (TUESDAY, changed("agency", "Asia/Seoul", ""), "time zone ''"),
    "wrong zone": (TUESDAY, changed("agency", "Asia/Seoul", "Asia/Soul"), "time zone 'Asia/Soul'"),
    "two zones": (
        TUESDAY,
        {**TABLES, "agency": TABLES["agency"] + "2,Ferry,http://f,Asia/Tokyo\n"},
        "time zone 'Asia/Seoul', 'Asia/Tokyo'",
    ),
    "no column": (
        TUESDAY,
        changed("stop_times", "stop_sequence", "order"),
        "no column 'stop_sequence'",
    ),
    "empty table": (TUESDAY, {**TABLES, "stops": ""}, "no column 'stop_id'"),
    "another encoding": (
        TUESDAY,
        {**TABLES, "stops": TABLES["stops"].replace("Gangnam", "강남").encode("cp949")},
        "stops.txt: is not UTF-8",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_timetable_has_a_clear_error(tmp_path: Path, fault: str) -> None:
    name, tables, words = BROKEN[fault]
    (tmp_path / name).write_bytes(zipped(tables))
    with pytest.raises(InputError) as error:
        ingest([tmp_path / name], tmp_path / "archive")
    assert words in str(error.value)


def test_a_damaged_file_has_a_clear_error(tmp_path: Path) -> None:
    whole = zipped(TABLES)
    for content in (b"", b"PK\x03\x04", whole[: len(whole) // 2], whole[100:], b"x" * 500):
        (tmp_path / TUESDAY).write_bytes(content)
        with pytest.raises(InputError, match=r"cannot be read|no format claims|no table"):
            ingest([tmp_path / TUESDAY], tmp_path / "archive")
    # A table that is damaged inside.
    place = whole.index(b"stop_times.txt") + 60
    broken = whole[:place] + bytes(64) + whole[place + 64 :]
    (tmp_path / TUESDAY).write_bytes(broken)
    with pytest.raises(InputError, match="cannot be read"):
        ingest([tmp_path / TUESDAY], tmp_path / "archive")


def test_days_side_by_side_and_a_day_again(tmp_path: Path) -> None:
    content = zipped(TABLES)
    names = [f"seoul_202611{day}.zip" for day in (17, 18)]
    for name in names:
        (tmp_path / name).write_bytes(content)
    archive = tmp_path / "archive"
    reports: list[SourceReport] = []
    for name in names:
        reports += ingest([tmp_path / name], archive)
    nothing_lost(reports)
    before = rows_of(archive)
    (tmp_path / "again_20261118.zip").write_bytes(content)
    again = ingest([tmp_path / "again_20261118.zip"], archive)
    nothing_lost(again)
    assert {row["service_day"] for row in rows_of(archive)} == {20261117, 20261118}
    assert len(before) == 18
    assert rows_of(archive) == before
