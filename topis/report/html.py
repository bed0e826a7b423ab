"""One self-contained page about a set of runs: no script, no font, no request to anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from topis.errors import InputError
from topis.report.comparison import (
    Row,
    compare,
    format_cell,
    format_change,
    shown_columns,
)
from topis.report.measures import FEWEST_VEH, Measures, write_text
from topis.report.page import Picture, banner, document, facts, figure, table

MAX_CORRIDORS = 4
#: Choices of policy shown for each run.
MOST_CHOICES = 40
RESEARCH_BANNER = "Ideal sensing: research only, no city has it."


def draw_pictures(
    measures: Sequence[Measures],
    folders: Sequence[str | os.PathLike[str]] = (),
    links: Sequence[Sequence[tuple[float, float]]] = (),
) -> list[Picture]:
    """Draw every figure the runs have data for.

    `folders` are the run folders in the order of `measures`; without them there are no
    time-space diagrams. `links` are polylines (x_m, y_m) for the map.
    """
    from topis.report import figures

    rows = compare(measures)
    names = ", ".join(row.controller for row in rows)
    pictures = [
        Picture(
            figures.delay_bars(rows),
            "Mean delay",
            "Time lost per demanded vehicle. Whiskers: 95 % interval of the mean over the seeds.",
            f"Bar chart of mean delay per vehicle for {names}; numbers are in the table.",
        ),
        Picture(
            figures.delay_distribution(measures),
            "Who waits how long",
            "Share of vehicles that lost at most so much time. Further left is better; the "
            "top right end of a line is the vehicle that fared worst.",
            f"Cumulative distribution of delay per vehicle for {names}.",
        ),
        Picture(
            figures.queue_over_time(measures),
            "Queue over time",
            "Vehicles standing in the network, mean of each interval. Band: least and most of "
            "the seeds.",
            f"Number of standing vehicles over time for {names}.",
        ),
    ]
    if any(run.junctions for run in measures):
        pictures.append(
            Picture(
                figures.delay_map(measures, links),
                "Where time is lost",
                "Signalised junctions; darker and larger means more seconds lost per vehicle on "
                "the way in. One scale for all controllers; hollow: no vehicle came.",
                f"Map of delay per vehicle at each junction, one panel each for {names}.",
            )
        )
    first_runs: dict[str, tuple[Measures, str | os.PathLike[str]]] = {}
    if folders:
        for run, folder in zip(measures, folders, strict=True):
            known = first_runs.get(run.controller)
            if known is None or run.seed < known[0].seed:
                first_runs[run.controller] = (run, folder)
    for run, folder in list(first_runs.values())[:MAX_CORRIDORS]:
        svg = figures.time_space(Path(folder), name=f"corridor{len(pictures)}")
        if svg is not None:
            pictures.append(
                Picture(
                    svg,
                    f"Corridor under {run.controller}",
                    f"Vehicles along the corridor and the lamps at its stop lines, seed "
                    f"{run.seed}. A steep unbroken line is a vehicle that did not have to stop.",
                    f"Time-space diagram of the corridor under {run.controller}.",
                )
            )
    return pictures


def headline(rows: Sequence[Row]) -> list[str]:
    """Say in a sentence per controller what happened to delay."""
    reference = next(row for row in rows if row.reference)
    if len(rows) == 1:
        return [f"{reference.controller}: {_delay(reference)} over {_seeds(reference)}."]
    return [_sentence(row, reference.controller) for row in rows if not row.reference]


def write_report(
    out_dir: str | os.PathLike[str],
    measures: Iterable[Measures],
    pictures: Sequence[Picture] = (),
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write `report.html` into `out_dir` in one piece and return its path.

    The first controller among `measures` is the one the others are held against; `notes` are
    paragraphs about how it was measured. Raises InputError for runs that cannot be compared and
    OutputError when the file cannot be written.
    """
    runs = list(measures)
    if not runs:
        raise InputError("no runs to report")
    path = Path(out_dir) / "report.html"
    write_text(path, _page(runs, compare(runs), pictures, title, notes))
    return path


