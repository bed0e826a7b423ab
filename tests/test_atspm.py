"""Our events read by `atspm` as they are, and its measures of the same run beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.scenario_files import make_net, topis, write_config, write_demand
from topis.report.journal import JournalReader
from topis.report.signal_measures import SignalMeasures, measure_signals

atspm = pytest.importorskip("atspm")
duckdb = pytest.importorskip("duckdb")
pytest.importorskip("libsumo")

pytestmark = [
    pytest.mark.skipif(
        not hasattr(duckdb.DuckDBPyRelation, "fetchone"), reason="atspm 2.6 needs DuckDB 1"
    ),
    pytest.mark.filterwarnings("ignore"),
]
END_S = 1200
KEYS = ["junction", "phase"]


@dataclass(frozen=True)
class Both:
    """Ours without moving arrivals to the stop line, and tables of atspm by name."""

    ours: SignalMeasures
    theirs: dict[str, pd.DataFrame]


@pytest.fixture(scope="module", params=["shipped", "adaptive", "actuated"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Two junctions under heavy traffic, so that there are split failures."""
    folder = tmp_path_factory.mktemp(request.param)
    net = make_net(folder, columns=2)
    routes = write_demand(net, end_s=END_S, share=0.22)
    config = write_config(folder, net.name, routes.name, end_s=END_S)
    topis(
        "simulate", config.name, "-c", request.param, "--sensing", "loops", "--no-report",
        "-o", "out", cwd=folder,
    )  # fmt: skip
    run = folder / "out" / f"{request.param}-seed1"
    # Both forms are read.
    form = ["--csv"] if request.param == "adaptive" else []
    topis("events", run, "--into", "ev", *form, cwd=folder)
    ours = measure_signals(JournalReader(run), to_line=False, queues=False)
    return Both(ours, read_by_atspm(folder / "ev", "csv" if form else "parquet"))


def read_by_atspm(folder: Path, form: str) -> dict[str, pd.DataFrame]:
    """What atspm makes of the files, with its own settings for split failures."""
    measures: dict[str, dict[str, object]] = {
        "has_data": {"no_data_min": 5, "min_data_points": 3},
        "actuations": {},
        "arrival_on_green": {"latency_offset_seconds": 0},
        "platoon_ratio": {},
        "split_failures": {
            "red_time": 5, "red_occupancy_threshold": 0.8, "green_occupancy_threshold": 0.8,
            "by_approach": True, "by_cycle": True,
        },
        "yellow_red": {"latency_offset_seconds": 0},
        "terminations": {},
        "timeline": {"min_duration": 0, "cushion_time": 1, "maxtime": False},
    }  # fmt: skip
    with atspm.SignalDataProcessor(
        raw_data=str(folder / f"events.{form}"),
        detector_config=str(folder / f"detectors.{form}"),
        bin_size=60,
        remove_incomplete=False,
        verbose=0,
        aggregations=[{"name": name, "params": params} for name, params in measures.items()],
    ) as processor:
        processor.load()
        processor.aggregate()
        tables = {
            name: processor.conn.query(f"SELECT * FROM {name}").fetch_arrow_table().to_pandas()
            for name in measures
        }
    renamed = {"DeviceId": "junction", "Phase": "phase", "EventValue": "phase"}
    return {name: table.rename(columns=renamed) for name, table in tables.items()}


