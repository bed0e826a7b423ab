"""A slice of an archive through the loop: what the engine saw, and what it would have decided.

Signals are as the controllers' own events tell. The engine is asked every tick and its answers are
kept as advice; nothing is shown, so each answer is to what really happened, not to a street that
its own answers before would have changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.clock import stopwatch_s
from topis.control.registry import check_controller, make_controller
from topis.errors import OutputError
from topis.estimation.estimator import Estimator
from topis.model.observation import Observation
from topis.report.journal import JournalWriter
from topis.run.advising import Advising
from topis.run.archive_run import ArchiveRun, SliceOptions, left_out, open_slice, require_rows
from topis.run.loop import LoopTimes, run_loop
from topis.run.ports import LocalLamps
from topis.units import MS_PER_S

#: Estimates begin this long before the slice, so that they are warm (ms).
WARM_UP_MS = 900_000


@dataclass(frozen=True)
class ReplaySpec:
    """What to replay; ``folder`` is the run folder to be made."""

    slice: SliceOptions
    controller: str
    folder: Path
    settings: dict[str, float] = field(default_factory=dict)


class _Street:
    """Source and actuator of a replay: rows tell what was seen and shown."""

    def __init__(self, run: ArchiveRun) -> None:
        self._run = run
        self._heads = run.network.junction_group_ptr
        self._code = np.full(run.network.groups, 255, dtype=np.uint8)
        self._shown = self._code.copy()

    def next(self) -> Observation | None:
        """See `topis.run.ports.Source`."""
        observation = self._run.observations.next()
        if observation is not None:
            self._code = self._run.signals.at(observation.time_ms)
        return observation

    def changed_lamps(self, local: NDArray[np.bool_]) -> LocalLamps:
        """See `topis.run.ports.Actuator`."""
        changed = self._code != self._shown
        self._shown = self._code
        junctions = np.unique(self._run.network.group_junction[changed]).tolist()
        return [(j, self._code[self._heads[j] : self._heads[j + 1]]) for j in junctions]

    def show(self, junction: int, group_code: NDArray[np.uint8]) -> None:
        """Nothing is carried out."""


class _AfterWarmUp:
    """A journal of the slice alone."""

    def __init__(self, journal: JournalWriter, begin_ms: int) -> None:
        self._journal, self._begin_ms = journal, begin_ms

    def record(self, observation: Observation, *rest: Any) -> None:
        """See `topis.run.ports.Recorder`."""
        if observation.time_ms > self._begin_ms:
            self._journal.record(observation, *rest)


class _Clock:
    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress

    def tick(self, time_ms: int) -> bool:
        if time_ms % 30_000 == 0:
            self._progress(time_ms)
        return True


def replay(spec: ReplaySpec, progress: Callable[[int], None] = lambda _: None) -> Path:
    """Replay a slice; the run folder appears only when it is complete.

    ``progress`` is told the time (UTC ms) now and then.

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
    options = spec.slice
    run = open_slice(replace(options, begin_ms=options.begin_ms - WARM_UP_MS))
    require_rows(run, options)
    draft = spec.folder.absolute().with_name(f".{spec.folder.name}.partial")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{spec.folder.parent}: cannot be written ({error.strerror})") from None
    controller = make_controller(spec.controller, run.network, spec.settings)
    advising = Advising(controller, run.network, draft / "advice.parquet", options.begin_ms)
    journal = JournalWriter(draft, run.network, run.sensors)
    street = _Street(run)
    estimator = Estimator(run.network, run.sensors)
    try:
        try:
            times = run_loop(
                run.network, street, estimator, advising, street,
                _AfterWarmUp(journal, options.begin_ms), _Clock(progress),
            )  # fmt: skip
        finally:
            journal.close()
            advising.close()
        _write_facts(draft, spec, run, advising, times, stopwatch_s() - began_s)
        draft.rename(spec.folder)
    except OSError as error:
        raise OutputError(f"{spec.folder}: cannot be written ({error})") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return spec.folder


def _write_facts(
    folder: Path,
    spec: ReplaySpec,
    run: ArchiveRun,
    advising: Advising,
    times: LoopTimes,
    wall_s: float,
) -> None:
    options = spec.slice
    gaps = {
        feed: [h for h in options.hours if h not in run.slices.hours(feed)]
        for feed in options.feeds
    }
    manifest = {
        "kind": "replay",
        "archive": options.archive.name,
        "controller": spec.controller,
        "settings": spec.settings,
        "feeds": sorted(options.feeds),
        "districts": None if options.districts is None else sorted(options.districts),
        "begin_s": options.begin_ms / MS_PER_S,
        "end_s": options.end_ms / MS_PER_S,
        "network_hash": run.network.hash,
        "sensors": run.sensors.describe(),
        "hours_without": {feed: found for feed, found in gaps.items() if found},
        "left_out": left_out(run),
        "version": version("topis"),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
    stages_s = {name: round(value, 3) for name, value in vars(times).items() if name.endswith("_s")}
    facts = {
        "wall_s": round(wall_s, 3),
        "rows": run.observations.rows,
        "ticks": times.ticks,
        "decisions": advising.decisions,
        **stages_s,
    }
    (folder / "timings.json").write_text(json.dumps(facts, indent=1))
