"""Safety floor: the guard between every command and every lamp. Knows no optimiser."""