def by_phase(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index(KEYS).sort_index()


def test_arrivals_on_green_are_the_same(both: Both) -> None:
    theirs = by_phase(both.theirs["arrival_on_green"])
    ours = by_phase(both.ours.phases).loc[theirs.index]
    assert len(theirs) >= 4
    assert ours["arrived_veh"].sum() > 300
    assert (ours["arrived_veh"] == theirs["Total_Actuations"]).all()
    # It keeps shares in single precision.
    assert ours["arrivals_on_green"].to_numpy() == pytest.approx(
        theirs["Percent_AOG"].to_numpy(), abs=1e-6
    )


def test_platoon_ratios_are_the_same(both: Both) -> None:
    """It divides by its whole bin, of an hour, whatever part of it the journal lasts."""
    theirs = by_phase(both.theirs["platoon_ratio"])
    ours = by_phase(both.ours.phases).loc[theirs.index]
    scaled = theirs["Platoon_Ratio"] * END_S / 3600
    # A green that the journal's end cuts it takes to last to the end of the bin.
    cut = both.ours.cycles.groupby(KEYS).last()
    whole = (cut["yellow_ms"] < 1000 * END_S).loc[theirs.index]
    assert whole.sum() >= 2
    assert ours["platoon_ratio"][whole].to_numpy() == pytest.approx(
        scaled[whole].to_numpy(), rel=1e-4
    )


def test_split_failures_are_the_same(both: Both) -> None:
    """Cycle by cycle. It knows no state of a detector before its first event: some cycles less."""
    theirs = both.theirs["split_failures"]
    theirs = theirs.assign(red_ms=theirs["TimeStamp"].astype("datetime64[ms]").astype("int64"))
    # Its time is that of the last event it counts: 5 s into red.
    theirs = theirs.assign(red_ms=theirs["red_ms"] - 5000).set_index([*KEYS, "red_ms"])
    cycles = both.ours.cycles
    # In a red of 5 s to the moment its barrier falls into the next cycle.
    judged = cycles[cycles["gor"].notna() & (cycles["next_ms"] > cycles["red_ms"] + 5000)]
    ours = judged.set_index([*KEYS, "red_ms"])
    found = ours.join(theirs, how="inner")
    assert len(found) > 20
    assert len(found) >= 0.9 * len(ours)
    assert (found["gor"] - found["Green_Occupancy"]).abs().max() < 0.005
    assert (found["ror5"] - found["Red_Occupancy"]).abs().max() < 0.005
    assert (found["split_failure"] == (found["Split_Failure"] == 1)).all()


def test_terminations_are_the_same(both: Both) -> None:
    theirs = both.theirs["terminations"].pivot_table(
        index=KEYS, columns="PerformanceMeasure", values="Total", aggfunc="sum", fill_value=0
    )
    ours = by_phase(both.ours.phases)
    for name, column in (("GapOut", "gap_out"), ("MaxOut", "max_out"), ("ForceOff", "force_off")):
        counted = theirs[name] if name in theirs else pd.Series(0, index=theirs.index)
        assert (ours.loc[theirs.index, column] == counted).all()
    assert theirs.to_numpy().sum() > 30


def test_greens_and_yellows_are_the_same(both: Both) -> None:
    timeline = both.theirs["timeline"]
    cycles = both.ours.cycles
    ended = cycles[
        (cycles["yellow_ms"] > cycles["green_ms"]) & (cycles["yellow_ms"] < 1000 * END_S)
    ]
    lasted_s = ((ended["yellow_ms"] - ended["green_ms"]) / 1000).groupby(
        [ended["junction"], ended["phase"]]
    )
    greens = timeline[timeline["EventClass"] == "Green"]
    theirs = greens.groupby(KEYS)["Duration"]
    assert (theirs.count() == lasted_s.count()).all()
    assert theirs.sum().to_numpy() == pytest.approx(lasted_s.sum().to_numpy(), abs=0.01)
    assert {"Green", "Yellow", "Red"} <= set(timeline["EventClass"])


def test_vehicles_at_yellow_are_the_same(both: Both) -> None:
    """It leaves out vehicles before the first green, and after the last one without a red."""
    counted = both.theirs["yellow_red"].groupby([*KEYS, "Signal_State"])["Count"].sum().unstack()
    ours = by_phase(both.ours.phases).loc[counted.index]
    yellow = counted[8].fillna(0) if 8 in counted else 0 * ours["yellow_veh"]
    assert (ours["yellow_veh"] - yellow).between(0, 4).all()
    cycles = both.ours.cycles
    seen = cycles[(cycles["yellow_ms"] > cycles["green_ms"]) & (cycles["red_ms"] < 1000 * END_S)]
    passed = seen.groupby(KEYS)["passed"].sum()
    assert (passed[counted.index] == counted.sum(axis=1)).all()


def test_every_actuation_is_counted(both: Both) -> None:
    theirs = both.theirs["actuations"].set_index(["junction", "Detector"])["Total"]
    ours = both.ours.detectors.set_index(["junction", "channel"])["vehicles"]
    assert (theirs == ours.loc[theirs.index]).all()
    assert theirs.sum() == ours.sum()
