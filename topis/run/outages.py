"""Sensors that fall silent for a while: a layer between a source and the estimator.

What is lost reads NaN, as a dead sensor does, and the reports of probes do not arrive. The journal
is written behind this layer: it holds what the controller saw, so that a run with outages verifies
like any other. The lamps are told of all the same: they come from the signals, not from sensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.config import list_from_toml, setting
from topis.errors import InputError
from topis.ingest.places import MOST_DISTRICT, read_places
from topis.ingest.synth_city import link_districts
from topis.model.network import Network
from topis.model.observation import Observation, ProbeReports, SensorTable
from topis.run.ports import Source
from topis.units import MS_PER_S

#: Table of the file.
TABLE = "outage"
#: No simulation runs longer than a year.
_LATEST_S = 366 * 86400
#: Keeps the draw of lost sensors apart from others of the same seed.
_DRAW = 0x007A6E
#: So many names are told in an error.
_NAMED = 3

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class OutageSettings:
    """One ``[[outage]]``: when, and exactly one of ``district``, ``share`` and ``junctions``."""

    from_s: float = setting(0.0, 0, _LATEST_S, "second of the simulation in which it begins")
    until_s: float = setting(math.inf, 0, _LATEST_S, "second in which all are back")
    district: int | None = setting(None, 1, MOST_DISTRICT, "all sensors of that district")
    places: str = ""
    share: float | None = setting(None, 0, 1, "share of all sensors, drawn by the seed")
    junctions: tuple[str, ...] = ()
    probes: bool | None = None


@dataclass(frozen=True)
class Outage:
    """What is lost from ``from_ms`` until before ``until_ms``.

    ``sensors`` bool[sensors]; ``lanes`` bool[lanes]: where probes report in vain.
    """

    from_ms: float
    until_ms: float
    sensors: Bools
    lanes: Bools
    text: str

    def facts(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "from_s": self.from_ms / MS_PER_S,
            "until_s": None if math.isinf(self.until_ms) else self.until_ms / MS_PER_S,
            "what": self.text,
            "sensors": int(self.sensors.sum()),
            "probe_lanes": int(self.lanes.sum()),
        }


def read_outages(
    path: Path, network: Network, sensors: SensorTable, seed: int
) -> tuple[Outage, ...]:
    """The outages of a TOML file, for this network and these sensors.

    Raises
    ------
    InputError
        Unknown keys, impossible values, or districts and junctions that are not there.
    """
    return tuple(
        _outage(path, number, settings, network, sensors, seed)
        for number, settings in enumerate(list_from_toml(OutageSettings, path, TABLE), 1)
    )


def _outage(
    path: Path,
    number: int,
    settings: OutageSettings,
    network: Network,
    sensors: SensorTable,
    seed: int,
) -> Outage:
    where = f"{path}, {TABLE} {number}"
    given = [
        name
        for name, there in (
            ("district", settings.district is not None),
            ("share", settings.share is not None),
            ("junctions", bool(settings.junctions)),
        )
        if there
    ]
    if len(given) != 1:
        what = f"names {' and '.join(given)}" if given else "names no sensors"
        raise InputError.at(where, what, "give one of district, share and junctions")
    if settings.until_s <= settings.from_s:
        raise InputError.at(
            where,
            f"ends at {settings.until_s:g} s and begins at {settings.from_s:g} s",
            "give an until_s after from_s",
        )
    if settings.places and settings.district is None:
        raise InputError.at(where, "places without a district", "give district, or leave it out")
    if settings.share is not None:
        if settings.probes:
            raise InputError.at(
                where, "probes with a share", "a share is of sensors; name junctions or a district"
            )
        lost = _drawn(len(sensors), settings.share, seed, number)
        lanes = np.zeros(network.lanes, dtype=bool)
        text = f"{100 * settings.share:g} % of all sensors"
    else:
        inside, text = _junctions(where, path, settings, network)
        lost = inside[sensors.junction]
        probes = settings.district is not None if settings.probes is None else settings.probes
        lanes = (link_districts(network, inside.astype(np.int64)) > 0)[network.lane_link] & probes
        text += " with its probes" if probes else ""
    return Outage(settings.from_s * MS_PER_S, settings.until_s * MS_PER_S, lost, lanes, text)


def _drawn(count: int, share: float, seed: int, number: int) -> Bools:
    lost = np.zeros(count, dtype=bool)
    rng = np.random.default_rng([seed, _DRAW, number])
    lost[rng.permutation(count)[: round(share * count)]] = True
    return lost


def _junctions(
    where: str, path: Path, settings: OutageSettings, network: Network
) -> tuple[Bools, str]:
    """Which junctions are meant, bool[junctions], and in words."""
    if settings.district is None:
        known = set(network.junction_ids)
        strange = [name for name in settings.junctions if name not in known]
        if strange:
            raise InputError.at(
                where,
                f"no signal {', '.join(map(repr, strange[:_NAMED]))} in this network",
                "see the names with topis network show",
            )
        wanted = set(settings.junctions)
        text = f"{len(wanted)} junction{'s' if len(wanted) > 1 else ''}"
    else:
        if not settings.places:
            raise InputError.at(
                where, "a district without places", 'add places = "places.csv", its table'
            )
        table = path.parent / settings.places
        of_signal = read_places(table).get("controllers", {})
        wanted = {name for name, district in of_signal.items() if district == settings.district}
        text = f"district {settings.district}"
        if not wanted & set(network.junction_ids):
            there = sorted({of_signal[n] for n in network.junction_ids if n in of_signal})
            raise InputError.at(
                where,
                f"no signal of this network is in district {settings.district} of {table.name}",
                f"its signals are in {', '.join(map(str, there))}" if there else "name another",
            )
    return np.array([name in wanted for name in network.junction_ids], dtype=bool), text


class SilencedSource:
    """A source of which some sensors are silent for some time."""

    def __init__(self, source: Source, outages: Sequence[Outage]) -> None:
        self._source = source
        self._outages = outages

    def next(self) -> Observation | None:
        """See `topis.run.ports.Source`."""
        seen = self._source.next()
        if seen is None:
            return None
        now = [o for o in self._outages if o.from_ms <= seen.time_ms < o.until_ms]
        if not now:
            return seen
        lost = np.logical_or.reduce([outage.sensors for outage in now])
        reading = seen.reading.copy()
        reading[lost] = np.nan
        return Observation(seen.time_ms, reading, _without(seen.probes, now))


def _without(probes: ProbeReports, now: Sequence[Outage]) -> ProbeReports:
    if not len(probes.lane):
        return probes
    heard = ~np.logical_or.reduce([outage.lanes for outage in now])[probes.lane]
    return ProbeReports(
        probes.probe[heard], probes.lane[heard], probes.offset_m[heard], probes.speed_mps[heard]
    )
