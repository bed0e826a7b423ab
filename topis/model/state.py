"""`TrafficState` and `SignalState`: all that a decision may look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F4 = NDArray[np.float32]

#: How far ahead arrivals are forecast (s).
HORIZON_S = 180


def zero_if_unknown(values: F4) -> F4:
    """Values with zero for NaN: what is not known to be there is not counted."""
    return np.where(np.isnan(values), np.float32(0.0), values)


@dataclass(frozen=True)
class TrafficState:
    """Estimates of one tick. Arrays are [lanes] of the network; NaN where unknown.

    ``queue_veh``: vehicles waiting for or slowed by the signal. ``vehicles_veh``: all
    vehicles the sensors attribute to the approach (queue included). ``view_veh``: how
    many would fit in the stretch that is seen. ``gap_s``: time since a vehicle was last
    seen that wants this green (loops), or mean headway in view (cameras). ``flow_vps``:
    arrivals, smoothed over some minutes. ``arrival_vps`` float32[approach lanes,
    `HORIZON_S`]: vehicles expected at the stop line in each of the next seconds, if nothing
    held them up, beyond those that stand, those still to leave an upstream signal not
    counted; ``fed_scale`` by which such count, ``seen_s`` from when on (both [approach
    lanes]). ``flowing``: 1 where those who wait get away at green, towards 0 where something
    blocks them. ``out_vps``: departures, smoothed over about a cycle.
    ``confidence``: 1 seen by a working sensor, 0 assumed.
    """

    time_ms: int
    queue_veh: F4
    vehicles_veh: F4
    view_veh: F4
    gap_s: F4
    flow_vps: F4
    arrival_vps: F4
    fed_scale: F4
    seen_s: F4
    flowing: F4
    out_vps: F4
    confidence: F4


@dataclass(frozen=True)
class StreetState:
    """What is known of the streets at a moment, with how well: for reports, maps and open data.

    [approach lanes]: ``queue_veh`` that stand for the signal, on the lane and behind it;
    ``flow_vps`` over the stop line; ``sat_flow_vps``; ``spillback``: chance that the queue
    reaches the signal before. [links]: ``travel_s`` from end to end. [movements]:
    ``turn_share`` of its link's traffic. Each with a variance (``..._var``), queues, flows and
    travel times with an age: seconds since something was seen of them.
    """

    time_ms: int
    queue_veh: F4
    queue_var: F4
    queue_age_s: F4
    flow_vps: F4
    flow_var: F4
    flow_age_s: F4
    sat_flow_vps: F4
    sat_flow_var: F4
    spillback: F4
    travel_s: F4
    travel_var: F4
    travel_age_s: F4
    turn_share: F4
    turn_share_var: F4


@dataclass(frozen=True)
class SignalState:
    """What the signals do, as the guard knows it. Arrays are [junctions].

    ``stage``: shown now (-1: none of the known stages, e.g. under local control);
    ``coming``: the stage being changed to, -1 if none; ``since_ms``: when ``stage``
    began; ``group_code`` uint8[groups], ``group_since_ms`` int64[groups]: lamp of each
    group and since when it is green, yellow or red.
    """

    stage: NDArray[np.int32]
    coming: NDArray[np.int32]
    since_ms: NDArray[np.int64]
    group_code: NDArray[np.uint8]
    group_since_ms: NDArray[np.int64]
