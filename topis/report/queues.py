"""Queues over a journal, as the engine estimated them: the journal's readings, estimated again."""

from __future__ import annotations

import numpy as np
import pandas as pd

from topis.estimation.estimator import VOUCHED, Estimator
from topis.model.lamp import is_green
from topis.report.journal import JournalReader
from topis.report.journal_ticks import seen_ticks

#: Queues are counted up to this length (vehicles a lane).
LONGEST_VEH = 250
MINUTE_MS = 60_000


def queue_tables(journal: JournalReader) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Queues by lane, and by minute.

    A row an approach lane that is seen: its ``queue_max_veh`` and ``queue_p95_veh`` over time; the
    95th percentile is of whole vehicles, over all ticks; ``lane`` is the network's. A row a
    minute: when it began (``time_ms``), and the mean of the queues on all lanes that detectors see,
    together (``queue_veh``).
    """
    network = journal.network
    lanes = network.approach_lanes
    estimator = Estimator(network, journal.sensors)
    counts = np.zeros((len(lanes), LONGEST_VEH + 1), dtype=np.int32)
    seen = np.zeros(len(lanes), dtype=bool)
    here = np.arange(len(lanes))
    minutes: dict[int, list[float]] = {}
    for observation, lamps in seen_ticks(journal):
        state = estimator.update(observation, is_green(lamps))
        queue = state.queue_veh[lanes]
        whole = np.clip(np.rint(np.nan_to_num(queue)), 0, LONGEST_VEH).astype(np.intp)
        counts[here, whole] += 1
        confidence = state.confidence[lanes]
        seen |= confidence > 0
        # Where only probes tell, the engine adds a margin for doubt: no sum of those.
        told = confidence > VOUCHED
        minute = (observation.time_ms - 1) // MINUTE_MS * MINUTE_MS
        minutes.setdefault(minute, []).append(float(np.nansum(queue[told])))
    total = counts.sum(axis=1, keepdims=True)
    reached = np.cumsum(counts, axis=1) >= 0.95 * total
    longest = LONGEST_VEH - np.argmax(counts[:, ::-1] > 0, axis=1)
    table = pd.DataFrame(
        {"lane": lanes, "queue_max_veh": longest, "queue_p95_veh": reached.argmax(axis=1)}
    )
    by_minute = pd.DataFrame(
        {"time_ms": list(minutes), "queue_veh": [np.mean(values) for values in minutes.values()]}
    )
    return table[seen].reset_index(drop=True), by_minute
