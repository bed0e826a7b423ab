"""`topis synth`: a made-up day of a city's feeds, with the truth and the planted faults beside it.

Traffic is made minute by minute and kept for `HOLD_S`, until nothing more can be told of it; rows
are written in windows of `WINDOW_S`, by district and hour, in the order in which they would come
in. So memory stays bounded by what happens in some minutes, and the cost is that of the rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.config import LAYOUTS, SensingLayout
from topis.errors import InputError, OutputError, TopisError
from topis.ingest.archive import encoding
from topis.ingest.synth_city import City, make_city
from topis.ingest.synth_faults import Planted, plant, spoil
from topis.ingest.synth_feeds import FeedMaker, Rows, Told
from topis.ingest.synth_motion import Departures, Motion
from topis.ingest.synth_traffic import Passages, Traffic
from topis.ingest.synth_truth import TruthKeeper
from topis.model.observation import CAMERA
from topis.model.schemas import FEEDS
from topis.units import JAM_SPACING_M

#: Rows are told this long after; who is under way for longer is told of too late.
HOLD_S, WINDOW_S, HOUR_S = 300, 300, 3600
#: With more cameras rows are written in shorter windows: they are what memory is needed for.
MANY_CAMERAS, SHORT_WINDOW_S = 50, 60
#: Traffic before the first hour, so that the streets are not empty then.
WARM_UP_S = 1800
DUPLICATE_SHARE, IMPOSSIBLE_SHARE, LATE_SHARE = 0.002, 0.001, 0.001
MADE_FEEDS = ("loop_event", "gps", "cctv_track", "signal_event")
#: Where the numbers of the rows get their names from, by column.
_NAMED = {"sensor": "detector", "camera": "camera", "controller": "controller", "lane": "lane"}


@dataclass(frozen=True)
class SynthOptions:
    """What to make. ``faulty``: share of the sensors that have a fault for some hours."""

    scale: float
    date: str
    seed: int = 1
    faulty: float = 0.05
    hours: tuple[int, int] = (0, 24)
    load: float = 1.0
    sensing: SensingLayout = field(default_factory=lambda: LAYOUTS["seoul"])
    network_file: Path | None = None


def synthesise(
    into: Path, options: SynthOptions, progress: Callable[[str, int, int], None]
) -> dict[str, int]:
    """Write the day; returns rows by feed.

    Raises
    ------
    InputError
        An impossible option, or a network that cannot be used.
    OutputError
        The folder cannot be written, or is not empty.
    SumoError
        SUMO's netgenerate is missing.
    """
    midnight_ms = _checked(options)
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{into}: cannot be written ({error.strerror}); choose another") from None
    if any(into.iterdir()):
        raise OutputError(f"{into}: is not empty; name a new folder")
    progress("streets", 0, 1)
    try:
        city = make_city(into, options.scale, options.seed, options.sensing, options.network_file)
        day = _Day(into, city, options, midnight_ms)
    except TopisError:
        # It was empty, and is for the next attempt.
        for path in into.iterdir():
            path.unlink()
        raise
    day.make(progress)
    return dict(day.rows)


def _checked(options: SynthOptions) -> int:
    """UTC ms of the day's first moment."""
    if not 0.0 < options.scale <= 10.0:
        raise InputError(f"scale {options.scale:g} is out of range; give more than 0, at most 10")
    if not 0.0 <= options.faulty <= 1.0:
        raise InputError(f"faulty {options.faulty:g} is no share; give 0 to 1")
    if options.seed < 0:
        raise InputError(f"seed {options.seed} is below 0; give 0 or more")
    if not 0.0 < options.load <= 3.0:
        raise InputError(f"load {options.load:g} is out of range; give more than 0, at most 3")
    try:
        if len(options.date) != 10:
            raise ValueError(options.date)
        day = np.datetime64(options.date, "D")
    except ValueError:
        raise InputError(f"date {options.date!r} is none; write 2026-11-17") from None
    if not np.datetime64("2000-01-01") <= day <= np.datetime64("2099-12-31"):
        raise InputError(f"date {options.date} cannot be ingested; give one in 2000 to 2099")
    return int(day.astype("datetime64[ms]").astype(np.int64))