def _page(
    runs: Sequence[Measures],
    rows: Sequence[Row],
    pictures: Sequence[Picture],
    title: str | None,
    notes: Sequence[str],
) -> str:
    name = title or runs[0].scenario
    first, *further = headline(rows)
    parts = [
        *_banners(rows),
        f'<p class="headline">{escape(first)}</p>',
        *(f'<p class="headline">{escape(sentence)}</p>' for sentence in further),
        "<h2>Results</h2>",
        _results(rows),
        *_classes(runs, rows),
        *(figure(picture) for picture in pictures),
        *_choices(runs),
        "<h2>What the guard refused</h2>",
        *_refusals(runs, rows),
        "<h2>How it was measured</h2>",
        *(f"<p>{escape(text)}</p>" for text in (*_definitions(runs), *notes)),
        "<h2>The runs</h2>",
        _facts(runs, rows),
    ]
    return document(name, "Signal control report", parts)


def _delay(row: Row) -> str:
    mean = row.cells["delay_s"].mean
    return "no vehicles" if mean is None else f"{mean:.1f} s delay per vehicle"


def _seeds(row: Row, number: int | None = None) -> str:
    number = len(row.seeds) if number is None else number
    return "1 seed" if number == 1 else f"{number} seeds"


def _sentence(row: Row, reference: str) -> str:
    cell = row.cells["delay_s"]
    start = f"{row.controller}: {_delay(row)}"
    if cell.change_pct is None:
        return f"{start}; no seed in common with {reference}, so no comparison."
    size = f"{abs(cell.change_pct):.0f} %"
    word = "less" if cell.change_pct < 0 else "more"
    if cell.change_half_pct is None and size == "0 %":
        return f"{start}, the same as {reference} over 1 seed."
    if cell.change_half_pct is None:
        return f"{start}, {size} {word} than {reference} over 1 seed (too few for an interval)."
    over = f"over {_seeds(row, cell.pairs)}"
    if abs(cell.change_pct) <= cell.change_half_pct:
        return f"{start}, no clear difference from {reference} ({format_change(cell)}) {over}."
    # A small interval is shown with a decimal, lest it read as none at all.
    half = f"{cell.change_half_pct:.{0 if cell.change_half_pct >= 1 else 1}f}"
    return f"{start}, {size} (±{half}) {word} than {reference} {over}."


def _banners(rows: Sequence[Row]) -> list[str]:
    banners = []
    ideal = [row.controller for row in rows if row.research_only]
    cut = [row.controller for row in rows if row.interrupted]
    if ideal:
        banners.append(f"{RESEARCH_BANNER} It applies to: {', '.join(ideal)}.")
    if any(row.meso for row in rows):
        banners.append(
            "SUMO's mesoscopic model, which is kinder to everyone and kindest to short greens: "
            "hold these figures against others of that model only."
        )
    if silent := [row.controller for row in rows if row.outages]:
        banners.append(f"Sensors fell silent by intent (--outage): {', '.join(silent)}.")
    if cut:
        banners.append(f"Interrupted: a run ended early, numbers are partial: {', '.join(cut)}.")
    return [banner(text) for text in banners]


def _results(rows: Sequence[Row]) -> str:
    lines = [["seeds", *(str(len(row.seeds)) for row in rows)]]
    for column in shown_columns(rows):
        cells = []
        for row in rows:
            cell = row.cells[column.key]
            change = format_change(cell)
            below = f"<small>{escape(change)}</small>" if change else ""
            cells.append(escape(format_cell(cell, column.digits)) + below)
        label = "CO<sub>2</sub>" if column.label == "CO2" else escape(column.label)
        lines.append([f"{label} <small>({escape(column.unit)})</small>", *cells])
    reference = next(row.controller for row in rows if row.reference)
    note = ""
    if len(rows) > 1:
        note = f"Small print: change against {reference}, paired by seed. "
    if any(len(row.seeds) > 1 for row in rows):
        note += "±: half of the 95 % interval (Student)."
    results = table(["measure", *(escape(row.controller) for row in rows)], lines)
    return f'{results}\n<p class="note">{escape(note)}</p>'


