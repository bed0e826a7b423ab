"""Estimation floor: `Observation` to `TrafficState`."""
