"""`topis why`: what a junction was to show, why, what else was weighed, and on what evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tests import networks
from tests.hand_journal import write_journal
from tests.made_days import DATE, made_day
from tests.scenario_files import copy_single, topis
from tests.stream_cases import plain_junction
from topis.cli.main import cli
from topis.config import LAYOUTS
from topis.control.protocol import AT_MOST, EXACT, Why
from topis.errors import InputError
from topis.estimation.estimator import Estimator
from topis.ingest.synth import SynthOptions
from topis.model.lamp import codes_from_letters, is_green
from topis.report.journal import JournalReader
from topis.report.lane_evidence import Readings, lanes_seen, state_at
from topis.report.reasons import find_junction
from topis.run.advising import REASON_SCHEMA
from topis.run.why import moment_ms

FEEDS = ("loop_event", "gps", "cctv_track", "signal_event")
SEARCHED = {"least_cost", "around_plan", "overdue"}


def why(folder: Path, junction: str, when: object, *more: str) -> Result:
    return CliRunner().invoke(
        cli, ["why", str(folder), "--junction", junction, "--at", str(when), *more]
    )


def told(folder: Path, junction: str, when: object) -> dict[str, Any]:
    done = why(folder, junction, when, "--json")
    assert done.exit_code == 0, done.output
    # JSON has no NaN: what is unknown is null.
    return dict(json.loads(done.output, parse_constant=pytest.fail))


# ---- a replay ----


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("why")
    options = SynthOptions(0.0008, DATE, 6, 0.0, (7, 8), sensing=LAYOUTS["seoul"])
    feeds = made_day(folder, options, FEEDS) / "feeds"
    done = CliRunner().invoke(
        cli,
        [
            "replay", str(folder / "archive"), "--network", str(feeds / "city.net.xml.gz"),
            "--sensors", str(feeds / "sensors.csv"), "--from", f"{DATE}T07:20",
            "--to", f"{DATE}T07:25", "--out", str(folder / "run"),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_a_replay_keeps_what_was_rejected(replayed: Path) -> None:
    table = pq.read_table(replayed / "reasons.parquet")
    assert table.schema.equals(REASON_SCHEMA, check_metadata=True)
    network = JournalReader(replayed).network
    weighed = 0
    for row in table.to_pylist():
        name = Why(row["why"]).name.lower()
        assert bool(row["stage"]) == (name in SEARCHED)
        assert len(row["stage"]) == len(row["value"]) == len(row["bound"])
        assert (network.stage_junction[row["stage"]] == row["junction"]).all()
        if row["stage"]:
            weighed += 1
            chosen = row["stage"].index(row["wanted"])
            assert row["bound"][chosen] == EXACT
            assert row["value"][chosen] == min(row["value"])
            most = [s for s, b in zip(row["stage"], row["bound"], strict=True) if b == AT_MOST]
            assert set(most) <= {row["shown"]}
            # It goes on with what is shown, or changes at once.
            assert (row["wanted"] == row["shown"]) == (row["extend_s"] > 0)
            if row["wanted"] != row["shown"]:
                assert row["next_stage"] == row["wanted"]
    assert weighed > 1000


def test_reasons_and_advice_are_of_the_same_answers(replayed: Path) -> None:
    advice = pq.read_table(replayed / "advice.parquet").to_pandas()
    reasons = pq.read_table(replayed / "reasons.parquet").to_pandas()
    columns = ["time_ms", "junction", "shown", "wanted"]
    both = advice.merge(reasons[columns], on=columns)
    assert len(both) == len(advice)
    # Between its rows an answer does not change.
    changed = reasons.groupby("junction")[["shown", "wanted"]].diff().fillna(1).any(axis=1)
    assert changed.sum() == len(advice)


def test_people_and_programs_are_told_the_same(replayed: Path) -> None:
    journal = JournalReader(replayed)
    rows = pq.read_table(replayed / "reasons.parquet").to_pylist()
    row = next(row for row in reversed(rows) if len(row["stage"]) > 1)
    name = journal.network.junction_ids[row["junction"]]
    low = int(journal.network.junction_stage_ptr[row["junction"]])
    when = str(np.datetime64(row["time_ms"], "ms"))
    found = told(replayed, name, when)
    assert found["time_s"] == found["weighing"]["time_s"] == row["time_ms"] / 1000
    assert found["why"] == Why(row["why"]).name.lower()
    assert found["weighing"]["chosen"] == found["wanted"] == row["wanted"] - low
    values = [a["value"] for a in found["weighing"]["alternatives"]]
    assert values == sorted(row["value"])
    assert found["weighing"]["alternatives"][0]["stage"] == found["wanted"]
    # The time of day alone will do; what is between two ticks belongs to the first.
    assert told(replayed, name, when[11:19]) == found
    text = why(replayed, name, when).output
    assert text.startswith(f"{when.removesuffix('.000')}: {name} ")
    assert f"> stage {found['wanted']:<3}{values[0]:10.1f}  best" in text
    for alternative in found["weighing"]["alternatives"][1:]:
        mark = "" if alternative["bound"] == "exact" else f"{alternative['bound']} "
        assert f"{mark}{alternative['value'] - values[0]:+.1f}" in text
    for lane in found["lanes"]:
        assert f"\n  {lane['lane']}: queue {lane['queue_veh']:.1f} veh" in text


def test_evidence_names_the_sensors_that_serve_each_lane(replayed: Path) -> None:
    journal = JournalReader(replayed)
    sensors, network = journal.sensors, journal.network
    at_ms = journal.ticks_ms[200]
    for junction, name in enumerate(network.junction_ids[:6]):
        lanes = told(replayed, name, np.datetime64(at_ms, "ms"))["lanes"]
        assert len(lanes) > 0
        for lane in lanes:
            number = network.lane_ids.index(lane["lane"])
            assert network.link_junction[network.lane_link[number]] == junction
            direct = {sensors.ids[k] for k in np.flatnonzero(sensors.serves == number).tolist()}
            assert direct <= {sensor["sensor"] for sensor in lane["sensors"]}


def test_readings_are_those_of_the_journal(replayed: Path) -> None:
    """From wherever one begins; a sensor's age counts from its last row."""
    journal = JournalReader(replayed)
    whole = {o.time_ms: o for o in journal.observations()}
    begin_ms, at_ms = journal.ticks_ms[100], journal.ticks_ms[130]
    probes = pq.read_table(
        replayed / "probes.parquet",
        filters=[("time_ms", ">=", begin_ms), ("time_ms", "<=", at_ms)],
    )
    readings = Readings(journal, begin_ms, at_ms)
    seen = list(readings.observations(probes))
    assert [o.time_ms for o in seen] == journal.ticks_ms[100:131]
    for observation in seen:
        then = whole[observation.time_ms]
        np.testing.assert_array_equal(observation.reading, then.reading)
        np.testing.assert_array_equal(observation.probes.probe, then.probes.probe)
    rows = pq.read_table(replayed / "observations.parquet").to_pandas()
    last = rows[rows["time_ms"] <= at_ms].groupby("sensor")["time_ms"].max()
    assert readings.changed_ms[last.index].tolist() == last.tolist()


