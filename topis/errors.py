"""Every error TOPIS raises on purpose, and the exit code a command ends with.

::

    TopisError                exit 1   something went wrong
    ├── InputError            exit 3   a file, a name or a value handed to TOPIS is bad
    │   └── NetworkError      exit 3   a network contradicts itself
    ├── SumoError             exit 4   SUMO is missing, refused to start or stopped early
    ├── SafetyError           exit 5   the guard met a state it must never meet
    ├── OutputError           exit 6   results cannot be written
    └── ReplayMismatchError        exit 7   a journal, replayed, gave another decision

Exit 2 is a mistyped command line (click's own), 130 an interrupted run.
A message says what is wrong, where, and the cure, in one line.
"""

from __future__ import annotations

EXIT_INTERRUPTED = 130


class TopisError(Exception):
    """Base of all errors that are shown to people without a traceback."""

    exit_code = 1


class InputError(TopisError):
    """A file, a name or a value handed to TOPIS is bad."""

    exit_code = 3

    @classmethod
    def at(cls, where: object, what: str, cure: str = "") -> InputError:
        """Message in the house form: ``where: what; cure``."""
        return cls(f"{where}: {what}" + (f"; {cure}" if cure else ""))


class NetworkError(InputError):
    """A network contradicts itself (duplicate ids, wrong state length, ...)."""


class SumoError(TopisError):
    """SUMO is missing, refused to start, or stopped before the run was over."""

    exit_code = 4


class SafetyError(TopisError):
    """The guard met a state it must never meet; the run stops at once."""

    exit_code = 5


class OutputError(TopisError):
    """Results cannot be written where they were asked for."""

    exit_code = 6


class ReplayMismatchError(TopisError):
    """A journal, replayed through the loop, gave another decision."""

    exit_code = 7
