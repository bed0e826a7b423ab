"""`topis simulate`: run controllers on a SUMO scenario and compare them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.cli.progress import BatchProgress
from topis.cli.settings import setting_pairs
from topis.config import LAYOUTS, sensing_layout
from topis.control.registry import check_controller, controller_names
from topis.errors import EXIT_INTERRUPTED, InputError, OutputError
from topis.ingest.network_file import load_network
from topis.model.network import Network
from topis.report.comparison import compare, format_table, metrics_json, timings_json
from topis.report.measures import measure_run, write_text
from topis.run.batch import RunStatus, default_jobs, folder_name, run_batch
from topis.run.scenarios import find_scenario
from topis.run.simulate import RunSpec
from topis.run.sumocfg import read_sumocfg

_CONTROLLERS = "\n".join(f"  {name:21}{text}" for name, text in controller_names().items())


def _number(_: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse "nan", which no range of click refuses."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number.", param=parameter)
    return value


@click.command(
    epilog=f"\b\nControllers:\n{_CONTROLLERS}\n\n\b\nSensing layouts: {', '.join(LAYOUTS)}, "
    f"or a .toml file (docs/simulate.md).\n\n{EXIT_CODES}"
)
@click.argument("scenario")
@click.option(
    "-c",
    "--controller",
    "controllers",
    multiple=True,
    metavar="NAME",
    help="Controller to run; repeat to compare, the first is the reference. "
    "[default: shipped and adaptive]",
)
@click.option("--seed", type=click.IntRange(min=0), help="One seed. [default: 1]")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="Seeds 1 to N, the same for every controller, so that differences are paired.",
)
@click.option(
    "--sensing",
    default="city",
    show_default=True,
    metavar="LAYOUT",
    help="What sensors the city has.",
)
@click.option(
    "--demand",
    type=click.FloatRange(0.1, 3.0),
    callback=_number,
    metavar="FACTOR",
    help="Share of the scenario's vehicles to let in: 0.7 leaves out three in ten, 1.3 doubles "
    "three in ten. [default: as the scenario says]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the results. [default: runs/SCENARIO]",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Runs at a time. [default: one per core]"
)
@click.option(
    "--corridor",
    default="",
    metavar="LINK,LINK,...",
    help="Links of the time-space diagram. [default: the straight road past most signals]",
)
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Change a setting of the controller (with one controller only).",
)
@click.option(
    "--meso",
    is_flag=True,
    help="SUMO's mesoscopic model (queues, no lane changes): for whole cities, some 10 times as "
    "fast. Signals have their effect.",
)
@click.option(
    "--outage",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Sensors and probes that fall silent for a while, as this TOML file says "
    "(docs/simulate.md).",
)
@click.option("--gui", is_flag=True, help="Watch it in sumo-gui (through TraCI, slower).")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Use a SUMO that already listens on this TraCI port.",
)
@click.option("--no-report", is_flag=True, help="Skip report.html.")
def simulate(
    scenario: str,
    controllers: tuple[str, ...],
    seed: int | None,
    seeds: int | None,
    sensing: str,
    demand: float | None,
    out: Path | None,
    jobs: int | None,
    corridor: str,
    pairs: tuple[str, ...],
    meso: bool,
    outage: Path | None,
    gui: bool,
    port: int | None,
    no_report: bool,
) -> None:
    """Run controllers on a SUMO SCENARIO, print what they did to travel time, write a report.

    SCENARIO is a .sumocfg file or a name from `topis scenarios`. It runs exactly as
    configured; TOPIS adds detectors, drives every road traffic light through its guard,
    and leaves the scenario's own files and outputs alone.

    \b
    Examples:
      topis simulate my.sumocfg --controller actuated
      topis simulate resco:cologne8 -c shipped -c max-pressure -c adaptive --seeds 5
      topis simulate gangnam -c max-pressure --sensing loops --set interval_s=8
      topis simulate city450/city.sumocfg -c city --meso --outage lost.toml
    """  # noqa: D301
    names = controllers or ("shipped", "adaptive")
    settings = setting_pairs(pairs)
    if len(set(names)) < len(names):
        raise InputError("the same controller is named twice; name each once")
    if seed is not None and seeds is not None:
        raise InputError("--seed and --seeds exclude each other; give one of them")
    if settings and len(names) > 1:
        raise InputError("--set goes with one --controller; run them apart")
    if port is not None and demand is not None:
        raise InputError(
            "--demand is for the SUMO that TOPIS starts; give --scale to the other one"
        )
    if (gui or port) and (jobs or 1) > 1:
        raise InputError("--gui and --port show one run at a time; leave out --jobs")
    for name in names:
        check_controller(name, settings)
    layout = sensing_layout(sensing)
    config_file = find_scenario(scenario)
    config = read_sumocfg(config_file)
    network = load_network(config.net_file, config.additional_files).network
    folder = (
        out or Path("runs") / scenario.replace(":", "-").removesuffix(".sumocfg").split("/")[-1]
    )
    numbers = list(range(1, seeds + 1)) if seeds else [1 if seed is None else seed]
    specs = [
        RunSpec(
            scenario=scenario,
            config_file=config_file,
            controller=name,
            seed=number,
            layout=layout,
            folder=folder / folder_name(name, number),
            corridor=tuple(part for part in corridor.split(",") if part),
            gui=gui,
            port=port,
            settings=settings,
            demand_scale=demand,
            meso=meso,
            outage=outage,
        )
        for name in names
        for number in numbers
    ]
    at_once = 1 if gui or port else min(jobs or default_jobs(), len(specs))
    if len(specs) > 1 and config.writes_files():
        click.echo(
            f"{config_file.name} writes files of its own: one run at a time, each over the last "
            "one's files.",
            err=True,
        )
        at_once = 1
    with _results(folder):
        with BatchProgress(len(specs)) as progress:
            statuses = run_batch(specs, at_once, progress)
        _conclude(folder, network, statuses, report=not no_report)


@contextmanager
def _results(folder: Path) -> Iterator[None]:
    """Make the folder, and make sure it can be written; away with it if nothing got into it."""
    made: list[Path] = []
    try:
        try:
            made += [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be written ({error.strerror}); choose another --out"
            ) from None
        yield
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


def _conclude(folder: Path, network: Network, statuses: list[RunStatus], *, report: bool) -> None:
    """Report on the runs; if one failed, say why, and keep only those that are complete."""
    failed = [status for status in statuses if status.error]
    usable = [s.spec.folder for s in statuses if s.ended in ("complete", "interrupted")]
    interrupted = any(s.ended != "complete" for s in statuses) and not failed
    if failed and failed[0].error is not None:
        for status in statuses:
            if status.ended == "interrupted":
                shutil.rmtree(status.spec.folder, ignore_errors=True)
        raise failed[0].error
    if not usable:
        raise click.exceptions.Abort
    measures = [measure_run(run) for run in usable]
    rows = compare(measures)
    click.echo(format_table(rows))
    write_text(folder / "metrics.json", metrics_json(measures))
    write_text(folder / "timings.json", timings_json(usable))
    click.echo(f"\nMeasures: {folder / 'metrics.json'}")
    if report:
        from topis.report.html import draw_pictures, write_report

        shapes = [
            network.link_shape_m[a:b].tolist()
            for a, b in zip(network.link_shape_ptr, network.link_shape_ptr[1:], strict=False)
        ]
        pictures = draw_pictures(measures, usable, shapes)
        click.echo(f"Report:   {write_report(folder, measures, pictures)}")
    if interrupted:
        click.echo("Interrupted: the figures cover the time until then.", err=True)
        raise SystemExit(EXIT_INTERRUPTED)
