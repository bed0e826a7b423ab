"""The shipped fixed plan ("field plan") of the Gangnam-like grid: offsets and greens."""

from __future__ import annotations

from scenarios._shared.lamps import Programme

CYCLE_S = 145

PLAN: dict[str, Programme] = {}
