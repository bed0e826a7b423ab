"""Measures of signals: journals whose measures can be counted by hand, and a short run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.hand_journal import Reading, write_journal
from tests.networks import crossroads
from tests.scenario_files import copy_single, topis
from topis.control.registry import make_controller
from topis.estimation.estimator import Estimator
from topis.model.observation import Observation
from topis.model.state import TrafficState
from topis.report.journal import JournalReader
from topis.report.queues import queue_tables
from topis.report.service_level import (
    HCM_LIMITS,
    KHCM_LIMITS,
    capacity_vph,
    incremental_delay_s,
    level_of_service,
    uniform_delay_s,
)
from topis.report.signal_measures import SignalMeasures, measure_signals
from topis.run.loop import run_loop

#         0         1         2         3         4
#         0123456789012345678901234567890123456789012
NORTH = "rrrrrGGGGGGGGGGyyyrrrrrrrrrrrrrrrrrgGGGGGGG"
EAST_ = "GGyyyrrrrrrrrrrrrrrrGGGGGGGGGGyyyrrrrrrrrrr"
WALK_ = "rrrrrGGGGGGGrrrrrrrrrrrrrrrrrrrrrrrGGGGGGGG"
LAMPS = (NORTH, EAST_, WALK_)
STOP_LINE, ADVANCE = 0, 1
#: Who covers a fifth of a second lies in its middle: 0.4 s after its begin.
PASSING: Reading = (1, 0.2)


def measure(
    folder: Path,
    readings: dict[int, dict[int, Reading]],
    *,
    lamps: tuple[str, ...] = LAMPS,
    to_line: bool = False,
    **how: object,
) -> SignalMeasures:
    journal = write_journal(folder / "run", crossroads(), lamps, readings, **how)  # type: ignore[arg-type]
    return measure_signals(journal, to_line=to_line)


def first(table: pd.DataFrame) -> pd.Series:
    return table.iloc[0]


# ---- counted by hand ----


def test_arrivals_on_green(tmp_path: Path) -> None:
    """At 7.4 (green), 15.4 (yellow), 24.4 (red, 10.6 s before green) and 37.4 s (green)."""
    found = measure(tmp_path, {ADVANCE: dict.fromkeys((8, 16, 25, 38), PASSING)})
    for row in (first(found.phases), first(found.lane_groups)):
        assert row["arrived_veh"] == 4
        assert row["arrivals_on_green"] == 0.5
        # Green 10 s and 7 s of 42 s.
        assert row["green_ratio"] == pytest.approx(17 / 42)
        assert row["platoon_ratio"] == pytest.approx(0.5 * 42 / 17)
        # The last one's cycle is not over.
        assert row["approach_delay_s"] == pytest.approx(10.6 / 3)
    for whole in (first(found.approaches), first(found.junctions)):
        assert whole["arrivals_on_green"] == 0.5
        assert whole["approach_delay_s"] == pytest.approx(10.6 / 3)


def test_arrivals_at_the_stop_line(tmp_path: Path) -> None:
    """50 m at 13.9 m/s are 3.6 s: who is upstream at yellow comes at red, and waits 16 s."""
    readings = {ADVANCE: dict.fromkeys((8, 16, 25, 38), PASSING)}
    found = measure(tmp_path, readings, to_line=True)
    row = first(found.phases)
    assert row["arrivals_on_green"] == 0.5
    later_s = 50 / 13.9
    waits_s = (35 - 15.4 - later_s) + (35 - 24.4 - later_s)
    assert row["approach_delay_s"] == pytest.approx(waits_s / 3, abs=0.002)


@pytest.mark.parametrize(
    ("covered_to", "ror5", "failures"), [(23, 1.0, 1), (21, 0.6, 0), (40, 1.0, 1)]
)
def test_split_failure(covered_to: int, ror5: float, failures: int, tmp_path: Path) -> None:
    """Covered all the green, and so long into red: red begins at 18 s."""
    covered: dict[int, Reading] = {6: (1, 1.0)}
    covered |= dict.fromkeys(range(7, covered_to), (0, 1.0))
    covered[covered_to] = (0, 0.9999)
    row = first(measure(tmp_path, {STOP_LINE: covered}).phases)
    assert row["judged"] == 1
    assert row["gor"] == pytest.approx(1.0, abs=0.001)
    assert row["ror5"] == pytest.approx(ror5, abs=0.001)
    assert row["split_failures"] == failures


def test_no_failure_where_some_of_the_green_was_free(tmp_path: Path) -> None:
    covered = dict.fromkeys(range(9, 30), (0, 1.0))
    row = first(measure(tmp_path, {STOP_LINE: {8: (1, 0.8)} | covered}).phases)
    assert row["gor"] == pytest.approx(0.7 + 0.08, abs=0.005)
    assert row["ror5"] == 1.0
    assert row["split_failures"] == 0


def test_lanes_of_a_phase_are_one(tmp_path: Path) -> None:
    """Two detectors of one phase, covered by turns: the phase is covered all the time."""
    halves = {
        STOP_LINE: {6: (1, 1.0)} | dict.fromkeys(range(7, 12), (0, 1.0)),
        2: {11: (1, 1.0)} | dict.fromkeys(range(12, 24), (0, 1.0)),
    }
    found = measure(tmp_path, halves, lanes=(0, 0))
    assert first(found.phases)["gor"] == pytest.approx(1.0, abs=0.001)
    assert first(found.phases)["split_failures"] == 1


def test_vehicles_over_the_stop_line(tmp_path: Path) -> None:
    found = measure(tmp_path, {STOP_LINE: dict.fromkeys((3, 8, 10, 16, 18, 20), PASSING)})
    row = first(found.phases)
    # At 2.4 s the lamps of the journal's begin: red.
    assert [row[k] for k in ("passed_veh", "yellow_veh", "red_veh")] == [6, 2, 2]
    assert row["volume_veh"] == 6
    assert row["flow_vph"] == pytest.approx(6 * 3600 / 42)


def test_cycles_and_splits(tmp_path: Path) -> None:
    found = measure(tmp_path, {})
    north, east = found.phases.iloc[0], found.phases.iloc[1]
    assert [north[k] for k in ("cycles", "cycle_s", "green_s")] == [1, 30, 10]
    assert east["cycles"] == 0
    assert math.isnan(east["cycle_s"])
    # Under the shipped program every end is by its clock; its two stages have 20 s each.
    assert [north[k] for k in ("gap_out", "max_out", "force_off")] == [0, 0, 1]
    assert east["force_off"] == 2
    assert north["programmed_split_s"] == east["programmed_split_s"] == 20
    cycle = found.cycles[found.cycles["whole"]].iloc[0]
    assert [cycle[k] for k in ("phase", "green_ms", "yellow_ms", "red_ms", "next_ms")] == [
        1, 5000, 15_000, 18_000, 35_000,
    ]  # fmt: skip
    assert cycle["ending"] == "force-off"


def test_walkers_wait(tmp_path: Path) -> None:
    """One whole cycle of 30 s, 23 s of it without a walk."""
    row = first(measure(tmp_path, {}).crossings)
    assert row["phase"] == 3
    assert row["walks"] == 2
    assert row["wait_mean_s"] == pytest.approx(23**2 / 60)
    assert row["wait_max_s"] == 23


def test_nothing_seen_is_not_zero(tmp_path: Path) -> None:
    found = measure(tmp_path, {}, lanes=())
    row = first(found.junctions)
    assert row["los_hcm"] == row["los_khcm"] == ""
    for name in ("control_delay_s", "saturation", "arrivals_on_green", "approach_delay_s"):
        assert math.isnan(row[name])
    assert found.detectors.empty
    assert found.approaches.empty


def test_control_delay_of_a_lane(tmp_path: Path) -> None:
    """A flow of 8 vehicles in cycles of 20 s with 8 s of green, over 10 min."""
    lamps = tuple(text * 30 + text[0] for text in ("G" * 8 + "yyy" + "r" * 9, "r" * 20, "r" * 20))
    told = dict.fromkeys(range(3, 600, 75), PASSING)
    row = first(measure(tmp_path, {STOP_LINE: told}, lamps=lamps).lane_groups)
    share, capacity = 0.4, 1900 * 0.4
    x = 8 * 6 / capacity
    d1 = 0.5 * 20 * (1 - share) ** 2 / (1 - x * share)
    d2 = 900 / 6 * ((x - 1) + math.sqrt((x - 1) ** 2 + 4 * x * 6 / capacity))
    assert row["saturation"] == pytest.approx(x, rel=1e-6)
    assert row["uniform_delay_s"] == pytest.approx(d1, rel=1e-6)
    assert row["incremental_delay_s"] == pytest.approx(d2, rel=1e-6)
    assert row["control_delay_s"] == pytest.approx(d1 + d2, rel=1e-6)
    assert row["los_hcm"] == "A"


def test_faulty_detectors(tmp_path: Path) -> None:
    lamps = tuple(text * 10 for text in LAMPS)
    readings = {
        ADVANCE: dict.fromkeys(range(5, 400, 15), PASSING),
        2: {10: (1, 1.0)} | dict.fromkeys(range(11, 420), (0, 1.0)),
    }
    found = measure(tmp_path, readings, lamps=lamps, lanes=(0, 1), dead={3: range(430)})
    assert found.detectors["fault"].tolist() == ["silent", "", "stuck on", "dead"]
    assert found.detectors["vehicles"].tolist() == [0, 27, 1, 0]
    assert found.detectors["longest_covered_s"].iloc[2] == pytest.approx(410)
    assert first(found.junctions)["faulty_detectors"] == 3


# ---- formulas ----


def test_delay_of_a_saturated_lane_group() -> None:
    """800 veh/h over a capacity of 775, g/C 0.4, C 90 s, T 0.25 h: the textbook's 27.0 + 42 s."""
    x = np.array([800 / 775])
    assert uniform_delay_s(np.array([90.0]), np.array([0.4]), x)[0] == pytest.approx(27.0)
    d2 = incremental_delay_s(x, np.array([775.0]), np.array([0.25]))[0]
    over = 800 / 775 - 1
    by_hand = 225 * (over + math.sqrt(over**2 + 8 * 0.5 * 1.0 * (800 / 775) / (775 * 0.25)))
    assert d2 == pytest.approx(by_hand)
    assert 35 < d2 < 45
    assert capacity_vph(np.array([2]), np.array([0.4]))[0] == pytest.approx(1520)


