"""What the engine is told: a table of sensors, and one reading of all of them a tick.

Missing is NaN, never zero. Everything a controller may know of the traffic comes
through `Observation`; nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

LOOP_STOP_LINE, LOOP_ADVANCE, CAMERA, CAMERA_LINE = 0, 1, 2, 3
KIND_NAMES = ("loop_stop_line", "loop_advance", "camera", "camera_line")

OBSERVATION_SCHEMA = pa.schema(
    [
        ("time_ms", pa.int64()),
        ("sensor", pa.int32()),
        ("value", pa.uint8()),
        ("reading", pa.float32()),
    ],
    metadata={"topis": "observation/1"},
)
PROBE_SCHEMA = pa.schema(
    [
        ("time_ms", pa.int64()),
        ("probe", pa.int64()),
        ("lane", pa.int32()),
        ("offset_m", pa.float32()),
        ("speed_mps", pa.float32()),
    ],
    metadata={"topis": "probe/1"},
)


@dataclass(frozen=True)
class SensorTable:
    """Where the sensors are.

    All arrays [sensors]: ``kind``; ``lane`` it lies on; ``serves``: the approach lane it
    tells of (another lane than it lies on where that is too short; -1: a camera that
    looks past the start of a short approach, on all lanes ahead); ``junction``; ``start_m`` /
    ``end_m`` along ``lane``; ``distance_m`` from the end of ``lane`` to the stop line;
    ``alive`` (False: installed but dead, reads NaN). ``probe_share`` of the vehicles report their
    position, each once in ``probe_period_s``.
    """

    ids: tuple[str, ...]
    kind: NDArray[np.uint8]
    lane: NDArray[np.int32]
    serves: NDArray[np.int32]
    junction: NDArray[np.int32]
    start_m: NDArray[np.float32]
    end_m: NDArray[np.float32]
    distance_m: NDArray[np.float32]
    alive: NDArray[np.bool_]
    probe_share: float
    probe_period_s: float
    research_only: bool

    def __len__(self) -> int:
        return len(self.ids)

    def describe(self) -> str:
        """One line of counts by kind, for people."""
        parts = [
            f"{int((self.kind == kind).sum())} {name.replace('_', ' ')}s"
            for kind, name in enumerate(KIND_NAMES)
            if (self.kind == kind).any()
        ]
        dead = int((~self.alive).sum())
        if dead:
            parts.append(f"{dead} of them dead")
        if self.probe_share:
            parts.append(f"{100 * self.probe_share:g} % of vehicles as probes")
        return ", ".join(parts) or "no sensors"


@dataclass(frozen=True)
class ProbeReports:
    """Positions that probe vehicles sent in this tick.

    ``probe`` int64[n] (pseudonym), ``lane`` int32[n], ``offset_m`` float32[n] from the
    start of the lane, ``speed_mps`` float32[n].
    """

    probe: NDArray[np.int64]
    lane: NDArray[np.int32]
    offset_m: NDArray[np.float32]
    speed_mps: NDArray[np.float32]

    @classmethod
    def none(cls) -> ProbeReports:
        """No report in this tick."""
        return cls(
            np.zeros(0, np.int64),
            np.zeros(0, np.int32),
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
        )


@dataclass(frozen=True)
class Observation:
    """All readings of one tick: ``reading`` float32[sensors, 2], NaN where missing.

    A loop reads vehicles that came onto it in the tick and the share of it that it was
    covered; so does a camera line, a loop drawn into a camera's picture. A camera reads
    vehicles in view (of one stretch of it) and how many of them stand.
    """

    time_ms: int
    reading: NDArray[np.float32]
    probes: ProbeReports