def _classes(runs: Sequence[Measures], rows: Sequence[Row]) -> list[str]:
    """Delay by vehicle class, mean of the seeds; nothing when there is one class only."""
    names = sorted({name for run in runs for name in run.delay_by_class_s})
    if len(names) < 2:
        return []
    lines = []
    for name in names:
        cells = []
        for row in rows:
            own = [run.delay_by_class_s for run in runs if run.controller == row.controller]
            values = [classes[name] for classes in own if name in classes]
            cells.append(f"{sum(values) / len(values):.1f}" if values else "–")
        lines.append([escape(name), *cells])
    head = ["delay <small>(s/veh)</small>", *(escape(row.controller) for row in rows)]
    return ["<h2>By vehicle class</h2>", table(head, lines)]


def _choices(runs: Sequence[Measures]) -> list[str]:
    """Which policy each run followed when, and why; nothing where no controller chooses."""
    told = [run for run in runs if run.choices]
    if not told:
        return []
    parts = ["<h2>What the controller chose</h2>"]
    for run in told:
        items = "".join(f"<li>{escape(text)}</li>" for text in run.choices[:MOST_CHOICES])
        left = len(run.choices) - MOST_CHOICES
        more = f"<li>and {left} more, in notes.json of the run</li>" if left > 0 else ""
        summary = f"{escape(run.controller)}, seed {run.seed}"
        parts.append(f"<details><summary>{summary}</summary><ul>{items}{more}</ul></details>")
    return parts


def _refusals(runs: Sequence[Measures], rows: Sequence[Row]) -> list[str]:
    reasons = sorted({reason for run in runs for reason, n in run.refusals.items() if n})
    if not reasons:
        return ["<p>Nothing: every command kept the rules.</p>"]
    totals = [
        {
            reason: sum(r.refusals.get(reason, 0) for r in runs if r.controller == row.controller)
            for reason in reasons
        }
        for row in rows
    ]
    lines = [[escape(reason), *(str(total[reason]) for total in totals)] for reason in reasons]
    return [
        "<p>Commands the safety guard did not let through to the signals, all seeds together.</p>",
        table(["reason", *(escape(row.controller) for row in rows)], lines),
    ]


def _definitions(runs: Sequence[Measures]) -> list[str]:
    return [
        (
            "Delay is the time a vehicle loses against driving freely, plus the time it waits to "
            "enter the network. Network time is from the intended departure to arrival, or to "
            "the end of the run. The longest wait is the longest any one vehicle stood still in "
            "total. The worst last link is the one before a signal on which vehicles lost most "
            f"on average, of those that {FEWEST_VEH} or more used; what a queue that reaches "
            "further back loses on the links before is not in it."
        ),
        (
            "Both are means over every demanded vehicle: never inserted and unfinished vehicles "
            "are counted, with the time they had lost by the end. Stops are a mean over the "
            "vehicles that entered."
        ),
        (
            "A teleport is a vehicle the simulation lifted out of a jam; results with many of them "
            "flatter the controller. Over all runs: "
            f"{sum(run.teleports for run in runs)} teleports, "
            f"{sum(run.collisions for run in runs)} collisions, "
            f"{sum(run.emergency_stops for run in runs)} emergency stops."
        ),
    ]


def _facts(runs: Sequence[Measures], rows: Sequence[Row]) -> str:
    pairs = [("Scenario", runs[0].scenario)]
    for row in rows:
        own = [run for run in runs if run.controller == row.controller]
        sensing = ", ".join(sorted({run.sensing for run in own}))
        seeds = ", ".join(str(seed) for seed in row.seeds)
        marks = "".join(f"; {mark}" for mark in row.marks)
        pairs.append((row.controller, f"sensing: {sensing}; seeds: {seeds}{marks}"))
    demanded = sorted({run.demanded for run in runs})
    spans = sorted({(run.begin_s, run.end_s, run.step_s) for run in runs})
    versions = sorted({run.version for run in runs})
    pairs += [
        ("Demand", " or ".join(f"{number} vehicles" for number in demanded)),
        ("Time", "; ".join(f"{b:g} s to {e:g} s in steps of {s:g} s" for b, e, s in spans)),
        ("Version", f"TOPIS {', '.join(versions)}"),
        ("Network", runs[0].network_hash),
    ]
    return facts(pairs)
