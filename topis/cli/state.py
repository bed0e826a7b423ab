"""`topis data state`: an archive's slice to what is known of the streets, every 30 s."""

from __future__ import annotations

from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.cli.progress import StageBar
from topis.errors import InputError, OutputError
from topis.estimation.estimator import Estimator
from topis.ingest.observe import FEEDS_USED
from topis.ingest.slices import time_ms_of
from topis.report.state_errors import StateErrors, read_truth
from topis.report.state_table import StateWriter
from topis.run.archive_run import Found, SliceOptions, open_slice, require_rows
from topis.run.street_states import street_states


@click.command("state", epilog=EXIT_CODES)
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--network", required=True, type=click.Path(path_type=Path), help="SUMO network.")
@click.option(
    "--sensors", required=True, type=click.Path(path_type=Path), help="CSV: what lies where."
)
@click.option("--from", "begin", required=True, help="2026-11-17T07:00, UTC unless it says.")
@click.option("--to", "end", required=True, help="Likewise.")
@click.option(
    "--feed", "feeds", multiple=True, type=click.Choice(FEEDS_USED), help="Only these feeds."
)
@click.option("--dead", default=0.0, show_default=True, help="Share of sensors taken for dead.")
@click.option("--seed", default=1, show_default=True, help="Draws the dead ones.")
@click.option(
    "--truth", type=click.Path(path_type=Path), help="What topis synth kept: prints the errors."
)
@click.option("--into", type=click.Path(path_type=Path), help="A new folder for the states.")
def state(
    archive: Path,
    network: Path,
    sensors: Path,
    begin: str,
    end: str,
    feeds: tuple[str, ...],
    dead: float,
    seed: int,
    truth: Path | None,
    into: Path | None,
) -> None:
    """Work out what was known of the streets, every 30 s of a slice of an ARCHIVE.

    Queues, flows, saturation flows, travel times, turn shares and spillback, each with a standard
    deviation and an age, as Parquet. With the truth of a made-up day, how far off they were.

    \b
    Example:
      topis data state archive --network made-up/city.net.xml.gz --sensors made-up/sensors.csv
        --from 2026-11-17T07:00 --to 2026-11-17T09:00 --truth made-up/truth
    """  # noqa: D301
    if not 0.0 <= dead <= 1.0:
        raise InputError(f"--dead {dead:g} is no share; give 0 to 1")
    if into is not None and into.exists() and any(into.iterdir()):
        raise OutputError(f"{into}: is not empty; name a new folder")
    options = SliceOptions(
        archive, network, sensors, time_ms_of(begin), time_ms_of(end), feeds or FEEDS_USED,
        dead_share=dead, seed=seed,
    )  # fmt: skip
    run = open_slice(options)
    require_rows(run.slices, options)
    first, last = run.begin_ms, run.end_ms
    errors = None
    if truth is not None:
        seen_by = Estimator(run.network, run.sensors).evidence.seen_by
        errors = StateErrors(run.network, read_truth(truth, run.network), seen_by)
    writer = StateWriter(into, run.network) if into is not None else None
    moments = 0
    try:
        with StageBar("States") as bar:
            for found in street_states(run):
                moments += 1
                bar.show("estimating", found.time_ms - first, last - first)
                if errors is not None:
                    errors.add(found)
                if writer is not None:
                    writer.write(found)
    finally:
        if writer is not None:
            writer.close()
    click.echo(f"{moments} states from {run.observations.rows:,} rows; {run.sensors.describe()}")
    for text in Found.in_run(run).left_out():
        click.echo(f"  {text}")
    if errors is not None:
        _print_errors(errors)


def _print_errors(errors: StateErrors) -> None:
    rows = errors.table()
    if not errors.compared:
        click.echo("no truth of this time: the truth is of another day or other hours")
        return
    if not rows:
        click.echo("too short a slice to compare: give more than a quarter of an hour")
        return
    click.echo(
        f"{'':8}{'seen by':9}{'values':>8}{'mean':>9}{'bias':>8}{'MAE':>8}{'RMSE':>8}"
        f"{'guess':>8}  within 2 sd"
    )
    for row in rows:
        within = f"{100 * row.within:.0f} %" if row.within == row.within else ""
        click.echo(
            f"{row.quantity:8}{row.seen_by:9}{row.values:8}{row.mean:9.1f}{row.bias:8.1f}"
            f"{row.mae:8.2f}{row.rmse:8.2f}{row.guess:8.2f}  {within:>6} {row.unit}"
        )
    click.echo("guess: the MAE of always telling the mean")
