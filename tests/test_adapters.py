"""Recorded shapes of foreign feeds, written here from the published lists of their fields."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from tests.test_ingest import nothing_lost, stored
from topis.cli.main import cli
from topis.errors import InputError
from topis.ingest.adapters.crs import detect_crs, to_wgs84
from topis.ingest.adapters.indiana import write_events
from topis.ingest.adapters.registry import adapter_for
from topis.ingest.dimensions import Dimensions
from topis.ingest.pipeline import ingest

SPEEDS = """<?xml version="1.0" encoding="UTF-8"?>
<TrafficInfo><list_total_count>3</list_total_count>
<RESULT><CODE>INFO-000</CODE><MESSAGE>ok</MESSAGE></RESULT>
<row><link_id>1220003800</link_id><prcs_spd>27.00</prcs_spd><prcs_trv_time>92.0</prcs_trv_time></row>
<row><link_id>1220003801</link_id><prcs_spd>270</prcs_spd><prcs_trv_time>9.0</prcs_trv_time></row>
<row><link_id></link_id><prcs_spd>27</prcs_spd><prcs_trv_time>92</prcs_trv_time></row>
</TrafficInfo>"""
COUNTS = {
    "VolInfo": {
        "list_total_count": 3,
        "RESULT": {"CODE": "INFO-000", "MESSAGE": "ok"},
        "row": [
            {
                "spot_num": "A-01", "ymd": "20261117", "hh": "08", "io_type": "1",
                "lane_num": "2", "vol": "731",
            },
            {
                "spot_num": "A-01", "ymd": "20261117", "hh": "08", "io_type": "2",
                "lane_num": "2", "vol": "",
            },
            {
                "spot_num": "A-01", "ymd": "20261117", "hh": "24", "io_type": "1",
                "lane_num": "2", "vol": "5",
            },
        ],
    }
}  # fmt: skip
INCIDENTS = """<AccInfo><list_total_count>2</list_total_count>
<RESULT><CODE>INFO-000</CODE><MESSAGE>ok</MESSAGE></RESULT>
<row><acc_id>1021345</acc_id><occr_date>20261117</occr_date><occr_time>081500</occr_time>
<exp_clr_date>20261117</exp_clr_date><exp_clr_time>100000</exp_clr_time><acc_type>A04</acc_type>
<acc_dtype>04B01</acc_dtype><link_id>1220003800</link_id><grs80tm_x>203365.0</grs80tm_x>
<grs80tm_y>445130.0</grs80tm_y><acc_info>lane 2 closed for works</acc_info>
<acc_road_code>001</acc_road_code></row>
<row><acc_id>1021346</acc_id><occr_date>20261117</occr_date><occr_time>081500</occr_time>
<exp_clr_date></exp_clr_date><exp_clr_time></exp_clr_time><acc_type>A01</acc_type>
<link_id>1</link_id><grs80tm_x>5.0</grs80tm_x><grs80tm_y>7.0</grs80tm_y><acc_info>?</acc_info></row>
</AccInfo>"""
BUSES = """<ServiceResult><comMsgHeader/><msgHeader><headerCd>0</headerCd></msgHeader><msgBody>
<itemList><vehId>111033115</vehId><plainNo>12\uac003456</plainNo><busRouteId>100100118</busRouteId>
<dataTm>20261117083005</dataTm><gpsX>127.0276</gpsX><gpsY>37.4979</gpsY><posX>202441.2</posX>
<posY>444300.1</posY><stopFlag>0</stopFlag><congetion>3</congetion></itemList>
<itemList><vehId>111033116</vehId><dataTm>20261117083005</dataTm><gpsX>0</gpsX><gpsY>999</gpsY></itemList>
</msgBody></ServiceResult>"""


def take(tmp_path: Path, name: str, text: str) -> tuple[Path, dict[str, int]]:
    source = tmp_path / name
    source.write_text(text)
    (report,) = ingest([source], tmp_path / "archive")
    nothing_lost([report])
    return tmp_path / "archive", dict(report.reasons)


def test_seoul_speeds(tmp_path: Path) -> None:
    archive, reasons = take(tmp_path, "TrafficInfo_20261117083000.xml", SPEEDS)
    # 270 km/h is a slip of the sender.
    assert reasons == {"speed_cmps is out of range": 1, "link is missing": 1}
    (row,) = stored(archive, "link_speed").to_pylist()
    assert row["speed_cmps"] == 750
    assert row["travel_ms"] == 92_000
    assert row["time"].isoformat() == "2026-11-16T23:30:00+00:00"
    assert Dimensions(archive).names("links") == {1: "1220003800"}


def test_seoul_speeds_without_a_time_are_refused(tmp_path: Path) -> None:
    (tmp_path / "TrafficInfo.xml").write_text(SPEEDS)
    with pytest.raises(InputError, match="TrafficInfo_20261117083000"):
        ingest([tmp_path / "TrafficInfo.xml"], tmp_path / "archive")


def test_seoul_counts(tmp_path: Path) -> None:
    archive, reasons = take(tmp_path, "vol.json", json.dumps(COUNTS))
    assert reasons == {"time cannot be read": 1}
    table = stored(archive, "count")
    assert table["vehicles"].to_pylist() == [731, None]
    assert table["period_s"].to_pylist() == [3600, 3600]
    assert sorted(Dimensions(archive).names("sites").values()) == ["A-01:1", "A-01:2"]


def test_seoul_incidents(tmp_path: Path) -> None:
    archive, reasons = take(tmp_path, "acc.xml", INCIDENTS)
    assert reasons == {"coordinates of no known system": 1}
    (row,) = stored(archive, "incident").to_pylist()
    assert row["kind"] == 2
    assert row["until"].isoformat() == "2026-11-17T01:00:00+00:00"
    assert row["lat_e7"] / 1e7 == pytest.approx(37.505, abs=0.01)
    assert row["lon_e7"] / 1e7 == pytest.approx(127.038, abs=0.01)


def test_seoul_buses(tmp_path: Path) -> None:
    archive, reasons = take(tmp_path, "bus.xml", BUSES)
    assert reasons == {"lat_e7 is out of range": 1}
    (row,) = stored(archive, "gps").to_pylist()
    assert (row["lat_e7"], row["lon_e7"]) == (374_979_000, 1_270_276_000)
    assert (row["kind"], row["route"]) == (1, 100_100_118)
    assert row["vehicle"] != 111_033_115


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<TrafficInfo><row>", "cannot be read"),
        ("<ListAirQuality><row/></ListAirQuality><!--TrafficInfo-->", "unknown"),
        ("<TrafficInfo><RESULT><CODE>ERROR-337</CODE></RESULT></TrafficInfo>", "ERROR-337"),
        ('{"TrafficInfo": []}', "cannot be read"),
    ],
)
def test_a_broken_answer_has_a_clear_error(tmp_path: Path, text: str, words: str) -> None:
    source = tmp_path / f"a_20261117083000.{'json' if text[0] == '{' else 'xml'}"
    source.write_text(text)
    with pytest.raises(InputError, match=words):
        ingest([source], tmp_path / "archive", form="seoul")


def test_systems_of_coordinates_are_told_by_their_range() -> None:
    # City Hall, in four systems.
    for x, y, code in (
        (126.9779, 37.5663, "EPSG:4326"),
        (198_050.0, 451_880.0, "EPSG:5181"),
        (198_050.0, 551_880.0, "EPSG:5186"),
        (953_900.0, 1_952_030.0, "EPSG:5179"),
    ):
        assert detect_crs(x, y) == code
        lat, lon = to_wgs84(x, y)
        assert lat == pytest.approx(37.5663, abs=0.002)
        assert lon == pytest.approx(126.9779, abs=0.002)
    with pytest.raises(InputError, match="swapped"):
        detect_crs(37.5663, 126.9779)
    with pytest.raises(InputError, match="no known system"):
        detect_crs(0.0, 0.0)


EVENTS = """TimeStamp,DeviceId,EventId,Parameter
2026-11-17 08:00:00.000,1001,1,2
2026-11-17 08:00:00.100,1001,82,14
2026-11-17 08:00:31.500,1001,8,2
2026-11-17 08:00:31.500,1001,8,2
2026-11-17 08:00:35.5,1001,9,2
2026-11-17T08:00:36.000,1001,10,2
2026-11-17 08:00:37.000,1001,9999,2
2026-11-17 08:00:38.000,,1,2
"""


def test_indiana_events_in_and_out(tmp_path: Path) -> None:
    archive, reasons = take(tmp_path, "hires.csv", EVENTS)
    assert reasons == {
        "time cannot be read": 1,
        "code is out of range": 1,
        "controller is missing": 1,
    }
    table = stored(archive, "signal_event")
    assert table["code"].to_pylist() == [1, 82, 8, 9]
    out = tmp_path / "out.csv"
    write_events(out, table, Dimensions(archive).names("controllers"))
    assert out.read_text().splitlines()[1] == '"2026-11-17 08:00:00.000","1001",1,2'
    ingest([out], tmp_path / "again")
    again = stored(tmp_path / "again", "signal_event")
    assert again.equals(table)


@pytest.mark.parametrize(
    "header", ["SignalID,Timestamp,EventCode,EventParam", "time,device,code,param"]
)
def test_indiana_columns_by_any_usual_name(tmp_path: Path, header: str) -> None:
    values = {"t": "2026-11-17 08:00:00", "d": "7", "c": "1", "p": "2"}
    order = "dtcp" if header.startswith("Signal") else "tdcp"
    source = tmp_path / "a.csv"
    source.write_text(f"{header}\n{','.join(values[k] for k in order)}\n")
    assert adapter_for(source).name == "indiana"
    (report,) = ingest([source], tmp_path / "archive")
    assert report.rows == 1


def test_arrow_and_parquet_hold_the_same(tmp_path: Path) -> None:
    archive, _ = take(tmp_path, "hires.csv", EVENTS)
    (path,) = archive.rglob("part.parquet")
    table = pa.parquet.read_table(path, partitioning=None)
    with pa.ipc.new_file(str(tmp_path / "e.arrow"), table.schema) as writer:
        writer.write_table(table)
    ingest([tmp_path / "e.arrow"], tmp_path / "two")
    assert stored(tmp_path / "two", "signal_event").num_rows == table.num_rows


def test_answers_of_two_moments_are_two_sources(tmp_path: Path) -> None:
    """The same speeds five minutes later: only the file's name tells them apart."""
    for name in ("TrafficInfo_20261117083000.xml", "TrafficInfo_20261117083500.xml"):
        take(tmp_path, name, SPEEDS)
    assert stored(tmp_path / "archive", "link_speed").num_rows == 2


