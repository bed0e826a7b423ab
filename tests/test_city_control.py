"""Level 2 of a city: sub-areas, plans that go with the traffic, gates, and the plan library."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import networks
from tests.scenario_files import make_net, topis, write_config, write_demand
from tests.test_cosmos import nothing, traffic
from topis.control.areas import (
    LEAST_COUPLING,
    MOST_CYCLE_RATIO,
    Areas,
    coupling,
    held,
    marry,
    pairs_of,
)
from topis.control.city import City, CitySettings
from topis.control.coordination import find_feeds
from topis.control.cosmos import Cosmos, CosmosSettings
from topis.control.gating import GAIN_I_VPS, PRIOR_FILL, Gating, regions
from topis.control.living_plan import LivingPlan
from topis.control.plan_library import PlanLibrary
from topis.control.protocol import Why
from topis.control.service import service_table
from topis.control.streams import ENDLESS_VEH
from topis.estimation.estimator import VOUCHED
from topis.ingest.network_file import load_network
from topis.model.network import Network
from topis.model.state import TrafficState
from topis.safety.guard import Guard
from topis.units import JAM_SPACING_M

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Eight by eight signals."""
    net = make_net(tmp_path_factory.mktemp("grid"), columns=8, rows=8)
    return load_network(net).network


@pytest.fixture(scope="module")
def gangnam() -> Network:
    folder = ROOT / "scenarios" / "gangnam"
    return load_network(folder / "gangnam.net.xml.gz", (folder / "gangnam.add.xml",)).network


# ---- sub-areas ----


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_marriage_keeps_its_rules(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 30))
    most = data.draw(st.integers(1, 8))
    drawn = data.draw(
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=60)
    )
    pairs = np.array([(min(p), max(p)) for p in drawn if p[0] != p[1]], np.int64).reshape(-1, 2)
    strength = st.floats(0, 10)
    index = np.array(data.draw(st.lists(strength, min_size=len(pairs), max_size=len(pairs))))
    cycle_s = np.array(data.draw(st.lists(st.floats(40, 160), min_size=count, max_size=count)))
    area = marry(count, pairs, index, cycle_s, most)
    assert np.bincount(area).max() <= most
    # Numbered by their first junctions.
    assert list(dict.fromkeys(area.tolist())) == list(range(area.max() + 1))
    for number in range(area.max() + 1):
        members = np.flatnonzero(area == number)
        assert cycle_s[members].max() <= MOST_CYCLE_RATIO * cycle_s[members].min() + 1e-9
        # Coupled through members alone.
        inside = (area[pairs[:, 0]] == number) & (area[pairs[:, 1]] == number)
        strong = pairs[inside & (index >= LEAST_COUPLING)]
        reached = {int(members[0])}
        for _ in members:
            reached |= {int(b) for a, b in strong if a in reached}
            reached |= {int(a) for a, b in strong if b in reached}
        assert reached == set(members.tolist())


def test_who_has_more_traffic_between_them_is_married_first(grid: Network) -> None:
    feeds = find_feeds(grid)
    flow = np.full(grid.lanes, 0.02)
    busy = np.flatnonzero(grid.link_junction[feeds.link] == 27)
    lanes = grid.conn_from_lane[np.isin(grid.conn_move, feeds.move[busy])]
    flow[lanes] = 0.4
    pairs, index = pairs_of(grid, feeds, coupling(grid, feeds, flow))
    area = marry(grid.junctions, pairs, index, np.full(grid.junctions, 90.0), most=5)
    closest = pairs[int(np.argmax(index))]
    assert area[closest[0]] == area[closest[1]]


def test_coupling_falls_with_distance_and_grows_with_traffic(grid: Network) -> None:
    feeds = find_feeds(grid)
    flow = np.full(grid.lanes, 0.1)
    index = coupling(grid, feeds, flow)
    assert coupling(grid, feeds, 2 * flow) == pytest.approx(2 * index)
    far = dataclasses.replace(feeds, travel_s=3 * feeds.travel_s)
    # Three times as far: a third, and platoons that have spread on top.
    assert (coupling(grid, far, flow) < index / 3).all()