def test_levels_of_service() -> None:
    delays_s = np.array([0, 10, 10.1, 20.1, 35.1, 55.1, 80, 80.1, np.nan])
    assert level_of_service(delays_s, HCM_LIMITS).tolist() == [*"AABCDEEF", ""]
    delays_s = np.array([15, 15.1, 50, 70, 100, 100.1, 220.1, 340, 341, np.nan])
    assert level_of_service(delays_s, KHCM_LIMITS).tolist() == [
        "A", "B", "C", "D", "E", "F", "FF", "FF", "FFF", "",
    ]  # fmt: skip


# ---- a short run ----


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes of the single junction with loops on every lane."""
    pytest.importorskip("libsumo")
    folder = tmp_path_factory.mktemp("single")
    config = copy_single(folder, end_s=600)
    topis(
        "simulate", config.name, "-c", "adaptive", "--sensing", "loops", "--no-report",
        "-o", "out", cwd=folder,
    )  # fmt: skip
    return folder / "out" / "adaptive-seed1"


def test_tables_of_a_run(run: Path, tmp_path: Path) -> None:
    done = topis("measures", run, "--into", tmp_path / "tables", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["junction", "LOS", "KHCM"]
    assert lines[1].split()[0] == "X"
    tables = {path.stem: pd.read_parquet(path) for path in (tmp_path / "tables").iterdir()}
    assert tables.keys() == {
        "junctions", "approaches", "phases", "lane_groups", "crossings", "periods", "cycles",
        "queues", "detectors",
    }  # fmt: skip
    journal = JournalReader(run)
    read = np.array([o.reading[:, 0] for o in journal.observations()])[1:].sum(axis=0)
    stop = journal.sensors.kind == 0
    detectors = tables["detectors"]
    assert detectors["vehicles"].sum() == read.sum() > 200
    assert tables["phases"]["passed_veh"].sum() == read[stop].sum()
    assert tables["lane_groups"]["passed_veh"].sum() == read[stop].sum()
    assert tables["approaches"]["volume_veh"].sum() == read[stop].sum()
    assert tables["approaches"]["link"].tolist() == ["N_X_bay", "S_X_bay", "E_X_bay", "W_X_bay"]
    assert tables["cycles"]["passed"].sum() == read[stop].sum()
    # Whoever is still on the way to the stop line at the end has not arrived.
    assert 0 <= read[~stop].sum() - tables["phases"]["arrived_veh"].sum() < 5
    assert (tables["phases"]["queue_p95_veh"] <= tables["phases"]["queue_max_veh"])[
        tables["phases"]["queue_max_veh"].notna()
    ].all()
    assert tables["approaches"]["queue_max_veh"].between(1, 40).all()


def test_measures_as_json(run: Path, tmp_path: Path) -> None:
    found = json.loads(topis("measures", run, "--json", cwd=tmp_path).stdout)
    assert found["junctions"][0]["junction"] == "X"
    assert found["junctions"][0]["los_hcm"] in "ABCDEF"
    assert len(found["detectors"]) == 24
    assert [p["phase"] for p in found["phases"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["x.png", "x.svg"])
def test_pictures_of_a_junction(run: Path, name: str, tmp_path: Path) -> None:
    done = topis("measures", run, "--junction", "X", "--plot", name, cwd=tmp_path)
    assert "gap/max/force" in done.stdout
    assert "crossing 7" in done.stdout
    assert (tmp_path / name).stat().st_size > 20_000
    if name.endswith(".svg"):
        text = (tmp_path / name).read_text()
        topis("measures", run, "--junction", "X", "--plot", "again.svg", cwd=tmp_path)
        assert (tmp_path / "again.svg").read_text() == text


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_events_of_a_run(form: str, run: Path, tmp_path: Path) -> None:
    done = topis("events", run, "--into", "ev", *(["--csv"] * (form == "csv")), cwd=tmp_path)
    assert "24 detectors" in done.stdout
    path = tmp_path / "ev" / f"events.{form}"
    read_table = pd.read_parquet if form == "parquet" else pd.read_csv
    table = read_table(path)
    assert table.columns.tolist() == ["TimeStamp", "DeviceId", "EventId", "Parameter"]
    counts = table["EventId"].value_counts()
    read = np.array([o.reading[:, 0] for o in JournalReader(run).observations()])[1:]
    assert counts[82] == read.sum()
    assert 0 <= counts[82] - counts[81] < 24
    assert f"{len(table):,} events" in done.stdout
    assert len(read_table(tmp_path / "ev" / f"phases.{form}")) == 8
    config = read_table(tmp_path / "ev" / f"detectors.{form}")
    assert set(config["Parameter"]) >= set(table.loc[table["EventId"] == 82, "Parameter"])
    if form == "csv":  # which `topis ingest` takes back
        topis("ingest", path, "--into", "archive", cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["measures", "RUN", "--plot", "x.png"], 2, "--plot needs --junction"),
        (["measures", "RUN", "--junction", "Y"], 3, "junction 'Y' is unknown"),
        (["measures", "RUN", "--junction", "X", "--plot", "x.txt"], 3, "is no picture"),
        (["measures", "RUN", "--into", "full"], 6, "is not empty"),
        (["events", "RUN", "--into", "full"], 6, "is not empty"),
        (["events", "full", "--into", "ev"], 3, "no manifest.json"),
    ],
)
def test_what_is_refused(
    arguments: list[str], code: int, said: str, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    given = [str(run) if word == "RUN" else word for word in arguments]
    assert said in topis(*given, cwd=tmp_path, code=code).stderr


def test_queues_are_those_the_engine_estimated(run: Path) -> None:
    """The loop, replayed with an estimator that is listened to."""
    journal = JournalReader(run)
    network = journal.network
    seen: list[np.ndarray] = []

    class Listened(Estimator):
        def update(self, observation: Observation, group_green: np.ndarray) -> TrafficState:
            state = super().update(observation, group_green)
            seen.append(state.queue_veh[network.approach_lanes])
            return state

    replay(journal, Listened(network, journal.sensors))
    queues = np.rint(np.nan_to_num(np.array(seen)))
    table = queue_tables(journal)[0].set_index("lane")
    assert len(table) == 12
    for lane, queue in zip(network.approach_lanes.tolist(), queues.T, strict=True):
        if lane in table.index:
            assert table.loc[lane, "queue_max_veh"] == queue.max()
            assert (
                table.loc[lane, "queue_p95_veh"] == np.sort(queue)[math.ceil(0.95 * len(queue)) - 1]
            )


def replay(journal: JournalReader, estimator: Estimator) -> None:
    """Feed a journal through the loop once more."""
    ticks = journal.observations()
    lamps = journal.local_lamps()

    class Source:
        def next(self) -> Observation | None:
            return next(ticks, None)

    class Actuator:
        def changed_lamps(self, local: np.ndarray) -> list[tuple[int, np.ndarray]]:
            return next(lamps, [])

        def show(self, junction: int, group_code: np.ndarray) -> None:
            return

    class Nobody:
        def record(self, *_: object) -> None:
            return

        def tick(self, time_ms: int) -> bool:
            return True

    controller = make_controller(journal.manifest["controller"], journal.network)
    run_loop(
        journal.network, Source(), estimator, controller, Actuator(), Nobody(), Nobody()
    )  # fmt: skip
