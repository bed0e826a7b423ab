import numpy as np
from numpy.typing import NDArray

class RunSums:
    outside: int
    def __init__(
        self, *, sums: NDArray[np.int64], begin_ms: int, period_ms: int, standing_below: int
    ) -> None: ...
    def add(
        self,
        place: NDArray[np.uint32],
        thing: NDArray[np.uint32] | NDArray[np.uint64],
        time_ms: NDArray[np.int64],
        speed: NDArray[np.uint16],
    ) -> None: ...
