"""Map matching by fastmm or by Valhalla's Meili, in an interpreter of its own that has them.

    python match_peers.py fastmm|meili CASE.npz ANSWER.npz

CASE holds the map (``line_ptr``, ``line_m``, ``from_node``, ``to_node``, ``node_m``) and traces
(``trace_ptr``, ``x_m``, ``y_m``, ``time_s``, ``sigma_m``); ANSWER gets ``link`` of each point (-1:
none) and ``cpu_s`` of the matching alone. Lines are drawn on to the middle of the junctions, for
both peers want a connected graph.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

#: Where the map's origin is put on Earth; both peers' accuracy is independent of it.
LAT, LON, M_PER_DEG = 37.0, 127.0, 111_195.0
M_PER_DEG_LON = M_PER_DEG * np.cos(np.radians(LAT))
RADIUS_M = 50.0

Case = Mapping[str, np.ndarray]


def lines(case: Case) -> list[np.ndarray]:
    ptr = case["line_ptr"]
    return [
        np.vstack(
            (
                case["node_m"][case["from_node"][k]],
                case["line_m"][ptr[k] : ptr[k + 1]],
                case["node_m"][case["to_node"][k]],
            )
        )
        for k in range(len(ptr) - 1)
    ]


def traces(case: Case) -> list[slice]:
    ptr = case["trace_ptr"]
    return [slice(a, b) for a, b in itertools.pairwise(ptr)]


def fastmm(case: Case) -> tuple[np.ndarray, float]:
    import fastmm as fm

    network = fm.Network()
    for k, line in enumerate(lines(case)):
        geom = [(float(x), float(y)) for x, y in line]
        network.add_edge(k + 1, int(case["from_node"][k]), int(case["to_node"][k]), geom)
    network.finalize()
    link = np.full(len(case["x_m"]), -1, np.int32)
    with tempfile.TemporaryDirectory() as folder:
        matcher = fm.FastMapMatch(
            network, fm.TransitionMode.SHORTEST, max_distance_between_candidates=1000.0,
            cache_dir=folder,
        )  # fmt: skip
        given = [
            fm.Trajectory.from_xyt_tuples(
                list(zip(*(case[c][rows].tolist() for c in ("x_m", "y_m", "time_s")), strict=True))
            )
            for rows in traces(case)
        ]
        began = time.process_time()
        results = [matcher.match(one, 8, RADIUS_M, float(case["sigma_m"])) for one in given]
        cpu_s = time.process_time() - began
    for rows, result in zip(traces(case), results, strict=True):
        for part in result.subtrajectories:
            if not part.segments:
                continue
            edges = [segment.edges[0].edge_id for segment in part.segments]
            edges.append(part.segments[-1].edges[-1].edge_id)
            first = rows.start + part.start_index
            link[first : first + len(edges)] = np.array(edges) - 1
    return link, cpu_s


def meili(case: Case) -> tuple[np.ndarray, float]:
    import valhalla

    link = np.full(len(case["x_m"]), -1, np.int32)
    lat, lon = LAT + case["y_m"] / M_PER_DEG, LON + case["x_m"] / M_PER_DEG_LON
    with tempfile.TemporaryDirectory() as folder:
        actor = valhalla.Actor(meili_tiles(case, Path(folder)))
        asked = [
            json.dumps(
                {
                    "shape": [
                        {"lat": a, "lon": b, "time": t}
                        for a, b, t in zip(
                            lat[rows].tolist(), lon[rows].tolist(), case["time_s"][rows].tolist(),
                            strict=True,
                        )
                    ],
                    "costing": "auto",
                    "shape_match": "map_snap",
                    "trace_options": {
                        "gps_accuracy": float(case["sigma_m"]), "search_radius": RADIUS_M,
                    },
                    "filters": {
                        "attributes": ["edge.way_id", "matched.edge_index", "matched.type"],
                        "action": "include",
                    },
                }
            )
            for rows in traces(case)
        ]  # fmt: skip
        answers = []
        began = time.process_time()
        for one in asked:
            try:
                answers.append(actor.trace_attributes(one))
            except RuntimeError:
                answers.append("")
        cpu_s = time.process_time() - began
    for rows, text in zip(traces(case), answers, strict=True):
        if not text:
            continue
        answer = json.loads(text)
        ways = np.array([edge["way_id"] for edge in answer["edges"]] + [0])
        index = [min(p.get("edge_index", -1), len(ways) - 1) for p in answer["matched_points"]]
        link[rows] = ways[np.array(index)] - 1
    return link, cpu_s


def meili_tiles(case: Case, folder: Path) -> dict:
    """The map as OpenStreetMap data (one way a link) and Valhalla's tiles of it."""
    import osmium
    import valhalla

    source = folder / "map.osm.pbf"
    writer = osmium.SimpleWriter(str(source))
    nodes, ways = [], []

    def node(xy: np.ndarray) -> int:
        nodes.append((LON + xy[0] / M_PER_DEG_LON, LAT + xy[1] / M_PER_DEG))
        return len(nodes)

    corner = [node(xy) for xy in case["node_m"]]
    for k, line in enumerate(lines(case)):
        middle = [node(xy) for xy in line[1:-1]]
        ways.append([corner[case["from_node"][k]], *middle, corner[case["to_node"][k]]])
    for number, place in enumerate(nodes):
        writer.add_node(osmium.osm.mutable.Node(id=number + 1, location=place, version=1))
    tags = {"highway": "secondary", "oneway": "yes", "maxspeed": "50"}
    for number, refs in enumerate(ways):
        writer.add_way(osmium.osm.mutable.Way(id=number + 1, nodes=refs, tags=tags, version=1))
    writer.close()
    (folder / "tiles").mkdir()
    config = valhalla.get_config(tile_extract="", tile_dir=folder / "tiles", verbose=False)
    config["service_limits"]["trace"] |= {
        "max_shape": 10**6,
        "max_distance": 1e7,
        "max_gps_accuracy": 100,
    }
    path = folder / "valhalla.json"
    path.write_text(json.dumps(config))
    build = Path(valhalla.__file__).parent / "bin" / "valhalla_build_tiles"
    done = subprocess.run([build, "-c", path, source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return config


if __name__ == "__main__":
    peer, case_file, answer_file = sys.argv[1:]
    with np.load(case_file) as loaded:
        found, seconds = {"fastmm": fastmm, "meili": meili}[peer](dict(loaded))
    np.savez(answer_file, link=found, cpu_s=seconds)
    os._exit(0)
