"""`topis network`: import a road network, or see what was understood of one."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import click
import numpy as np

from topis.cli import EXIT_CODES
from topis.clock import stopwatch_s
from topis.errors import InputError, OutputError
from topis.ingest.compile import Imported
from topis.ingest.network_file import import_osm, is_osm, load_network
from topis.ingest.signals import Oddity
from topis.model.lamp import letters_from_codes
from topis.model.network import PEDESTRIAN, Network


@click.group(epilog=EXIT_CODES)
def network() -> None:
    """Import road networks, and show what TOPIS understands of them.

    \b
    Examples:
      topis network import seoul_jamsil.osm.gz
      topis network show seoul_jamsil.net.xml.gz
    """  # noqa: D301


@network.command("import", epilog=EXIT_CODES)
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="SUMO network to write. [default: SOURCE with .net.xml.gz, here]",
)
@click.option(
    "--crossings",
    is_flag=True,
    help="City streets: with sidewalks, and crossings with walk times at signals.",
)
def import_(source: Path, output: Path | None, crossings: bool) -> None:
    """Make a SUMO network of an OpenStreetMap SOURCE (.osm, .osm.gz), through netconvert.

    Signals that the map lacks are guessed by netconvert, with default programs: a start, not the
    city's plan. With --crossings people can walk: streets below 60 km/h get sidewalks, signals
    get crossings, with a walk of 7 s or more that ends 14 s before traffic starts across it.
    Each approach gets a stage of its own. Roads without a speed limit in the map then have
    50 km/h (motorways 100), junctions up to 20 m apart become one, and bus lanes are kept.

    \b
    Examples:
      topis network import seoul_jamsil.osm.gz
      topis network import seoul_jamsil.osm.gz --crossings -o jamsil.net.xml.gz
    """  # noqa: D301
    if not is_osm(source):
        raise InputError.at(source, "is not an OSM file", "SUMO networks need no import")
    stem = source.name.split(".osm")[0]
    target = output or Path(f"{stem}.net.xml.gz")
    imported = import_osm(source, target, crossings=crossings)
    _print(target, imported, seconds=None)


@network.command(epilog=EXIT_CODES)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it: .png, .svg or .pdf.")
@click.option("--junction", help="Print one junction's groups, stages and programs.")
@click.option(
    "-a",
    "--additional",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Additional file with more signal programs.",
)
def show(
    source: Path, plot: Path | None, junction: str | None, additional: tuple[Path, ...]
) -> None:
    """Print what was understood of a SUMO network, and every oddity found, with counts.

    \b
    Examples:
      topis network show my.net.xml --plot my.png
      topis network show my.net.xml --junction J12
    """  # noqa: D301
    began_s = stopwatch_s()
    imported = load_network(source, additional)
    seconds = stopwatch_s() - began_s
    if junction is None:
        _print(source, imported, seconds)
    else:
        _print_junction(imported.network, junction)
    if plot is not None:
        _plot(imported.network, plot)


def _print(source: Path, imported: Imported, seconds: float | None) -> None:
    net = imported.network
    crossings = int((net.group_kind == PEDESTRIAN).sum())
    stages = np.diff(net.junction_stage_ptr)
    took = f", read in {seconds:.1f} s" if seconds is not None else ""
    click.echo(f"{source}: network {net.hash[:12]}{took}")
    rows = [
        ("links", f"{net.links}, {net.link_length_m.sum() / 1000:.1f} km"),
        ("lanes", f"{net.lanes}, {len(net.approach_lanes)} of them run up to a signal"),
        ("movements", f"{len(net.move_turn)}, {int((net.move_junction >= 0).sum())} signalised"),
        ("signalised junctions", f"{net.junctions}"),
        ("signal groups", f"{net.groups}, {crossings} of them crossings"),
        ("conflicting pairs", f"{len(net.conflict_idx) // 2}"),
    ]
    if net.junctions:
        cycles = net.program_cycle_ms[net.junction_program] / 1000
        rows += [
            ("stages", f"{net.stages}, {stages.min()} to {stages.max()} a junction"),
            ("programs", f"{len(net.program_ids)}, cycles {cycles.min():g} to {cycles.max():g} s"),
            ("yellow", _range_s(net.group_yellow_ms[net.group_kind != PEDESTRIAN])),
            ("intergreen", _range_s(net.conflict_intergreen_ms)),
            ("minimum green", _range_s(net.group_min_green_ms)),
        ]
    for name, text in rows:
        click.echo(f"  {name:22}{text}")
    _print_oddities(imported.oddities)


def _range_s(values_ms: np.ndarray) -> str:
    if not len(values_ms):
        return "none"
    return f"{values_ms.min() / 1000:g} to {values_ms.max() / 1000:g} s"


def _print_oddities(oddities: tuple[Oddity, ...]) -> None:
    by_kind: dict[str, list[Oddity]] = defaultdict(list)
    for oddity in oddities:
        by_kind[oddity.kind].append(oddity)
    click.echo(f"  {'oddities':22}{len(oddities) or 'none'}")
    for kind, found in sorted(by_kind.items(), key=lambda item: -len(item[1])):
        examples = "; ".join(f"{o.where}{': ' + o.detail if o.detail else ''}" for o in found[:3])
        more = " ..." if len(found) > 3 else ""
        click.echo(f"    {len(found):5} x {kind} ({examples}{more})")


def _print_junction(net: Network, name: str) -> None:
    if name not in net.junction_ids:
        raise InputError(
            f"junction {name!r} is not in the network; it has e.g. "
            f"{', '.join(net.junction_ids[:5])}"
        )
    j = net.junction_ids.index(name)
    groups = range(*net.junction_group_ptr[j : j + 2])
    first = groups.start
    heads = net.head_group[net.junction_head_ptr[j] : net.junction_head_ptr[j + 1]]
    click.echo(f"{name}: {len(heads)} signal heads in {len(groups)} groups")
    for g in groups:
        kind = "crossing" if net.group_kind[g] == PEDESTRIAN else "vehicles"
        against = net.conflict_idx[net.conflict_ptr[g] : net.conflict_ptr[g + 1]] - first
        click.echo(
            f"  group {g - first:2}  {kind}  min green {net.group_min_green_ms[g] / 1000:g} s  "
            f"yellow {net.group_yellow_ms[g] / 1000:g} s  heads "
            f"{np.flatnonzero(heads == g).tolist()}  conflicts {against.tolist()}"
        )
    for s in range(*net.junction_stage_ptr[j : j + 2]):
        click.echo(
            f"  stage {s - net.junction_stage_ptr[j]:2}  "
            f"{letters_from_codes(net.stage_codes(s))} (per group)  "
            f"min green {net.stage_min_green_ms[s] / 1000:g} s"
        )
    for p in range(*net.junction_program_ptr[j : j + 2]):
        steps = range(*net.program_stage_ptr[p : p + 2])
        order = " ".join(
            f"{net.program_stage[k] - net.junction_stage_ptr[j]}:{net.program_split_ms[k] / 1000:g}"
            for k in steps
        )
        active = " (active)" if p == net.junction_program[j] else ""
        click.echo(
            f"  program {net.program_ids[p]}{active}  cycle "
            f"{net.program_cycle_ms[p] / 1000:g} s  offset "
            f"{net.program_offset_ms[p] / 1000:g} s  stage:split {order}"
        )


def _plot(net: Network, path: Path) -> None:
    from topis.report.network_map import draw_network

    if path.suffix not in (".png", ".svg", ".pdf"):
        raise InputError.at(path, "unknown picture format", "use .png, .svg or .pdf")
    try:
        draw_network(net, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    click.echo(f"  drawn                 {path}")
