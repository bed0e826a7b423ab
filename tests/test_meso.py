"""`topis simulate --meso`: SUMO's mesoscopic model, whose sensors TOPIS has to work out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.scenario_files import change, copy_single, topis
from topis.config import sensing_layout
from topis.errors import InputError
from topis.ingest.network_file import load_network
from topis.ingest.placement import place_sensors
from topis.model.observation import CAMERA, LOOP_STOP_LINE
from topis.report.journal import JournalReader
from topis.run.sumo_meso import MesoStreet
from topis.run.sumocfg import read_sumocfg

pytest.importorskip("libsumo")


def delay_s(out: Path, controller: str) -> float:
    return float(
        json.loads((out / "metrics.json").read_text())["runs"][f"{controller}-seed1"]["delay_s"]
    )


def test_signals_have_their_effect(tmp_path: Path) -> None:
    config = copy_single(tmp_path)
    both = ("--controller", "shipped", "--controller", "adaptive")
    topis("simulate", config, *both, "--meso", "--out", "meso", cwd=tmp_path)
    topis("simulate", config, *both, "--out", "micro", cwd=tmp_path)
    for out in (tmp_path / "meso", tmp_path / "micro"):
        assert delay_s(out, "adaptive") < 0.8 * delay_s(out, "shipped")
    # The coarser model is no free road: people wait at its signals as at the finer one's.
    assert (
        0.4 < delay_s(tmp_path / "meso", "shipped") / delay_s(tmp_path / "micro", "shipped") < 1.5
    )
    # Who reads the report must know.
    told = [
        ("mesoscopic model" in (tmp_path / m / "report.html").read_text())
        for m in ("meso", "micro")
    ]
    assert told == [True, False]
    manifest = json.loads((tmp_path / "meso" / "adaptive-seed1" / "manifest.json").read_text())
    assert manifest["meso"] is True
    again = topis("verify", "meso/adaptive-seed1", cwd=tmp_path)
    assert "all the same" in again.stdout


def test_without_junction_control_it_is_refused(tmp_path: Path) -> None:
    config = copy_single(tmp_path)
    change(config, "</sumoConfiguration>", '<mesosim value="true"/></sumoConfiguration>')
    with pytest.raises(InputError, match="signals would have no effect"):
        read_sumocfg(config)
    change(config, "</sumoConfiguration>", '<meso-junction-control value="1"/></sumoConfiguration>')
    assert read_sumocfg(config).meso


def test_who_is_sent_another_way_takes_a_lane_that_leads_there(tmp_path: Path) -> None:
    """A vehicle's route is asked for once, and again when it has another one."""
    network = load_network(copy_single(tmp_path).parent / "single.net.xml").network
    route = {"id": "first", "edges": ("", "")}
    asked = []
    vehicle = SimpleNamespace(
        getLanePosition=None,
        getRouteID=lambda _: route["id"],
        getRoute=lambda _: asked.append(route["id"]) or route["edges"],
        getTypeID=lambda _: "car",
        getVehicleClass=lambda _: "passenger",
        getRouteIndex=lambda _: 0,
    )
    edge = SimpleNamespace(getLastStepVehicleIDs=None)
    street = MesoStreet(SimpleNamespace(vehicle=vehicle, edge=edge), network)  # type: ignore[arg-type]
    ways = {way: lanes for way, lanes in street._ways[False].items() if way[1]}
    link = next(link for link, _ in ways if len([1 for other, _ in ways if other == link]) > 1)
    for number, ((here, onto), lanes) in enumerate(ways.items()):
        if here != link:
            continue
        route["id"], route["edges"] = str(number), (network.link_ids[link], onto)
        for _ in range(2):
            assert street._enlist("v", link, {}, 0.0).lane in lanes
    assert len(asked) == len(set(asked)) > 1


@pytest.mark.parametrize("layout", ["city", "loops"])
def test_sensors_see_whom_the_roads_carry(tmp_path: Path, layout: str) -> None:
    """Every vehicle that leaves a road over its stop line is counted there once."""
    config = copy_single(tmp_path)
    run_folder = tmp_path / "out" / "shipped-seed1"
    topis(
        "simulate", config, "--controller", "shipped", "--meso", "--sensing", layout,
        "--no-report", "--out", "out", cwd=tmp_path,
    )  # fmt: skip
    network = load_network(config.parent / "single.net.xml").network
    sensors = place_sensors(network, sensing_layout(layout), 1)
    counted = np.zeros(len(sensors))
    standing = np.zeros(len(sensors))
    for observation in JournalReader(run_folder).observations():
        counted += np.nan_to_num(observation.reading[:, 0])
        standing += np.nan_to_num(observation.reading[:, 1])
    if layout == "loops":
        vehicles = pd.read_parquet(run_folder / "vehicles.parquet")
        through = counted[sensors.kind == LOOP_STOP_LINE].sum()
        assert through == pytest.approx((vehicles["status"] == "arrived").sum(), rel=0.1)
    else:
        assert standing[sensors.kind == CAMERA].sum() > 1000
