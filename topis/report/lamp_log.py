"""What the signal groups of a journal showed, as one row a green: the cycles of each group."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError
from topis.model.lamp import YELLOW, codes_from_letters, is_green
from topis.model.network import Network
from topis.report.journal import JournalReader

I8 = NDArray[np.int64]
_RED, _YELLOW, _GREEN = 0, 1, 2


@dataclass(frozen=True)
class LampLog:
    """Greens of all groups, by group and time; a row holds until the group's next green.

    ``group`` int32[rows]; ``green_ms``, ``yellow_ms`` (the green ends), ``red_ms`` (the yellow
    ends) and ``next_ms`` (the next green begins, or the journal ends) int64[rows]. ``begun``: the
    begin of the green was seen; ``done``: the begin of the next one too. The first row of a group
    starts with the journal: without a green where it did not show one (`green_ms` = `yellow_ms`).
    ``group_ptr`` points from groups to rows. The journal holds from ``begin_ms`` to ``end_ms``.
    """

    group: NDArray[np.int32]
    green_ms: I8
    yellow_ms: I8
    red_ms: I8
    next_ms: I8
    begun: NDArray[np.bool_]
    done: NDArray[np.bool_]
    group_ptr: NDArray[np.int64]
    begin_ms: int
    end_ms: int

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Rows whose cycle was seen from begin to end."""
        return np.asarray(self.begun & self.done)


def read_lamps(journal: JournalReader) -> LampLog:
    """The cycles of every group of a journal.

    Permissive and priority green are one green. Red with amber, and a stop before going on, are
    red; so is a dark or blinking light, of which a controller has no enumeration.

    Raises
    ------
    InputError
        The journal holds no tick, or no signal.
    """
    network = journal.network
    if not journal.ticks_ms or not network.junctions:
        what = "has no signals" if journal.ticks_ms else "holds no tick"
        raise InputError.at(journal.folder, what, "name a run of signals that went on for a while")
    begin_ms, end_ms = journal.ticks_ms[0], journal.ticks_ms[-1]
    time_ms, junction, state = journal.signals()
    order = np.argsort(junction, kind="stable")
    bounds = np.searchsorted(junction[order], np.arange(network.junctions + 1))
    parts = [
        _changes(network, number, begin_ms, time_ms[order[low:high]], state[order[low:high]])
        for number, (low, high) in enumerate(itertools.pairwise(bounds.tolist()))
    ]
    group, since_ms, shown = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return _greens(network.groups, group, since_ms, shown, begin_ms, end_ms)


def _changes(
    network: Network, junction: int, begin_ms: int, time_ms: I8, state: NDArray[np.object_]
) -> tuple[NDArray[np.int32], I8, NDArray[np.uint8]]:
    """(group, since, lamp) of each change at a junction, by group and time.

    What it showed first is taken to have held since the journal's begin; where nothing was told,
    that is red.
    """
    first_head, last_head = network.junction_head_ptr[junction : junction + 2]
    groups, head = np.unique(network.head_group[first_head:last_head], return_index=True)
    if not len(time_ms):
        return groups, np.full(len(groups), begin_ms), np.zeros(len(groups), np.uint8)
    time_ms = np.concatenate([[begin_ms], time_ms[1:]])
    texts, which = np.unique(state.astype(str), return_inverse=True)
    codes = np.array([codes_from_letters(text)[head] for text in texts.tolist()])
    lamps = np.where(is_green(codes), _GREEN, np.where(codes == YELLOW, _YELLOW, _RED))
    shown = lamps.astype(np.uint8)[which].T
    differs = np.ones(shown.shape, dtype=bool)
    differs[:, 1:] = shown[:, 1:] != shown[:, :-1]
    row, column = np.nonzero(differs)
    return groups[row].astype(np.int32), time_ms[column], shown[row, column]


def _greens(
    groups: int,
    group: NDArray[np.int32],
    since_ms: I8,
    shown: NDArray[np.uint8],
    begin_ms: int,
    end_ms: int,
) -> LampLog:
    """Changes of lamps, gathered to greens and what follows them."""
    count = len(group)
    first = np.ones(count, dtype=bool)
    first[1:] = group[1:] != group[:-1]
    start = np.flatnonzero(first | (shown == _GREEN))
    # Behind the last change of each group lies the end of the journal.
    until_ms = np.full(count, end_ms, dtype=np.int64)
    inner = ~np.append(first[1:], True)
    until_ms[inner] = since_ms[1:][inner[:-1]]
    green = shown[start] == _GREEN
    # A row is a green, then a yellow or a red at once, then a red; any of them may be missing.
    stop = np.append(start[1:], count)
    yellow_ms = np.where(green, until_ms[start], since_ms[start])
    second = np.where(green, start + 1, start)
    is_yellow = (second < stop) & (shown[np.minimum(second, count - 1)] == _YELLOW)
    red_ms = np.where(is_yellow, until_ms[np.minimum(second, count - 1)], yellow_ms)
    next_ms = until_ms[stop - 1]
    same = np.append(group[start][1:] == group[start][:-1], False)
    rows = group[start]
    return LampLog(
        rows, since_ms[start], yellow_ms, red_ms, next_ms,
        begun=green & ~first[start], done=same,
        group_ptr=np.searchsorted(rows, np.arange(groups + 1)).astype(np.int64),
        begin_ms=begin_ms, end_ms=end_ms,
    )  # fmt: skip
