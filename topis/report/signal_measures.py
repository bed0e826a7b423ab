"""Measures that signal engineers expect, from a journal: by phase, approach and junction.

All of them are described, with formulas and sources, in docs/measures.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from topis.model.lamp import is_green
from topis.model.network import VEHICLE, Network
from topis.report.cycle_sums import CycleSums, Units, find_units
from topis.report.cycle_table import CycleColumns, unit_names
from topis.report.detections import Channels, find_channels, main_group, read_pulses
from topis.report.detector_health import DetectorHealth
from topis.report.endings import Endings
from topis.report.journal import JournalReader
from topis.report.junction_ranking import combine, crossing_table, rank_junctions
from topis.report.lamp_log import read_lamps
from topis.report.queues import queue_tables
from topis.report.service_level import (
    HCM_LIMITS,
    KHCM_LIMITS,
    capacity_vph,
    incremental_delay_s,
    level_of_service,
    uniform_delay_s,
)
from topis.units import MS_PER_S, S_PER_H


@dataclass(frozen=True)
class SignalMeasures:
    """Tables of one journal, times in s or as their names say.

    ``junctions``, the worst first; ``approaches`` (links), ``phases``, ``lane_groups`` (a phase
    on one link) and ``crossings``, a row each; ``periods``: lane groups by period; ``cycles``: a
    row a cycle of a phase; ``detectors``. ``arrivals``: group, link and time of each, where they
    were kept. ``queues``: all queues together, by minute.
    """

    junctions: pd.DataFrame
    approaches: pd.DataFrame
    phases: pd.DataFrame
    lane_groups: pd.DataFrame
    crossings: pd.DataFrame
    periods: pd.DataFrame
    cycles: pd.DataFrame
    detectors: pd.DataFrame
    arrivals: pd.DataFrame
    queues: pd.DataFrame


def measure_signals(
    journal: JournalReader,
    *,
    period_s: int = 900,
    junction: int | None = None,
    to_line: bool = True,
    queues: bool = True,
) -> SignalMeasures:
    """All measures of a journal.

    Parameters
    ----------
    journal
        Of a run folder, whatever made it: SUMO, a replay, a live engine.
    period_s
        Delays are worked out by periods of this length.
    junction
        Only the detectors of this one are read, and every arrival at it is kept.
    to_line
        Arrivals are told when they would reach the stop line freely, not at the detector.
    queues
        Queues are estimated again from all readings, which takes most of the time.
    """
    network = journal.network
    log = read_lamps(journal)
    channels = find_channels(network, journal.sensors, junction)
    units = find_units(network.groups, channels)
    sums = CycleSums(log, channels, units, to_line=to_line, keep=junction is not None)
    health = DetectorHealth(channels)
    for pulses in read_pulses(journal, channels):
        sums.add(pulses)
        health.add(pulses)
    watched = _lanes(channels, units, ~channels.advance & health.tells) > 0
    endings = Endings(journal, log, watched[: network.groups])
    columns = CycleColumns(log, sums, endings, watched)
    periods = _with_delay(columns.by_period(units, period_s), channels, units, health.tells)
    names = unit_names(network, units)
    wanted = network.group_kind[units.group] == VEHICLE
    if junction is not None:
        wanted &= network.group_junction[units.group] == junction
    total = periods.drop(columns="period_ms").groupby("unit").sum()
    table = names[wanted].join(derive(total))
    table["programmed_split_s"] = _programmed_split_s(journal)[units.group[table.index]]
    minutes = pd.DataFrame({"time_ms": [], "queue_veh": []})
    if queues:
        by_lane, minutes = queue_tables(journal)
        table = _with_queues(table, by_lane, network, units)
    is_phase = table.index < network.groups
    phases, lane_groups = table[is_phase].drop(columns="link"), table[~is_phase]
    sums_of = total.assign(delay_veh_s=total["uniform_s"] + total["incremental_s"]).reindex(
        lane_groups.index
    )
    approaches = combine(lane_groups, sums_of, ["junction", "link"]).reset_index()
    detectors = _detector_names(journal, channels).join(health.table())
    crossings, cycles = crossing_table(network, log), columns.of_phases(network, names)
    if junction is not None:
        here = network.junction_ids[junction]
        crossings = crossings[crossings["junction"] == here]
        cycles = cycles[cycles["junction"] == here].reset_index(drop=True)
    by_period = derive(periods[periods["unit"] >= network.groups].set_index("unit"))
    found = combine(lane_groups, sums_of, ["junction"])
    unit, time_ms = sums.arrivals
    return SignalMeasures(
        junctions=rank_junctions(found, phases, crossings, detectors),
        approaches=approaches,
        phases=phases.reset_index(drop=True),
        lane_groups=lane_groups.reset_index(drop=True),
        crossings=crossings,
        periods=names.join(by_period, how="inner").reset_index(drop=True),
        cycles=cycles,
        detectors=detectors,
        arrivals=pd.DataFrame(
            {"group": units.group[unit], "link": units.link[unit], "time_ms": time_ms}
        ),
        queues=minutes,
    )


def derive(sums: pd.DataFrame) -> pd.DataFrame:
    """Means, shares, delays and levels of rows of sums; NaN where nothing was seen.

    A ratio of sums, never a mean of ratios, so that rows of any size can be added.
    """
    s = sums
    delay_s = _ratio(s["uniform_s"] + s["incremental_s"], s["volume"])
    aog, green_ratio = _ratio(s["arrived_green"], s["arrived"]), _ratio(s["green_s"], s["time_s"])
    columns = {
        "cycles": s["cycles"].astype(np.int64),
        "cycle_s": _ratio(s["cycles_s"], s["cycles"]),
        "green_s": _ratio(s["greens_s"], s["cycles"]),
        "green_ratio": green_ratio,
        "gap_out": s["gap_out"].astype(np.int64),
        "max_out": s["max_out"].astype(np.int64),
        "force_off": s["force_off"].astype(np.int64),
        "passed_veh": s["passed"].astype(np.int64),
        "yellow_veh": s["on_yellow"].astype(np.int64),
        "red_veh": s["on_red"].astype(np.int64),
        "arrived_veh": s["arrived"].astype(np.int64),
        "arrivals_on_green": aog,
        "platoon_ratio": _ratio(aog, green_ratio),
        "approach_delay_s": _ratio(s["wait_s"], s["timed"]),
        "judged": s["judged"].astype(np.int64),
        "gor": _ratio(s["gor_sum"], s["judged"]),
        "ror5": _ratio(s["ror5_sum"], s["judged"]),
        "split_failures": s["split_failures"].astype(np.int64),
        "volume_veh": s["volume"].astype(np.int64),
        "flow_vph": _ratio(s["volume"] * S_PER_H, s["time_s"]),
        "saturation": _ratio(s["volume"], s["capacity"]),
        "uniform_delay_s": _ratio(s["uniform_s"], s["volume"]),
        "incremental_delay_s": _ratio(s["incremental_s"], s["volume"]),
        "control_delay_s": delay_s,
        "los_hcm": level_of_service(delay_s.to_numpy(), HCM_LIMITS),
        "los_khcm": level_of_service(delay_s.to_numpy(), KHCM_LIMITS),
    }
    first = {"period_ms": s["period_ms"]} if "period_ms" in s else {}
    return pd.DataFrame({**first, **columns}, index=s.index)


def _ratio(part: pd.Series, whole: pd.Series) -> pd.Series:
    return part / whole.where(whole > 0)


def _with_delay(
    periods: pd.DataFrame, channels: Channels, units: Units, tells: NDArray[np.bool_]
) -> pd.DataFrame:
    """Sums with volume, capacity (vehicles) and delays (vehicle-seconds) of each period.

    Vehicles are those at the stop line; where nothing counts there, those that arrived.
    """
    lanes, upstream = (
        _lanes(channels, units, tells & (channels.advance == advance)) for advance in (False, True)
    )
    unit = periods["unit"].to_numpy()
    at_line = lanes[unit] > 0
    lanes_here = np.where(at_line, lanes[unit], upstream[unit])
    volume = np.where(at_line, periods["passed"], periods["arrived"])
    hours = periods["time_s"].to_numpy() / S_PER_H
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (periods["green_s"] / periods["time_s"]).to_numpy()
        cycle_s = np.where(
            periods["cycles"] > 0, periods["cycles_s"] / periods["cycles"], periods["time_s"]
        )
        capacity = capacity_vph(lanes_here, share)
        saturation = volume / (capacity * hours)
    told = volume > 0
    uniform_s = uniform_delay_s(cycle_s, share, saturation)
    incremental_s = incremental_delay_s(saturation, capacity, hours)
    return periods.assign(
        volume=volume,
        capacity=capacity * hours,
        uniform_s=np.where(told, volume * uniform_s, 0.0),
        incremental_s=np.where(told, volume * incremental_s, 0.0),
    )


def _lanes(channels: Channels, units: Units, some: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lanes on which some of the detectors tell of each unit."""
    pairs = np.concatenate(
        [
            np.stack([unit_of[some], channels.lane[some]], axis=1)
            for unit_of in (units.of_phase, units.of_lane_group)
        ]
    )
    return np.bincount(np.unique(pairs, axis=0)[:, 0], minlength=len(units.group))


