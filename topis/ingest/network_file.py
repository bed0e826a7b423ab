"""Any road network file to a compiled `Network`; OSM goes through SUMO's netconvert."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from topis.errors import InputError, OutputError, SumoError
from topis.ingest.compile import Imported, compile_network
from topis.ingest.sumo_xml import read_network

_OSM_SUFFIXES = (".osm", ".osm.gz", ".osm.xml", ".osm.xml.gz")

#: What netconvert is asked for when a map has roads but few signals and no programs.
OSM_OPTIONS = (
    "--geometry.remove",
    "--ramps.guess",
    "--junctions.join",
    "--tls.guess-signals",
    "--tls.guess",
    "--tls.join",
    "--tls.default-type",
    "static",
    "--keep-edges.by-vclass",
    "passenger,bus",
    "--remove-edges.isolated",
    "--keep-edges.components",
    "1",
    "--osm.turn-lanes",
    "--no-turnarounds.except-deadend",
)

#: What it is asked for besides, so that people can walk. Where a map names no speed limit, the
#: urban one holds: only streets slower than 60 km/h get sidewalks, and only sidewalks crossings.
#: A walk lasts at least 7 s, and ends 14 s before traffic starts across it: the time to walk a
#: carriageway of four lanes at 1 m/s. Where only people go they have 12 s, the time of six lanes.
#: Each approach has its stage: where lanes are guessed, several turns share one, and one of them
#: that waits for a gap or for a stage of its own blocks the others.
CROSSING_OPTIONS = (
    "--sidewalks.guess",
    "--sidewalks.guess.min-speed",
    "3.5",
    "--sidewalks.guess.max-speed",
    "17",
    "--crossings.guess",
    "--junctions.join-dist",
    "20",
    "--osm.lane-access",
    "--tls.cycle.time",
    "120",
    "--tls.allred.time",
    "1",
    "--tls.layout",
    "incoming",
    "--tls.crossing-min.time",
    "7",
    "--tls.crossing-clearance.time",
    "14",
    "--tls.scramble.time",
    "12",
)
_URBAN_TYPES = ("osmNetconvert.typ.xml", "osmNetconvertUrbanDe.typ.xml")


def load_network(path: Path, additional_files: Iterable[Path] = ()) -> Imported:
    """Read and compile a SUMO network (plain or gzipped), with the programs of additional files.

    Raises
    ------
    InputError, NetworkError
        See `topis.ingest.sumo_xml.read_network` and `topis.ingest.compile.compile_network`.
    """
    refuse_osm(path)
    return compile_network(read_network(path, additional_files))


def refuse_osm(path: Path) -> None:
    """OpenStreetMap has to be converted first.

    Raises
    ------
    InputError
        The name says OpenStreetMap.
    """
    if is_osm(path):
        raise InputError.at(path, "is an OSM file", f"first run: topis network import {path.name}")


def is_osm(path: Path) -> bool:
    """Whether the name says OpenStreetMap."""
    return path.name.lower().endswith(_OSM_SUFFIXES)


def import_osm(source: Path, target: Path, *, crossings: bool = False) -> Imported:
    """Convert OSM to a SUMO network at ``target``, atomically, and compile it.

    ``crossings``: with sidewalks, and crossings at signals (`CROSSING_OPTIONS`).

    Raises
    ------
    InputError
        The source is missing or netconvert cannot read it.
    OutputError
        The target cannot be written.
    SumoError
        netconvert is not installed.
    """
    if not source.is_file():
        raise InputError.at(source, "no such file", "check the path")
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent}: no such folder; create it or choose another --output")
    try:
        return _convert(source, target, crossings)
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror}); choose another --output"
        ) from None


def _convert(source: Path, target: Path, crossings: bool) -> Imported:
    """Run netconvert into a draft beside the target, and put it in place once it compiles."""
    import sumolib  # SUMO is an extra: only who needs it loads it.

    suffix = ".net.xml.gz" if target.name.endswith(".gz") else ".net.xml"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".topis-") as folder:
        draft = Path(folder, "draft" + suffix)
        netconvert = sumolib.checkBinary("netconvert")
        command = [
            netconvert,
            "--osm-files",
            str(source.resolve()),
            "--output-file",
            str(draft),
            *OSM_OPTIONS,
        ]
        if crossings:
            command += [*CROSSING_OPTIONS, "--type-files", _urban_types(netconvert)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise SumoError(
                "netconvert not found; install the extra: pip install topis[sumo]"
            ) from None
        if done.returncode or not draft.exists():
            errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
            reason = errors[0] if errors else f"netconvert ended with code {done.returncode}"
            raise InputError.at(source, reason, "is it a complete OSM file?")
        imported = load_network(draft)
        draft.replace(target)
    return imported


def _urban_types(netconvert: str) -> str:
    """SUMO's own files of road types, with urban speed limits, as netconvert wants them listed."""
    home = os.environ.get("SUMO_HOME") or Path(netconvert).resolve().parents[1]
    files = [Path(home, "data", "typemap", name) for name in _URBAN_TYPES]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise SumoError(f"{missing[0]}: no such file; let SUMO_HOME name SUMO's folder")
    return ",".join(map(str, files))
