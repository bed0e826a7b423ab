"""What was known of a junction's approach lanes at a moment of a run, and from whom.

Sensors and probes are told by the journal, estimates by the `TrafficState` of that moment; of an
archive's replay, which keeps none, `state_at` makes it again from what the journal holds before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError
from topis.estimation.estimator import WARM_UP_MS, Estimator
from topis.estimation.sensor_tables import camera_table
from topis.model.lamp import codes_from_letters, is_green
from topis.model.network import Network
from topis.model.observation import CAMERA, KIND_NAMES, Observation, ProbeReports
from topis.model.state import TrafficState
from topis.report.journal import JournalReader
from topis.units import MS_PER_S

#: Probes count as evidence for so long (ms).
PROBES_MS = 300_000
#: Arrivals are summed over so many seconds ahead.
AHEAD_S = 30


@dataclass(frozen=True)
class SensorSeen:
    """One sensor's last reading, NaN where it told nothing.

    ``reading`` of a loop or camera line: vehicles in the tick, share of it covered; of a camera:
    vehicles in view, how many of them stand. ``age_s`` since it last changed. ``dead``: the run
    did without this sensor.
    """

    sensor: str
    kind: str
    reading: tuple[float, float]
    age_s: float
    dead: bool


@dataclass(frozen=True)
class LaneSeen:
    """One approach lane: what its sensors and probes told, and what was made of it.

    ``coming_veh`` expected at the stop line within `AHEAD_S`. ``age_s`` since a sensor told
    anything of the lane, or a probe within `PROBES_MS`; ``probe_age_s``: of the newest report;
    NaN if there was none.
    """

    lane: str
    queue_veh: float
    coming_veh: float
    flow_vps: float
    gap_s: float
    confidence: float
    age_s: float
    sensors: tuple[SensorSeen, ...]
    probes: int
    probe_age_s: float


class Readings:
    """Readings of a journal up to a moment.

    ``reading`` float32[sensors, 2] and ``changed_ms`` int64[sensors] hold for the last tick that
    `observations` gave; before its first one, for the time before ``begin_ms``.
    """

    def __init__(self, journal: JournalReader, begin_ms: int, at_ms: int) -> None:
        self._journal, self._begin_ms, self._at_ms = journal, begin_ms, at_ms
        self.reading = np.full((len(journal.sensors), 2), np.nan, dtype=np.float32)
        self.changed_ms = np.full(len(journal.sensors), -1, dtype=np.int64)
        kept: list[list[NDArray[Any]]] = []
        for batch in _batches(journal.folder / "observations.parquet", at_ms):
            columns = [column.to_numpy() for column in batch.columns]
            first = int(np.searchsorted(columns[0], begin_ms))
            self._take([column[:first] for column in columns])
            kept.append([column[first:] for column in columns])
        kinds = (np.int64, np.int32, np.uint8, np.float32)
        kept.append([np.zeros(0, kind) for kind in kinds])
        self._rows = [np.concatenate(parts) for parts in zip(*kept, strict=True)]

    def _take(self, rows: list[NDArray[Any]]) -> None:
        time_ms, sensor, value, reading = rows
        # Of several rows of a sensor the last holds.
        self.reading[sensor, value] = reading
        self.changed_ms[sensor] = time_ms

    def observations(self, probes: pa.Table) -> Iterator[Observation]:
        """From ``begin_ms`` on, tick by tick."""
        columns = [probes.column(name).to_numpy() for name in probes.column_names]
        for now_ms in self._journal.ticks_ms:
            if not self._begin_ms <= now_ms <= self._at_ms:
                continue
            low, high = np.searchsorted(self._rows[0], [now_ms, now_ms + 1])
            self._take([column[low:high] for column in self._rows])
            first, last = np.searchsorted(columns[0], [now_ms, now_ms + 1])
            reports = ProbeReports(*(column[first:last] for column in columns[1:]))
            yield Observation(now_ms, self.reading.copy(), reports)


def state_at(journal: JournalReader, at_ms: int) -> TrafficState:
    """The estimate of a tick, from what a journal holds of the quarter of an hour before.

    Raises
    ------
    InputError
        A file of the journal cannot be read.
    """
    network, begin_ms = journal.network, max(at_ms - WARM_UP_MS, journal.ticks_ms[0])
    lamps = _Lamps(journal, at_ms)
    estimator = Estimator(network, journal.sensors)
    state = None
    readings = Readings(journal, begin_ms, at_ms)
    for observation in readings.observations(_probes(journal, begin_ms, at_ms)):
        state = estimator.update(observation, is_green(lamps.at(observation.time_ms)))
    assert state is not None, "the moment is a tick of the journal"
    return state


def lanes_seen(journal: JournalReader, state: TrafficState, junction: int) -> list[LaneSeen]:
    """The evidence of each approach lane of a junction at the state's moment.

    Raises
    ------
    InputError
        A file of the journal cannot be read.
    """
    network, now_ms = journal.network, state.time_ms
    readings = Readings(journal, now_ms + 1, now_ms)
    probes = _probes(journal, now_ms - PROBES_MS, now_ms)
    probe_time, probe, probe_lane = (
        probes.column(name).to_numpy() for name in ("time_ms", "probe", "lane")
    )
    cameras = _cameras_of(journal)
    found = []
    for lane in junction_lanes(network, junction).tolist():
        row = int(np.searchsorted(network.approach_lanes, lane))
        own = np.flatnonzero((journal.sensors.serves == lane) & (journal.sensors.kind != CAMERA))
        seen = [
            _sensor_seen(journal, readings, sensor, now_ms)
            for sensor in (*own.tolist(), *cameras[row])
        ]
        here = probe_lane == lane
        probe_age_s = float("nan")
        if here.any():
            probe_age_s = float(now_ms - probe_time[here].max()) / MS_PER_S
        # A reading that is there is of this tick, however long it has been the same.
        ages = [0.0 if not np.isnan(s.reading).all() else s.age_s for s in seen if not s.dead]
        found.append(
            LaneSeen(
                lane=network.lane_ids[lane],
                queue_veh=float(state.queue_veh[lane]),
                coming_veh=float(np.nansum(state.arrival_vps[row, :AHEAD_S])),
                flow_vps=float(state.flow_vps[lane]),
                gap_s=float(state.gap_s[lane]),
                confidence=float(state.confidence[lane]),
                age_s=min((age for age in (*ages, probe_age_s) if age == age), default=np.nan),
                sensors=tuple(seen),
                probes=len(np.unique(probe[here])),
                probe_age_s=probe_age_s,
            )
        )
    return found


def junction_lanes(network: Network, junction: int) -> NDArray[np.int32]:
    """Approach lanes that a junction's signals control, ascending, int32[n]."""
    conn = np.flatnonzero(network.conn_group >= 0)
    conn = conn[network.group_junction[network.conn_group[conn]] == junction]
    lanes = np.unique(network.conn_from_lane[conn])
    return np.asarray(lanes[network.is_approach_lane[lanes]], dtype=np.int32)


