"""Runs side by side: means per controller, and differences paired by seed.

Controllers are compared on the same seeds, so that the chance of the demand falls out of the
difference. Intervals are Student's, two-sided, 95 %, and exist from two seeds on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topis.errors import InputError
from topis.report.measures import Measures, read_json

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Column:
    """A measure that is compared: attribute of Measures, heading, unit, digits shown."""

    key: str
    label: str
    unit: str
    digits: int


COLUMNS = (
    Column("delay_s", "delay", "s/veh", 1),
    Column("delay_p95_s", "delay, 95th pct", "s", 1),
    Column("worst_approach_s", "worst last link", "s/veh", 1),
    Column("network_time_s", "network time", "s/veh", 1),
    Column("stops", "stops", "1/veh", 2),
    Column("waiting_max_s", "longest wait", "s", 0),
    Column("throughput_vph", "throughput", "veh/h", 0),
    Column("running", "unfinished", "veh", 1),
    Column("never_inserted", "never inserted", "veh", 1),
    Column("teleports", "teleports", "veh", 1),
    Column("co2_kg", "CO2", "kg", 1),
)


@dataclass(frozen=True)
class Cell:
    """One measure of one controller, over its seeds.

    `half` is the half-width of the interval of `mean`; `difference` (to the reference, over the
    `pairs` seeds both have run) and `change_pct` have their own. None: cannot be said.
    """

    mean: float | None
    half: float | None
    difference: float | None = None
    difference_half: float | None = None
    change_pct: float | None = None
    change_half_pct: float | None = None
    pairs: int = 0


@dataclass(frozen=True)
class Row:
    """All measures of one controller; `reference` marks the one the others are held against."""

    controller: str
    seeds: tuple[int, ...]
    reference: bool
    interrupted: bool
    research_only: bool
    meso: bool
    outages: bool
    cells: Mapping[str, Cell]

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader must know before believing the row."""
        marks = (
            (self.interrupted, "interrupted"),
            (self.research_only, "research only (ideal sensing)"),
            (self.meso, "mesoscopic"),
            (self.outages, "sensors silent for a while"),
        )
        return tuple(text for holds, text in marks if holds)


def compare(measures: Iterable[Measures]) -> list[Row]:
    """Summarise runs per controller, in order of appearance; the first one is the reference.

    Raises InputError when there is no run, when a controller ran a seed twice, or when the runs
    are not of one scenario and network.
    """
    runs: dict[str, dict[int, Measures]] = {}
    first: Measures | None = None
    for measure in measures:
        first = first or measure
        if (measure.scenario, measure.network_hash) != (first.scenario, first.network_hash):
            raise InputError(
                f"{measure.controller}, seed {measure.seed}: another scenario or network than "
                f"{first.controller}, seed {first.seed}; compare runs of one scenario only"
            )
        seeds = runs.setdefault(measure.controller, {})
        if measure.seed in seeds:
            raise InputError(f"{measure.controller} has two runs with seed {measure.seed}")
        seeds[measure.seed] = measure
    if first is None:
        raise InputError("no runs to compare")
    reference = runs[first.controller]
    return [
        Row(
            controller=controller,
            seeds=tuple(sorted(seeds)),
            reference=controller == first.controller,
            interrupted=any(measure.interrupted for measure in seeds.values()),
            research_only=any(measure.research_only for measure in seeds.values()),
            meso=any(measure.meso for measure in seeds.values()),
            outages=any(measure.outages for measure in seeds.values()),
            cells={
                column.key: _cell(
                    _values(seeds, column.key),
                    None if controller == first.controller else _values(reference, column.key),
                )
                for column in COLUMNS
            },
        )
        for controller, seeds in runs.items()
    ]


def _values(runs: Mapping[int, Measures], key: str) -> dict[int, float]:
    values = ((seed, getattr(runs[seed], key)) for seed in sorted(runs))
    return {s: float(value) for s, value in values if value is not None and math.isfinite(value)}


def _cell(values: Mapping[int, float], reference: Mapping[int, float] | None) -> Cell:
    mean, half = mean_interval(list(values.values()))
    shared = [seed for seed in values if seed in reference] if reference is not None else []
    if reference is None or not shared:
        return Cell(mean, half)
    difference, difference_half = mean_interval([values[s] - reference[s] for s in shared])
    base = math.fsum(reference[s] for s in shared) / len(shared)
    change = half_change = None
    if base != 0 and difference is not None:
        change = 100 * difference / base
        half_change = None if difference_half is None else abs(100 * difference_half / base)
    return Cell(mean, half, difference, difference_half, change, half_change, len(shared))


