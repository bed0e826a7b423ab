"""Which junctions a replay is about (districts, names, a street), and in which groups."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.archive_files import ArchiveFiles
from topis.ingest.places import FILE as PLACES
from topis.ingest.places import districts_in
from topis.ingest.street_names import links_by_street
from topis.model.network import I4, Network
from topis.model.observation import SensorTable
from topis.run.streets import link_owners

#: Districts are worked on together until they have so many junctions: the ring around a group of
#: them is work done twice.
GROUP_JUNCTIONS = 250


@dataclass(frozen=True)
class Selection:
    """What is asked for; nothing means all junctions."""

    districts: tuple[str, ...] = ()
    junctions: tuple[str, ...] = ()
    corridor: str = ""


class Districts:
    """Districts of an archive, by number and by name."""

    def __init__(self, files: ArchiveFiles) -> None:
        self._known = districts_in(files.text(PLACES), f"{files.place}/{PLACES}")

    def of_junctions(self, network: Network) -> NDArray[np.int64]:
        """District of each junction, int64[junctions]; 0 where none is told."""
        return self._of("controllers", network.junction_ids)

    def around(self, network: Network, sensors: SensorTable) -> frozenset[int]:
        """Districts that may have rows of these streets; what is not told is in district 0."""
        kinds = {
            "controllers": network.junction_ids,
            "cameras": network.junction_ids,
            "detectors": sensors.ids,
            "links": network.link_ids,
        }
        found = {int(d) for kind, names in kinds.items() for d in self._of(kind, names)}
        return frozenset(found)

    def number(self, text: str) -> int:
        """A district by its number or name.

        Raises
        ------
        InputError
            There is none.
        """
        if text.isascii() and text.isdigit():
            return int(text)
        named = self._known.get("districts", {})
        if text not in named:
            raise InputError(f"district {text!r} is unknown; {_near(text, named)}")
        return named[text]

    def _of(self, kind: str, names: Sequence[str]) -> NDArray[np.int64]:
        known = self._known.get(kind, {})
        return np.array([known.get(name, 0) for name in names], dtype=np.int64)


def select(selection: Selection, network: Network, network_file: Path, districts: Districts) -> I4:
    """Junctions that are asked for, int32, ascending.

    Raises
    ------
    InputError
        One is unknown, or there are none.
    """
    asked = [bool(selection.districts), bool(selection.junctions), bool(selection.corridor)]
    if sum(asked) > 1:
        raise InputError("--district, --junction and --corridor exclude each other; give one")
    if selection.districts:
        numbers = [districts.number(text) for text in selection.districts]
        of = districts.of_junctions(network)
        for text, number in zip(selection.districts, numbers, strict=True):
            if not (of == number).any():
                there = ", ".join(str(k) for k in np.unique(of).tolist())
                raise InputError(f"district {text}: no junction lies in it; there are {there}")
        return np.flatnonzero(np.isin(of, numbers)).astype(np.int32)
    if selection.junctions:
        number_of = {name: k for k, name in enumerate(network.junction_ids)}
        for name in selection.junctions:
            if name not in number_of:
                raise InputError(f"junction {name!r} is unknown; {_near(name, number_of)}")
        return np.unique([number_of[name] for name in selection.junctions]).astype(np.int32)
    if selection.corridor:
        return _on_corridor(selection.corridor, network, network_file)
    return np.arange(network.junctions, dtype=np.int32)


def groups(junctions: I4, district: NDArray[np.int64], most: int = GROUP_JUNCTIONS) -> list[I4]:
    """Junctions in groups of whole districts, the first districts first, each about ``most``."""
    found: list[I4] = []
    open_group: list[NDArray[np.int32]] = []
    for number in np.unique(district[junctions]).tolist():
        own = junctions[district[junctions] == number]
        if open_group and sum(map(len, open_group)) + len(own) > most:
            found.append(np.sort(np.concatenate(open_group)))
            open_group = []
        open_group.append(own)
    if open_group:
        found.append(np.sort(np.concatenate(open_group)))
    return found


def _on_corridor(text: str, network: Network, network_file: Path) -> I4:
    """Signals along links, named one by one or by their street."""
    number_of = {name: k for k, name in enumerate(network.link_ids)}
    names = text.split(",")
    if not all(name in number_of for name in names):
        streets = links_by_street(network_file)
        if text not in streets:
            raise InputError(
                f"corridor {text!r} is neither links nor a street; {_near(text, streets)}"
            )
        names = [name for name in streets[text] if name in number_of]
    links = np.array([number_of[name] for name in names], dtype=np.int64)
    # The part of a road before turn bays leads to the signal after them.
    found = np.unique(link_owners(network)[links])
    found = found[found >= 0].astype(np.int32)
    if not len(found):
        raise InputError(f"corridor {text!r} has no signals; name a longer one")
    return found


def _near(text: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(text, known, 3, 0.5)
    if near:
        return f"did you mean {', '.join(near)}?"
    return "see topis network show" if known else "the archive or network names none"
