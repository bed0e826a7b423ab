"""What a signal head shows, as small codes, and their SUMO letters.

Codes are stable: they are stored in journals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RED, YELLOW, PERMISSIVE, PRIORITY, STOP_THEN_GO, OFF_BLINKING, OFF, RED_AMBER = range(8)

#: SUMO's letter for each code, in code order.
LETTERS = "rygGsoOu"
_CODE_OF_BYTE = np.full(256, 255, dtype=np.uint8)
for _code, _letter in enumerate(LETTERS):
    _CODE_OF_BYTE[ord(_letter)] = _code
_CODE_OF_BYTE[ord("R")] = RED
_CODE_OF_BYTE[ord("Y")] = YELLOW
_BYTE_OF_CODE = np.frombuffer(LETTERS.encode(), dtype=np.uint8)


def is_green(code: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether a code lets traffic go without stopping first (priority or permissive)."""
    green: NDArray[np.bool_] = (code == PRIORITY) | (code == PERMISSIVE)
    return green


def codes_from_letters(state: str) -> NDArray[np.uint8]:
    """Codes of a SUMO state string; an unknown letter becomes 255."""
    return _CODE_OF_BYTE[np.frombuffer(state.encode("latin-1", "replace"), dtype=np.uint8)]


def letters_from_codes(codes: NDArray[np.uint8]) -> str:
    """SUMO state string of an array of codes."""
    return _BYTE_OF_CODE[codes].tobytes().decode("ascii")
