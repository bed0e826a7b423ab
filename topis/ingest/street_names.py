"""Which links bear the name of a street, as far as a SUMO network tells."""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from topis.errors import InputError


def links_by_street(path: Path) -> dict[str, list[str]]:
    """Links of each named street, in the file's order.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    found: dict[str, list[str]] = defaultdict(list)
    try:
        with path.open("rb") as probe:
            compressed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if compressed else path.open("rb") as stream:
            for _, element in ElementTree.iterparse(stream, events=("end",)):
                if element.tag == "edge":
                    if element.get("name"):
                        found[element.get("name", "")].append(element.get("id", ""))
                    element.clear()
    except (OSError, EOFError, ElementTree.ParseError) as error:
        raise InputError.at(path, f"cannot be read ({error})", "name a SUMO network") from None
    return dict(found)
