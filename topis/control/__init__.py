"""Control floor: `TrafficState` and `SignalState` to `Commands`."""
