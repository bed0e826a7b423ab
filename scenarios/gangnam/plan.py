"""The shipped fixed plan ("field plan") of the Gangnam-like grid: offsets and greens.

``tune.py`` tells how it came about; ``layout.STAGES`` names the stages the greens belong to.
"""

from __future__ import annotations

from scenarios._shared.lamps import Programme

CYCLE_S = 145

PLAN: dict[str, Programme] = {
    "A1": Programme(offset_s=94, greens_s=(44, 22, 46, 13)),
    "A2": Programme(offset_s=137, greens_s=(42, 19, 46, 18)),
    "A3": Programme(offset_s=38, greens_s=(43, 21, 40, 21)),
    "B1": Programme(offset_s=49, greens_s=(46, 20, 46, 13)),
    "B2": Programme(offset_s=94, greens_s=(46, 17, 52, 10)),
    "B3": Programme(offset_s=143, greens_s=(46, 19, 49, 11)),
    "C1": Programme(offset_s=94, greens_s=(50, 13, 46, 16)),
    "C2": Programme(offset_s=0, greens_s=(38, 14, 40, 33)),
    "C3": Programme(offset_s=53, greens_s=(36, 19, 37, 33)),
    "M1": Programme(offset_s=37, greens_s=(81, 46)),
    "M2": Programme(offset_s=111, greens_s=(81, 46)),
    "T1": Programme(offset_s=15, greens_s=(62, 16, 52)),
    "T2": Programme(offset_s=10, greens_s=(73, 18, 39)),
}
