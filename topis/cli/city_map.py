"""`topis city map`: draw a city, and what ran on its streets."""

from __future__ import annotations

from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.cli.progress import StageBar
from topis.errors import InputError, OutputError
from topis.ingest.network_file import load_network
from topis.report.city_map import (
    LIMITS,
    CityMap,
    check_alike,
    frame_at,
    map_of_network,
    map_of_run,
)
from topis.run.sumo_results import LINK_INTERVAL_S


@click.command("map", epilog=EXIT_CODES)
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help=".png, .svg or .html to write."
)
@click.option(
    "--window", "window_s", default=300.0, show_default=True, help="Length of a frame (s)."
)
@click.option("--at", "at_s", type=float, help="Time of the one frame to draw (s of the run).")
@click.option(
    "--limits", type=click.Choice(list(LIMITS)), default="hcm", show_default=True,
    help="Whose levels of service.",
)  # fmt: skip
def draw_city(
    sources: tuple[Path, ...], out: Path, window_s: float, at_s: float | None, limits: str
) -> None:
    """Draw a city: its streets, or what runs on them were like.

    SOURCES are run folders of `topis simulate`, of the same streets, or one network. A road has the
    colour of its level of service and is the wider the more vehicles stand on it; a signal has the
    colour of how it is run. PNG and SVG show one run at a time (--at; the worst if not given), or a
    time lapse of several runs; HTML shows all of it, to drag, zoom and play.

    \b
    Examples:
      topis city map city450/city.net.xml.gz --out city.png
      topis city map runs/shipped-seed1 runs/city-seed1 --out both.html
      topis city map runs/city-seed1 --at 28800 --out eight.svg
    """  # noqa: D301
    if window_s < LINK_INTERVAL_S or window_s % LINK_INTERVAL_S:
        raise InputError(f"--window is {window_s:g}; give a multiple of {LINK_INTERVAL_S} s")
    if out.suffix not in (".png", ".svg", ".html"):
        raise InputError(f"--out is {out.name}; end it in .png, .svg or .html")
    with StageBar("Map") as bar:
        maps = []
        for number, source in enumerate(sources):
            bar.show(f"reading {source.name}", number, len(sources) + 1)
            maps.append(_map_of(source, window_s, limits))
        check_alike(maps)
        bar.show("drawing", len(sources), len(sources) + 1)
        _write(maps, at_s, out)
    click.echo(f"{out}: {maps[0].network.links:,} roads, {maps[0].network.junctions:,} signals")


def _write(maps: list[CityMap], at_s: float | None, out: Path) -> None:
    # Matplotlib takes a while to load, and a page needs none of it.
    try:
        if out.suffix == ".html":
            from topis.report.city_page import write_page

            write_page(maps, out)
            return
        from topis.report.city_picture import draw_lapse, draw_map

        if len(maps) > 1 and at_s is None:
            draw_lapse(maps, out)
        else:
            draw_map(maps[0], frame_at(maps[0], at_s), out)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror}); choose another --out"
        ) from None


def _map_of(source: Path, window_s: float, limits: str) -> CityMap:
    if source.is_dir():
        return map_of_run(source, window_s, limits)
    return map_of_network(load_network(source).network, source.name.partition(".")[0])
