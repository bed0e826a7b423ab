import numpy as np
from numpy.typing import NDArray

F4 = NDArray[np.float32]
U1 = NDArray[np.uint8]

class QueueFilter:
    def __init__(
        self,
        *,
        seen_by: U1,
        between_veh: F4,
        view_veh: F4,
        most_veh: F4,
        queue_veh: F4,
        queue_var: F4,
        age_s: F4,
        green_s: F4,
        sat_flow_vps: F4,
        sat_var: F4,
        stood_veh: F4,
        passed_veh: F4,
        passed_s: F4,
        idle_s: F4,
    ) -> None: ...
    def update(
        self,
        green: F4,
        arrive_vps: F4,
        standing_veh: F4,
        left_veh: F4,
        covered_s: F4,
        clear_s: F4,
        flowing: F4,
        dt_s: float,
    ) -> None: ...
    def vote(
        self, lane: NDArray[np.int32], tail_veh: F4, kind: NDArray[np.int8], variance: F4
    ) -> None: ...
