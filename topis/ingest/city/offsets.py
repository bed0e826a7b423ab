"""Offsets of the signals of each area: green waves by the least delay of platoons.

Each block between two signals of one cycle gets a table: the delay of what leaves the one by when
the other's cycle starts after its own. Signals are placed one after the other, along the heaviest
flow first, then each is moved to its best place in turn, as TRANSYT's hill climb does.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from topis.ingest.city.graph import Floats, Graph, Ints
from topis.ingest.city.roads import Roads
from topis.ingest.city.stages import Signal
from topis.ingest.city.timing import Timing

#: Platoons drive somewhat slower than free; times every signal is moved to its best place.
PROGRESSION, SWEEPS = 0.9, 4


@dataclass(frozen=True)
class Blocks:
    """Ways from a signal to the next.

    ``begin``, ``end`` numbers of signals; ``first``, ``last`` edges; ``time_s`` from the one stop
    line to the other.
    """

    begin: Ints
    end: Ints
    first: Ints
    last: Ints
    time_s: Floats


def make_blocks(roads: Roads, graph: Graph, signals: list[Signal]) -> Blocks:
    """All blocks with a signal at either end."""
    signal_of = {signal.node: number for number, signal in enumerate(signals)}
    found = []
    for number, edge in enumerate(roads.edges):
        begin = signal_of.get(edge.begin)
        if begin is None or edge.street < 0:
            continue
        last, time_s = number, float(graph.time_s[number])
        while (end := signal_of.get(roads.edges[last].end)) is None:
            step = 1 if roads.edges[last].id[0] != "-" else -1
            following = last + 2 * step
            if not 0 <= following < len(roads.edges):
                break
            if roads.edges[following].street != edge.street:
                break
            last, time_s = following, time_s + float(graph.time_s[following])
        if end is not None:
            found.append((begin, end, number, last, time_s / PROGRESSION))
    columns = list(zip(*found, strict=True)) if found else [()] * 5
    whole = [np.array(column, dtype=np.int64) for column in columns[:4]]
    return Blocks(whole[0], whole[1], whole[2], whole[3], np.array(columns[4], dtype=np.float64))


def best_offsets(
    graph: Graph, blocks: Blocks, signals: list[Signal], timing: Timing, area: Ints,
    arc_vph: Floats,
) -> Ints:  # fmt: skip
    """Offset (s) of each signal, less than its cycle."""
    offset = np.zeros(len(signals), dtype=np.int64)
    starts = _starts(signals, timing)
    by_end: dict[int, list[int]] = {}
    by_begin: dict[int, list[int]] = {}
    for arc in np.flatnonzero(arc_vph > 0).tolist():
        by_end.setdefault(int(graph.end[arc]), []).append(arc)
        by_begin.setdefault(int(graph.begin[arc]), []).append(arc)
    same = area[blocks.begin] == area[blocks.end]
    for a in range(int(area.max()) + 1):
        members = np.flatnonzero(area == a)
        chosen = np.flatnonzero(same & (area[blocks.begin] == a))
        if len(members) < 2 or not len(chosen):
            continue
        cycle = int(timing.cycle_s[members[0]])
        sent = np.zeros((len(chosen), cycle))
        wait = np.zeros((len(chosen), cycle))
        for row, block in enumerate(chosen.tolist()):
            for arc in by_end.get(int(blocks.first[block]), ()):
                lit = _lit(graph, int(graph.queue[arc]), signals, timing, starts, cycle)
                sent[row] += arc_vph[arc] * lit / max(lit.sum(), 1)
            for arc in by_begin.get(int(blocks.last[block]), ()):
                lit = _lit(graph, int(graph.queue[arc]), signals, timing, starts, cycle)
                wait[row] += arc_vph[arc] * _wait_s(lit)
        total = [
            sum(arc_vph[x] for x in by_begin.get(int(blocks.last[block]), ())) for block in chosen
        ]
        wait /= np.maximum(np.array(total), 1.0)[:, None]
        table = _tables(sent, wait, blocks.time_s[chosen])
        _climb(offset, members, chosen, blocks, table, cycle)
    return offset


def _starts(signals: list[Signal], timing: Timing) -> Floats:
    starts = np.zeros_like(timing.green_s)
    change = np.array([signal.change_s for signal in signals])
    for k in range(1, starts.shape[1]):
        starts[:, k] = starts[:, k - 1] + timing.green_s[:, k - 1] + change
    return starts


def _lit(
    graph: Graph, queue: int, signals: list[Signal], timing: Timing, starts: Floats, cycle: int
) -> Floats:
    """Share of green in each second of the cycle for a queue."""
    lit = np.zeros(cycle)
    j = int(graph.queue_signal[queue])
    if j < 0:
        return lit + 1
    for k in np.flatnonzero(graph.queue_stage[queue]).tolist():
        begin = int(starts[j, k])
        lit[begin : begin + int(timing.green_s[j, k])] = 1
    return lit


def _wait_s(lit: Floats) -> Floats:
    """Time to the next green from each second of the cycle."""
    cycle = len(lit)
    green = np.flatnonzero(lit > 0)
    if not len(green):
        return np.zeros(cycle)
    following = np.searchsorted(green, np.arange(cycle))
    ends = np.append(green, green[0] + cycle)
    return np.asarray(ends[following] - np.arange(cycle), dtype=np.float64)


def _tables(sent: Floats, wait: Floats, time_s: Floats) -> Floats:
    """Delay (veh s/h) by end's offset less begin's, d: sum of sent[t] wait[t + time - d]."""
    spectrum = np.conj(np.fft.rfft(sent, axis=1)) * np.fft.rfft(wait, axis=1)
    shifted = np.fft.irfft(spectrum, n=sent.shape[1], axis=1)
    cycle = sent.shape[1]
    lag = (np.round(time_s).astype(np.int64)[:, None] - np.arange(cycle)[None]) % cycle
    return np.take_along_axis(shifted, lag, axis=1)


def _climb(
    offset: Ints, members: Ints, chosen: Ints, blocks: Blocks, table: Floats, cycle: int
) -> None:
    arriving = np.hstack([table, table])
    back = table[:, (-np.arange(cycle)) % cycle]
    leaving = np.hstack([back, back])
    gain = table.max(axis=1) - table.min(axis=1)
    links: dict[int, list[tuple[int, int, bool]]] = {int(j): [] for j in members}
    for row, block in enumerate(chosen.tolist()):
        begin, end = int(blocks.begin[block]), int(blocks.end[block])
        links[end].append((row, begin, True))
        links[begin].append((row, end, False))
    placed: set[int] = set()

    def place(j: int) -> None:
        cost = np.zeros(cycle)
        for row, other, comes in links[j]:
            if other in placed and other != j:
                at = -int(offset[other]) % cycle
                cost += (arriving if comes else leaving)[row, at : at + cycle]
        offset[j] = int(np.argmin(np.round(cost, 3)))
        placed.add(j)

    for seed in sorted(links, key=lambda j: (-sum(gain[row] for row, _, _ in links[j]), j)):
        heap = [(0.0, seed)]
        while heap:
            _, j = heapq.heappop(heap)
            if j in placed:
                continue
            place(j)
            for row, other, _ in links[j]:
                if other not in placed:
                    heapq.heappush(heap, (-float(gain[row]), other))
    for _ in range(SWEEPS):
        for j in links:
            place(j)
