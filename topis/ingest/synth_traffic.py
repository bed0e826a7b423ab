"""Made-up traffic for `topis synth`: arterials of signals, and when every vehicle passed each.

A city is as many arterials as its scale asks for, each a row of signals in one direction. Flows
follow the hours of a working day. Vehicles pass each stop line first in, first out, at green, a
saturation headway apart; most go on to the next signal, others turn off, and side streets send in
as many as the flow there asks for. What sensors of all feeds tell is read off the same passages, so
they agree with one another and with the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.fifo_signal import pass_signal

#: Signalised intersections of Seoul.
SIGNALS = 12_800
DISTRICTS = 25
SIGNALS_PER_ARTERIAL, LANES = 10, 2
#: Share of a working day's traffic in each hour: two peaks, a long afternoon, a quiet night.
HOURLY = np.array(
    [1.6, 1.0, 0.7, 0.6, 0.9, 1.8, 3.8, 5.6, 6.2, 5.4, 4.9, 4.8,
     4.8, 4.9, 5.1, 5.4, 5.8, 6.3, 6.6, 5.8, 5.0, 4.5, 3.9, 2.8]
)  # fmt: skip
LANE_DAILY_VEH = 7_000
FREE_MPS, QUEUE_MPS, JAM_M = 13.9, 8.0, 7.5
HEADWAY_S, STARTUP_S = 1.9, 2.0
THROUGH_SHARE = 0.8
DAY_S = 86_400.0


@dataclass(frozen=True)
class Lane:
    """One lane up to one signal, and every vehicle that passed it, in order.

    ``arrive_s``: when it would have passed the stop line unhindered, ``depart_s`` when it did
    (seconds of the day), ``vehicle`` numbers, ``queue_m``: how far before the line it stood
    (0: it did not stand).
    """

    arterial: int
    signal: int
    lane: int
    length_m: float
    arrive_s: NDArray[np.float64]
    depart_s: NDArray[np.float64]
    vehicle: NDArray[np.int64]
    queue_m: NDArray[np.float64]

    def passing_s(self, before_m: float) -> NDArray[np.float64]:
        """When each vehicle passed a point that far before the stop line."""
        freely = self.arrive_s - before_m / FREE_MPS
        from_queue = self.depart_s - before_m / QUEUE_MPS
        return np.asarray(np.where(self.queue_m > before_m, from_queue, freely))


@dataclass(frozen=True)
class Signal:
    """Fixed time: green begins at ``green_from_s`` and every ``cycle_s`` after."""

    cycle_s: float
    green_s: float
    green_from_s: float
    length_m: float


def arterials(scale: float) -> int:
    """How many a city of that scale has, at least two."""
    return max(2, round(SIGNALS * scale / SIGNALS_PER_ARTERIAL))


def signals_of(seed: int, arterial: int) -> list[Signal]:
    """The signals of an arterial: one cycle, a green wave at 45 km/h that is not perfect."""
    rng = np.random.default_rng([seed, arterial, 1])
    cycle_s = float(rng.choice([120, 130, 140, 150, 160]))
    found, at_s = [], float(rng.uniform(0, cycle_s))
    for _ in range(SIGNALS_PER_ARTERIAL):
        length_m = float(rng.uniform(180, 450))
        at_s += length_m / 12.5 + float(rng.normal(0, 8))
        found.append(Signal(cycle_s, cycle_s * float(rng.uniform(0.42, 0.6)), at_s, length_m))
    return found


def drive(seed: int, arterial: int) -> Iterator[Lane]:
    """A day on one arterial, lane by lane downstream; the same for the same seed."""
    rng = np.random.default_rng([seed, arterial, 2])
    share = HOURLY / HOURLY.sum()
    load = float(rng.uniform(0.6, 1.15))
    come: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = [
        (np.zeros(0), np.zeros(0, dtype=np.int64)) for _ in range(LANES)
    ]
    born = 0
    signals = signals_of(seed, arterial)
    for number, signal in enumerate(signals):
        # It is the next link that is driven after this stop line.
        next_m = signals[min(number + 1, len(signals) - 1)].length_m
        on: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
        for lane in range(LANES):
            through_s, through = come[lane]
            # Side streets make up for those who turned off.
            wanted = LANE_DAILY_VEH * load * (1.0 if number == 0 else 1.0 - THROUGH_SHARE)
            counts = rng.poisson(wanted * share)
            hours = np.repeat(np.arange(24), counts)
            fresh_s = (hours + rng.random(len(hours))) * 3600.0
            fresh = born + np.arange(len(fresh_s), dtype=np.int64)
            born += len(fresh_s)
            arrive_s = np.concatenate([through_s, fresh_s])
            order = np.argsort(arrive_s, kind="stable")
            arrive_s = arrive_s[order]
            vehicle = np.concatenate([through, fresh])[order]
            depart_s = np.empty_like(arrive_s)
            pass_signal(
                arrive_s, signal.green_from_s, signal.green_s, signal.cycle_s,
                HEADWAY_S, STARTUP_S, depart_s,
            )  # fmt: skip
            ahead = np.arange(len(arrive_s)) - np.searchsorted(depart_s, arrive_s, side="right")
            stood = depart_s > arrive_s + 0.5
            queue_m = np.where(stood, JAM_M * np.maximum(ahead, 0) + 1.0, 0.0)
            yield Lane(
                arterial, number, lane, signal.length_m, arrive_s, depart_s, vehicle, queue_m
            )
            goes_on = rng.random(len(vehicle)) < THROUGH_SHARE
            slower = 1.0 + rng.gamma(2.0, 0.03, int(goes_on.sum()))
            travel_s = next_m / FREE_MPS * slower
            on.append((depart_s[goes_on] + travel_s, vehicle[goes_on]))
        come = on
