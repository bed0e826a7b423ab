"""`topis city`: a made-up city is whole, has safe plans, and is the same each time."""

from __future__ import annotations

import csv
import filecmp
import gzip
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from topis.cli.main import cli
from topis.config import sensing_layout
from topis.errors import InputError
from topis.ingest.city import files
from topis.ingest.city.build import CityOptions, build_city
from topis.ingest.city.cut import cut_district
from topis.ingest.city.layout import lay_out
from topis.ingest.city.likeness import likeness
from topis.ingest.city.plans import PERIODS
from topis.ingest.network_file import load_network
from topis.ingest.placement import place_sensors
from topis.ingest.sumo_xml import RawNetwork, read_network

pytest.importorskip("sumolib")

SIGNALS, ADAPTIVE = 60, 40


def quiet(*_: object) -> None:
    pass


def build(folder: Path, signals: int, seed: int = 1, adaptive: int | None = None) -> Path:
    build_city(folder, CityOptions("seoul", signals, seed, adaptive), quiet)
    return folder


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("city"), SIGNALS, adaptive=ADAPTIVE)


@pytest.fixture(scope="module")
def raw(city: Path) -> RawNetwork:
    return read_network(city / files.NET, [city / files.DAY])


def routes(path: Path) -> list[list[str]]:
    text = gzip.decompress(path.read_bytes()).decode()
    return [found.split() for found in re.findall(r'<route edges="([^"]*)"', text)]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a", 12), build(tmp_path / "b", 12)
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert filecmp.cmpfiles(first, second, names, shallow=False)[0] == names
    other = build(tmp_path / "c", 12, seed=2)
    assert (first / files.NET).read_bytes() != (other / files.NET).read_bytes()


@pytest.mark.parametrize("signals", [12, 13, 47, 60, 199, 450, 2000])
def test_a_city_has_as_many_signals_as_asked(signals: int) -> None:
    for seed in (1, 2):
        assert lay_out(likeness("seoul"), signals, seed).signals == signals


def test_the_network_loads_without_oddities(city: Path) -> None:
    imported = load_network(city / files.NET)
    assert imported.network.junctions == SIGNALS
    assert imported.oddities == ()
    assert set(imported.network.program_ids) == {"am"}
    # Every stage can be shown: none is without green.
    assert imported.network.stages >= 2 * SIGNALS


def test_every_trip_follows_connections_from_alley_to_alley(city: Path, raw: RawNetwork) -> None:
    there = {(c.from_edge, c.to_edge) for c in raw.connections}
    trips = routes(city / files.ROUTES)
    assert len(trips) > 1000
    for route in trips:
        assert route[0].lstrip("-")[0] == route[-1].lstrip("-")[0] == "A"
        assert all(pair in there for pair in pairwise(route))
        assert not any(a == f"-{b}" or b == f"-{a}" for a, b in pairwise(route))
    for route in routes(city / files.BUSES):
        assert all(pair in there for pair in pairwise(route))


def test_only_bridges_cross_the_river() -> None:
    layout = lay_out(likeness("seoul"), 450, 1)
    lattice = layout.lattice
    across = layout.north[lattice.ends[:, 0]] != layout.north[lattice.ends[:, 1]]
    assert (across == lattice.bridge).all()
    assert across.sum() >= 2
    # Banks keep off the water.
    for bank, side in ((layout.north, 1), (~layout.north, -1)):
        xy_m = layout.xy_m[bank]
        middle = np.interp(xy_m[:, 0], layout.river_m[:, 0], layout.river_m[:, 1])
        assert (side * (xy_m[:, 1] - middle) > layout.river_width_m / 2).all()


def test_junctions_keep_their_distance() -> None:
    layout = lay_out(likeness("seoul"), 450, 1)
    a, b = layout.xy_m[layout.lattice.ends].transpose(1, 0, 2)
    length_m = np.hypot(*(a - b).T)
    assert length_m.min() > 60
    assert np.mean((length_m > 150) & (length_m < 400)) > 0.97


def test_districts_lie_on_one_bank() -> None:
    layout = lay_out(likeness("seoul"), 2000, 1)
    assert layout.district.max() == 4
    for d in range(1, 5):
        assert len(np.unique(layout.north[layout.district == d])) == 1


def test_sensors_lie_at_adaptive_junctions_only(city: Path) -> None:
    with (city / files.MODES).open() as file:
        adaptive = {row["junction"] for row in csv.DictReader(file) if row["mode"] == "adaptive"}
    assert len(adaptive) == ADAPTIVE
    with (city / files.SENSORS).open() as file:
        rows = list(csv.DictReader(file))
    assert {row["junction"] for row in rows} == adaptive
    cameras = {row["junction"] for row in rows if row["kind"].startswith("camera")}
    assert len(cameras) == round(0.7 * ADAPTIVE)


