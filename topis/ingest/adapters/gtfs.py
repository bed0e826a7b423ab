"""GTFS timetables: every stop of every trip of the day in which the file's name ends.

Times count from twelve hours before noon in the agency's time zone, and go on past midnight. Where
a timetable leaves times out between two stops they are put in evenly, by the way if it tells that,
else by stops. Rows come in the order of time.
"""

from __future__ import annotations

import array
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from topis.clock import written_time_ms
from topis.errors import InputError
from topis.ingest.adapters.gtfs_tables import (
    Bundle,
    Shape,
    Stops,
    Trips,
    services_on,
    shapes_of,
    stops_of,
    timezone_of,
    trips_on,
)
from topis.ingest.adapters.texts import BATCH_ROWS, named_day_ms
from topis.ingest.rows import Parsed, Reject, Rows
from topis.units import MS_PER_HOUR

_CLOCK = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)")
_MOST_HOURS, _MOST_SEQUENCE = 168, 65_535
_MISSING, _UNREADABLE = -1, -2
I8 = NDArray[np.int64]


class GtfsTimetable:
    """The stop times of one day; its name says which: seoul_20261117.zip."""

    name = "gtfs"
    text = "GTFS timetables (.zip), of the day in which the name ends"

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        if path.suffix.lower() != ".zip" or not path.is_file():
            return False
        try:
            return "stop_times" in Bundle(path)
        except InputError:
            # Damaged: reading it says so.
            return True

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        # Refuses a name that ends in no day.
        named_day_ms(path)
        day = path.stem[-8:]
        bundle = Bundle(path)
        noon_ms = written_time_ms(f"{day}12", "%Y%m%d%H", timezone_of(bundle, path))
        assert noon_ms is not None
        running, known = services_on(bundle, day)
        trips, stops = trips_on(bundle, running, known), stops_of(bundle)
        if not trips.number:
            raise InputError.at(
                path, f"no trip runs on {day}", "is it a day of this timetable's calendar?"
            )
        shapes = shapes_of(bundle, set(trips.shape))
        times = _StopTimes.read(bundle, trips, stops)
        times = times.filled(bundle.rejects).in_order(bundle.rejects)
        columns = _columns(times, trips, stops, shapes, noon_ms - 12 * MS_PER_HOUR, int(day))
        for first in range(0, max(len(times), 1), BATCH_ROWS):
            part = slice(first, first + BATCH_ROWS)
            own = times.take(np.arange(len(times))[part])
            yield Parsed(
                Rows(
                    "stop_time",
                    {name: values[part] for name, values in columns.items()},
                    own.line,
                    own.text,
                ),
                bundle.rejects if first == 0 else [],
            )


