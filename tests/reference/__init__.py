"""Slow honest twins of the kernels in `topis._core`, one module per kernel."""
