"""A tick of the whole city, from observations to guarded commands, and what it grows with.

The city is one of `topis city build` (4,500 signals, all adaptive; BENCH_CITY names one that is
there already); traffic is the feed of `city_feed.py` in the morning peak. CPU time of the process,
which is the time on one core: nothing in the loop uses a second one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from city_day import Watch, resident_mb
from city_feed import city_street, city_streets
from pytest_benchmark.fixture import BenchmarkFixture

from topis.control.registry import make_controller
from topis.estimation.estimator import Estimator
from topis.ingest.city.build import CityOptions, build_city
from topis.run.loop import run_loop

CITY, SMALL = 4500, 450
#: The streets fill for so long; then ticks are measured, over two appraisals of the sub-areas (s).
WARM_UP_S, MEASURED_S = 900, 600
BEGIN_S = 8 * 3600


def built(folder: Path, signals: int) -> Path:
    given = os.environ.get("BENCH_CITY")
    if given and signals == CITY:
        return Path(given)
    city = folder / str(signals)
    if not city.exists():
        build_city(city, CityOptions("seoul", signals, 1, None, False), lambda *_: None)
    return city


def ticks(city: Path) -> tuple[Watch, int]:
    """A morning's ticks, and how many signals they are for."""
    network, sensors = city_streets(city)
    end_s = BEGIN_S + WARM_UP_S + MEASURED_S
    watch = Watch(city_street(network, sensors, BEGIN_S, end_s, 1), float("inf"))
    controller = make_controller("city", network)
    run_loop(network, watch, Estimator(network, sensors), controller, watch, watch, watch)
    return watch, network.junctions


def test_tick(
    benchmark: BenchmarkFixture,
    figure: Callable[[str, float, str], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("city")
    whole = benchmark.pedantic(lambda: ticks(built(folder, CITY)), rounds=1)
    small = ticks(built(folder, SMALL))
    each_us = []
    for watch, signals in (small, whole):
        cpu_ms = np.array(watch.cpu_ms[WARM_UP_S:])
        each_us.append(1000 * float(cpu_ms.mean()) / signals)
    watch, signals = whole
    cpu_ms = np.array(watch.cpu_ms[WARM_UP_S:])
    figure("city.tick_p50", float(np.median(cpu_ms)), "ms")
    figure("city.tick_p99", float(np.quantile(cpu_ms, 0.99)), "ms")
    figure("city.tick_max", float(cpu_ms.max()), "ms")
    figure("city.tick_records", watch.records / len(watch.cpu_ms), "records/s")
    figure("city.tick_signals", float(signals), "signals")
    figure("city.tick_growth", each_us[1] / each_us[0], "x")
    figure("city.tick_resident", resident_mb(), "MB")
