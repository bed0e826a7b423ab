"""`topis scenarios`: what can be simulated by name."""

from __future__ import annotations

import click

from topis.cli import EXIT_CODES
from topis.run.scenarios import find_scenario, scenario_names


@click.command(epilog=EXIT_CODES)
def scenarios() -> None:
    """List the scenarios that `topis simulate` knows by name, and where they are.

    \b
    Example:
      topis scenarios
      topis simulate single
    """  # noqa: D301
    names = scenario_names()
    for name in names:
        click.echo(f"{name:24} {find_scenario(name)}")
    if not any(name.startswith("resco:") for name in names):
        click.echo(
            "RESCO's eight (resco:cologne1, ...) need: pip install --no-deps sumo-rl", err=True
        )
