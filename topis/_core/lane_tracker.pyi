import numpy as np
from numpy.typing import NDArray

class LaneTracker:
    def __init__(
        self,
        *,
        seen_by: NDArray[np.uint8],
        camera_ptr: NDArray[np.int32],
        camera_sensor: NDArray[np.int32],
        camera_weight: NDArray[np.float32],
        camera_near_s: NDArray[np.float32],
        camera_far_s: NDArray[np.float32],
        view_veh: NDArray[np.float32],
        departed_veh: NDArray[np.float32],
        coming_vps: NDArray[np.float32],
        green_s: NDArray[np.float32],
        idle_s: NDArray[np.float32],
        flowing: NDArray[np.float32],
        out_vps: NDArray[np.float32],
        most_beyond_veh: NDArray[np.float32],
        stop_sensor: NDArray[np.int32],
        advance_sensor: NDArray[np.int32],
        between_veh: NDArray[np.float32],
        transit_s: NDArray[np.float32],
        view_s: NDArray[np.float32],
        free_pass_s: NDArray[np.float32],
        sat_flow_vps: NDArray[np.float32],
        assumed_vps: NDArray[np.float32],
        queue_veh: NDArray[np.float32],
        vehicles_veh: NDArray[np.float32],
        gap_s: NDArray[np.float32],
        flow_vps: NDArray[np.float32],
        between: NDArray[np.float32],
        beyond: NDArray[np.float32],
        transit: NDArray[np.float32],
        covered_s: NDArray[np.float32],
        clear_s: NDArray[np.float32],
    ) -> None: ...
    def update(
        self, reading: NDArray[np.float32], green: NDArray[np.uint8], dt_s: float
    ) -> None: ...
    def bound(
        self,
        lane: NDArray[np.int32],
        distance_m: NDArray[np.float32],
        speed_mps: NDArray[np.float32],
        spacing_m: float,
    ) -> None: ...
