"""The tables of a GTFS timetable but its stop times: who runs on a day, where, in which time zone.

A row that contradicts the others is refused, with its table before its text, and so is what
builds on it.
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topis.clock import has_timezone, written_time_ms
from topis.errors import InputError
from topis.ingest.rows import Reject

#: What a damaged archive makes its readers raise.
_BROKEN = (
    OSError, EOFError, LookupError, ValueError, RuntimeError, NotImplementedError,
    zipfile.BadZipFile, zlib.error, csv.Error,
)  # fmt: skip
_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EARTH_M = 6_371_000.0
F8 = NDArray[np.float64]


class Bundle:
    """The tables of a zip file, as rows of texts; what is refused of them goes to ``rejects``."""

    def __init__(self, path: Path) -> None:
        """Opens nothing but the list of what is in it.

        Raises
        ------
        InputError
            It is no zip file.
        """
        self._path = path
        self.rejects: list[Reject] = []
        try:
            with zipfile.ZipFile(path) as archive:
                # Some lie in a folder; the outermost counts.
                names = sorted(archive.namelist(), key=lambda name: -name.count("/"))
        except _BROKEN as error:
            raise self.broken(error) from None
        self._members = {name.rsplit("/", 1)[-1]: name for name in names}

    def __contains__(self, table: str) -> bool:
        return f"{table}.txt" in self._members

    def broken(self, error: Exception) -> InputError:
        """What to say where reading fails."""
        return InputError.at(self._path, f"cannot be read ({error})", "fetch it again, to its end")

    def has(self, table: str, column: str) -> bool:
        """Whether the table is there, with that column."""
        return table in self and column in self._header(table)

    def rows(
        self, table: str, needed: tuple[str, ...], others: tuple[str, ...] = ()
    ) -> Iterator[tuple[int, list[str]]]:
        """Line and cells of each row, ``needed`` columns then ``others``, "" where one is not.

        Raises
        ------
        InputError
            The table, or a column that is needed, is missing; the file is damaged.
        """
        if table not in self:
            raise InputError.at(self._path, f"no table {table}.txt", "GTFS has one")
        header = self._header(table)
        missing = [name for name in needed if name not in header]
        if missing:
            raise InputError.at(self._path, f"{table}.txt: no column {missing[0]!r}", "see GTFS")
        wanted = [header.index(n) if n in header else -1 for n in (*needed, *others)]
        width = len(header)
        try:
            with self._opened(table) as file:
                reader = csv.reader(file)
                next(reader)
                for cells in reader:
                    if len(cells) == width:
                        yield reader.line_num, [cells[k].strip() if k >= 0 else "" for k in wanted]
                    elif cells:
                        detail = f"{len(cells)} instead of {width}"
                        self.refuse(
                            table, reader.line_num, "wrong number of columns", detail, cells
                        )
        except UnicodeDecodeError:
            raise self._not_utf8(table) from None
        except _BROKEN as error:
            raise self.broken(error) from None

    def refuse(self, table: str, line: int, reason: str, detail: str, cells: list[str]) -> None:
        """Note a row that was refused."""
        self.rejects.append(Reject(line, reason, detail, f"{table}.txt: {','.join(cells)}"))

    def _header(self, table: str) -> list[str]:
        try:
            with self._opened(table) as file:
                return [name.strip() for name in next(csv.reader(file), [])]
        except UnicodeDecodeError:
            raise self._not_utf8(table) from None
        except _BROKEN as error:
            raise self.broken(error) from None

    def _not_utf8(self, table: str) -> InputError:
        return InputError.at(self._path, f"{table}.txt: is not UTF-8", "GTFS is; fetch it again")

    @contextmanager
    def _opened(self, table: str) -> Iterator[io.TextIOWrapper]:
        with zipfile.ZipFile(self._path) as archive:
            member = archive.open(self._members[f"{table}.txt"])
            with io.TextIOWrapper(member, encoding="utf-8-sig", newline="") as file:
                yield file


def timezone_of(bundle: Bundle, path: Path) -> str:
    """The agencies' time zone; they must share one.

    Raises
    ------
    InputError
        None, an unknown one, or several.
    """
    zones = {cells[0] for _, cells in bundle.rows("agency", ("agency_timezone",))}
    if len(zones) != 1 or not has_timezone(min(zones)):
        told = ", ".join(sorted(map(repr, zones))) or "none"
        raise InputError.at(path, f"agency.txt: time zone {told}", "GTFS has one, e.g. Asia/Seoul")
    return zones.pop()


def services_on(bundle: Bundle, day: str) -> tuple[set[str], set[str]]:
    """Services that run on a day (``20261117``), and all that the calendar knows.

    Raises
    ------
    InputError
        A calendar that cannot be read at all.
    """
    weekday = _WEEK[(np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}").astype(int) + 3) % 7]
    running: set[str] = set()
    known: set[str] = set()
    if "calendar" in bundle or "calendar_dates" not in bundle:
        columns = ("service_id", weekday, "start_date", "end_date")
        for line, cells in bundle.rows("calendar", columns):
            service, runs, first, last = cells
            if not service or runs not in ("0", "1") or not (_is_day(first) and _is_day(last)):
                bundle.refuse("calendar", line, "calendar cannot be read", "", cells)
                continue
            known.add(service)
            if runs == "1" and first <= day <= last:
                running.add(service)
    if "calendar_dates" in bundle:
        needed = ("service_id", "date", "exception_type")
        for line, cells in bundle.rows("calendar_dates", needed):
            service, date, kind = cells
            if not service or kind not in ("1", "2") or not _is_day(date):
                bundle.refuse("calendar_dates", line, "calendar cannot be read", "", cells)
                continue
            known.add(service)
            if date == day:
                (running.add if kind == "1" else running.discard)(service)
    return running, known


def _is_day(text: str) -> bool:
    return written_time_ms(text, "%Y%m%d", "UTC") is not None


@dataclass
class Trips:
    """Trips of a day by number, and the names of those that run on other days."""

    number: dict[str, int]
    others: set[str]
    route: list[str]
    direction: list[str]
    block: list[str]
    shape: list[str]


def trips_on(bundle: Bundle, running: set[str], known: set[str]) -> Trips:
    """Trips of the services that run; those without a route or service are refused."""
    routes = {cells[0] for _, cells in bundle.rows("routes", ("route_id",))}
    by_headway = set()
    if "frequencies" in bundle:
        for line, cells in bundle.rows("frequencies", ("trip_id", "headway_secs")):
            bundle.refuse("frequencies", line, "trip by headway, without times", "", cells)
            by_headway.add(cells[0])
    trips = Trips({}, set(by_headway), [], [], [], [])
    columns = ("route_id", "service_id", "trip_id")
    more = ("direction_id", "block_id", "shape_id")
    for line, cells in bundle.rows("trips", columns, more):
        route, service, trip, direction, block, shape = cells
        if not trip or trip in trips.number:
            bundle.refuse("trips", line, "trip is missing or told twice", trip, cells)
        elif route not in routes:
            bundle.refuse("trips", line, "route is unknown", route, cells)
        elif service not in known:
            bundle.refuse("trips", line, "service is unknown", service, cells)
        elif service not in running:
            trips.others.add(trip)
        elif trip not in by_headway:
            trips.number[trip] = len(trips.route)
            trips.route.append(route)
            trips.direction.append(direction)
            trips.block.append(block)
            trips.shape.append(shape)
    return trips


@dataclass
class Stops:
    """Stops by number: names, and places (1e-7 deg) as texts, for the check to refuse."""

    number: dict[str, int]
    lat_e7: list[str | None]
    lon_e7: list[str | None]


def stops_of(bundle: Bundle) -> Stops:
    """All stops; one told twice stays where it was first."""
    stops = Stops({}, [], [])
    for line, cells in bundle.rows("stops", ("stop_id", "stop_lat", "stop_lon")):
        stop, lat, lon = cells
        if not stop or stop in stops.number:
            bundle.refuse("stops", line, "stop is missing or told twice", stop, cells)
            continue
        stops.number[stop] = len(stops.lat_e7)
        stops.lat_e7.append(_e7(lat))
        stops.lon_e7.append(_e7(lon))
    return stops


def _e7(degrees: str) -> str | None:
    try:
        return str(float(degrees) * 1e7)
    except ValueError:
        return degrees or None


@dataclass
class Shape:
    """A trip's way: its own measure of it at each point, and metres from its begin."""

    told: F8
    along_m: F8


