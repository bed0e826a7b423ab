"""Probes get their links as they are taken in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sumolib

from tests.test_ingest import NOON_MS, nothing_lost, stored
from tests.test_network_import import OSM
from topis.errors import InputError
from topis.ingest.dimensions import Dimensions
from topis.ingest.network_file import import_osm
from topis.ingest.pipeline import ingest
from topis.model.schemas import FEEDS

SPEED_MPS, NOISE_M = 10.0, 3.0


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("town")
    (folder / "town.osm").write_text(OSM)
    import_osm(folder / "town.osm", folder / "town.net.xml")
    return folder / "town.net.xml"


def drive_all(net_file: Path) -> tuple[pa.Table, list[str]]:
    """A vehicle along each long link, a report a second; the true link of each row."""
    net = sumolib.net.readNet(str(net_file))
    rng = np.random.default_rng(1)
    rows: list[tuple[int, int, float, float, float]] = []
    truth: list[str] = []
    for vehicle, edge in enumerate(sorted(net.getEdges(), key=lambda e: e.getID())):
        if not edge.allows("passenger") or edge.getLength() < 100:
            continue
        shape = edge.getShape()
        for second in range(2, int(edge.getLength() / SPEED_MPS) - 1):
            x, y = sumolib.geomhelper.positionAtShapeOffset(shape, SPEED_MPS * second)
            x1, y1 = sumolib.geomhelper.positionAtShapeOffset(shape, SPEED_MPS * second + 1)
            heading = np.degrees(np.arctan2(x1 - x, y1 - y)) % 360
            lon, lat = net.convertXY2LonLat(x + rng.normal(0, NOISE_M), y + rng.normal(0, NOISE_M))
            rows.append((vehicle + 1, NOON_MS + 1000 * second, lat, lon, heading))
            truth.append(edge.getID())
    order = rng.permutation(len(rows))
    rows, truth = [rows[i] for i in order], [truth[i] for i in order]
    count = len(rows)
    columns = {
        "vehicle": pa.array([r[0] for r in rows], pa.uint64()),
        "time": pa.array([r[1] for r in rows], pa.int64()).cast(FEEDS["gps"].column("time").type),
        "lat_e7": pa.array([round(1e7 * r[2]) for r in rows], pa.int32()),
        "lon_e7": pa.array([round(1e7 * r[3]) for r in rows], pa.int32()),
        "speed_cmps": pa.array([round(100 * SPEED_MPS)] * count, pa.uint16()),
        "heading_cdeg": pa.array([round(100 * r[4]) % 36_000 for r in rows], pa.uint16()),
        "kind": pa.array([2] * count, pa.uint8()),
        "route": pa.array([0] * count, pa.uint32()),
        "link": pa.nulls(count, pa.uint32()),
        "offset_dm": pa.nulls(count, pa.uint32()),
        "quality": pa.array([0] * count, pa.uint8()),
    }
    return pa.table(columns, schema=FEEDS["gps"].schema), truth


def test_probes_are_matched_as_they_come_in(tmp_path: Path, town: Path) -> None:
    table, truth = drive_all(town)
    source = tmp_path / "gps.parquet"
    pq.write_table(table, source)
    (report,) = ingest([source], tmp_path / "archive", network_file=town)
    nothing_lost([report])
    names = Dimensions(tmp_path / "archive").names("links")
    vehicle_link = dict(zip(table["vehicle"].to_pylist(), truth, strict=True))
    rows = stored(tmp_path / "archive", "gps").to_pylist()
    told = [row for row in rows if row["link"] is not None]
    assert len(rows) == len(truth) > 50
    assert len(told) > 0.9 * len(rows)
    right = sum(names[row["link"]] == vehicle_link[row["vehicle"]] for row in told)
    assert right > 0.95 * len(told)
    assert all(row["offset_dm"] is not None for row in told)


def test_without_a_network_links_stay_missing(tmp_path: Path, town: Path) -> None:
    source = tmp_path / "gps.parquet"
    pq.write_table(drive_all(town)[0], source)
    ingest([source], tmp_path / "archive")
    assert stored(tmp_path / "archive", "gps")["link"].null_count > 50


def test_a_network_that_is_nowhere_on_earth_is_refused(tmp_path: Path, town: Path) -> None:
    net = tmp_path / "bare.net.xml"
    net.write_text(
        "\n".join(
            line
            if "<location" not in line
            else '<location netOffset="0,0" convBoundary="0,0,1,1" '
            'origBoundary="0,0,1,1" projParameter="!"/>'
            for line in town.read_text().splitlines()
        )
    )
    source = tmp_path / "gps.parquet"
    pq.write_table(drive_all(town)[0], source)
    with pytest.raises(InputError, match="projection"):
        ingest([source], tmp_path / "archive", network_file=net)
