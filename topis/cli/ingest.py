"""`topis ingest`: feeds into the archive."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.cli.progress import StageBar
from topis.errors import InputError
from topis.ingest.adapters.canonical import is_foreign
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.adapters.registry import adapters
from topis.ingest.pipeline import SourceReport, ingest

_FORMATS = "\n".join(f"  {adapter.name:12}{adapter.text}" for adapter in adapters())


@click.command(
    "ingest",
    help=f"""Take feeds into an archive: every row is stored once, or refused with a reason.

SOURCES are files, or folders of them. What is in the archive already is passed over, so a call
that was cut short (or killed) is simply made again: nothing is lost, nothing stored twice.

\b
Formats:
{_FORMATS}

\b
Examples:
  topis ingest counts.csv --mapping counts.toml --into archive
  topis ingest export/ --into archive
  topis data describe archive
""",
    epilog=EXIT_CODES,
)
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--into", required=True, type=click.Path(path_type=Path), help="Archive; made when new."
)
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    help="TOML: which column holds what (docs/data.md).",
)
@click.option("--format", "form", help="Name of the format, where the file does not tell.")
@click.option(
    "--secret",
    type=click.Path(path_type=Path),
    help="Secret of the vehicles' pseudonyms. [default: beside the archive, made when new]",
)
@click.option(
    "--network", type=click.Path(path_type=Path), help="SUMO network that probes are matched to."
)
@click.option(
    "--places", type=click.Path(path_type=Path), help="CSV: kind, name, district (docs/data.md)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def ingest_command(
    sources: tuple[Path, ...],
    into: Path,
    mapping: Path | None,
    form: str | None,
    secret: Path | None,
    network: Path | None,
    places: Path | None,
    as_json: bool,
) -> None:
    """See the help above: click takes it from there because it lists the formats."""
    with StageBar("Ingest") as bar:
        reports = ingest(
            _files(sources, mapping, form),
            into,
            mapping_file=mapping,
            form=form,
            secret_file=secret,
            network_file=network,
            places_file=places,
            progress=bar.show,
        )
    if as_json:
        click.echo(json.dumps([vars(report) for report in reports], indent=1))
        return
    for report in reports:
        _print(report)
    if len(reports) > 1:
        _print(_total(reports))


def _files(sources: tuple[Path, ...], mapping: Path | None, form: str | None) -> list[Path]:
    """Folders as the files in them that some format claims, in order of their names."""
    known = adapters(Mapping.read(mapping) if mapping else None)
    files: list[Path] = []
    others: list[Path] = []
    for source in sources:
        if not source.is_dir():
            files.append(source)
            continue
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                claimed = form is not None or (
                    any(adapter.claims(path) for adapter in known) and not is_foreign(path)
                )
                (files if claimed else others).append(path)
    if others:
        names = ", ".join(path.name for path in others[:3])
        click.echo(f"passed over, of no known format: {len(others)} files, e.g. {names}", err=True)
    if not files:
        raise InputError.at(sources[0], "holds no file of a known format", "see --help")
    return files


def _total(reports: list[SourceReport]) -> SourceReport:
    total = SourceReport(f"all {len(reports)}")
    for report in reports:
        total.read += report.read
        total.rows += report.rows
        total.duplicates += report.duplicates
        total.quarantined += report.quarantined
        total.reasons += Counter(report.reasons)
        total.late += report.late
        total.unordered += report.unordered
        total.skewed += report.skewed
        total.jumps += report.jumps
    return total


def _print(report: SourceReport) -> None:
    note = ", was in the archive already" if report.known else ""
    note += ", what was missing of it is there now" if report.again else ""
    click.echo(
        f"{report.file}: {report.read} rows read, {report.rows} stored, "
        f"{report.duplicates} duplicates, {report.quarantined} in quarantine{note}"
    )
    for reason, count in report.reasons.most_common():
        click.echo(f"  {count:10} x {reason}")
    for text, count in (
        ("late, over 60 s after a later row (marked)", report.late),
        ("out of order by up to 60 s", report.unordered),
        ("from a clock that is off (marked)", report.skewed),
        ("jumps of probes (marked)", report.jumps),
    ):
        if count:
            click.echo(f"  {count:10} x {text}")
