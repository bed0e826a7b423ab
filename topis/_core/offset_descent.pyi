import numpy as np
from numpy.typing import NDArray

def descend(
    turn_ptr: NDArray[np.int32],
    turn_junction: NDArray[np.int32],
    around_ptr: NDArray[np.int32],
    around_link: NDArray[np.int32],
    around_other: NDArray[np.int32],
    around_in: NDArray[np.uint8],
    bins: NDArray[np.int32],
    delay: NDArray[np.float32],
    most_sweeps: int,
    equal_share: float,
    scratch: NDArray[np.float32],
    threads: int,
    look: NDArray[np.uint8],
    offset: NDArray[np.int32],
) -> int: ...
def step_all(
    turn_ptr: NDArray[np.int32],
    turn_junction: NDArray[np.int32],
    around_ptr: NDArray[np.int32],
    around_link: NDArray[np.int32],
    around_other: NDArray[np.int32],
    around_in: NDArray[np.uint8],
    bins: NDArray[np.int32],
    delay: NDArray[np.float32],
    reach: NDArray[np.int32],
    step_worth: float,
    threads: int,
    look: NDArray[np.uint8],
    offset: NDArray[np.int32],
    way: NDArray[np.int32],
) -> int: ...
def along_tree(
    link_up: NDArray[np.int32],
    link_down: NDArray[np.int32],
    order: NDArray[np.int32],
    best: NDArray[np.int32],
    bins: NDArray[np.int32],
    parent: NDArray[np.int32],
    offset: NDArray[np.int32],
) -> None: ...
