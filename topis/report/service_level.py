"""Capacity, control delay and level of service of a lane group, from its flow and its green.

Highway Capacity Manual, 6th ed. (TRB 2016), ch. 19; the Korean Highway Capacity Manual (KHCM,
Ministry of Land, Infrastructure and Transport 2013), ch. 8, has the same form of delay and other
limits of its levels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.units import BASE_SAT_FLOW_VPS, S_PER_H

F8 = NDArray[np.float64]

#: Upper ends of the levels but the last (s of control delay per vehicle).
HCM_LIMITS = {"A": 10.0, "B": 20.0, "C": 35.0, "D": 55.0, "E": 80.0}
KHCM_LIMITS = {"A": 15.0, "B": 30.0, "C": 50.0, "D": 70.0, "E": 100.0, "F": 220.0, "FF": 340.0}


def capacity_vph(lanes: NDArray[np.floating], green_share: F8) -> F8:
    """Capacity: c = N s g/C (HCM 6th ed., eq. 19-16), with s = 1,900 veh/h a lane, unadjusted.

    ``green_share`` is the displayed green over the time: the start-up loss and the yellow still
    driven through are both about 2 s.
    """
    return np.asarray(lanes * BASE_SAT_FLOW_VPS * S_PER_H * green_share)


def uniform_delay_s(cycle_s: F8, green_share: F8, saturation: F8) -> F8:
    """d1 = 0.5 C (1 - g/C)^2 / (1 - min(1, X) g/C) (HCM 6th ed., eq. 19-20), s per vehicle.

    Without a progression factor: as if vehicles came evenly.
    """
    busy = np.minimum(1.0, saturation) * green_share
    with np.errstate(invalid="ignore", divide="ignore"):
        delay = 0.5 * cycle_s * (1 - green_share) ** 2 / (1 - busy)
    # Green all the time, and saturated: the formula's 0/0 stands for no red to wait for.
    return np.where(green_share >= 1.0, 0.0, delay)


def incremental_delay_s(saturation: F8, capacity: F8, period_h: F8) -> F8:
    """d2 = 900 T [(X - 1) + sqrt((X - 1)^2 + 8 k I X / (c T))] (HCM 6th ed., eq. 19-26), s.

    k = 0.5 (fixed time) and I = 1 (no signal upstream that meters): so also KHCM (2013) eq.
    8-50. T in hours, c in vehicles an hour.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        over = saturation - 1
        root = np.sqrt(over**2 + 4 * saturation / (capacity * period_h))
        return np.asarray(900 * period_h * (over + root))


def level_of_service(delay_s: F8, limits: dict[str, float]) -> NDArray[np.object_]:
    """Letter of a control delay; empty where it is unknown.

    HCM 6th ed., exhibit 19-8 (its level F for v/c above 1 is not applied); KHCM (2013), table
    8-2.
    """
    last = "FFF" if "F" in limits else "F"
    letters = np.array([*limits, last], dtype=object)
    level = np.searchsorted(np.array(list(limits.values())), delay_s, side="left")
    return np.where(np.isnan(delay_s), "", letters[np.minimum(level, len(limits))])
