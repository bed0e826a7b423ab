"""`topis city map` and `topis city compare` on runs of a small grid."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from tests.scenario_files import make_net, topis, write_config, write_demand
from topis.errors import InputError, OutputError
from topis.report.city_compare import CityRun, compare_city
from topis.report.city_map import MODES, NO_LEVEL, frame_at, map_of_run, shares
from topis.report.service_level import HCM_LIMITS

pytest.importorskip("libsumo")
END_S = 600


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shipped and adaptive runs of the same streets, and their table of places."""
    folder = tmp_path_factory.mktemp("city")
    net = make_net(folder, columns=3, rows=2)
    config = write_config(folder, net.name, write_demand(net, end_s=END_S).name, end_s=END_S)
    topis(
        "simulate", config, "-c", "shipped", "-c", "adaptive", "--out", "runs", "--no-report",
        cwd=folder,
    )  # fmt: skip
    network = CityRun.read(folder / "runs" / "shipped-seed1").network
    west = network.junction_xy_m[:, 0] < network.junction_xy_m[:, 0].mean()
    rows = [
        f"controllers,{name},{1 if w else 2}"
        for name, w in zip(network.junction_ids, west, strict=True)
    ]
    (folder / "places.csv").write_text("\n".join(["kind,name,district", *rows, ""]))
    return folder


def test_levels_and_queues_are_those_of_the_run(runs: Path) -> None:
    run = runs / "runs" / "shipped-seed1"
    shown = map_of_run(run, 300.0)
    rows = pd.read_parquet(run / "links.parquet")
    assert shown.level.shape == (2, shown.network.links)
    assert shown.standing_veh.sum() * 300 == pytest.approx(rows["waiting_s"].sum(), rel=1e-4)
    assert (shown.level[:, shown.network.link_junction < 0] == NO_LEVEL).all()
    limits = list(HCM_LIMITS.values())
    first = rows[rows["interval_begin_s"] < 300].groupby("link")[["time_loss_s", "vehicles"]].sum()
    for link in np.flatnonzero(shown.level[0] != NO_LEVEL).tolist():
        lost_s, came = first.loc[shown.network.link_ids[link]]
        if came >= 1:
            assert (
                shown.letters[shown.level[0, link]]
                == "ABCDEF"[np.searchsorted(limits, lost_s / came)]
            )
    assert shares(shown).sum(axis=1) == pytest.approx([1.0, 1.0])
    assert (shown.mode == MODES.index("its own program")).all()
    assert (map_of_run(runs / "runs" / "adaptive-seed1", 300.0).mode < 2).all()
    assert frame_at(shown, 310.0) == 1


@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_a_map_of_each_kind(runs: Path, tmp_path: Path, ending: str) -> None:
    pair = [runs / "runs" / f"{c}-seed1" for c in ("shipped", "adaptive")]
    signals = CityRun.read(pair[0]).network.junctions
    for name, sources in (("net", [runs / "net.net.xml"]), ("one", pair[:1]), ("both", pair)):
        out = tmp_path / f"{name}.{ending}"
        done = topis("city", "map", *sources, "--out", out, cwd=tmp_path)
        assert f" {signals} signals" in done.stdout
        if ending == "png":
            picture = imread(out)
            assert min(picture.shape[:2]) > 300
            # Something is drawn, and not only in grey.
            colour = np.ptp(picture[..., :3], axis=2)
            assert (picture[..., :3].min(axis=2) < 0.9).any()
            assert name == "net" or (colour > 0.3).any()
        elif ending == "svg":
            assert out.read_text().rstrip().endswith("</svg>")
        else:
            text = out.read_text()
            assert "http" not in re.sub(r'<meta http-equiv="[^>]*>', "", text)
            found = re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)
            assert found
            data = json.loads(found[1])
            assert len(data["maps"]) == len(sources)
            level = np.frombuffer(base64.b64decode(data["maps"][0]["level"]), np.uint8)
            assert len(level) % data["frames"] == 0
            ptr = np.frombuffer(base64.b64decode(data["ptr"]), np.int32)
            assert len(ptr) == len(level) // data["frames"] + 1


def test_what_cannot_be_drawn_is_said(runs: Path, tmp_path: Path) -> None:
    run = runs / "runs" / "shipped-seed1"
    for arguments, text in (
        ((run, "--out", "x.jpg"), "end it in .png, .svg or .html"),
        ((run, "--out", "x.png", "--window", "45"), "give a multiple of 60 s"),
        ((run, "--out", "x.png", "--at", "9000"), "ran from 0 to 600 s"),
        ((tmp_path, "--out", "x.png"), "no manifest.json"),
        ((run, "--out", "none/x.png"), "choose another --out"),
    ):
        done = topis(
            "city",
            "map",
            *arguments,
            cwd=tmp_path,
            code=OutputError.exit_code if "choose" in text else InputError.exit_code,
        )
        assert text in done.stderr


def test_runs_are_compared_whole_by_district_and_by_signal(runs: Path, tmp_path: Path) -> None:
    base, other = (runs / "runs" / f"{c}-seed1" for c in ("shipped", "adaptive"))
    done = topis(
        "city", "compare", base, other, "--places", runs / "places.csv", "--out", "t.csv",
        cwd=tmp_path,
    )  # fmt: skip
    figures = json.loads((runs / "runs" / "metrics.json").read_text())["runs"]
    for run in ("shipped-seed1", "adaptive-seed1"):
        assert f"{figures[run]['network_time_s']:.1f}" in done.stdout
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["district"].tolist() == ["city", "1", "2"]
    assert table["signals"].sum() == 2 * CityRun.read(base).network.junctions
    # Adaptive saves time here; no kilometre is driven faster than is allowed.
    assert (table["change_pct"] < 0).all()
    assert (table[["base_s_per_km", "other_s_per_km"]] > 1000 / 14).all(axis=None)
    assert (table["better_share"] + table["worse_share"] <= 1).all()


def test_links_can_be_told_of_from_a_time_on(runs: Path) -> None:
    run = runs / "runs" / "adaptive-seed1"
    whole, later = CityRun.read(run), CityRun.read(run, 300.0)
    rows = pd.read_parquet(run / "links.parquet")
    since = rows[rows["interval_begin_s"] >= 300]
    assert later.passed_veh.sum() == since["vehicles"].sum() < whole.passed_veh.sum()
    assert later.network_time_s == whole.network_time_s


def test_a_run_against_itself_changes_nothing(runs: Path) -> None:
    run = CityRun.read(runs / "runs" / "adaptive-seed1")
    table = compare_city(run, run, np.zeros(run.network.links, np.int64))
    assert table["change_pct"].tolist() == [0.0]
    assert table["worse_share"].tolist() == [0.0]
    assert table["better_share"].tolist() == [0.0]
