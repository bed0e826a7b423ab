"""What-if: the queue model against theory, its sensors, the fit to counts, and the answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.hand_journal import loops
from tests.networks import Group, Junction, build
from topis.errors import InputError
from topis.estimation.demand import fit_demand
from topis.ingest.synth_traffic import conn_chances
from topis.model.network import Network
from topis.model.observation import Observation, SensorTable
from topis.report.whatif_figure import draw_whatif
from topis.report.whatif_result import BLOCK_S, INCONCLUSIVE, Drives, judge, write_whatif
from topis.report.whatif_table import format_whatif
from topis.run.factual import GreensAsStaged
from topis.run.model_sensors import ModelSensors
from topis.run.street_drive import draw_entries
from topis.run.street_model import Behaviour, Entries, LocalPrograms, StreetModel
from topis.run.whatif import whatif
from topis.units import BASE_SAT_FLOW_VPS

BEGIN_S = 36_000
TWO_ROADS = Junction(
    groups=[Group(), Group()],
    intergreen_ms={(0, 1): 5000, (1, 0): 5000},
    stages=["Gr", "rG"],
)


def streets() -> Network:
    """A junction of two roads, cycle 40 s, 15 s of green each."""
    return build([TWO_ROADS])


def behaviour(network: Network) -> Behaviour:
    return Behaviour(np.full(network.lanes, 1.0 / BASE_SAT_FLOW_VPS), 1.0, 4.0)


def poisson(network: Network, vph: tuple[float, float], seconds: int, seed: int) -> Entries:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(np.array(vph) * seconds / 3600.0)
    link = np.repeat([0, 1], counts).astype(np.int32)
    at_s = BEGIN_S + np.concatenate([np.sort(seconds * rng.random(count)) for count in counts])
    return Entries(link, at_s, np.arange(1, len(link) + 1, dtype=np.int64))


def drive(network: Network, entries: Entries, seconds: int) -> StreetModel:
    model = StreetModel(network, conn_chances(network), entries, behaviour(network), BEGIN_S)
    lamps = LocalPrograms(network)
    for _ in range(seconds):
        model.step(lamps.at(model.now_s))
    return model


class Made:
    """What loops told of a made-up hour: the model itself stands for the street."""

    def __init__(self, vph: tuple[float, float], seconds: int = 1800, seed: int = 5) -> None:
        self.network = streets()
        self.sensors: SensorTable = loops(self.network, [0, 1])
        self.controller: str | None = None
        self.settings: Mapping[str, float] = {}
        self._entries = poisson(self.network, vph, seconds, seed)
        self._seconds = seconds
        self.dark = False

    def ticks(self) -> Iterator[tuple[Observation, NDArray[np.uint8]]]:
        network = self.network
        model = StreetModel(
            network, conn_chances(network), self._entries, behaviour(network), BEGIN_S
        )
        eyes, lamps = ModelSensors(network, self.sensors), LocalPrograms(network)
        shown = lamps.at(model.now_s)
        yield eyes.read(model), shown
        for _ in range(self._seconds):
            shown = np.zeros_like(shown) if self.dark else lamps.at(model.now_s)
            model.step(shown)
            yield eyes.read(model), shown


# ---- the model ----


def test_no_vehicle_is_lost_or_made() -> None:
    network = streets()
    entries = poisson(network, (500.0, 900.0), 900, seed=1)
    model = drive(network, entries, 900)
    assert model.left_veh + model.under_way_veh + model.outside_veh == len(entries)
    assert model.left_veh > 0.5 * len(entries)


@pytest.mark.parametrize("vph", [200.0, 400.0, 560.0])
def test_delay_at_a_fixed_time_signal_is_websters(vph: float) -> None:
    network = streets()
    hours = 6
    entries = poisson(network, (vph, 0.0), 3600 * hours, seed=3)
    waits = drive(network, entries, 3600 * hours).waits()
    at_signal = waits.junction == 0
    found_s = (waits.until_s - waits.from_s)[at_signal].sum() / len(entries)
    lamps = LocalPrograms(network)
    shown = np.array([lamps.at(second) for second in range(40)])[:, 0]
    # Effective green: what is green, a second of yellow, less the start.
    green_s = float((shown == 3).sum()) + 1.0 - 1.0 + 0.5
    cycle_s, flow = 40.0, vph / 3600.0
    share = green_s / cycle_s
    used = flow / (BASE_SAT_FLOW_VPS * share)
    # Webster 1958, Road Research Technical Paper 39: d = 0.9 (d1 + d2).
    theory_s = 0.9 * (
        cycle_s * (1.0 - share) ** 2 / (2.0 * (1.0 - used * share))
        + used**2 / (2.0 * flow * (1.0 - used))
    )
    assert found_s == pytest.approx(theory_s, rel=0.15)


def test_loops_count_whom_the_model_lets_past() -> None:
    made = Made((300.0, 500.0), seconds=900)
    readings = np.array([observation.reading for observation, _ in made.ticks()])
    model = drive(made.network, made._entries, 900)
    stop, advance = readings[:, [0, 2], 0].sum(axis=0), readings[:, [1, 3], 0].sum(axis=0)
    # Between the loop and the line there is room for one.
    assert np.abs(stop - model.gone[:2]).max() <= 2
    assert (advance >= stop).all()
    assert (advance - stop <= 10).all()
    assert (readings[:, :, 1] <= 1.0).all()
    assert (readings[:, :, 1] >= 0.0).all()


def test_greens_give_way_as_the_stages_have_it() -> None:
    network = build([dataclasses.replace(TWO_ROADS, intergreen_ms={}, stages=["Gg", "rG", "gr"])])
    greens = GreensAsStaged(network)
    shown = [greens.of(np.array(code, np.uint8)).tolist() for code in ([3, 3], [0, 3], [3, 1])]
    assert shown == [[3, 2], [0, 3], [2, 1]]


# ---- the demand ----


def test_demand_explains_the_counts() -> None:
    network = streets()
    came = np.array([[40.0, 70.0], [60.0, 50.0]])
    demand = fit_demand(network, conn_chances(network), came, np.array([0, 1]), 0)
    assert demand.misfit < 0.01
    np.testing.assert_allclose(demand.entry_veh[:, :2], came, rtol=0.02)
    entries = draw_entries(network, demand, 0, np.random.default_rng(1))
    assert np.abs(np.bincount(entries.link, minlength=2)[:2] - came.sum(axis=0)).max() <= 1


# ---- answers ----


def test_the_same_plan_makes_no_difference() -> None:
    found = whatif(Made((250.0, 350.0)), "shipped", seeds=3)
    assert abs(found.difference_s) < 0.02 * found.delay_a_s
    assert found.verdict == INCONCLUSIVE
    # The made-up street is the model with other vehicles: its queues are nearly the same.
    assert found.error_share < 0.25


def test_an_answer_is_the_same_again_and_can_be_told(tmp_path: Path) -> None:
    found, again = (whatif(Made((300.0, 600.0)), "actuated", seeds=2) for _ in range(2))
    for field in dataclasses.fields(found):
        np.testing.assert_equal(getattr(found, field.name), getattr(again, field.name))
    assert found.low_s < found.difference_s < found.high_s
    write_whatif(tmp_path / "whatif.json", found)
    stored = json.loads((tmp_path / "whatif.json").read_text())
    assert stored["verdict"] == found.verdict
    assert len(stored["model_b_veh"]) == 1800 // BLOCK_S
    text = "\n".join(format_whatif(found))
    assert "model's error on A" in text
    draw_whatif(found, tmp_path / "whatif.svg")
    assert (tmp_path / "whatif.svg").stat().st_size > 5000


def test_a_part_of_a_slice_is_asked_about() -> None:
    begin_ms = 1000 * (BEGIN_S + 900)
    found = whatif(Made((300.0, 500.0)), "actuated", seeds=2, begin_ms=begin_ms)
    assert found.begin_ms == begin_ms
    assert found.end_ms == 1000 * (BEGIN_S + 1800)


def drives(a: float, b: float, queue: float) -> list[Drives]:
    values = [np.full((6, 2), value / 12.0) for value in (a, b, queue, queue)]
    return [Drives(100, *values)] * 3


@pytest.mark.parametrize(
    ("b", "queue", "verdict"),
    [(400.0, 2000.0, "better"), (9000.0, 2000.0, "worse"), (1900.0, 2000.0, "inconclusive"),
     (400.0, 20_000.0, "inconclusive")],
)  # fmt: skip
def test_a_claim_is_made_only_where_the_model_bears_it(
    b: float, queue: float, verdict: str
) -> None:
    found = judge(
        controller="x", settings={}, begin_ms=0, junction_ids=("j",),
        measured_queue_veh_s=np.full((6, 2), 2000.0 / 12.0), drives=drives(2000.0, b, queue),
        demand_misfit=0.0, counted_share=1.0,
    )  # fmt: skip
    assert found.verdict == verdict
    assert len(found.junctions) == 1


# ---- what cannot be answered ----


def test_what_a_slice_must_have() -> None:
    short = Made((300.0, 500.0), seconds=300)
    with pytest.raises(InputError, match="at least 10 minutes"):
        whatif(short, "actuated")
    blind = Made((300.0, 500.0))
    blind.sensors = dataclasses.replace(
        blind.sensors, alive=np.zeros(len(blind.sensors), dtype=bool)
    )
    with pytest.raises(InputError, match="no sensor that works"):
        whatif(blind, "actuated")
    empty = Made((0.0, 0.0))
    with pytest.raises(InputError, match="no sensor counted a vehicle"):
        whatif(empty, "actuated")
    dark = Made((300.0, 500.0))
    dark.dark = True
    with pytest.raises(InputError, match="ever green"):
        whatif(dark, "actuated")
    with pytest.raises(InputError, match="unknown"):
        whatif(Made((300.0, 500.0)), "wishful")
    with pytest.raises(InputError, match="at least 2"):
        whatif(Made((300.0, 500.0)), "actuated", seeds=1)
    with pytest.raises(InputError, match="later begin"):
        whatif(Made((300.0, 500.0)), "actuated", begin_ms=1000 * (BEGIN_S - 60))
