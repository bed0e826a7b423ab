"""Ground floor: what the engine talks about, and the checks on it."""
