"""The journal: what a run saw, asked for, was refused and showed; enough to repeat it.

Values are written when they change (a reading holds until the next row of its sensor),
so a quiet sensor costs nothing. Files of one run folder::

    manifest.json         who, what, with which settings; no clock times
    network.npz           the compiled network
    sensors.parquet       where the sensors are
    observations.parquet  readings that changed
    probes.parquet        probe reports
    decisions.parquet     commands that changed
    refusals.parquet      what the guard did not let through
    local_lamps.parquet   what was seen of junctions under local control, when it changed
    signals.parquet       lamp states that changed
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError
from topis.model.command import Commands, Refusal
from topis.model.lamp import codes_from_letters, letters_from_codes
from topis.model.network import Network
from topis.model.observation import (
    OBSERVATION_SCHEMA,
    PROBE_SCHEMA,
    Observation,
    ProbeReports,
    SensorTable,
)
from topis.model.state import SignalState

DECISION_SCHEMA = pa.schema(
    [("time_ms", pa.int64()), ("junction", pa.int32()), ("stage", pa.int32())],
    metadata={"topis": "decision/1"},
)
REFUSAL_SCHEMA = pa.schema(
    [
        ("time_ms", pa.int64()),
        ("junction", pa.int32()),
        ("wanted", pa.int32()),
        ("reason", pa.uint8()),
    ],
    metadata={"topis": "refusal/1"},
)
SIGNAL_SCHEMA = pa.schema(
    [("time_ms", pa.int64()), ("junction", pa.int32()), ("state", pa.string())],
    metadata={"topis": "signal/1"},
)
LOCAL_LAMP_SCHEMA = pa.schema(
    [("time_ms", pa.int64()), ("junction", pa.int32()), ("group_state", pa.string())],
    metadata={"topis": "local_lamp/1"},
)
TICK_SCHEMA = pa.schema([("time_ms", pa.int64())], metadata={"topis": "tick/1"})

#: Rows are gathered for this many ticks before they go to disk as one row group.
FLUSH_TICKS = 300


class JournalWriter:
    """Recorder of a run, to be closed whatever happens.

    Parameters
    ----------
    folder
        Existing run folder.
    """

    def __init__(self, folder: Path, network: Network, sensors: SensorTable) -> None:
        self._network = network
        self._tables = {
            name: _Table(folder / f"{name}.parquet", schema)
            for name, schema in (
                ("ticks", TICK_SCHEMA),
                ("observations", OBSERVATION_SCHEMA),
                ("probes", PROBE_SCHEMA),
                ("decisions", DECISION_SCHEMA),
                ("refusals", REFUSAL_SCHEMA),
                ("local_lamps", LOCAL_LAMP_SCHEMA),
                ("signals", SIGNAL_SCHEMA),
            )
        }
        save_network(folder / "network.npz", network)
        save_sensors(folder / "sensors.parquet", sensors)
        self._reading = np.full((len(sensors), 2), np.inf, dtype=np.float32)
        self._stage = np.full(network.junctions, -9, dtype=np.int32)
        self._group_code = np.full(network.groups, 255, dtype=np.uint8)
        self._ticks = 0
        self.refusals: dict[str, int] = {}

    def record(
        self,
        observation: Observation,
        local_lamps: Sequence[tuple[int, NDArray[np.uint8]]],
        commands: Commands,
        refusals: list[Refusal],
        signals: SignalState,
    ) -> None:
        """See `topis.run.ports.Recorder`."""
        now = observation.time_ms
        self._tables["ticks"].add(now, 1)
        self._record_readings(observation)
        probes = observation.probes
        if len(probes.probe):
            self._tables["probes"].add(
                now,
                len(probes.probe),
                probes.probe,
                probes.lane,
                probes.offset_m,
                probes.speed_mps,
            )
        changed = np.flatnonzero(commands.stage != self._stage)
        if len(changed):
            self._tables["decisions"].add(
                now, len(changed), changed.astype(np.int32), commands.stage[changed]
            )
            self._stage[changed] = commands.stage[changed]
        if refusals:
            self._tables["refusals"].add(
                now,
                len(refusals),
                np.array([r.junction for r in refusals], dtype=np.int32),
                np.array([r.wanted for r in refusals], dtype=np.int32),
                np.array([r.reason for r in refusals], dtype=np.uint8),
            )
            for refusal in refusals:
                name = refusal.reason.name.lower()
                self.refusals[name] = self.refusals.get(name, 0) + 1
        if local_lamps:
            self._tables["local_lamps"].add(
                now,
                len(local_lamps),
                np.array([junction for junction, _ in local_lamps], dtype=np.int32),
                np.array([letters_from_codes(codes) for _, codes in local_lamps], dtype=object),
            )
        self._record_lamps(now, signals.group_code)
        self._ticks += 1
        if self._ticks % FLUSH_TICKS == 0:
            self.flush()

    def _record_readings(self, observation: Observation) -> None:
        reading = observation.reading
        # NaN differs from NaN: a dead sensor is told once, by comparing the bits.
        differs = reading.view(np.int32) != self._reading.view(np.int32)
        sensor, value = np.nonzero(differs)
        if len(sensor):
            fresh = reading[sensor, value]
            self._tables["observations"].add(
                observation.time_ms,
                len(sensor),
                sensor.astype(np.int32),
                value.astype(np.uint8),
                fresh,
            )
            self._reading[sensor, value] = fresh

    def _record_lamps(self, now_ms: int, group_code: NDArray[np.uint8]) -> None:
        network = self._network
        changed = group_code != self._group_code
        if not changed.any():
            return
        junctions = np.unique(network.group_junction[changed])
        states = [
            letters_from_codes(
                group_code[
                    network.head_group[
                        network.junction_head_ptr[j] : network.junction_head_ptr[j + 1]
                    ]
                ]
            )
            for j in junctions
        ]
        self._tables["signals"].add(now_ms, len(junctions), junctions, np.array(states, object))
        self._group_code[:] = group_code

    def flush(self) -> None:
        """Write what has been gathered."""
        for table in self._tables.values():
            table.flush()

    def close(self) -> None:
        """Write the rest and close the files."""
        for table in self._tables.values():
            table.close()


class _Table:
    """One Parquet file, appended to in row groups."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._columns: list[list[NDArray[Any]]] = [[] for _ in schema]

    def add(self, time_ms: int, rows: int, *columns: NDArray[Any]) -> None:
        self._columns[0].append(np.full(rows, time_ms, dtype=np.int64))
        for gathered, column in zip(self._columns[1:], columns, strict=True):
            gathered.append(column)

    def flush(self) -> None:
        if not self._columns[0]:
            return
        arrays = [
            pa.array(np.concatenate(gathered), type=field.type)
            for gathered, field in zip(self._columns, self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        for gathered in self._columns:
            gathered.clear()

    def close(self) -> None:
        self.flush()
        self._writer.close()


# ---- network and sensors ----


def save_network(path: Path, network: Network) -> None:
    """Store a compiled network."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(network):
        value = getattr(network, field.name)
        values[field.name] = value if isinstance(value, np.ndarray) else np.array(value, dtype=str)
    np.savez_compressed(path, **values)


def load_network_file(path: Path) -> Network:
    """Read a network stored by `save_network`.

    Raises
    ------
    InputError
        Missing or not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            values: dict[str, Any] = {
                field.name: tuple(stored[field.name].tolist())
                if field.name.endswith("_ids")
                else stored[field.name]
                for field in dataclasses.fields(Network)
            }
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError.at(path, f"not a stored network ({error})", "name a run folder") from None
    return Network(**values)


_SENSOR_COLUMNS = ("kind", "lane", "serves", "junction", "start_m", "end_m", "distance_m", "alive")
_SENSOR_FACTS = ("probe_share", "probe_period_s", "research_only")


def save_sensors(path: Path, sensors: SensorTable) -> None:
    """Store a sensor table."""
    table = pa.table(
        {"id": list(sensors.ids)} | {name: getattr(sensors, name) for name in _SENSOR_COLUMNS}
    )
    facts = {name: getattr(sensors, name) for name in _SENSOR_FACTS}
    pq.write_table(table.replace_schema_metadata({"topis": json.dumps(facts)}), path)


def load_sensors(path: Path) -> SensorTable:
    """Read a table stored by `save_sensors`."""
    table = _read(path)
    facts = json.loads(table.schema.metadata[b"topis"])
    columns: dict[str, Any] = {
        name: np.ascontiguousarray(table.column(name).to_numpy()) for name in _SENSOR_COLUMNS
    }
    return SensorTable(ids=tuple(table.column("id").to_pylist()), **columns, **facts)


# ---- reading back ----


class JournalReader:
    """A run folder's journal, tick by tick.

    Raises
    ------
    InputError
        The folder is not a run folder.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "manifest.json").is_file():
            raise InputError.at(folder, "no manifest.json", "name a run folder of topis simulate")
        self.folder = folder
        try:
            self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        except (OSError, ValueError) as error:
            raise InputError.at(
                folder / "manifest.json", f"cannot be read ({error})", "name a whole run folder"
            ) from None
        self.network = load_network_file(folder / "network.npz")
        self.sensors = load_sensors(folder / "sensors.parquet")
        self.ticks_ms: list[int] = self._column("ticks", "time_ms").tolist()

    def _column(self, table: str, name: str) -> NDArray[Any]:
        return np.asarray(_read(self.folder / f"{table}.parquet").column(name).to_numpy())

    def observations(self) -> Iterator[Observation]:
        """Every tick's observation, as it was."""
        reading = np.full((len(self.sensors), 2), np.nan, dtype=np.float32)
        rows = _Rows(self.folder / "observations.parquet")
        probes = _Rows(self.folder / "probes.parquet")
        for time_ms in self.ticks_ms:
            sensor, value, fresh = rows.at(time_ms)
            reading[sensor, value] = fresh
            probe, lane, offset_m, speed_mps = probes.at(time_ms)
            yield Observation(
                time_ms, reading.copy(), ProbeReports(probe, lane, offset_m, speed_mps)
            )

    def commands(self) -> Iterator[NDArray[np.int32]]:
        """Every tick's commands, as they were."""
        stage = np.full(self.network.junctions, -9, dtype=np.int32)
        rows = _Rows(self.folder / "decisions.parquet")
        for time_ms in self.ticks_ms:
            junction, wanted = rows.at(time_ms)
            stage[junction] = wanted
            yield stage.copy()

    def signals(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]]:
        """Every change of lamps: time, junction, and what each of its heads shows from then on."""
        time_ms, junction, state = (
            self._column("signals", name) for name in ("time_ms", "junction", "state")
        )
        return time_ms, junction, state

    def decisions(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """Every change of a command: time, junction, stage."""
        time_ms, junction, stage = (
            self._column("decisions", name) for name in ("time_ms", "junction", "stage")
        )
        return time_ms, junction, stage

    def refusals(self) -> list[tuple[int, int, int, int]]:
        """All refusals as (time ms, junction, wanted, reason)."""
        table = _read(self.folder / "refusals.parquet")
        return list(zip(*(table.column(n).to_pylist() for n in table.column_names), strict=True))

    def local_lamps(self) -> Iterator[list[tuple[int, NDArray[np.uint8]]]]:
        """Every tick's changed lamps of junctions under local control."""
        rows = _Rows(self.folder / "local_lamps.parquet")
        for time_ms in self.ticks_ms:
            junction, state = rows.at(time_ms)
            yield [(int(j), codes_from_letters(s)) for j, s in zip(junction, state, strict=True)]


class _Rows:
    """Rows of a table sorted by time, handed out tick by tick."""

    def __init__(self, path: Path) -> None:
        table = _read(path)
        self._time = table.column("time_ms").to_numpy()
        self._columns = [table.column(name).to_numpy() for name in table.column_names[1:]]

    def at(self, time_ms: int) -> list[NDArray[Any]]:
        low, high = np.searchsorted(self._time, [time_ms, time_ms + 1])
        return [column[low:high] for column in self._columns]


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError.at(path, f"cannot be read ({error})", "name a whole run folder") from None
