"""The guard: nothing reaches a signal except through here.

It takes any stream of stage requests whatever and emits lamp states that keep every
conflict, yellow, clearance, minimum green and maximum red of the network. What it does
not do as told it refuses with a reason; the refusal always comes with a safe
continuation (the stage is kept, the change finished, the overdue group served).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis._core.interlock import Interlock
from topis.errors import SafetyError
from topis.model.command import KEEP, LOCAL, Commands, Reason, Refusal
from topis.model.lamp import OFF, OFF_BLINKING, RED, YELLOW, is_green
from topis.model.network import Network
from topis.model.state import SignalState


class Guard:
    """Interlocking of all junctions of a network.

    Parameters
    ----------
    network
        Validated network.
    now_ms
        Time of the first lamp state. What was before is unknown, so every clearance and
        minimum counts from here.
    """

    def __init__(self, network: Network, now_ms: int) -> None:
        self.network = network
        groups, junctions = network.groups, network.junctions
        self._group_code = np.full(groups, RED, dtype=np.uint8)
        self._group_since_ms = np.full(groups, now_ms, dtype=np.int64)
        self._green_end_ms = np.full(groups, now_ms, dtype=np.int64)
        self._stage = np.full(junctions, -1, dtype=np.int32)
        self._coming = np.full(junctions, -1, dtype=np.int32)
        self._since_ms = np.full(junctions, now_ms, dtype=np.int64)
        self._refused = np.zeros(junctions, dtype=np.uint8)
        self._last_refused = np.zeros(junctions, dtype=np.uint8)
        self._last_asked = np.full(junctions, KEEP)
        self._local = np.ones(junctions, dtype=bool)
        self._safe = safe_stages(network)
        self._first_stage = _first_safe_stage(network, self._safe)
        self._interlock = Interlock(
            junction_group_ptr=network.junction_group_ptr,
            junction_stage_ptr=network.junction_stage_ptr,
            stage_code_ptr=network.stage_code_ptr,
            stage_code=network.stage_code,
            stage_safe=self._safe,
            stage_min_green_ms=network.stage_min_green_ms,
            group_min_green_ms=network.group_min_green_ms,
            group_yellow_ms=network.group_yellow_ms,
            group_max_red_ms=network.group_max_red_ms,
            group_serving_stage=serving_stage(network, self._safe),
            conflict_ptr=network.conflict_ptr,
            conflict_idx=network.conflict_idx,
            conflict_ms=network.conflict_intergreen_ms,
            group_code=self._group_code,
            group_since_ms=self._group_since_ms,
            green_end_ms=self._green_end_ms,
            end_ms=np.full(groups, now_ms, dtype=np.int64),
            stage=self._stage,
            coming=self._coming,
            since_ms=self._since_ms,
            start_ms=np.full(junctions, now_ms, dtype=np.int64),
        )

    def step(self, commands: Commands) -> list[Refusal]:
        """Let a tick's commands act as far as is safe; returns what was refused, and why.

        A refusal is told once, not again each tick while it lasts.

        Raises
        ------
        SafetyError
            The commands are not one per junction.
        """
        asked = np.asarray(commands.stage)
        if asked.shape != (self.network.junctions,) or asked.dtype.kind not in "iu":
            raise SafetyError(
                f"{asked.dtype} commands {asked.shape} for {self.network.junctions} junctions; "
                "command every junction once, by the number of a stage"
            )
        # Numbers too large for int32 must stay unknown, not wrap round to a stage.
        request = np.clip(asked, -3, self.network.stages).astype(np.int32)
        # A local program goes on wherever its clock stands, without yellow or clearance: once
        # taken over, a junction stays under control.
        released = (request == LOCAL) & ~self._local
        request[released] = KEEP
        local = request == LOCAL
        self._end_blinking(self._local & ~local, commands.time_ms)
        self._local = local
        self._stage[self._local] = self._coming[self._local] = -1
        number = request - self.network.junction_stage_ptr[:-1]
        unknown = (number < 0) | (number >= np.diff(self.network.junction_stage_ptr))
        unfit = unknown | (self._safe[np.where(unknown, 0, request)] == 0)
        # A junction that shows no known stage is never left so: it goes to its first safe one.
        lost = unfit & ~self._local & (self._stage < 0) & (self._coming < 0)
        wrong = lost & (request != KEEP)
        request[lost] = self._first_stage[lost]
        self._interlock.step(commands.time_ms, request, self._refused)
        self._refused[released & (self._refused == 0)] = Reason.NO_RELEASE
        wrong &= self._refused != Reason.MAX_RED
        self._refused[wrong] = np.where(unknown, Reason.UNKNOWN_STAGE, Reason.CONFLICTING_STAGE)[
            wrong
        ]
        again = (self._refused == self._last_refused) & (asked == self._last_asked)
        fresh = np.flatnonzero((self._refused != 0) & ~again)
        self._last_refused[:] = self._refused
        self._last_asked = asked.copy()
        return [
            Refusal(commands.time_ms, int(j), int(commands.stage[j]), Reason(self._refused[j]))
            for j in fresh
        ]

    def _end_blinking(self, taken: NDArray[np.bool_], now_ms: int) -> None:
        """Groups of junctions just taken over that are off or blinking start with yellow.

        Traffic goes at its own risk while they blink, so they count as green until now.
        """
        network = self.network
        off = (self._group_code == OFF) | (self._group_code == OFF_BLINKING)
        for group in np.flatnonzero(off & taken[network.group_junction]).tolist():
            junction = network.group_junction[group]
            if self._first_stage[junction] < 0:
                continue
            local_number = group - network.junction_group_ptr[junction]
            meant = network.stage_codes(int(self._first_stage[junction]))[local_number]
            if meant in (OFF, OFF_BLINKING):
                continue
            self._green_end_ms[group] = self._group_since_ms[group] = now_ms
            self._group_code[group] = YELLOW if network.group_yellow_ms[group] > 0 else RED

    def observe_local(self, junction: int, group_code: NDArray[np.uint8], now_ms: int) -> None:
        """Take note of the lamps of a junction under local control, as they are shown.

        ``group_code`` uint8[groups of the junction]. Keeps the timers true, so that taking
        over later is safe.
        """
        first, last = self.network.junction_group_ptr[junction : junction + 2]
        old = self._group_code[first:last]
        ended = is_green(old) & ~is_green(group_code)
        changed = (is_green(old) != is_green(group_code)) | (
            (old == YELLOW) != (group_code == YELLOW)
        )
        self._green_end_ms[first:last][ended] = now_ms
        self._group_since_ms[first:last][changed] = now_ms
        old[:] = group_code

    @property
    def local(self) -> NDArray[np.bool_]:
        """Junctions under local control, bool[junctions]."""
        return self._local

    @property
    def group_code(self) -> NDArray[np.uint8]:
        """Lamp each group shows now, uint8[groups]."""
        return self._group_code

    def state(self) -> SignalState:
        """A copy of what the signals do, for decisions and the journal."""
        return SignalState(
            stage=self._stage.copy(),
            coming=self._coming.copy(),
            since_ms=self._since_ms.copy(),
            group_code=self._group_code.copy(),
            group_since_ms=self._group_since_ms.copy(),
        )


def _first_safe_stage(network: Network, safe: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The first stage of each junction that may be shown, -1 where none may, int32[junctions]."""
    first = np.full(network.junctions, -1, dtype=np.int32)
    stages = np.flatnonzero(safe)[::-1].astype(np.int32)
    first[network.stage_junction[stages]] = stages
    return first


