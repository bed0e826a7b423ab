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
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.clock import stopwatch_s
from topis.control.protocol import Controller
from topis.control.registry import check_controller, make_controller
from topis.errors import InputError, OutputError
from topis.estimation.estimator import Estimator
from topis.model.command import LOCAL, Commands
from topis.model.lamp import is_green
from topis.model.network import Network
from topis.model.observation import Observation
from topis.model.state import SignalState, TrafficState
from topis.report.journal import JournalWriter
from topis.run.archive_run import ArchiveRun, SliceOptions, open_slice
from topis.run.loop import LoopTimes, run_loop
from topis.run.ports import LocalLamps
from topis.units import MS_PER_S

#: Estimates begin this long before the slice, so that they are warm (ms).
WARM_UP_MS = 900_000
ADVICE_SCHEMA = pa.schema(
    [
        ("time_ms", pa.int64()),
        ("junction", pa.int32()),
        ("shown", pa.int32()),
        ("wanted", pa.int32()),
    ],
    metadata={"topis": "advice/1"},
)
_FLUSH_TICKS = 300


@dataclass(frozen=True)
class ReplaySpec:
    """What to replay; ``folder`` is the run folder to be made."""

    slice: SliceOptions
    controller: str
    folder: Path
    settings: dict[str, float] = field(default_factory=dict)


class StagesShown:
    """Which stage each junction shows, told from its lamps.

    A stage is shown when exactly its groups are green; between stages none is (-1).
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        low = network.junction_group_ptr[network.stage_junction]
        count = np.diff(network.stage_code_ptr)
        stage = np.repeat(np.arange(network.stages), count)
        place = np.arange(len(stage)) - np.repeat(network.stage_code_ptr[:-1], count)
        self._group = low[stage] + place
        self._stage = stage
        self._green = is_green(network.stage_code)
        self._since_ms = np.zeros(network.junctions, dtype=np.int64)
        self._shown = np.full(network.junctions, -2, dtype=np.int32)

    def of(self, group_code: NDArray[np.uint8], now_ms: int) -> tuple[Any, Any]:
        """(stage, since when in ms) of each junction."""
        network = self._network
        differs = is_green(group_code)[self._group] != self._green
        same = np.bincount(self._stage, differs, minlength=network.stages) == 0
        shown = np.full(network.junctions, -1, dtype=np.int32)
        stages = np.flatnonzero(same)[::-1].astype(np.int32)
        # All red is no stage, whatever a program calls so.
        shown[network.stage_junction[stages]] = stages
        changed = shown != self._shown
        self._since_ms[changed] = now_ms
        self._shown = shown
        return shown.copy(), self._since_ms.copy()


class Advising:
    """A controller whose answers are kept and not carried out; it sees what is really shown."""

    def __init__(self, inner: Controller, network: Network, path: Path, begin_ms: int) -> None:
        self.name = inner.name
        self.decisions = 0
        self._inner, self._network, self._begin_ms = inner, network, begin_ms
        self._stages = StagesShown(network)
        self._writer = pq.ParquetWriter(path, ADVICE_SCHEMA, compression="zstd")
        self._parts: list[pa.RecordBatch] = []
        self._wanted = np.full(network.junctions, -9, dtype=np.int32)
        self._shown = np.full(network.junctions, -9, dtype=np.int32)
        self._local = np.full(network.junctions, LOCAL, dtype=np.int32)

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        shown, since_ms = self._stages.of(signals.group_code, state.time_ms)
        seen = replace(signals, stage=shown, since_ms=since_ms, coming=np.full_like(shown, -1))
        wanted = self._inner.decide(state, seen).stage.astype(np.int32)
        if state.time_ms > self._begin_ms:
            self.decisions += len(wanted)
            changed = np.flatnonzero((wanted != self._wanted) | (shown != self._shown))
            if len(changed):
                self._keep(state.time_ms, changed.astype(np.int32), shown, wanted)
            self._wanted, self._shown = wanted, shown
        return Commands(state.time_ms, self._local.copy())

    def _keep(
        self,
        now_ms: int,
        changed: NDArray[np.int32],
        shown: NDArray[np.int32],
        wanted: NDArray[np.int32],
    ) -> None:
        time = pa.array(np.full(len(changed), now_ms, np.int64))
        columns = [time, changed, shown[changed], wanted[changed]]
        self._parts.append(pa.record_batch(columns, schema=ADVICE_SCHEMA))
        if len(self._parts) >= _FLUSH_TICKS:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        if self._parts:
            self._writer.write_table(pa.Table.from_batches(self._parts))
            self._parts.clear()

    def close(self) -> None:
        """Write the rest."""
        self.flush()
        self._writer.close()


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
    _check_covered(run, options)
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


def _check_covered(run: ArchiveRun, options: SliceOptions) -> None:
    hours = range(options.begin_ms // 3_600_000, -(-options.end_ms // 3_600_000))
    known = {feed: run.slices.hours(feed) for feed in options.feeds}
    if not any(hour in found for found in known.values() for hour in hours):
        raise InputError(
            f"{options.archive}: nothing is stored of that time; see topis data describe"
        )


def _write_facts(
    folder: Path,
    spec: ReplaySpec,
    run: ArchiveRun,
    advising: Advising,
    times: LoopTimes,
    wall_s: float,
) -> None:
    options = spec.slice
    hours = range(options.begin_ms // 3_600_000, -(-options.end_ms // 3_600_000))
    gaps = {feed: [h for h in hours if h not in run.slices.hours(feed)] for feed in options.feeds}
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
        "damaged": run.slices.damaged,
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
