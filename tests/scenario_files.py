"""SUMO scenarios written on the spot, and the `topis` command run on them as people run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.audit import INFORMATION, audit, write_recorder

sumolib = pytest.importorskip("sumolib")

SINGLE = Path(__file__).resolve().parents[1] / "scenarios" / "single"
CONTROLLERS = ("shipped", "webster", "cosmos", "actuated", "max-pressure", "adaptive")
SEED = 7
LIMIT_S = 120


# ---- commands ----


def topis_command() -> str:
    """The console script of the environment that runs the tests."""
    beside = Path(sys.executable).with_name("topis")
    found = str(beside) if beside.exists() else shutil.which("topis")
    assert found, "the topis command is not installed beside this Python"
    return found


def topis(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder and expect an exit code."""
    done = subprocess.run(
        [topis_command(), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT_S,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def sumo_binary(name: str) -> str:
    """Where one of SUMO's programs is."""
    return str(sumolib.checkBinary(name))


def sumo_tool(name: str, *options: object, cwd: Path | None = None) -> None:
    """Run one of SUMO's programs."""
    command = [sumo_binary(name), *map(str, options), "--no-warnings"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr


def tree(folder: Path) -> dict[str, bytes]:
    """Every file (with its bytes) and folder below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(folder.rglob("*"))
    }


# ---- scenarios ----


def make_net(folder: Path, *options: object, columns: int = 2, rows: int = 1) -> Path:
    """A grid of traffic lights with roads leading out of it: ``net.net.xml``."""
    net = folder / "net.net.xml"
    sumo_tool(
        "netgenerate", "--grid", "--grid.x-number", columns, "--grid.y-number", rows,
        "--grid.length", 160, "--grid.attach-length", 160,
        "--default-junction-type", "traffic_light", "-o", net, *options,
    )  # fmt: skip
    return net


def with_crossings(folder: Path) -> Path:
    """A grid with turn lanes, pavements and pedestrian crossings."""
    return make_net(
        folder, "--default.lanenumber", 2, "--turn-lanes", 1, "--sidewalks.guess",
        "--crossings.guess", rows=2,
    )  # fmt: skip


def ends(net: Path) -> tuple[list[str], list[str]]:
    """Edges that come in from outside, and edges that lead out."""
    root = ElementTree.parse(net).getroot()
    outer = {j.get("id") for j in root.iter("junction") if j.get("fringe") == "outer"}
    edges = [edge for edge in root.iter("edge") if edge.get("function") is None]
    ways_in = sorted(e.get("id", "") for e in edges if e.get("from") in outer)
    ways_out = sorted(e.get("id", "") for e in edges if e.get("to") in outer)
    return ways_in, ways_out


def write_demand(
    net: Path, *, end_s: int, share: float = 0.05, persons: bool = False, attributes: str = ""
) -> Path:
    """Vehicles from every way in, in turn to all ways out, at random with ``share`` a second."""
    ways_in, ways_out = ends(net)
    lines = ["<routes>", '  <vType id="car" sigma="0.5" speedDev="0.1"/>']
    for number, start in enumerate(ways_in):
        goals = [ways_out[(number + k) % len(ways_out)] for k in range(1, len(ways_out))]
        # netgenerate names an edge after its two nodes: left0A0 comes from left0.
        goals = [goal for goal in goals if not goal.endswith(start[: len(start) - 2])][:3]
        lines += [
            f'  <flow id="f{number}.{k}" type="car" begin="0" end="{end_s}" from="{start}" '
            f'to="{goal}" probability="{share / len(goals):.6f}" departLane="best" '
            f"{attributes}/>"
            for k, goal in enumerate(goals)
        ]
    if persons:
        for number, start in enumerate(ways_in):
            goal = ways_out[(number + 2) % len(ways_out)]
            lines += [
                f'  <personFlow id="p{number}" begin="0" end="{end_s}" probability="0.02">',
                f'    <walk from="{start}" to="{goal}"/>',
                "  </personFlow>",
            ]
    routes = net.with_name("demand.rou.xml")
    routes.write_text("\n".join([*lines, "</routes>", ""]))
    return routes


def write_config(
    folder: Path,
    net: str,
    routes: str,
    *,
    end_s: float | None,
    step_s: float | None = None,
    additional: Iterable[str] = (),
    output: Sequence[str] = (),
    name: str = "my.sumocfg",
) -> Path:
    """A configuration; ``output`` holds elements such as ``<summary-output value="s.xml"/>``."""
    extra = ",".join(additional)
    lines = [
        "<configuration>",
        f'  <input><net-file value="{net}"/><route-files value="{routes}"/>'
        + (f'<additional-files value="{extra}"/>' if extra else "")
        + "</input>",
        '  <time><begin value="0"/>'
        + (f'<end value="{end_s}"/>' if end_s is not None else "")
        + (f'<step-length value="{step_s}"/>' if step_s is not None else "")
        + "</time>",
        *output,
        "</configuration>",
        "",
    ]
    path = folder / name
    path.write_text("\n".join(lines))
    return path


def write_switch_recorder(net: Path, dest: str = "states.xml") -> str:
    """The scenario's own additional file that records every light; returns its name."""
    root = ElementTree.parse(net).getroot()
    lights = sorted({logic.get("id", "") for logic in root.iter("tlLogic")})
    write_recorder(net.with_name("recorder.add.xml"), lights, dest)
    return "recorder.add.xml"


def copy_single(folder: Path, *, end_s: float | None = None) -> Path:
    """The bundled single junction, to be broken or shortened; returns its configuration."""
    for path in SINGLE.glob("single.*"):
        shutil.copy(path, folder)
    config = folder / "single.sumocfg"
    if end_s is not None:
        change(config, '<end value="1200" />', f'<end value="{end_s}" />')
    return config


def change(path: Path, old: str, new: str, count: int = -1) -> None:
    """Replace text that must be there."""
    text = path.read_text()
    assert old in text, f"{path.name} has no {old}"
    path.write_text(text.replace(old, new, count))


# ---- judging ----


def violations(net: Path, states: Path) -> list[str]:
    """What the independent audit holds against the lamps that SUMO recorded."""
    return [str(v) for v in audit(net, states) if v.kind not in INFORMATION]


def trips(path: Path) -> list[dict[str, str]]:
    """The rows of a tripinfo file."""
    return [dict(trip.attrib) for trip in ElementTree.parse(path).getroot().iter("tripinfo")]
