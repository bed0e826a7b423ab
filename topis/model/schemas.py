"""The canonical form of every feed: one Arrow schema each, and what its columns may hold.

Integers in fixed units, no strings where rows are many, time in UTC milliseconds. Adapters
write this form, the archive stores it, kernels and measures read it; nothing else is passed on.
docs/data.md lists the same for people; a test keeps both equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

TIME = pa.timestamp("ms", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column: Arrow type, unit, legal range (both ends included), and what it means.

    ``names``: the values are keys of that dimension table, in which the sender's names stand.
    ``derived``: worked out here, not sent: rows that differ in nothing else are the same.
    """

    name: str
    type: pa.DataType
    unit: str
    text: str
    low: float | None = None
    high: float | None = None
    nullable: bool = False
    names: str = ""
    derived: bool = False


@dataclass(frozen=True)
class Feed:
    """One feed's canonical form.

    ``entity`` names the columns that tell whose row it is: rows are sorted by them, then time.
    ``key`` tells two rows apart: equal keys are duplicates. ``row_group_s`` is the time one row
    group of the archive spans (0: a whole hour). ``timetable``: its rows tell what is to be, and
    come in no order of time.
    """

    name: str
    version: int
    text: str
    entity: tuple[str, ...]
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    row_group_s: int = 300
    timetable: bool = False

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema, with feed and version in its metadata."""
        return pa.schema(
            [pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns],
            metadata={"topis": f"{self.name}/{self.version}"},
        )

    @property
    def order(self) -> tuple[str, ...]:
        """Columns the archive is sorted by."""
        return (*self.entity, "time")

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises
        ------
        KeyError
            There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


_TIME = Column("time", TIME, "ms UTC", "when it was measured")
_QUALITY = Column(
    "quality", pa.uint8(), "bits", "what is known against the row, 0 nothing", derived=True
)
_LAT = Column("lat_e7", pa.int32(), "1e-7 deg", "WGS 84 latitude", -90e7, 90e7)
_LON = Column("lon_e7", pa.int32(), "1e-7 deg", "WGS 84 longitude", -180e7, 180e7)
#: 70 m/s is 252 km/h: no vehicle in a city is faster, any unit mistaken for km/h mostly is.
_SPEED = Column("speed_cmps", pa.uint16(), "cm/s", "speed", 0, 7000, nullable=True)
_HEADING = Column(
    "heading_cdeg", pa.uint16(), "0.01 deg", "clockwise from north", 0, 35999, nullable=True
)
_DETECTOR = Column(
    "detector", pa.uint32(), "", "key of the dimension table detectors", names="detectors"
)
_LINK = Column(
    "link", pa.uint32(), "", "matched directed link", nullable=True, names="links", derived=True
)

_FEEDS = (
    Feed(
        "loop_event",
        1,
        "one passage over a loop: on and off paired into a row",
        ("detector",),
        ("detector", "time"),
        (
            _DETECTOR,
            _TIME,
            Column("on_ms", pa.uint32(), "ms", "time covered", 0, 3_600_000),
            _SPEED,
            Column("length_dm", pa.uint8(), "dm", "length of the vehicle", 0, 255, nullable=True),
            _QUALITY,
        ),
    ),
    Feed(
        "loop_1s",
        1,
        "count and occupancy of a loop in one second",
        ("detector",),
        ("detector", "time"),
        (
            _DETECTOR,
            _TIME,
            Column("count", pa.uint8(), "veh", "vehicles that came onto the loop", 0, 5),
            Column("occupancy_permille", pa.uint16(), "0.1 %", "share of time covered", 0, 1000),
            _QUALITY,
        ),
    ),
    Feed(
        "count",
        1,
        "vehicles past a site in a period, by class, with their mean speed",
        ("site", "lane", "vehicle_class"),
        ("site", "lane", "vehicle_class", "time", "period_s"),
        (
            Column("site", pa.uint32(), "", "key of the dimension table sites", names="sites"),
            Column("lane", pa.uint8(), "", "1 next to the kerb, 0 all lanes", 0, 20),
            Column("vehicle_class", pa.uint8(), "", "0 all, 1 car, 2 bus, 3 truck, 4 two-wheeler"),
            _TIME,
            Column("period_s", pa.uint32(), "s", "counted over, from `time` on", 1, 86_400),
            Column("vehicles", pa.uint32(), "veh", "how many", 0, 100_000, nullable=True),
            _SPEED,
            _QUALITY,
        ),
        row_group_s=0,
    ),
    Feed(
        "cctv_track",
        1,
        "one object in one frame of a camera",
        ("camera", "track"),
        ("camera", "track", "time"),
        (
            Column(
                "camera", pa.uint16(), "", "key of the dimension table cameras", names="cameras"
            ),
            Column("track", pa.uint32(), "", "the camera's number of the object"),
            _TIME,
            Column("x_cm", pa.int32(), "cm", "east of the camera", -100_000, 100_000),
            Column("y_cm", pa.int32(), "cm", "north of the camera", -100_000, 100_000),
            _SPEED,
            _HEADING,
            Column("vehicle_class", pa.uint8(), "", "as in `count`; 9 walker"),
            Column("confidence_pct", pa.uint8(), "%", "of the detection", 0, 100),
            Column(
                "lane",
                pa.uint32(),
                "",
                "key of the dimension table lanes",
                nullable=True,
                names="lanes",
            ),
            _QUALITY,
        ),
        row_group_s=60,
    ),
    Feed(
        "cctv_flag",
        1,
        "an incident that a camera reports or takes back",
        ("camera",),
        ("camera", "time", "kind"),
        (
            Column(
                "camera", pa.uint16(), "", "key of the dimension table cameras", names="cameras"
            ),
            _TIME,
            Column("kind", pa.uint8(), "", "0 none, 1 stopped, 2 wrong way, 3 walker, 4 debris"),
            Column("confidence_pct", pa.uint8(), "%", "of the detection", 0, 100),
            Column(
                "lane",
                pa.uint32(),
                "",
                "key of the dimension table lanes",
                nullable=True,
                names="lanes",
            ),
            _QUALITY,
        ),
        row_group_s=0,
    ),
    Feed(
        "gps",
        1,
        "one report of a bus or taxi; the vehicle is a keyed hash that changes daily",
        ("vehicle",),
        ("vehicle", "time"),
        (
            Column("vehicle", pa.uint64(), "", "pseudonym of the day"),
            _TIME,
            _LAT,
            _LON,
            _SPEED,
            _HEADING,
            Column("kind", pa.uint8(), "", "1 bus, 2 taxi, 3 other", 1, 3),
            Column("route", pa.uint32(), "", "bus route, 0 none"),
            _LINK,
            Column("offset_dm", pa.uint32(), "dm", "along the link", nullable=True, derived=True),
            _QUALITY,
        ),
    ),
    Feed(
        "signal_event",
        1,
        "one event of a controller, in the Indiana hi-resolution enumerations",
        ("controller",),
        ("controller", "time", "code", "parameter"),
        (
            Column(
                "controller",
                pa.uint16(),
                "",
                "key of the dimension table controllers",
                names="controllers",
            ),
            _TIME,
            Column("code", pa.uint16(), "", "event code (Sturdevant et al. 2012)", 0, 655),
            Column("parameter", pa.uint16(), "", "phase, detector, ... as the code says"),
            _QUALITY,
        ),
    ),
    Feed(
        "spat",
        1,
        "remaining time of one signal of one approach",
        ("controller", "signal"),
        ("controller", "signal", "time"),
        (
            Column(
                "controller",
                pa.uint16(),
                "",
                "key of the dimension table controllers",
                names="controllers",
            ),
            Column(
                "signal",
                pa.uint8(),
                "",
                "8 x approach (0 nt, ne, et, se, st, sw, wt, 7 nw) + movement "
                "(0 St, Lt, Pd, Ut, Bs, 5 Bc)",
            ),
            _TIME,
            Column("state", pa.uint8(), "", "J2735 movement phase state", 0, 9),
            Column("remaining_ds", pa.uint16(), "0.1 s", "until it ends", 0, 35_999, nullable=True),
            _QUALITY,
        ),
    ),
    Feed(
        "plan",
        1,
        "a signal plan: one row a stage",
        ("controller", "plan", "stage"),
        ("controller", "plan", "stage", "time"),
        (
            Column(
                "controller",
                pa.uint16(),
                "",
                "key of the dimension table controllers",
                names="controllers",
            ),
            Column("plan", pa.uint16(), "", "number of the plan"),
            Column("stage", pa.uint8(), "", "in order, from 0"),
            _TIME,
            Column("cycle_ms", pa.uint32(), "ms", "cycle length", 10_000, 600_000),
            Column("offset_ms", pa.uint32(), "ms", "start of stage 0 in the cycle", 0, 600_000),
            Column("split_ms", pa.uint32(), "ms", "with its intergreen", 1000, 600_000),
            _QUALITY,
        ),
        row_group_s=0,
        timetable=True,
    ),
    Feed(
        "link_speed",
        1,
        "mean speed and travel time of a link over a period",
        ("link",),
        ("link", "time", "period_s"),
        (
            Column("link", pa.uint32(), "", "key of the dimension table links", names="links"),
            _TIME,
            Column("period_s", pa.uint32(), "s", "measured over, from `time` on", 1, 86_400),
            _SPEED,
            Column("travel_ms", pa.uint32(), "ms", "to drive along it", 0, 86_400_000, True),
            _QUALITY,
        ),
        row_group_s=0,
    ),
    Feed(
        "incident",
        1,
        "an accident, works, an event: from when to when, and where",
        ("incident",),
        ("incident", "time"),
        (
            Column("incident", pa.uint64(), "", "the sender's number of it"),
            _TIME,
            Column("until", TIME, "ms UTC", "expected to be cleared", nullable=True),
            Column("kind", pa.uint8(), "", "1 accident, 2 works, 3 event, 4 weather, 9 other"),
            Column(
                "link",
                pa.uint32(),
                "",
                "key of the dimension table links",
                nullable=True,
                names="links",
            ),
            Column("lat_e7", pa.int32(), "1e-7 deg", "WGS 84 latitude", -90e7, 90e7, True),
            Column("lon_e7", pa.int32(), "1e-7 deg", "WGS 84 longitude", -180e7, 180e7, True),
            Column("note", pa.string(), "", "what the sender wrote"),
            _QUALITY,
        ),
        row_group_s=0,
    ),
    Feed(
        "stop_time",
        1,
        "a trip at a stop, by the timetable",
        ("route", "stop"),
        ("route", "stop", "trip", "sequence", "time"),
        (
            Column("route", pa.uint32(), "", "key of the dimension table routes", names="routes"),
            Column("stop", pa.uint32(), "", "key of the dimension table stops", names="stops"),
            Column("trip", pa.uint32(), "", "key of the dimension table trips", names="trips"),
            Column("sequence", pa.uint16(), "", "of the stop in the trip, ascending"),
            Column("direction", pa.uint8(), "", "of the route: 0 or 1", 0, 1, True),
            Column(
                "block",
                pa.uint32(),
                "",
                "key of the dimension table blocks: trips of one vehicle, one after the other",
                nullable=True,
                names="blocks",
            ),
            Column("service_day", pa.uint32(), "", "day it is of, as 20261117", 20000101, 20991231),
            Column("time", TIME, "ms UTC", "arrival"),
            Column("departure", TIME, "ms UTC", "departure"),
            Column("timed", pa.uint8(), "", "1 as told, 0 put in between two that are", 0, 1),
            _LAT,
            _LON,
            Column("along_dm", pa.uint32(), "dm", "way along the trip", nullable=True),
            _QUALITY,
        ),
        row_group_s=0,
        timetable=True,
    ),
)

FEEDS = {feed.name: feed for feed in _FEEDS}

#: Rows that were refused, of any feed: nothing is thrown away.
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("feed", pa.string()),
        pa.field("file", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("raw", pa.string()),
    ],
    metadata={"topis": "quarantine/1"},
)


def documented() -> Iterator[str]:
    """Lines of docs/data.md that list the feeds."""
    for feed in _FEEDS:
        yield f"### `{feed.name}` (version {feed.version})"
        yield ""
        yield f"{feed.text[0].upper()}{feed.text[1:]}. Sorted by {', '.join(feed.order)}; rows with"
        yield f"equal {', '.join(feed.key)} are duplicates."
        yield ""
        yield "| column | type | unit | range | meaning |"
        yield "|---|---|---|---|---|"
        for c in feed.columns:
            span = "" if c.low is None else f"{c.low:g} to {c.high:g}"
            kind = f"{c.type}{', may be missing' if c.nullable else ''}"
            yield f"| {c.name} | {kind} | {c.unit} | {span} | {c.text} |"
        yield ""
