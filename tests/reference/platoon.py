"""Twin of `topis._core.platoon`: one offset after the other, bin by bin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def queue_by_offset(
    arrivals: NDArray[np.float64], capacity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Delay of each offset; ``capacity`` float64[bins] in the downstream cycle."""
    bins = len(arrivals)
    delay = np.zeros(bins)
    for offset in range(bins):
        waits = 0.0
        for b in range(2 * bins):
            waits = max(waits + arrivals[b % bins] - capacity[(b - offset) % bins], 0.0)
            if b >= bins:
                delay[offset] += waits
    return delay
