"""`topis simulate --demand`: more or fewer vehicles than the scenario has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenario_files import copy_single, topis, tree

pytest.importorskip("libsumo")


def demanded(folder: Path, name: str, *options: object) -> tuple[int, object]:
    """Vehicles demanded in a short run of `single`, and the factor its manifest holds."""
    config = folder / "single.sumocfg"
    topis("simulate", config.name, "-c", "shipped", "--no-report", "-o", name, *options, cwd=folder)
    runs = json.loads((folder / name / "metrics.json").read_text())["runs"]
    manifest = json.loads((folder / name / "shipped-seed1" / "manifest.json").read_text())
    return int(runs["shipped-seed1"]["demanded"]), manifest["demand_scale"]


def test_demand_is_scaled(tmp_path: Path) -> None:
    copy_single(tmp_path, end_s=600)
    whole, factor = demanded(tmp_path, "whole")
    assert factor is None
    assert whole > 100
    for asked in (0.5, 1.0, 2.0):
        vehicles, factor = demanded(tmp_path, f"times{asked}", "--demand", asked)
        assert factor == asked
        assert vehicles == pytest.approx(asked * whole, rel=0.1, abs=2)


@pytest.mark.parametrize("factor", ["0", "0.05", "3.5", "-1", "nan", "much"])
def test_impossible_demand_is_refused(factor: str, tmp_path: Path) -> None:
    done = topis("simulate", "single", "--demand", factor, cwd=tmp_path, code=2)
    assert "'--demand'" in done.stderr
    assert tree(tmp_path) == {}
