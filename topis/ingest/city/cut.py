"""One district of a city as a scenario of its own, for microscopic runs.

Kept are all streets that touch a kept signal; what drives through them does so from the time the
assignment's travel times bring it there, and vanishes where it leaves.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from topis.errors import InputError
from topis.ingest.city import files
from topis.ingest.city.convert import DRAFT, run_netconvert
from topis.ingest.city.files import HOUR_S
from topis.ingest.city.vehicles import END_S, LEVEL, write_routes
from topis.ingest.sumo_xml import RawNetwork, read_network
from topis.ingest.synth_city import pack_network

#: A part of a route of fewer edges is left out: it would only cut a corner.
LEAST_EDGES = 3
_VEHICLE = re.compile(
    r'<vehicle id="([^"]*)"(.*) depart="([^"]*)"(.*?)><route edges="([^"]*)"/>(.*)</vehicle>'
)
_LIGHT = re.compile(rb'<tlLogic id="([^"]*)".*?</tlLogic>', re.DOTALL)
_PHASE = re.compile(rb"(<phase [^>]*?)(?=/>)")
_STOP = re.compile(r'<stop busStop="S([^"]*)" duration="\d+"/>')


def cut_district(folder: Path, district: int, out: Path, signals: int | None, seed: int) -> int:
    """Write the scenario of a district of the city in ``folder`` to ``out``; returns its signals.

    ``signals``: only so many, those nearest to the district's middle.

    Raises
    ------
    InputError
        No city there, no such district in it, or ``out`` is the city itself.
    SumoError
        netconvert is missing or failed.
    """
    modes = _modes(folder)
    if out.resolve() == folder.resolve():
        raise InputError.at(f"--out {out}", "is the city itself", "name another folder")
    for name in (files.TIMES, files.STOPS, files.ROUTES, files.BUSES):
        if not (folder / name).is_file():
            raise InputError.at(folder / name, "no such file", "build the city again")
    raw = read_network(folder / files.NET)
    kept = _nearest(raw, folder, district, modes, signals)
    edges = _edges(raw, kept)
    out.mkdir(parents=True, exist_ok=True)
    _cut_network(folder, out, raw, kept, edges)
    time_s, parts = _times(folder), set(edges)
    stops = _cut_stops(folder / files.STOPS, out / files.STOPS, parts)
    for name in (files.ROUTES, files.BUSES):
        found = sorted(_cut_routes(folder / name, parts, time_s, stops))
        write_routes(out / name, (line for _, _, line in found))
    files.write_configs(out, seed)
    names = sorted(kept)
    files.write_sensing(
        out, {n: modes[n][0] == "adaptive" for n in names}, {n: modes[n][1] for n in names}, seed
    )
    files.write_facts(
        out, {"cut_of_district": district, "signals": len(kept), "edges": len(edges), "seed": seed}
    )
    return len(kept)


def _modes(folder: Path) -> dict[str, tuple[str, int]]:
    """Mode and district of each junction."""
    try:
        with (folder / files.MODES).open(newline="") as file:
            rows = list(csv.DictReader(file))
            return {row["junction"]: (row["mode"], int(row["district"])) for row in rows}
    except FileNotFoundError:
        raise InputError.at(folder, "is no city", "first run: topis city build") from None
    except (KeyError, ValueError) as error:
        raise InputError.at(
            folder / files.MODES, f"cannot be read ({error})", "build the city again"
        ) from None


def _nearest(
    raw: RawNetwork, folder: Path, district: int, modes: dict[str, tuple[str, int]],
    signals: int | None,
) -> set[str]:  # fmt: skip
    names = [name for name, (_, home) in modes.items() if home == district]
    if not names:
        last = max(home for _, home in modes.values())
        raise InputError.at(folder, f"has no district {district}", f"name one of 1 to {last}")
    xy_m = np.array([(raw.nodes[name].x_m, raw.nodes[name].y_m) for name in names])
    # A square part: whole blocks at its border rather than corners.
    far = np.abs(xy_m - np.median(xy_m, axis=0)).max(axis=1)
    order = np.argsort(far, kind="stable")[: signals or len(names)]
    return {names[k] for k in order.tolist()}


def _edges(raw: RawNetwork, kept: set[str]) -> list[str]:
    """Every edge of a block or alley that touches a kept signal."""
    near = {node for e in raw.edges.values() for node in (e.from_node, e.to_node)
            if {e.from_node, e.to_node} & kept}  # fmt: skip
    middles = {node for node in near if node not in kept and node[0] == "M"}
    alleys = {
        node for e in raw.edges.values() for node in (e.from_node, e.to_node)
        if node[0] == "A" and {e.from_node, e.to_node} & middles
    }  # fmt: skip
    wanted = kept | middles | alleys
    return [
        e.id for e in raw.edges.values()
        if (e.from_node in wanted and e.to_node in wanted)
        or ({e.from_node, e.to_node} & middles and {e.from_node, e.to_node} - alleys)
    ]  # fmt: skip


def _cut_network(
    folder: Path, out: Path, raw: RawNetwork, kept: set[str], edges: list[str]
) -> None:
    """The kept edges; lights that lost approaches, at the border, are off."""
    listed, draft = out / "keep.txt", out / DRAFT
    listed.write_text("".join(f"edge:{edge}\n" for edge in edges))
    whole = set(edges)
    border = {
        node for name in whole for node in (raw.edges[name].from_node, raw.edges[name].to_node)
        if raw.nodes[node].type == "traffic_light" and node not in kept
    }  # fmt: skip
    options = [
        "--sumo-net-file", str(folder / files.NET), "--output-file", str(draft),
        "--keep-edges.input-file", str(listed), "--no-turnarounds", "true",
        "--offset.disable-normalization", "true", "--no-warnings", "true",
        "--geometry.min-radius.fix", "false",
    ]  # fmt: skip
    if border:
        options += ["--tls.unset", ",".join(sorted(border))]
    run_netconvert(options, draft)
    pack_network(_with_least_greens(draft.read_bytes(), raw), out / files.NET, LEVEL)
    draft.unlink()
    listed.unlink()


def _with_least_greens(network: bytes, raw: RawNetwork) -> bytes:
    """The network with ``minDur`` of its phases as they were: netconvert leaves it out."""
    phases = {program.light: program.phases for program in raw.programs}

    def light(found: re.Match[bytes]) -> bytes:
        before = phases[found[1].decode()]
        rows = _PHASE.split(found[0])
        if len(rows) != 2 * len(before) + 1:
            return found[0]
        for k, phase in enumerate(before):
            if phase.min_s is not None:
                rows[2 * k + 1] += b' minDur="%g"' % phase.min_s
        return b"".join(rows)

    return _LIGHT.sub(light, network)


def _times(folder: Path) -> dict[str, float]:
    with (folder / files.TIMES).open(newline="") as file:
        return {row["edge"]: float(row["seconds"]) for row in csv.DictReader(file)}


def _cut_stops(source: Path, target: Path, edges: set[str]) -> set[str]:
    """Stops on kept edges; returns those edges."""
    stops, lines = set(), []
    for line in source.read_text().splitlines(keepends=True):
        named = re.search(r'<busStop id="S([^"]*)"', line)
        if named and named[1] not in edges:
            continue
        if named:
            stops.add(named[1])
        lines.append(line)
    target.write_text("".join(lines))
    return stops


def _cut_routes(
    source: Path, edges: set[str], time_s: dict[str, float], stops: set[str]
) -> Iterator[tuple[float, int, str]]:
    """Departure, number and line of every part of a route inside."""
    number = 0
    with gzip.open(source, "rt") as file:
        for found in map(_VEHICLE.match, file):
            if not found:
                continue
            name, kind, depart, rest, route, stands = found.groups()
            parts = _parts(route.split(" "), edges, time_s, float(depart))
            for k, (began_s, part) in enumerate(parts):
                start = rest if "A" in part[0] else _entering(rest)
                here = set(part[:-1]) & stops
                halts = "".join(s[0] for s in _STOP.finditer(stands) if s[1] in here)
                ident = f"{name}.{k}" if k else name
                head = f'<vehicle id="{ident}"{kind} depart="{began_s:.1f}"{start}>'
                number += 1
                yield began_s, number, f'{head}<route edges="{" ".join(part)}"/>{halts}</vehicle>\n'


def _parts(
    route: list[str], edges: set[str], time_s: dict[str, float], now_s: float
) -> list[tuple[float, list[str]]]:
    """Where a route runs inside, and from when; too short parts left out."""
    parts: list[tuple[float, list[str]]] = []
    inside = False
    for edge in route:
        if edge not in edges:
            inside = False
        elif inside:
            parts[-1][1].append(edge)
        else:
            parts.append((now_s, [edge]))
            inside = True
        now_s += time_s[edge]
    return [
        (began_s, part)
        for began_s, part in parts
        if len(part) >= LEAST_EDGES and HOUR_S[0] <= began_s < END_S
    ]


def _entering(rest: str) -> str:
    """Who comes from outside enters at the border, moving."""
    return rest.replace(' departPos="random_free"', "").replace('"max"', '"desired"')
