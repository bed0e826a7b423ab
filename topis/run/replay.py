"""A slice of an archive through the loop: what the engine saw, and what it would have decided.

Signals are as the controllers' own events tell. The engine is asked every tick and its answers are
kept as advice; nothing is shown, so each answer is to what really happened, not to a street that
its own answers before would have changed.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from topis.clock import stopwatch_s
from topis.control.registry import check_controller
from topis.errors import OutputError
from topis.estimation.estimator import WARM_UP_MS
from topis.ingest.archive_files import ArchiveFiles
from topis.ingest.observe import Keys
from topis.ingest.slices import ArchiveSlices
from topis.report.replay_report import write_replay_report
from topis.report.whatif_result import WhatIf, write_whatif
from topis.run.archive_run import SliceOptions, names_of, open_streets
from topis.run.factual import ArchiveFactual, JournalFactual
from topis.run.gather import found_in, gather
from topis.run.prepare import Prepared, prepare
from topis.run.selection import GROUP_JUNCTIONS, Selection
from topis.run.shards import peak_mb, shard_folder
from topis.run.streets import Streets
from topis.run.whatif import SEEDS, whatif
from topis.run.workers import Done, work_alone, work_in_processes
from topis.units import MS_PER_S

MODES = ("audit", "measure", "whatif")


@dataclass(frozen=True)
class ReplaySpec:
    """What to replay; ``folder`` is the run folder to be made.

    ``mode``: ``audit`` asks the controller beside what was shown, ``measure`` only keeps what was
    seen and shown, ``whatif`` works out what the controller would have done to delay (`seeds`
    draws). ``workers`` processes, or a Dask ``cluster`` (``local`` or an address), change
    nothing but the time it takes; ``group_junctions`` (how many are worked on together) does.
    """

    slice: SliceOptions
    folder: Path
    controller: str = "adaptive"
    settings: dict[str, float] = field(default_factory=dict)
    mode: str = "audit"
    selection: Selection = field(default_factory=Selection)
    workers: int = 1
    cluster: str = ""
    group_junctions: int = GROUP_JUNCTIONS
    seeds: int = SEEDS
    report: bool = True


def work_folder(folder: Path) -> Path:
    """Where what is done of a run is kept until it is complete."""
    return folder.absolute().with_name(f".{folder.name}.partial")


def replay(spec: ReplaySpec, tell: Callable[[str, Done | None], None] = lambda *_: None) -> Path:
    """Replay a slice; the run folder appears only when it is complete.

    Whatever ends it early, the next call for the very same goes on where it stopped. ``tell`` is
    told now and then what is being done and how far it is.

    Raises
    ------
    InputError, NetworkError
        The archive, network, sensors or controller cannot be used.
    OutputError
        The run folder is there already, or cannot be written.
    """
    began_s = stopwatch_s()
    check_controller(spec.controller, spec.settings)
    if spec.folder.exists():
        raise OutputError(f"{spec.folder}: is there already; name another --out")
    work = work_folder(spec.folder)
    tell("opening", None)
    prepared = prepare(
        work, spec.slice, spec.selection, spec.controller, spec.settings,
        decides=spec.mode == "audit", group_junctions=spec.group_junctions,
    )  # fmt: skip
    before = sum(shard_folder(work, shard).is_dir() for shard in prepared.shards)
    opened_s = stopwatch_s() - began_s
    try:
        _do_shards(spec, prepared, lambda done: tell("replaying", done))
        replayed_s = stopwatch_s() - began_s - opened_s
        tell("gathering", None)
        facts = _gather(spec, prepared)
        gathered_s = stopwatch_s() - began_s
        found = _whatif(spec, prepared, tell) if spec.mode == "whatif" else None
        timings = _timings(facts, opened_s, replayed_s, gathered_s)
        if found is not None:
            timings["whatif_s"] = round(stopwatch_s() - began_s - gathered_s, 3)
            timings["wall_s"] = round(stopwatch_s() - began_s, 3)
        timings |= {"workers": spec.workers, "cluster": spec.cluster, "shards_done_before": before}
        (work / "whole" / "timings.json").write_text(json.dumps(timings, indent=1))
        if spec.report:
            tell("drawing", None)
            write_replay_report(work / "whole", found)
        (work / "whole").rename(spec.folder)
    except OSError as error:
        raise OutputError(f"{spec.folder}: cannot be written ({error})") from None
    shutil.rmtree(work, ignore_errors=True)
    return spec.folder


def _do_shards(spec: ReplaySpec, prepared: Prepared, tell: Callable[[Done], None]) -> None:
    work, shards = prepared.work, prepared.shards
    if spec.cluster:
        from topis.run.cluster import work_on_cluster

        work_on_cluster(work, shards, spec.cluster, spec.workers, tell)
    elif spec.workers > 1:
        work_in_processes(work, shards, spec.workers, tell)
    else:
        work_alone(work, shards, tell)


def _whatif(
    spec: ReplaySpec, prepared: Prepared, tell: Callable[[str, Done | None], None]
) -> WhatIf:
    """The slice once more, all of it at once, with a quarter of an hour before."""
    options = replace(spec.slice, begin_ms=spec.slice.begin_ms - WARM_UP_MS)
    streets = Streets.load(prepared.work / "run")
    files = ArchiveFiles(options.archive)
    keys = Keys.of(names_of(files), streets.network, streets.sensors)
    slices = ArchiveSlices(files, prepared.districts)
    run = open_streets(options, streets, keys, slices, prepared.job.rhythm)
    found = whatif(
        ArchiveFactual(run), spec.controller, spec.settings, spec.seeds,
        spec.slice.begin_ms, spec.slice.end_ms,
        lambda share: tell(f"what if: {100 * share:.0f} %", None),
    )  # fmt: skip
    slices.close()
    write_whatif(prepared.work / "whole" / "whatif.json", found)
    return found


def whatif_of_run(
    run: Path,
    controller: str,
    settings: dict[str, float],
    seeds: int,
    into: Path,
    progress: Callable[[float], None] = lambda _: None,
) -> WhatIf:
    """What another controller would have done in a run that is kept in a folder.

    ``into``: a new folder for whatif.json and whatif.svg.

    Raises
    ------
    InputError
        Not a run folder, or it does not tell enough.
    OutputError
        The folder is there already, or cannot be written.
    """
    if into.exists():
        raise OutputError(f"{into}: is there already; name another --out")
    from topis.report.whatif_figure import draw_whatif

    found = whatif(JournalFactual(run), controller, settings, seeds, progress=progress)
    try:
        into.mkdir(parents=True)
        write_whatif(into / "whatif.json", found)
        draw_whatif(found, into / "whatif.svg")
    except OSError as error:
        raise OutputError(f"{into}: cannot be written ({error})") from None
    return found


def _gather(spec: ReplaySpec, prepared: Prepared) -> list[dict[str, Any]]:
    whole = prepared.work / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    facts = gather(prepared.work, prepared.shards, whole)
    streets = Streets.load(prepared.work / "run")
    options, selection = spec.slice, spec.selection
    found = found_in(prepared.shards, facts)
    manifest = {
        "kind": "replay",
        "mode": spec.mode,
        "archive": Path(str(options.archive).partition("?")[0]).name,
        "controller": prepared.job.controller,
        "settings": prepared.job.settings,
        "feeds": sorted(options.feeds),
        "districts": list(selection.districts),
        "corridor": selection.corridor,
        "junctions": streets.network.junctions,
        "begin_s": options.begin_ms / MS_PER_S,
        "end_s": options.end_ms / MS_PER_S,
        "probe_period_s": prepared.job.rhythm.probe_period_s,
        "network_hash": streets.network.hash,
        "sensors": streets.sensors.describe(),
        "group_junctions": spec.group_junctions,
        "shards": len(prepared.shards),
        "hours_without": prepared.hours_without,
        "left_out": found.left_out(),
        "inputs": prepared.inputs,
        "version": version("topis"),
        "versions": {name: version(name) for name in ("numpy", "pyarrow")}
        | {"python": platform.python_version()},
    }
    if spec.mode == "whatif":
        manifest["whatif"] = {
            "controller": spec.controller, "settings": spec.settings, "seeds": spec.seeds,
        }  # fmt: skip
    (whole / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
    return facts


def _timings(
    facts: list[dict[str, Any]], opened_s: float, replayed_s: float, wall_s: float
) -> dict[str, Any]:
    """Seconds in each part, over all shards; ``open_s`` and ``gather_s`` of the run."""
    stages = sorted({name for own in facts for name in own["stages_s"]})
    return {
        "wall_s": round(wall_s, 3),
        "rows": sum(own["rows"] for own in facts),
        "ticks": sum(own["ticks"] for own in facts),
        "decisions": sum(own["decisions"] for own in facts),
        "peak_mb": max([own["peak_mb"] for own in facts] + [peak_mb()]),
        "prepare_s": round(opened_s, 3),
        "replay_s": round(replayed_s, 3),
        "gather_s": round(wall_s - opened_s - replayed_s, 3),
        "open_s": round(sum(own["open_s"] for own in facts), 3),
        **{name: round(sum(own["stages_s"][name] for own in facts), 3) for name in stages},
    }
