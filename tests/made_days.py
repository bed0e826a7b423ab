"""Made-up days taken into archives, for tests of what is done with them."""

from __future__ import annotations

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
