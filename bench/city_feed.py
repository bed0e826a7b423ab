"""A city's traffic for the engine to time: it queues at the lamps it is shown, sensors tell of it.

The streets are the queue model of made-up days and what-if (`topis.run.street_model`), a second at
a time; the lamps are those the engine commands, so the feed answers to it as a street would.
Traffic begins anywhere on the streets, ends on alleys, comes by the hours of a working day, and
turns as the network's shares say.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topis.ingest.network_file import load_network
from topis.ingest.sensor_file import read_sensors
from topis.ingest.synth_traffic import HOURLY, conn_chances
from topis.model.network import Network
from topis.model.observation import SensorTable
from topis.run.street_model import Behaviour, Entries, ModelStreet, StreetModel
from topis.units import BASE_SAT_FLOW_VPS, S_PER_H

#: Slower roads are alleys (m/s).
ALLEY_MPS = 9.0
#: In the busiest hour so many approach lanes are asked for no more than this share of what their
#: greens carry; the streets would fill up behind those that are asked for more.
PEAK_SATURATION, PEAK_QUANTILE = 0.85, 0.99
#: Share of vehicles that report their position each second: all, as 79,400 of Seoul's do.
PROBE_SHARE = 1.0
_ROUNDS = 400


def city_streets(folder: Path) -> tuple[Network, SensorTable]:
    """Network and sensors of a folder of `topis city build`, each vehicle a probe."""
    network = load_network(folder / "city.net.xml.gz").network
    sensors = read_sensors(folder / "sensors.csv", network)
    return network, replace(sensors, probe_share=PROBE_SHARE, probe_period_s=1.0)


def city_street(
    network: Network, sensors: SensorTable, begin_s: int, end_s: int, seed: int
) -> ModelStreet:
    """Source and actuator of a loop over these seconds of a day."""
    street = network.link_speed_mps >= ALLEY_MPS
    # Who has come onto an alley goes no further.
    chance = conn_chances(network) * street[network.lane_link[network.conn_from_lane]]
    begins = np.where(street, network.link_length_m, 0.0).astype(np.float64)
    entries = _entries(network, _peak_vph(network, chance, begins), begin_s, end_s, seed)
    behaviour = Behaviour(np.full(network.lanes, 1.0 / BASE_SAT_FLOW_VPS))
    model = StreetModel(network, chance, entries, behaviour, begin_s, keep_waits=False)
    return ModelStreet(model, sensors, end_s)


def _peak_vph(
    network: Network, chance: NDArray[np.float64], begins: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Vehicles that begin on each link in the busiest hour, in proportion to ``begins``."""
    from_link = network.lane_link[network.conn_from_lane]
    to_link = network.lane_link[network.conn_to_lane]
    flow = begins.copy()
    for _ in range(_ROUNDS):
        flow = begins + np.bincount(to_link, flow[from_link] * chance, minlength=network.links)
    on_lane = np.bincount(network.conn_from_lane, flow[from_link] * chance, minlength=network.lanes)
    lanes = network.approach_lanes
    carried = BASE_SAT_FLOW_VPS * S_PER_H * np.maximum(network.lane_green_share[lanes], 0.02)
    busy = np.quantile(on_lane[lanes] / carried, PEAK_QUANTILE)
    return np.asarray(begins * PEAK_SATURATION / busy)


def _entries(
    network: Network, peak_vph: NDArray[np.float64], begin_s: int, end_s: int, seed: int
) -> Entries:
    rng = np.random.default_rng([seed, 6])
    links, at = [], []
    for hour in range(begin_s // 3600, -(-end_s // 3600)):
        count = rng.poisson(peak_vph * HOURLY[hour % 24] / HOURLY.max())
        links.append(np.repeat(np.arange(network.links), count))
        at.append(3600.0 * (hour + rng.random(len(links[-1]))))
    link, at_s = np.concatenate(links), np.concatenate(at)
    inside = (at_s >= begin_s) & (at_s < end_s)
    link, at_s = link[inside], at_s[inside]
    order = np.lexsort((at_s, link))
    number = np.arange(1, len(order) + 1, dtype=np.int64)
    return Entries(link[order].astype(np.int32), at_s[order], number)
