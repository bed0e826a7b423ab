"""`topis replay`: what the engine saw of an archive's slice, and what it would have decided."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tests import networks
from tests.made_days import DATE, made_day
from tests.stream_cases import plain_junction
from topis.cli.main import cli
from topis.config import LAYOUTS
from topis.ingest.network_file import load_network
from topis.ingest.program_lamps import green_table
from topis.ingest.slices import time_ms_of
from topis.ingest.synth import SynthOptions
from topis.report.advice import differences
from topis.report.journal import JournalReader
from topis.run.advising import ADVICE_SCHEMA, StagesShown

FEEDS = ("loop_event", "gps", "cctv_track", "signal_event")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    options = SynthOptions(0.0008, DATE, 6, 0.0, (7, 8), sensing=LAYOUTS["seoul"])
    return made_day(folder, options, FEEDS)


def run(day: Path, out: Path, *more: str, begin: str = "07:20", end: str = "07:30") -> Result:
    feeds = day / "feeds"
    return CliRunner().invoke(
        cli,
        [
            "replay", str(day / "archive"), "--network", str(feeds / "city.net.xml.gz"),
            "--sensors", str(feeds / "sensors.csv"), "--from", f"{DATE}T{begin}",
            "--to", f"{DATE}T{end}", "--out", str(out), *more,
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def replayed(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "one"
    done = run(day, out)
    assert done.exit_code == 0, done.output
    assert "answers in" in done.output
    assert "wanted another stage" in done.output
    return out


def test_the_same_slice_gives_the_same_answers(day: Path, replayed: Path, tmp_path: Path) -> None:
    assert run(day, tmp_path / "again").exit_code == 0
    for path in sorted(replayed.iterdir()):
        if path.name not in ("timings.json", "report.html"):
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_the_journal_holds_what_was_seen_and_shown(day: Path, replayed: Path) -> None:
    journal = JournalReader(replayed)
    assert len(journal.ticks_ms) == 600
    assert journal.ticks_ms[0] == time_ms_of(f"{DATE}T07:20") + 1000
    observations = list(journal.observations())
    assert sum(len(o.probes.probe) for o in observations) > 100
    assert np.nansum([o.reading[:, 0].sum() for o in observations]) > 100
    # Signals are those of the programs: as often green as these have it.
    network = load_network(day / "feeds" / "city.net.xml.gz").network
    ptr, _, code = green_table(network)
    wanted = np.array([(code[a:b] >= 2).mean() for a, b in pairwise(ptr)])
    lamps = pq.read_table(replayed / "signals.parquet").to_pandas()
    assert set(lamps["junction"]) == set(range(network.junctions))
    first = lamps[lamps["junction"] == 0].sort_values("time_ms")
    ends = [*first["time_ms"].tolist()[1:], journal.ticks_ms[-1]]
    green = 0.0
    for (_, row), end in zip(first.iterrows(), ends, strict=True):
        green += (row["state"][0] in "gG") * (end - row["time_ms"])
    head = int(network.head_group[0])
    assert green / 600_000 == pytest.approx(wanted[head], abs=0.05)


def test_answers_name_stages_of_their_junction(day: Path, replayed: Path) -> None:
    network = load_network(day / "feeds" / "city.net.xml.gz").network
    advice = pq.read_table(replayed / "advice.parquet")
    assert advice.schema.equals(ADVICE_SCHEMA, check_metadata=True)
    table = advice.to_pandas()
    known = table[table["wanted"] >= 0]
    assert len(known) > 100
    assert (network.stage_junction[known["wanted"]] == known["junction"]).all()
    shown = table[table["shown"] >= 0]
    assert (network.stage_junction[shown["shown"]] == shown["junction"]).all()
    assert table["shown"].nunique() > network.junctions
    facts = json.loads((replayed / "timings.json").read_text())
    assert facts["decisions"] == 600 * network.junctions


def test_the_stage_shown_is_told_from_the_lamps() -> None:
    network = networks.build([plain_junction("GGrr", "rrGG"), plain_junction("GGrr", "rrGG")])
    shown = StagesShown(network)
    red = np.zeros(network.groups, np.uint8)
    stage, _ = shown.of(red, 1000)
    assert stage.tolist() == [-1, -1]
    lamps = red.copy()
    lamps[[0, 1]] = 3
    stage, since = shown.of(lamps, 2000)
    assert stage.tolist() == [0, -1]
    lamps[4 + 2 :] = 3
    stage, since = shown.of(lamps, 5000)
    assert stage.tolist() == [0, 3]
    assert since.tolist() == [2000, 5000]
    lamps[0] = 1
    stage, since = shown.of(lamps, 6000)
    assert stage.tolist() == [-1, 3]


def test_differences_by_hand() -> None:
    network = networks.build([plain_junction("GGrr", "rrGG"), plain_junction("GGrr", "rrGG")])
    rows = [
        # Junction 0: 4 s of difference (too short), 10 s, then 6 s of no stage.
        (0, 0, 0, 0), (10_000, 0, 0, 1), (14_000, 0, 0, 0), (20_000, 0, 0, 1),
        (25_000, 0, 1, 0), (30_000, 0, 0, 0), (34_000, 0, -1, 0), (40_000, 0, 0, 0),
        # Junction 1: all the time.
        (0, 1, 2, 3),
    ]  # fmt: skip
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    advice = pa.table(
        {
            "time_ms": pa.array(columns[0], pa.int64()),
            "junction": pa.array(columns[1], pa.int32()),
            "shown": pa.array(columns[2], pa.int32()),
            "wanted": pa.array(columns[3], pa.int32()),
        }
    )
    worst, other = differences(advice, network, 0, 100_000)
    assert worst.junction == network.junction_ids[1]
    assert (worst.other_share, worst.spells, worst.longest_s) == (1.0, 1, 100.0)
    assert other.other_share == pytest.approx(0.10)
    assert (other.spells, other.longest_s) == (1, 10.0)
    assert other.unknown_share == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--controller", "nobody"], "is unknown"),
        (["--set", "x"], "expected NAME=NUMBER"),
        (["--from", "2026-11-20T07:00", "--to", "2026-11-20T08:00"], "nothing is stored"),
        (["--from", "2026-11-17T08:00"], "ends before it begins"),
    ],
)
def test_bad_calls_say_what_is_wrong(day: Path, tmp_path: Path, more: list[str], text: str) -> None:
    done = run(day, tmp_path / "out", *more)
    assert text in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_is_not_written_over(day: Path, replayed: Path) -> None:
    assert "is there already" in str(run(day, replayed).exception)


def test_a_feed_that_is_missing_is_told(day: Path, tmp_path: Path) -> None:
    done = run(day, tmp_path / "late", begin="07:55", end="08:05")
    assert done.exit_code == 0
    assert "nothing of loop_event in 1 of the hours" in done.output


def test_other_controllers_are_asked_as_well(day: Path, tmp_path: Path) -> None:
    done = run(day, tmp_path / "mp", "-c", "max-pressure", "--feed", "loop_event")
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "mp" / "manifest.json").read_text())
    assert manifest["controller"] == "max-pressure"
    assert manifest["feeds"] == ["loop_event"]
