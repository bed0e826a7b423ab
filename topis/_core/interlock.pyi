import numpy as np
from numpy.typing import NDArray

class Interlock:
    def __init__(
        self,
        *,
        junction_group_ptr: NDArray[np.int32],
        junction_stage_ptr: NDArray[np.int32],
        stage_code_ptr: NDArray[np.int32],
        stage_code: NDArray[np.uint8],
        stage_safe: NDArray[np.uint8],
        stage_min_green_ms: NDArray[np.int32],
        group_min_green_ms: NDArray[np.int32],
        group_yellow_ms: NDArray[np.int32],
        group_max_red_ms: NDArray[np.int32],
        group_serving_stage: NDArray[np.int32],
        conflict_ptr: NDArray[np.int32],
        conflict_idx: NDArray[np.int32],
        conflict_ms: NDArray[np.int32],
        group_code: NDArray[np.uint8],
        group_since_ms: NDArray[np.int64],
        green_end_ms: NDArray[np.int64],
        end_ms: NDArray[np.int64],
        stage: NDArray[np.int32],
        coming: NDArray[np.int32],
        since_ms: NDArray[np.int64],
        start_ms: NDArray[np.int64],
    ) -> None: ...
    def step(self, now_ms: int, request: NDArray[np.int32], refused: NDArray[np.uint8]) -> None: ...
