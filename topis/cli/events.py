"""`topis events`: a run's journal as hi-resolution controller events."""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

from topis.cli import EXIT_CODES
from topis.errors import OutputError
from topis.ingest.adapters.indiana import write_events
from topis.report.events import (
    ATSPM_SCHEMA,
    EVENT_SCHEMA,
    as_atspm,
    controller_events,
    detector_config,
    phase_config,
)
from topis.report.journal import JournalReader


@click.command(epilog=EXIT_CODES)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--into", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--csv", is_flag=True, help="CSV instead of Parquet.")
def events(run: Path, into: Path, csv: bool) -> None:
    """Write the journal of a RUN folder as Indiana hi-resolution events.

    events.parquet holds them, times in UTC; detectors.parquet tells which channel lies where and
    serves which phase, phases.parquet what each phase is. The PyPI package atspm reads the first
    two as they are.

    \b
    Example:
      topis events runs/gangnam/adaptive-seed1 --into events
    """  # noqa: D301
    journal = JournalReader(run)
    if into.exists() and any(into.iterdir()):
        raise OutputError(f"{into}: is not empty; name a new folder")
    into.mkdir(parents=True, exist_ok=True)
    rows = 0
    if csv:
        batches = list(controller_events(journal))
        table = pa.Table.from_batches(batches, EVENT_SCHEMA)
        write_events(into / "events.csv", table, dict(enumerate(journal.network.junction_ids)))
        rows = table.num_rows
    else:
        with pq.ParquetWriter(into / "events.parquet", ATSPM_SCHEMA, compression="zstd") as file:
            for batch in controller_events(journal):
                file.write_batch(as_atspm(batch, journal.network))
                rows += batch.num_rows
    detectors, phases = detector_config(journal), phase_config(journal.network)
    for name, table in (("detectors", detectors), ("phases", phases)):
        if csv:
            table.to_csv(into / f"{name}.csv", index=False)
        else:
            table.to_parquet(into / f"{name}.parquet", index=False)
    channels = detectors.groupby(["DeviceId", "Parameter"]).ngroups
    click.echo(
        f"{into}: {rows:,} events of {journal.network.junctions} controllers, "
        f"{len(phases)} phases, {channels} detectors"
    )
