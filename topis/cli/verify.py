"""`topis verify`: whether a journal, replayed, gives every decision again."""

from __future__ import annotations

from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.run.verify import verify_run


@click.command(epilog=EXIT_CODES)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
def verify(folders: tuple[Path, ...]) -> None:
    """Replay the journal of each run FOLDER and compare every decision.

    The observations are read back and go through the same loop; no simulator runs.
    Ends with code 7 at the first command or refusal that differs.

    \b
    Example:
      topis verify runs/gangnam/max-pressure-seed1
    """  # noqa: D301
    for folder in folders:
        done = verify_run(folder)
        click.echo(
            f"{folder}: {done.ticks} ticks, {done.commands} commands and {done.refusals} "
            "refusals, all the same"
        )
