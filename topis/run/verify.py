"""A journal, replayed through the loop, must give every decision again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topis.control.protocol import Controller
from topis.control.registry import make_controller
from topis.errors import ReplayMismatchError
from topis.estimation.estimator import Estimator
from topis.model.command import Commands, Refusal
from topis.model.observation import Observation
from topis.model.state import SignalState
from topis.report.journal import JournalReader
from topis.run.loop import LoopTimes, run_loop
from topis.run.ports import Clock, LocalLamps, NoClock


@dataclass(frozen=True)
class Verified:
    """How much was replayed and found the same."""

    ticks: int
    commands: int
    refusals: int


class _JournalSource:
    def __init__(self, journal: JournalReader) -> None:
        self._observations = journal.observations()

    def next(self) -> Observation | None:
        return next(self._observations, None)


class _JournalActuator:
    """Shows nothing; tells what was seen of junctions under local control."""

    def __init__(self, journal: JournalReader) -> None:
        self._lamps = journal.local_lamps()

    def changed_lamps(self, local: NDArray[np.bool_]) -> LocalLamps:
        return next(self._lamps, [])

    def show(self, junction: int, group_code: NDArray[np.uint8]) -> None:
        return


class Comparer:
    """Recorder that compares instead of keeping.

    Raises `ReplayMismatchError` at the first command or refusal that differs.
    """

    def __init__(self, journal: JournalReader) -> None:
        self._journal = journal
        self._commands = journal.commands()
        self._refusals = journal.refusals()
        self.commands = 0
        self.refusals = 0

    def record(
        self,
        observation: Observation,
        local_lamps: LocalLamps,
        commands: Commands,
        refusals: list[Refusal],
        signals: SignalState,
    ) -> None:
        """See `topis.run.ports.Recorder`."""
        then = next(self._commands)
        differs = np.flatnonzero(then != commands.stage)
        if len(differs):
            junction = int(differs[0])
            raise ReplayMismatchError(
                f"{self._journal.folder.name} at {observation.time_ms / 1000:g} s: junction "
                f"{self._journal.network.junction_ids[junction]!r} was told stage "
                f"{then[junction]}, now {commands.stage[junction]}; was it made by another version?"
            )
        for refusal in refusals:
            now = (refusal.time_ms, refusal.junction, refusal.wanted, int(refusal.reason))
            if self.refusals >= len(self._refusals) or self._refusals[self.refusals] != now:
                raise ReplayMismatchError(
                    f"{self._journal.folder.name} at {observation.time_ms / 1000:g} s: another "
                    "refusal than in the journal; was it made by another version?"
                )
            self.refusals += 1
        self.commands += len(commands.stage)


def repeat_run(
    journal: JournalReader, controller: Controller, comparer: Comparer, clock: Clock
) -> LoopTimes:
    """The loop of a journal's run once more, on what was seen then, till ``clock`` says stop.

    Raises
    ------
    ReplayMismatchError
        A decision differs, or the network is not that of the run.
    """
    network = journal.network
    if journal.manifest.get("network_hash") != network.hash:
        raise ReplayMismatchError(
            f"{journal.folder}: network.npz is not the network of the manifest"
        )
    return run_loop(
        network,
        _JournalSource(journal),
        Estimator(network, journal.sensors),
        controller,
        _JournalActuator(journal),
        comparer,
        clock,
    )


def verify_run(folder: Path) -> Verified:
    """Replay a run folder's observations and compare every command and refusal.

    Raises
    ------
    InputError
        Not a run folder.
    ReplayMismatchError
        A decision differs.
    """
    journal = JournalReader(folder)
    manifest = journal.manifest
    controller = make_controller(manifest["controller"], journal.network, manifest["settings"])
    comparer = Comparer(journal)
    times = repeat_run(journal, controller, comparer, NoClock())
    if comparer.refusals < len(journal.refusals()):
        raise ReplayMismatchError(f"{folder}: the journal holds refusals the replay did not give")
    return Verified(times.ticks, comparer.commands, comparer.refusals)
