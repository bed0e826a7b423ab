"""The `topis` command."""

from __future__ import annotations

import sys

import click

import topis
from topis.cli import EXIT_CODES
from topis.cli.city import city
from topis.cli.city_close import close_streets
from topis.cli.city_compare import compare_city_runs
from topis.cli.city_map import draw_city
from topis.cli.data import data
from topis.cli.events import events
from topis.cli.ingest import ingest_command
from topis.cli.measures import measures
from topis.cli.network import network
from topis.cli.publish import publish_command
from topis.cli.replay import replay_command
from topis.cli.scenarios import scenarios
from topis.cli.simulate import simulate
from topis.cli.synth import synth
from topis.cli.verify import verify
from topis.cli.why import why
from topis.errors import EXIT_INTERRUPTED, OutputError, TopisError


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(topis.__version__, prog_name="topis")
def cli() -> None:
    """TOPIS, an open traffic signal control engine.

    \b
    Start here:
      topis simulate gangnam --controller shipped --controller adaptive
      topis network show my.net.xml
    """  # noqa: D301


for _command in (
    simulate,
    network,
    scenarios,
    verify,
    measures,
    events,
    ingest_command,
    data,
    synth,
    city,
    publish_command,
    replay_command,
    why,
):
    cli.add_command(_command)
city.add_command(close_streets)
city.add_command(draw_city)
city.add_command(compare_city_runs)


def main() -> None:
    """Run the command; an error is one line and an exit code, never a traceback."""
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except TopisError as error:
        click.echo(f"Error: {' '.join(str(error).split())}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}; check disk and rights", err=True)
        sys.exit(OutputError.exit_code)
