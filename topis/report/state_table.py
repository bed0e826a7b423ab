"""`StreetState`s as Parquet: a row a lane, a link, a turn, and 30 s."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.model.network import Network
from topis.model.state import StreetState
from topis.units import S_PER_H

_TIME = ("time", pa.timestamp("ms", tz="UTC"))
_REAL = pa.float32()
LANE_SCHEMA = pa.schema(
    [
        _TIME, ("lane", pa.string()), ("link", pa.string()),
        ("queue_veh", _REAL), ("queue_sd_veh", _REAL), ("queue_age_s", _REAL),
        ("flow_vph", _REAL), ("flow_sd_vph", _REAL), ("flow_age_s", _REAL),
        ("sat_flow_vph", _REAL), ("sat_flow_sd_vph", _REAL), ("spillback", _REAL),
    ],
    metadata={"topis": "lane_state/1"},
)  # fmt: skip
LINK_SCHEMA = pa.schema(
    [
        _TIME, ("link", pa.string()), ("travel_s", _REAL), ("travel_sd_s", _REAL),
        ("travel_age_s", _REAL), ("speed_mps", _REAL),
    ],
    metadata={"topis": "link_state/1"},
)  # fmt: skip
TURN_SCHEMA = pa.schema(
    [
        _TIME, ("from_link", pa.string()), ("to_link", pa.string()), ("share", _REAL),
        ("share_sd", _REAL),
    ],
    metadata={"topis": "turn_state/1"},
)  # fmt: skip
#: Turn shares change slowly: told this often.
TURNS_EVERY_MS = 900_000


class StateWriter:
    """Writes ``lanes.parquet``, ``links.parquet`` and ``turns.parquet`` into a folder."""

    def __init__(self, folder: Path, network: Network) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._network = network
        lanes = network.approach_lanes
        self._lane = pa.array([network.lane_ids[k] for k in lanes])
        self._lane_link = pa.array([network.link_ids[k] for k in network.lane_link[lanes]])
        self._link = pa.array(list(network.link_ids))
        self._from = pa.array([network.link_ids[k] for k in network.move_from_link])
        self._to = pa.array([network.link_ids[k] for k in network.move_to_link])
        self._files = {
            name: pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
            for name, schema in (
                ("lanes", LANE_SCHEMA), ("links", LINK_SCHEMA), ("turns", TURN_SCHEMA),
            )
        }  # fmt: skip
        self._parts: dict[str, list[pa.RecordBatch]] = {name: [] for name in self._files}

    def close(self) -> None:
        """Write the rest."""
        self._flush(0)
        for file in self._files.values():
            file.close()

    def write(self, state: StreetState) -> None:
        """One moment."""
        self._add(
            "lanes",
            state.time_ms,
            [
                self._lane, self._lane_link,
                state.queue_veh, _sd(state.queue_var), _age(state.queue_age_s),
                state.flow_vps * S_PER_H, _sd(state.flow_var) * S_PER_H, _age(state.flow_age_s),
                state.sat_flow_vps * S_PER_H, _sd(state.sat_flow_var) * S_PER_H, state.spillback,
            ],
        )  # fmt: skip
        speed_mps = self._network.link_length_m / np.maximum(state.travel_s, 0.1)
        self._add(
            "links",
            state.time_ms,
            [
                self._link, state.travel_s, _sd(state.travel_var), _age(state.travel_age_s),
                speed_mps,
            ],
        )  # fmt: skip
        if state.time_ms % TURNS_EVERY_MS == 0:
            columns = [self._from, self._to, state.turn_share, _sd(state.turn_share_var)]
            self._add("turns", state.time_ms, columns)
        self._flush(120)

    def _add(self, name: str, time_ms: int, columns: list[pa.Array | NDArray[np.floating]]) -> None:
        schema = self._files[name].schema
        rows = len(columns[0])
        time = pa.array(np.full(rows, time_ms)).cast(schema.field("time").type)
        arrays = [
            c if isinstance(c, pa.Array) else pa.array(c.astype(np.float32), from_pandas=True)
            for c in columns
        ]
        self._parts[name].append(pa.record_batch([time, *arrays], schema=schema))

    def _flush(self, most: int) -> None:
        for name, parts in self._parts.items():
            if len(parts) > most:
                self._files[name].write_table(pa.Table.from_batches(parts))
                parts.clear()


def _sd(variance: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt(variance)


def _age(seconds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Never seen is missing."""
    return np.where(np.isfinite(seconds), seconds, np.float32(np.nan))
