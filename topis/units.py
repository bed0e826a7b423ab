"""Unit conversions and the physical constants that several floors share."""

from __future__ import annotations

MS_PER_S = 1000
MS_PER_HOUR = 3_600_000
S_PER_H = 3600.0

#: Road space one standing vehicle takes, front bumper to front bumper (m). SUMO's
#: default passenger car: 5.0 m long plus 2.5 m minimum gap.
JAM_SPACING_M = 7.5

#: A vehicle slower than this stands in a queue: 5 km/h.
STANDING_MPS = 1.39

#: Base saturation flow of one lane (vehicles per second of effective green):
#: 1,900 veh/h, Highway Capacity Manual 6th ed., ch. 19.
BASE_SAT_FLOW_VPS = 1900.0 / S_PER_H

#: Walking speed a pedestrian clearance is designed for (m/s); Korean practice
#: (7 s to start, then 1 m/s).
WALK_SPEED_MPS = 1.0
WALK_ENTRY_S = 7.0


def to_ms(seconds: float) -> int:
    """Seconds to whole milliseconds, rounded to the nearest."""
    return round(seconds * MS_PER_S)
