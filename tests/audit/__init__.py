"""Independent audit of the signals a SUMO run showed; imports nothing of the engine it judges."""

from .switch_states import INFORMATION, Violation, audit, write_recorder

__all__ = ["INFORMATION", "Violation", "audit", "write_recorder"]
