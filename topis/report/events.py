"""A journal as hi-resolution controller events, and the tables that say what lies where.

Enumerations: Sturdevant et al., Indiana Traffic Signal Hi Resolution Data Logger Enumerations,
Purdue University 2012. Each junction is a controller; its phases are its signal groups, numbered
from 1. Told are, of vehicles' phases,

====  =============================  ==========================================================
0, 1  phase on, begin of green       also at the journal's begin, of what is green then
4-6   gap-out, max-out, force-off    see `topis.report.endings`
7     end of green
8, 9  begin and end of yellow        at once where a light has no yellow
10    begin of red clearance
11    end of red clearance           after the all-red the network keeps to any other group
12    phase inactive                 with 11
====  =============================  ==========================================================

of crossings 21 (walk) with their green, 22 (flashing don't walk) when it ends and 23 (don't walk)
after the clearance to the first conflicting group, or before the next walk; of detectors 82 (on)
and 81 (off), numbered as in `topis.report.detections`.

Lamps of a junction under local control are known at the end of a tick: up to a tick late.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from topis.model.network import PEDESTRIAN, VEHICLE, Network
from topis.model.observation import KIND_NAMES
from topis.report.cycle_sums import CycleSums, find_units
from topis.report.detections import Channels, Pulses, find_channels, read_pulses
from topis.report.endings import UNSAID, Endings
from topis.report.journal import JournalReader
from topis.report.lamp_log import I8, LampLog, read_lamps
from topis.units import MS_PER_S

#: Events as `atspm` reads them: times in UTC without saying so.
ATSPM_SCHEMA = pa.schema(
    [
        ("TimeStamp", pa.timestamp("ms")),
        ("DeviceId", pa.string()),
        ("EventId", pa.int32()),
        ("Parameter", pa.int32()),
    ]
)
EVENT_SCHEMA = pa.schema(
    [
        ("time", pa.timestamp("ms")),
        ("controller", pa.int32()),
        ("code", pa.int32()),
        ("parameter", pa.int32()),
    ]
)
_TURNS = ("straight", "left", "right", "turnaround")
#: Columns of events while they are gathered: time ms, junction, code, parameter.
_Rows = tuple[I8, I8, I8, I8]


def controller_events(journal: JournalReader) -> Iterator[pa.RecordBatch]:
    """All events of a journal by time, controller and code, some minutes at a time.

    ``controller`` is the index of the junction. In form `EVENT_SCHEMA`.
    """
    log = read_lamps(journal)
    network = journal.network
    channels = find_channels(network, journal.sensors)
    sums = CycleSums(log, channels, find_units(network.groups, channels), to_line=False)
    watched = np.zeros(network.groups, dtype=bool)
    told = ~channels.advance & journal.sensors.alive[channels.sensor]
    watched[channels.group[told]] = True
    endings = Endings(journal, log, watched)
    lamps = _lamp_events(network, log)
    by_end = np.argsort(log.yellow_ms, kind="stable")
    ends_ms = log.yellow_ms[by_end]
    done = ended = 0
    for pulses in read_pulses(journal, channels):
        sums.add(pulses)
        last = pulses.until_ms >= log.end_ms
        until = np.searchsorted(lamps[0], pulses.until_ms, side="right" if last else "left")
        until_end = int(np.searchsorted(ends_ms, pulses.until_ms))
        parts = [
            tuple(column[done:until] for column in lamps),
            _ending_events(network, log, endings, sums, by_end[ended:until_end]),
            *_detector_events(channels, pulses),
        ]
        done, ended = int(until), until_end
        columns = [np.concatenate([part[k] for part in parts]) for k in range(4)]
        order = np.lexsort((columns[3], columns[2], columns[1], columns[0]))
        yield pa.record_batch(
            [
                pa.array(column[order]).cast(field.type)
                for column, field in zip(columns, EVENT_SCHEMA, strict=True)
            ],
            schema=EVENT_SCHEMA,
        )


def as_atspm(events: pa.RecordBatch, network: Network) -> pa.RecordBatch:
    """Events under the names that `atspm` knows, controllers by name."""
    names = pa.array(network.junction_ids, pa.string())
    return pa.record_batch(
        [
            events["time"], names.take(events["controller"]), events["code"],
            events["parameter"],
        ],
        schema=ATSPM_SCHEMA,
    )  # fmt: skip


def phase_numbers(network: Network) -> NDArray[np.int64]:
    """Number of each signal group in its junction, from 1."""
    first = network.junction_group_ptr[network.group_junction]
    return np.asarray(np.arange(network.groups) - first + 1, dtype=np.int64)


def clearance_ms(network: Network) -> I8:
    """Shortest time from the end of each group's green to any conflicting green, 0 without any."""
    least = np.full(network.groups, np.iinfo(np.int64).max)
    owner = np.repeat(np.arange(network.groups), np.diff(network.conflict_ptr))
    np.minimum.at(least, owner, network.conflict_intergreen_ms.astype(np.int64))
    return np.where(least == np.iinfo(np.int64).max, 0, least)


