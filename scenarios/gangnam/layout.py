"""The street plan of the Gangnam-like grid: places, cross-sections, signal stages.

Own geometry.  Only the pattern is Seoul's: superblocks of 500-600 m between wide arterials, a
median bus corridor from north to south, a business street from west to east, signalised
mid-block crossings and side streets in between, and the whole grid turned against north.
"""

from __future__ import annotations

import itertools

from scenarios._shared.lamps import Stage
from scenarios._shared.streets import Link, Place, Road, Streets

KMH = 1.0 / 3.6
ROTATION_DEG = 14.0
"""Turn of the grid, anticlockwise; sides N, E, S, W are meant before the turn."""

# Rows A, B, C run from west to east, A in the north; columns 1, 2, 3 from south to north.
TEHERAN = Road("Teheran-ro (model)", lanes=4, bays=2, speed_mps=50 * KMH)
GANGNAM = Road("Gangnam-daero (model)", lanes=4, bays=1, speed_mps=50 * KMH, bus_lane=True)
NORTH = Road("Bongeun-gil (model)", lanes=3, bays=1, speed_mps=50 * KMH)
SOUTH = Road("Yeoksam-gil (model)", lanes=2, bays=1, speed_mps=40 * KMH, bay_length_m=110.0)
MIDDLE = Road("Nonhyeon-gil (model)", lanes=3, bays=1, speed_mps=50 * KMH)
EAST = Road("Eonju-gil (model)", lanes=3, bays=1, speed_mps=50 * KMH)
SIDE = Road("side street (model)", lanes=2, bays=0, speed_mps=30 * KMH)

PLACES = [
    Place("A1", 0, 1110, signal=True, crossings="NESW"),
    Place("A2", 585, 1120, signal=True, crossings="NESW"),
    Place("A3", 1175, 1135, signal=True, crossings="NESW"),
    Place("B1", 0, 540, signal=True, crossings="NESW"),
    Place("B2", 590, 545, signal=True, crossings="NESW"),
    Place("B3", 1190, 550, signal=True, crossings="NESW"),
    Place("C1", -5, 0, signal=True, crossings="NESW"),
    Place("C2", 580, 5, signal=True, crossings="NESW"),
    Place("C3", 1185, 0, signal=True, crossings="NESW"),
    # Mid-block crossings at a median bus stop and before an office front.
    Place("M1", 0, 810, signal=True, crossings="N"),
    Place("M2", 300, 542, signal=True, crossings="W"),
    # Signalised side streets.
    Place("T1", 900, 547, signal=True, crossings="NW"),
    Place("T2", 1187, 285, signal=True, crossings="WS"),
    # Gateways.
    Place("N1", 0, 1460),
    Place("N2", 582, 1470),
    Place("N3", 1170, 1480),
    Place("S1", -8, -350),
    Place("S2", 578, -340),
    Place("S3", 1185, -350),
    Place("WA", -350, 1105),
    Place("WB", -350, 535),
    Place("WC", -350, 0),
    Place("EA", 1520, 1140),
    Place("EB", 1540, 552),
    Place("EC", 1530, 0),
    Place("D1", 898, 750),
    Place("D2", 990, 288),
]

CORRIDORS = [
    (["WA", "A1", "A2", "A3", "EA"], NORTH),
    (["WB", "B1", "M2", "B2", "T1", "B3", "EB"], TEHERAN),
    (["WC", "C1", "C2", "C3", "EC"], SOUTH),
    (["S1", "C1", "B1", "M1", "A1", "N1"], GANGNAM),
    (["S2", "C2", "B2", "A2", "N2"], MIDDLE),
    (["S3", "C3", "T2", "B3", "A3", "N3"], EAST),
    (["D1", "T1"], SIDE),
    (["D2", "T2"], SIDE),
]

# Stage patterns.  Straight-then-left is the Korean default; the two approaches of a lesser
# street are often given straight and left together, one after the other ("split").  A median
# bus lane rules the split out: the bay lies right of the bus lane and crosses it.
NS_STRAIGHT = Stage("NS straight", "Ns Ss", walk="EW")
NS_LEFT = Stage("NS left", "Nl Sl")
EW_STRAIGHT = Stage("EW straight", "Es Ws", walk="NS")
EW_LEFT = Stage("EW left", "El Wl")
W_ALL = Stage("W straight and left", "Ws Wl", walk="S")
E_ALL = Stage("E straight and left", "Es El", walk="N")
STRAIGHT_THEN_LEFT = (NS_STRAIGHT, NS_LEFT, EW_STRAIGHT, EW_LEFT)
SPLIT_EW = (NS_STRAIGHT, NS_LEFT, W_ALL, E_ALL)

STAGES: dict[str, tuple[Stage, ...]] = {
    "A1": STRAIGHT_THEN_LEFT,
    "A2": STRAIGHT_THEN_LEFT,
    "A3": STRAIGHT_THEN_LEFT,
    "B1": STRAIGHT_THEN_LEFT,
    "B2": STRAIGHT_THEN_LEFT,
    "B3": STRAIGHT_THEN_LEFT,
    "C1": STRAIGHT_THEN_LEFT,
    "C2": SPLIT_EW,
    "C3": SPLIT_EW,
    "M1": (Stage("NS straight", "Ns Ss"), Stage("crossing", "", walk="N")),
    "M2": (Stage("EW straight", "Es Ws"), Stage("crossing", "", walk="W")),
    "T1": (
        Stage("EW straight", "Es Ws", walk="N"),
        Stage("W straight and left", "Ws Wl"),
        Stage("side street", "Nl", walk="W"),
    ),
    "T2": (
        Stage("NS straight", "Ns Ss", walk="W"),
        Stage("S straight and left", "Ss Sl"),
        Stage("side street", "Wl", walk="S"),
    ),
}


def streets() -> Streets:
    """Return the street plan."""
    links = [Link(a, b, road) for path, road in CORRIDORS for a, b in itertools.pairwise(path)]
    return Streets(PLACES, links, ROTATION_DEG)
