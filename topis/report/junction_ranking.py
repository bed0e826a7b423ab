"""Crossings, and approaches and junctions from the measures of their parts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from topis.model.network import PEDESTRIAN, Network
from topis.report.events import phase_numbers
from topis.report.lamp_log import LampLog
from topis.report.service_level import HCM_LIMITS, KHCM_LIMITS, level_of_service
from topis.units import MS_PER_S


def crossing_table(network: Network, log: LampLog) -> pd.DataFrame:
    """How long walkers wait at each crossing: a row a pedestrians' phase.

    ``wait_mean_s`` for one who comes at any time: sum of r^2 / (2 sum of C) over whole cycles,
    which for equal ones is (C - g)^2 / (2 C) (HCM 6th ed., ch. 19); ``wait_max_s``: longest
    time without a walk, parts at the journal's ends included. Walks are those of the lamps:
    nobody senses who waits.
    """
    stop_s = (log.next_ms - log.yellow_ms) / MS_PER_S
    cycle_s = (log.next_ms - log.green_ms) / MS_PER_S
    groups = network.groups
    whole = log.whole
    squares = np.bincount(log.group[whole], stop_s[whole] ** 2, minlength=groups)
    cycles_s = np.bincount(log.group[whole], cycle_s[whole], minlength=groups)
    walks = np.bincount(log.group[log.yellow_ms > log.green_ms], minlength=groups)
    longest_s = np.zeros(groups)
    np.maximum.at(longest_s, log.group, stop_s)
    with np.errstate(invalid="ignore"):
        mean_s = squares / (2 * cycles_s)
    table = pd.DataFrame(
        {
            "junction": [network.junction_ids[j] for j in network.group_junction],
            "phase": phase_numbers(network),
            "walks": walks,
            "wait_mean_s": mean_s,
            "wait_max_s": longest_s,
        }
    )
    crossings: pd.DataFrame = table.loc[network.group_kind == PEDESTRIAN]
    return crossings.reset_index(drop=True)


def combine(lane_groups: pd.DataFrame, sums: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Measures of approaches or junctions: means over the vehicles of their lane groups.

    Saturation and queues are the largest of any lane group.
    """
    keys = [lane_groups[name] for name in by]
    s = sums[[*_SUMS]].groupby(keys, sort=False).sum()
    delay_s = s["delay_veh_s"] / s["volume"].where(s["volume"] > 0)
    largest = [n for n in ("saturation", "queue_max_veh", "queue_p95_veh") if n in lane_groups]
    table = pd.DataFrame(
        {
            "los_hcm": level_of_service(delay_s.to_numpy(), HCM_LIMITS),
            "los_khcm": level_of_service(delay_s.to_numpy(), KHCM_LIMITS),
            "control_delay_s": delay_s,
            "volume_veh": s["volume"].astype(np.int64),
            "arrived_veh": s["arrived"].astype(np.int64),
            "arrivals_on_green": s["arrived_green"] / s["arrived"].where(s["arrived"] > 0),
            "approach_delay_s": s["wait_s"] / s["timed"].where(s["timed"] > 0),
        }
    )
    return table.join(lane_groups.groupby(by, sort=False)[largest].max())


_SUMS = ("volume", "delay_veh_s", "arrived", "arrived_green", "timed", "wait_s")


def rank_junctions(
    found: pd.DataFrame,
    phases: pd.DataFrame,
    crossings: pd.DataFrame,
    detectors: pd.DataFrame,
) -> pd.DataFrame:
    """A row a junction that phases are told of, by control delay, the worst first.

    ``found`` is what `combine` gives by junction. Split failures are those of phases.
    """
    failures = phases.groupby("junction", sort=False)[["judged", "split_failures"]].sum()
    table = found.reindex(failures.index).join(failures)
    levels = ["los_hcm", "los_khcm"]
    table[levels] = table[levels].fillna("")
    counts = {"volume_veh": table["volume_veh"], "arrived_veh": table["arrived_veh"]}
    by_junction = detectors.groupby("junction")
    counts["detectors"] = by_junction.size().reindex(table.index)
    faulty = detectors[detectors["fault"] != ""].groupby("junction").size()
    counts["faulty_detectors"] = faulty.reindex(table.index)
    for name, values in counts.items():
        table[name] = values.fillna(0).astype(np.int64)
    table["walk_wait_max_s"] = crossings.groupby("junction")["wait_max_s"].max()
    return table.sort_values(
        "control_delay_s", ascending=False, na_position="last", kind="stable"
    ).reset_index()
