import numpy as np
from numpy.typing import NDArray

def cycles_and_splits(
    step_ptr: NDArray[np.int32],
    pair_ptr: NDArray[np.int32],
    pair_lane: NDArray[np.int32],
    pair_need_s: NDArray[np.float32],
    flow_vps: NDArray[np.float32],
    least_s: NDArray[np.float64],
    lost_s: NDArray[np.float64],
    start_s: float,
    low_s: NDArray[np.float64],
    high_s: NDArray[np.float64],
    threads: int,
    ratio: NDArray[np.float32],
    cycle_s: NDArray[np.float64],
    green_s: NDArray[np.float64],
    saturation: NDArray[np.float64],
) -> None: ...
def share_out(
    step_ptr: NDArray[np.int32],
    wanted_s: NDArray[np.float64],
    low_s: NDArray[np.float64],
    high_s: NDArray[np.float64],
    total_s: NDArray[np.float64],
    threads: int,
    green_s: NDArray[np.float64],
) -> None: ...
