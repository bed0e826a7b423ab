"""A made-up day: the same for a seed, true to itself, and its planted faults are found."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.test_ingest import nothing_lost, stored, tree
from topis.cli.main import cli
from topis.config import SensingLayout
from topis.errors import InputError, OutputError, TopisError
from topis.ingest.archive import CONTRADICTION
from topis.ingest.dimensions import Dimensions
from topis.ingest.health import BIN_S, loop_faults
from topis.ingest.network_file import load_network
from topis.ingest.pipeline import ingest
from topis.ingest.sensor_file import read_sensors
from topis.ingest.synth import SynthOptions, synthesise
from topis.ingest.synth_faults import JUMP_SHARE, LOOP_FAULTS, PROBE_CLASSES
from topis.ingest.synth_feeds import GREEN, RED_CLEARANCE, YELLOW
from topis.ingest.synth_traffic import HOURLY, Traffic, source_flows
from topis.ingest.synth_truth import TruthKeeper
from topis.model.network import NOT_MOTOR, TURNAROUND, Network
from topis.model.observation import CAMERA, LOOP_STOP_LINE
from topis.units import BASE_SAT_FLOW_VPS

pytest.importorskip("sumolib")

DATE = "2026-11-17"
MIDNIGHT_MS = int(np.datetime64(DATE, "ms").astype(int))
HOURS = (6, 10)
PERIOD_MS = 30_000
#: Few cameras, as they tell a hundred times as much as all the rest; many loops, for their faults.
SENSING = SensingLayout(
    "test", camera_junction_share=0.1, loop_approach_share=0.8, probe_share=0.1, probe_period_s=2.0
)


def quiet(*_: object) -> None:
    """No one looks."""


def options(seed: int = 2, hours: tuple[int, int] = HOURS, **more: Any) -> SynthOptions:
    told = {"faulty": 0.4, "sensing": SENSING, **more}
    return SynthOptions(0.001, DATE, seed, hours=hours, **told)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("day") / "feeds"
    synthesise(folder, options(), quiet)
    return folder


@pytest.fixture(scope="module")
def network(day: Path) -> Network:
    return load_network(day / "city.net.xml.gz").network


@pytest.fixture(scope="module")
def archive(day: Path) -> Path:
    feeds = ("loop_event", "gps", "cctv_track", "signal_event", "plan")
    files = [path for feed in feeds for path in sorted((day / feed).iterdir())]
    reports = ingest(
        files,
        day.parent / "archive",
        network_file=day / "city.net.xml.gz",
        places_file=day / "places.csv",
    )
    nothing_lost(reports)
    planted = json.loads((day / "truth" / "rows.json").read_text())
    reasons: Counter[str] = Counter()
    for report in reports:
        reasons += report.reasons
    # A doubled row may be an impossible one; then both are refused.
    impossible = sum(counts.get("impossible", 0) for counts in planted.values())
    doubled = sum(counts.get("duplicates", 0) for counts in planted.values())
    assert impossible <= reasons.pop("speed_cmps is out of range") <= 1.02 * impossible
    # Two rows of a chattering loop may fall into one millisecond.
    assert sum(reasons.values()) == reasons[CONTRADICTION] < 30
    assert sum(report.duplicates for report in reports) == pytest.approx(doubled, rel=0.02)
    return day.parent / "archive"


def truth_of(day: Path) -> pd.DataFrame:
    tables = [pq.read_table(path) for path in sorted((day / "truth" / "lanes").iterdir())]
    return pa.concat_tables(tables).to_pandas()


def planted_in(day: Path, feed: str) -> dict[str, dict[str, Any]]:
    """The faults that were planted, by name."""
    told = json.loads((day / "truth" / "faults.json").read_text())
    return {fault["name"]: fault for fault in told if fault["feed"] == feed}


def by_name(archive: Path, feed: str, column: str, table: str) -> pd.DataFrame:
    """Rows of a feed with the sender's names."""
    names = Dimensions(archive).names(table)
    rows = stored(archive, feed).to_pandas()
    rows[column] = rows[column].map(names)
    rows["ms"] = rows["time"].astype("datetime64[ms, UTC]").astype("int64") - MIDNIGHT_MS
    return rows


# ---- the traffic ----


