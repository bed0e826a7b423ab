"""A replay in shards: a group of junctions for an hour each, whoever works on them.

How a slice is cut depends on the slice alone, never on who is there to work; so the results are
the same for any number of workers, and what is done need not be done again. Everything a shard
needs lies in the work folder (`topis.run.prepare`), and what it gives appears there whole.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.clock import stopwatch_s
from topis.control.registry import make_controller
from topis.errors import InputError
from topis.estimation.estimator import WARM_UP_MS, Estimator
from topis.ingest.archive_files import ArchiveFiles
from topis.ingest.observe import Keys
from topis.ingest.slices import ArchiveSlices
from topis.model.observation import Observation
from topis.report.journal import JournalWriter
from topis.run.advising import Advising
from topis.run.archive_run import ArchiveRun, Found, Rhythm, SliceOptions, open_streets
from topis.run.loop import run_loop
from topis.run.ports import LocalLamps
from topis.run.streets import PART, OwnPart, Streets, load_arrays
from topis.units import MS_PER_HOUR

SHARD_MS = MS_PER_HOUR
FACTS = "facts.json"
#: Told of a shard: until when it is done (UTC ms), and rows read so far.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """What all shards of a replay have in common; as JSON in the work folder.

    ``decides``: whether the controller is asked; without, signals and readings are only kept.
    """

    archive: str
    network_file: str
    sensor_file: str
    begin_ms: int
    end_ms: int
    feeds: tuple[str, ...]
    controller: str
    settings: dict[str, float]
    decides: bool
    rhythm: Rhythm

    def save(self, path: Path) -> None:
        """As one file, for the owner alone: an address may hold keys."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True))

    @classmethod
    def load(cls, path: Path) -> Job:
        """What `save` wrote.

        Raises
        ------
        InputError
            It is not there, or damaged.
        """
        try:
            stored = json.loads(path.read_text())
            stored["rhythm"] = Rhythm(**stored["rhythm"])
            return cls(**{**stored, "feeds": tuple(stored["feeds"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError.at(
                path, f"cannot be read ({error})",
                "workers need the folder of --out at the same path",
            ) from None  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """Some of the time for one group of junctions."""

    group: int
    begin_ms: int
    end_ms: int

    @property
    def name(self) -> str:
        """Of its folder."""
        begin = str(np.datetime64(self.begin_ms // 1000, "s")).replace(":", "")
        return f"{begin}-{self.group:03d}"


def shards_of(begin_ms: int, end_ms: int, groups: int) -> list[Shard]:
    """Every group for every hour of the slice, counted from its begin."""
    return [
        Shard(group, from_ms, min(from_ms + SHARD_MS, end_ms))
        for from_ms in range(begin_ms, end_ms, SHARD_MS)
        for group in range(groups)
    ]


def group_folder(work: Path, group: int) -> Path:
    """Where the streets of a group lie."""
    return work / f"group-{group:03d}"


def shard_folder(work: Path, shard: Shard) -> Path:
    """Where what a shard gave lies, once it is done."""
    return work / "shards" / shard.name


def run_shard(work: Path, shard: Shard, progress: Progress = lambda *_: None) -> None:
    """Do a shard, unless it is done.

    Raises
    ------
    InputError
        The work folder or the archive cannot be read.
    """
    done = shard_folder(work, shard)
    if done.is_dir():
        progress(shard.end_ms, 0)
        return
    began_s = stopwatch_s()
    job = Job.load(work / "job.json")
    folder = group_folder(work, shard.group)
    streets, keys = Streets.load(folder), _keys(folder)
    districts = json.loads((folder / "districts.json").read_text())
    options = SliceOptions(
        job.archive, Path(job.network_file), Path(job.sensor_file),
        shard.begin_ms - WARM_UP_MS, shard.end_ms, job.feeds,
    )  # fmt: skip
    slices = ArchiveSlices(ArchiveFiles(job.archive), districts)
    run = open_streets(options, streets, keys, slices, job.rhythm)
    opened_s = stopwatch_s() - began_s
    # Two may work on one shard, if the first was thought lost: whoever is first, is.
    draft = done.with_name(f".{shard.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    draft.mkdir(parents=True)
    try:
        facts = _run(run, job, shard, draft, progress)
        # Those around are another group's.
        own = OwnPart.load(folder / PART).own_junction
        facts["decisions"] = facts["decisions"] * int(own.sum()) // max(len(own), 1)
        slices.close()
        facts["open_s"] = round(opened_s, 3)
        facts["wall_s"] = round(stopwatch_s() - began_s, 3)
        (draft / FACTS).write_text(json.dumps(facts, indent=1))
        try:
            draft.rename(done)
        except OSError:
            if not done.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _run(
    run: ArchiveRun, job: Job, shard: Shard, draft: Path, progress: Progress
) -> dict[str, Any]:
    controller = make_controller(job.controller, run.network, job.settings)
    advising = (
        Advising(controller, run.network, draft / "advice.parquet", shard.begin_ms)
        if job.decides
        else None
    )
    journal = JournalWriter(draft, run.network, run.sensors)
    street = _Street(run)
    try:
        times = run_loop(
            run.network, street, Estimator(run.network, run.sensors), advising or controller,
            street, _AfterWarmUp(journal, shard.begin_ms), _Clock(run, progress),
        )  # fmt: skip
    finally:
        journal.close()
        if advising is not None:
            advising.close()
    stages_s = {name: round(value, 3) for name, value in vars(times).items() if name.endswith("_s")}
    scan_s = min(run.slices.scan_s, times.observe_s)
    stages_s["scan_s"] = round(scan_s, 3)
    stages_s["ingest_s"] = round(times.observe_s - scan_s, 3)
    del stages_s["observe_s"]
    return {
        "rows": run.observations.rows,
        "ticks": times.ticks,
        "decisions": advising.decisions if advising is not None else 0,
        "peak_mb": peak_mb(),
        "found": dataclasses.asdict(Found.in_run(run)),
        "stages_s": stages_s,
    }


def peak_mb() -> int:
    """Most memory this process ever held (MB)."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most // 2**20 if sys.platform == "darwin" else most // 2**10)


def save_keys(folder: Path, keys: Keys) -> None:
    """Beside the streets of a group."""
    np.savez_compressed(folder / "keys.npz", **vars(keys))


def _keys(folder: Path) -> Keys:
    return Keys(**load_arrays(folder / "keys.npz"))


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
    """Tells how far a shard is, every ten seconds of its time."""

    def __init__(self, run: ArchiveRun, progress: Progress) -> None:
        self._run, self._progress = run, progress

    def tick(self, time_ms: int) -> bool:
        if time_ms % 10_000 == 0:
            self._progress(time_ms, self._run.observations.rows)
        return True
