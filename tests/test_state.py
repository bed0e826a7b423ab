"""`topis data state`: an archive to what was known of the streets, and how far off it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tests.made_days import DATE, made_day, quiet
from topis.cli.main import cli
from topis.config import LAYOUTS
from topis.errors import InputError
from topis.ingest.network_file import load_network
from topis.ingest.pipeline import ingest
from topis.ingest.synth import SynthOptions, synthesise
from topis.model.network import Network
from topis.model.state import StreetState
from topis.report.state_errors import MEAN_OVER, StateErrors, Truth, read_truth
from topis.report.state_table import LANE_SCHEMA, LINK_SCHEMA, TURN_SCHEMA


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    options = SynthOptions(0.001, DATE, 3, 0.05, (7, 8), sensing=LAYOUTS["seoul"])
    return made_day(folder, options)


def run(day: Path, *more: str, begin: str = "07:00", end: str = "08:00") -> Result:
    feeds = day / "feeds"
    return CliRunner().invoke(
        cli,
        [
            "data", "state", str(day / "archive"), "--network", str(feeds / "city.net.xml.gz"),
            "--sensors", str(feeds / "sensors.csv"), "--from", f"{DATE}T{begin}",
            "--to", f"{DATE}T{end}", *more,
        ],
    )  # fmt: skip


def errors_in(text: str) -> dict[tuple[str, str], tuple[float, float]]:
    """(mean absolute error, that of guessing the mean) by quantity and who sees it."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in ("queue", "flow", "travel"):
            found[words[0], words[1]] = float(words[5]), float(words[7])
    return found


def test_estimates_are_near_the_truth_and_better_than_a_guess(day: Path) -> None:
    truth = str(day / "feeds" / "truth")
    done = run(day, "--truth", truth)
    assert done.exit_code == 0, done.output
    found = errors_in(done.output)
    assert found["queue", "camera"][0] < 0.2 * found["queue", "camera"][1]
    assert found["queue", "loops"][0] < 0.7 * found["queue", "loops"][1]
    assert found["queue", "nobody"][0] < 0.7 * found["queue", "nobody"][1]
    for seen_by in ("camera", "loops"):
        assert found["flow", seen_by][0] < 0.4 * found["flow", seen_by][1]
        assert found["travel", seen_by][0] < found["travel", seen_by][1]
    # Less to see, worse estimates.
    loops = errors_in(run(day, "--truth", truth, "--feed", "loop_event").output)
    assert loops["queue", "nobody"][0] > found["queue", "nobody"][0]
    dead = errors_in(run(day, "--truth", truth, "--dead", "0.3").output)
    assert dead["queue", "loops"][0] > found["queue", "loops"][0]


def test_states_are_written(day: Path, tmp_path: Path) -> None:
    done = run(day, "--into", str(tmp_path / "states"), end="07:20")
    assert done.exit_code == 0, done.output
    assert "40 states from" in done.output
    network = load_network(day / "feeds" / "city.net.xml.gz").network
    lanes, links, turns = (
        pq.read_table(tmp_path / "states" / f"{name}.parquet")
        for name in ("lanes", "links", "turns")
    )
    assert lanes.schema.equals(LANE_SCHEMA, check_metadata=True)
    assert links.schema.equals(LINK_SCHEMA)
    assert turns.schema.equals(TURN_SCHEMA)
    assert len(lanes) == 40 * len(network.approach_lanes)
    assert len(links) == 40 * network.links
    assert np.isfinite(lanes["queue_veh"].to_numpy()).all()
    assert (lanes["queue_sd_veh"].to_numpy() > 0).all()
    again = run(day, "--into", str(tmp_path / "states"))
    assert "not empty" in str(again.exception)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--dead", "2"], "no share"),
        (["--truth", "nowhere"], "holds no lanes"),
        (["--sensors", "nowhere.csv"], "cannot be read"),
        (["--to", "2026-11-17T06:00"], "ends before it begins"),
        (["--from", "soon"], "cannot be read; write"),
        (["--from", "2026-11-17T07:00:00.5"], "within a second"),
        (["--from", "2026-11-15", "--to", "2026-11-16"], "in these hours; it has some from"),
        (["--from", "2026-11-18", "--to", "2026-11-19"], "in these hours; it has some from"),
    ],
)
def test_bad_calls_say_what_is_wrong(day: Path, more: list[str], text: str) -> None:
    done = run(day, *more)
    assert done.exit_code != 0
    assert isinstance(done.exception, InputError)
    assert text in str(done.exception)


def test_a_short_slice_is_not_compared(day: Path) -> None:
    done = run(day, "--truth", str(day / "feeds" / "truth"), end="07:05")
    assert done.exit_code == 0
    assert "too short a slice" in done.output