def shapes_of(bundle: Bundle, wanted: set[str]) -> dict[str, Shape]:
    """Ways by name, where the timetable measures them: else none."""
    if not bundle.has("shapes", "shape_dist_traveled"):
        return {}
    columns = (
        "shape_id",
        "shape_pt_sequence",
        "shape_pt_lat",
        "shape_pt_lon",
        "shape_dist_traveled",
    )
    points: dict[str, list[tuple[float, ...]]] = {}
    for line, cells in bundle.rows("shapes", columns):
        if cells[0] not in wanted:
            continue
        try:
            point = tuple(float(text) for text in cells[1:])
        except ValueError:
            point = (math.nan,)
        if all(map(math.isfinite, point)):
            points.setdefault(cells[0], []).append(point)
        else:
            bundle.refuse("shapes", line, "point of a shape is not finite", "", cells)
    return {name: _measured(sorted(own)) for name, own in points.items()}


def _measured(points: list[tuple[float, ...]]) -> Shape:
    _, lat, lon, told = np.array(points).T
    lat, lon = np.radians(lat), np.radians(lon)
    east, north = np.diff(lon) * np.cos((lat[1:] + lat[:-1]) / 2), np.diff(lat)
    along_m = np.concatenate(([0.0], np.cumsum(_EARTH_M * np.hypot(east, north))))
    return Shape(np.maximum.accumulate(told), along_m)
