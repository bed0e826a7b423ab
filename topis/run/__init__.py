"""Run floor: the loop and what drives it (SUMO today; replay and live later)."""
