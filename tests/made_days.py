"""Made-up days taken into archives, for tests of what is done with them."""

from __future__ import annotations

import csv
from pathlib import Path

from topis.ingest.pipeline import ingest
from topis.ingest.synth import SynthOptions, synthesise

DATE = "2026-11-17"
FEEDS = ("loop_event", "gps", "cctv_track", "signal_event", "plan")


def quiet(*_: object) -> None:
    """No one looks."""


def made_day(folder: Path, options: SynthOptions, only: tuple[str, ...] = FEEDS) -> Path:
    """``folder`` with the day in ``feeds``, and ``only`` these of them in ``archive``."""
    synthesise(folder / "feeds", options, quiet)
    fill(folder / "archive", folder / "feeds", folder / "feeds", only)
    return folder


def two_districts(feeds: Path) -> None:
    """The city cut in two: west (columns A and B of the grid) and east."""
    with (feeds / "sensors.csv").open(newline="") as file:
        junction = {row["id"]: row["junction"] for row in csv.DictReader(file)}
    places = feeds / "places.csv"
    rows = [line.split(",") for line in places.read_text().splitlines()[1:]]
    text = "kind,name,district\ndistricts,west,1\ndistricts,east,2\n"
    for kind, name, _ in rows:
        text += f"{kind},{name},{1 if junction.get(name, name)[:1] in 'AB' else 2}\n"
    places.write_text(text)


def fill(archive: Path, feeds: Path, streets: Path, only: tuple[str, ...] = FEEDS) -> None:
    """Take feeds in, matched to the streets."""
    files = [path for feed in only for path in sorted((feeds / feed).iterdir())]
    ingest(
        files,
        archive,
        network_file=streets / "city.net.xml.gz",
        places_file=streets / "places.csv",
        secret_file=streets.parent / "secret",
    )