def test_no_vehicle_is_named_in_quarantine(tmp_path: Path) -> None:
    archive, reasons = take(tmp_path, "bus.xml", BUSES)
    assert sum(reasons.values()) == 1
    everything = b"".join(p.read_bytes() for p in archive.rglob("*") if p.is_file())
    (path,) = (archive / "quarantine").glob("*.parquet")
    assert "111033116" not in str(pa.parquet.read_table(path).to_pylist())
    assert b"111033116" not in everything


def test_an_answer_without_rows_is_no_fault(tmp_path: Path) -> None:
    empty = '{"VolInfo": {"RESULT": {"CODE": "INFO-200", "MESSAGE": "no data"}}}'
    archive, reasons = take(tmp_path, "vol.json", empty)
    assert reasons == {}
    assert stored(archive, "count").num_rows == 0


def test_epoch_times_that_are_none(tmp_path: Path) -> None:
    mapping, source = tmp_path / "m.toml", tmp_path / "a.csv"
    mapping.write_text(
        'feed = "loop_1s"\n[columns]\ndetector = "d"\ntime = { column = "t", unit = "unix s" }\n'
        'count = "n"\noccupancy_permille = { column = "o", unit = "%" }\n'
    )
    source.write_text("d,t,n,o\nA,1794700800,1,10\nA,soon,1,10\nA,nan,1,10\nA,1794700801.5,1,10\n")
    (report,) = ingest([source], tmp_path / "archive", mapping_file=mapping)
    nothing_lost([report])
    assert report.reasons == {"time cannot be read": 2}
    wrong = tmp_path / "b.csv"
    wrong.write_text("d,t,n,o\nA,1\nB,2\n")
    (report,) = ingest([wrong], tmp_path / "archive", mapping_file=mapping)
    assert report.reasons == {"wrong number of columns": 2}


def test_a_folder_may_hold_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "README.txt").write_text("read me")
    (folder / "hires.csv").write_text(EVENTS)
    done = CliRunner().invoke(cli, ["ingest", str(folder), "--into", str(tmp_path / "archive")])
    assert done.exit_code == 0, done.output
    assert "1 files, e.g. README.txt" in done.output
    (folder / "hires.csv").unlink()
    done = CliRunner().invoke(cli, ["ingest", str(folder), "--into", str(tmp_path / "archive")])
    assert "no file of a known format" in str(done.exception)


def test_large_numbers_are_not_rounded(tmp_path: Path) -> None:
    two = INCIDENTS.replace("<acc_id>1021345<", "<acc_id>2026111700000000001<")
    two = two.replace("<acc_id>1021346<", "<acc_id>18446744073709551616<")
    two = two.replace("<grs80tm_x>5.0<", "<grs80tm_x>203365.0<")
    two = two.replace("<grs80tm_y>7.0<", "<grs80tm_y>445130.0<")
    archive, reasons = take(tmp_path, "acc.xml", two)
    assert reasons == {"incident is not a whole number": 1}
    assert stored(archive, "incident")["incident"].to_pylist() == [2026111700000000001]
