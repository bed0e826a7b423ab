"""`topis simulate` and `topis verify` from end to end, held against SUMO's own records."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scenario_files import (
    CONTROLLERS,
    LIMIT_S,
    SEED,
    change,
    copy_single,
    make_net,
    sumo_binary,
    sumo_tool,
    topis,
    topis_command,
    tree,
    trips,
    violations,
    with_crossings,
    write_config,
    write_demand,
    write_switch_recorder,
)
from topis.report.journal import JournalReader

pytest.importorskip("libsumo")

GRID_END_S = 400
WHOLE_OUTPUT = (
    '<output><tripinfo-output value="t.xml"/><output-prefix value="sub/TIME_"/>'
    '<tripinfo-output.write-unfinished value="true"/>'
    '<tripinfo-output.write-undeparted value="true"/></output>'
)
each_controller = pytest.mark.parametrize("controller", CONTROLLERS)


def metrics(out: Path, run: str) -> dict[str, float]:
    content = json.loads((out / "metrics.json").read_text())
    return dict(content["runs"][run])


def delay_s(rows: list[dict[str, str]]) -> float:
    """Mean of time loss and departure delay over trips that have begun."""
    return float(np.mean([float(t["timeLoss"]) + float(t["departDelay"]) for t in rows]))


def statistics(config: Path, seed: int) -> dict[str, float]:
    """What SUMO alone counts: vehicles loaded, inserted, running and waiting at the end."""
    sumo_tool(
        "sumo", "-c", config, "--seed", seed, "--no-step-log", "--output-prefix", "",
        "--tripinfo-output.write-unfinished", "--statistic-output", "stats.xml", cwd=config.parent,
    )  # fmt: skip
    vehicles = ElementTree.parse(config.with_name("stats.xml")).getroot().find("vehicles")
    assert vehicles is not None
    return {name: float(value) for name, value in vehicles.attrib.items()}


# ---- a grid with crossings, under every controller ----


@dataclass(frozen=True)
class GridRun:
    """One run; ``before`` and ``after`` are all files of the scenario's folder."""

    folder: Path
    out: Path
    before: dict[str, bytes]
    after: dict[str, bytes]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenario that writes files of its own, to be copied."""
    folder = tmp_path_factory.mktemp("grid")
    net = with_crossings(folder)
    routes = write_demand(net, end_s=GRID_END_S, persons=True)
    (folder / "loop.add.xml").write_text(
        '<additional><inductionLoop id="mine" lane="left0A0_1" pos="-5" period="60" '
        'file="mine.xml"/></additional>\n'
    )
    write_config(
        folder, net.name, routes.name, end_s=GRID_END_S,
        additional=[write_switch_recorder(net), "loop.add.xml"],
        output=[
            '<output><tripinfo-output value="trips.xml"/></output>',
            '<processing><time-to-teleport value="120"/></processing>',
        ],
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def run_grid(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], GridRun]:
    """Gives the run of a controller, which is made once."""
    runs: dict[str, GridRun] = {}

    def run(controller: str) -> GridRun:
        if controller not in runs:
            base = tmp_path_factory.mktemp(controller)
            folder, out = base / "scenario", base / "out"
            shutil.copytree(grid, folder)
            before = tree(folder)
            topis(
                "simulate", folder / "my.sumocfg", "--controller", controller, "--seed", SEED,
                "--out", out, "--no-report", cwd=base,
            )  # fmt: skip
            runs[controller] = GridRun(folder, out, before, tree(folder))
        return runs[controller]

    return run


@each_controller
def test_scenario_files_stay_and_its_outputs_are_written(
    controller: str, run_grid: Callable[[str], GridRun]
) -> None:
    run = run_grid(controller)
    added = {"trips.xml", "states.xml", "mine.xml"}
    assert run.after.keys() - run.before.keys() == added
    assert {name: run.after[name] for name in run.before} == run.before
    assert len(trips(run.folder / "trips.xml")) > 50
    loop = ElementTree.parse(run.folder / "mine.xml").getroot()
    assert {interval.get("id") for interval in loop.iter("interval")} == {"mine"}
    assert [path.name for path in run.out.iterdir() if path.name.startswith(".")] == []


@each_controller
def test_lamps_pass_the_independent_audit(
    controller: str, run_grid: Callable[[str], GridRun]
) -> None:
    run = run_grid(controller)
    assert violations(run.folder / "net.net.xml", run.folder / "states.xml") == []


@each_controller
def test_replay_gives_every_decision_again(
    controller: str, run_grid: Callable[[str], GridRun], tmp_path: Path
) -> None:
    done = topis("verify", run_grid(controller).out / f"{controller}-seed{SEED}", cwd=tmp_path)
    assert f"{GRID_END_S} ticks" in done.stdout or f"{GRID_END_S + 1} ticks" in done.stdout
    assert "all the same" in done.stdout


def test_replay_notices_one_changed_row(run_grid: Callable[[str], GridRun], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_grid("max-pressure").out / f"max-pressure-seed{SEED}", folder)
    table = pq.read_table(folder / "decisions.parquet")
    stage = table.column("stage").to_numpy().copy()
    row = len(stage) // 2
    stage[row] += 1
    field = table.schema.get_field_index("stage")
    changed = table.set_column(field, table.schema.field("stage"), pa.array(stage, pa.int32()))
    pq.write_table(changed, folder / "decisions.parquet")
    done = topis("verify", "run", cwd=tmp_path, code=7)
    junction = JournalReader(folder).network.junction_ids[table.column("junction")[row].as_py()]
    assert done.stderr.startswith("Error: run at ")
    assert done.stderr.count("\n") == 1
    assert repr(junction) in done.stderr
    assert done.stdout == ""


def test_measures_are_those_of_a_plain_sumo_run(
    run_grid: Callable[[str], GridRun], grid: Path, tmp_path: Path
) -> None:
    """Under `shipped` our detectors change nothing: SUMO alone gives the same trips."""
    run = run_grid("shipped")
    shutil.copytree(grid, tmp_path / "plain")
    stats = statistics(tmp_path / "plain" / "my.sumocfg", SEED)
    plain = trips(tmp_path / "plain" / "trips.xml")
    arrived = [trip for trip in plain if float(trip["arrival"]) >= 0]
    assert trips(run.folder / "trips.xml") == arrived
    ours = metrics(run.out, f"shipped-seed{SEED}")
    assert ours["demanded"] == stats["loaded"]
    assert ours["arrived"] == len(arrived)
    assert ours["running"] == stats["running"]
    assert ours["never_inserted"] == stats["waiting"] == 0
    assert ours["delay_s"] == pytest.approx(delay_s(plain), rel=1e-5, abs=0.005)
    stops = np.mean([int(trip["waitingCount"]) for trip in plain])
    assert ours["stops"] == pytest.approx(stops, rel=1e-5)


# ---- repeatability ----


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """Journal, measures and report do not depend on what else runs, or on where they go."""
    config = copy_single(tmp_path, end_s=300)
    for out, seed in (("one", 1), ("two", 1), ("three", 2)):
        report = [] if out != "three" else ["--no-report"]
        topis(
            "simulate", config.name, "-c", "max-pressure", "--seed", seed, "-o", out, *report,
            cwd=tmp_path,
        )  # fmt: skip
    one, two = (
        {name: data for name, data in tree(tmp_path / out).items() if "timings.json" not in name}
        for out in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    assert {"metrics.json", "report.html", "max-pressure-seed1/observations.parquet"} < one.keys()
    other = tmp_path / "three" / "max-pressure-seed2"
    for name in ("observations", "decisions", "vehicles"):
        file = f"{name}.parquet"
        assert (other / file).read_bytes() != one[f"max-pressure-seed1/{file}"]


def test_paired_seeds_side_by_side(tmp_path: Path) -> None:
    config = copy_single(tmp_path, end_s=200)
    done = topis(
        "simulate", config.name, "-c", "shipped", "-c", "actuated", "--seeds", 2, "-o", "out",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stderr == ""
    against = next(line for line in done.stdout.splitlines() if "against shipped" in line)
    assert re.search(r"[+−][\d.]+ % ±[\d.]+$", against)
    assert "differences are paired by seed" in done.stdout
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    runs, delay = content["runs"], content["comparison"]["actuated"]["measures"]["delay_s"]
    differences = [
        runs[f"actuated-seed{seed}"]["delay_s"] - runs[f"shipped-seed{seed}"]["delay_s"]
        for seed in (1, 2)
    ]
    assert delay["pairs"] == 2
    assert delay["difference"] == pytest.approx(np.mean(differences), rel=1e-4)
    report = (tmp_path / "out" / "report.html").read_text()
    assert "shipped" in report
    assert "actuated" in report
    sources = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']*)", report)
    assert [s for s in sources if not s.startswith(("data:", "#"))] == []
    assert "@import" not in report
    assert str(tmp_path) not in report


def test_runs_that_share_output_files_take_turns(tmp_path: Path) -> None:
    """Each is measured from its own trips, although both write to the same file."""
    config = copy_single(tmp_path, end_s=150)
    common = ["-c", "shipped", "-c", "max-pressure", "--no-report", "--jobs", "2"]
    topis("simulate", config.name, *common, "-o", "apart", cwd=tmp_path)
    change(config, "</input>", '</input><output><tripinfo-output value="t.xml"/></output>')
    done = topis("simulate", config.name, *common, "-o", "shared", cwd=tmp_path)
    assert "one run at a time" in done.stderr
    apart, shared = (
        json.loads((tmp_path / out / "metrics.json").read_text())["runs"]
        for out in ("apart", "shared")
    )
    assert apart.keys() == shared.keys()
    for name in apart:
        for key in ("demanded", "arrived", "delay_s", "stops", "waiting_max_s"):
            assert apart[name][key] == pytest.approx(shared[name][key], rel=1e-3), (name, key)


# ---- who counts ----


@pytest.mark.parametrize(
    "output",
    [
        "",
        '<output><tripinfo-output value="t.xml"/></output>',
        WHOLE_OUTPUT,
    ],
    ids=["ours", "its own", "its own, whole, prefixed"],
)
def test_all_demand_counts_when_the_road_is_full(output: str, tmp_path: Path) -> None:
    net = make_net(tmp_path, columns=1)
    routes = write_demand(net, end_s=200, share=0.9)
    (tmp_path / "sub").mkdir()
    config = write_config(tmp_path, net.name, routes.name, end_s=200, output=[output])
    stats = statistics(config, SEED)
    topis("simulate", config.name, "-c", "shipped", "--seed", SEED, "-o", "out", "--no-report",
          cwd=tmp_path)  # fmt: skip
    ours = metrics(tmp_path / "out", f"shipped-seed{SEED}")
    assert stats["waiting"] > 100
    assert ours["never_inserted"] == stats["waiting"]
    assert ours["running"] == stats["running"]
    assert ours["demanded"] == stats["loaded"]
    assert ours["demanded"] == ours["arrived"] + ours["running"] + ours["never_inserted"]
    table = pq.read_table(tmp_path / "out" / f"shipped-seed{SEED}" / "vehicles.parquet")
    assert len(set(table.column("vehicle").to_pylist())) == len(table) == ours["demanded"]


def test_vehicles_that_sumo_gives_up_on_count_too(tmp_path: Path) -> None:
    net = make_net(tmp_path, columns=1)
    routes = write_demand(net, end_s=120, share=0.9)
    limits = '<processing><max-depart-delay value="20"/></processing>'
    config = write_config(tmp_path, net.name, routes.name, end_s=120, output=[limits])
    stats = statistics(config, 1)
    topis("simulate", config.name, "-c", "shipped", "-o", "out", "--no-report", cwd=tmp_path)
    ours = metrics(tmp_path / "out", "shipped-seed1")
    assert ours["demanded"] == stats["loaded"]
    assert ours["arrived"] + ours["running"] == stats["inserted"]
    given_up = stats["loaded"] - stats["inserted"] - stats["waiting"]
    assert given_up > 50
    assert ours["never_inserted"] == given_up + stats["waiting"]


# ---- sensing ----


@pytest.mark.parametrize("layout", ["loops", "sparse", "ideal", "own.toml"])
def test_sensing_layouts(layout: str, tmp_path: Path) -> None:
    config = copy_single(tmp_path, end_s=300)
    (tmp_path / "own.toml").write_text(
        "[sensing]\ncamera_junction_share = 1.0\ncamera_view_m = 60\ndead_share = 0.5\n"
    )
    done = topis(
        "simulate", config.name, "-c", "actuated", "--sensing", layout, "-o", "out",
        *([] if layout == "ideal" else ["--no-report"]), cwd=tmp_path,
    )  # fmt: skip
    manifest = json.loads((tmp_path / "out" / "actuated-seed1" / "manifest.json").read_text())
    ideal = layout == "ideal"
    assert manifest["sensing"] == layout.removesuffix(".toml")
    assert manifest["research_only"] is ideal
    assert ("research only" in done.stdout) is ideal
    if ideal:
        assert "research only" in (tmp_path / "out" / "report.html").read_text()
    journal = JournalReader(tmp_path / "out" / "actuated-seed1")
    alive = journal.sensors.alive.astype(bool)
    assert alive.any()
    assert alive.all() == (layout in ("loops", "ideal"))
    for observation in journal.observations():
        assert np.isnan(observation.reading[~alive]).all()
        assert np.isfinite(observation.reading[alive]).all()


# ---- other kinds of scenario ----


def test_half_second_steps(tmp_path: Path) -> None:
    net = make_net(tmp_path)
    routes = write_demand(net, end_s=200)
    config = write_config(
        tmp_path, net.name, routes.name, end_s=200, step_s=0.5,
        additional=[write_switch_recorder(net)],
    )  # fmt: skip
    topis("simulate", config.name, "-c", "max-pressure", "-o", "out", "--no-report", cwd=tmp_path)
    assert violations(net, tmp_path / "states.xml") == []
    run = metrics(tmp_path / "out", "max-pressure-seed1")
    assert run["step_s"] == 0.5
    assert run["arrived"] > 10


def test_without_an_end_the_run_ends_when_all_have_arrived(tmp_path: Path) -> None:
    net = make_net(tmp_path, columns=1)
    routes = write_demand(net, end_s=60)
    config = write_config(tmp_path, net.name, routes.name, end_s=None)
    topis("simulate", config.name, "-c", "actuated", "-o", "out", "--no-report", cwd=tmp_path)
    run = metrics(tmp_path / "out", "actuated-seed1")
    assert run["demanded"] == run["arrived"] > 5
    assert 60 < run["end_s"] < 600


@pytest.mark.parametrize("controller", ["shipped", "actuated"])
def test_network_whose_own_programs_are_actuated(controller: str, tmp_path: Path) -> None:
    net = make_net(tmp_path, "--tls.default-type", "actuated")
    assert 'type="actuated"' in net.read_text()
    routes = write_demand(net, end_s=300)
    config = write_config(
        tmp_path, net.name, routes.name, end_s=300, additional=[write_switch_recorder(net)]
    )
    topis("simulate", config.name, "-c", controller, "-o", "out", "--no-report", cwd=tmp_path)
    assert violations(net, tmp_path / "states.xml") == []
    if controller == "shipped":  # whose journal holds what SUMO's own controller did
        topis("verify", "out/shipped-seed1", cwd=tmp_path)


def test_seed_rules_even_over_a_random_scenario(tmp_path: Path) -> None:
    config = copy_single(tmp_path, end_s=120)
    change(config, "</time>", '</time><random_number><random value="true"/></random_number>')
    for out in ("one", "two"):
        topis("simulate", config.name, "-c", "shipped", "-o", out, "--no-report", cwd=tmp_path)
    assert (tmp_path / "one/metrics.json").read_bytes() == (
        tmp_path / "two/metrics.json"
    ).read_bytes()


# ---- a person's hand on it ----


def test_without_out_results_go_below_runs(tmp_path: Path) -> None:
    config = copy_single(tmp_path, end_s=60)
    done = topis("simulate", config.name, "-c", "shipped", "--no-report", cwd=tmp_path)
    assert "runs/single/metrics.json" in done.stdout.replace("\\", "/")
    assert (tmp_path / "runs" / "single" / "shipped-seed1" / "manifest.json").is_file()


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is so, as long as the process lives."""
    limit_s = time.monotonic() + LIMIT_S
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit_s
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")
@pytest.mark.parametrize("early", [False, True], ids=["under way", "while it starts"])
def test_interrupt_keeps_what_was_simulated(early: bool, tmp_path: Path) -> None:
    config = copy_single(tmp_path, end_s=2_000_000)
    process = subprocess.Popen(
        [topis_command(), "simulate", config.name, "-c", "shipped", "-o", "out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        draft = tmp_path / "out" / ".shipped-seed1.partial"
        if early:
            wait_for((tmp_path / "out").is_dir, process)
        else:
            # The first rows reach the disk when some hundred ticks have been simulated.
            readings = draft / "observations.parquet"
            wait_for(lambda: readings.is_file() and readings.stat().st_size > 1000, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to parent and children
        stdout, stderr = process.communicate(timeout=LIMIT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "Interrupted" in stderr
    assert not draft.exists()
    if early and not (tmp_path / "out").exists():
        return  # not even begun: nothing to keep, nothing left
    assert "! shipped: interrupted" in stdout
    run = metrics(tmp_path / "out", "shipped-seed1")
    assert run["interrupted"] is True
    assert run["end_s"] < 2_000_000
    assert "interrupted" in (tmp_path / "out" / "report.html").read_text()
    topis("verify", "out/shipped-seed1", cwd=tmp_path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def test_a_sumo_that_already_listens(tmp_path: Path) -> None:
    """Through a port and within the process, a run is the same."""
    config = copy_single(tmp_path, end_s=200)
    port = free_port()
    server = subprocess.Popen(
        [sumo_binary("sumo"), "-c", config.name, "--remote-port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        common = ["simulate", config.name, "-c", "actuated", "--no-report"]
        topis(*common, "--port", port, "-o", "far", cwd=tmp_path)
        server.wait(timeout=LIMIT_S)
        topis(*common, "-o", "near", cwd=tmp_path)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    far, near = (metrics(tmp_path / out, "actuated-seed1") for out in ("far", "near"))
    assert far["demanded"] > 20
    assert far == near


def test_nobody_listens_on_the_port(tmp_path: Path) -> None:
    config = copy_single(tmp_path)
    before = tree(tmp_path)
    done = topis(
        "simulate", config.name, "-c", "shipped", "--port", free_port(), "-o", "out",
        cwd=tmp_path, code=4,
    )  # fmt: skip
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert tree(tmp_path) == before
