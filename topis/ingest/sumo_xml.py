"""Reads SUMO network files (``.net.xml``, ``.net.xml.gz``) into plain records.

One streaming pass with expat: `sumolib.net.readNet`, asked for the same content, builds
an object per lane and needs about six times as long (``bench/test_network.py``).
Nothing is interpreted here; that is `topis.ingest.signals` and `topis.ingest.compile`.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from topis.errors import InputError, NetworkError

#: Longest time a program may name (s): times are kept in int32 milliseconds.
LONGEST_S = 1e6

RAIL_NODE_TYPES = frozenset({"rail_signal", "rail_crossing"})


@dataclass(slots=True)
class RawLane:
    """A lane as written: permissions are SUMO vehicle class lists ("" when absent)."""

    id: str
    length_m: float
    speed_mps: float
    allow: str
    disallow: str
    shape: str


@dataclass(slots=True)
class RawEdge:
    """A normal (not internal) edge."""

    id: str
    from_node: str
    to_node: str
    shape: str
    lanes: list[RawLane] = field(default_factory=list)


@dataclass(slots=True)
class RawNode:
    """A node: incoming lanes in request order, response and foe bit strings by request index."""

    id: str
    type: str
    x_m: float
    y_m: float
    incoming_lanes: list[str]
    internal_lanes: list[str]
    response: dict[int, str] = field(default_factory=dict)
    foes: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class RawConnection:
    """A lane-to-lane connection; ``light`` is "" when unsignalised."""

    from_edge: str
    to_edge: str
    from_lane: int
    to_lane: int
    light: str
    head: int
    second_head: int
    turn: str


@dataclass(slots=True)
class RawPhase:
    """One row of a program: a SUMO state and its times (None where not given)."""

    duration_s: float
    state: str
    min_s: float | None
    max_s: float | None
    jumps: bool


@dataclass(slots=True)
class RawProgram:
    """A ``tlLogic`` as written; ``where`` is its file and line."""

    where: str
    light: str
    program: str
    type: str
    offset_s: float
    phases: list[RawPhase] = field(default_factory=list)


@dataclass(slots=True)
class RawNetwork:
    """Everything the importer needs from the files of one network."""

    source: Path
    edges: dict[str, RawEdge] = field(default_factory=dict)
    nodes: dict[str, RawNode] = field(default_factory=dict)
    connections: list[RawConnection] = field(default_factory=list)
    crossing_connections: list[RawConnection] = field(default_factory=list)
    crossing_length_m: dict[str, float] = field(default_factory=dict)
    programs: list[RawProgram] = field(default_factory=list)
    program_keys: set[tuple[str, str]] = field(default_factory=set)
    time_switched: int = 0


def read_network(net_file: Path, additional_files: Iterable[Path] = ()) -> RawNetwork:
    """Read a network and the signal programs of its additional files.

    Raises
    ------
    InputError
        The file is missing, truncated, not XML or not a SUMO network.
    NetworkError
        Ids are repeated or numbers are impossible.
    """
    raw = RawNetwork(source=net_file)
    _NetReader(raw, net_file, {"net"}).run()
    for path in additional_files:
        _NetReader(raw, path, {"additional", "add"}, programs_only=True).run()
    if not raw.edges:
        raise InputError.at(net_file, "no edge in this network", "is it a SUMO .net.xml?")
    return raw


class _NetReader:
    """Feeds one file through expat; each handler reads one kind of element."""

    def __init__(
        self, raw: RawNetwork, path: Path, roots: set[str], *, programs_only: bool = False
    ) -> None:
        self.raw = raw
        self.path = path
        self.roots = roots
        self.root_seen = False
        self.edge: RawEdge | None = None
        self.crossing: str | None = None
        self.node: RawNode | None = None
        self.program: RawProgram | None = None
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        handlers: dict[str, Callable[[dict[str, str]], None]] = {
            "tlLogic": self._tl_logic,
            "phase": self._phase,
            "WAUT": self._waut,
        }
        if not programs_only:
            handlers |= {
                "edge": self._edge,
                "lane": self._lane,
                "junction": self._junction,
                "request": self._request,
                "connection": self._connection,
            }
        self.handlers = handlers

    def run(self) -> None:
        try:
            with _open(self.path) as stream:
                self.parser.ParseFile(stream)
        except FileNotFoundError:
            raise InputError.at(self.path, "no such file", "check the path") from None
        except IsADirectoryError:
            raise InputError.at(self.path, "is a folder, not a file", "name the file") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError.at(
                self.path, f"compressed file is damaged ({error})", "copy or build it again"
            ) from None
        except expat.ExpatError as error:
            raise InputError.at(
                f"{self.path}:{error.lineno}",
                f"not well-formed XML ({expat.errors.messages[error.code]})",
                "copy or build it again",
            ) from None
        except KeyError as error:
            raise self._bad(f"attribute {error} is missing") from None
        except ValueError as error:
            raise self._bad(str(error)) from None

    def _bad(self, what: str) -> NetworkError:
        return NetworkError(f"{self.path}:{self.parser.CurrentLineNumber}: {what}")

    # ---- elements ----

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self.root_seen:
            self.root_seen = True
            if name not in self.roots:
                raise InputError.at(
                    self.path,
                    f"root element is <{name}>, expected <{min(self.roots, key=len)}>",
                    "hand over a SUMO network (OSM files go through `topis network import`)",
                )
        handler = self.handlers.get(name)
        if handler is not None:
            handler(attributes)

    def _end(self, name: str) -> None:
        if name == "edge":
            self.edge = self.crossing = None
        elif name == "junction":
            self.node = None
        elif name == "tlLogic":
            self.program = None

    def _edge(self, a: dict[str, str]) -> None:
        function = a.get("function", "")
        if function == "crossing":
            self.crossing = a["id"]
        if function not in ("", "normal", "connector"):
            return
        if a["id"] in self.raw.edges:
            raise self._bad(f"edge id {a['id']!r} is used twice; rename or remove one")
        self.edge = RawEdge(a["id"], a["from"], a["to"], a.get("shape", ""))
        self.raw.edges[self.edge.id] = self.edge

    def _lane(self, a: dict[str, str]) -> None:
        if self.crossing is not None:
            self.raw.crossing_length_m[self.crossing] = self._positive(a, "length")
        if self.edge is None:
            return
        self.edge.lanes.append(
            RawLane(
                a["id"],
                self._positive(a, "length"),
                self._positive(a, "speed"),
                a.get("allow", ""),
                a.get("disallow", ""),
                a.get("shape", ""),
            )
        )

    def _junction(self, a: dict[str, str]) -> None:
        if a["type"] == "internal":
            return
        if a["id"] in self.raw.nodes:
            raise self._bad(f"junction id {a['id']!r} is used twice; rename or remove one")
        self.node = RawNode(
            a["id"],
            a["type"],
            float(a["x"]),
            float(a["y"]),
            a.get("incLanes", "").split(),
            a.get("intLanes", "").split(),
        )
        self.raw.nodes[self.node.id] = self.node

    def _request(self, a: dict[str, str]) -> None:
        if self.node is not None:
            self.node.response[int(a["index"])] = a["response"]
            self.node.foes[int(a["index"])] = a["foes"]

    def _connection(self, a: dict[str, str]) -> None:
        light = a.get("tl", "")
        crossing = a["to"] in self.raw.crossing_length_m or a["from"] in self.raw.crossing_length_m
        inside = a["from"].startswith(":") or a["to"].startswith(":")
        if inside and not (crossing and light):
            return
        connection = RawConnection(
            a["from"],
            a["to"],
            int(a["fromLane"]),
            int(a["toLane"]),
            light,
            int(a.get("linkIndex", -1)),
            int(a.get("linkIndex2", -1)),
            a.get("dir", "s"),
        )
        (self.raw.crossing_connections if crossing else self.raw.connections).append(connection)

    def _tl_logic(self, a: dict[str, str]) -> None:
        key = (a["id"], a.get("programID", "0"))
        if key in self.raw.program_keys:
            raise self._bad(f"tlLogic {key[0]!r} has program {key[1]!r} twice; remove one")
        self.raw.program_keys.add(key)
        offset = a.get("offset", "0")
        # SUMO writes offset="begin" for programs that start with the simulation.
        offset_s = 0.0 if offset == "begin" else float(offset)
        if not abs(offset_s) <= LONGEST_S:
            raise self._bad(f"tlLogic {key[0]!r}: offset is {offset!r}")
        where = f"{self.path}:{self.parser.CurrentLineNumber}"
        self.program = RawProgram(where, key[0], key[1], a.get("type", "static"), offset_s)
        self.raw.programs.append(self.program)

    def _phase(self, a: dict[str, str]) -> None:
        if self.program is None:
            return
        self.program.phases.append(
            RawPhase(
                self._seconds(a, "duration"),
                a["state"],
                self._seconds(a, "minDur") if "minDur" in a else None,
                self._seconds(a, "maxDur") if "maxDur" in a else None,
                "next" in a,
            )
        )

    def _waut(self, a: dict[str, str]) -> None:
        self.raw.time_switched += 1

    def _seconds(self, a: dict[str, str], name: str) -> float:
        value = float(a[name])
        if not 0 <= value <= LONGEST_S:
            light = self.program.light if self.program else ""
            raise self._bad(
                f"tlLogic {light!r}: phase {name} is {a[name]!r}; give 0 to {LONGEST_S:.0f} s"
            )
        return value

    def _positive(self, a: dict[str, str], name: str) -> float:
        value = float(a[name])
        if not (math.isfinite(value) and value > 0):
            raise self._bad(f"lane {a.get('id')!r}: {name} is {a[name]!r}, must be above 0")
        return value


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as probe:
        compressed = probe.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]
