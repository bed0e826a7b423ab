import numpy as np
from numpy.typing import NDArray

def pass_signal(
    arrive_s: NDArray[np.float64],
    green_from_s: float,
    green_s: float,
    cycle_s: float,
    headway_s: float,
    startup_s: float,
    depart_s: NDArray[np.float64],
) -> None: ...
