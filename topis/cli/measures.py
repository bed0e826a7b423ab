"""`topis measures`: what signal engineers want to know of a run, from its journal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click
import pandas as pd

from topis.cli import EXIT_CODES
from topis.errors import OutputError
from topis.report.before_after import DEMAND, DEMAND_SHARE, compare_before_after
from topis.report.journal import JournalReader
from topis.report.reasons import find_junction
from topis.report.signal_measures import SignalMeasures, measure_signals

#: Heading, column and format of what is printed; shares as per cent.
_Columns = tuple[tuple[str, str, str], ...]
_JUNCTIONS: _Columns = (
    ("junction", "junction", ""),
    ("LOS", "los_hcm", ""),
    ("KHCM", "los_khcm", ""),
    ("delay s", "control_delay_s", ".1f"),
    ("v/c", "saturation", ".2f"),
    ("veh", "volume_veh", ".0f"),
    ("AOG", "arrivals_on_green", ".0%"),
    ("red wait s", "approach_delay_s", ".1f"),
    ("split fail", "failures", ""),
    ("queue", "queue_max_veh", ".0f"),
    ("walk wait s", "walk_wait_max_s", ".0f"),
    ("faults", "faulty_detectors", ".0f"),
)
_PHASES: _Columns = (
    ("phase", "phase", ""),
    ("cycles", "cycles", ".0f"),
    ("cycle s", "cycle_s", ".0f"),
    ("green s", "green_s", ".1f"),
    ("gap/max/force", "endings", ""),
    ("veh", "volume_veh", ".0f"),
    ("v/c", "saturation", ".2f"),
    ("AOG", "arrivals_on_green", ".0%"),
    ("platoon", "platoon_ratio", ".2f"),
    ("GOR", "gor", ".0%"),
    ("ROR5", "ror5", ".0%"),
    ("split fail", "failures", ""),
    ("red wait s", "approach_delay_s", ".1f"),
    ("d1+d2 s", "control_delay_s", ".1f"),
    ("LOS", "los_hcm", ""),
    ("yellow", "yellow_veh", ".0f"),
    ("queue", "queue_max_veh", ".0f"),
    ("95 %", "queue_p95_veh", ".0f"),
)
_CHANGES: _Columns = (
    ("junction", "junction", ""),
    ("pairs", "pairs", ""),
    ("veh before", "volume_before_veh", ""),
    ("after", "volume_after_veh", ""),
    ("demand", "demand_change", "+.0%"),
    ("delay before s", "delay_before_s", ".1f"),
    ("after", "delay_after_s", ".1f"),
    ("change", "change_s", "+.1f"),
    ("from", "low_s", "+.1f"),
    ("to", "high_s", "+.1f"),
    ("verdict", "verdict", ""),
)


@click.command(epilog=EXIT_CODES)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--into", type=click.Path(path_type=Path), help="A new folder: tables as Parquet.")
@click.option("--junction", help="Print the phases of this junction.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="With --junction: coordination diagram and split monitor, .png, .svg or .pdf.",
)
@click.option(
    "--before",
    type=click.Path(path_type=Path),
    help="Another run folder of the same signals: print what changed since then.",
)
@click.option(
    "--period",
    "period_min",
    default=15,
    show_default=True,
    type=click.IntRange(1, 1440),
    help="Length of the periods that delays are worked out by (min).",
)
@click.option("--top", default=20, show_default=True, help="Junctions to print; 0: all of them.")
def measures(
    run: Path,
    as_json: bool,
    into: Path | None,
    junction: str | None,
    plot: Path | None,
    before: Path | None,
    period_min: int,
    top: int,
) -> None:
    """Print the measures of each junction of a RUN folder, the worst first.

    Level of service, arrivals on green, split failures, delays, queues, walkers' waits and
    detector health, from the lamps and readings in the journal alone. docs/measures.md describes
    each.

    \b
    Examples:
      topis measures runs/gangnam/adaptive-seed1
      topis measures runs/gangnam/adaptive-seed1 --junction J3 --plot J3.png
      topis measures runs/gangnam/adaptive-seed1 --before runs/gangnam/shipped-seed1 --period 5
    """  # noqa: D301
    if plot is not None and junction is None:
        raise click.UsageError("--plot needs --junction")
    if into is not None and into.exists() and any(into.iterdir()):
        raise OutputError(f"{into}: is not empty; name a new folder")
    journal = JournalReader(run)
    number = None if junction is None else find_junction(journal.network, junction)
    found = measure_signals(journal, period_s=60 * period_min, junction=number)
    if before is not None:
        then = measure_signals(
            JournalReader(before), period_s=60 * period_min, junction=number, queues=False
        )
        _print_changes(compare_before_after(then, found), top, as_json=as_json)
        return
    if into is not None:
        into.mkdir(parents=True, exist_ok=True)
        for name, table in vars(found).items():
            if name != "arrivals":
                table.to_parquet(into / f"{name}.parquet", index=False)
    if plot is not None:
        from topis.report.signal_figures import draw_signals

        draw_signals(found, str(junction), plot)
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=1, sort_keys=True, allow_nan=False))
    elif junction is not None:
        _print_junction(found, junction)
    else:
        _print_junctions(found, top)


def _print_junctions(found: SignalMeasures, top: int) -> None:
    shown = found.junctions if top <= 0 else found.junctions.head(top)
    click.echo(_text(_with_texts(shown), _JUNCTIONS))
    if len(shown) < len(found.junctions):
        click.echo(f"and {len(found.junctions) - len(shown)} more; --top 0 prints all")
    faulty = found.detectors[found.detectors["fault"] != ""]
    for _, row in faulty.head(20).iterrows():
        click.echo(f"! {row['junction']} channel {row['channel']} {row['fault']}: {row['sensor']}")
    if len(faulty) > 20:
        click.echo(f"! and {len(faulty) - 20} more faulty detectors")


def _print_junction(found: SignalMeasures, junction: str) -> None:
    phases = found.phases[found.phases["junction"] == junction]
    click.echo(_text(_with_texts(phases), _PHASES))
    for _, row in found.crossings[found.crossings["junction"] == junction].iterrows():
        click.echo(
            f"crossing {row['phase']}: {row['walks']} walks, wait {row['wait_mean_s']:.0f} s in "
            f"the mean, {row['wait_max_s']:.0f} s at most"
        )


def _print_changes(table: pd.DataFrame, top: int, *, as_json: bool) -> None:
    if as_json:
        rows = [{str(k): _plain(v) for k, v in row.items()} for row in table.to_dict("records")]
        click.echo(json.dumps(rows, indent=1, allow_nan=False))
        return
    shown = table if top <= 0 else table.head(top + 1)
    click.echo(_text(shown, _CHANGES))
    if len(shown) < len(table):
        click.echo(f"and {len(table) - len(shown)} more; --top 0 prints all")
    if (table["verdict"] == DEMAND).any():
        click.echo(
            f"demand: over {100 * DEMAND_SHARE:.0f} % more or fewer vehicles came, whose doing the "
            "change may be"
        )


def _with_texts(table: pd.DataFrame) -> pd.DataFrame:
    """With columns that put several numbers into one."""
    texts = {"failures": _join(table, "/", "split_failures", "judged")}
    if "gap_out" in table:
        texts["endings"] = _join(table, "/", "gap_out", "max_out", "force_off")
    return table.assign(**texts)


def _join(table: pd.DataFrame, sign: str, *names: str) -> list[str]:
    return [sign.join(map(str, row)) for row in zip(*(table[n] for n in names), strict=True)]


def _text(table: pd.DataFrame, columns: _Columns) -> str:
    """A plain table; what is missing in every row is left out."""
    columns = tuple(c for c in columns if c[1] in table and table[c[1]].notna().any())
    lines = [[heading for heading, _, _ in columns]]
    lines += [
        [_cell(value, form) for value, (_, _, form) in zip(row, columns, strict=True)]
        for row in zip(*(table[name] for _, name, _ in columns), strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first = widths[0]
    return "\n".join(
        "  ".join([line[0].ljust(first), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def _cell(value: Any, form: str) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "–"
    return format(value, form) if form else str(value)


def _as_json(found: SignalMeasures) -> dict[str, Any]:
    """All but periods and cycles: six digits, null for unknown."""
    names = ("junctions", "approaches", "phases", "lane_groups", "crossings", "detectors")
    return {
        name: [
            {str(key): _plain(value) for key, value in row.items()}
            for row in getattr(found, name).to_dict("records")
        ]
        for name in names
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
