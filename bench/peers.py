"""Delay, network time and signal safety of controllers on many scenarios, as a table.

Each run gets a configuration of its own with a recorder of SUMO's switch states added; the
recording is judged by the independent checker of `tests/audit`.

    python bench/peers.py resco:cologne1 resco:cologne3 -c shipped -c max-pressure --seeds 3
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.audit import INFORMATION, audit, write_recorder
from topis.config import sensing_layout
from topis.report.measures import Measures, measure_run
from topis.run.batch import RunStatus, run_batch
from topis.run.scenarios import find_scenario
from topis.run.simulate import RunSpec
from topis.run.sumocfg import SumoConfig, read_sumocfg


def lights_of(config: SumoConfig) -> list[str]:
    data = config.net_file.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return sorted({e.attrib["id"] for e in ElementTree.fromstring(data).iter("tlLogic")})


def recorded_copy(config: SumoConfig, folder: Path, states: Path) -> Path:
    """The configuration with absolute paths and our recorder among its additional files."""
    recorder = folder / "recorder.add.xml"
    write_recorder(recorder, lights_of(config), states)
    root = ElementTree.parse(config.path).getroot()
    for element in root.iter():
        value = element.get("value")
        if value and element.tag.endswith(("-file", "-files")):
            paths = [str((config.path.parent / p.strip()).resolve()) for p in value.split(",")]
            element.set("value", ",".join(paths))
    element = root.find(".//additional-files")
    if element is None:
        parent = root.find("input")
        element = ElementTree.SubElement(root if parent is None else parent, "additional-files")
        element.set("value", str(recorder))
    else:
        element.set("value", f"{element.get('value')},{recorder}")
    copy = folder / "recorded.sumocfg"
    ElementTree.ElementTree(root).write(copy)
    return copy


@click.command()
@click.argument("scenarios", nargs=-1, required=True)
@click.option("-c", "--controller", "controllers", multiple=True, required=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--sensing", default="city", show_default=True)
@click.option("--demand", default=1.0, show_default=True, help="Share of the vehicles.")
@click.option("--first-seed", default=1, show_default=True)
@click.option("--jobs", default=2, show_default=True)
def main(
    scenarios: tuple[str, ...],
    controllers: tuple[str, ...],
    seeds: int,
    sensing: str,
    demand: float,
    first_seed: int,
    jobs: int,
) -> None:
    """Print a table of mean delay / network time (s/veh) and of violations, per scenario."""
    print(f"| scenario ({sensing}) | " + " | ".join(controllers) + " | unsafe |")
    print("|---" * (len(controllers) + 2) + "|", flush=True)
    for name in scenarios:
        config = read_sumocfg(find_scenario(name))
        with tempfile.TemporaryDirectory() as root:
            specs, states = [], []
            for controller in controllers:
                for seed in range(first_seed, first_seed + seeds):
                    folder = Path(root, f"{controller}-{seed}")
                    folder.mkdir()
                    states.append(folder / "states.xml")
                    copy = recorded_copy(config, folder, states[-1])
                    specs.append(
                        RunSpec(
                            scenario=name, config_file=copy, controller=controller, seed=seed,
                            layout=sensing_layout(sensing), folder=folder / "run",
                            demand_scale=None if demand == 1.0 else demand,
                        )
                    )  # fmt: skip
            statuses = run_batch(specs, jobs, lambda _: None)
            print(row(name, config, controllers, statuses, states), flush=True)


def row(
    name: str,
    config: SumoConfig,
    controllers: tuple[str, ...],
    statuses: list[RunStatus],
    states: list[Path],
) -> str:
    unsafe: Counter[str] = Counter()
    runs: dict[str, list[Measures]] = {controller: [] for controller in controllers}
    for status, recording in zip(statuses, states, strict=True):
        if status.error:
            raise status.error
        runs[status.spec.controller].append(measure_run(status.spec.folder))
        found = audit(config.net_file, recording, config.additional_files)
        unsafe.update(v.kind for v in found if v.kind not in INFORMATION)
    cells = []
    for measures in runs.values():
        delay = sum(m.delay_s for m in measures) / len(measures)
        time = sum(m.network_time_s for m in measures) / len(measures)
        teleports = sum(m.teleports for m in measures)
        cells.append(f"{delay:.1f} / {time:.1f}" + (f" ({teleports} tele)" if teleports else ""))
    verdict = ", ".join(f"{n} {kind}" for kind, n in unsafe.items()) or "none"
    return f"| {name} | " + " | ".join(cells) + f" | {verdict} |"


if __name__ == "__main__":
    main()