def test_the_same_seed_gives_the_same_files(tmp_path: Path, day: Path) -> None:
    synthesise(tmp_path / "again", options(), quiet)
    assert tree(tmp_path / "again") == tree(day)
    synthesise(tmp_path / "other", options(seed=3, hours=(6, 7)), quiet)
    first = "gps/gps-00-06.parquet"
    assert tree(tmp_path / "other")[first] != tree(day)[first]


def test_vehicles_go_on_where_they_left_and_none_is_lost(network: Network) -> None:
    traffic = Traffic(network, 1)
    last: dict[int, tuple[int, float]] = {}
    seen = 0
    for _, passages in traffic.drive(7 * 3600, 8 * 3600):
        for row in range(len(passages)):
            vehicle, lane = int(passages.vehicle[row]), int(passages.lane[row])
            enter_s, depart_s = float(passages.enter_s[row]), float(passages.depart_s[row])
            if vehicle in last:
                conn, before_s = last[vehicle]
                link = network.lane_link[network.conn_to_lane[conn]]
                assert network.lane_link[lane] == link
                # Across the junction, and behind who goes before.
                assert before_s <= enter_s <= before_s + 6.0
            assert network.lane_use[lane] != NOT_MOTOR
            last[vehicle] = int(passages.conn[row]), depart_s
            seen += 1
    assert seen > 5000
    inside = int((traffic.entered - traffic.gone).sum())
    assert int(traffic.gone.sum()) == seen
    assert 0 < inside < 1000


