"""Which adapter reads what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import test_adapters as first
from tests.test_adapter_gtfs import add, feed_message
from tests.test_adapter_spat import GREEN, spat
from tests.test_adapter_sumo import LOOPS, fcd
from tests.test_adapter_tables import SPEED_HEADER, VOLUME_HEADER, as_csv, speeds, volumes, workbook
from tests.test_adapter_timetable import TABLES, TUESDAY, zipped
from tests.test_adapter_utdf import UTDF
from topis.ingest.adapters.registry import adapter_for, adapters


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
        (TUESDAY, zipped(TABLES), "gtfs"),
        ("other.zip", zipped({"stops": TABLES["stops"]}), ""),
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
