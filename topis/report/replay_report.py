"""report.html of a replay: what was seen, where the engine differs, how long each part took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from topis.model.corridor import find_corridor
from topis.report.advice import Difference, differences
from topis.report.journal import JournalReader
from topis.report.measures import format_clock, write_text
from topis.report.page import Picture, banner, document, facts, figure, table
from topis.report.probe_travel import corridor_positions, longest_stretch
from topis.report.signal_measures import SignalMeasures, measure_signals
from topis.report.whatif_result import WhatIf
from topis.report.whatif_table import format_whatif

#: Junctions in the tables and the picture.
SHOWN = 15
#: Parts of a replay as timings.json has them, and for people.
_STAGES = {
    "open_s": "open",
    "scan_s": "scan and decode",
    "ingest_s": "rows to readings",
    "estimate_s": "estimate",
    "decide_s": "decide",
    "guard_s": "guard",
    "act_s": "act",
    "record_s": "write",
    "gather_s": "put together",
    "whatif_s": "what if",
}
_LEVELS = (
    "Level of service by control delay (HCM 6th ed., exhibit 19-8; KHCM 2013, table 8-2); "
    "docs/measures.md describes each measure."
)


def write_replay_report(folder: Path, whatif: WhatIf | None = None) -> Path:
    """Write ``report.html`` into a replay's run folder; ``whatif``: what was found besides.

    Raises
    ------
    InputError
        Not a replay's run folder.
    OutputError
        The file cannot be written.
    """
    journal = JournalReader(folder)
    timings = json.loads((folder / "timings.json").read_text())
    manifest = journal.manifest
    found = measure_signals(journal)
    rows: list[Difference] = []
    if manifest["mode"] == "audit":
        rows = differences(
            pq.read_table(folder / "advice.parquet"), journal.network,
            round(1000 * manifest["begin_s"]), round(1000 * manifest["end_s"]),
        )  # fmt: skip
    parts = [
        *(banner(text) for text in gaps(manifest)),
        f'<p class="headline">{escape(headline(manifest, found, rows))}</p>',
        *_whatif(whatif),
        *(figure(picture) for picture in _pictures(folder, journal, found, rows)),
        *_differences(manifest, rows),
        "<h2>Signals, the worst first</h2>",
        _signals(found),
        f'<p class="note">{_LEVELS}</p>',
        "<h2>Where the time went</h2>",
        _stages(timings),
        "<h2>What was replayed</h2>",
        _facts(manifest),
    ]
    path = folder / "report.html"
    title = f"{manifest['archive']}, {_span(manifest)}"
    write_text(path, document(title, "Replay report", parts))
    return path


def gaps(manifest: dict[str, Any]) -> list[str]:
    """What was missing in the slice, for people."""
    texts = [
        f"nothing of {feed} in {len(hours)} of the hours"
        + ("" if district == "all" else f" in district {district}")
        for feed, by_district in manifest["hours_without"].items()
        for district, hours in by_district.items()
    ]
    return texts + list(manifest["left_out"])


def headline(manifest: dict[str, Any], found: SignalMeasures, rows: Sequence[Difference]) -> str:
    """What happened, in a sentence or two."""
    known = found.junctions[found.junctions["los_hcm"] != ""]
    bad = int(known["los_hcm"].isin(["E", "F"]).sum())
    text = (
        f"{len(known)} of {len(found.junctions)} signals were seen, {bad} of them at level E or F."
    )
    if rows:
        share = sum(row.other_share for row in rows) / len(rows)
        text += (
            f" {manifest['controller']} would have shown another stage {100 * share:.0f} % of the "
            "time in the mean; what that would have gained, --mode whatif tells."
        )
    return text


def _pictures(
    folder: Path, journal: JournalReader, found: SignalMeasures, rows: Sequence[Difference]
) -> list[Picture]:
    from topis.report import replay_figures

    network = journal.network
    pictures = [
        Picture(
            replay_figures.los_map(network, found.junctions),
            "Level of service",
            "Signals by control delay, on the approaches that detectors see. Grey: none does.",
            "Map of the signals in the colours of their levels of service.",
        )
    ]
    if len(found.queues):
        pictures.append(
            Picture(
                replay_figures.queue_by_minute(found.queues),
                "Queues over time",
                "Vehicles standing before signals, as estimated, on lanes that detectors see.",
                "Line of the number of vehicles in queues over time.",
            )
        )
    if rows:
        pictures.append(
            Picture(
                replay_figures.other_stages(rows[:SHOWN]),
                "Where the engine would have shown something else",
                "Spells of five seconds or more, the first junctions.",
                "Bars of the share of time in which another stage was wanted.",
            )
        )
    return [*pictures, *_corridor(folder, journal), *_worst(journal, found)]


def _corridor(folder: Path, journal: JournalReader) -> list[Picture]:
    from topis.report import replay_figures
    from topis.report.figures import time_space_of

    corridor = find_corridor(journal.network)
    if corridor is None or not corridor.stop_lines:
        return []
    positions = corridor_positions(folder, journal.network, corridor)
    manifest = journal.manifest
    speed_mps = float(journal.network.link_speed_mps[corridor.links].mean())
    pictures = [
        Picture(
            time_space_of(
                folder, corridor.facts(journal.network), positions,
                (manifest["begin_s"], manifest["end_s"]), band_mps=speed_mps,
            ),
            f"Corridor {corridor.name}",
            "Probes along the straight road past most signals, and the lamps at its stop lines. "
            f"Shaded, if there are any: green bands, who drives {3.6 * speed_mps:.0f} km/h there "
            "meets no red.",
            "Time-space diagram of the corridor.",
        )
    ]  # fmt: skip
    stretch = longest_stretch(positions, corridor)
    if stretch is not None:
        pictures.append(
            Picture(
                replay_figures.travel_times(*stretch),
                "Travel time on the corridor",
                f"{len(stretch[2])} probes that drove the stretch from end to end.",
                "Cumulative distribution of travel times of probes on the corridor.",
            )
        )
    return pictures


def _worst(journal: JournalReader, found: SignalMeasures) -> list[Picture]:
    """Coordination diagram and split monitor of the worst signal that has arrivals, else any."""
    from topis.report.signal_figures import signals_svg

    order = found.junctions.sort_values("arrived_veh", ascending=False, kind="stable")
    seen = found.junctions[found.junctions["arrived_veh"] > 0]
    names = seen["junction"] if len(seen) else order["junction"]
    if not len(names):
        return []
    name = str(names.iloc[0])
    own = measure_signals(journal, junction=journal.network.junction_ids.index(name), queues=False)
    if not (own.cycles["yellow_ms"] > own.cycles["green_ms"]).any():
        return []
    return [
        Picture(
            signals_svg(own, name),
            f"Signal {name}",
            "Left the Purdue coordination diagram: arrivals under the moments in the cycle when "
            "green, yellow and red began. Right the split monitor: greens, and how they ended.",
            f"Coordination diagram and split monitor of {name}.",
        )
    ]


def _whatif(result: WhatIf | None) -> list[str]:
    if result is None:
        return []
    from topis.report.whatif_figure import whatif_svg

    head, *lines = format_whatif(result)
    picture = Picture(
        whatif_svg(result),
        f"What if: {result.controller}",
        "Queues as measured, in the model under what was shown, and under the other controller.",
        "Queues over time under both plans.",
    )
    text = escape("\n".join(lines))
    return [
        "<h2>What would have been</h2>", f"<p>{escape(head)}</p>",
        f'<div class="wide"><pre>{text}</pre></div>', figure(picture),
    ]  # fmt: skip


def _differences(manifest: dict[str, Any], rows: Sequence[Difference]) -> list[str]:
    if not rows:
        return []
    lines = [
        [
            escape(row.junction), f"{100 * row.other_share:.1f} %", str(row.spells),
            f"{row.longest_s:.0f}", f"{100 * row.unknown_share:.0f} %",
        ]
        for row in rows[:SHOWN]
    ]  # fmt: skip
    head = ["signal", "another stage wanted", "spells", "longest <small>(s)</small>",
            "between stages"]  # fmt: skip
    note = (
        f"What {manifest['controller']} would have shown beside what was shown, each second; "
        "topis why tells the reasons of any of its decisions."
    )
    return ["<h2>Where it would have differed</h2>", table(head, lines),
            f'<p class="note">{escape(note)}</p>']  # fmt: skip


def _signals(found: SignalMeasures) -> str:
    columns = (
        ("LOS", "los_hcm", ""), ("KHCM", "los_khcm", ""), ("delay s", "control_delay_s", ".1f"),
        ("v/c", "saturation", ".2f"), ("vehicles", "volume_veh", ".0f"),
        ("on green", "arrivals_on_green", ".0%"), ("split failures", "split_failures", ".0f"),
        ("queue veh", "queue_max_veh", ".0f"), ("walk wait s", "walk_wait_max_s", ".0f"),
        ("faulty detectors", "faulty_detectors", ".0f"),
    )  # fmt: skip
    shown = found.junctions.head(SHOWN)
    there = [c for c in columns if c[1] in shown and shown[c[1]].notna().any()]
    lines = [
        [escape(str(row["junction"])), *(_cell(row[name], form) for _, name, form in there)]
        for _, row in shown.iterrows()
    ]
    return table(["signal", *(heading for heading, _, _ in there)], lines)


def _cell(value: Any, form: str) -> str:
    if pd.isna(value):
        return "–"
    return format(value, form) if form else escape(str(value))


def _stages(timings: dict[str, Any]) -> str:
    total = sum(timings.get(name, 0.0) for name in _STAGES)
    lines = [
        [text, f"{timings[name]:.2f}", f"{100 * timings[name] / max(total, 1e-9):.0f} %"]
        for name, text in _STAGES.items()
        if name in timings
    ]
    lines.append(["all, on the wall", f"{timings['wall_s']:.2f}", ""])
    rate = timings["rows"] / max(timings["wall_s"], 1e-9)
    note = f"{timings['rows']:,} rows, {rate:,.0f} a second; at most {timings['peak_mb']} MB."
    return table(["part", "seconds", "share"], lines) + f'\n<p class="note">{escape(note)}</p>'


def _span(manifest: dict[str, Any]) -> str:
    begin, end = (format_clock(manifest[name]) for name in ("begin_s", "end_s"))
    return f"{pd.Timestamp(manifest['begin_s'], unit='s').date()} {begin[:5]} to {end[:5]} UTC"


def _facts(manifest: dict[str, Any]) -> str:
    names = (
        ("Mode", "mode"), ("Controller", "controller"), ("Settings", "settings"),
        ("Feeds", "feeds"), ("Districts", "districts"), ("Corridor", "corridor"),
        ("Signals", "junctions"), ("Sensors", "sensors"), ("Shards", "shards"),
        ("Network", "network_hash"), ("Version", "version"),
    )  # fmt: skip
    pairs = [
        (label, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for label, value in ((label, manifest[name]) for label, name in names)
        if value not in ([], {}, "")
    ]
    if "whatif" in manifest:
        pairs.append(("Asked about", f"{manifest['whatif']}"))
    pairs.append(("Files read", f"{len(manifest['inputs'])}, fingerprints in manifest.json"))
    return facts(pairs)
