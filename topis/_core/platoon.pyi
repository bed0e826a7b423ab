import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]

def queue_by_offset(arrivals: F8, capacity: F8, queue: F8, delay: F8) -> None: ...
def queue_rows(
    arrivals: F8, capacity: F8, way: NDArray[np.int64], queue: F8, delay: F8
) -> None: ...
