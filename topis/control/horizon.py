"""How far ahead a junction must look to see everybody served."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.control.streams import Streams


def shortest_round_s(
    stage_ptr: NDArray[np.int32], streams: Streams, serves: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Least greens and changes of stages that together serve every stream, float64[junctions].

    Stages are taken by how many streams more they serve a second (the greedy cover of a set), so
    that of two ways to serve the same streams only one counts. ``stage_ptr`` int32[junctions + 1];
    ``serves`` bool[cells]: whether a stage serves a stream well enough.
    """
    stages = np.diff(stage_ptr)
    junctions, most = len(stages), int(stages.max(initial=0))
    number = np.arange(most)[:, None]
    at = np.minimum(stage_ptr[:-1] + number, stage_ptr[1:] - 1)
    cost_s = (streams.min_green_s + (streams.hold_s + streams.lost_s).max(axis=1))[at]
    served = np.array([
        serves[streams.cell_of(np.minimum(k, stages - 1))] & (k < stages)[streams.junction]
        for k in range(most)
    ])  # fmt: skip
    open_ = served.any(axis=0)
    total_s = np.zeros(junctions)
    every = np.arange(junctions)
    for _ in range(most):
        more = np.array([
            np.bincount(streams.junction, row & open_, minlength=junctions) for row in served
        ])  # fmt: skip
        best = np.argmax(more / np.maximum(cost_s, 1.0), axis=0)
        total_s += np.where(more[best, every] > 0, cost_s[best, every], 0.0)
        open_ &= ~served[best[streams.junction], np.arange(len(streams))]
    return total_s
