"""Faults of known kind and place, planted in the feeds of a made-up day."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from topis.ingest.synth_city import City
from topis.ingest.synth_feeds import Rows
from topis.model.observation import CAMERA, LOOP_ADVANCE, LOOP_STOP_LINE

LOOP_FAULTS = ("silent", "stuck on", "chatter", "over-count", "skewed clock")
CAMERA_FAULTS = ("silent", "skewed clock")
PROBE_FAULTS = ("stuck", "jumps", "skewed clock")
#: A loop that is stuck reports this often that it is covered (s).
STUCK_S = 240
SKEWS_S = (-90, -37, 25, 61)
#: A probe that jumps does so in this share of its reports, so far (1e-7 deg: about 2 km).
JUMP_SHARE, JUMP_E7 = 0.02, 200_000
#: Probes have faults in classes of vehicle numbers.
PROBE_CLASSES = 64
#: Where receivers were that lost their fix (1e-7 deg).
DEPOT_E7 = (375_000_000, 1_270_000_000)
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Planted:
    """What is wrong with whom, from when to when (seconds of the day).

    ``feed``; ``name``: the sensor, camera or class of probes; ``number``: its number there.
    """

    feed: str
    name: str
    number: int
    kind: str
    begin_s: float
    end_s: float
    skew_s: int = 0

    def told(self) -> dict[str, object]:
        """For the file beside the feeds."""
        return asdict(self)


def plant(city: City, seed: int, share: float, hours: tuple[int, int]) -> list[Planted]:
    """Faults of that share of loops, of cameras, and of classes of probes.

    Each lasts two to six hours by day, at night a silent loop is like any other; probes and
    clocks are wrong throughout.
    """
    rng = np.random.default_rng([seed, 7])
    sensors = city.sensors
    loops = np.flatnonzero(
        ((sensors.kind == LOOP_STOP_LINE) | (sensors.kind == LOOP_ADVANCE)) & sensors.alive
    ).tolist()
    cameras = np.unique(sensors.junction[(sensors.kind == CAMERA) & sensors.alive]).tolist()
    candidates = (
        [("loop_event", sensors.ids[k], k, LOOP_FAULTS) for k in loops]
        + [("cctv_track", city.network.junction_ids[j], j, CAMERA_FAULTS) for j in cameras]
        + [("gps", f"class {c}", c, PROBE_FAULTS) for c in range(PROBE_CLASSES)]
    )
    found = []
    first, last = max(hours[0], 6), min(hours[1] - 2, 18)
    for feed, name, number, kinds in candidates:
        draw, begin, length = rng.random(), rng.random(), rng.random()
        kind, skew_s = kinds[rng.integers(len(kinds))], SKEWS_S[rng.integers(len(SKEWS_S))]
        # A clock is wrong until someone sets it.
        lasting = feed == "gps" or kind == "skewed clock"
        if draw >= share or (last < first and not lasting):
            continue
        begin_s = (first + begin * (last - first)) * _HOUR_S
        end_s = min(begin_s + (2 + 4 * length) * _HOUR_S, hours[1] * _HOUR_S)
        if lasting:
            begin_s, end_s = hours[0] * _HOUR_S, hours[1] * _HOUR_S
        skew_s = skew_s if kind == "skewed clock" else 0
        found.append(Planted(feed, name, number, kind, begin_s, end_s, skew_s))
    return found


def spoil(
    feed: str,
    rows: Rows,
    faults: list[Planted],
    window: tuple[float, float],
    rng: np.random.Generator,
) -> Rows:
    """What is told instead; ``order``: when it is sent, by a clock that is right.

    A loop sends a passage once it is over.
    """
    lasts_ms = rows["on_ms"] if feed == "loop_event" else np.zeros(1)
    rows = rows | {"order": rows["time"].astype(np.float64) + lasts_ms.astype(np.float64) / 1000}
    who = _who(feed, rows)
    for fault in faults:
        if fault.feed != feed:
            continue
        time_s = rows["order"].astype(np.float64)
        hit = (who == fault.number) & (time_s >= fault.begin_s) & (time_s < fault.end_s)
        if fault.kind == "stuck on":
            rows = _stuck_on(rows, hit, fault, window)
        elif fault.kind == "silent":
            rows = {name: values[~hit] for name, values in rows.items()}
        elif fault.kind in ("chatter", "over-count"):
            rows = _repeated(rows, hit, fault.kind)
        elif fault.kind == "skewed clock":
            rows["time"] = rows["time"] + np.where(hit, fault.skew_s, 0)
        elif fault.kind == "stuck":
            for name, place in zip(("lat_e7", "lon_e7"), DEPOT_E7, strict=True):
                rows[name] = np.where(hit, _held(rows["vehicle"], place), rows[name])
        elif fault.kind == "jumps":
            jumps = hit & (rng.random(len(hit)) < JUMP_SHARE)
            rows["lat_e7"] = rows["lat_e7"] + np.where(jumps, JUMP_E7, 0)
        who = _who(feed, rows)
    return rows


def _who(feed: str, rows: Rows) -> NDArray[np.generic]:
    if feed == "gps":
        # Numbers are hashed by a product; the top bits are as good as any.
        return rows["vehicle"].astype(np.uint64) >> np.uint64(58)
    return rows["sensor"] if feed == "loop_event" else rows["camera"]


def _stuck_on(
    rows: Rows, hit: NDArray[np.bool_], fault: Planted, window: tuple[float, float]
) -> Rows:
    """Told again and again as covered, nobody counted."""
    rows = {name: values[~hit] for name, values in rows.items()}
    again_s = np.arange(fault.begin_s, fault.end_s, STUCK_S)
    sent_s = again_s + STUCK_S
    again_s = again_s[(sent_s >= window[0]) & (sent_s < window[1])]
    made = {
        "sensor": np.full(len(again_s), fault.number),
        "time": again_s,
        "order": again_s + STUCK_S,
        "on_ms": np.full(len(again_s), 1000 * STUCK_S),
        "speed_cmps": np.zeros(len(again_s)),
        "length_dm": np.full(len(again_s), 255),
    }
    return {name: np.concatenate([values, made[name]]) for name, values in rows.items()}


def _repeated(rows: Rows, hit: NDArray[np.bool_], kind: str) -> Rows:
    times = np.where(hit, 4 if kind == "chatter" else 3, 1)
    spread = np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)
    rows = {name: np.repeat(values, times) for name, values in rows.items()}
    broken = np.repeat(hit, times)
    for name in ("time", "order"):
        rows[name] = rows[name] + np.where(broken, 0.11 * spread, 0.0)
    if kind == "chatter":
        rows["on_ms"] = np.where(broken, 40, rows["on_ms"])
    return rows


def _held(vehicle: NDArray[np.generic], place: int) -> NDArray[np.float64]:
    """A receiver without a fix goes on telling the place it last knew."""
    return place + (vehicle.astype(np.uint64) >> np.uint64(40)).astype(np.float64) % 1000