def _programmed_split_s(journal: JournalReader) -> NDArray[np.float64]:
    """Splits of the stages each group is green in, where the shipped program runs; else NaN."""
    network = journal.network
    split_s = np.full(network.groups, np.nan)
    if journal.manifest.get("controller") != "shipped":
        return split_s
    for junction, program in enumerate(network.junction_program):
        first = int(network.junction_group_ptr[junction])
        last = int(network.junction_group_ptr[junction + 1])
        split_s[first:last] = 0.0
        for k in range(*network.program_stage_ptr[program : program + 2]):
            green = is_green(network.stage_codes(int(network.program_stage[k])))
            split_s[first:last] += green * network.program_split_ms[k] / MS_PER_S
    return split_s


def _with_queues(
    table: pd.DataFrame, queues: pd.DataFrame, network: Network, units: Units
) -> pd.DataFrame:
    """The longest queue of a lane of each unit, and the largest 95th percentile of one."""
    lane = queues["lane"].to_numpy(dtype=np.int64)
    group, link = main_group(network)[lane], network.lane_link[lane]
    values = queues[["queue_max_veh", "queue_p95_veh"]]
    keys = pd.DataFrame({"group": units.group, "link": units.link}).loc[table.index]
    by_both = values.groupby([group, link]).max()
    by_group = values.groupby(group).max()
    by_group.index = pd.MultiIndex.from_arrays([by_group.index, np.full(len(by_group), -1)])
    found = pd.concat([by_group, by_both]).reindex(pd.MultiIndex.from_frame(keys))
    return table.join(found.set_axis(table.index))


def _detector_names(journal: JournalReader, channels: Channels) -> pd.DataFrame:
    network = journal.network
    return pd.DataFrame(
        {
            "junction": [network.junction_ids[k] for k in channels.junction],
            "channel": channels.number,
            "sensor": [journal.sensors.ids[k] for k in channels.sensor],
            "link": [network.link_ids[k] for k in channels.link],
            "place": np.where(channels.advance, "advance", "stop line"),
        }
    )
