"""Turns that give way and find no gap: who stands there needs a stage of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.control.streams import Rates, Streams, yielding
from topis.model.network import Network
from topis.model.state import TrafficState, zero_if_unknown

#: A stage serves a stream from this rate on; below it, who waits may not get away.
SERVES = 0.2
#: A lane that does not flow at green is held up: more green of the same kind would not serve it.
FLOWS = 0.3
#: After so long a green with priority (s) a lane has moved, or what holds it up is not the
#: traffic to which it gave way.
PROVEN_S = 6
#: What the green in which it gives way is worth to a lane that is held.
HELD_RATE = 0.05


class HeldTurns:
    """Lanes that stood still in a green in which they give way, while another stage would do.

    ``held`` bool[streams]; ``rates``: what the stages do for each stream as things are. Two
    signals on a short road whose turning traffic holds up the other's straight traffic would
    stand for ever: each sees a lane that has green and does not flow.
    """

    def __init__(self, network: Network, streams: Streams, rates: Rates) -> None:
        self._streams = streams
        self._is_lane = streams.lane >= 0
        self._lane = np.where(self._is_lane, streams.lane, 0)
        self._free = rates
        self.rates = Rates(rates.rate.copy(), rates.rate_of.copy(), rates.pass_share)
        stage, self._turning = yielding(network, streams)
        local = stage - network.junction_stage_ptr[network.stage_junction[stage]]
        owner = network.stage_junction[stage]
        within = self._turning - streams.stream_ptr[owner]
        width = np.diff(streams.stream_ptr)[owner]
        self._cell = streams.rate_ptr[owner] + local * width + within
        self._cell_of = streams.rate_of_ptr[owner] + within * streams.wide[owner] + local
        self._yields = np.zeros(streams.cells, dtype=bool)
        self._yields[self._cell] = True
        self._good = rates.rate * rates.pass_share**2 >= SERVES
        stages = np.diff(network.junction_stage_ptr)
        self._has_own = np.zeros(len(streams), dtype=bool)
        for number in range(int(stages.max(initial=0))):
            at = streams.cell_of(np.minimum(number, stages - 1))
            self._has_own |= (number < stages[streams.junction]) & (self._good & ~self._yields)[at]
        self.held: NDArray[np.bool_] = np.zeros(len(streams), dtype=bool)

    def serves(self) -> NDArray[np.bool_]:
        """Whether a stage serves a stream well enough that nobody waits for ever, bool[cells]."""
        return np.asarray(self.rates.rate * self.rates.pass_share**2 >= SERVES)

    def update(
        self,
        state: TrafficState,
        local: NDArray[np.int32],
        green_s: NDArray[np.int32],
        steady: NDArray[np.bool_],
    ) -> None:
        """One tick; ``local``: local number of the stage each junction shows, for ``green_s``.

        ``steady`` bool[junctions]: it shows that stage, and no change is under way.
        """
        at = self._streams.cell_of(local)
        yields = self._yields[at]
        queued = zero_if_unknown(state.queue_veh)[self._lane] >= 1.0
        stands = self._is_lane & queued & (state.flowing[self._lane] < FLOWS)
        proven = self._good[at] & ~yields & steady[self._streams.junction]
        proven &= green_s[self._streams.junction] >= PROVEN_S
        self.held = (self.held | (stands & self._has_own & yields)) & queued & ~proven
        scale = np.where(self.held[self._turning], HELD_RATE, 1.0).astype(np.float32)
        self.rates.rate[self._cell] = self._free.rate[self._cell] * scale
        self.rates.rate_of[self._cell_of] = self._free.rate_of[self._cell_of] * scale