def test_estimates_are_made_again_from_the_journal(replayed: Path) -> None:
    journal = JournalReader(replayed)
    network = journal.network
    estimator = Estimator(network, journal.sensors)
    code = np.zeros(network.groups, np.uint8)
    changes = pq.read_table(replayed / "signals.parquet").to_pandas().groupby("time_ms")
    for observation in journal.observations():
        if observation.time_ms in changes.groups:
            for row in changes.get_group(observation.time_ms).itertuples():
                first, end = network.junction_head_ptr[row.junction : row.junction + 2]
                code[network.head_group[first:end]] = codes_from_letters(row.state)
        state = estimator.update(observation, is_green(code))
        if observation.time_ms == journal.ticks_ms[250]:
            break
    found = state_at(journal, journal.ticks_ms[250])
    for name in ("queue_veh", "arrival_vps", "confidence", "flow_vps"):
        np.testing.assert_array_equal(getattr(found, name), getattr(state, name))


@pytest.mark.parametrize(
    ("name", "when", "text"),
    [
        ("nowhere", "07:21", "has no signal in this run"),
        ("A", "07:21", "close to it are A"),
        (None, "07:19", "is outside the run; name one from 2026-11-17T07:20:01"),
        (None, "2026-11-18T07:21", "is outside the run"),
        (None, "noon", "cannot be read"),
    ],
)
def test_bad_questions_say_what_is_wrong(
    replayed: Path, name: str | None, when: str, text: str
) -> None:
    known = JournalReader(replayed).network.junction_ids[0]
    done = why(replayed, known if name is None else name, when)
    assert isinstance(done.exception, InputError)
    assert text in str(done.exception)


