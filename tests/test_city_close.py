"""`topis city close`: streets closed for a while, and drivers who find another way."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from tests.scenario_files import change, topis, tree
from topis.errors import InputError
from topis.ingest.city import files
from topis.ingest.city.build import CityOptions, build_city
from topis.ingest.city.close import CLOSURE, TOLD_M, bridge_edges, close_edges
from topis.ingest.sumo_xml import read_network
from topis.run.sumocfg import read_sumocfg

pytest.importorskip("libsumo")

BEGIN_S = files.HOUR_S[0]
FROM_S, UNTIL_S, END_S = BEGIN_S + 600, BEGIN_S + 1500, BEGIN_S + 1800
#: Who was past the last turn off when it began is across by then.
ACROSS_S = 120


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "city"
    build_city(folder, CityOptions("seoul", 60, 1), lambda *_: None)
    change(folder / files.MESO, f'"{files.HOUR_S[1]}"', f'"{END_S}"')
    return folder


@pytest.fixture(scope="module")
def closed(city: Path) -> Path:
    before = tree(city)
    out = city.parent / "closed"
    topis(
        "city", "close", city, "--bridge", 1, "--from", FROM_S, "--until", UNTIL_S, "--out", out,
        cwd=city.parent,
    )  # fmt: skip
    assert tree(city) == before
    return out


def entered(folder: Path, edges: tuple[str, ...], from_s: float, until_s: float) -> float:
    """Vehicles that came onto the edges in a time, in the run of `shipped` there."""
    rows = pd.read_parquet(folder / "runs" / "shipped-seed1" / "links.parquet")
    rows = rows[rows["interval_begin_s"].between(from_s, until_s, inclusive="left")]
    return float(rows[rows["link"].isin(edges)]["vehicles"].sum())


def test_bridges_are_told_from_west_to_east(city: Path) -> None:
    facts = json.loads((city / files.FACTS).read_text())
    assert len(facts["bridge_edges"]) == facts["bridges"] == 2
    raw = read_network(city / files.NET)
    river = np.array(facts["river_m"])
    middle_x = []
    for bridge in facts["bridge_edges"]:
        ends = [
            raw.nodes[n] for e in bridge for n in (raw.edges[e].from_node, raw.edges[e].to_node)
        ]
        sides = {n.y_m > np.interp(n.x_m, river[:, 0], river[:, 1]) for n in ends}
        assert sides == {True, False}
        assert {f"-{e}" for e in bridge if e[0] != "-"} == {e for e in bridge if e[0] == "-"}
        middle_x.append(np.mean([n.x_m for n in ends]))
    assert middle_x == sorted(middle_x)


def test_files_of_the_city_are_named_where_they_are(city: Path, closed: Path) -> None:
    for path in closed.glob("*.sumocfg"):
        config = read_sumocfg(path)
        assert config.net_file == (city / files.NET).resolve()
        assert config.additional_files[-1] == (closed / CLOSURE).resolve()
    assert {p.name for p in closed.glob("*.sumocfg")} == {p.name for p in city.glob("*.sumocfg")}
    assert not (closed / files.NET).exists()


def test_drivers_hear_of_it_within_reach(city: Path, closed: Path) -> None:
    rerouter = ElementTree.parse(closed / CLOSURE).getroot().find("rerouter")
    assert rerouter is not None
    told = set(rerouter.get("edges", "").split())
    shut = {e.get("id") for e in rerouter.iter("closingReroute")}
    assert shut == set(bridge_edges(city, 1))
    assert not told & shut
    raw = read_network(city / files.NET)
    before = {c.from_edge for c in raw.connections if c.to_edge in shut} - shut
    assert before
    assert before <= told
    # A small city is within reach altogether, but for ways out of dead ends.
    assert raw.edges.keys() - told - shut <= {e for e in raw.edges if e.lstrip("-")[0] == "A"}
    assert TOLD_M == 3000


def test_nobody_crosses_while_it_is_closed(city: Path, closed: Path) -> None:
    for folder in (city, closed):
        topis(
            "simulate", folder / files.MESO, "-c", "shipped", "--out", folder / "runs",
            "--no-report", cwd=folder,
        )  # fmt: skip
    shut, other = bridge_edges(city, 1), bridge_edges(city, 2)
    during = FROM_S + ACROSS_S, UNTIL_S
    assert entered(city, shut, *during) > 50
    assert entered(closed, shut, *during) == 0
    assert entered(closed, other, *during) > 1.2 * entered(city, other, *during)
    assert entered(closed, shut, BEGIN_S, FROM_S) > 10
    # Afterwards it is used again, by those who hear of nothing any more.
    assert entered(closed, shut, UNTIL_S, END_S) > 10


def test_buses_leave_out_stops_there(city: Path, tmp_path: Path) -> None:
    text = gzip.decompress((city / files.BUSES).read_bytes()).decode()
    stop = text.partition('busStop="S')[2].partition('"')[0]
    done = close_edges(city, [stop], FROM_S, UNTIL_S, tmp_path / "shut")
    assert done.dropped_stops == text.count(f'busStop="S{stop}"') > 0
    own = gzip.decompress((tmp_path / "shut" / files.BUSES).read_bytes()).decode()
    assert f'busStop="S{stop}"' not in own
    assert own.count("<stop ") == text.count("<stop ") - done.dropped_stops
    assert own.count("<vehicle ") == text.count("<vehicle ")
    assert (tmp_path / "shut" / files.BUSES).resolve() in [
        Path(os.path.join(tmp_path / "shut", name)).resolve()
        for name in read_sumocfg(tmp_path / "shut" / files.MESO).options["route-files"].split(",")
    ]


def test_trips_that_lose_their_end_are_counted(city: Path, tmp_path: Path) -> None:
    alley = next(e for e in read_network(city / files.NET).edges if e.startswith("A"))
    assert close_edges(city, [alley], FROM_S, UNTIL_S, tmp_path / "shut").cut_trips > 0


def test_bridges_and_edges_are_closed_together(city: Path) -> None:
    done = topis(
        "city", "close", city, "--bridge", 1, "--bridge", 2, "--edge", "E7.0", "--from", FROM_S,
        "--until", UNTIL_S, "--out", "both", cwd=city.parent,
    )  # fmt: skip
    for edge in ("E7.0", *bridge_edges(city, 1), *bridge_edges(city, 2)):
        assert f'<closingReroute id="{edge}"/>' in (city.parent / "both" / CLOSURE).read_text()
    assert "E7.0, " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bridge", 3), "has no bridge 3; name one of 1 (the westernmost) to 2"),
        (("--edge", "E7.0x"), "has no edge 'E7.0x'"),
        ((), "nothing to close; give --edge or --bridge"),
        (("--bridge", 1, "--until", FROM_S), "is not after --from"),
        (("--bridge", 1, "--until", "nan"), "is not after --from"),
        (("--bridge", 1, "--from", "nan"), "is not after --from"),
        (("--bridge", 1, "--until", "inf"), "is not after --from"),
        (("--bridge", 1, "--from=-inf"), "is not after --from"),
        (("--bridge", 1, "--out", "city"), "is the city itself"),
    ],
)
def test_what_cannot_be_closed_is_refused(
    city: Path, arguments: tuple[object, ...], message: str
) -> None:
    given = ["--from", FROM_S, "--until", UNTIL_S, "--out", "refused", *arguments]
    done = topis("city", "close", city, *given, cwd=city.parent, code=InputError.exit_code)
    assert message in done.stderr
    assert not (city.parent / "refused").exists()


def test_a_folder_that_is_no_city_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no city"):
        bridge_edges(tmp_path, 1)
    with pytest.raises(InputError, match=r"has no \.sumocfg"):
        close_edges(tmp_path, ["E7.0"], FROM_S, UNTIL_S, tmp_path / "shut")
