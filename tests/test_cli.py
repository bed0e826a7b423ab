"""The `topis` command: help, scenarios, `network show` and `network import`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.scenario_files import SINGLE, make_net, topis, topis_command, tree, with_crossings
from topis.ingest.network_file import load_network

COMMANDS = ["", "simulate", "verify", "scenarios", "network", "network show", "network import"]

# A street of two lanes a way that crosses another at a signal; four hundred metres in all.
OSM = """<?xml version="1.0" encoding="UTF-8"?>
<osm version="0.6">
 <bounds minlat="37.4980" minlon="127.0250" maxlat="37.5020" maxlon="127.0300"/>
 <node id="1" lat="37.5000" lon="127.0250" version="1"/>
 <node id="2" lat="37.5000" lon="127.0275" version="1">
  <tag k="highway" v="traffic_signals"/>
 </node>
 <node id="3" lat="37.5000" lon="127.0300" version="1"/>
 <node id="4" lat="37.4980" lon="127.0275" version="1"/>
 <node id="5" lat="37.5020" lon="127.0275" version="1"/>
 <way id="10" version="1"><nd ref="1"/><nd ref="2"/><nd ref="3"/>
  <tag k="highway" v="primary"/><tag k="lanes" v="4"/></way>
 <way id="11" version="1"><nd ref="4"/><nd ref="2"/><nd ref="5"/>
  <tag k="highway" v="secondary"/><tag k="lanes" v="2"/></way>
</osm>
"""


def refused(folder: Path, code: int, *arguments: object) -> str:
    """The one line of a refused command that leaves its folder as it was."""
    before = tree(folder)
    done = topis(*arguments, cwd=folder, code=code)
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert tree(folder) == before
    return done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_the_exit_codes(command: str, tmp_path: Path) -> None:
    text = topis(*command.split(), "--help", cwd=tmp_path).stdout
    assert f"\n    topis {command}".rstrip() in text
    assert "Exit codes: 0 done" in text
    assert "130 interrupted" in text


def test_mistyped_command_ends_with_two(tmp_path: Path) -> None:
    done = topis("simulate", "single", "--sead", 3, cwd=tmp_path, code=2)
    assert "--seed" in done.stderr
    assert tree(tmp_path) == {}


def test_scenarios_are_listed_with_their_place(tmp_path: Path) -> None:
    lines = topis("scenarios", cwd=tmp_path).stdout.splitlines()
    places = {line.split()[0]: Path(line.split(maxsplit=1)[1]) for line in lines}
    assert {"gangnam", "single"} <= places.keys()
    assert places["single"] == SINGLE / "single.sumocfg"
    assert all(place.is_file() for place in places.values())


def test_closed_pipe_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [topis_command(), "scenarios"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert "Exception" not in stderr


# ---- network show ----


def test_show_counts_what_is_in_the_network(tmp_path: Path) -> None:
    net = with_crossings(tmp_path)
    done = topis("network", "show", net.name, "--plot", "net.png", cwd=tmp_path)
    understood = load_network(net).network
    rows = {line[2:24].strip(): line[24:].strip() for line in done.stdout.splitlines()[1:]}
    assert rows["links"].startswith(f"{understood.links}, ")
    assert rows["lanes"].startswith(f"{understood.lanes}, ")
    assert rows["signalised junctions"] == str(understood.junctions)
    assert rows["signal groups"].startswith(f"{understood.groups}, ")
    assert not rows["signal groups"].endswith(" 0 of them crossings")
    assert rows["programs"].startswith(f"{len(understood.program_ids)}, ")
    assert "oddities" in rows
    assert rows["drawn"] == "net.png"
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_show_one_junction(tmp_path: Path) -> None:
    net = make_net(tmp_path, columns=1)
    lines = topis("network", "show", net.name, "--junction", "A0", cwd=tmp_path).stdout.split("\n")
    assert lines[0].startswith("A0: ")
    for kind in ("group", "stage", "program"):
        assert any(line.startswith(f"  {kind} ") for line in lines), kind
    assert any("(active)" in line for line in lines)
    line = refused(tmp_path, 3, "network", "show", net.name, "--junction", "Z9")
    assert "'Z9'" in line
    assert "A0" in line


def test_plot_that_cannot_be_drawn(tmp_path: Path) -> None:
    net = make_net(tmp_path, columns=1)
    line = refused(tmp_path, 3, "network", "show", net.name, "--plot", "net.bmp")
    assert "net.bmp" in line
    assert ".png" in line
    line = refused(tmp_path, 6, "network", "show", net.name, "--plot", f"{net.name}/a/net.png")
    assert "net.png" in line


# ---- network import ----


def test_import_of_a_map(tmp_path: Path) -> None:
    (tmp_path / "town.osm").write_text(OSM)
    done = topis("network", "import", "town.osm", cwd=tmp_path)
    assert "town.net.xml.gz" in done.stdout
    assert sorted(tree(tmp_path)) == ["town.net.xml.gz", "town.osm"]
    understood = load_network(tmp_path / "town.net.xml.gz").network
    assert understood.junctions == 1
    assert understood.links == 8
    topis("network", "import", "town.osm", "-o", "other.net.xml", cwd=tmp_path)
    assert (tmp_path / "other.net.xml").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("text", "name"),
    [(OSM[: len(OSM) // 2], "town.osm"), ("not a map\n", "town.osm"), (OSM, "town.xml")],
    ids=["truncated", "no xml", "not called osm"],
)
def test_import_of_a_broken_map(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert name in refused(tmp_path, 3, "network", "import", name)


def test_import_of_no_map_or_to_nowhere(tmp_path: Path) -> None:
    assert "no.osm" in refused(tmp_path, 3, "network", "import", "no.osm")
    (tmp_path / "town.osm").write_text(OSM)
    line = refused(tmp_path, 6, "network", "import", "town.osm", "-o", "none/town.net.xml")
    assert "none" in line
    line = refused(tmp_path, 3, "network", "show", "town.osm")
    assert "topis network import town.osm" in line
