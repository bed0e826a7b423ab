"""A controller asked and not obeyed: its answers and reasons beside what was really shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.control.protocol import Controller, Explains, Reasons
from topis.model.command import LOCAL, Commands
from topis.model.lamp import is_green
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState

ADVICE_SCHEMA = pa.schema(
    [
        ("time_ms", pa.int64()),
        ("junction", pa.int32()),
        ("shown", pa.int32()),
        ("wanted", pa.int32()),
    ],
    metadata={"topis": "advice/1"},
)
#: A row whenever alternatives were weighed or the answer, or why, changed. ``why``: a `Why`;
#: ``value`` and ``bound`` of each stage in ``stage``, see `Reasons`.
REASON_SCHEMA = pa.schema(
    [
        ("time_ms", pa.int64()),
        ("junction", pa.int32()),
        ("shown", pa.int32()),
        ("wanted", pa.int32()),
        ("why", pa.uint8()),
        ("next_stage", pa.int32()),
        ("extend_s", pa.int32()),
        ("stage", pa.list_(pa.field("element", pa.int32()))),
        ("value", pa.list_(pa.field("element", pa.float32()))),
        ("bound", pa.list_(pa.field("element", pa.uint8()))),
    ],
    metadata={"topis": "reason/1"},
)
_FLUSH_TICKS = 300


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
    """A controller whose answers are kept and not carried out; it sees what is really shown.

    Answers go to ``path``, reasons to ``reasons.parquet`` beside it if the controller has any.
    """

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
        self._explains = inner if isinstance(inner, Explains) else None
        self._reasons: ReasonLog | None = None
        if self._explains is not None:
            self._reasons = ReasonLog(path.with_name("reasons.parquet"), network)

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
            if self._explains is not None and self._reasons is not None:
                self._reasons.add(state.time_ms, shown, wanted, self._explains.reasons())
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
        if self._reasons is not None:
            self._reasons.close()


def reason_writer(path: Path) -> pq.ParquetWriter:
    """A new file for rows of `REASON_SCHEMA`."""
    # Values seldom repeat, but their first bytes do: byte by byte the file is 40 % smaller.
    value = "value.list.element"
    names = [f.name + ".list.element" * pa.types.is_list(f.type) for f in REASON_SCHEMA]
    return pq.ParquetWriter(
        path,
        REASON_SCHEMA,
        compression="zstd",
        use_dictionary=[name for name in names if name != value],
        column_encoding={value: "BYTE_STREAM_SPLIT"},
    )


class ReasonLog:
    """`REASON_SCHEMA` rows of all junctions, appended to a file in row groups."""

    def __init__(self, path: Path, network: Network) -> None:
        self._network = network
        self._writer = reason_writer(path)
        self._rows: list[tuple[NDArray[Any], ...]] = []
        self._alternatives: list[tuple[NDArray[Any], ...]] = []
        # Answer and why of each junction in its last row.
        self._last = np.full((3, network.junctions), -9, dtype=np.int32)

    def add(
        self, now_ms: int, shown: NDArray[np.int32], wanted: NDArray[np.int32], reasons: Reasons
    ) -> None:
        """Keep what is new of a tick."""
        owner = self._network.stage_junction
        answer = np.stack([shown, wanted, reasons.why])
        row = np.flatnonzero(reasons.weighed | (answer != self._last).any(axis=0))
        self._last = answer
        stage = np.flatnonzero(reasons.weighed[owner] & ~np.isnan(reasons.value))
        count = np.bincount(owner[stage], minlength=self._network.junctions)[row]
        self._alternatives.append((stage, reasons.value[stage], reasons.bound[stage]))
        said = reasons.weighed[row]
        self._rows.append(
            (
                np.full(len(row), now_ms), row, shown[row], wanted[row], reasons.why[row],
                np.where(said, reasons.next_stage[row], -1),
                np.where(said, reasons.extend_s[row], -1), count,
            )
        )  # fmt: skip
        if len(self._rows) >= _FLUSH_TICKS:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        *columns, count = map(np.concatenate, zip(*self._rows, strict=True))
        ends = pa.array(np.concatenate([[0], np.cumsum(count)]), pa.int32())
        lists = map(np.concatenate, zip(*self._alternatives, strict=True))
        flat = zip(REASON_SCHEMA, [*columns, *lists], strict=True)
        arrays = [
            pa.ListArray.from_arrays(ends, pa.array(values, field.type.value_type), field.type)
            if pa.types.is_list(field.type)
            else pa.array(values, field.type)
            for field, values in flat
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=REASON_SCHEMA))
        self._rows.clear()
        self._alternatives.clear()

    def close(self) -> None:
        """Write the rest."""
        self._flush()
        self._writer.close()