def test_areas_stay_unless_others_hold_more(grid: Network) -> None:
    areas = Areas(grid, find_feeds(grid))
    cycle_s = np.full(grid.junctions, 90.0)
    flow = np.full(grid.lanes, 0.15)
    assert areas.remarry(flow, cycle_s)
    kept = areas.number.copy()
    rng = np.random.default_rng(1)
    assert not areas.remarry(flow * rng.uniform(0.95, 1.05, grid.lanes), cycle_s)
    assert (areas.number == kept).all()
    other = np.full(grid.lanes, 0.01)
    other[rng.permutation(grid.lanes)[: grid.lanes // 3]] = 0.5
    pairs, index = pairs_of(grid, find_feeds(grid), coupling(grid, find_feeds(grid), other))
    before = held(kept, pairs, index)
    if areas.remarry(other, cycle_s):
        assert held(areas.number, pairs, index) > before


# ---- plans that go with the traffic ----


def test_the_plan_ahead_is_what_its_cycles_show(gangnam: Network) -> None:
    """Second by second the row tells what the running cycle commands."""
    living = LivingPlan(gangnam, CosmosSettings(first_s=0, period_s=60))
    cosmos = Cosmos(gangnam, CosmosSettings(first_s=0, period_s=60))
    rng = np.random.default_rng(3)
    flow = rng.uniform(0.02, 0.3, gangnam.lanes)
    for second in range(700):
        state = traffic(gangnam, 1000 * second, flow)
        living.update(state, nothing(gangnam))
        wanted = cosmos.decide(state, nothing(gangnam)).stage
        ahead = living.ahead(second, 2)
        assert (gangnam.junction_stage_ptr[:-1] + ahead[:, 0] == wanted).all()


def test_other_areas_keep_every_cycle_whole(grid: Network) -> None:
    """Regrouped in the middle of it, cycles still hold their least greens and never jump."""
    settings_ = CosmosSettings(first_s=0, period_s=60)
    control = Cosmos(grid, settings_)
    rng = np.random.default_rng(4)
    flow = rng.uniform(0.02, 0.3, grid.lanes)
    last = None
    for second in range(900):
        if second in (300, 600):
            area = rng.integers(0, 12, grid.junctions)
            order = list(dict.fromkeys(area.tolist()))
            control.regroup(np.array([order.index(a) for a in area]), 1000 * second)
        control.decide(traffic(grid, 1000 * second, flow), nothing(grid))
        starts = control.running.start_ms
        if last is not None:
            grown = (starts - last)[starts != last]
            assert (grown <= 1000 * 140).all()
        last = starts.copy()
        _, seconds = control.running.steps_of(np.arange(grid.junctions))
        assert (seconds >= 5).all()
    area = control.area
    for number in range(area.max() + 1):
        cycle = [plan.cycle_ms for plan in control.plans if area[plan.junction] == number]
        assert max(cycle) - min(cycle) <= 2 * 1000 * settings_.offset_step_s + 1000


# ---- gates ----


def crowded(network: Network, time_ms: int, fill: np.ndarray, through: float) -> TrafficState:
    """Each lane filled by a share of its room, each letting so many vehicles a second go."""
    room = np.maximum(network.lane_length_m / JAM_SPACING_M, 1.0)
    state = traffic(network, time_ms, through)
    vehicles = (fill * room).astype(np.float32)
    return dataclasses.replace(state, vehicles_veh=vehicles, queue_veh=0.2 * vehicles)


def test_regions_are_compact_and_small_enough(grid: Network) -> None:
    region = regions(grid, most=20)
    assert np.bincount(region).max() <= 20
    assert np.bincount(region).min() >= 10
    for number in range(region.max() + 1):
        mine = grid.junction_xy_m[region == number]
        box = np.prod(np.ptp(mine, axis=0) + 160.0)
        assert box < 0.5 * np.prod(np.ptp(grid.junction_xy_m, axis=0) + 160.0)


def test_an_overloaded_region_is_gated_and_opens_again(grid: Network) -> None:
    region = regions(grid, most=-(-grid.junctions // 2))
    gating = Gating(grid, region)
    of_lane = np.full(grid.lanes, -1)
    lanes = grid.approach_lanes
    of_lane[lanes] = region[grid.link_junction[grid.lane_link[lanes]]]
    endless = np.full(grid.lanes, ENDLESS_VEH)
    quiet = np.where(of_lane >= 0, 0.1, 0.0)
    jam = np.where(of_lane == 0, PRIOR_FILL + 0.15, quiet)
    for second in range(200):
        gating.update(crowded(grid, 1000 * second, quiet, 0.1))
    assert not gating.state.gated.any()
    assert (gating.hold(endless, endless)[0] == ENDLESS_VEH).all()
    for second in range(200, 500):
        gating.update(crowded(grid, 1000 * second, jam, 0.1))
    assert gating.state.gated.tolist() == [True, False]
    room, refill = gating.hold(endless, endless)
    closed = np.flatnonzero(refill < ENDLESS_VEH)
    # Only roads into the region from another one are held, and none is shut.
    assert len(closed)
    assert (of_lane[closed] == 1).all()
    assert (refill[closed] > 0).all()
    assert (room[closed] < 20).all()
    for second in range(500, 900):
        gating.update(crowded(grid, 1000 * second, quiet, 0.1))
    assert not gating.state.gated.any()
    assert (gating.hold(endless, endless)[1] == ENDLESS_VEH).all()
    told = " ".join(text for _, text in gating.notes)
    assert "gated" in told
    assert "open again" in told


def test_gates_that_close_at_the_first_count_begin_at_what_comes(grid: Network) -> None:
    """Who was there before has not come in the last minute."""
    gating = Gating(grid, regions(grid, most=-(-grid.junctions // 2)))
    jam = np.full(grid.lanes, PRIOR_FILL + 0.01)
    for second in range(62):
        gating.update(crowded(grid, 1000 * second, jam, 0.2))
    told = gating.state
    assert told.gated.all()
    over_veh = told.vehicles_veh - told.critical_veh
    comes_vps = told.inflow_vps + GAIN_I_VPS * over_veh
    assert (comes_vps > told.inflow_vps).all()
    into = [comes_vps[region] / 0.2 for region in range(2)]
    # As many veh/s as the gates' flows, taken by their shares: a whole number of full lanes.
    assert into == pytest.approx(np.rint(into), abs=1e-3)


def test_a_gate_whose_own_queue_spills_back_is_open(grid: Network) -> None:
    region = regions(grid, most=-(-grid.junctions // 2))
    gating = Gating(grid, region)
    for second in range(400):
        state = crowded(grid, 1000 * second, np.full(grid.lanes, PRIOR_FILL + 0.2), 0.1)
        room = np.maximum(grid.lane_length_m / JAM_SPACING_M, 1.0)
        gating.update(dataclasses.replace(state, queue_veh=(0.9 * room).astype(np.float32)))
    assert gating.state.gated.all()
    endless = np.full(grid.lanes, ENDLESS_VEH)
    assert (gating.hold(endless, endless)[1] == ENDLESS_VEH).all()


def test_the_top_of_the_diagram_is_learned(grid: Network) -> None:
    """Throughput that falls beyond a fill puts the critical number there."""
    gating = Gating(grid, regions(grid, most=-(-grid.junctions // 2)))
    room = np.maximum(grid.lane_length_m[grid.approach_lanes] / JAM_SPACING_M, 1.0)
    second = 0
    for fill in np.repeat([0.05, 0.1, 0.15, 0.2, 0.25, 0.3], 12):
        through = 0.2 * (1 - ((fill - 0.15) / 0.2) ** 2)
        for _ in range(60):
            gating.update(crowded(grid, 1000 * second, np.full(grid.lanes, fill), through))
            second += 1
    region = gating.region[grid.link_junction[grid.lane_link[grid.approach_lanes]]]
    critical = gating.state.critical_veh / np.bincount(region, room)
    assert critical == pytest.approx([0.165, 0.165], abs=0.04)


# ---- the library ----

BY_DAY = """<additional>
  <tlLogic id="{light}" type="static" programID="{name}" offset="{offset}">{phases}</tlLogic>
</additional>
"""


@pytest.fixture
def two_plans(tmp_path: Path) -> Network:
    """One crossing with two programs: one for each of its streets."""
    net = make_net(tmp_path, columns=1, rows=1)
    text = net.read_text()
    found = re.search(r'<tlLogic id="([^"]+)".*?</tlLogic>', text, re.DOTALL)
    assert found
    phases = re.findall(r"<phase [^>]*/>", found[0])
    other = []
    for phase in phases:
        duration = int(re.search(r'duration="(\d+)"', phase)[1])  # type: ignore[index]
        first = len(other) == 0
        longer = duration if duration < 10 else (60 if first else 10)
        other.append(re.sub(r'duration="\d+"', f'duration="{longer}"', phase))
    swapped = [
        re.sub(r'duration="(60|10)"', lambda m: f'duration="{70 - int(m[1])}"', p) for p in other
    ]
    files = []
    for name, rows, offset in (("east", other, 0), ("north", swapped, 7)):
        file = tmp_path / f"{name}.add.xml"
        file.write_text(
            BY_DAY.format(light=found[1], name=name, offset=offset, phases="".join(rows))
        )
        files.append(file)
    return load_network(net, tuple(files)).network


def test_the_plan_for_the_traffic_is_chosen(two_plans: Network) -> None:
    library = PlanLibrary(two_plans)
    area = np.zeros(two_plans.junctions, np.int32)
    of_name = {two_plans.program_ids[p]: p for p in range(len(two_plans.program_ids))}
    for look, name in enumerate(("east", "north", "east")):
        steps = slice(*two_plans.program_stage_ptr[of_name[name] : of_name[name] + 2])
        longest = two_plans.program_stage[steps][two_plans.program_split_ms[steps].argmax()]
        service = service_table(two_plans)
        lanes = service.lane[service.ptr[longest] : service.ptr[longest + 1]]
        flow = np.full(two_plans.lanes, 0.01, np.float32)
        flow[lanes] = 0.25
        library.update(1_000_000 * look, flow, area)
        assert name in {two_plans.program_ids[p] for p in library.program.tolist()}
        rows = library.ahead(7, int(two_plans.program_cycle_ms[of_name[name]]) // 1000)
        junction = int(two_plans.stage_junction[longest])
        stage = int(two_plans.junction_stage_ptr[junction]) + rows[junction]
        assert set(stage.tolist()) == set(two_plans.program_stage[steps].tolist())
        assert np.bincount(stage).argmax() == longest
    assert any("transition" in text for _, text in library.notes)


def test_a_change_must_gain_more_than_it_costs(two_plans: Network) -> None:
    library = PlanLibrary(two_plans)
    area = np.zeros(two_plans.junctions, np.int32)
    before = library.program.copy()
    library.update(0, np.full(two_plans.lanes, 1e-6, np.float32), area)
    assert (library.program == before).all()
    assert not library.notes


def test_a_plan_that_leaves_out_a_street_is_not_changed_to(two_plans: Network) -> None:
    """However little comes there: who waits would wait for ever."""
    first, last = two_plans.program_stage_ptr[1:3]
    stage = two_plans.program_stage.copy()
    stage[first:last] = stage[first]
    partial = dataclasses.replace(two_plans, program_stage=stage)
    service = service_table(partial)
    flow = np.full(partial.lanes, 1e-4, np.float32)
    flow[service.lane[service.ptr[stage[first]] : service.ptr[stage[first] + 1]]] = 0.3
    area = np.zeros(partial.junctions, np.int32)
    chosen = set()
    for network in (two_plans, partial):
        library = PlanLibrary(network)
        for look in range(3):
            library.update(1_000_000 * look, flow, area)
        chosen.add(int(library.program[0]))
        assert network is two_plans or library.program[0] != 1
    assert 1 in chosen


def test_without_signals_there_are_no_plans() -> None:
    assert not len(PlanLibrary(networks.build([])).program)


# ---- all of it ----


def test_any_number_of_threads_finds_the_same(grid: Network) -> None:
    """Queues at random: every choice and what it would cost, each second."""
    rng = np.random.default_rng(1)
    one, three = (City(grid, CitySettings(threads=n)) for n in (1, 3))
    guard, weighed = Guard(grid, 0), 0
    for second in range(40):
        state = crowded(grid, 1000 * second, rng.random(grid.lanes), 0.05)
        mine, theirs = (control.decide(state, guard.state()) for control in (one, three))
        np.testing.assert_array_equal(mine.stage, theirs.stage)
        guard.step(mine)
        for a, b in zip(vars(one.reasons()).values(), vars(three.reasons()).values(), strict=True):
            np.testing.assert_array_equal(a, b)
        weighed += int(one.reasons().weighed.sum())
    assert weighed > 10 * grid.junctions


def test_in_simulation_and_by_plan_where_nobody_counts(tmp_path: Path) -> None:
    """A grid of which no signal has a sensor runs by plan; with sensors it does not."""
    net = make_net(tmp_path, columns=3, rows=3)
    config = write_config(tmp_path, net.name, write_demand(net, end_s=300).name, end_s=300)
    (tmp_path / "none.toml").write_text("[sensing]\nloop_approach_share = 0.0\n")
    (tmp_path / "all.toml").write_text("[sensing]\nloop_approach_share = 1.0\n")
    for layout in ("none", "all"):
        topis(
            "simulate", config, "-c", "city", "--sensing", f"{layout}.toml", "--out", layout,
            "--no-report", cwd=tmp_path,
        )  # fmt: skip
        done = topis("verify", f"{layout}/city-seed1", cwd=tmp_path)
        assert "all the same" in done.stdout
    network = load_network(net).network
    control = City(network, CitySettings())
    state = traffic(network, 0, 0.05)
    dark = dataclasses.replace(state, confidence=np.zeros(network.lanes, np.float32))
    signals = dataclasses.replace(
        nothing(network), stage=network.junction_stage_ptr[:-1].astype(np.int32)
    )
    control.decide(dark, signals)
    assert control.frame.by_plan.all()
    assert (control.reasons().why[: network.junctions] == Why.BY_PLAN).all()
    control.decide(dataclasses.replace(state, time_ms=1000), signals)
    assert not control.frame.by_plan.any()
    # Nobody counts where probes alone vouch for the flow: they may have fallen silent as well.
    vouched = np.full(network.lanes, VOUCHED, np.float32)
    control.decide(dataclasses.replace(state, time_ms=2000, confidence=vouched), signals)
    assert control.frame.by_plan.all()
