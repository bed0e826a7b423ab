"""`topis replay`: a slice of an archive through the engine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pyarrow.parquet as pq

from topis.cli import EXIT_CODES
from topis.cli.progress import StageBar
from topis.cli.settings import setting_pairs
from topis.clock import stopwatch_s
from topis.errors import InputError
from topis.ingest.observe import FEEDS_USED
from topis.ingest.slices import time_ms_of
from topis.report.advice import differences
from topis.report.journal import load_network_file
from topis.report.replay_report import gaps
from topis.report.whatif_result import read_whatif
from topis.report.whatif_table import format_whatif
from topis.run.archive_run import SliceOptions
from topis.run.replay import MODES, ReplaySpec, replay, whatif_of_run
from topis.run.selection import GROUP_JUNCTIONS, Selection
from topis.run.whatif import SEEDS
from topis.run.workers import Done

SHOWN = 10


@click.command("replay", epilog=EXIT_CODES)
@click.argument("archive")
@click.option("--network", type=click.Path(path_type=Path), help="SUMO network.")
@click.option("--sensors", type=click.Path(path_type=Path), help="CSV: what lies where.")
@click.option("--from", "begin", help="2026-11-17T07:00, UTC unless it says.")
@click.option("--to", "end", help="Likewise, or a time of the same day: 09:00.")
@click.option(
    "--mode", type=click.Choice(MODES), default="audit", show_default=True,
    help="audit: what the engine would have decided, beside what was shown. measure: only what "
    "was seen and shown. whatif: what its plan would have done to delay, and how sure that is.",
)  # fmt: skip
@click.option("--controller", "-c", default="adaptive", show_default=True, help="Who is asked.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Of the controller.")
@click.option(
    "--feed", "feeds", multiple=True, type=click.Choice(FEEDS_USED), help="Only these feeds."
)
@click.option(
    "--district", "districts", multiple=True, metavar="NAME", help="Only these districts."
)
@click.option("--junction", "junctions", multiple=True, metavar="ID", help="Only these junctions.")
@click.option(
    "--corridor", default="", metavar="STREET|LINK,LINK,...", help="Only the signals along it."
)
@click.option(
    "--workers", "-j", type=click.IntRange(1, 1024), default=1, show_default=True,
    help="Processes; results are the same for any number.",
)  # fmt: skip
@click.option(
    "--cluster", default="", metavar="local|ADDRESS",
    help="Work on a Dask cluster: tcp://host:8786, or local for one of --workers processes.",
)  # fmt: skip
@click.option(
    "--group", "group_junctions", type=click.IntRange(1), default=GROUP_JUNCTIONS,
    show_default=True, help="Junctions worked on together; whole districts.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(2), default=SEEDS, show_default=True, help="whatif: draws."
)
@click.option("--no-report", is_flag=True, help="Skip report.html.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new run folder.")
def replay_command(
    archive: str,
    network: Path | None,
    sensors: Path | None,
    begin: str | None,
    end: str | None,
    mode: str,
    controller: str,
    settings: tuple[str, ...],
    feeds: tuple[str, ...],
    districts: tuple[str, ...],
    junctions: tuple[str, ...],
    corridor: str,
    workers: int,
    cluster: str,
    group_junctions: int,
    seeds: int,
    no_report: bool,
    out: Path,
) -> None:
    """Replay a slice of an ARCHIVE: what the engine saw, and what it would have decided.

    The engine is asked every second; signals stay as the controllers' events tell, so each answer
    is to what really happened. A quarter of an hour before the slice warms the estimates. The run
    folder holds a journal like that of a simulation, and the answers (advice.parquet).

    ARCHIVE is a folder or an address (s3://bucket/archive?region=..., hdfs://host/archive). What a
    call did before it was interrupted is kept: the same call goes on from there. With --mode whatif
    it may also be a run folder (of topis simulate, for example), which needs no other input.

    \b
    Examples:
      topis replay archive --network made-up/city.net.xml.gz --sensors made-up/sensors.csv
        --from 2026-11-17T07:30 --to 08:30 --out morning
      topis replay archive ... --district 23 --from 2026-11-17T00:00 --to 2026-11-18T00:00
        --workers 8 --out day
      topis replay runs/gangnam/shipped-seed1 --mode whatif --controller adaptive --out gain
    """  # noqa: D301
    if "://" not in archive and not Path(archive).is_dir():
        raise InputError.at(archive, "no such folder", "name an archive, or a run folder")
    if (Path(archive) / "manifest.json").is_file():
        _whatif_of_run(archive, mode, controller, setting_pairs(settings), seeds, out)
        return
    if network is None or sensors is None or begin is None or end is None:
        raise click.UsageError("an archive needs --network, --sensors, --from and --to")
    first, last = slice_ms(begin, end)
    options = SliceOptions(archive, network, sensors, first, last, feeds or FEEDS_USED)
    spec = ReplaySpec(
        options, out, controller, setting_pairs(settings), mode,
        Selection(districts, junctions, corridor), workers, cluster, group_junctions,
        seeds, not no_report,
    )  # fmt: skip
    began_s = stopwatch_s()
    with StageBar("Replay") as bar:

        def tell(stage: str, done: Done | None) -> None:
            if done is None:
                bar.show(stage, 0, 1)
                return
            rows = sum(done.rows.values())
            rate = rows / max(stopwatch_s() - began_s, 1e-3)
            bar.show(f"{rows:,} rows, {rate:,.0f} a second", done.done_ms, done.total_ms)

        try:
            replay(spec, tell)
        except KeyboardInterrupt:
            click.echo("\nWhat is done is kept; the same call goes on from there.", err=True)
            raise
    _conclude(out, first, last)


def _whatif_of_run(
    run: str, mode: str, controller: str, settings: dict[str, float], seeds: int, out: Path
) -> None:
    if mode != "whatif":
        raise InputError.at(
            run, "is a run folder, not an archive", "give --mode whatif, or see topis verify"
        )
    with StageBar("What if") as bar:
        found = whatif_of_run(
            Path(run), controller, settings, seeds, out,
            lambda share: bar.show("driving", round(1000 * share), 1000),
        )  # fmt: skip
    click.echo("\n".join(format_whatif(found)))
    click.echo(f"Kept in {out}: whatif.json, whatif.svg")


def slice_ms(begin: str, end: str) -> tuple[int, int]:
    """(from, to) in UTC ms; ``end`` may be a time of the day that ``begin`` names.

    Raises
    ------
    InputError
        One cannot be read.
    """
    first = time_ms_of(begin)
    if re.fullmatch(r"\d\d:\d\d(:\d\d)?", end):
        date, _, clock = begin.partition("T")
        zone = re.search(r"(Z|[+-]\d\d:?\d\d)$", clock)
        end = f"{date}T{end}{zone[0] if zone else ''}"
    return first, time_ms_of(end)


def _conclude(out: Path, first: int, last: int) -> None:
    facts = json.loads((out / "timings.json").read_text())
    manifest = json.loads((out / "manifest.json").read_text())
    speed = (last - first) / 1000 / max(facts["wall_s"], 1e-9)
    answers = f", {facts['decisions']:,} answers" if manifest["mode"] == "audit" else ""
    click.echo(
        f"{out}: {facts['rows']:,} rows{answers} in {facts['wall_s']:.1f} s "
        f"({speed:.0f} times as fast as it happened)"
    )
    if manifest["mode"] == "audit":
        rows = differences(
            pq.read_table(out / "advice.parquet"), load_network_file(out / "network.npz"),
            first, last,
        )  # fmt: skip
        click.echo(
            f"wanted another stage than was shown, of {len(rows)} junctions the first {SHOWN}:"
        )
        for row in rows[:SHOWN]:
            click.echo(
                f"  {row.junction:16}{100 * row.other_share:5.1f} % of the time, {row.spells} "
                f"spells, the longest {row.longest_s:.0f} s; between stages "
                f"{100 * row.unknown_share:.0f} %"
            )
    if (out / "whatif.json").is_file():
        click.echo("\n".join(format_whatif(read_whatif(out / "whatif.json"))))
    for text in gaps(manifest):
        click.echo(f"  {text}")
    if (out / "report.html").is_file():
        click.echo(f"Report: {out / 'report.html'}")
