"""Measures against numbers worked out by hand, and a page that stands on its own."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from topis.errors import InputError, OutputError
from topis.report.comparison import (
    compare,
    format_table,
    mean_interval,
    metrics_json,
    t_quantile,
    timings_json,
)
from topis.report.figures import time_space
from topis.report.html import Picture, draw_pictures, headline, write_report
from topis.report.measures import Measures, measure_run

VEHICLES: dict[str, list[Any]] = {
    "vehicle": ["a", "b", "c", "d"],
    "depart_s": [0.0, 10.0, 20.0, 30.0],
    "depart_delay_s": [0.0, 2.0, 4.0, 90.0],
    "time_loss_s": [10.0, 20.0, 60.0, None],
    "network_time_s": [50.0, 70.0, 120.0, 90.0],
    "waiting_s": [5.0, 10.0, 40.0, None],
    "stops": [1, 2, 3, 0],
    "status": ["arrived", "arrived", "running", "waiting"],
    "vclass": ["passenger", "bus", "passenger", "passenger"],
}
LINKS: dict[str, list[Any]] = {
    "interval_begin_s": [0.0, 0.0, 0.0, 60.0, 60.0],
    "interval_s": [60.0] * 5,
    "link": ["in", "out", "x", "in", "out"],
    "junction": [0, -1, 1, 0, -1],
    "time_loss_s": [30.0, 99.0, 0.0, 60.0, 99.0],
    "waiting_s": [60.0, 30.0, 0.0, 120.0, 0.0],
    "vehicles": [2.0, 3.0, 0.0, 1.0, 2.0],
    "co2_g": [500.0, 250.0, 0.0, 250.0, 500.0],
}
CORRIDOR = {
    "name": "Main",
    "links": ["in", "out"],
    "stop_lines": [{"junction": 0, "position_m": 100.0, "link_id": "in", "head": [1, 2]}],
    "length_m": 200.0,
}


def write_run(
    root: Path,
    controller: str = "shipped",
    seed: int = 1,
    *,
    scale: float = 1.0,
    links: dict[str, list[Any]] | None = None,
    vehicles: dict[str, list[Any]] | None = None,
    counts: dict[str, Any] | None = None,
    wall_s: float = 1.5,
    **manifest: Any,
) -> Path:
    """Write a run folder; `scale` multiplies the time the entered vehicles lose."""
    folder = root / f"run-{len(list(root.iterdir()))}"
    folder.mkdir()
    facts = {
        "controller": controller,
        "seed": seed,
        "sensing": "stop-line loops",
        "scenario": "two junctions",
        "begin_s": 0,
        "end_s": 120,
        "step_s": 1,
        "network_hash": "abc123",
        "ended": "complete",
        "research_only": False,
        "version": "0.1.0",
        "junctions": [{"id": "J0", "x_m": 0, "y_m": 0}, {"id": "J1", "x_m": 300, "y_m": 50}],
        "corridor": CORRIDOR,
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    rows = dict(vehicles or VEHICLES)
    rows["time_loss_s"] = [None if v is None else v * scale for v in rows["time_loss_s"]]
    pq.write_table(pa.table(rows), folder / "vehicles.parquet")
    pq.write_table(pa.table(links or LINKS), folder / "links.parquet")
    signals = {
        "time_ms": pa.array([0, 30_000, 33_000, 60_000, 0], pa.int64()),
        "junction": pa.array([0, 0, 0, 0, 1], pa.int32()),
        "state": ["rGgr", "ryyr", "Grrr", "rGgr", "G"],
    }
    pq.write_table(pa.table(signals), folder / "signals.parquet")
    moves = {
        "time_s": [float(t) for t in range(20)] * 2,
        "vehicle": [0] * 20 + [1] * 20,
        "position_m": [10.0 * t for t in range(20)] + [5.0 * t for t in range(20)],
    }
    pq.write_table(pa.table(moves), folder / "trajectories.parquet")
    numbers = {
        "teleports": 1,
        "collisions": 0,
        "emergency_stops": 2,
        "refusals": {"min_green": 3},
        **(counts or {}),
    }
    (folder / "counts.json").write_text(json.dumps(numbers), encoding="utf-8")
    times = {"wall_s": wall_s, "sumo_s": 1.0, "loop_s": 0.25}
    (folder / "timings.json").write_text(json.dumps(times), encoding="utf-8")
    return folder


def test_measures_by_hand(tmp_path: Path) -> None:
    run = measure_run(write_run(tmp_path))
    assert (run.demanded, run.arrived, run.running, run.never_inserted) == (4, 2, 1, 1)
    # 10 + 0, 20 + 2, 60 + 4, and 90 for the vehicle that never entered.
    assert run.delays_s.tolist() == [10.0, 22.0, 64.0, 90.0]
    assert run.delay_s == pytest.approx(186 / 4)
    assert run.delay_p95_s == pytest.approx(64 + 0.85 * 26)
    assert run.delay_by_class_s == pytest.approx({"bus": 22.0, "passenger": 164 / 3})
    assert run.network_time_s == pytest.approx(330 / 4)
    assert run.stops == pytest.approx(2.0)
    assert run.waiting_max_s == 90.0
    assert run.throughput_vph == pytest.approx(2 * 3600 / 120)
    assert run.co2_kg == pytest.approx(1.5)
    assert run.teleports == 1
    assert run.refusals == {"min_green": 3}


def test_junctions_and_queue_by_hand(tmp_path: Path) -> None:
    run = measure_run(write_run(tmp_path))
    first, second = run.junctions
    assert first.delay_veh_h == pytest.approx(90 / 3600)
    assert first.delay_s == pytest.approx(90 / 3)
    assert math.isnan(second.delay_s)
    assert run.queue_begin_s.tolist() == [0.0, 60.0]
    assert run.queue_veh.tolist() == [1.5, 2.0]


def test_the_worst_approach_is_named_by_its_mean(tmp_path: Path) -> None:
    """Loss and vehicles add up over the intervals; few vehicles and open roads count for none."""
    rows: list[tuple[str, int, float, float]] = [
        ("busy", 0, 100.0, 6.0),
        ("busy", 0, 200.0, 6.0),
        ("hardly used", 1, 900.0, 9.0),
        ("no signal", -1, 9000.0, 100.0),
        ("better", 1, 240.0, 12.0),
    ]
    links: dict[str, list[Any]] = {
        "interval_begin_s": [0.0] * len(rows),
        "interval_s": [60.0] * len(rows),
        "link": [row[0] for row in rows],
        "junction": [row[1] for row in rows],
        "time_loss_s": [row[2] for row in rows],
        "waiting_s": [0.0] * len(rows),
        "vehicles": [row[3] for row in rows],
    }
    assert measure_run(write_run(tmp_path, links=links)).worst_approach_s == pytest.approx(25.0)
    assert math.isnan(measure_run(write_run(tmp_path)).worst_approach_s)


def test_choices_of_policy_are_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "adaptive")
    notes = [{"time_s": 28_800.0 + 300 * k, "text": f"choice <{k}>"} for k in range(42)]
    (folder / "notes.json").write_text(json.dumps({"notes": notes}), encoding="utf-8")
    run = measure_run(folder)
    assert run.choices[:2] == ("08:00:00 choice <0>", "08:05:00 choice <1>")
    page = write_report(tmp_path, [run]).read_text(encoding="utf-8")
    assert "What the controller chose" in page
    assert "08:00:00 choice &lt;0&gt;" in page
    assert "choice &lt;41&gt;" not in page
    assert "and 2 more" in page
    plain = write_report(tmp_path, make(tmp_path, ("shipped", 1, 1.0)))
    assert "What the controller chose" not in plain.read_text(encoding="utf-8")
    (folder / "notes.json").write_text('{"notes": [{"text": 1}]}', encoding="utf-8")
    with pytest.raises(InputError, match="notes as a run writes them"):
        measure_run(folder)


def test_emissions_may_be_missing(tmp_path: Path) -> None:
    without = {key: values for key, values in LINKS.items() if key != "co2_g"}
    assert measure_run(write_run(tmp_path, links=without)).co2_kg is None
    empty = {**LINKS, "co2_g": pa.array([None] * 5, pa.float64())}
    assert measure_run(write_run(tmp_path, links=empty)).co2_kg is None


def test_a_run_without_vehicles(tmp_path: Path) -> None:
    kinds = {"vehicle": pa.string(), "status": pa.string(), "vclass": pa.string()}
    none = {name: pa.array([], kinds.get(name, pa.float64())) for name in VEHICLES}
    folder = write_run(tmp_path)
    pq.write_table(pa.table(none), folder / "vehicles.parquet")
    run = measure_run(folder)
    assert run.demanded == 0
    assert math.isnan(run.delay_s)
    rows = compare([run])
    assert rows[0].cells["delay_s"].mean is None
    assert json.loads(metrics_json([run]))["runs"]["shipped-seed1"]["delay_s"] is None
    write_report(tmp_path, [run], draw_pictures([run], [folder]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vehicles": {**VEHICLES, "status": ["gone"] * 4}}, "status 'gone'"),
        ({"vehicles": {**VEHICLES, "time_loss_s": [1.0, None, 1.0, None]}}, "row 1 has no time"),
        ({"links": {**LINKS, "junction": [0, -1, 2, 0, -1]}}, "junction 2 is not in"),
        ({"links": {"link": ["a"]}}, "lacks the column 'interval_begin_s'"),
    ],
)
def test_bad_runs_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = write_run(tmp_path, **change)
    with pytest.raises(InputError, match=message):
        measure_run(folder)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json"):
        measure_run(tmp_path)
    folder = write_run(tmp_path)
    (folder / "links.parquet").unlink()
    with pytest.raises(InputError, match=r"links\.parquet: no such file"):
        measure_run(folder)


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.706205), (2, 4.302653), (3, 3.182446), (4, 2.776445), (30, 2.042272), (99, 1.984217)],
)
def test_student_quantile(freedom: int, expected: float) -> None:
    """Values of scipy.stats.t.ppf(0.975, freedom)."""
    assert t_quantile(0.95, freedom) == pytest.approx(expected, abs=1e-6)


def test_mean_interval() -> None:
    assert mean_interval([]) == (None, None)
    assert mean_interval([3.0]) == (3.0, None)
    # Standard deviation 1, three values: 4.302653 / sqrt(3).
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.484138), abs=1e-6)


def make(tmp_path: Path, *runs: tuple[str, int, float], **manifest: Any) -> list[Measures]:
    return [measure_run(write_run(tmp_path, c, s, scale=k, **manifest)) for c, s, k in runs]


def test_paired_comparison(tmp_path: Path) -> None:
    # The mean delay is 24 + 22.5 scale, so the differences are -9, -11.25, -13.5.
    runs = [("shipped", s, 1.0 + 0.2 * s) for s in (1, 2, 3)]
    runs += [("other", s, 1.0 + 0.2 * s - 0.3 - 0.1 * s) for s in (1, 2, 3)]
    rows = compare(make(tmp_path, *runs, ("other", 9, 5.0)))
    reference, other = (row.cells["delay_s"] for row in rows)
    assert reference.mean == pytest.approx(24 + 22.5 * 1.4)
    assert reference.half == pytest.approx(2.484138 * 4.5, abs=1e-4)
    assert reference.difference is None
    assert other.pairs == 3
    assert other.difference == pytest.approx(-11.25)
    assert other.difference_half == pytest.approx(2.484138 * 2.25, abs=1e-4)
    assert other.change_pct == pytest.approx(-100 * 11.25 / 55.5)
    assert other.change_half_pct == pytest.approx(100 * 2.484138 * 2.25 / 55.5, abs=1e-4)
    assert rows[1].seeds == (1, 2, 3, 9)
    assert headline(rows)[0].endswith("20 % (±10) less than shipped over 3 seeds.")


def test_headline_is_plain(tmp_path: Path) -> None:
    one = make(tmp_path, ("shipped", 1, 1.0))
    assert headline(compare(one)) == ["shipped: 46.5 s delay per vehicle over 1 seed."]
    two = one + make(tmp_path, ("other", 1, 2.0))
    assert "48 % more than shipped over 1 seed (too few" in headline(compare(two))[0]
    same = one + make(tmp_path, ("other", 1, 1.0))
    assert headline(compare(same))[0].endswith("the same as shipped over 1 seed.")
    strangers = one + make(tmp_path, ("other", 2, 2.0))
    assert "no seed in common" in headline(compare(strangers))[0]
    noisy = [("shipped", 1, 1.0), ("shipped", 2, 2.0), ("other", 1, 1.5), ("other", 2, 1.4)]
    assert "no clear difference from shipped" in headline(compare(make(tmp_path, *noisy)))[0]


def test_incomparable_runs_are_refused(tmp_path: Path) -> None:
    one = make(tmp_path, ("shipped", 1, 1.0))
    with pytest.raises(InputError, match="two runs with seed 1"):
        compare(one + make(tmp_path, ("shipped", 1, 1.0)))
    with pytest.raises(InputError, match="another scenario or network"):
        compare(one + make(tmp_path, ("other", 1, 1.0), network_hash="other"))
    with pytest.raises(InputError, match="no runs"):
        compare([])


def test_table_for_the_terminal(tmp_path: Path) -> None:
    runs = make(tmp_path, ("shipped", 1, 1.0), ("shipped", 2, 1.2))
    runs += make(tmp_path, ("ideal", 1, 0.5), ("ideal", 2, 0.6), research_only=True)
    runs += make(tmp_path, ("cut", 1, 0.5), ended="interrupted")
    text = format_table(compare(runs))
    lines = text.splitlines()
    assert lines[0].split() == ["shipped", "ideal", "cut"]
    assert re.match(r"delay \(s/veh\) +48\.8 ±28\.6 ", lines[3])
    assert "against shipped" in lines[4]
    assert "! ideal: research only (ideal sensing)" in lines
    assert "! cut: interrupted" in lines
    assert "\x1b" not in text


def test_metrics_are_the_same_bytes_whatever_the_clock_says(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, wall_s=wall_s) for wall_s in (1.0, 2.0)]
    first, second = (metrics_json([measure_run(folder)]) for folder in folders)
    assert first == second
    content = json.loads(first)
    assert content["runs"]["shipped-seed1"]["delay_by_class_s"]["passenger"] == 54.6667
    assert "wall_s" not in first
    timings = json.loads(timings_json(folders))
    assert [entry["wall_s"] for entry in timings.values()] == [1.0, 2.0]


class Reader(HTMLParser):
    """Checks that tags close in order, collects addresses and ids."""

    void = frozenset({"meta", "br", "img", "link", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src", "xlink:href", "action", "srcset", "data"}:
                self.addresses.append(value or "")
        if tag not in self.void:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag


def report(root: Path, name: str = "<b>max & pressure</b> $x$") -> tuple[Path, list[Picture]]:
    root.mkdir()
    folders = [write_run(root, "shipped", seed, scale=1 + 0.1 * seed) for seed in (1, 2)]
    folders += [
        write_run(root, name, seed, research_only=True, counts={"refusals": {"<i>red</i>": 4}})
        for seed in (1, 2)
    ]
    measures = [measure_run(folder) for folder in folders]
    links = [[(-100.0, 0.0), (0.0, 0.0), (300.0, 50.0)]]
    pictures = draw_pictures(measures, folders, links)
    return write_report(root, measures, pictures, notes=["Loops & cameras."]), pictures


def test_report_stands_alone(tmp_path: Path) -> None:
    path, pictures = report(tmp_path / "one")
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.stack == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(address.startswith(("#", "data:")) for address in reader.addresses)
    assert not reader.tags & {"script", "link", "iframe", "object", "img", "b", "i"}
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "http://" not in without_names
    assert "https://" not in without_names
    assert "Ideal sensing: research only, no city has it." in text
    assert "never inserted and unfinished vehicles are counted" in text
    assert "&lt;i&gt;red&lt;/i&gt;" in text
    assert "&lt;b&gt;max &amp; pressure&lt;/b&gt;" in text
    assert "abc123" in text
    assert len(pictures) == 6
    assert list(path.parent.glob(".*.tmp")) == []


def test_report_is_the_same_twice(tmp_path: Path) -> None:
    first, _ = report(tmp_path / "one")
    second, _ = report(tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()


def test_figures_are_xml(tmp_path: Path) -> None:
    _, pictures = report(tmp_path / "one")
    for picture in pictures:
        root = ElementTree.fromstring(picture.svg)
        assert root.get("width") is None
        assert root.get("viewBox") is not None
        assert picture.alt
        assert picture.caption


def test_lamps_on_the_time_space_diagram(tmp_path: Path) -> None:
    """Green 0 to 30 s, yellow to 33 s, red to 60 s, green to the end at 120 s."""
    from topis.report.figures import _lamps
    from topis.report.measures import read_columns

    folder = write_run(tmp_path)
    signals = read_columns(folder / "signals.parquet", ("time_ms", "junction"), ("state",))
    spans = _lamps(signals, {"junction": 0, "head": [1, 2]}, (10.0, 120.0))
    assert spans == {"g": [(10.0, 30.0), (60.0, 120.0)], "y": [(30.0, 33.0)], "r": [(33.0, 60.0)]}


def test_runs_without_a_corridor_have_no_diagram(tmp_path: Path) -> None:
    folder = write_run(tmp_path, corridor=None)
    assert time_space(folder) is None
    assert len(draw_pictures([measure_run(folder)], [folder])) == 4


def test_long_runs_draw_small(tmp_path: Path) -> None:
    folder = write_run(tmp_path, end_s=7200)
    steps = range(900)
    moves = {
        "time_s": [3150.0 + t for _ in range(200) for t in steps],
        "vehicle": [v for v in range(200) for _ in steps],
        "position_m": [float((t * (7 + v)) % 200) for v in range(200) for t in steps],
    }
    pq.write_table(pa.table(moves), folder / "trajectories.parquet")
    svg = time_space(folder)
    assert svg is not None
    assert len(svg) < 600_000


def test_report_that_cannot_be_written(tmp_path: Path) -> None:
    runs = make(tmp_path, ("shipped", 1, 1.0))
    with pytest.raises(OutputError, match=r"report\.html"):
        write_report(tmp_path / "missing", runs)
    with pytest.raises(InputError, match="no runs"):
        write_report(tmp_path, [])
