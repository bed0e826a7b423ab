import numpy as np
from numpy.typing import NDArray

I4 = NDArray[np.int32]
F4 = NDArray[np.float32]

class ViewCounts:
    unknown: int
    def __init__(
        self,
        *,
        lane_of_key: I4,
        along_x: F4,
        along_y: F4,
        along_m: F4,
        stretch_ptr: I4,
        stretch_sensor: I4,
        near_m: F4,
        far_m: F4,
        line_sensor: I4,
        line_m: F4,
        standing_below: int,
        vehicle_m: float,
        tick_ms: int,
        frame_ms: int,
    ) -> None: ...
    def add(
        self,
        camera: NDArray[np.uint16],
        track: NDArray[np.uint32],
        time_ms: NDArray[np.int64],
        x_cm: I4,
        y_cm: I4,
        speed_cmps: NDArray[np.uint16],
        lane_key: NDArray[np.uint32],
        begin_ms: int,
        reading: F4,
    ) -> None: ...
    def finish(self, begin_ms: int, reading: F4) -> None: ...