def safe_stages(network: Network) -> NDArray[np.uint8]:
    """Stages that show no conflicting groups green together, uint8[stages]."""
    safe = np.ones(network.stages, dtype=np.uint8)
    owner = np.repeat(np.arange(network.groups), np.diff(network.conflict_ptr))
    first_group = network.junction_group_ptr[network.stage_junction]
    for stage in range(network.stages):
        low = int(first_group[stage])
        codes = network.stage_codes(stage)
        pairs = slice(*network.conflict_ptr[[low, low + len(codes)]])
        green = is_green(codes)
        clash = green[owner[pairs] - low] & green[network.conflict_idx[pairs] - low]
        safe[stage] = not clash.any()
    return safe


def serving_stage(network: Network, safe: NDArray[np.uint8]) -> NDArray[np.int32]:
    """A safe stage in which each group is green, priority preferred; -1 where none is."""
    serving = np.full(network.groups, -1, dtype=np.int32)
    best = np.zeros(network.groups, dtype=np.uint8)
    for stage in np.flatnonzero(safe):
        first = int(network.junction_group_ptr[network.stage_junction[stage]])
        codes = network.stage_codes(int(stage))
        better = np.flatnonzero(is_green(codes) & (codes > best[first : first + len(codes)]))
        serving[first + better] = stage
        best[first + better] = codes[better]
    return serving
