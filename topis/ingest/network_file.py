"""Any road network file to a compiled `Network`; OSM goes through SUMO's netconvert."""

from __future__ import annotations

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


def load_network(path: Path, additional_files: Iterable[Path] = ()) -> Imported:
    """Read and compile a SUMO network (plain or gzipped), with the programs of additional files.

    Raises
    ------
    InputError, NetworkError
        See `topis.ingest.sumo_xml.read_network` and `topis.ingest.compile.compile_network`.
    """
    if is_osm(path):
        raise InputError.at(path, "is an OSM file", f"first run: topis network import {path.name}")
    return compile_network(read_network(path, additional_files))


def is_osm(path: Path) -> bool:
    """Whether the name says OpenStreetMap."""
    return path.name.lower().endswith(_OSM_SUFFIXES)


def import_osm(source: Path, target: Path) -> Imported:
    """Convert OSM to a SUMO network at ``target``, atomically, and compile it.

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
        return _convert(source, target)
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror}); choose another --output"
        ) from None


def _convert(source: Path, target: Path) -> Imported:
    """Run netconvert into a draft beside the target, and put it in place once it compiles."""
    import sumolib  # SUMO is an extra: only who needs it loads it.

    suffix = ".net.xml.gz" if target.name.endswith(".gz") else ".net.xml"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".topis-") as folder:
        draft = Path(folder, "draft" + suffix)
        command = [
            sumolib.checkBinary("netconvert"),
            "--osm-files",
            str(source.resolve()),
            "--output-file",
            str(draft),
            *OSM_OPTIONS,
        ]
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