@dataclass(frozen=True)
class _StopTimes:
    """Stops of trips: arrays [rows]; times in s of the service day, `_MISSING` where not told.

    ``trip`` and ``stop`` are numbers, ``distance`` in the timetable's own measure (NaN: not told),
    ``timed`` whether the timetable tells the time.
    """

    line: I8
    trip: I8
    stop: I8
    sequence: I8
    arrival_s: I8
    departure_s: I8
    distance: NDArray[np.float64]
    timed: NDArray[np.bool_]
    trip_names: list[str]
    stop_names: list[str]

    def __len__(self) -> int:
        return len(self.line)

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> _StopTimes:
        """Some of them."""
        columns = list(vars(self).values())
        return _StopTimes(*(c[which] for c in columns[:-2]), *columns[-2:])

    def text(self, row: int) -> str:
        """A row's text for the quarantine."""
        told = {
            "trip_id": self.trip_names[int(self.trip[row])],
            "stop_id": self.stop_names[int(self.stop[row])],
            "stop_sequence": int(self.sequence[row]),
            "arrival_s": int(self.arrival_s[row]),
            "departure_s": int(self.departure_s[row]),
        }
        return f"stop_times.txt: {json.dumps(told, ensure_ascii=False)}"

    @classmethod
    def read(cls, bundle: Bundle, trips: Trips, stops: Stops) -> _StopTimes:
        """Those of the trips; what cannot be read or is of no trip is refused."""
        found = [array.array("q") for _ in range(6)]
        distances = array.array("d")
        needed = ("trip_id", "arrival_time", "departure_time", "stop_id", "stop_sequence")
        for line, cells in bundle.rows("stop_times", needed, ("shape_dist_traveled",)):
            trip_name, arrival, departure, stop_name, sequence, distance = cells
            trip, stop = trips.number.get(trip_name), stops.number.get(stop_name)
            if trip is None and trip_name in trips.others:
                continue
            arrival_s, departure_s = _seconds(arrival), _seconds(departure)
            reason, detail = "", ""
            if trip is None:
                reason, detail = "trip is unknown", trip_name
            elif stop is None:
                reason, detail = "stop is unknown", stop_name
            elif not sequence.isascii() or not sequence.isdigit() or len(sequence) > 9:
                reason, detail = "sequence is not a number", sequence
            elif int(sequence) > _MOST_SEQUENCE:
                reason, detail = "sequence is out of range", sequence
            elif _UNREADABLE in (arrival_s, departure_s):
                reason, detail = "time cannot be read", f"{arrival} {departure}"
            elif _MISSING not in (arrival_s, departure_s) and departure_s < arrival_s:
                reason, detail = "departs before it arrives", f"{arrival} {departure}"
            if reason:
                bundle.refuse("stop_times", line, reason, detail, cells)
                continue
            values = (line, trip, stop, int(sequence), arrival_s, departure_s)
            for column, value in zip(found, values, strict=True):
                column.append(value)  # type: ignore[arg-type]
            distances.append(_distance(distance))
        line_, trip_, stop_, sequence_, arrival_, departure_ = (
            np.frombuffer(column, dtype=np.int64) if column else np.zeros(0, np.int64)
            for column in found
        )
        told = np.frombuffer(distances, dtype=np.float64) if distances else np.zeros(0)
        both = np.maximum(arrival_, departure_)
        return cls(
            line_,
            trip_,
            stop_,
            sequence_,
            np.where(arrival_ == _MISSING, both, arrival_),
            np.where(departure_ == _MISSING, both, departure_),
            told,
            both != _MISSING,
            list(trips.number),
            list(stops.number),
        ).take(np.lexsort((line_, sequence_, trip_)))

    def filled(self, rejects: list[Reject]) -> _StopTimes:
        """Times put in where the timetable leaves them out; none before the first or past the last.

        Of a trip's sequence number that is told twice the first is kept.
        """
        again = np.zeros(len(self), dtype=bool)
        again[1:] = (np.diff(self.trip) == 0) & (np.diff(self.sequence) == 0)
        one = self._without(again, "sequence is told twice", rejects)
        at = np.arange(len(one))
        before = np.maximum.accumulate(np.where(one.timed, at, -1))
        after = np.minimum.accumulate(np.where(one.timed, at, len(one))[::-1])[::-1]
        inside = (before >= 0) & (after < len(one))
        before, after = np.where(inside, before, 0), np.where(inside, after, 0)
        if len(one):
            inside &= (one.trip[before] == one.trip) & (one.trip[after] == one.trip)
        way = one.distance[after] - one.distance[before]
        share = (at - before) / np.maximum(after - before, 1)
        by_way = np.isfinite(way) & np.isfinite(one.distance) & (way > 0)
        part = (one.distance - one.distance[before]) / np.where(by_way, way, 1.0)
        share = np.where(by_way, np.clip(part, 0.0, 1.0), share)
        from_s, until_s = one.departure_s[before], one.arrival_s[after]
        between_s = np.rint(from_s + share * (until_s - from_s)).astype(np.int64)
        filled = _StopTimes(
            one.line, one.trip, one.stop, one.sequence,
            np.where(one.timed, one.arrival_s, between_s),
            np.where(one.timed, one.departure_s, between_s),
            one.distance, one.timed, one.trip_names, one.stop_names,
        )  # fmt: skip
        return filled._without(~one.timed & ~inside, "time is missing", rejects)

    def in_order(self, rejects: list[Reject]) -> _StopTimes:
        """By time; a stop that is reached before the one before it is left is refused."""
        back = np.zeros(len(self), dtype=bool)
        back[1:] = (np.diff(self.trip) == 0) & (self.arrival_s[1:] < self.departure_s[:-1])
        forth = self._without(back, "time goes back along the trip", rejects)
        return forth.take(np.lexsort((forth.sequence, forth.trip, forth.arrival_s)))

    def _without(self, wrong: NDArray[np.bool_], reason: str, rejects: list[Reject]) -> _StopTimes:
        rejects += [
            Reject(int(self.line[row]), reason, "", self.text(row))
            for row in np.flatnonzero(wrong).tolist()
        ]
        return self.take(~wrong)


@functools.lru_cache(maxsize=1 << 18)
def _seconds(text: str) -> int:
    if not text:
        return _MISSING
    found = _CLOCK.fullmatch(text)
    if found is None or not text.isascii() or int(found[1]) >= _MOST_HOURS:
        return _UNREADABLE
    return 3600 * int(found[1]) + 60 * int(found[2]) + int(found[3])


def _distance(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _columns(
    times: _StopTimes,
    trips: Trips,
    stops: Stops,
    shapes: dict[str, Shape],
    begin_ms: int,
    day: int,
) -> dict[str, pa.Array]:
    of_trip = {
        "trip": times.trip_names,
        "route": trips.route,
        "direction": [told or None for told in trips.direction],
        "block": [told or None for told in trips.block],
    }
    of_stop = {"stop": times.stop_names, "lat_e7": stops.lat_e7, "lon_e7": stops.lon_e7}
    trip, stop = pa.array(times.trip), pa.array(times.stop)
    count = len(times)
    along_m = _along_m(times, trips, shapes)
    return {
        **{name: pa.array(told, pa.string()).take(trip) for name, told in of_trip.items()},
        **{name: pa.array(told, pa.string()).take(stop) for name, told in of_stop.items()},
        "sequence": pa.array(times.sequence),
        "time": pa.array(begin_ms + 1000 * times.arrival_s),
        "departure": pa.array(begin_ms + 1000 * times.departure_s),
        "timed": pa.array(times.timed.astype(np.uint8)),
        "service_day": pa.array(np.full(count, day)),
        "along_dm": pa.array(10 * along_m, mask=~np.isfinite(along_m)),
    }


def _along_m(times: _StopTimes, trips: Trips, shapes: dict[str, Shape]) -> NDArray[np.float64]:
    """Metres of each stop along its trip's way; NaN where the timetable does not measure it."""
    out = np.full(len(times), np.nan)
    names = sorted(shapes)
    number = {name: k for k, name in enumerate(names)}
    of_trip = np.array([number.get(name, -1) for name in trips.shape], dtype=np.int64)
    of_row = of_trip[times.trip]
    order = np.argsort(of_row, kind="stable")
    edges = np.searchsorted(of_row[order], np.arange(len(names) + 1))
    for k, name in enumerate(names):
        rows = order[edges[k] : edges[k + 1]]
        told = times.distance[rows]
        inside = (told >= shapes[name].told[0]) & (told <= shapes[name].told[-1])
        way_m = np.interp(told, shapes[name].told, shapes[name].along_m)
        out[rows] = np.where(inside, way_m, np.nan)
    return out
