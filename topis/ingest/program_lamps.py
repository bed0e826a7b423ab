"""What the shipped programs show, second by second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.model.lamp import is_green
from topis.model.network import Network
from topis.units import MS_PER_S


def green_table(
    network: Network,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]:
    """What each group shows in each second of its active program: (ptr, offset (s), lamp code).

    Greens end as late as the intergreen to what starts next allows, as under the guard.
    """
    ptr, offsets, codes = [0], [], []
    for junction in range(network.junctions):
        low, high = network.junction_group_ptr[junction : junction + 2]
        program = int(network.junction_program[junction])
        cycle_s = max(1, round(float(network.program_cycle_ms[program]) / MS_PER_S))
        table = _junction_cycle(network, junction, program, cycle_s)
        codes.append(table.ravel())
        ptr += [ptr[-1] + cycle_s * (k + 1) for k in range(high - low)]
        offset_s = round(float(network.program_offset_ms[program]) / MS_PER_S)
        offsets += [offset_s] * (high - low)
    return (
        np.array(ptr, np.int32),
        np.array(offsets, np.int32),
        np.concatenate([np.zeros(0, np.uint8), *codes]),
    )


def _junction_cycle(
    network: Network, junction: int, program: int, cycle_s: int
) -> NDArray[np.uint8]:
    """Lamp codes uint8[groups, seconds]: red, or green as the stage has it."""
    low, high = network.junction_group_ptr[junction : junction + 2]
    steps = slice(*network.program_stage_ptr[program : program + 2])
    stages = network.program_stage[steps].tolist()
    start_s = np.rint(network.program_start_ms[steps] / MS_PER_S).astype(np.int64)
    table = np.zeros((high - low, cycle_s), dtype=np.uint8)
    for k, stage in enumerate(stages):
        code = network.stage_codes(stage)
        following = network.stage_codes(stages[(k + 1) % len(stages)])
        length_s = int((start_s[(k + 1) % len(stages)] - start_s[k]) % cycle_s) or cycle_s
        starts = is_green(following) & ~is_green(code)
        for g in np.flatnonzero(is_green(code)).tolist():
            green_s = length_s
            if not is_green(following)[g]:
                green_s -= _intergreen_s(network, low + g, low + np.flatnonzero(starts))
            table[g, (start_s[k] + np.arange(max(green_s, 0))) % cycle_s] = code[g]
    return table


def _intergreen_s(network: Network, group: int, starting: NDArray[np.intp]) -> int:
    pairs = slice(*network.conflict_ptr[group : group + 2])
    against = np.isin(network.conflict_idx[pairs], starting)
    clear_ms = network.conflict_intergreen_ms[pairs][against].max(
        initial=int(network.group_yellow_ms[group])
    )
    return int(np.ceil(clear_ms / MS_PER_S))