def _sensor_seen(
    journal: JournalReader, readings: Readings, sensor: int, now_ms: int
) -> SensorSeen:
    table, changed_ms = journal.sensors, int(readings.changed_ms[sensor])
    first, second = readings.reading[sensor].tolist()
    return SensorSeen(
        sensor=table.ids[sensor],
        kind=KIND_NAMES[table.kind[sensor]],
        reading=(first, second),
        age_s=float("nan") if changed_ms < 0 else (now_ms - changed_ms) / MS_PER_S,
        dead=not bool(table.alive[sensor]),
    )


def _cameras_of(journal: JournalReader) -> list[list[int]]:
    """The cameras that tell of each approach lane, those on the road before a short one too."""
    network = journal.network
    of_lane = np.full(network.lanes, -1, dtype=np.int32)
    of_lane[network.approach_lanes] = np.arange(len(network.approach_lanes))
    ptr, sensor, _ = camera_table(network, journal.sensors, of_lane, len(network.approach_lanes))
    return [part.tolist() for part in np.split(sensor, ptr[1:-1])]


class _Lamps:
    """What each group showed, from a journal's changes of lamps."""

    def __init__(self, journal: JournalReader, at_ms: int) -> None:
        self._network = journal.network
        table = _until(journal.folder / "signals.parquet", at_ms)
        self._time, self._junction, self._state = (
            table.column(name).to_numpy() for name in ("time_ms", "junction", "state")
        )
        self._next = 0
        self._code = np.zeros(self._network.groups, dtype=np.uint8)

    def at(self, now_ms: int) -> NDArray[np.uint8]:
        """Lamp code of each group; times must not go back."""
        network, until = self._network, int(np.searchsorted(self._time, now_ms, side="right"))
        fresh = slice(self._next, until)
        # Of several changes of a junction the last holds.
        last = dict(zip(self._junction[fresh].tolist(), self._state[fresh].tolist(), strict=True))
        for junction, state in last.items():
            first, end = network.junction_head_ptr[junction : junction + 2]
            self._code[network.head_group[first:end]] = codes_from_letters(state)
        self._next = until
        return self._code


def _probes(journal: JournalReader, begin_ms: int, at_ms: int) -> pa.Table:
    return _until(journal.folder / "probes.parquet", at_ms, begin_ms)


def _until(path: Path, at_ms: int, begin_ms: int | None = None) -> pa.Table:
    span = [("time_ms", "<=", at_ms)]
    if begin_ms is not None:
        span.append(("time_ms", ">=", begin_ms))
    try:
        return pq.read_table(path, filters=span)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from None


def _batches(path: Path, at_ms: int) -> Iterator[pa.RecordBatch]:
    """A sorted table's rows up to a time, a piece at a time: a day of a city is large."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                until = int(np.searchsorted(batch.column(0).to_numpy(), at_ms, side="right"))
                yield batch.slice(0, until)
                if until < batch.num_rows:
                    return
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError.at(path, f"cannot be read ({error})", "name a whole run folder")
