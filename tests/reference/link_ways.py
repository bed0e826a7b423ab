"""Twin of `topis._core.link_ways`: Dijkstra's algorithm from each link, in float32."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np

F = np.float32


def link_ways(link: int, arrays: Mapping[str, Any], most_m: float) -> dict[int, np.float32]:
    """Way from the end of a link to the start of each that is near enough."""
    settled: dict[int, np.float32] = {}
    heap = [(F(0), link, True)]
    while heap:
        way, at, is_start = heapq.heappop(heap)
        if not is_start:
            if at in settled:
                continue
            settled[at] = way
            way = way + F(arrays["length_m"][at])
        for k in range(arrays["next_ptr"][at], arrays["next_ptr"][at + 1]):
            onward = way + F(arrays["next_m"][k])
            if onward <= F(most_m):
                heapq.heappush(heap, (onward, int(arrays["next_link"][k]), False))
    return settled
