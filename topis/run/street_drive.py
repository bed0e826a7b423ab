"""The model driven through a slice: under the lamps that were shown, or under a controller.

Both end in the same sums, and in what the engine's estimator makes of the model's sensors, so that
model and street can be compared like with like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.control.protocol import Controller
from topis.estimation.demand import Demand
from topis.estimation.estimator import Estimator
from topis.model.command import Commands, Refusal
from topis.model.lamp import is_green
from topis.model.network import Network
from topis.model.observation import Observation, SensorTable
from topis.model.state import SignalState
from topis.run.evidence import Evidence, QueueWatch
from topis.run.loop import run_loop
from topis.run.model_sensors import ModelSensors
from topis.run.ports import LocalLamps, NoClock
from topis.run.street_model import Behaviour, Entries, ModelStreet, StreetModel, Waits


@dataclass(frozen=True)
class Driven:
    """Everyone's waits, and queues as the estimator has them.

    ``queue_veh`` float32[seconds, approach lanes], 0 where nobody sees.
    """

    waits: Waits
    queue_veh: NDArray[np.float32]


def draw_entries(
    network: Network, demand: Demand, begin_s: int, rng: np.random.Generator
) -> Entries:
    """Vehicles as the demand asks for: its number in each bin, at any time of it (Poisson)."""
    links = demand.entry_veh.shape[1]
    # Whole vehicles: what is left of one bin goes to the next.
    summed = np.cumsum(demand.entry_veh, axis=0) + rng.random(links)
    count = np.diff(np.floor(summed), axis=0, prepend=0.0).astype(np.int64)
    bin_of, link = np.nonzero(count)
    times = count[bin_of, link]
    bin_of, link = np.repeat(bin_of, times), np.repeat(link, times)
    free_s = network.link_length_m / np.maximum(network.link_speed_mps, 1.0)
    into_s = demand.bin_s * (bin_of + rng.random(len(bin_of))) - free_s[link]
    order = np.lexsort((into_s, link))
    return Entries(
        link[order].astype(np.int32),
        begin_s + np.maximum(into_s[order], 0.0),
        np.arange(1, len(order) + 1, dtype=np.int64),
    )


class _Queues:
    """Recorder that keeps queues only."""

    def __init__(self, watch: QueueWatch) -> None:
        self._watch = watch
        self._rows: list[NDArray[np.float32]] = []

    def record(
        self,
        observation: Observation,
        local_lamps: LocalLamps,
        commands: Commands,
        refusals: list[Refusal],
        signals: SignalState,
    ) -> None:
        """See `topis.run.ports.Recorder`."""
        self.add()

    def add(self) -> None:
        """As they are now."""
        self._rows.append(self._watch.lanes().astype(np.float32))

    def rows(self) -> NDArray[np.float32]:
        """All of them."""
        return np.array(self._rows)


def drive_factual(
    network: Network,
    sensors: SensorTable,
    evidence: Evidence,
    demand: Demand,
    entries: Entries,
    behaviour: Behaviour,
) -> Driven:
    """Under the lamps that were shown."""
    model = StreetModel(network, demand.chance, entries, behaviour, evidence.begin_s)
    eyes = ModelSensors(network, sensors)
    estimator = Estimator(network, sensors)
    queues = _Queues(QueueWatch(network, estimator))
    estimator.update(eyes.read(model), is_green(evidence.lamps[0]))
    for lamps in evidence.lamps:
        model.step(lamps)
        estimator.update(eyes.read(model), is_green(lamps))
        queues.add()
    return Driven(model.waits(), queues.rows())


def drive_plan(
    network: Network,
    sensors: SensorTable,
    evidence: Evidence,
    demand: Demand,
    entries: Entries,
    behaviour: Behaviour,
    controller: Controller,
) -> Driven:
    """Under a controller and the guard, through the loop of every run."""
    model = StreetModel(network, demand.chance, entries, behaviour, evidence.begin_s)
    street = ModelStreet(model, sensors, evidence.begin_s + evidence.seconds)
    estimator = Estimator(network, sensors)
    queues = _Queues(QueueWatch(network, estimator))
    run_loop(network, street, estimator, controller, street, queues, NoClock())
    # The first tick is looked at before any time passes.
    return Driven(model.waits(), queues.rows()[1:])