def _lamp_events(network: Network, log: LampLog) -> _Rows:
    """Events of all groups but why greens ended, by time."""
    vehicle = network.group_kind[log.group] == VEHICLE
    green = log.yellow_ms > log.green_ms
    # What goes on at the end of the journal has not ended.
    ends = green & (log.yellow_ms < log.end_ms)
    reds = (green | (log.red_ms > log.yellow_ms)) & (log.red_ms < log.end_ms)
    clear_ms = clearance_ms(network)[log.group]
    all_red_ms = np.maximum(clear_ms - network.group_yellow_ms[log.group], 0)
    # Before the next green at the latest: at one moment lower codes come first.
    clear_at_ms = np.minimum(log.red_ms + all_red_ms, log.next_ms - 1)
    cleared = reds & (log.red_ms < log.next_ms) & (clear_at_ms < log.end_ms)
    still_ms = np.minimum(log.yellow_ms + clear_ms, log.next_ms - 1)
    rows = []
    for event, some, time_ms in (
        (0, vehicle & green, log.green_ms),
        (1, vehicle & green, log.green_ms),
        (7, vehicle & ends, log.yellow_ms),
        (8, vehicle & (ends | (reds & ~green)), log.yellow_ms),
        (9, vehicle & reds, log.red_ms),
        (10, vehicle & reds & (log.red_ms < log.next_ms), log.red_ms),
        (11, vehicle & cleared, clear_at_ms),
        (12, vehicle & cleared, clear_at_ms),
        (21, ~vehicle & green, log.green_ms),
        (22, ~vehicle & ends, log.yellow_ms),
        (23, ~vehicle & ends & (still_ms < log.end_ms), still_ms),
    ):
        rows.append((time_ms[some], log.group[some], np.full(int(some.sum()), event)))
    time_ms, group, code = (np.concatenate([row[k] for row in rows]) for k in range(3))
    order = np.argsort(time_ms, kind="stable")
    time_ms, group, code = time_ms[order], group[order], code[order]
    return (
        time_ms,
        network.group_junction[group].astype(np.int64),
        code,
        phase_numbers(network)[group],
    )


def _ending_events(
    network: Network,
    log: LampLog,
    endings: Endings,
    sums: CycleSums,
    rows: NDArray[np.integer],
) -> _Rows:
    code = endings.codes(sums, rows)
    rows, code = rows[code != UNSAID], code[code != UNSAID]
    group = log.group[rows]
    junction = network.group_junction[group].astype(np.int64)
    return log.yellow_ms[rows], junction, code, phase_numbers(network)[group]


def _detector_events(channels: Channels, pulses: Pulses) -> Iterator[_Rows]:
    for code, some, time_ms in (
        (82, pulses.starts, pulses.begin_ms),
        (81, pulses.stops, pulses.end_ms),
    ):
        channel = pulses.channel[some]
        yield (
            time_ms[some],
            channels.junction[channel].astype(np.int64),
            np.full(len(channel), code),
            channels.number[channel].astype(np.int64),
        )


def detector_config(journal: JournalReader) -> pd.DataFrame:
    """What lies where: a row a detector and function, as `atspm` wants it, and more columns.

    ``DeviceId``, ``Phase``, ``Parameter`` (the channel), ``Function``: Presence and Yellow_Red at
    the stop line, Advance upstream; then the sensor, what it is, link, lane (from the right, 0),
    and the distance to the stop line (m).
    """
    network, sensors = journal.network, journal.sensors
    channels = find_channels(network, sensors)
    rows = np.concatenate(
        [np.flatnonzero(~channels.advance)] * 2 + [np.flatnonzero(channels.advance)]
    )
    stop = int((~channels.advance).sum())
    function = ["Presence"] * stop + ["Yellow_Red"] * stop + ["Advance"] * (len(rows) - 2 * stop)
    order = np.lexsort((channels.number[rows], channels.junction[rows]))
    rows = rows[order]
    sensor, lane = channels.sensor[rows], channels.lane[rows]
    return pd.DataFrame(
        {
            "DeviceId": [network.junction_ids[j] for j in channels.junction[rows]],
            "Phase": phase_numbers(network)[channels.group[rows]],
            "Parameter": channels.number[rows],
            "Function": [function[k] for k in order],
            "Sensor": [sensors.ids[k] for k in sensor],
            "Kind": [KIND_NAMES[k] for k in sensors.kind[sensor]],
            "Link": [network.link_ids[k] for k in channels.link[rows]],
            "Lane": lane - network.link_lane_ptr[channels.link[rows]],
            "Distance_m": channels.distance_m[rows].round(1),
        }
    )


def phase_config(network: Network) -> pd.DataFrame:
    """What each phase is: who goes, from which links, and the times it keeps (s)."""
    conns = np.flatnonzero(network.conn_group >= 0)
    pairs = np.unique(
        np.stack([network.conn_group[conns], network.conn_move[conns]], axis=1), axis=0
    )
    links: list[list[str]] = [[] for _ in range(network.groups)]
    turns: list[list[str]] = [[] for _ in range(network.groups)]
    for group, move in pairs.tolist():
        link = network.link_ids[network.move_from_link[move]]
        turn = _TURNS[network.move_turn[move]]
        links[group] += [link] if link not in links[group] else []
        turns[group] += [turn] if turn not in turns[group] else []
    all_red_ms = np.maximum(clearance_ms(network) - network.group_yellow_ms, 0)
    return pd.DataFrame(
        {
            "DeviceId": [network.junction_ids[j] for j in network.group_junction],
            "Phase": phase_numbers(network),
            "Kind": np.where(network.group_kind == PEDESTRIAN, "crossing", "vehicles"),
            "Links": [" ".join(names) for names in links],
            "Turns": [" ".join(sorted(names, key=_TURNS.index)) for names in turns],
            "MinGreen_s": network.group_min_green_ms / MS_PER_S,
            "Yellow_s": network.group_yellow_ms / MS_PER_S,
            "RedClearance_s": all_red_ms / MS_PER_S,
        }
    )
