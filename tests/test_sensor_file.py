"""The list of sensors: what is written is read again, and nothing else is taken."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.test_network_import import OSM
from topis.config import LAYOUTS
from topis.errors import InputError
from topis.ingest.network_file import import_osm, load_network
from topis.ingest.placement import place_sensors
from topis.ingest.sensor_file import COLUMNS, read_sensors, write_sensors
from topis.model.network import Network
from topis.model.observation import SensorTable

ARRAYS = ("kind", "junction", "lane", "serves", "alive")
METRES = ("start_m", "end_m", "distance_m")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("town")
    (folder / "town.osm").write_text(OSM)
    import_osm(folder / "town.osm", folder / "town.net.xml")
    return load_network(folder / "town.net.xml").network


def sensors_of(network: Network, layout: str) -> SensorTable:
    return place_sensors(network, LAYOUTS[layout], 1)


@pytest.mark.parametrize("layout", ["city", "loops", "ideal"])
def test_what_is_written_is_read_again(tmp_path: Path, network: Network, layout: str) -> None:
    sensors = sensors_of(network, layout)
    assert len(sensors) > 4
    write_sensors(tmp_path / "sensors.csv", network, sensors)
    again = read_sensors(tmp_path / "sensors.csv", network)
    assert again.ids == sensors.ids
    for name in ARRAYS:
        assert getattr(again, name).tolist() == getattr(sensors, name).tolist(), name
    for name in METRES:
        assert getattr(again, name) == pytest.approx(getattr(sensors, name), abs=0.0051), name
    # Nobody can write down a share of vehicles.
    assert again.probe_share == 0.0
    write_sensors(tmp_path / "twice.csv", network, again)
    assert (tmp_path / "twice.csv").read_bytes() == (tmp_path / "sensors.csv").read_bytes()


def test_what_is_dead_is_left_out(tmp_path: Path, network: Network) -> None:
    sensors = sensors_of(network, "loops")
    dead = np.zeros(len(sensors), dtype=bool)
    dead[::3] = True
    rest = dataclasses.replace(sensors, alive=sensors.alive & ~dead)
    assert (rest.alive == ~dead).all()
    assert sensors.alive.all(), "the table itself is as it was"
    write_sensors(tmp_path / "sensors.csv", network, rest)
    again = read_sensors(tmp_path / "sensors.csv", network)
    assert again.ids == tuple(np.array(sensors.ids)[~dead].tolist())
    assert again.alive.all()


def test_a_list_without_sensors_and_one_from_a_spreadsheet(
    tmp_path: Path, network: Network
) -> None:
    sensors = sensors_of(network, "loops")
    none = replace(sensors, alive=np.zeros(len(sensors), dtype=bool))
    write_sensors(tmp_path / "none.csv", network, none)
    assert len(read_sensors(tmp_path / "none.csv", network)) == 0
    write_sensors(tmp_path / "sensors.csv", network, sensors)
    text = (tmp_path / "sensors.csv").read_text()
    # A byte order mark, and a column of one's own.
    lines = [f"{line},note" for line in text.splitlines()]
    (tmp_path / "sheet.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    assert read_sensors(tmp_path / "sheet.csv", network).ids == sensors.ids


FAULTS = {
    "id": ("", "empty or twice"),
    "kind": ("loop", "unknown kind 'loop'"),
    "junction": ("nowhere", "unknown junction 'nowhere'"),
    "lane": ("nowhere_0", "unknown lane 'nowhere_0'"),
    "serves": ("nowhere_0", "unknown lane served 'nowhere_0'"),
    "start_m": ("far", "start_m is 'far'"),
    "end_m": ("99999", "lie not on"),
    "distance_m": ("-1", "lie not on"),
}
MORE_FAULTS = [
    ("start_m", "nan", "start_m is 'nan'"),
    ("start_m", "inf", "start_m is 'inf'"),
    ("start_m", "", "start_m is ''"),
    ("start_m", "-0.5", "lie not on"),
    ("end_m", "0", "lie not on"),
    ("serves", "10#1_0", "has no signal"),
]


@pytest.mark.parametrize(
    ("column", "value", "words"), [(c, *told) for c, told in FAULTS.items()] + MORE_FAULTS
)
def test_a_bad_row_is_refused_with_its_place(
    tmp_path: Path, network: Network, column: str, value: str, words: str
) -> None:
    path = tmp_path / "sensors.csv"
    write_sensors(path, network, sensors_of(network, "loops"))
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[COLUMNS.index(column)] = value
    path.write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]))
    with pytest.raises(InputError) as error:
        read_sensors(path, network)
    assert words in str(error.value)
    assert "row 3" in str(error.value)
    assert str(path) in str(error.value)


def test_every_column_can_be_refused() -> None:
    assert set(FAULTS) == set(COLUMNS)


def test_a_file_that_is_no_list_is_refused(tmp_path: Path, network: Network) -> None:
    path = tmp_path / "sensors.csv"
    write_sensors(path, network, sensors_of(network, "loops"))
    lines = path.read_text().splitlines()
    cases: list[tuple[bytes, str]] = [
        ("\n".join([*lines, lines[1]]).encode(), "empty or twice"),
        (b"id,kind\n", "no column 'distance_m'"),
        (b"", "no column 'distance_m'"),
        (b"PAR1\xff\xfe", "cannot be read"),
        ("\n".join([lines[0], ",".join(lines[1].split(",")[:3])]).encode(), "unknown lane None"),
        ("\n".join([lines[0], lines[1].replace(",", ";")]).encode(), "unknown lane None"),
    ]
    for content, words in cases:
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_sensors(path, network)
        assert words in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_sensors(tmp_path / "gone.csv", network)
