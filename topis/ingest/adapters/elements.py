"""Elements of XML files of any size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from topis.errors import InputError

_HEAD_BYTES = 1 << 16


def head_of(path: Path) -> bytes:
    """The file's beginning, long enough for what programs write above their data.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError.at(path, f"cannot be read ({error.strerror})", "check it") from None


def root_of(head: bytes) -> str:
    """Name of the root element; "" where there is none."""
    bare = re.sub(rb"<!--.*?-->|<\?.*?\?>", b"", head, flags=re.DOTALL)
    found = re.match(rb"(?:\xef\xbb\xbf)?\s*<([\w-]+)", bare)
    return found.group(1).decode() if found else ""


def elements(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Every element's name and attributes, as it begins.

    What is below the root is forgotten when an interval or a timestep ends.

    Raises
    ------
    InputError
        The file is cut short, or no XML.
    """
    root = None
    try:
        for event, element in ElementTree.iterparse(path, events=("start", "end")):
            if event == "start":
                root = element if root is None else root
                yield element.tag, element.attrib
            elif element.tag in ("interval", "timestep"):
                assert root is not None
                root.clear()
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:
        raise InputError.at(
            path, f"cannot be read ({error})", "hand it over when the run is over, and whole"
        ) from None
