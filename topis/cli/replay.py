"""`topis replay`: a slice of an archive through the engine."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pyarrow.parquet as pq

from topis.cli import EXIT_CODES
from topis.cli.progress import StageBar
from topis.cli.settings import setting_pairs
from topis.ingest.observe import FEEDS_USED
from topis.ingest.slices import time_ms_of
from topis.report.advice import differences
from topis.report.journal import load_network_file
from topis.run.archive_run import SliceOptions
from topis.run.replay import ReplaySpec, replay

SHOWN = 10


@click.command("replay", epilog=EXIT_CODES)
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--network", required=True, type=click.Path(path_type=Path), help="SUMO network.")
@click.option(
    "--sensors", required=True, type=click.Path(path_type=Path), help="CSV: what lies where."
)
@click.option("--from", "begin", required=True, help="2026-11-17T07:00, UTC unless it says.")
@click.option("--to", "end", required=True, help="Likewise.")
@click.option("--controller", "-c", default="adaptive", show_default=True, help="Who is asked.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Of the controller.")
@click.option(
    "--feed", "feeds", multiple=True, type=click.Choice(FEEDS_USED), help="Only these feeds."
)
@click.option("--district", "districts", multiple=True, type=int, help="Only these districts.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new run folder.")
def replay_command(
    archive: Path,
    network: Path,
    sensors: Path,
    begin: str,
    end: str,
    controller: str,
    settings: tuple[str, ...],
    feeds: tuple[str, ...],
    districts: tuple[int, ...],
    out: Path,
) -> None:
    """Replay a slice of an ARCHIVE: what the engine saw, and what it would have decided.

    The engine is asked every second; signals stay as the controllers' events tell, so each answer
    is to what really happened. A quarter of an hour before the slice warms the estimates. The run
    folder holds a journal like that of a simulation, and the answers (advice.parquet).

    \b
    Example:
      topis replay archive --network made-up/city.net.xml.gz --sensors made-up/sensors.csv
        --from 2026-11-17T07:30 --to 2026-11-17T08:30 --out morning
    """  # noqa: D301
    first, last = time_ms_of(begin), time_ms_of(end)
    options = SliceOptions(
        archive, network, sensors, first, last, feeds or FEEDS_USED, districts or None
    )
    spec = ReplaySpec(options, controller, out, setting_pairs(settings))
    with StageBar("Replay") as bar:
        replay(spec, lambda now: bar.show("replaying", max(now - first, 0), last - first))
    facts = json.loads((out / "timings.json").read_text())
    speed = (last - first) / 1000 / max(facts["wall_s"], 1e-9)
    click.echo(
        f"{out}: {facts['rows']:,} rows, {facts['decisions']:,} answers in {facts['wall_s']:.1f} s "
        f"({speed:.0f} times as fast as it happened)"
    )
    rows = differences(
        pq.read_table(out / "advice.parquet"), load_network_file(out / "network.npz"), first, last
    )
    click.echo(f"wanted another stage than was shown, of {len(rows)} junctions the first {SHOWN}:")
    for row in rows[:SHOWN]:
        click.echo(
            f"  {row.junction:16}{100 * row.other_share:5.1f} % of the time, {row.spells} spells, "
            f"the longest {row.longest_s:.0f} s; between stages {100 * row.unknown_share:.0f} %"
        )
    manifest = json.loads((out / "manifest.json").read_text())
    for feed, hours in manifest["hours_without"].items():
        click.echo(f"  nothing of {feed} in {len(hours)} of the hours")
    for text in manifest["left_out"]:
        click.echo(f"  {text}")