def test_place_sensors_on_all_is_as_before(city: Path) -> None:
    network = load_network(city / files.NET).network
    layout = sensing_layout("city")
    every = place_sensors(network, layout, 3)
    same = place_sensors(network, layout, 3, np.ones(network.junctions, dtype=bool))
    none = place_sensors(network, layout, 3, np.zeros(network.junctions, dtype=bool))
    assert every.ids == same.ids
    assert none.ids == ()


def test_programs_share_a_cycle_and_keep_least_greens(city: Path, raw: RawNetwork) -> None:
    assert len(raw.programs) == SIGNALS * len(PERIODS)
    cycles: dict[str, set[float]] = {}
    for program in raw.programs:
        cycle = sum(phase.duration_s for phase in program.phases)
        cycles.setdefault(program.program, set()).add(cycle)
        assert 60 <= cycle <= 160
        assert 0 <= program.offset_s < cycle
        stages = [phase for phase in program.phases if phase.min_s is not None]
        assert 2 <= len(stages) <= 4
        assert all(phase.duration_s >= (phase.min_s or 0) >= 7 for phase in stages)
        assert "y" in program.phases[1].state
        assert program.phases[1].duration_s == 3
    facts = json.loads((city / files.FACTS).read_text())
    assert all(len(found) <= facts["sub_areas"] for found in cycles.values())


def test_the_day_names_a_program_for_every_hour(city: Path) -> None:
    with (city / files.PLANS).open() as file:
        rows = list(csv.DictReader(file))
    assert {row["program"] for row in rows} == set(PERIODS)
    one = [row for row in rows if row["junction"] == rows[0]["junction"]]
    assert one[0]["from"] == "00:00"
    assert one[-1]["to"] == "24:00"
    assert all(a["to"] == b["from"] for a, b in pairwise(one))


def test_traffic_comes_to_the_level_asked_for(city: Path) -> None:
    busy = json.loads((city / files.FACTS).read_text())["degree_of_saturation"]
    assert 0.85 < busy["mean_of_busiest_5_percent"] < 0.97


def test_five_minutes_in_sumo(city: Path, tmp_path: Path) -> None:
    pytest.importorskip("libsumo")
    begin_s, end_s = files.HOUR_S
    brief = city / "brief.sumocfg"
    text = (city / files.CONFIG).read_text()
    brief.write_text(text.replace(f'"{end_s}"', f'"{begin_s + 300}"'))
    done = CliRunner().invoke(
        cli,
        ["simulate", str(brief), "--controller", "shipped", "--out", str(tmp_path / "runs")],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    assert "shipped" in done.output


def test_a_district_stands_alone(city: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut"
    done = CliRunner().invoke(
        cli,
        ["city", "cut", str(city), "--district", "1", "--signals", "20", "--out", str(out)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    imported = load_network(out / files.NET)
    assert imported.network.junctions == 20
    assert imported.oddities == ()
    whole = {p.light: p for p in read_network(city / files.NET).programs}
    part = read_network(out / files.NET)
    for program in part.programs:
        same = whole[program.light]
        times = [[(p.duration_s, p.min_s) for p in x.phases] for x in (program, same)]
        assert times[0] == times[1]
        assert any(p.min_s and p.min_s > 7 for p in program.phases)
        assert program.offset_s == same.offset_s
    there = {(c.from_edge, c.to_edge) for c in part.connections}
    for route in routes(out / files.ROUTES) + routes(out / files.BUSES):
        assert all(pair in there for pair in pairwise(route))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CityOptions("atlantis", 60, 1), "choose one of seoul"),
        (CityOptions("seoul", 11, 1), "give 12 to 128,000"),
        (CityOptions("seoul", 128_001, 1), "give 12 to 128,000"),
        (CityOptions("seoul", 60, 1, 61), "60 signals"),
    ],
)
def test_what_cannot_be_built_is_refused(
    tmp_path: Path, options: CityOptions, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build_city(tmp_path / "no", options, quiet)
    assert not (tmp_path / "no").exists()


def test_a_cut_loses_nothing_of_the_city(city: Path, tmp_path: Path) -> None:
    """Neither onto itself, nor half of it where a file is missing."""
    before = {path.name: path.read_bytes() for path in city.iterdir()}
    with pytest.raises(InputError, match="is the city itself"):
        cut_district(city, 1, city, None, 1)
    assert {path.name: path.read_bytes() for path in city.iterdir()} == before
    copy = tmp_path / "copy"
    shutil.copytree(city, copy)
    (copy / "edge_times.csv").unlink()
    with pytest.raises(InputError, match=r"edge_times\.csv.*no such file"):
        cut_district(copy, 1, tmp_path / "part", None, 1)
    assert not (tmp_path / "part").exists()


def test_a_cut_needs_a_city_and_a_district(city: Path, tmp_path: Path) -> None:
    for folder, district, message in ((tmp_path, 1, "is no city"), (city, 9, "no district 9")):
        done = CliRunner().invoke(
            cli, ["city", "cut", str(folder), "--district", str(district), "--out", str(tmp_path)]
        )
        assert isinstance(done.exception, InputError)
        assert message in str(done.exception)
