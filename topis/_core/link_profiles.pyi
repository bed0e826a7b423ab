import numpy as np
from numpy.typing import NDArray

def stage_bins(
    step_ptr: NDArray[np.int32],
    local_stage: NDArray[np.int32],
    change_s: NDArray[np.float64],
    green_s: NDArray[np.float64],
    held_s: NDArray[np.float64],
    bin_s: float,
    bins: NDArray[np.int32],
    threads: int,
    shown: NDArray[np.int16],
) -> None: ...

class LinkProfiles:
    def __init__(
        self,
        *,
        link_way_ptr: NDArray[np.int32],
        link_down: NDArray[np.int32],
        way_up: NDArray[np.int32],
        way_link: NDArray[np.int32],
        way_late_bins: NDArray[np.float64],
        way_factor: NDArray[np.float32],
        feed_ptr: NDArray[np.int32],
        feed_veh_ptr: NDArray[np.int32],
        feed_veh: NDArray[np.float32],
        conn_ptr: NDArray[np.int32],
        conn_lane: NDArray[np.int32],
        conn_share: NDArray[np.float32],
        class_ptr: NDArray[np.int32],
        class_lane_ptr: NDArray[np.int32],
        class_lane: NDArray[np.int32],
        class_veh_ptr: NDArray[np.int32],
        class_veh: NDArray[np.float32],
        bin_s: float,
        tells_up_to: float,
        fades_over: float,
    ) -> None: ...
    @staticmethod
    def scratch_size(width: int) -> int: ...
    def delays(
        self,
        bins: NDArray[np.int32],
        shown: NDArray[np.int16],
        flow_vps: NDArray[np.float32],
        scratch: NDArray[np.float32],
        threads: int,
        delay: NDArray[np.float32],
        told: NDArray[np.uint8],
    ) -> None: ...
