"""Import of a city of 12,769 signalised junctions, beside sumolib's reader and bare expat.

Peer: sumolib reading the same content (programs, crossings, foes) of a tenth of the city,
against our reader alone. Limit: the whole file through expat with empty handlers, against
the whole import. Growth: cost per junction of the city over that of the tenth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from xml.parsers import expat

import pytest
import sumolib
from grids import build_network
from pytest_benchmark.fixture import BenchmarkFixture

from topis.ingest.network_file import load_network
from topis.ingest.sumo_xml import read_network


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bare_parse(path: Path) -> None:
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda *_: None
    with path.open("rb") as stream:
        parser.ParseFile(stream)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("city")


def test_network_import(
    benchmark: BenchmarkFixture, figure: Callable[[str, float, str], None], folder: Path
) -> None:
    city, tenth = build_network(folder, 113), build_network(folder, 36)
    small_s = min(seconds(lambda: load_network(tenth)) for _ in range(2))
    imported = benchmark.pedantic(lambda: load_network(city), rounds=2, iterations=1)
    city_s = benchmark.stats.stats.min
    limit_s = seconds(lambda: bare_parse(city))
    read_s = min(seconds(lambda: read_network(tenth)) for _ in range(2))
    peer_s = seconds(
        lambda: sumolib.net.readNet(
            str(tenth), withPrograms=True, withPedestrianConnections=True, withInternal=True
        )
    )
    junctions = imported.network.junctions
    figure("network.import_12800_s", city_s * 12_800 / junctions, "s")
    figure("network.import_over_parse", city_s / limit_s, "x")
    figure("network.sumolib_over_read", peer_s / read_s, "x")
    figure("network.import_growth", (city_s / junctions) / (small_s / 36**2), "x")