def test_files_that_are_not_there_or_damaged_are_named(replayed: Path, tmp_path: Path) -> None:
    name = JournalReader(replayed).network.junction_ids[0]

    def error(folder: Path) -> str:
        done = why(folder, name, "07:21")
        assert isinstance(done.exception, InputError), done.exception
        return str(done.exception)

    assert "no manifest.json" in error(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in replayed.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    whole = (copy / "reasons.parquet").read_bytes()
    (copy / "reasons.parquet").write_bytes(whole[:1000])
    assert "reasons.parquet: cannot be read" in error(copy)
    pq.write_table(pa.table({"time_ms": [1]}), copy / "reasons.parquet")
    assert "has other columns" in error(copy)
    (copy / "reasons.parquet").unlink()
    assert "is missing; replay the slice again" in error(copy)
    (copy / "reasons.parquet").write_bytes(whole)
    (copy / "observations.parquet").write_bytes(b"nothing")
    assert "observations.parquet: cannot be read" in error(copy)


# ---- simulations, repeated ----


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("libsumo")
    folder = tmp_path_factory.mktemp("simulated")
    config = copy_single(folder, end_s=200)
    names = ("adaptive", "max-pressure", "actuated", "webster")
    options = [part for name in names for part in ("-c", name)]
    topis("simulate", config.name, *options, "-o", "out", "--no-report", cwd=folder)
    return folder / "out"


@pytest.mark.parametrize("controller", ["adaptive", "max-pressure", "actuated"])
def test_a_simulation_gives_its_decisions_again(simulated: Path, controller: str) -> None:
    run = simulated / f"{controller}-seed1"
    journal = JournalReader(run)
    network = journal.network
    commands = dict(zip(journal.ticks_ms, journal.commands(), strict=True))
    reasons = set()
    for at_ms in journal.ticks_ms[3::17]:
        found = told(run, network.junction_ids[0], at_ms / 1000)
        assert found["time_s"] == at_ms / 1000
        assert found["wanted"] == commands[at_ms][0] - network.junction_stage_ptr[0]
        reasons.add(found["why"])
        weighing = found["weighing"]
        if controller == "actuated":
            assert weighing is None
            continue
        if weighing is None or found["why"] not in {*SEARCHED, "pressure"}:
            continue
        assert weighing["time_s"] == found["time_s"]
        first = weighing["alternatives"][0]
        assert (first["stage"], first["bound"]) == (found["wanted"], "exact")
        best = min if controller == "adaptive" else max
        assert first["value"] == best(a["value"] for a in weighing["alternatives"])
    assert len(reasons) > 1
    assert why(run, network.junction_ids[0], "00:02:30").output.startswith("00:02:30: ")


def test_who_keeps_no_alternatives_says_so(simulated: Path) -> None:
    run = simulated / "webster-seed1"
    error = str(why(run, JournalReader(run).network.junction_ids[0], 100).exception)
    assert "controller webster keeps no alternatives; ask a run of adaptive" in error


# ---- the parts ----


def test_evidence_by_hand(tmp_path: Path) -> None:
    """A loop's last vehicle came 7 s ago, another loop fell silent, nobody was seen by a probe."""
    junction = plain_junction("GGrr", "rrGG")
    lamps = ["G" * 30, "G" * 30, "r" * 30, "r" * 30]
    readings = {0: {20: (1.0, 0.5), 21: (1.0, 0.5)}}
    journal = write_journal(
        tmp_path / "run", junction, lamps, readings, lanes=(0, 1), dead={3: range(25, 30)}
    )
    at_ms = journal.ticks_ms[29]
    lanes = lanes_seen(journal, state_at(journal, at_ms), 0)
    first, second = lanes[0].sensors
    assert (first.sensor, first.kind, first.reading) == ("loop0", "loop_stop_line", (0.0, 0.0))
    assert first.age_s == 7.0
    assert not first.dead
    assert lanes[0].age_s == 0.0
    assert (lanes[0].probes, lanes[0].probe_age_s) == (0, pytest.approx(np.nan, nan_ok=True))
    silent = lanes[1].sensors[1]
    assert np.isnan(silent.reading).all()
    assert silent.age_s == 4.0
    assert lanes[2].sensors == ()
    assert np.isnan(lanes[2].age_s)
    assert second.sensor == "loop1"


@pytest.mark.parametrize(
    ("when", "at_s"),
    [("86390", 86390), ("23:59:50", 86390), ("00:00:05", 86405), ("0:00:05.4", 86405),
     ("86409.9", 86409), ("1970-01-02T00:00:02", 86402)],
)  # fmt: skip
def test_times_are_understood(when: str, at_s: int) -> None:
    ticks_ms = list(range(86_380_000, 86_410_000, 1000))
    assert moment_ms(when, ticks_ms, Path()) == 1000 * at_s


def test_close_names_are_suggested() -> None:
    network = networks.build([plain_junction("GGrr", "rrGG")])
    known = network.junction_ids[0]
    assert find_junction(network, known) == 0
    with pytest.raises(InputError, match=f"close to it are {known}"):
        find_junction(network, known + "x")
