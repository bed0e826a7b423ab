"""A journal as the loop went through it: what was seen in each tick, and under which lamps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from topis.model.lamp import codes_from_letters
from topis.model.network import Network
from topis.model.observation import Observation
from topis.report.journal import JournalReader


def seen_ticks(journal: JournalReader) -> Iterator[tuple[Observation, NDArray[np.uint8]]]:
    """Each tick's observation and the lamps while it was made, uint8[groups].

    The guard's are those of the tick before, of programs under local control what was seen of them.
    """
    network = journal.network
    code = np.zeros(network.groups, np.uint8)
    heads = [_first_heads(network, j) for j in range(network.junctions)]
    time_ms, junction, state = journal.signals()
    row = 0
    for observation, local in zip(journal.observations(), journal.local_lamps(), strict=True):
        while row < len(time_ms) and time_ms[row] < observation.time_ms:
            groups, head = heads[int(junction[row])]
            code[groups] = codes_from_letters(str(state[row]))[head]
            row += 1
        for j, codes in local:
            first = network.junction_group_ptr[j]
            code[first : first + len(codes)] = codes
        yield observation, code.copy()


def _first_heads(network: Network, junction: int) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Groups of a junction and one head of each: all heads of a group agree."""
    first, last = network.junction_head_ptr[junction : junction + 2]
    return np.unique(network.head_group[first:last], return_index=True)