def test_truth_of_another_time_is_told(day: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth" / "lanes"
    truth.mkdir(parents=True)
    table = pq.read_table(day / "feeds" / "truth" / "lanes")
    late = table["time"].cast("int64").to_numpy() + 7 * 86_400_000
    moved = pa.array(late).cast(table.schema.field("time").type)
    column = table.schema.get_field_index("time")
    pq.write_table(table.set_column(column, "time", moved), truth / "lanes-07.parquet")
    done = run(day, "--truth", str(truth.parent), end="07:20")
    assert done.exit_code == 0
    assert "no truth of this time" in done.output


def test_an_archive_that_lacks_feeds_is_no_empty_city(day: Path, tmp_path: Path) -> None:
    """Cameras that never told anything are nobody's; probes without links tell nothing."""
    feeds = day / "feeds"
    files = [path for feed in ("loop_event", "gps") for path in sorted((feeds / feed).iterdir())]
    ingest(files, tmp_path / "archive", secret_file=day / "secret")
    done = CliRunner().invoke(
        cli,
        [
            "data", "state", str(tmp_path / "archive"), "--network",
            str(feeds / "city.net.xml.gz"), "--sensors", str(feeds / "sensors.csv"),
            "--from", f"{DATE}T07:00", "--to", f"{DATE}T08:00", "--truth", str(feeds / "truth"),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "none matched to a link; ingest" in done.output
    found = errors_in(done.output)
    for seen_by in ("camera", "nobody"):
        assert found["queue", seen_by][0] < found["queue", seen_by][1]
        assert found["flow", seen_by][0] < 2.0 * found["flow", seen_by][1]


def test_another_citys_archive_tells_what_is_left_out(day: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    options = SynthOptions(0.001, DATE, 4, 0.0, (7, 8), sensing=LAYOUTS["loops"])
    synthesise(other, options, quiet)
    done = CliRunner().invoke(
        cli,
        [
            "data", "state", str(day / "archive"), "--network", str(other / "city.net.xml.gz"),
            "--sensors", str(other / "sensors.csv"), "--from", f"{DATE}T07:00",
            "--to", f"{DATE}T07:05",
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "rows of loop_event of loops that the list of sensors does not have" in done.output
    assert "rows of gps of links that the network does not have" in done.output


# ---- the comparison itself ----


def perfect(network: Network, truth: Truth, k: int) -> StreetState:
    """A state that tells the truth at its lanes."""
    lanes = network.approach_lanes
    over = slice(max(0, k - MEAN_OVER + 1), k + 1)
    left = np.zeros(network.links)
    total_s = np.zeros(network.links)
    np.add.at(left, network.lane_link, truth.departed_veh[over].sum(axis=0))
    np.add.at(total_s, network.lane_link, truth.travel_s[over].sum(axis=0))
    zero = np.zeros(len(lanes), np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        travel_s = np.nan_to_num(total_s / left)
    return StreetState(
        time_ms=int(truth.time_ms[k]),
        queue_veh=truth.queue_veh[k, lanes].astype(np.float32),
        queue_var=zero + 1.0,
        queue_age_s=zero,
        flow_vps=(truth.departed_veh[over][:, lanes].sum(axis=0) / 300.0).astype(np.float32),
        flow_var=zero,
        flow_age_s=zero,
        sat_flow_vps=zero,
        sat_flow_var=zero,
        spillback=zero,
        travel_s=travel_s.astype(np.float32),
        travel_var=np.zeros(network.links, np.float32),
        travel_age_s=np.zeros(network.links, np.float32),
        turn_share=zero,
        turn_share_var=zero,
    )


def test_the_truth_has_no_error_and_a_shift_is_found(day: Path) -> None:
    network = load_network(day / "feeds" / "city.net.xml.gz").network
    truth = read_truth(day / "feeds" / "truth", network)
    # What stands behind an approach lane belongs to it: here only its own lanes hold queues.
    own = np.zeros(network.lanes)
    own[network.approach_lanes] = 1.0
    truth = replace(truth, queue_veh=truth.queue_veh * own)
    seen_by = np.zeros(len(network.approach_lanes), np.uint8)
    exact, off = (StateErrors(network, truth, seen_by) for _ in range(2))
    for k in range(len(truth.time_ms)):
        state = perfect(network, truth, k)
        exact.add(state)
        off.add(replace(state, queue_veh=state.queue_veh + 1.0, travel_s=state.travel_s * 2))
    rows = {row.quantity: row for row in exact.table()}
    for row in rows.values():
        assert row.mae == pytest.approx(0.0, abs=1e-3), row
        assert row.values > 500
    assert rows["queue"].within == 1.0
    moved = {row.quantity: row for row in off.table()}
    lanes = len(network.approach_lanes) / len(np.unique(network.lane_link[network.approach_lanes]))
    assert moved["queue"].bias == pytest.approx(lanes, rel=1e-3)
    assert moved["travel"].bias == pytest.approx(rows["travel"].mean, rel=1e-3)
    assert moved["flow"].mae == pytest.approx(0.0, abs=1e-3)


def test_truth_of_other_streets_is_refused(day: Path) -> None:
    other = Path(__file__).parents[1] / "scenarios" / "single" / "single.net.xml"
    with pytest.raises(InputError, match="other streets"):
        read_truth(day / "feeds" / "truth", load_network(other).network)
