"""Where the engine would have shown something else than was shown, worst first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from topis.model.network import Network

#: Shorter differences than this are a matter of when, not of what (ms).
LEAST_MS = 5_000


@dataclass(frozen=True)
class Difference:
    """One junction: share of the time in which another stage was wanted than the one shown.

    ``other_share`` counts spells of five seconds or more; ``spells`` how many; ``longest_s``.
    ``unknown_share``: time between stages, or in none that the network knows.
    """

    junction: str
    other_share: float
    spells: int
    longest_s: float
    unknown_share: float


def differences(advice: pa.Table, network: Network, begin_ms: int, end_ms: int) -> list[Difference]:
    """From the table ``advice`` of a replay; junctions in order of ``other_share``."""
    order = np.lexsort([advice["time_ms"].to_numpy(), advice["junction"].to_numpy()])
    junction, time_ms, shown, wanted = (
        advice[name].to_numpy()[order] for name in ("junction", "time_ms", "shown", "wanted")
    )
    last = np.append(junction[1:] != junction[:-1], True) if len(junction) else np.zeros(0, bool)
    until_ms = np.where(last, end_ms, np.append(time_ms[1:], end_ms)[: len(time_ms)])
    lasts_ms = until_ms - time_ms
    other = (shown >= 0) & (wanted >= 0) & (shown != wanted)
    found = []
    for j in range(network.junctions):
        own = junction == j
        spells = _spells(other[own], lasts_ms[own])
        long = spells[spells >= LEAST_MS]
        total_ms = max(end_ms - begin_ms, 1)
        found.append(
            Difference(
                network.junction_ids[j],
                float(long.sum() / total_ms),
                len(long),
                float(spells.max(initial=0) / 1000.0),
                float(lasts_ms[own & (shown < 0)].sum() / total_ms),
            )
        )
    return sorted(found, key=lambda d: (-d.other_share, d.junction))


def _spells(flags: np.ndarray, lasts_ms: np.ndarray) -> np.ndarray:
    """Lengths of runs of True (ms)."""
    starts = np.flatnonzero(flags & ~np.append(False, flags[:-1]))
    total = np.append(0, np.cumsum(np.where(flags, lasts_ms, 0)))
    ends = np.flatnonzero(flags & ~np.append(flags[1:], False)) + 1
    return np.asarray(total[ends] - total[starts], dtype=np.int64)