def test_demand_follows_the_hours_and_fills_no_approach(network: Network) -> None:
    lanes, busiest_vph = source_flows(network, 1.0)
    traffic = Traffic(network, 1)
    came: dict[int, int] = {}
    for now_s, _ in traffic.drive(0, 24 * 3600):
        if now_s % 3600 == 0:
            came[now_s // 3600] = int(traffic.entered[lanes].sum())
    by_hour = np.diff([0, *(came[hour] for hour in range(1, 25))])
    wanted = busiest_vph.sum() * HOURLY / HOURLY.max()
    assert by_hour == pytest.approx(wanted, rel=0.12, abs=30)
    assert (source_flows(network, 0.5)[1] == busiest_vph / 2).all()
    # Nobody asks more of a source lane than a lane carries.
    assert busiest_vph.max() < BASE_SAT_FLOW_VPS * 3600


def test_too_much_traffic_jams_but_does_not_stop(network: Network) -> None:
    """Queues round blocks would stand for ever, were there nobody to turn off."""
    traffic = Traffic(network, 1, load=2.0)
    left = [(now_s, int((p.conn < 0).sum())) for now_s, p in traffic.drive(7 * 3600, 10 * 3600)]
    last_hour = sum(count for now_s, count in left if now_s > 9 * 3600)
    assert last_hour > 1000
    # Who finds no room for long does not wait outside for ever.
    assert len(traffic._waiting.lane) < 5000


# ---- what is in the folder ----


def test_the_folder_tells_streets_sensors_and_places(day: Path, network: Network) -> None:
    sensors = read_sensors(day / "sensors.csv", network)
    assert sensors.alive.all()
    assert {LOOP_STOP_LINE, CAMERA} <= set(sensors.kind.tolist())
    with (day / "places.csv").open() as file:
        places = {(row["kind"], row["name"]): int(row["district"]) for row in csv.DictReader(file)}
    assert {name for kind, name in places if kind == "detectors"} == set(sensors.ids)
    assert {name for kind, name in places if kind == "controllers"} == set(network.junction_ids)
    assert {name for kind, name in places if kind == "links"} <= set(network.link_ids)
    assert set(places.values()) == {1}
    plans = pq.read_table(next((day / "plan").iterdir()))
    assert set(plans["controller"].to_pylist()) == set(network.junction_ids)
    for feed in ("loop_event", "cctv_track", "signal_event"):
        assert [p.name for p in sorted((day / feed).iterdir())] == [
            f"{feed}-01-{hour:02d}.parquet" for hour in range(*HOURS)
        ]
    assert "2026" not in (day / "sensors.csv").read_text(), "nothing tells when it was made"


def test_truth_is_whole(day: Path, network: Network) -> None:
    truth = truth_of(day)
    motor = {network.lane_ids[k] for k in np.flatnonzero(network.lane_use != NOT_MOTOR)}
    assert set(truth["lane"]) == motor
    assert len(truth) == len(motor) * (HOURS[1] - HOURS[0]) * 120
    assert not truth.duplicated(["lane", "time"]).any()
    assert truth["queue_veh"].max() > 10
    assert (truth["travel_ms"].isna() == (truth["departed_veh"] == 0)).all()
    # 30 s let no more pass than saturation does.
    assert truth["departed_veh"].max() <= 30 * BASE_SAT_FLOW_VPS + 1


def test_truth_counts_queues_that_stand_for_long(tmp_path: Path, network: Network) -> None:
    """In a jam: as if all had been known in the end, whoever left when."""
    keeper = TruthKeeper(network, 7 * 3600)
    traffic = Traffic(network, 1, load=2.0)
    parts = []
    for now_s, passages in traffic.drive(6 * 3600, 12 * 3600):
        parts.append(passages)
        keeper.add(passages)
        if now_s in (8 * 3600 + 300, 9 * 3600 + 300):
            keeper.write_hour(tmp_path / f"{now_s}.parquet", 0, traffic.standing(now_s))
    tables = [pq.read_table(path) for path in sorted(tmp_path.iterdir())]
    told = pa.concat_tables(tables).to_pandas()
    told["s"] = told["time"].astype("datetime64[ms, UTC]").astype("int64") // 1000
    from_s, until_s = (
        np.concatenate(both) for both in zip(*(p.stands_s() for p in parts), strict=True)
    )
    lane = np.concatenate([p.lane for p in parts])
    still = traffic.standing(12 * 3600)
    lane = np.concatenate((lane, still.lane))
    from_s = np.concatenate((from_s, still.stands_s()[0]))
    until_s = np.concatenate((until_s, np.full(len(still), 1e9)))
    assert (until_s - from_s > 600).sum() > 100
    for second in range(7 * 3600, 9 * 3600, 390):
        end_s = second + 30
        stands = (from_s <= end_s) & (until_s > end_s)
        count = np.bincount(lane[stands], minlength=network.lanes)
        own = told[told["s"] == second]
        wanted = [count[network.lane_ids.index(name)] for name in own["lane"]]
        assert own["queue_veh"].tolist() == wanted


# ---- loops ----


def test_loops_count_what_truth_says_has_left(day: Path, archive: Path, network: Network) -> None:
    """Where no fault was planted: each loop at a stop line against the kept truth, by 30 s."""
    faulty = planted_in(day, "loop_event")
    sensors = read_sensors(day / "sensors.csv", network)
    rows = by_name(archive, "loop_event", "detector", "detectors")
    truth = dict(iter(truth_of(day).groupby("lane")))
    begin_ms, periods = HOURS[0] * 3600_000, (HOURS[1] - HOURS[0]) * 120
    counted = off = 0
    for k in np.flatnonzero(sensors.kind == LOOP_STOP_LINE).tolist():
        name = sensors.ids[k]
        if name in faulty:
            continue
        own = rows[rows["detector"] == name]
        seen = np.bincount((own["ms"] - begin_ms) // PERIOD_MS, minlength=periods)
        of = truth[network.lane_ids[int(sensors.lane[k])]].sort_values("time")
        left = of["departed_veh"].to_numpy().astype(int)
        # The loop lies before the line: who stood on it is counted as it came. Refused rows, one
        # in a thousand, are missing.
        assert abs(np.cumsum(seen) - np.cumsum(left)).max() <= 8
        assert seen.sum() == pytest.approx(left.sum(), rel=0.01, abs=3)
        counted += int(left.sum())
        off += int(abs(seen - left).sum())
    assert counted > 5000
    assert off / counted < 0.6


def test_no_two_vehicles_are_on_a_loop_at_once(day: Path, archive: Path) -> None:
    """Queues move up over loops green by green, and nobody stands where another one does."""
    faulty = planted_in(day, "loop_event")
    rows = by_name(archive, "loop_event", "detector", "detectors")
    rows = rows[~rows["detector"].isin(list(faulty))].sort_values(["detector", "ms"])
    after_ms = rows["ms"].shift(-1) - rows["ms"] - rows["on_ms"]
    same = rows["detector"].shift(-1) == rows["detector"]
    assert (after_ms[same] < 0).mean() < 0.002
    assert rows["on_ms"].max() > 60_000, "some stood on one for a whole red"
    assert rows["on_ms"].min() > 100
    # Who did not stop drove at some speed over 2 m of loop.
    freely = rows[rows["on_ms"] < 1500]
    length_m = freely["on_ms"] / 1000 * freely["speed_cmps"] / 100 - 2.0
    assert length_m.median() == pytest.approx(5.0, abs=0.3)


@pytest.mark.parametrize(("seed", "load"), [(2, 1.0), (3, 1.2)])
def test_planted_loop_faults_are_found_and_no_others(
    tmp_path: Path, seed: int, load: float
) -> None:
    """On free streets and in a jam, where queues stand on loops for a long time."""
    layout = SensingLayout("l", camera_junction_share=0.0, loop_approach_share=0.8)
    synthesise(tmp_path / "day", options(seed, load=load, sensing=layout), quiet)
    files = sorted((tmp_path / "day" / "loop_event").iterdir())
    ingest(files, tmp_path / "archive")
    names = Dimensions(tmp_path / "archive").names("detectors")
    planted = planted_in(tmp_path / "day", "loop_event")
    assert {fault["kind"] for fault in planted.values()} == set(LOOP_FAULTS)
    wanted = {(n, f["kind"]) for n, f in planted.items() if f["kind"] != "skewed clock"}
    assert len(wanted) > 30
    found = loop_faults(tmp_path / "archive")
    assert {(names[fault.detector], fault.kind) for fault in found} == wanted
    for fault in found:
        own = planted[names[fault.detector]]
        begin_ms, end_ms = (MIDNIGHT_MS + 1000 * own[key] for key in ("begin_s", "end_s"))
        assert fault.begin_ms >= begin_ms - 3 * BIN_S * 1000
        assert fault.end_ms <= end_ms + 3 * BIN_S * 1000


def test_wrong_clocks_and_jumps_are_marked_and_nobody_elses(day: Path, tmp_path: Path) -> None:
    """As rows come in; and what is late is marked as late."""
    files = [path for feed in ("loop_event", "gps") for path in sorted((day / feed).iterdir())]
    reports = ingest(files, tmp_path / "archive")
    names = Dimensions(tmp_path / "archive").names("detectors")
    loops = planted_in(day, "loop_event")
    wanted = {name: 1000 * fault["skew_s"] for name, fault in loops.items() if fault["skew_s"]}
    assert len(wanted) > 5
    for report in reports:
        skews = report.skews.get("loop_event")
        if skews is not None:
            found = {names[int(number)]: skew_ms for number, skew_ms in skews.items()}
            assert found == pytest.approx(wanted, abs=1500)
    probes = planted_in(day, "gps")
    kinds = {fault["kind"] for fault in probes.values()}
    assert kinds == {"stuck", "jumps", "skewed clock"}
    told = {skew for report in reports for skew in report.skews.get("gps", {}).values()}
    assert told == {1000 * f["skew_s"] for f in probes.values() if f["skew_s"]}
    planted = json.loads((day / "truth" / "rows.json").read_text())
    late = sum(planted[feed]["late"] for feed in ("loop_event", "gps"))
    # Who had told nothing more in those five minutes is not late.
    assert 0.6 * late <= sum(report.late for report in reports) <= late
    jumps = sum(report.jumps for report in reports)
    share = sum(fault["kind"] == "jumps" for fault in probes.values()) / PROBE_CLASSES
    rows = sum(report.rows for report in reports if report.skews.get("gps"))
    assert jumps == pytest.approx(rows * share * JUMP_SHARE, rel=0.25)


# ---- probes, cameras, signals ----


def test_probes_lie_on_their_streets(day: Path, archive: Path, network: Network) -> None:
    rows = stored(archive, "gps").to_pandas()
    assert len(rows) > 10_000
    # Those with a fault of their own are a few in a hundred of the vehicles.
    sound = rows[rows["lat_e7"].between(374_300_000, 374_900_000)]
    assert len(sound) > 0.8 * len(rows)
    assert sound["link"].notna().mean() > 0.95
    links = Dimensions(archive).names("links")
    known = set(network.link_ids)
    assert {links[int(n)] for n in sound["link"].dropna().unique()} <= known
    moving = sound[sound["speed_cmps"] > 300]
    assert (moving["speed_cmps"] < 1800).mean() > 0.999
    assert 0.1 < (sound["speed_cmps"] < 100).mean() < 0.7, "some stand, not all"
    # A vehicle's own rows follow one another at the pace it tells.
    sound = sound.sort_values(["vehicle", "time"])
    apart_s = sound.groupby("vehicle")["time"].diff().dt.total_seconds()
    assert apart_s.median() == SENSING.probe_period_s


def test_cameras_see_what_is_in_view(day: Path, archive: Path, network: Network) -> None:
    rows = by_name(archive, "cctv_track", "camera", "cameras")
    sensors = read_sensors(day / "sensors.csv", network)
    seeing = sensors.junction[sensors.kind == CAMERA]
    assert set(rows["camera"]) <= {network.junction_ids[j] for j in np.unique(seeing)}
    away_m = np.hypot(rows["x_cm"], rows["y_cm"]) / 100
    assert (away_m < SENSING.camera_view_m + 30).all()
    # Ten frames a second, of one vehicle at one place at a time.
    frames = rows.sort_values(["camera", "track", "ms"])
    same = (frames["track"] == frames["track"].shift()) & (
        frames["camera"] == frames["camera"].shift()
    )
    step_ms = frames["ms"].diff()[same]
    assert step_ms.median() == 100
    near = same & (frames["ms"].diff() == 100) & (frames["lane"] == frames["lane"].shift())
    step_m = np.hypot(frames["x_cm"].diff(), frames["y_cm"].diff())[near] / 100
    assert (step_m < 4.0).mean() > 0.999


def test_signals_go_green_yellow_red_by_turns(archive: Path, network: Network) -> None:
    rows = by_name(archive, "signal_event", "controller", "controllers")
    assert set(rows["controller"]) == set(network.junction_ids)
    following = {GREEN: YELLOW, YELLOW: RED_CLEARANCE, RED_CLEARANCE: GREEN}
    phases = 0
    for _, phase in rows.sort_values("ms").groupby(["controller", "parameter"]):
        codes = phase["code"].tolist()
        assert all(following[a] == b for a, b in itertools.pairwise(codes))
        phases += 1
        begins = phase["ms"][phase["code"] == GREEN].diff().dropna()
        assert (begins > 0).all()
    assert phases > network.junctions
    plans = stored(archive, "plan").to_pandas()
    total = plans.groupby("controller")["split_ms"].sum()
    assert (total == plans.groupby("controller")["cycle_ms"].first()).all()


# ---- what can be asked for ----


def test_any_hour_of_the_day_can_be_made(tmp_path: Path) -> None:
    """The first as well, for which traffic warms up the day before."""
    layout = SensingLayout("l", camera_junction_share=0.0, loop_approach_share=0.2)
    for hour in (0, 23):
        folder = tmp_path / str(hour)
        rows = synthesise(folder, options(hours=(hour, hour + 1), sensing=layout), quiet)
        assert rows["loop_event"] > 50
        table = pq.read_table(next((folder / "signal_event").iterdir()))
        minutes = table["time"].to_pandas()
        assert set(minutes.dt.hour) == {hour}


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    """Its streets keep their names, and lie where the file says."""
    done = CliRunner().invoke(
        cli,
        f"synth --city gangnam --sensing loops --hours 7 8 --into {tmp_path / 'day'}".split(),
    )
    assert done.exit_code == 0, done.output
    network = load_network(tmp_path / "day" / "city.net.xml.gz").network
    assert network.junctions > 5
    names = set(read_sensors(tmp_path / "day" / "sensors.csv", network).ids)
    table = pq.read_table(tmp_path / "day" / "loop_event")
    assert set(table["detector"].to_pylist()) <= names
    files = sorted((tmp_path / "day").glob("*/*.parquet"))
    reports = ingest(files, tmp_path / "archive", network_file=tmp_path / "day" / "city.net.xml.gz")
    nothing_lost(reports)


def test_command_line(tmp_path: Path) -> None:
    sensing = tmp_path / "s.toml"
    sensing.write_text("[sensing]\ncamera_junction_share = 0.0\nloop_approach_share = 0.2\n")
    told = ["synth", "--hours", "7", "8", "--sensing", str(sensing)]
    done = CliRunner().invoke(cli, [*told, "--into", str(tmp_path / "day")])
    assert done.exit_code == 0, done.output
    assert "loop_event: " in done.output
    again = CliRunner().invoke(cli, [*told, "--into", str(tmp_path / "day")])
    assert isinstance(again.exception, OutputError)
    assert "not empty" in str(again.exception)
    done = CliRunner().invoke(
        cli, ["ingest", str(tmp_path / "day" / "loop_event"), "--into", str(tmp_path / "archive")]
    )
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli, ["data", "health", str(tmp_path / "archive")])
    assert done.exit_code == 0, done.output


def test_where_streets_end_traffic_goes_out_and_comes_in(tmp_path: Path) -> None:
    """Most networks have a way back at their ends; nobody comes in again by it."""
    import sumolib

    target = tmp_path / "ends.net.xml"
    subprocess.run(
        [
            sumolib.checkBinary("netgenerate"), "--grid", "--grid.number", "2",
            "--grid.length", "200", "--grid.attach-length", "150", "--default-junction-type",
            "traffic_light", "--output-file", str(target),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    network = load_network(target).network
    into = np.bincount(network.move_to_link, minlength=network.links)
    assert (into > 0).all(), "every road has something leading into it"
    sources, vph = source_flows(network, 1.0)
    assert len(sources) == 8
    assert (vph > 50.0).all()
    traffic = Traffic(network, 1)
    ends = network.move_to_link[network.move_turn == TURNAROUND]
    left = came = 0
    for _, passages in traffic.drive(8 * 3600, 9 * 3600):
        left += int((passages.conn < 0).sum())
        came += int(np.isin(passages.lane, sources).sum())
        on = passages.conn[passages.conn >= 0]
        again = np.isin(network.lane_link[network.conn_to_lane[on]], network.lane_link[sources])
        assert not again.any()
    assert len(ends) >= 8
    assert left == pytest.approx(came, rel=0.15)


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--faulty", "1.5", "faulty 1.5 is no share"),
        ("--seed", "-2", "seed -2 is below 0"),
        ("--date", "1999-12-31", "2000 to 2099"),
    ],
)
def test_a_bad_option_is_named(tmp_path: Path, option: str, value: str, text: str) -> None:
    done = CliRunner().invoke(cli, ["synth", option, value, "--into", str(tmp_path / "bad")])
    assert isinstance(done.exception, InputError)
    assert text in str(done.exception)


BAD_OPTIONS = {
    "--scale": ["0", "-1", "11", "nan", "inf", "much"],
    "--date": ["yesterday", "2026-02-30", "2026", ""],
    "--seed": ["-1", "1.5"],
    "--load": ["0", "nan", "4"],
    "--faulty": ["-0.1", "1.1", "nan"],
    "--sensing": ["nothing"],
    "--city": ["atlantis", "gone.net.xml"],
    "--hours": ["9 8", "-1 3", "23 25", "7 7"],
}


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option in BAD_OPTIONS for value in BAD_OPTIONS[option]],
)
def test_bad_options_are_refused_and_nothing_written(
    tmp_path: Path, option: str, value: str
) -> None:
    done = CliRunner().invoke(
        cli, ["synth", option, *value.split(" "), "--into", str(tmp_path / "bad")]
    )
    assert done.exit_code != 0
    assert isinstance(done.exception, TopisError | SystemExit), done.exception
    assert not (tmp_path / "bad").exists()


def test_streets_that_cannot_be_used_are_refused_and_nothing_left(tmp_path: Path) -> None:
    broken = {
        "cut.net.xml.gz": b"\x1f\x8b\x08\x00",
        "empty.net.xml": b"",
        "bare.net.xml": b"<net version='1.16'></net>",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        told = options(network_file=tmp_path / name)
        with pytest.raises(InputError):
            synthesise(tmp_path / "day", told, quiet)
        assert not list((tmp_path / "day").iterdir()), "the next attempt finds the folder empty"
