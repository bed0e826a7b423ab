import numpy as np
from numpy.typing import NDArray

def link_ways(
    first: int,
    next_ptr: NDArray[np.int32],
    next_link: NDArray[np.int32],
    next_m: NDArray[np.float32],
    length_m: NDArray[np.float32],
    most_m: float,
    way_m: NDArray[np.float32],
    waits: NDArray[np.uint8],
    queue: NDArray[np.int32],
    touched: NDArray[np.int32],
    found_from: NDArray[np.int32],
    found_link: NDArray[np.int32],
    found_m: NDArray[np.float32],
) -> tuple[int, int]: ...
