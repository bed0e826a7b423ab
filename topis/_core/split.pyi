import numpy as np
from numpy.typing import NDArray

def split_greens(
    junction_stage_ptr: NDArray[np.int32],
    cycle_s: NDArray[np.float64],
    lost_s: NDArray[np.float64],
    min_green_s: NDArray[np.float64],
    pair_ptr: NDArray[np.int32],
    pair_lane: NDArray[np.int32],
    pair_rate: NDArray[np.float32],
    flow_vps: NDArray[np.float32],
    sat_vps: NDArray[np.float32],
    step_s: float,
    lane_green_s: NDArray[np.float64],
    green_s: NDArray[np.float64],
    delay: NDArray[np.float64],
    threads: int = 1,
) -> None: ...
