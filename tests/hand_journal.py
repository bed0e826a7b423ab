"""Journals written by hand: lamps as letters and readings as numbers, second by second."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.networks import CODE_OF_LETTER, Junction, build
from topis.model.command import LOCAL, Commands
from topis.model.network import Network
from topis.model.observation import (
    LOOP_ADVANCE,
    LOOP_STOP_LINE,
    Observation,
    ProbeReports,
    SensorTable,
)
from topis.model.state import SignalState
from topis.report.journal import JournalReader, JournalWriter

#: What a detector reads in a second: vehicles, and the share it was covered.
Reading = tuple[float, float]
EMPTY: Reading = (0, 0.0)
DEAD: Reading = (np.nan, np.nan)


def loops(network: Network, lanes: Sequence[int]) -> SensorTable:
    """A stop-line loop 3 m and an advance loop 50 m from the line on each lane, in turn."""
    lane = np.repeat(np.array(lanes, np.int32), 2)
    count = len(lane)
    advance = np.arange(count) % 2 == 1
    at_m = np.where(advance, 150.0, 197.0).astype(np.float32)
    return SensorTable(
        ids=tuple(f"loop{k}" for k in range(count)),
        kind=np.where(advance, LOOP_ADVANCE, LOOP_STOP_LINE).astype(np.uint8),
        lane=lane,
        serves=lane,
        junction=network.link_junction[network.lane_link[lane]],
        start_m=at_m,
        end_m=at_m,
        distance_m=np.zeros(count, np.float32),
        alive=np.ones(count, bool),
        probe_share=0.0,
        probe_period_s=10.0,
        research_only=False,
    )


def write_journal(
    folder: Path,
    junction: Junction,
    lamps: Sequence[str],
    readings: Mapping[int, Mapping[int, Reading]] | None = None,
    *,
    controller: str = "shipped",
    lanes: Sequence[int] = (0,),
    begin_s: int = 0,
    dead: Mapping[int, range] | None = None,
) -> JournalReader:
    """A journal of one junction.

    ``lamps``: a string a group, a letter a second, from the first tick on; ``readings``: by
    sensor and second, of the second before that moment, nothing elsewhere.
    """
    network = build([junction])
    sensors = loops(network, lanes)
    folder.mkdir()
    writer = JournalWriter(folder, network, sensors)
    stage = np.array([LOCAL if controller == "shipped" else 0], np.int32)
    for second in range(len(lamps[0])):
        reading = np.zeros((len(sensors), 2), np.float32)
        for sensor, told in (readings or {}).items():
            reading[sensor] = told.get(second, EMPTY)
        for sensor, seconds in (dead or {}).items():
            reading[sensor] = DEAD if second in seconds else reading[sensor]
        codes = np.array([CODE_OF_LETTER[text[second]] for text in lamps], np.uint8)
        now_ms = 1000 * (begin_s + second)
        signals = SignalState(
            stage, stage, np.zeros(1, np.int64), codes, np.zeros(len(codes), np.int64)
        )
        observation = Observation(now_ms, reading, ProbeReports.none())
        writer.record(observation, [], Commands(now_ms, stage), [], signals)
    writer.close()
    manifest = {"controller": controller, "network_hash": network.hash, "settings": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return JournalReader(folder)