def mean_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and half-width of its 95 % interval; None for what too few values cannot give."""
    number = len(values)
    if number == 0:
        return None, None
    mean = math.fsum(values) / number
    if number == 1:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in values) / (number - 1)
    return mean, t_quantile(CONFIDENCE, number - 1) * math.sqrt(variance / number)


def t_quantile(confidence: float, freedom: int) -> float:
    """Student's t that holds `confidence` of the distribution between -t and t.

    `freedom` is a whole number >= 1. The probability is the finite series of Abramowitz and
    Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4, inverted by bisection.
    """
    if freedom < 1 or not 0 < confidence < 1:
        raise ValueError("needs freedom >= 1 and a confidence between 0 and 1")
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        angle = (low + high) / 2
        if _t_probability(angle, freedom) < confidence:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _t_probability(angle: float, freedom: int) -> float:
    """P(-t < T < t) at t = sqrt(freedom) tan(angle)."""
    cos, odd = math.cos(angle), freedom % 2
    term = cos if odd else 1.0
    total = 0.0
    for power in range(1 + odd, freedom, 2):
        total += term
        term *= cos * cos * power / (power + 1)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def metrics_json(measures: Iterable[Measures]) -> str:
    """Every run and the comparison as JSON: sorted, six significant digits, no wall-clock time.

    Two runs of the same seed give the same bytes. Raises InputError as `compare` does.
    """
    listed = list(measures)
    runs = {f"{m.controller}-seed{m.seed}": _run_entry(m) for m in listed}
    table = {
        row.controller: {
            "seeds": list(row.seeds),
            "reference": row.reference,
            "marks": list(row.marks),
            "measures": {key: vars(cell) for key, cell in row.cells.items()},
        }
        for row in compare(listed)
    }
    content = {"runs": runs, "comparison": table}
    return json.dumps(_plain(content), indent=1, sort_keys=True, allow_nan=False) + "\n"


def timings_json(folders: Iterable[Path]) -> str:
    """Wall-clock times of the runs as JSON, kept apart since they differ each time."""
    keys = ("loop_s", "sumo_s", "wall_s")
    entries = {}
    for folder in folders:
        times = read_json(folder / "timings.json")
        entries[folder.name] = {key: times.get(key) for key in keys}
    return json.dumps(_plain(entries), indent=1, sort_keys=True, allow_nan=False) + "\n"


def _run_entry(measure: Measures) -> dict[str, Any]:
    left_out = {"queue_begin_s", "queue_veh", "delays_s", "junctions"}
    entry = {key: value for key, value in vars(measure).items() if key not in left_out}
    entry["junctions"] = {
        item.junction: {
            "delay_s": item.delay_s,
            "delay_veh_h": item.delay_veh_h,
            "vehicles": item.vehicles,
        }
        for item in measure.junctions
    }
    entry["queue"] = {
        "interval_begin_s": measure.queue_begin_s.tolist(),
        "standing_veh": measure.queue_veh.tolist(),
    }
    return entry


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def format_cell(cell: Cell, digits: int) -> str:
    """Mean and interval, such as ``31.2 ±1.4``."""
    if cell.mean is None:
        return "–"
    text = f"{cell.mean:.{digits}f}"
    return text if cell.half is None else f"{text} ±{cell.half:.{digits}f}"


def format_change(cell: Cell) -> str:
    """Change against the reference, such as ``−24.1 % ±3.0``; empty when it cannot be said."""
    if cell.change_pct is None:
        return ""
    if cell.change_pct == 0 and not cell.change_half_pct:
        return "no change"
    text = f"{cell.change_pct:+.1f} %".replace("-", "−")
    return text if cell.change_half_pct is None else f"{text} ±{cell.change_half_pct:.1f}"


def shown_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns for which at least one controller has a value."""
    return [c for c in COLUMNS if any(row.cells[c.key].mean is not None for row in rows)]


def format_table(rows: Sequence[Row]) -> str:
    """The comparison as plain text: a line per measure, a column per controller."""
    reference = next(row.controller for row in rows if row.reference)
    lines = [["", *(row.controller for row in rows)]]
    lines.append(["seeds", *(str(len(row.seeds)) for row in rows)])
    for column in shown_columns(rows):
        cells = [row.cells[column.key] for row in rows]
        heading = f"{column.label} ({column.unit})"
        lines.append([heading, *(format_cell(cell, column.digits) for cell in cells)])
        if column.key == "delay_s" and len(rows) > 1:
            lines.append([f"  against {reference}", *(format_change(cell) for cell in cells)])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    text = []
    for line in lines:
        first = line[0].ljust(widths[0])
        rest = (item.rjust(width) for item, width in zip(line[1:], widths[1:], strict=True))
        text.append("  ".join([first, *rest]).rstrip())
    text.insert(1, "-" * (sum(widths) + 2 * len(widths) - 2))
    text += [f"! {row.controller}: {mark}" for row in rows for mark in row.marks]
    if any(len(row.seeds) > 1 for row in rows):
        text.append("± half of the 95 % interval; differences are paired by seed")
    return "\n".join(text) + "\n"