class _Day:
    """The making of one day, window by window."""

    def __init__(self, into: Path, city: City, options: SynthOptions, midnight_ms: int) -> None:
        self.rows: Counter[str] = Counter()
        self._into, self._city, self._options = into, city, options
        self._midnight_ms = midnight_ms
        self._faults = plant(city, options.seed, options.faulty, options.hours)
        self._maker = FeedMaker(city, options.seed)
        sensors = city.sensors
        cameras = np.unique(sensors.junction[(sensors.kind == CAMERA) & sensors.alive])
        self._watched = np.unique(city.district[cameras]).tolist()
        self._window_s = WINDOW_S if len(cameras) <= MANY_CAMERAS else SHORT_WINDOW_S
        self._traffic = Traffic(city.network, options.seed, options.load)
        self._begin_s, self._end_s = (HOUR_S * hour for hour in options.hours)
        self._truth = TruthKeeper(city.network, self._begin_s)
        #: Who left of late: as many a lane as stand on it, and one more.
        self._gone = Departures.none()
        self._places = (city.network.lane_length_m / JAM_SPACING_M).astype(np.int64) + 3
        self._feeds = {feed: _FeedFiles(into, feed, city, midnight_ms) for feed in MADE_FEEDS}

    def make(self, progress: Callable[[str, int, int], None]) -> None:
        """All of it."""
        (self._into / "truth").mkdir()
        self._write_faults(self._faults)
        first_s = self._begin_s - WARM_UP_S
        held: list[Passages] = []
        fresh: list[Passages] = []
        told_s = self._begin_s
        total = (self._end_s - self._begin_s) // self._window_s
        for now_s, passages in self._traffic.drive(first_s, self._end_s + HOLD_S):
            self._truth.add(passages)
            fresh.append(passages)
            if now_s < told_s + self._window_s + HOLD_S:
                continue
            until_s = told_s + self._window_s
            progress(
                f"{told_s // 3600:02d}:{told_s % 3600 // 60:02d}",
                (told_s - self._begin_s) // self._window_s,
                total,
            )
            self._tell(held, fresh, told_s, until_s)
            held = [p.take(p.depart_s >= until_s) for p in held + fresh]
            held, fresh, told_s = [p for p in held if len(p)], [], until_s
            if until_s % HOUR_S == 0:
                hour = until_s // HOUR_S - 1
                path = self._into / "truth" / "lanes" / f"lanes-{hour:02d}.parquet"
                self._truth.write_hour(path, self._midnight_ms, self._traffic.standing(now_s))
        for feed, files in self._feeds.items():
            files.close()
            self.rows[feed] = files.rows
        self._tell_plans()
        counts = {feed: dict(files.planted) for feed, files in self._feeds.items()}
        (self._into / "truth" / "rows.json").write_text(json.dumps(counts, indent=1))

    def _write_faults(self, faults: list[Planted]) -> None:
        told = [fault.told() for fault in faults]
        (self._into / "truth" / "faults.json").write_text(json.dumps(told, indent=1))

    def _tell(self, held: list[Passages], fresh: list[Passages], from_s: int, until_s: int) -> None:
        """Rows of the window; of passages that nobody knew of before, what was missed as well."""
        known = [(p, float(from_s)) for p in held]
        # Before the first window nothing was told of anyone.
        missed_s = float(from_s if from_s == self._begin_s else self._begin_s)
        known += [(p, missed_s) for p in fresh]
        parts = [(p, since) for p, since in known if len(p)]
        if parts:
            columns = zip(*(vars(p).values() for p, _ in parts), strict=True)
            passages = Passages(*(np.concatenate(column) for column in columns))
            since = np.concatenate([np.full(len(p), s) for p, s in parts])
            motion = Motion(passages, self._gone)
            self._gone = motion.departures.last(self._places, float(until_s))
            told = Told(passages, motion, since, float(until_s))
            rng = np.random.default_rng([self._options.seed, 3, from_s])
            maker, missed = self._maker, self._options.sensing.camera_missed_share
            made = {
                "loop_event": maker.loop_rows(told, rng),
                "gps": maker.probe_rows(told, rng),
            }
            for feed, rows in made.items():
                self._write(feed, rows, from_s, until_s, rng)
            for district in self._watched:
                rows = maker.camera_rows(told, missed, rng, district)
                self._write("cctv_track", rows, from_s, until_s, rng)
        rows = maker_rows = self._maker.signal_rows(from_s, until_s)
        self._feeds["signal_event"].write(
            rows | {"order": maker_rows["time"]}, from_s // HOUR_S, None
        )

    def _write(
        self, feed: str, rows: Rows, from_s: int, until_s: int, rng: np.random.Generator
    ) -> None:
        rows = spoil(feed, rows, self._faults, (from_s, until_s), rng)
        if len(rows["order"]):
            self._feeds[feed].write(rows, from_s // HOUR_S, rng)

    def _tell_plans(self) -> None:
        files = _FeedFiles(self._into, "plan", self._city, self._midnight_ms)
        rows = self._maker.plan_rows()
        files.write(rows | {"order": rows["time"]}, 0, None)
        files.close()
        self.rows["plan"] = files.rows


class _FeedFiles:
    """Files of one feed, one for each district and hour, written as rows come in."""

    def __init__(self, into: Path, feed: str, city: City, midnight_ms: int) -> None:
        self.rows = 0
        self.planted: Counter[str] = Counter()
        self._folder, self._feed, self._city = into / feed, FEEDS[feed], city
        self._midnight_ms = midnight_ms
        self._writers: dict[tuple[int, int], pq.ParquetWriter] = {}
        self._late: dict[tuple[int, int], Rows] = {}
        network = city.network
        self._names = {
            "sensor": pa.array(list(city.sensors.ids), pa.string()),
            "camera": pa.array(list(network.junction_ids), pa.string()),
            "controller": pa.array(list(network.junction_ids), pa.string()),
            "lane": pa.array(list(network.lane_ids), pa.string()),
        }

    def write(self, rows: Rows, hour: int, rng: np.random.Generator | None) -> None:
        """Rows of a window; ``rng``: draws those that come twice, late, or are impossible."""
        district = self._district(rows)
        for number in np.unique(district).tolist():
            own = {name: values[district == number] for name, values in rows.items()}
            own = _take(own, np.argsort(own["order"], kind="stable"))
            if rng is not None:
                own = self._disturbed(own, (number, hour), rng)
            table = self._table(own)
            self.rows += len(table)
            self._writer(number, hour).write_table(table)

    def _disturbed(self, rows: Rows, key: tuple[int, int], rng: np.random.Generator) -> Rows:
        count = len(rows["order"])
        again = rng.random(count) < DUPLICATE_SHARE
        wrong = rng.random(count) < IMPOSSIBLE_SHARE
        late = rng.random(count) < LATE_SHARE
        rows = rows | {"speed_cmps": np.where(wrong, 9999, rows["speed_cmps"])}
        before = self._late.pop(key, None)
        self._late[key] = _take(rows, np.flatnonzero(late))
        on_time = np.flatnonzero(~late)
        rows = _take(rows, np.repeat(on_time, 1 + again[on_time]))
        self.planted.update(duplicates=int(again[on_time].sum()), impossible=int(wrong.sum()))
        if before is None:
            return rows
        self.planted["late"] += len(before["order"])
        return {name: np.concatenate([values, before[name]]) for name, values in rows.items()}

    def _district(self, rows: Rows) -> NDArray[np.int64]:
        city = self._city
        if "sensor" in rows:
            return city.district[city.sensors.junction[rows["sensor"].astype(np.intp)]]
        for name in ("camera", "controller"):
            if name in rows:
                return city.district[rows[name].astype(np.intp)]
        # Probes come from all over the city over one line.
        return np.zeros(len(rows["order"]), dtype=np.int64)

    def _table(self, rows: Rows) -> pa.Table:
        count = len(rows["order"])
        columns = {_NAMED.get(name, name): (name, values) for name, values in rows.items()}
        arrays, fields = [], []
        for column in self._feed.columns:
            name, values = columns.get(column.name, ("", np.zeros(count)))
            if name in self._names:
                index = pa.array(values.astype(np.int32))
                array = pa.DictionaryArray.from_arrays(index, self._names[name]).cast(pa.string())
            elif column.name == "time":
                time_ms = self._midnight_ms + np.rint(1000 * values.astype(np.float64))
                array = pa.array(time_ms.astype(np.int64)).cast(column.type)
            elif name or column.name == "quality":
                array = pa.array(values.astype(column.type.to_pandas_dtype()), column.type)
            else:
                array = pa.nulls(count, column.type)
            arrays.append(array)
            fields.append(pa.field(column.name, array.type))
        return pa.Table.from_arrays(
            arrays, schema=pa.schema(fields, metadata=self._feed.schema.metadata)
        )

    def _writer(self, district: int, hour: int) -> pq.ParquetWriter:
        key = (district, hour)
        for old in [k for k in self._writers if k[1] < hour]:
            self._close(old)
        if key not in self._writers:
            self._folder.mkdir(exist_ok=True)
            path = self._folder / f"{self._feed.name}-{district:02d}-{hour:02d}.parquet"
            settings: dict[str, Any] = encoding(self._feed)
            named = {c.name for c in self._feed.columns if c.names}
            settings["use_dictionary"] = sorted({*settings["use_dictionary"], *named})
            delta = settings["column_encoding"]
            settings["column_encoding"] = {k: v for k, v in delta.items() if k not in named}
            schema = self._table({"order": np.zeros(0)} | self._blank()).schema
            self._writers[key] = pq.ParquetWriter(path, schema, **settings)
        return self._writers[key]

    def _blank(self) -> Rows:
        names = {c.name for c in self._feed.columns}
        return {own: np.zeros(0) for own, column in _NAMED.items() if column in names}

    def _close(self, key: tuple[int, int]) -> None:
        """What is still late comes at the very end."""
        late = self._late.pop(key, None)
        writer = self._writers.pop(key)
        if late is not None and len(late["order"]):
            writer.write_table(self._table(late))
            self.rows += len(late["order"])
            self.planted["late"] += len(late["order"])
        writer.close()

    def close(self) -> None:
        """Finish all files."""
        for key in list(self._writers):
            self._close(key)


def _take(rows: Rows, which: NDArray[np.intp]) -> Rows:
    return {name: values[which] for name, values in rows.items()}
