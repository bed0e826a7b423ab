import numpy as np
from numpy.typing import NDArray

class ArrivalForecast:
    def __init__(
        self,
        *,
        feed_ptr: NDArray[np.int32],
        feed_to: NDArray[np.int32],
        feed_share: NDArray[np.float32],
        feed_s: NDArray[np.int32],
        seen_s: NDArray[np.float32],
        internal: NDArray[np.uint8],
        fed: NDArray[np.uint8],
        ring: NDArray[np.float32],
        fed_vps: NDArray[np.float32],
    ) -> None: ...
    def update(
        self,
        now_s: int,
        departed_veh: NDArray[np.float32],
        flow_vps: NDArray[np.float32],
        coming_vps: NDArray[np.float32],
        arrival_vps: NDArray[np.float32],
        fed_scale: NDArray[np.float32],
    ) -> None: ...

def add_planned(
    feed_ptr: NDArray[np.int32],
    feed_to: NDArray[np.int32],
    feed_share: NDArray[np.float32],
    feed_s: NDArray[np.int32],
    fed_scale: NDArray[np.float32],
    seen_s: NDArray[np.float32],
    flow_vps: NDArray[np.float32],
    now_s: int,
    told_s: NDArray[np.int64],
    horizon_s: NDArray[np.int32],
    planned_vps: NDArray[np.float32],
    planned_of: NDArray[np.int32],
    asked_s: NDArray[np.int32],
    forecast_vps: NDArray[np.float32],
    arrival_vps: NDArray[np.float32],
) -> None: ...
def waits_ahead(
    feed_ptr: NDArray[np.int32],
    feed_to: NDArray[np.int32],
    feed_share: NDArray[np.float32],
    feed_s: NDArray[np.int32],
    now_s: int,
    told_s: NDArray[np.int64],
    horizon_s: NDArray[np.int32],
    wait_s: NDArray[np.float32],
    row_of: NDArray[np.int32],
    crowded: NDArray[np.float32],
    asked_s: NDArray[np.int32],
    ahead_s: NDArray[np.float32],
) -> None: ...
