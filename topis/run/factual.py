"""What really happened, as a what-if is told it: readings and lamps, tick by tick.

An archive's slice and the journal of a run tell the same. What a simulator knows of its vehicles
is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from topis.model.lamp import PERMISSIVE, PRIORITY, is_green
from topis.model.network import Network
from topis.model.observation import Observation, SensorTable
from topis.report.journal import JournalReader
from topis.report.journal_ticks import seen_ticks
from topis.run.archive_run import ArchiveRun


class Factual(Protocol):
    """Streets, sensors and what was seen and shown on them.

    ``controller`` that chose the lamps by what it saw, with its ``settings``; None where they came
    by the clock, or nobody knows why.
    """

    network: Network
    sensors: SensorTable
    controller: str | None
    settings: Mapping[str, float]

    def ticks(self) -> Iterator[tuple[Observation, NDArray[np.uint8]]]:
        """Each tick's observation and the lamps, uint8[groups], while it was made; once."""


class ArchiveFactual:
    """An archive's slice; open it a quarter of an hour before the time that is asked about."""

    def __init__(self, run: ArchiveRun) -> None:
        self._run = run
        self.network, self.sensors = run.network, run.sensors
        self.controller: str | None = None
        self.settings: Mapping[str, float] = {}

    def ticks(self) -> Iterator[tuple[Observation, NDArray[np.uint8]]]:
        """See `Factual`."""
        greens = GreensAsStaged(self.network)
        while (observation := self._run.observations.next()) is not None:
            yield observation, greens.of(self._run.signals.at(observation.time_ms))


class GreensAsStaged:
    """Who has to give way at green, which a controller's events do not tell: as the stages have it.

    A junction whose greens are those of one of its stages shows that stage's; at others, groups
    that have priority in no stage give way.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._weak = np.ones(network.groups, dtype=bool)
        self._stages: list[dict[bytes, NDArray[np.uint8]]] = [{} for _ in range(network.junctions)]
        for stage in range(network.stages):
            junction = int(network.stage_junction[stage])
            first = network.junction_group_ptr[junction]
            codes = network.stage_codes(stage)
            self._weak[first : first + len(codes)] &= codes != PRIORITY
            self._stages[junction].setdefault(is_green(codes).tobytes(), codes)
        self._told = np.full(network.groups, 255, dtype=np.uint8)
        self._shown = np.zeros(network.groups, dtype=np.uint8)

    def of(self, code: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Lamps with the greens as the stages have them, uint8[groups]."""
        network = self._network
        for junction in np.unique(network.group_junction[code != self._told]).tolist():
            own = slice(*network.junction_group_ptr[junction : junction + 2])
            green = is_green(code[own])
            staged = self._stages[junction].get(green.tobytes())
            if staged is None:
                staged = np.where(self._weak[own], PERMISSIVE, code[own])
            self._shown[own] = np.where(green, staged, code[own])
        self._told = code.copy()
        return self._shown.copy()


class JournalFactual:
    """The journal of a run: of the simulator, a replay, or the street.

    Raises
    ------
    InputError
        Not a run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = JournalReader(folder)
        self.network, self.sensors = self._journal.network, self._journal.sensors
        manifest = self._journal.manifest
        # A replay's controller was only asked; what was shown is not its doing.
        chose = manifest.get("kind") != "replay" and manifest.get("controller") != "shipped"
        self.controller: str | None = manifest.get("controller") if chose else None
        self.settings: Mapping[str, float] = manifest.get("settings", {}) if chose else {}

    def ticks(self) -> Iterator[tuple[Observation, NDArray[np.uint8]]]:
        """See `Factual`."""
        return seen_ticks(self._journal)
