"""A day of ticks of a whole city: how long each took, and what memory the process held.

Usage: python bench/city_day.py CITY OUT [--hours 24] [--begin 0] [--controller city]
           [--threads 1] [--at-most SECONDS]

CITY is a folder of `topis city build`. OUT gets day.json (by hour: ticks, percentiles of their
time, records, resident memory) and day.png (histogram of tick times, memory by hour). A tick is
all from the observation to the guard's lamps; making the observation is the feed's own time.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from city_feed import city_street, city_streets
from matplotlib.figure import Figure

from topis.control.registry import make_controller
from topis.estimation.estimator import Estimator
from topis.model.observation import Observation
from topis.run.loop import run_loop
from topis.run.street_model import ModelStreet


def resident_mb() -> float:
    """Memory the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


class Watch:
    """The street with a stopwatch at its doors, and recorder and clock of the loop."""

    def __init__(self, street: ModelStreet, until_s: float) -> None:
        self._street = street
        self._until_s = until_s
        self._began_s = self._cpu_s = 0.0
        self.tick_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.feed_s = 0.0
        self.records = 0
        self.hours: list[dict[str, float]] = []
        self.show = street.show
        self.changed_lamps = street.changed_lamps

    def next(self) -> Observation | None:
        began_s = time.perf_counter()
        observation = self._street.next()
        self._began_s, self._cpu_s = time.perf_counter(), time.process_time()
        self.feed_s += self._began_s - began_s
        if observation is not None:
            readings = int(np.isfinite(observation.reading[:, 0]).sum())
            self.records += readings + len(observation.probes.lane)
        return observation

    def record(self, *_: object) -> None:
        self.tick_ms.append(1000 * (time.perf_counter() - self._began_s))
        self.cpu_ms.append(1000 * (time.process_time() - self._cpu_s))

    def tick(self, time_ms: int) -> bool:
        if time_ms % 3_600_000 == 0 and len(self.tick_ms) > 1:
            self._end_hour(time_ms)
        return time.perf_counter() < self._until_s

    def _end_hour(self, time_ms: int) -> None:
        of_hour = np.array(self.tick_ms[-3600:])
        cpu = np.array(self.cpu_ms[-3600:])
        row = {
            "until_h": time_ms / 3_600_000,
            "p50_ms": float(np.median(of_hour)),
            "p99_ms": float(np.quantile(of_hour, 0.99)),
            "max_ms": float(of_hour.max()),
            "cpu_p50_ms": float(np.median(cpu)),
            "cpu_p99_ms": float(np.quantile(cpu, 0.99)),
            "records_per_s": self.records / len(of_hour),
            "vehicles": float(self._street.model.under_way_veh),
            "resident_mb": resident_mb(),
        }
        self.records = 0
        self.hours.append(row)
        print(json.dumps(row), flush=True)


def draw(watch: Watch, path: Path) -> None:
    """Histogram of the ticks, and memory by hour."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    ticks = np.array(watch.tick_ms)
    left.hist(ticks, bins=np.geomspace(max(ticks.min(), 1.0), ticks.max() + 1, 80), color="#2c7fb8")
    for share, style in ((0.5, "-"), (0.99, "--")):
        value = float(np.quantile(ticks, share))
        left.axvline(
            value, color="#d7301f", linestyle=style, label=f"P{100 * share:g}: {value:.0f} ms"
        )
    left.set(xscale="log", yscale="log", xlabel="time of a tick (ms)", ylabel="ticks")
    left.set_title(f"{len(ticks):,} ticks of a second")
    left.legend()
    hours = [row["until_h"] for row in watch.hours]
    resident = [row["resident_mb"] for row in watch.hours]
    right.plot(hours, resident, marker="o", color="#41ab5d")
    right.set(xlabel="hour of the day", ylabel="resident memory (MB)")
    right.set_ylim(0, 1.1 * max(resident, default=1.0))
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("city", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--begin", type=int, default=0, help="hour of the day")
    parser.add_argument("--controller", default="city")
    parser.add_argument("--threads", type=int, default=1, help="of the search")
    parser.add_argument("--at-most", type=float, default=1e9, help="stop after so many seconds")
    chosen = parser.parse_args()
    network, sensors = city_streets(chosen.city)
    begin_s = 3600 * chosen.begin
    end_s = begin_s + round(3600 * chosen.hours)
    watch = Watch(
        city_street(network, sensors, begin_s, end_s, 1), time.perf_counter() + chosen.at_most
    )
    controller = make_controller(chosen.controller, network, {"threads": chosen.threads})
    run_loop(network, watch, Estimator(network, sensors), controller, watch, watch, watch)
    chosen.out.mkdir(parents=True, exist_ok=True)
    ticks = np.array(watch.tick_ms)
    facts = {
        "signals": network.junctions,
        "ticks": len(ticks),
        "p50_ms": float(np.median(ticks)),
        "p99_ms": float(np.quantile(ticks, 0.99)),
        "p999_ms": float(np.quantile(ticks, 0.999)),
        "max_ms": float(ticks.max()),
        "feed_s": watch.feed_s,
        "hours": watch.hours,
        "notes": [[t, text] for t, text in getattr(controller, "notes", [])][-200:],
    }
    (chosen.out / "day.json").write_text(json.dumps(facts, indent=1) + "\n")
    draw(watch, chosen.out / "day.png")


if __name__ == "__main__":
    main()
