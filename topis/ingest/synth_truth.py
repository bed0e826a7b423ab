"""What really happened on a made-up day, lane by lane and 30 s by 30 s, kept beside the feeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from topis.ingest.synth_traffic import Passages
from topis.model.network import NOT_MOTOR, Network

PERIOD_S, HOUR_S = 30, 3600
_PERIODS = HOUR_S // PERIOD_S

TRUTH_SCHEMA = pa.schema(
    [
        ("lane", pa.string()),
        ("time", pa.timestamp("ms", tz="UTC")),
        ("queue_veh", pa.uint16()),
        ("departed_veh", pa.uint16()),
        ("travel_ms", pa.uint32()),
    ],
    metadata={"topis": "truth/1"},
)


class TruthKeeper:
    """Gathers passages; writes an hour once nothing more can come to it.

    ``queue_veh`` stand on the lane at the end of the 30 s that begin at ``time``;
    ``departed_veh`` left it in them, after ``travel_ms`` each on average (missing: nobody left).
    """

    def __init__(self, network: Network, begin_s: int) -> None:
        self._network = network
        self._begin_s = begin_s // HOUR_S * HOUR_S
        shape = (2 * _PERIODS + 1, network.lanes)
        self._change = np.zeros(shape, np.int32)
        self._departed = np.zeros(shape, np.int32)
        self._travel_s = np.zeros(shape)
        self._standing = np.zeros(network.lanes, np.int32)
        self._motor = np.flatnonzero(network.lane_use != NOT_MOTOR)

    def add(self, passages: Passages) -> None:
        """Take in passages; they end at most an hour after the hour that is written next."""
        from_s, until_s = passages.stands_s()
        # Counted at the end of period p: at p + 1 times 30 s.
        first = np.ceil((from_s - self._begin_s) / PERIOD_S) - 1
        last = np.ceil((until_s - self._begin_s) / PERIOD_S) - 1
        stood = last > first
        most = len(self._change) - 1
        for when, sign in ((first, 1), (last, -1)):
            at = np.clip(when[stood], 0, most).astype(np.intp)
            np.add.at(self._change, (at, passages.lane[stood]), sign)
        period = ((passages.depart_s - self._begin_s) // PERIOD_S).astype(np.intp)
        inside = (period >= 0) & (period < most)
        cell = (period[inside], passages.lane[inside])
        np.add.at(self._departed, cell, 1)
        np.add.at(self._travel_s, cell, (passages.depart_s - passages.enter_s)[inside])

    def write_hour(self, path: Path, midnight_ms: int, standing: Passages) -> None:
        """Write the hour and go on to the next; ``standing``: who still stands, since when."""
        queue = self._standing + np.cumsum(self._change[:_PERIODS], axis=0)
        still = np.zeros(queue.shape, np.int32)
        from_s, _ = standing.stands_s()
        first = np.maximum(np.ceil((from_s - self._begin_s) / PERIOD_S) - 1, 0).astype(np.intp)
        inside = first < _PERIODS
        np.add.at(still, (first[inside], standing.lane[inside]), 1)
        departed, travel_s = self._departed[:_PERIODS], self._travel_s[:_PERIODS]
        lanes = self._motor
        begin_ms = midnight_ms + 1000 * (self._begin_s + PERIOD_S * np.arange(_PERIODS))
        left = departed[:, lanes].T.ravel()
        mean_ms = 1000 * travel_s[:, lanes].T.ravel() / np.maximum(left, 1)
        names = pa.DictionaryArray.from_arrays(
            pa.array(np.repeat(np.arange(len(lanes)), _PERIODS), pa.int32()),
            pa.array([self._network.lane_ids[lane] for lane in lanes]),
        )
        table = pa.table(
            {
                "lane": names.cast(pa.string()),
                "time": pa.array(np.tile(begin_ms, len(lanes))).cast(
                    TRUTH_SCHEMA.field("time").type
                ),
                "queue_veh": (queue + np.cumsum(still, axis=0))[:, lanes]
                .T.ravel()
                .clip(0)
                .astype(np.uint16),
                "departed_veh": left.astype(np.uint16),
                "travel_ms": pa.array(mean_ms.astype(np.uint32), mask=left == 0),
            },
            schema=TRUTH_SCHEMA,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")
        # Those still standing count here once they have left.
        self._standing = queue[-1]
        for name in ("_change", "_departed", "_travel_s"):
            values = getattr(self, name)
            values[: _PERIODS + 1] = values[_PERIODS:]
            values[_PERIODS + 1 :] = 0
        self._begin_s += HOUR_S
